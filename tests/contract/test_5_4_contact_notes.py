"""Proves contract 5.4: contact notes made, listed by twenty, shown, changed and deleted."""

import pytest
from contract.answers import (
    FORBIDDEN,
    MOMENT,
    NOT_FOUND,
    Json,
    assert_refused,
    change,
    delete,
    document,
    ids,
    key_for,
    listed,
    new_contact,
    new_note,
    pass_the_moment,
    patch,
    shown,
)

from support import RunningServer, SiteWorld

NOTES = "/v1/contact_notes"


def path_of(note: Json) -> str:
    return f"{NOTES}/{note['id']}"


def test_a_made_note_is_answered_with_its_place_and_shown_and_listed_as_made(
    server: RunningServer, site: SiteWorld
) -> None:
    contact_id = new_contact(site)["id"]
    body = "Called back.\nWants the June date."
    given = document("contact_notes", {"body": body}, contact=("contacts", contact_id))
    reply = site.client.post(NOTES, given)
    note_id, made = reply.json["data"]["id"], reply.json["data"]["attributes"]["created_at"]
    url = f"{server.url}{NOTES}/{note_id}"
    note = {
        "id": note_id,
        "type": "contact_notes",
        "attributes": {"body": body, "created_at": made, "updated_at": made},
        "relationships": {"contact": {"data": {"id": contact_id, "type": "contacts"}}},
    }
    assert (reply.status, reply.headers["location"]) == (201, url)
    assert reply.json == {"data": note, "links": {"self": url, "current": url}}
    assert list(reply.json["data"]["attributes"]) == ["body", "created_at", "updated_at"]
    assert MOMENT.fullmatch(made)
    assert note_id.isdecimal()
    assert site.client.get(f"{NOTES}/{note_id}").json == reply.json
    assert site.client.get(NOTES).json == {
        "data": [note],
        "links": {"self": f"{server.url}{NOTES}", "current": f"{server.url}{NOTES}"},
        "meta": {"total": 1, "total_count": 1, "total_pages": 1, "current_page": 1},
    }


@pytest.mark.parametrize(
    "body", [" \n x \r\n\t", "Ünï e\u0301 \u00e9 😀", "<script>&amp;", "x" * 100_000, "\x01\x7f"]
)
def test_a_body_is_kept_byte_for_byte(site: SiteWorld, body: str) -> None:
    note = new_note(site, new_contact(site)["id"], body)
    assert shown(site.client, path_of(note))["attributes"]["body"] == body
    reply = patch(site.client, path_of(note), change("contact_notes", note["id"], body=f"{body}!"))
    assert reply.json["data"]["attributes"]["body"] == f"{body}!"


def test_a_body_may_be_a_number_the_contact_too_and_the_type_missing(site: SiteWorld) -> None:
    contact_id = new_contact(site)["id"]
    contact = {"contact": {"data": {"type": "contacts", "id": int(contact_id)}}}
    reply = site.client.post(
        NOTES, {"data": {"attributes": {"body": 12, "author": "x"}, "relationships": contact}}
    )
    assert (reply.status, reply.json["data"]["attributes"]["body"]) == (201, "12")
    assert reply.json["data"]["relationships"]["contact"]["data"]["id"] == contact_id
    assert "author" not in reply.json["data"]["attributes"]


def test_a_contact_has_as_many_notes_as_are_written_equal_ones_too(site: SiteWorld) -> None:
    contact_id = new_contact(site)["id"]
    assert len({new_note(site, contact_id, "Same")["id"] for _ in range(3)}) == 3


def test_the_newest_note_comes_first_unless_sorted(site: SiteWorld) -> None:
    contact_id, made = new_contact(site)["id"], []
    for number in range(3):
        made.append(new_note(site, contact_id, str(number)))
        pass_the_moment(made[-1])
    patch(site.client, path_of(made[1]), change("contact_notes", made[1]["id"], body="changed"))
    for query, expected in (
        ("", "210"),
        ("sort=-created_at", "210"),
        ("sort=created_at", "012"),
        ("sort=updated_at", "021"),
        ("sort=-updated_at", "120"),
        ("sort=body", "210"),
    ):
        found = ids(listed(site.client, f"{NOTES}?{query}"))
        assert found == [made[int(each)]["id"] for each in expected], query


def test_notes_are_found_by_contact_and_site(server: RunningServer) -> None:
    one, two, unseen = (server.new_site() for _ in range(3))
    a, b, c = new_contact(one, "a@x.test")["id"], new_contact(one, "b@x.test")["id"], new_contact(two)["id"]
    foreign = new_contact(unseen)["id"]
    new_note(unseen, foreign, "unseen")
    notes = {each: new_note(world, each, "x")["id"] for each, world in ((a, one), (b, one), (c, two))}
    client = key_for(server, one, two)
    for query, expected in (
        ("", [a, b, c]),
        (f"filter[contact_id]={a}", [a]),
        (f"filter[contact_id]={a},{c},1,x,", [a, c]),
        (f"filter[contact_id]={foreign}", []),
        ("filter[contact_id]=x", []),
        ("filter[contact_id]=", [a, b, c]),
        (f"filter[site_id]={one.id}", [a, b]),
        (f"filter[site_id]={one.id},{two.id}", [a, b, c]),
        (f"filter[site_id]={unseen.id}", []),
        (f"filter[site_id]={two.id}&filter[contact_id]={a}", []),
        (f"filter[site_id]={one.id}&filter[contact_id]={a},{c}", [a]),
    ):
        reply = client.get(f"{NOTES}?{query}").json
        assert sorted(ids(reply["data"])) == sorted(notes[each] for each in expected), query
        assert reply["meta"]["total"] == len(expected)


def test_notes_are_paged_by_twenty(server: RunningServer, site: SiteWorld) -> None:
    contact_id = new_contact(site)["id"]
    made = {new_note(site, contact_id, str(number))["id"] for number in range(45)}
    url, seen = f"{NOTES}?filter[contact_id]={contact_id}", []
    sizes = []
    following: str | None = url
    while following:
        reply = site.client.get(following).json
        assert (reply["meta"]["total"], reply["meta"]["total_pages"]) == (45, 3)
        sizes.append(len(reply["data"]))
        seen += ids(reply["data"])
        following = reply["links"].get("next", "").removeprefix(server.url)
    assert sizes == [20, 20, 5]
    assert set(seen) == made
    assert len(seen) == 45


def test_an_update_changes_the_body_alone(server: RunningServer, site: SiteWorld) -> None:
    contact, other = new_contact(site)["id"], new_contact(site, "other@example.test")["id"]
    note = new_note(site, contact, "Called back.")
    pass_the_moment(note)
    given = change("contact_notes", note["id"], body="Wants June.", created_at="2020-01-01T00:00:00.000Z")
    given["data"]["relationships"] = {"contact": {"data": {"type": "contacts", "id": other}}}
    reply = patch(site.client, path_of(note), given)
    url = f"{server.url}{path_of(note)}"
    attributes = reply.json["data"]["attributes"]
    assert attributes["updated_at"] > note["attributes"]["updated_at"]
    expected = note["attributes"] | {"body": "Wants June.", "updated_at": attributes["updated_at"]}
    assert (reply.status, reply.json) == (
        200,
        {"data": note | {"attributes": expected}, "links": {"self": url, "current": url}},
    )
    assert shown(site.client, path_of(note)) == reply.json["data"]
    assert listed(site.client, f"{NOTES}?filter[contact_id]={other}") == []


@pytest.mark.parametrize("attributes", [{}, {"unknown": "x"}])
def test_an_update_without_a_body_leaves_it(site: SiteWorld, attributes: Json) -> None:
    note = new_note(site, new_contact(site)["id"], "Called back.")
    reply = patch(site.client, path_of(note), {"data": {"attributes": attributes}})
    assert (reply.status, reply.json["data"]["attributes"]["body"]) == (200, "Called back.")


def test_a_delete_answers_an_empty_data_and_again_404(site: SiteWorld) -> None:
    contact_id = new_contact(site)["id"]
    note, kept = new_note(site, contact_id, "gone"), new_note(site, contact_id, "kept")
    reply = delete(site.client, path_of(note), {"data": {}})
    assert (reply.status, reply.body) == (200, b'{"data":{}}')
    assert reply.headers["content-type"] == "application/vnd.api+json"
    assert_refused(delete(site.client, path_of(note)), NOT_FOUND)
    assert_refused(site.client.get(path_of(note)), NOT_FOUND)
    assert_refused(
        patch(site.client, path_of(note), change("contact_notes", note["id"], body="x")), NOT_FOUND
    )
    assert listed(site.client, NOTES) == [kept]
    assert shown(site.client, f"/v1/contacts/{contact_id}")["id"] == contact_id


def test_the_contact_is_included_whole_and_once(site: SiteWorld) -> None:
    contacts = [new_contact(site, f"{number}@x.test") for number in range(2)]
    first = new_note(site, contacts[0]["id"], "one")
    new_note(site, contacts[0]["id"], "two")
    new_note(site, contacts[1]["id"], "three")
    included = site.client.get(f"{NOTES}?include=contact,contact").json["included"]
    assert sorted(included, key=lambda each: int(each["id"])) == contacts
    assert site.client.get(f"{path_of(first)}?include=contact").json["included"] == contacts[:1]
    sparse = site.client.get(f"{path_of(first)}?include=contact&fields[contacts]=email").json["included"]
    assert sparse == [contacts[0] | {"attributes": {"email": "0@x.test"}}]
    assert "included" not in site.client.get(path_of(first)).json


@pytest.mark.parametrize("alias", ["contact_notes", "contact_note"])
def test_sparse_fields_leave_the_contact_of_a_note(site: SiteWorld, alias: str) -> None:
    note = new_note(site, new_contact(site)["id"], "Called back.")
    for path in (path_of(note), NOTES):
        data = site.client.get(f"{path}?fields[{alias}]=body,unknown").json["data"]
        data = data[0] if isinstance(data, list) else data
        assert data == note | {"attributes": {"body": "Called back."}}


def test_the_notes_of_an_unseen_site_are_unknown(server: RunningServer, site: SiteWorld) -> None:
    other = server.new_site()
    note = new_note(other, new_contact(other)["id"], "theirs")
    assert_refused(site.client.get(path_of(note)), NOT_FOUND)
    assert_refused(delete(site.client, path_of(note)), NOT_FOUND)
    assert listed(site.client, NOTES) == []
    assert shown(other.client, path_of(note)) == note


def test_notes_ask_for_their_own_permissions(server: RunningServer, site: SiteWorld) -> None:
    contact_id = new_contact(site)["id"]
    given = document("contact_notes", {"body": "x"}, contact=("contacts", contact_id))
    of_contacts = key_for(server, site, permissions=("view:contacts", "edit:contacts"))
    assert_refused(of_contacts.get(NOTES), FORBIDDEN)
    assert_refused(of_contacts.post(NOTES, given), FORBIDDEN)
    assert key_for(server, site, permissions=("edit:contact_notes",)).post(NOTES, given).status == 201
