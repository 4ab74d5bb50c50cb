"""Proves that each route asks for its permission, and that a foreign id costs no other statements than an unknown one."""

from typing import Any

import pytest
from register.house import caller, create, new, open_register, page, stored

from rollbook.jsonapi.errors import Refused
from rollbook.register import contacts, tags
from rollbook.register.callers import PERMISSIONS
from rollbook.register.catalogue import RESOURCES
from rollbook.register.resource import OneAsked, find, one
from support import RunningServer

NEEDS = {
    ("GET", "contacts", ""): "view:contacts",
    ("POST", "contacts", ""): "edit:contacts",
    ("GET", "contacts", "/{id}"): "view:contacts",
    ("PATCH", "contacts", "/{id}"): "edit:contacts",
    ("DELETE", "contacts", "/{id}"): "edit:contacts",
    ("GET", "contacts", "/{id}/relationships/tags"): "view:contacts",
    ("POST", "contacts", "/{id}/relationships/tags"): "edit:contacts",
    ("GET", "contacts", "/{id}/consent_events"): "view:contacts",
    ("GET", "contacts", "/{id}/export"): "view:contact_notes",
    ("POST", "contacts", "/{id}/erase"): "edit:contact_notes",
    ("POST", "contacts", "/{id}/merge"): "edit:contact_notes",
    ("POST", "contacts", "/upsert"): "edit:contacts",
    ("GET", "contacts", "?include=tags"): "view:contact_tags",
    ("GET", "contact_tags", ""): "view:contact_tags",
    ("POST", "contact_tags", ""): "edit:contact_tags",
    ("PATCH", "contact_tags", "/{id}"): "edit:contact_tags",
    ("DELETE", "contact_tags", "/{id}"): "edit:contact_tags",
    ("GET", "contact_notes", ""): "view:contact_notes",
    ("PATCH", "contact_notes", "/{id}"): "edit:contact_notes",
    ("GET", "custom_fields", ""): "view:custom_fields",
    ("POST", "custom_fields", ""): "edit:custom_fields",
    ("PATCH", "sites", "/{id}"): "edit:sites",
    ("GET", "audit_events", ""): "view:audit_events",
}


@pytest.mark.parametrize("need", NEEDS, ids=lambda need: " ".join(need))
def test_a_key_without_the_permission_is_refused_on_a_site_that_it_sees(
    server: RunningServer, need: tuple[str, str, str]
) -> None:
    method, type_name, rest = need
    others = tuple(name for name in PERMISSIONS if name != NEEDS[need])
    site = server.new_site(permissions=others)
    whole = server.client(server.token(*everything_on(server, site.id)))
    in_site = {"site": {"data": {"type": "sites", "id": site.id}}}
    person = whole.post(
        "/v1/contacts", {"data": {"attributes": {"email": "a@b.test"}, "relationships": in_site}}
    )
    about = {"contact": {"data": {"type": "contacts", "id": person.json["data"]["id"]}}}
    ids = {
        "sites": site.id,
        "contacts": person.json["data"]["id"],
        "contact_tags": whole.post(
            "/v1/contact_tags", {"data": {"attributes": {"name": "T"}, "relationships": in_site}}
        ).json["data"]["id"],
        "contact_notes": whole.post(
            "/v1/contact_notes", {"data": {"attributes": {"body": "B"}, "relationships": about}}
        ).json["data"]["id"],
    }
    document: Any = {"data": {"attributes": {"email": "n@b.test"}, "relationships": in_site}}
    if rest.endswith("/tags"):
        document = {"data": []}
    if rest.endswith("/merge"):
        document = {"data": {"type": "contacts", "id": ids["contacts"]}}
    path = f"/v1/{type_name}{rest.replace('{id}', ids.get(type_name, ''))}"
    sent = None if method == "GET" else document
    refused = site.client.request(method, path, sent)
    assert refused.status == 403, refused
    assert refused.json["errors"][0]["detail"] == "You do not have permission to perform this action"
    unseen = site.client.request(method, path.replace(ids.get(type_name, "-"), "999"), sent)
    assert unseen.status == (404 if "{id}" in rest else 403)


def everything_on(server: RunningServer, site_id: str) -> tuple[str, str]:
    """Make a key with every permission on a site; return its client id and secret."""
    from rollbook.register import keys  # noqa: PLC0415
    from rollbook.storage.database import open_database  # noqa: PLC0415

    database = open_database(server.database_url)
    try:
        with database.transaction() as transaction:
            key = keys.create(transaction, name="Whole", site_ids=[int(site_id)])
    finally:
        database.close()
    return key.client_id, key.client_secret or ""


def test_a_foreign_id_costs_as_many_statements_as_an_unknown_one(tmp_path: Any) -> None:
    database = open_register(tmp_path / "rollbook.db")
    (answer,) = create(database, new(site_id=2, who=caller(2), email="a@b.test"))
    foreign, asker = stored(answer).id, caller(1)
    with database.transaction() as transaction:
        (tag,) = tags.create_many(transaction, [tags.NewTag(caller(2), 2, "T", ())])
    assert not isinstance(tag, Refused)

    def cost_of_one(contact_id: int) -> int:
        with database.snapshot() as snapshot:
            asked = OneAsked(contacts.RESOURCE, str(contact_id), (), asker.sites, RESOURCES)
            assert one(snapshot, asked) is None
            with pytest.raises(Refused):
                find(snapshot, contacts.RESOURCE, asker, str(contact_id))
            with pytest.raises(Refused):
                tags.ids_of_known(snapshot, 1, [str(contact_id)])
            return snapshot.statements_run

    assert cost_of_one(foreign) == cost_of_one(foreign + 400)
    for name, there, nowhere in (
        ("has_tag_id", tag.id, tag.id + 400),
        ("has_all_tag_id", tag.id, tag.id + 400),
        ("has_no_tag_id", tag.id, tag.id + 400),
        ("site_id", 2, 99),
    ):
        costs = {page(database, f"filter[{name}]={each}", asker)[1] for each in (there, nowhere)}
        assert len(costs) == 1, name
    database.close()
