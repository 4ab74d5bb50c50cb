"""Proves that after an erasure nothing of the person is left: no byte in a file, no word in a row."""

import random
from collections.abc import Callable
from pathlib import Path

from databases import content, url_of
from support import RunningServer, SiteWorld, wait_until

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
    running = serve(database)
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


def test_who_was_erased_may_come_back_as_somebody_new(site: SiteWorld) -> None:
    first = site.create(email="again@x.test").json["data"]["id"]
    assert site.client.post(f"/v1/contacts/{first}/erase").status == 200
    assert site.create(email="again@x.test").json["data"]["id"] != first
