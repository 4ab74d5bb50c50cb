"""Proves that `ETag`, `If-None-Match` and `If-Match` tell who changes a resource that somebody else has changed."""

import random
import re
import threading
from collections.abc import Callable
from typing import Any

import pytest
from contract.answers import (
    NOT_FOUND,
    Json,
    assert_refused,
    change,
    delete,
    document,
    identifiers,
    key_for,
    listed,
    made,
    new_contact,
    new_field,
    new_note,
    new_tag,
    patch,
    shown,
    tag_ids,
)
from extensions.writes import CHANGED_MEANWHILE, at_once, ledger, resource, total

from databases import writes_held
from support import Client, Reply, RunningServer, SiteWorld

STRONG_TAG = re.compile(r'"[\x21\x23-\x7e]+"')
STALE = '"0123456789abcdef"'
SEED = 20261124
RACERS = 8


def tag_of(client: Client, path: str) -> str:
    """Return the entity tag of a resource."""
    reply = client.get(path)
    assert reply.status == 200, reply
    assert STRONG_TAG.fullmatch(reply.headers["etag"])
    return reply.headers["etag"]


def match(*tags: str) -> dict[str, str]:
    """Return the header that expects one of these tags."""
    return {"If-Match": ", ".join(tags)}


def renamed(name: str) -> Json:
    """Return the document that gives a contact another name."""
    return {"data": {"attributes": {"name": name}}}


def one_of(server: RunningServer, site: SiteWorld, of_type: str) -> tuple[Client, Reply, Json]:
    """Create a resource; return who may change it, the answer, and a document that changes it."""
    given: dict[str, Callable[[], tuple[Json, Json]]] = {
        "contacts": lambda: (site.document(email="ines@example.test"), {"name": "Other"}),
        "contact_tags": lambda: (
            document(of_type, {"name": "New"}, site=("sites", site.id)),
            {"name": "Other"},
        ),
        "custom_fields": lambda: (
            document(of_type, {"title": "New"}, site=("sites", site.id)),
            {"title": "Other"},
        ),
        "contact_notes": lambda: (
            document(of_type, {"body": "New"}, contact=("contacts", new_contact(site)["id"])),
            {"body": "Other"},
        ),
        "sites": lambda: (document(of_type, {"title": "New"}), {"title": "Other"}),
    }
    client = key_for(server) if of_type == "sites" else site.client
    sent, attributes = given[of_type]()
    reply = client.post(f"/v1/{of_type}", sent)
    return client, reply, {"data": {"type": of_type, "id": made(reply)["id"], "attributes": attributes}}


EVERY_TYPE = ["contacts", "contact_tags", "contact_notes", "custom_fields", "sites"]


@pytest.mark.parametrize("of_type", EVERY_TYPE)
def test_every_answer_with_one_resource_has_its_tag(
    server: RunningServer, site: SiteWorld, of_type: str
) -> None:
    client, created, changes = one_of(server, site, of_type)
    path = f"/v1/{of_type}/{made(created)['id']}"
    first = tag_of(client, path)
    assert created.headers["etag"] == first
    assert client.request("HEAD", path).headers["etag"] == first
    changed = patch(client, path, changes)
    assert changed.status == 200
    assert changed.headers["etag"] == tag_of(client, path) != first


def test_the_answer_of_an_upsert_has_the_tag_too(site: SiteWorld) -> None:
    for name, status in (("First", 201), ("Second", 200)):
        sent = {"data": resource(site, email="ines@example.test", name=name)}
        reply = site.client.post("/v1/contacts/upsert", sent)
        assert reply.status == status
        assert reply.headers["etag"] == tag_of(site.client, f"/v1/contacts/{reply.json['data']['id']}")


def test_the_tag_changes_with_whatever_changes_the_contact_and_with_nothing_else(site: SiteWorld) -> None:
    contact, other = new_contact(site), new_contact(site, "other@example.test")
    tag = new_tag(site, "One")
    path = f"/v1/contacts/{contact['id']}"
    seen = [tag_of(site.client, path)]

    def assert_changes(reply: Reply) -> None:
        assert reply.status in (200, 201), reply
        seen.append(tag_of(site.client, path))
        assert seen[-1] not in seen[:-1]

    def assert_stays(reply: Reply) -> None:
        assert reply.status in (200, 201), reply
        assert tag_of(site.client, path) == seen[-1]

    for given in ({"name": "Ines"}, {"subscribed": True}, {"custom_9": "9"}, {"address_zip": ""}):
        assert_changes(patch(site.client, path, change("contacts", contact["id"], **given)))
    assert_changes(site.client.post(f"{path}/relationships/tags", identifiers(tag["id"])))
    assert_changes(
        site.client.post(
            "/v1/contacts/upsert", {"data": resource(site, email="ines@example.test", name="I.")}
        )
    )
    assert_stays(patch(site.client, f"/v1/contacts/{other['id']}", renamed("Other")))
    assert_stays(site.client.post(f"/v1/contacts/{other['id']}/relationships/tags", identifiers(tag["id"])))
    assert_stays(site.create(email="third@example.test"))
    assert_stays(site.client.get(path))
    assert_changes(delete(site.client, f"/v1/contact_tags/{tag['id']}"))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_who_has_the_present_form_is_answered_304_without_a_body(site: SiteWorld, method: str) -> None:
    path = f"/v1/contacts/{new_contact(site)['id']}"
    tag = tag_of(site.client, path)
    for known in (tag, f"W/{tag}", f'{STALE}, {tag}, "x"', f"{STALE},{tag}", "*"):
        reply = site.client.request(method, path, headers={"If-None-Match": known})
        assert (reply.status, reply.body) == (304, b"")
        assert reply.headers["etag"] == tag
        assert "content-type" not in reply.headers
    for unknown in (STALE, f"W/{STALE}", tag.strip('"'), f'"{tag[1:-2]}"', '""'):
        reply = site.client.request(method, path, headers={"If-None-Match": unknown})
        assert (reply.status, reply.headers["etag"]) == (200, tag)
    assert patch(site.client, path, renamed("Other")).status == 200
    reply = site.client.request(method, path, headers={"If-None-Match": tag})
    assert reply.status == 200
    assert reply.headers["etag"] != tag


@pytest.mark.parametrize("of_type", EVERY_TYPE)
def test_every_resource_is_answered_304_to_who_has_it(
    server: RunningServer, site: SiteWorld, of_type: str
) -> None:
    client, created, changes = one_of(server, site, of_type)
    path = f"/v1/{of_type}/{made(created)['id']}"
    known = {"If-None-Match": created.headers["etag"]}
    assert client.get(path, headers=known).status == 304
    assert patch(client, path, changes).status == 200
    reply = client.get(path, headers=known)
    assert reply.status == 200
    assert changes["data"]["attributes"].items() <= reply.json["data"]["attributes"].items()


def test_a_304_does_not_hide_from_who_may_not_see(server: RunningServer, site: SiteWorld) -> None:
    path = f"/v1/contacts/{new_contact(site)['id']}"
    known = {"If-None-Match": tag_of(site.client, path)}
    assert_refused(server.new_site().client.get(path, headers=known), NOT_FOUND)
    assert key_for(server, site, permissions=("edit:contacts",)).get(path, headers=known).status == 403
    assert server.client().get(path, headers=known).status == 401


def test_a_change_of_what_is_included_is_not_answered_304(site: SiteWorld) -> None:
    contact, tag = new_contact(site), new_tag(site, "First")
    path = f"/v1/contacts/{contact['id']}"
    assert patch(site.client, f"{path}/relationships/tags", identifiers(tag["id"])).status == 200
    known = {"If-None-Match": tag_of(site.client, f"{path}?include=tags")}
    assert site.client.get(f"{path}?include=tags", headers=known).status == 304
    assert patch(site.client, f"/v1/contact_tags/{tag['id']}", renamed("Second")).status == 200
    reply = site.client.get(f"{path}?include=tags", headers=known)
    assert reply.status == 200
    assert reply.json["included"][0]["attributes"]["name"] == "Second"


@pytest.mark.parametrize(
    "query", ["", "?include=tags", "?fields[contacts]=name", "?include=tags,site&fields[sites]=title"]
)
def test_the_tag_of_any_reading_can_be_expected_by_a_change(site: SiteWorld, query: str) -> None:
    contact, tag = new_contact(site), new_tag(site, "One")
    path = f"/v1/contacts/{contact['id']}"
    assert patch(site.client, f"{path}/relationships/tags", identifiers(tag["id"])).status == 200
    read = tag_of(site.client, path + query)
    changed = patch(site.client, path, renamed("First"), headers=match(read))
    assert changed.status == 200, changed
    assert_refused(patch(site.client, path, renamed("Second"), headers=match(read)), CHANGED_MEANWHILE)
    assert patch(site.client, path, renamed("Third"), headers=match(changed.headers["etag"])).status == 200


@pytest.mark.parametrize("of_type", EVERY_TYPE)
def test_a_change_that_expects_another_form_is_refused(
    server: RunningServer, site: SiteWorld, of_type: str
) -> None:
    client, created, changes = one_of(server, site, of_type)
    path = f"/v1/{of_type}/{made(created)['id']}"
    read = created.headers["etag"]
    before = shown(client, path)
    for wrong in (STALE, f"W/{read}", read.strip('"'), f'{STALE}, "x"', '""'):
        assert_refused(patch(client, path, changes, headers=match(wrong)), CHANGED_MEANWHILE)
    assert shown(client, path) == before
    changed = patch(client, path, changes, headers=match(read))
    assert changed.status == 200
    assert_refused(patch(client, path, changes, headers=match(read)), CHANGED_MEANWHILE)
    assert shown(client, path) == changed.json["data"]
    for right in ("*", f"{STALE}, {changed.headers['etag']}", f"{STALE},{changed.headers['etag']},*"[:-2]):
        assert patch(client, path, changes, headers=match(right)).status == 200


@pytest.mark.parametrize("of_type", ["contacts", "contact_tags", "contact_notes"])
def test_a_deletion_that_expects_another_form_is_refused(
    server: RunningServer, site: SiteWorld, of_type: str
) -> None:
    client, created, changes = one_of(server, site, of_type)
    path = f"/v1/{of_type}/{made(created)['id']}"
    changed = patch(client, path, changes)
    for wrong in (created.headers["etag"], STALE, f"W/{changed.headers['etag']}"):
        assert_refused(delete(client, path, headers=match(wrong)), CHANGED_MEANWHILE)
    assert shown(client, path) == changed.json["data"]
    deleted = delete(client, path, headers=match(changed.headers["etag"]))
    assert (deleted.status, deleted.json) == (200, {"data": {}})
    assert client.get(path).status == 404


@pytest.mark.parametrize("action", ["merge", "erase"])
def test_a_merge_and_an_erasure_that_expect_another_form_are_refused(site: SiteWorld, action: str) -> None:
    contact, other = new_contact(site), new_contact(site, "other@example.test")
    path = f"/v1/contacts/{contact['id']}"
    before = tag_of(site.client, path)
    changed = patch(site.client, path, renamed("Somebody else by now"))
    sent = {"data": {"type": "contacts", "id": other["id"]}} if action == "merge" else None
    for wrong in (before, STALE, tag_of(site.client, f"/v1/contacts/{other['id']}")):
        refused = site.client.post(f"{path}/{action}", sent, headers=match(wrong))
        assert_refused(refused, CHANGED_MEANWHILE)
    assert listed(site.client, "/v1/contacts?sort=email") == [changed.json["data"], other]
    done = site.client.post(f"{path}/{action}", sent, headers=match(changed.headers["etag"]))
    assert done.status == 200, done
    assert len(listed(site.client, "/v1/contacts")) == 1


def test_a_deletion_that_expects_anything_needs_something_to_be_there(site: SiteWorld) -> None:
    path = f"/v1/contacts/{new_contact(site)['id']}"
    assert delete(site.client, path, headers=match("*")).status == 200
    for expected in ("*", STALE):
        assert_refused(delete(site.client, path, headers=match(expected)), NOT_FOUND)
        assert_refused(patch(site.client, path, renamed("A"), headers=match(expected)), NOT_FOUND)
        tags = f"{path}/relationships/tags"
        assert_refused(site.client.post(tags, identifiers(), headers=match(expected)), NOT_FOUND)


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_a_write_of_tags_expects_the_form_of_the_contact(site: SiteWorld, method: str) -> None:
    one, two = new_tag(site, "One")["id"], new_tag(site, "Two")["id"]
    contact = new_contact(site)
    path = f"/v1/contacts/{contact['id']}"
    tags = f"{path}/relationships/tags"
    assert patch(site.client, tags, identifiers(one)).status == 200
    read = tag_of(site.client, path)
    named = identifiers(one) if method == "DELETE" else identifiers(two)
    expected = {"POST": [one, two], "PATCH": [two], "DELETE": []}[method]
    for wrong in (STALE, f"W/{read}"):
        assert_refused(site.client.request(method, tags, named, headers=match(wrong)), CHANGED_MEANWHILE)
    assert tag_ids(shown(site.client, path)) == [one]
    done = site.client.request(method, tags, named, headers=match(read))
    assert done.status == 200, done
    assert sorted(each["id"] for each in done.json["data"]) == expected
    late = site.client.request(method, tags, identifiers(one), headers=match(read))
    assert_refused(late, CHANGED_MEANWHILE)
    assert tag_ids(shown(site.client, path)) == expected
    assert site.client.request(method, tags, named, headers=match("*")).status == 200


def test_a_write_of_tags_is_refused_when_the_contact_was_renamed(site: SiteWorld) -> None:
    tag, contact = new_tag(site, "One")["id"], new_contact(site)
    path = f"/v1/contacts/{contact['id']}"
    read = tag_of(site.client, path)
    assert patch(site.client, path, renamed("Other")).status == 200
    late = site.client.post(f"{path}/relationships/tags", identifiers(tag), headers=match(read))
    assert_refused(late, CHANGED_MEANWHILE)
    assert tag_ids(shown(site.client, path)) == []


def test_a_refused_change_leaves_no_trace(site: SiteWorld) -> None:
    contact = new_contact(site, subscribed=True)
    path = f"/v1/contacts/{contact['id']}"
    sent = change("contacts", contact["id"], subscribed=False, name="Other", email="other@example.test")
    assert_refused(patch(site.client, path, sent, headers=match(STALE)), CHANGED_MEANWHILE)
    assert shown(site.client, path) == contact
    assert ledger(site.client, contact["id"]) == ["subscribed"]
    assert total(site.client, "/v1/contacts?filter[search]=other@example") == 0
    events = listed(site.client, f"/v1/audit_events?filter[resource_id]={contact['id']}")
    assert [each["attributes"]["action"] for each in events] == ["contacts.create"]


def test_of_many_racing_changes_with_one_tag_one_wins(server: RunningServer, site: SiteWorld) -> None:
    print(f"seed: {SEED}")
    rng = random.Random(SEED)
    clients = [server.client(site.token) for _ in range(RACERS)]
    contact = new_contact(site)
    path = f"/v1/contacts/{contact['id']}"
    for round_number in range(10):
        read = tag_of(site.client, path)
        names = [f"Round {round_number} {rng.random()}" for _ in clients]

        def ask(number: int, read: str = read, names: list[str] = names) -> Reply:
            return patch(clients[number], path, renamed(names[number]), headers=match(read))

        replies = at_once(RACERS, ask)
        (winner,) = [number for number, reply in enumerate(replies) if reply.status == 200]
        assert shown(site.client, path)["attributes"]["name"] == names[winner]
        for number, reply in enumerate(replies):
            if number != winner:
                assert_refused(reply, CHANGED_MEANWHILE)


def held_together(server: RunningServer, site: SiteWorld, *asks: Callable[[Client], Reply]) -> list[Reply]:
    """Send requests while nothing can be written, so that all have been read before any is done."""
    replies: dict[int, Reply] = {}

    def work(number: int, ask: Callable[[Client], Reply]) -> None:
        replies[number] = ask(server.client(site.token))

    threads = [threading.Thread(target=work, args=each) for each in enumerate(asks)]
    with writes_held(server.database_url):
        for thread in threads:
            thread.start()
        for thread in threads:
            # Long enough for a read of a resource to have been over, and none can have been answered.
            thread.join(0.1)
        assert replies == {}
    for thread in threads:
        thread.join(60)
    return [replies[number] for number in range(len(asks))]


def test_the_tag_is_compared_when_the_change_is_made_not_when_it_is_asked_for(
    server: RunningServer, site: SiteWorld
) -> None:
    path = f"/v1/contacts/{new_contact(site)['id']}"
    read = match(tag_of(site.client, path))
    replies = held_together(
        server,
        site,
        lambda client: patch(client, path, renamed("One"), headers=read),
        lambda client: patch(client, path, renamed("Two"), headers=read),
    )
    assert sorted(reply.status for reply in replies) == [200, 412]
    (winner,) = [reply for reply in replies if reply.status == 200]
    assert shown(site.client, path) == winner.json["data"]


def other_writes(path: str, tag: str) -> list[tuple[str, str, Any]]:
    """Return writes that race a change of a contact, as method, path and document."""
    return [
        ("DELETE", path, None),
        ("POST", f"{path}/relationships/tags", identifiers(tag)),
        ("PATCH", f"{path}/relationships/tags", identifiers(tag)),
    ]


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_change_and_another_write_with_one_tag_do_not_both_succeed(
    server: RunningServer, site: SiteWorld, which: int
) -> None:
    tag = new_tag(site, "One")["id"]
    path = f"/v1/contacts/{new_contact(site, name='Before')['id']}"
    read = match(tag_of(site.client, path))
    method, where, sent = other_writes(path, tag)[which]
    changed, other = held_together(
        server,
        site,
        lambda client: patch(client, path, renamed("Changed"), headers=read),
        lambda client: client.request(method, where, sent, headers=read),
    )
    if changed.status == 200:
        assert_refused(other, CHANGED_MEANWHILE)
        assert shown(site.client, path) == changed.json["data"]
    else:
        assert other.status == 200
        assert_refused(changed, NOT_FOUND if method == "DELETE" else CHANGED_MEANWHILE)
        left = site.client.get(path)
        assert left.status == (404 if method == "DELETE" else 200)
        if method != "DELETE":
            assert (left.json["data"]["attributes"]["name"], tag_ids(left.json["data"])) == ("Before", [tag])


def test_without_a_tag_the_last_change_stands(site: SiteWorld) -> None:
    path = f"/v1/contacts/{new_contact(site)['id']}"
    for name in ("One", "Two"):
        assert patch(site.client, path, renamed(name)).status == 200
    assert shown(site.client, path)["attributes"]["name"] == "Two"


def test_a_new_field_or_note_of_others_does_not_stand_in_the_way(site: SiteWorld) -> None:
    contact, other = new_contact(site), new_contact(site, "other@example.test")
    read = tag_of(site.client, f"/v1/contacts/{contact['id']}")
    new_note(site, other["id"], "About somebody else.")
    new_note(site, contact["id"], "A note is no part of the contact.")
    reply = patch(site.client, f"/v1/contacts/{contact['id']}", renamed("Other"), headers=match(read))
    assert reply.status == 200
    # A field that the site defines is a part of each contact from then on.
    new_field(site, "Industry")
    late = patch(
        site.client, f"/v1/contacts/{contact['id']}", renamed("A"), headers=match(reply.headers["etag"])
    )
    assert_refused(late, CHANGED_MEANWHILE)
