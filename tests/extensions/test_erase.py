"""Proves that after an erasure nothing of the person is left: no byte in a file, no word in a row."""

import contextlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from contract.answers import key_for

from databases import beside, content, on_postgresql, run_sql, url_of
from rollbook.storage.sqlite import connect_with_driver
from support import Client, RunningServer, SiteWorld, wait_until

SEED = 20261124


def batch(site: SiteWorld, chance: random.Random, many: int) -> list[str]:
    """Create many others, so that pages of every tree are split; return their ids."""
    items = [
        site.document(
            name=f"Other {chance.random()}",
            email=f"{chance.random():.12f}@others.test",
            address_city=f"City {chance.random()}",
            custom_9=f"{chance.random()}",
            subscribed=chance.random() < 0.5,
        )["data"]
        for _ in range(many)
    ]
    reply = site.client.post("/v1/contacts/batch", {"data": items})
    assert reply.json["meta"]["created"] == many
    return [each["id"] for each in reply.json["meta"]["results"]]


def holders_of(database: Path, marks: list[str]) -> dict[str, list[str]]:
    """Return the marks that are found in the database, and in each file beside it, in any case."""
    contents = {"the database": content(url_of(database))}
    contents |= {file.name: file.read_bytes() for file in database.parent.iterdir()}
    found = {
        name: [mark for mark in marks if mark.lower().encode() in held.lower()]
        for name, held in contents.items()
    }
    return {name: those for name, those in found.items() if those}


def test_no_byte_of_an_erased_person_is_left(serve: Callable[..., RunningServer], tmp_path: Path) -> None:
    chance = random.Random(SEED)
    print("seed", SEED)
    database = tmp_path / "erase" / "rollbook.db"
    database.parent.mkdir()
    running = serve(database, ROLLBOOK_LOG_LEVEL="debug")
    site = running.new_site()
    client = site.client
    before = batch(site, chance, 1_000)
    marks = [f"qz{number}xw{chance.randrange(10**9):09d}" for number in range(9)]
    name, local, phone, street, city, custom, body, wording, older = marks
    idempotent = {"Idempotency-Key": "first"}
    document = site.document(
        name=f"Zoë {name.upper()}", email=f"{local}@{older}.test", phone_number=phone, address_line_1=street,
        address_city=city, custom_150=custom, subscribed=True,
    )  # fmt: skip
    document["meta"] = {"consent": {"wording": wording, "ip_address": "203.0.113.77"}}
    made = client.request("POST", "/v1/contacts", document, headers=idempotent)
    person = made.json["data"]["id"]
    after = batch(site, chance, 1_000)
    about = {"contact": {"data": {"type": "contacts", "id": person}}}
    client.post("/v1/contact_notes", {"data": {"attributes": {"body": body}, "relationships": about}})
    client.request(
        "PATCH",
        f"/v1/contacts/{person}",
        {"data": {"attributes": {"name": f"new {name}", "subscribed": False}}},
    )
    merged = client.post("/v1/contacts", site.document(email=f"second.{local}@x.test")).json["data"]["id"]
    assert (
        client.post(f"/v1/contacts/{person}/merge", {"data": {"type": "contacts", "id": merged}}).status
        == 200
    )
    for each in chance.sample(before + after, 200):
        client.request("DELETE", f"/v1/contacts/{each}")
    wait_until(
        lambda: client.get(f"/v1/contacts?filter[name_contains]={name}").json["meta"]["total"] == 1, 10
    )
    assert {mark for those in holders_of(database, marks).values() for mark in those} == set(marks)

    erased = client.post(f"/v1/contacts/{person}/erase")
    assert (erased.status, erased.json) == (200, {"data": {}})
    assert holders_of(database, [*marks, "203.0.113.77"]) == {}
    for gone in (person, merged):
        answer = client.get(f"/v1/contacts/{gone}")
        assert (answer.status, "meta" in answer.json["errors"][0]) == (404, False)
    assert client.request("POST", "/v1/contacts", document, headers=idempotent).status == 404
    assert client.get("/v1/contacts?page[size]=1").json["meta"]["total"] == 1_800
    assert client.post(f"/v1/contacts/{person}/erase").status == 404
    running.stop()
    assert holders_of(database, [*marks, "203.0.113.77"]) == {}


def kept(client: Client, key: str, method: str, path: str, document: Any) -> Any:
    """Write with an idempotency key, and return what is answered."""
    reply = client.request(method, path, document, headers={"Idempotency-Key": key})
    assert reply.status in (200, 201), reply
    return reply.json


def test_no_kept_answer_and_no_idempotency_key_tells_of_an_erased_person(
    serve: Callable[..., RunningServer], tmp_path: Path
) -> None:
    database = tmp_path / "erase" / "rollbook.db"
    database.parent.mkdir()
    running = serve(database, ROLLBOOK_LOG_LEVEL="debug")
    site, other = running.new_site(), running.new_site()
    client, mark, email = site.client, "qzxwkv", "qzxwkv@jqxz.test"
    contacts, named = "/v1/contacts", site.document(email=email, name=mark)
    # Deleted before: what tells of this one has another id, and the e-mail.
    before = kept(client, "before", "POST", contacts, named)["data"]["id"]
    kept(client, "gone", "DELETE", f"{contacts}/{before}", None)
    # Clients make idempotency keys of whatever is unique.
    batched = {"data": [site.document(email="not@x.test")["data"], named["data"]]}
    batched = kept(client, f"create:{email}", "POST", contacts + "/batch", batched)
    person = batched["meta"]["results"][1]["id"]
    kept(client, "upsert", "POST", contacts + "/upsert", named)
    kept(client, "patch", "PATCH", f"{contacts}/{person}", {"data": {"attributes": {"name": mark + "2"}}})
    about = {"contact": {"data": {"type": "contacts", "id": person}}}
    note = {"type": "contact_notes", "attributes": {"body": mark}, "relationships": about}
    kept(client, "note", "POST", "/v1/contact_notes", {"data": note})
    kept(client, "ops", "POST", "/v1/operations", {"atomic:operations": [{"op": "add", "data": note}] * 2})
    client.get(f"{contacts}?filter[search]={mark}&filter[email]={email}")
    client.get(f"{contacts}/{mark}", headers={"User-Agent": mark, "Referer": f"http://x.test/{email}"})
    # Another tenant's contact has the same e-mail, and the id of the person in a text: its answer stays.
    twin = other.document(email="twin@x.test", name=person, custom_1=site.id)
    first = kept(other.client, "twin", "POST", contacts, twin)
    kept(client, "own-twin", "POST", contacts, site.document(email="twin@x.test"))
    twins = client.get(f"{contacts}?filter[email]=twin@x.test").json["data"]

    assert holders_of(database, [mark]).keys() >= {"the database"}
    for each in (person, *(twin["id"] for twin in twins)):
        assert client.post(f"{contacts}/{each}/erase").status == 200
    assert holders_of(database, [mark, "jqxz"]) == {}
    assert kept(other.client, "twin", "POST", contacts, twin) == first
    for key, path, document in (("before", contacts, named), ("upsert", contacts + "/upsert", named)):
        again = client.post(path, document, headers={"Idempotency-Key": key})
        assert (again.status, again.headers["idempotency-replayed"]) == (404, "true")
    running.stop()
    assert holders_of(database, [mark, "jqxz"]) == {}


def test_a_kept_answer_without_an_email_is_no_hindrance_to_an_erasure(
    server: RunningServer, site: SiteWorld
) -> None:
    person = site.create(email="ines@example.test").json["data"]["id"]
    other = site.document(email="other@example.test", external_user_id="crm-1")
    other["meta"] = {"match": "external_user_id"}
    assert site.client.post("/v1/contacts/upsert", other).status == 201
    writer = key_for(server, site, permissions=("edit:contacts",))
    named = site.document(external_user_id="crm-1", name="ines@example.test") | {"meta": other["meta"]}
    answer = kept(writer, "named", "POST", "/v1/contacts/upsert", named)
    assert "email" not in answer["data"]["attributes"]
    assert site.client.post(f"/v1/contacts/{person}/erase").status == 200
    assert kept(writer, "named", "POST", "/v1/contacts/upsert", named) == answer


def grams_of(database: Path) -> set[str]:
    """Return every token that the search index holds, of contacts that are gone too."""
    connection = connect_with_driver(database)
    try:
        connection.execute("CREATE VIRTUAL TABLE temp.words USING fts5vocab('main', 'contact_search', 'row')")
        return {str(row[0]) for row in connection.execute("SELECT term FROM temp.words").fetchall()}
    finally:
        connection.close()


@pytest.mark.sqlite
def test_the_search_index_forgets_every_gram_of_an_erased_person(
    serve: Callable[..., RunningServer], tmp_path: Path
) -> None:
    running = serve(tmp_path / "rollbook.db")
    site = running.new_site()
    batch(site, random.Random(SEED), 300)
    # Three letters of a script that nobody else here has, in each text that is indexed.
    texts = {"name": "ꦲꦤꦕ", "phone_number": "ꦫꦏꦢ", "address_city": "ꦠꦱꦮ", "address_line_2": "ꦭꦥꦝ"}
    person = site.create(email="qzx@jqx.test", **texts).json["data"]["id"]
    for name, text in texts.items():
        found = site.client.get(f"/v1/contacts?filter[{name}_contains]={quote(text)}")
        assert found.json["meta"]["total"] == 1, name
    marks = [*texts.values(), "qzx", "jqx"]
    wait_until(lambda: all(any(mark in gram for gram in grams_of(running.database)) for mark in marks), 10)
    assert site.client.post(f"/v1/contacts/{person}/erase").status == 200
    left = [gram for gram in grams_of(running.database) if any(mark in gram for mark in marks)]
    assert left == []
    assert holders_of(tmp_path / "rollbook.db", marks) == {}


def test_who_was_erased_may_come_back_as_somebody_new(site: SiteWorld) -> None:
    first = site.create(email="again@x.test").json["data"]["id"]
    assert site.client.post(f"/v1/contacts/{first}/erase").status == 200
    assert site.create(email="again@x.test").json["data"]["id"] != first


@contextlib.contextmanager
def kept_from_scrubbing(url: str) -> Iterator[None]:
    """Keep others from scrubbing the database, but neither from reading nor from writing."""
    with beside(url) as connection:
        connection.rows("BEGIN")
        if on_postgresql():
            connection.rows("LOCK TABLE contact_notes IN SHARE UPDATE EXCLUSIVE MODE")
        else:
            connection.rows("SELECT count(*) FROM contacts")
        yield
        connection.rows("ROLLBACK")


def test_a_start_goes_on_where_an_erasure_cannot_be_finished_and_the_next_erasure_finishes_it(
    serve: Callable[..., RunningServer],
) -> None:
    running = serve()
    site, url = running.new_site(), running.database_url
    first, second = (site.create(email=f"{at}@x.test").json["data"]["id"] for at in range(2))
    assert site.client.post(f"/v1/contacts/{first}/erase").status == 200
    running.stop()
    # As a crash leaves it.
    run_sql(url, "UPDATE contact_tombstones SET scrubbed = 0")
    with kept_from_scrubbing(url):
        running = serve()
        told, started = running.log_lines()[:2]
        assert (told["event"], told["level"]) == ("erasure_put_off", "warning")
        assert told["reason"]
        assert started["event"] == "server_started"
        client = running.client(site.token)
        assert client.post("/v1/contacts", site.document(email="after@x.test")).status == 201
        assert run_sql(url, "SELECT scrubbed FROM contact_tombstones") == [(0,)]
    assert client.post(f"/v1/contacts/{second}/erase").status == 200
    assert run_sql(url, "SELECT scrubbed FROM contact_tombstones") == [(1,), (1,)]
