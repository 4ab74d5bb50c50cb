"""Proves that each route asks for its permission, and that a foreign id costs no other statements than an unknown one."""

from typing import Any

import pytest
from register.house import caller, create, new, open_register, page, stored

from databases import direct
from rollbook.api.routes import all_routes
from rollbook.jsonapi.errors import Refused
from rollbook.register import contacts, merging, notes, tags
from rollbook.register.callers import PERMISSIONS, Caller
from rollbook.register.catalogue import RESOURCES
from rollbook.register.resource import Found, OneAsked, each_one, find
from support import RunningServer

OF_TAGS = "/v1/contacts/{id}/relationships/tags"
NEEDS: dict[tuple[str, str], tuple[str, ...]] = {
    ("GET", "/v1/contacts"): ("view:contacts",),
    ("POST", "/v1/contacts"): ("edit:contacts",),
    ("GET", "/v1/contacts/{id}"): ("view:contacts",),
    ("PATCH", "/v1/contacts/{id}"): ("edit:contacts",),
    ("DELETE", "/v1/contacts/{id}"): ("edit:contacts",),
    ("GET", OF_TAGS): ("view:contacts",),
    ("POST", OF_TAGS): ("edit:contacts",),
    ("PATCH", OF_TAGS): ("edit:contacts",),
    ("DELETE", OF_TAGS): ("edit:contacts",),
    ("GET", "/v1/contacts/{id}/consent_events"): ("view:contacts",),
    ("GET", "/v1/contacts/{id}/export"): (
        "view:contacts",
        "view:contact_tags",
        "view:contact_notes",
        "view:audit_events",
    ),
    ("POST", "/v1/contacts/{id}/erase"): ("edit:contacts", "edit:contact_notes"),
    ("POST", "/v1/contacts/{id}/merge"): ("edit:contacts", "edit:contact_notes"),
    ("POST", "/v1/contacts/upsert"): ("edit:contacts",),
    ("POST", "/v1/contacts/batch"): ("edit:contacts",),
    ("GET", "/v1/contact_tags"): ("view:contact_tags",),
    ("POST", "/v1/contact_tags"): ("edit:contact_tags",),
    ("GET", "/v1/contact_tags/{id}"): ("view:contact_tags",),
    ("PATCH", "/v1/contact_tags/{id}"): ("edit:contact_tags",),
    ("DELETE", "/v1/contact_tags/{id}"): ("edit:contact_tags",),
    ("GET", "/v1/contact_notes"): ("view:contact_notes",),
    ("POST", "/v1/contact_notes"): ("edit:contact_notes",),
    ("GET", "/v1/contact_notes/{id}"): ("view:contact_notes",),
    ("PATCH", "/v1/contact_notes/{id}"): ("edit:contact_notes",),
    ("DELETE", "/v1/contact_notes/{id}"): ("edit:contact_notes",),
    ("GET", "/v1/custom_fields"): ("view:custom_fields",),
    ("POST", "/v1/custom_fields"): ("edit:custom_fields",),
    ("GET", "/v1/custom_fields/{id}"): ("view:custom_fields",),
    ("PATCH", "/v1/custom_fields/{id}"): ("edit:custom_fields",),
    ("PATCH", "/v1/sites/{id}"): ("edit:sites",),
    ("GET", "/v1/audit_events"): ("view:audit_events",),
    ("GET", "/v1/audit_events/{id}"): ("view:audit_events",),
}
INCLUDES = {"tags": "view:contact_tags", "contact": "view:contacts"}
# Every key sees its sites and its user; a new site and operations are judged by tests of their own.
NEED_NONE = {
    ("GET", "/v1/sites"), ("GET", "/v1/sites/{id}"), ("GET", "/v1/me"), ("POST", "/v1/oauth/revoke"),
    ("POST", "/v1/sites"), ("POST", "/v1/operations"),
}  # fmt: skip
CASES = [
    *((*route, "", each) for route, needed in NEEDS.items() for each in needed),
    *(("GET", f"/v1/contacts{rest}", "?include=tags", INCLUDES["tags"]) for rest in ("", "/{id}")),
    *(("GET", f"/v1/contact_notes{rest}", "?include=contact", INCLUDES["contact"]) for rest in ("", "/{id}")),
]


def test_every_route_says_which_permissions_it_needs() -> None:
    routes = {(each.method, each.template) for each in all_routes(list(RESOURCES.values())) if each.bearer}
    assert NEEDS.keys() | NEED_NONE == routes


@pytest.mark.parametrize(("method", "template", "query", "permission"), CASES)
def test_a_key_without_the_permission_is_refused_on_a_site_that_it_sees(
    server: RunningServer, method: str, template: str, query: str, permission: str
) -> None:
    site = server.new_site(permissions=tuple(name for name in PERMISSIONS if name != permission))
    ids, document = furnished(server, site.id)
    type_name = template.split("/")[2]
    sent = None if method == "GET" else document
    if template.endswith("/tags"):
        sent = {"data": []}
    elif template.endswith("/merge"):
        sent = {"data": {"type": "contacts", "id": ids["contacts"]}}
    elif template.endswith("/batch"):
        sent = {"data": [document["data"]]}
    path = template.replace("{id}", ids.get(type_name, ""))
    refused = site.client.request(method, path + query, sent)
    if template.endswith("/batch"):
        (item,) = refused.json["meta"]["results"]
        assert item["errors"][0]["detail"] == "You do not have permission to perform this action"
        return
    assert refused.status == 403, refused
    assert refused.json["errors"][0]["detail"] == "You do not have permission to perform this action"
    if "{id}" in template:
        unseen = site.client.request(method, template.replace("{id}", "999") + query, sent)
        assert unseen.status == 404


def furnished(server: RunningServer, site_id: str) -> tuple[dict[str, str], Any]:
    """Make one of everything on a site; return the ids by type, and a document that creates any of them."""
    whole = server.client(server.token(*everything_on(server, site_id)))
    related: Any = {"site": {"data": {"type": "sites", "id": site_id}}}
    ids = {"sites": site_id}

    def make(type_name: str, attributes: Any) -> None:
        made = whole.post(f"/v1/{type_name}", {"data": {"attributes": attributes, "relationships": related}})
        ids[type_name] = made.json["data"]["id"]

    make("contacts", {"email": "a@b.test"})
    related["contact"] = {"data": {"type": "contacts", "id": ids["contacts"]}}
    for type_name, name in (("contact_tags", "name"), ("contact_notes", "body"), ("custom_fields", "title")):
        make(type_name, {name: "X"})
    ids["audit_events"] = whole.get("/v1/audit_events").json["data"][0]["id"]
    attributes = {"email": "n@b.test", "name": "N", "body": "B", "title": "T"}
    return ids, {"data": {"attributes": attributes, "relationships": related}}


def everything_on(server: RunningServer, site_id: str) -> tuple[str, str]:
    """Make a key with every permission on a site; return its client id and secret."""
    from rollbook.register import keys  # noqa: PLC0415
    from rollbook.storage.opening import open_database  # noqa: PLC0415

    database = open_database(direct(server.database_url))
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
            assert each_one(snapshot, [asked]) == [None]
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


def test_an_unknown_id_costs_as_many_statements_however_many_sites_a_key_sees(tmp_path: Any) -> None:
    database = open_register(tmp_path / "rollbook.db")

    def costs(asker: Caller) -> tuple[int, int]:
        with database.snapshot() as snapshot:
            with pytest.raises(Refused):
                find(snapshot, contacts.RESOURCE, asker, "2301999999")
            of_contact = snapshot.statements_run
            assert notes.all_problems(snapshot, notes.NewNote(asker, "2301999999", "x", ()))
            return of_contact, snapshot.statements_run - of_contact

    assert costs(caller(*range(1, 1_001))) == costs(caller(1))
    database.close()


def test_a_merged_contact_is_told_to_a_key_of_many_sites_and_to_none_of_others(tmp_path: Any) -> None:
    database = open_register(tmp_path / "rollbook.db")
    both = [new(site_id=2, who=caller(2), email=f"{name}@b.test") for name in "ab"]
    survivor, other = (stored(each).id for each in create(database, *both))
    with database.transaction() as transaction:
        found = Found(caller(2), 2, survivor)
        merging.merge_many(transaction, [merging.Merge(found, other)])
    for sites, told in (((1, 2, 3), ("contacts", survivor)), ((1, 3), None)):
        with database.snapshot() as snapshot, pytest.raises(Refused) as refused:
            find(snapshot, contacts.RESOURCE, caller(*sites), str(other))
        assert refused.value.problems[0].existing == told
    database.close()
