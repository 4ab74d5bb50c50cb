"""Proves that a write with an `Idempotency-Key` has one effect and one answer, however often it is sent."""

import hashlib
import json
import random
import selectors
import signal
import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from contract.answers import (
    EMAIL_BLANK,
    NOT_FOUND,
    Json,
    assert_refused,
    change,
    delete,
    document,
    identifiers,
    ids,
    key_for,
    listed,
    made,
    new_contact,
    new_note,
    new_tag,
    patch,
    shown,
    tag_ids,
)
from extensions.writes import (
    KEY_NOT_USABLE,
    RETRY_DIFFERS,
    RETRY_RUNNING,
    at_once,
    is_replayed,
    keyed,
    ledger,
    resource,
    total,
)

from databases import beside, writes_held
from support import Client, Reply, RunningServer, SiteWorld, wait_until

SEED = 20261124
AT_ONCE = 50
# What differs between two answers that are the same.
OF_ITS_OWN = {"date", "x-request-id", "idempotency-replayed"}


def lasting(reply: Reply) -> tuple[int, dict[str, str], bytes]:
    """Return what an answer and its repetitions have in common."""
    headers = {name: value for name, value in reply.headers.items() if name not in OF_ITS_OWN}
    return reply.status, headers, reply.body


def assert_repeated(first: Reply, *later: Reply) -> None:
    """Assert that the first answer was new, and that later ones are the same and say so."""
    assert "idempotency-replayed" not in first.headers
    for reply in later:
        assert lasting(reply) == lasting(first)
        assert is_replayed(reply)


def audited(client: Client, resource_id: str) -> list[str]:
    """Return what was done to a resource, oldest first."""
    events = listed(client, f"/v1/audit_events?filter[resource_id]={resource_id}")
    return [each["attributes"]["action"] for each in reversed(events)]


def test_a_create_sent_again_gets_the_first_answer_and_creates_nothing(site: SiteWorld) -> None:
    sent = site.document(email="ines@example.test", subscribed=True)
    first, *later = (site.client.post("/v1/contacts", sent, headers=keyed("create-1")) for _ in range(6))
    contact = made(first)
    assert_repeated(first, *later)
    assert first.headers["location"] == f"{site.client.url}/v1/contacts/{contact['id']}"
    assert listed(site.client, "/v1/contacts") == [contact]
    assert ledger(site.client, contact["id"]) == ["subscribed"]
    assert audited(site.client, contact["id"]) == ["contacts.create"]


def test_a_create_with_an_integer_of_any_size_is_repeated_like_others(site: SiteWorld) -> None:
    document = site.document(email="a@b.c", phone_number=2**70)
    replies = [
        site.client.post("/v1/contacts", document, headers={"Idempotency-Key": "large"}) for _ in range(2)
    ]
    assert [reply.status for reply in replies] == [201, 201]
    assert replies[0].body == replies[1].body


def test_the_first_answer_is_that_of_a_write_without_a_key(site: SiteWorld) -> None:
    plain = site.client.post("/v1/contacts", site.document(email="plain@example.test"))
    with_key = site.client.post("/v1/contacts", site.document(email="keyed@example.test"), headers=keyed("k"))
    assert with_key.headers.keys() == plain.headers.keys()
    assert with_key.headers["content-type"] == plain.headers["content-type"]
    assert with_key.json["data"].keys() == plain.json["data"].keys()


def test_the_answer_is_repeated_though_the_resource_has_changed_since(site: SiteWorld) -> None:
    sent = site.document(email="ines@example.test", name="First")
    first = site.client.post("/v1/contacts", sent, headers=keyed("k"))
    path = f"/v1/contacts/{made(first)['id']}"
    assert patch(site.client, path, {"data": {"attributes": {"name": "Second"}}}).status == 200
    assert_repeated(first, site.client.post("/v1/contacts", sent, headers=keyed("k")))
    assert shown(site.client, path)["attributes"]["name"] == "Second"
    assert delete(site.client, path).status == 200
    assert_repeated(first, site.client.post("/v1/contacts", sent, headers=keyed("k")))
    assert total(site.client) == 0


def raw_create(server: RunningServer, site: SiteWorld, key: str, sent: Json) -> bytes:
    """Return a create with a key as it goes over a socket."""
    body = json.dumps(sent).encode()
    return (
        f"POST /v1/contacts HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nAuthorization: Bearer {site.token}\r\n"
        f"Idempotency-Key: {key}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def answers_at_once(server: RunningServer, request: bytes, times: int) -> list[tuple[int, bytes]]:
    """Open so many connections, then send the request on all; return statuses and bodies."""
    open_ones = [socket.create_connection(("127.0.0.1", server.port), timeout=60) for _ in range(times)]
    for each in open_ones:
        each.sendall(request)
    received = dict.fromkeys(open_ones, b"")
    answers = []
    with selectors.DefaultSelector() as selector:
        for each in open_ones:
            selector.register(each, selectors.EVENT_READ)
        while received:
            ready = selector.select(60)
            assert ready, f"{len(received)} connections were not answered"
            for entry, _ in ready:
                connection: socket.socket = entry.fileobj  # type: ignore[assignment]
                part = connection.recv(65_536)
                received[connection] += part
                if not part:
                    selector.unregister(connection)
                    head, _, body = received.pop(connection).partition(b"\r\n\r\n")
                    answers.append((int(head.split()[1]), body))
                    connection.close()
    return answers


def test_of_fifty_simultaneous_creates_with_one_key_one_has_an_effect(
    server: RunningServer, site: SiteWorld
) -> None:
    for round_number in range(5):
        before = total(site.client)
        sent = site.document(email=f"round{round_number}@example.test", subscribed=True)
        key = f"round-{round_number}"
        answers = answers_at_once(server, raw_create(server, site, key, sent), AT_ONCE)
        created = {body for status, body in answers if status == 201}
        running = {body for status, body in answers if status != 201}
        assert {status for status, _ in answers} <= {201, 409}
        (body,) = created
        assert all(json.loads(each) == {"errors": [RETRY_RUNNING]} for each in running)
        again = site.client.post("/v1/contacts", sent, headers=keyed(key))
        assert (again.status, again.body, is_replayed(again)) == (201, body, True)
        contact_id = again.json["data"]["id"]
        assert total(site.client) == before + 1
        assert ledger(site.client, contact_id) == ["subscribed"]
        assert audited(site.client, contact_id) == ["contacts.create"]


def test_fifty_simultaneous_creates_of_which_each_pair_shares_a_key_have_25_effects(
    server: RunningServer, site: SiteWorld
) -> None:
    clients = [server.client(site.token) for _ in range(AT_ONCE)]

    def ask(number: int) -> Reply:
        pair = number // 2
        sent = site.document(email=f"pair{pair}@example.test")
        return clients[number].post("/v1/contacts", sent, headers=keyed(f"pair-{pair}"))

    replies = at_once(AT_ONCE, ask)
    for pair in range(AT_ONCE // 2):
        one, two = replies[2 * pair : 2 * pair + 2]
        assert 201 in (one.status, two.status)
        assert {one.status, two.status} <= {201, 409}
        if one.status == two.status:
            assert one.body == two.body
    assert total(site.client) == AT_ONCE // 2


def test_while_the_first_still_runs_a_second_is_told_so(server: RunningServer, site: SiteWorld) -> None:
    sent = site.document(email="ines@example.test")
    replies: list[Reply] = []

    def ask() -> None:
        replies.append(server.client(site.token).post("/v1/contacts", sent, headers=keyed("slow")))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    with writes_held(server.database_url):
        for thread in threads:
            thread.start()
        # Whichever came first waits for the writer; the other is answered at once.
        wait_until(lambda: replies, 4)
    for thread in threads:
        thread.join(60)
    second, first = replies
    assert_refused(second, RETRY_RUNNING)
    assert made(first)
    assert_repeated(first, site.client.post("/v1/contacts", sent, headers=keyed("slow")))
    assert total(site.client) == 1


def test_who_hangs_up_and_asks_again_gets_one_effect(server: RunningServer, site: SiteWorld) -> None:
    sent = site.document(email="ines@example.test", subscribed=True)
    with writes_held(server.database_url):
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", server.port), timeout=60) as impatient:
                impatient.sendall(raw_create(server, site, "again", sent))
                assert site.client.get("/v1/contacts").status == 200
    replies: list[Reply] = []

    def is_answered() -> bool:
        replies.append(site.client.post("/v1/contacts", sent, headers=keyed("again")))
        assert replies[-1].status in (201, 409), replies[-1]
        return replies[-1].status == 201

    wait_until(is_answered, 10)
    (contact,) = listed(site.client, "/v1/contacts")
    assert replies[-1].json["data"] == contact
    assert audited(site.client, contact["id"]) == ["contacts.create"]


def test_another_body_path_or_method_with_the_key_is_refused(site: SiteWorld) -> None:
    there, other = new_contact(site, "there@example.test"), new_contact(site, "other@example.test")
    path = f"/v1/contacts/{there['id']}"
    sent = change("contacts", there["id"], name="First")
    first = patch(site.client, path, sent, headers=keyed("k"))
    after = first.json["data"]
    new_body = change("contacts", there["id"], name="Second")
    assert_refused(patch(site.client, path, new_body, headers=keyed("k")), RETRY_DIFFERS)
    other_path = f"/v1/contacts/{other['id']}"
    same_body = {"data": {"attributes": {"name": "First"}}}
    assert_refused(patch(site.client, other_path, same_body, headers=keyed("k")), RETRY_DIFFERS)
    assert_refused(delete(site.client, path, sent, headers=keyed("k")), RETRY_DIFFERS)
    assert_refused(site.client.post("/v1/contacts", sent, headers=keyed("k")), RETRY_DIFFERS)
    assert_repeated(first, patch(site.client, path, sent, headers=keyed("k")))
    assert listed(site.client, "/v1/contacts") == [other, after]


def test_the_same_body_on_another_path_is_another_request(site: SiteWorld) -> None:
    one, two = new_contact(site, "one@example.test"), new_contact(site, "two@example.test")
    sent = {"data": {"attributes": {"name": "Same"}}}
    assert patch(site.client, f"/v1/contacts/{one['id']}", sent, headers=keyed("k")).status == 200
    assert_refused(patch(site.client, f"/v1/contacts/{two['id']}", sent, headers=keyed("k")), RETRY_DIFFERS)
    assert shown(site.client, f"/v1/contacts/{two['id']}") == two


def test_keys_are_compared_as_they_are_sent(site: SiteWorld) -> None:
    rng = random.Random(SEED)
    print(f"seed: {SEED}")
    visible = [chr(code) for code in range(0x21, 0x7F)]
    longest = "".join(rng.choice(visible) for _ in range(255))
    some = ["k", "K", "k1", '"k"', "';--", "%6b", "k,k", "~", "!", longest, longest[:-1]]
    contacts = set()
    for number, key in enumerate(some):
        sent = site.document(email=f"p{number}@example.test")
        first = site.client.post("/v1/contacts", sent, headers=keyed(key))
        assert_repeated(first, site.client.post("/v1/contacts", sent, headers=keyed(key)))
        contacts.add(made(first)["id"])
    assert len(contacts) == len(some) == total(site.client)


@pytest.mark.parametrize("key", ["", " ", "a b", "a\tb", "x" * 256, "schlüssel", "ключ".encode()])
@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_a_key_that_cannot_be_used_is_refused_and_nothing_is_done(
    site: SiteWorld, method: str, key: str | bytes
) -> None:
    there = new_contact(site, "there@example.test")
    path = "/v1/contacts" if method == "POST" else f"/v1/contacts/{there['id']}"
    sent = site.document(email="new@example.test") if method == "POST" else {"data": {"type": "contacts"}}
    headers: Any = {"Idempotency-Key": key}
    assert_refused(site.client.request(method, path, sent, headers=headers), KEY_NOT_USABLE)
    assert listed(site.client, "/v1/contacts") == [there]


@pytest.mark.parametrize("key", ["a\x7f", "a\x01b", "\x00"])
def test_a_key_with_a_control_character_is_refused_like_any_such_header(site: SiteWorld, key: str) -> None:
    reply = site.client.post("/v1/contacts", site.document(email="new@example.test"), headers=keyed(key))
    assert reply.status == 400
    assert total(site.client) == 0


def test_a_read_with_a_key_is_just_a_read(site: SiteWorld) -> None:
    contact = new_contact(site, name="First")
    path = f"/v1/contacts/{contact['id']}"
    assert site.client.get(path, headers=keyed("k")).json["data"] == contact
    assert patch(site.client, path, {"data": {"attributes": {"name": "Second"}}}).status == 200
    again = site.client.get(path, headers=keyed("k"))
    assert again.json["data"]["attributes"]["name"] == "Second"
    assert "idempotency-replayed" not in again.headers


def test_each_api_key_has_answers_of_its_own(server: RunningServer, site: SiteWorld) -> None:
    other = key_for(server, site)
    sent = site.document(email="ines@example.test")
    first = site.client.post("/v1/contacts", sent, headers=keyed("k"))
    # For the other API key this is a create like any: the e-mail is taken.
    refused = other.post("/v1/contacts", sent, headers=keyed("k"))
    assert refused.status == 422
    assert refused.json["errors"][0]["detail"] == "Email has already been taken"
    theirs = other.post("/v1/contacts", site.document(email="other@example.test"), headers=keyed("k"))
    assert made(theirs)["id"] != made(first)["id"]
    assert_repeated(first, site.client.post("/v1/contacts", sent, headers=keyed("k")))


def test_another_token_of_the_same_api_key_gets_the_answer_too(
    server: RunningServer, site: SiteWorld
) -> None:
    sent = site.document(email="ines@example.test")
    first = site.client.post("/v1/contacts", sent, headers=keyed("k"))
    newer = server.client(server.token(site.client_id, site.client_secret))
    assert newer.token != site.token
    assert_repeated(first, newer.post("/v1/contacts", sent, headers=keyed("k")))


def test_the_answer_is_for_those_with_a_token_only(server: RunningServer, site: SiteWorld) -> None:
    sent = site.document(email="ines@example.test")
    assert site.client.post("/v1/contacts", sent, headers=keyed("k")).status == 201
    assert server.client().post("/v1/contacts", sent, headers=keyed("k")).status == 401


def test_a_refusal_is_not_kept_and_leaves_the_key_free(site: SiteWorld) -> None:
    blank = site.document(email="")
    for _ in range(2):
        refused = site.client.post("/v1/contacts", blank, headers=keyed("k"))
        assert_refused(refused, EMAIL_BLANK)
    sent = site.document(email="ines@example.test")
    first = site.client.post("/v1/contacts", sent, headers=keyed("k"))
    assert_repeated(first, site.client.post("/v1/contacts", sent, headers=keyed("k")))


def test_the_same_request_meets_its_refusal_until_the_reason_is_gone(site: SiteWorld) -> None:
    in_the_way = new_contact(site)
    sent = site.document(email="ines@example.test")
    for _ in range(2):
        refused = site.client.post("/v1/contacts", sent, headers=keyed("k"))
        assert (refused.status, is_replayed(refused)) == (422, False)
        assert refused.json["errors"][0]["meta"] == {"existing_id": in_the_way["id"]}
    assert delete(site.client, f"/v1/contacts/{in_the_way['id']}").status == 200
    first = site.client.post("/v1/contacts", sent, headers=keyed("k"))
    assert made(first)["id"] != in_the_way["id"]
    assert_repeated(first, site.client.post("/v1/contacts", sent, headers=keyed("k")))


def test_a_change_is_made_once(site: SiteWorld) -> None:
    contact = new_contact(site)
    path = f"/v1/contacts/{contact['id']}"
    sent = change("contacts", contact["id"], name="First", subscribed=True)
    first = patch(site.client, path, sent, headers=keyed("k"))
    assert first.status == 200
    between = change("contacts", contact["id"], name="Second", subscribed=False)
    assert patch(site.client, path, between).status == 200
    assert_repeated(first, *(patch(site.client, path, sent, headers=keyed("k")) for _ in range(3)))
    after = shown(site.client, path)["attributes"]
    assert (after["name"], after["subscribed"]) == ("Second", False)
    assert ledger(site.client, contact["id"]) == ["subscribed", "unsubscribed"]
    assert audited(site.client, contact["id"]) == ["contacts.create", "contacts.update", "contacts.update"]


def test_a_deletion_sent_again_is_answered_as_done(site: SiteWorld) -> None:
    contact = new_contact(site)
    path = f"/v1/contacts/{contact['id']}"
    first = delete(site.client, path, headers=keyed("k"))
    assert (first.status, first.json) == (200, {"data": {}})
    anew = new_contact(site)
    assert_repeated(first, delete(site.client, path, headers=keyed("k")))
    assert_refused(delete(site.client, path, headers=keyed("other")), NOT_FOUND)
    assert listed(site.client, "/v1/contacts") == [anew]


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_tags_are_written_once(site: SiteWorld, method: str) -> None:
    one, two = new_tag(site, "One")["id"], new_tag(site, "Two")["id"]
    contact = new_contact(site)
    path = f"/v1/contacts/{contact['id']}/relationships/tags"
    before, named, opposite = {
        "POST": (identifiers(), identifiers(one), identifiers()),
        "PATCH": (identifiers(one), identifiers(two), identifiers(one)),
        "DELETE": (identifiers(one, two), identifiers(one), identifiers(one, two)),
    }[method]
    assert patch(site.client, path, before).status == 200
    first = site.client.request(method, path, named, headers=keyed("k"))
    assert first.status == 200
    assert patch(site.client, path, opposite).status == 200
    assert_repeated(first, site.client.request(method, path, named, headers=keyed("k")))
    expected = sorted(each["id"] for each in opposite["data"])
    assert tag_ids(shown(site.client, f"/v1/contacts/{contact['id']}")) == expected


def test_a_batch_is_done_once(site: SiteWorld) -> None:
    new_contact(site, "there@example.test", name="There")
    emails = ("new@example.test", "there@example.test", "")
    sent = {
        "data": [resource(site, email=email, name="Batch") for email in emails],
        "meta": {"on_duplicate": "update"},
    }
    first = site.client.post("/v1/contacts/batch", sent, headers=keyed("k"))
    assert [each["status"] for each in first.json["meta"]["results"]] == ["201", "200", "422"]
    (there,) = listed(site.client, "/v1/contacts?filter[email]=there@example.test")
    later = {"data": {"attributes": {"name": "Later"}}}
    assert patch(site.client, f"/v1/contacts/{there['id']}", later).status == 200
    assert_repeated(first, site.client.post("/v1/contacts/batch", sent, headers=keyed("k")))
    assert total(site.client) == 2
    assert shown(site.client, f"/v1/contacts/{there['id']}")["attributes"]["name"] == "Later"


def test_operations_are_done_once(site: SiteWorld) -> None:
    tag = new_tag(site, "One")
    sent = {
        "atomic:operations": [
            {"op": "add", "data": resource(site, email="ines@example.test") | {"lid": "p"}},
            {
                "op": "add",
                "data": {
                    "type": "contact_notes",
                    "attributes": {"body": "Called."},
                    "relationships": {"contact": {"data": {"type": "contacts", "lid": "p"}}},
                },
            },
            {"op": "remove", "ref": {"type": "contact_tags", "id": tag["id"]}},
        ]
    }
    first, *later = (site.client.post("/v1/operations", sent, headers=keyed("k")) for _ in range(3))
    assert first.status == 200
    assert_repeated(first, *later)
    assert total(site.client, "/v1/contact_notes") == 1
    wrong = {"atomic:operations": [*sent["atomic:operations"][1:], {"op": "add"}]}
    assert site.client.post("/v1/operations", wrong, headers=keyed("other")).status == 400


def test_an_upsert_is_done_once(site: SiteWorld) -> None:
    sent = {"data": resource(site, email="ines@example.test", name="First", subscribed=True)}
    first = site.client.post("/v1/contacts/upsert", sent, headers=keyed("k"))
    contact = made(first)
    assert delete(site.client, f"/v1/contacts/{contact['id']}").status == 200
    assert_repeated(first, site.client.post("/v1/contacts/upsert", sent, headers=keyed("k")))
    assert total(site.client) == 0


def test_a_merge_is_done_once(site: SiteWorld) -> None:
    one, two = new_contact(site, "one@example.test"), new_contact(site, "two@example.test")
    path = f"/v1/contacts/{one['id']}/merge"
    sent = {"data": {"type": "contacts", "id": two["id"]}}
    first = site.client.post(path, sent, headers=keyed("k"))
    assert first.status == 200
    assert_repeated(first, site.client.post(path, sent, headers=keyed("k")))
    assert site.client.post(path, sent, headers=keyed("other")).status == 404
    assert ids(listed(site.client, "/v1/contacts")) == [one["id"]]


def test_an_erasure_sent_again_is_answered_as_done(site: SiteWorld) -> None:
    sent = site.document(email="ines@example.test", name="Ines Okafor")
    contact = made(site.client.post("/v1/contacts", sent, headers=keyed("create")))
    path = f"/v1/contacts/{contact['id']}/erase"
    first = site.client.post(path, headers=keyed("erase"))
    assert (first.status, first.json) == (200, {"data": {}})
    assert_repeated(first, site.client.post(path, headers=keyed("erase")))
    # The answer of the create spoke of the person: it is gone, and the person does not come back by it.
    again = site.client.post("/v1/contacts", sent, headers=keyed("create"))
    assert contact["id"].encode() not in again.body
    assert b"ines" not in again.body.lower()
    assert total(site.client) == 0


@pytest.mark.sqlite
@pytest.mark.parametrize("key", ["erase", None])
def test_an_erasure_that_a_reader_kept_from_its_end_is_ended_by_the_next_request(
    serve: Callable[..., RunningServer], key: str | None
) -> None:
    server = serve()
    site = server.new_site()
    contact = new_contact(site, "zqwx.ines@example.test", custom_1="zqwx")
    path = f"/v1/contacts/{contact['id']}/erase"

    def bytes_are_left() -> bool:
        files = [server.database.with_name(server.database.name + suffix) for suffix in ("", "-wal")]
        return any(b"zqwx" in file.read_bytes() for file in files)

    with beside(server.database_url) as reader:
        reader.rows("BEGIN")
        assert reader.number("SELECT count(*) FROM contacts") == 1
        headers = keyed(key) if key else {}
        # The log cannot be emptied while somebody reads in it, so this cannot be answered with 200.
        refused = site.client.post(path, headers=headers)
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        assert bytes_are_left()
    again = site.client.post(path, headers=headers)
    # Without a key the contact is just unknown by now.
    assert again.status == (200 if key else 404)
    assert not bytes_are_left()


@pytest.mark.parametrize("of_type", ["contact_tags", "custom_fields", "contact_notes"])
def test_every_other_resource_is_written_once_too(site: SiteWorld, of_type: str) -> None:
    contact = new_contact(site)
    of_site = ("sites", site.id)
    sent, attribute = {
        "contact_tags": (document(of_type, {"name": "New"}, site=of_site), "name"),
        "custom_fields": (document(of_type, {"title": "New"}, site=of_site), "title"),
        "contact_notes": (document(of_type, {"body": "N"}, contact=("contacts", contact["id"])), "body"),
    }[of_type]
    first = site.client.post(f"/v1/{of_type}", sent, headers=keyed("create"))
    number = made(first)["id"]
    path = f"/v1/{of_type}/{number}"
    changed = {"data": {"type": of_type, "id": number, "attributes": {attribute: "Other"}}}
    second = patch(site.client, path, changed, headers=keyed("change"))
    assert second.status == 200
    assert_repeated(first, site.client.post(f"/v1/{of_type}", sent, headers=keyed("create")))
    assert_repeated(second, patch(site.client, path, changed, headers=keyed("change")))
    assert ids(listed(site.client, f"/v1/{of_type}")) == [number]
    assert shown(site.client, path)["attributes"][attribute] == "Other"
    if of_type != "custom_fields":
        third = delete(site.client, path, headers=keyed("delete"))
        assert (third.status, third.json) == (200, {"data": {}})
        assert_repeated(third, delete(site.client, path, headers=keyed("delete")))
        assert listed(site.client, f"/v1/{of_type}") == []


def test_a_site_is_made_once(server: RunningServer) -> None:
    everything = key_for(server)
    sent = {"data": {"type": "sites", "attributes": {"title": "Once-only"}}}
    first = everything.post("/v1/sites", sent, headers=keyed("k"))
    site_id = made(first)["id"]
    assert_repeated(first, everything.post("/v1/sites", sent, headers=keyed("k")))
    assert ids(listed(everything, "/v1/sites?filter[title_cont]=Once-only&page[size]=1000")) == [site_id]


def test_a_repeated_change_is_not_measured_against_what_it_changed(site: SiteWorld) -> None:
    contact = new_contact(site)
    path = f"/v1/contacts/{contact['id']}"
    headers = {"If-Match": site.client.get(path).headers["etag"]} | keyed("k")
    sent = change("contacts", contact["id"], name="First")
    first = patch(site.client, path, sent, headers=headers)
    assert first.status == 200
    assert_repeated(first, patch(site.client, path, sent, headers=headers))
    # With a key of its own it is another request, and comes too late.
    assert patch(site.client, path, sent, headers=headers | keyed("other")).status == 412


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_the_answer_outlives_the_server(serve: Callable[..., RunningServer], how: signal.Signals) -> None:
    server = serve(ROLLBOOK_PUBLIC_URL="https://crm.example.test")
    site = server.new_site()
    sent = site.document(email="ines@example.test", subscribed=True)
    first = site.client.post("/v1/contacts", sent, headers=keyed("k"))
    gone = new_note(site, made(first)["id"], "Gone soon.")
    deleted = delete(site.client, f"/v1/contact_notes/{gone['id']}", headers=keyed("delete"))
    server.stop(how)
    after = serve(ROLLBOOK_PUBLIC_URL="https://crm.example.test").client(site.token)
    assert_repeated(first, after.post("/v1/contacts", sent, headers=keyed("k")))
    assert_repeated(deleted, delete(after, f"/v1/contact_notes/{gone['id']}", headers=keyed("delete")))
    refused = after.post("/v1/contacts", site.document(email="other@example.test"), headers=keyed("k"))
    assert_refused(refused, RETRY_DIFFERS)
    assert total(after) == 1


def age_kept_answers(url: str, ages: dict[str, timedelta]) -> None:
    """Move the moments of kept answers back, by their idempotency keys, while no server runs."""
    with beside(url) as connection:
        for key, age in ages.items():
            moment = datetime.now(UTC) - age
            text = moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}Z"
            found = connection.rows(
                "UPDATE kept_answers SET created_at = ? WHERE idempotency_key = ?"
                " AND created_at LIKE '____-__-__T__:__:__.___Z' RETURNING 1",
                text,
                hashlib.sha256(key.encode()).hexdigest(),
            )
            assert len(found) == 1


def test_the_answer_is_kept_for_24_hours_and_no_longer(serve: Callable[..., RunningServer]) -> None:
    server = serve(ROLLBOOK_PUBLIC_URL="https://crm.example.test")
    site = server.new_site()
    contact = new_contact(site)

    def noted(client: Client, key: str, body: str = "Called.") -> Reply:
        sent = document("contact_notes", {"body": body}, contact=("contacts", contact["id"]))
        return client.post("/v1/contact_notes", sent, headers=keyed(key))

    first = {key: noted(site.client, key) for key in ("young", "old", "older")}
    assert server.stop() == 0
    day, minute = timedelta(hours=24), timedelta(minutes=1)
    age_kept_answers(server.database_url, {"young": day - minute, "old": day + minute, "older": day + minute})
    after = serve(ROLLBOOK_PUBLIC_URL="https://crm.example.test").client(site.token)
    assert_repeated(first["young"], noted(after, "young"))
    anew = noted(after, "old")
    assert not is_replayed(anew)
    assert made(anew)["id"] != made(first["old"])["id"]
    assert_repeated(anew, noted(after, "old"))
    # The key of an answer that is forgotten may stand for another request.
    assert made(noted(after, "older", "Another request."))["attributes"]["body"] == "Another request."
    assert total(after, "/v1/contact_notes") == 5


def test_an_answer_whose_day_is_over_is_deleted_though_its_api_key_never_comes_back(
    serve: Callable[..., RunningServer],
) -> None:
    server = serve()
    site = server.new_site()
    for key in ("young", "old"):
        sent = site.document(email=f"{key}@example.test")
        assert site.client.post("/v1/contacts", sent, headers=keyed(key)).status == 201
    assert server.stop() == 0
    day, minute = timedelta(hours=24), timedelta(minutes=1)
    age_kept_answers(server.database_url, {"young": day - minute, "old": day + minute})
    serve()
    with beside(server.database_url) as connection:
        wait_until(lambda: connection.number("SELECT count(*) FROM kept_answers") == 1, 30)
        (body,) = connection.column("SELECT body FROM kept_answers")
    assert "young@example.test" in body
