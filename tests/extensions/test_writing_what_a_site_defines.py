"""Proves the writing of tags, custom fields and sites, and that the audit tells who did it."""

from collections import Counter
from typing import Any

import pytest

from support import Client, Reply, RunningServer, SiteWorld, run_rollbook


def in_site(site: SiteWorld) -> dict[str, Any]:
    return {"site": {"data": {"type": "sites", "id": site.id}}}


def post(site: SiteWorld, type_name: str, **attributes: Any) -> Reply:
    document = {"data": {"type": type_name, "attributes": attributes, "relationships": in_site(site)}}
    return site.client.post(f"/v1/{type_name}", document)


def patch(site: SiteWorld, type_name: str, resource_id: str, **attributes: Any) -> Reply:
    document = {"data": {"type": type_name, "id": resource_id, "attributes": attributes}}
    return site.client.request("PATCH", f"/v1/{type_name}/{resource_id}", document)


def details(reply: Reply) -> list[str]:
    return [error["detail"] for error in reply.json["errors"]]


@pytest.mark.parametrize("name", ["Spring", "SPRING", "spring ", " Spring", "ＳＰＲＩＮＧ"])
def test_a_tag_that_looks_like_another_is_refused_and_names_it(site: SiteWorld, name: str) -> None:
    first = post(site, "contact_tags", name="spring").json["data"]["id"]
    refused = post(site, "contact_tags", name=name)
    assert (refused.status, details(refused)) == (422, ["Name has already been taken"])
    assert refused.json["errors"][0]["meta"] == {"existing_id": first}


def test_a_tag_is_renamed_archived_brought_back_and_deleted(site: SiteWorld) -> None:
    tag = post(site, "contact_tags", name="June").json["data"]["id"]
    contact = site.create(email="a@x.test").json["data"]["id"]
    path = f"/v1/contacts/{contact}/relationships/tags"
    site.client.post(path, {"data": [{"type": "contact_tags", "id": tag}]})
    assert patch(site, "contact_tags", tag, name="July").json["data"]["attributes"] == {"name": "July"}
    archived = patch(site, "contact_tags", tag, archived=True)
    assert archived.json["data"]["attributes"] == {"name": "July", "archived": True}
    assert site.client.get("/v1/contact_tags").json["data"] == []
    assert site.client.get("/v1/contact_tags").json["meta"]["total"] == 0
    assert site.client.get(f"/v1/contact_tags/{tag}").status == 200
    assert len(site.client.get(path).json["data"]) == 1
    assert details(post(site, "contact_tags", name="July")) == ["Name has already been taken"]
    assert patch(site, "contact_tags", tag, archived=False).json["data"]["attributes"] == {"name": "July"}
    assert site.client.request("DELETE", f"/v1/contact_tags/{tag}").json == {"data": {}}
    assert site.client.get(path).json["data"] == []
    assert site.client.get(f"/v1/contacts/{contact}").json["data"]["relationships"]["tags"]["data"] == []
    assert site.client.request("DELETE", f"/v1/contact_tags/{tag}").status == 404
    assert post(site, "contact_tags", name="July").status == 201


def test_a_contact_answers_a_field_from_its_definition_on(site: SiteWorld) -> None:
    contact = site.create(email="a@x.test", custom_5="five").json["data"]["id"]

    def answered() -> dict[str, Any]:
        attributes = site.client.get(f"/v1/contacts/{contact}").json["data"]["attributes"]
        return {name: value for name, value in attributes.items() if name.startswith("custom_")}

    assert answered() == {"custom_5": "five"}
    field = post(site, "custom_fields", title="Industry", handle="custom_12").json["data"]
    assert field["attributes"] == {
        "title": "Industry",
        "handle": "custom_12",
        "type": "TextField",
        "required": False,
    }
    assert list(answered().items()) == [("custom_5", "five"), ("custom_12", None)]
    patch(site, "custom_fields", field["id"], archived=True)
    assert answered() == {"custom_5": "five"}
    assert site.client.get("/v1/custom_fields").json["data"] == []


def test_handles_are_given_from_the_lowest_and_end_at_150(site: SiteWorld) -> None:
    assert post(site, "custom_fields", title="B", handle="custom_2").status == 201
    handles = [
        post(site, "custom_fields", title="x").json["data"]["attributes"]["handle"] for _ in range(149)
    ]
    assert handles == ["custom_1", *(f"custom_{number}" for number in range(3, 151))]
    assert details(post(site, "custom_fields", title="x")) == ["All of custom_1 to custom_150 are taken"]


@pytest.mark.parametrize(
    "handle", ["custom_0", "custom_151", "custom_01", "custom_", "industry", "custom_1x", ""]
)
def test_a_handle_that_is_none_is_refused(site: SiteWorld, handle: str) -> None:
    assert details(post(site, "custom_fields", title="T", handle=handle)) == ["Handle is invalid"]


def test_a_field_is_judged_whole(site: SiteWorld) -> None:
    post(site, "custom_fields", title="T", handle="custom_1")
    refused = post(site, "custom_fields", title=" ", handle="custom_1", type="Dropdown", required="maybe")
    assert details(refused) == [
        "Title can't be blank", "Handle has already been taken", "Type is invalid", "Required is invalid",
    ]  # fmt: skip


def test_a_key_that_sees_all_makes_a_site_and_one_that_does_not_may_not(
    server: RunningServer, site: SiteWorld
) -> None:
    document = {"data": {"type": "sites", "attributes": {"title": f"Harbour {site.id}"}}}
    assert site.client.post("/v1/sites", document).status == 403
    client = owner(server)
    made = client.post("/v1/sites", document)
    assert (made.status, made.json["data"]["attributes"]["subdomain"]) == (201, f"harbour-{site.id}")
    new = made.json["data"]["id"]
    contact = {
        "data": {
            "attributes": {"email": "a@x.test"},
            "relationships": {"site": {"data": {"type": "sites", "id": new}}},
        }
    }
    assert client.post("/v1/contacts", contact).status == 201
    changed = client.request("PATCH", f"/v1/sites/{new}", {"data": {"attributes": {"title": "Harbour"}}})
    assert changed.json["data"]["attributes"]["title"] == "Harbour"
    taken = client.post(
        "/v1/sites", {"data": {"attributes": {"title": "", "subdomain": f"harbour-{site.id}"}}}
    )
    assert details(taken) == ["Title can't be blank", "Subdomain has already been taken"]
    assert client.request("DELETE", f"/v1/sites/{new}").status == 404


def owner(server: RunningServer) -> Client:
    """Return a client with a key that sees all sites."""
    made = run_rollbook("keys", "create", "--json", ROLLBOOK_DATABASE=server.database_url)
    assert made.returncode == 0, made.stderr
    words = made.stdout.split('"')
    client_id, secret = (words[words.index(name) + 2] for name in ("client_id", "client_secret"))
    return server.client(server.token(client_id, secret))


@pytest.mark.parametrize(("of", "name"), [("contact_tags", "name"), ("custom_fields", "title")])
def test_what_is_archived_says_so_and_is_shown_by_its_id(site: SiteWorld, of: str, name: str) -> None:
    made = post(site, of, **{name: "Spring"}).json["data"]
    path = f"/v1/{of}/{made['id']}"
    assert "archived" not in made["attributes"]
    for archived, listed_then in ((True, 0), (False, 1)):
        change = {"data": {"type": of, "id": made["id"], "attributes": {"archived": archived}}}
        changed = site.client.request("PATCH", path, change).json["data"]
        assert changed["attributes"] == made["attributes"] | ({"archived": True} if archived else {})
        assert site.client.get(path).json["data"] == changed
        assert site.client.get(f"/v1/{of}").json["meta"]["total"] == listed_then


def test_every_write_is_audited_and_one_that_changes_nothing_or_is_refused_is_not(
    server: RunningServer, site: SiteWorld
) -> None:
    client = site.client
    contact, other, gone = (
        site.create(email=f"{at}@x.test").json["data"]["id"] for at in ("one", "other", "gone")
    )
    tag = post(site, "contact_tags", name="T").json["data"]["id"]
    field = post(site, "custom_fields", title="F").json["data"]["id"]
    about = {"contact": {"data": {"type": "contacts", "id": contact}}}
    note = {"data": {"attributes": {"body": "B"}, "relationships": about}}
    note_id = client.post("/v1/contact_notes", note).json["data"]["id"]
    upserted, batched, operated = (site.document(email="one@x.test", name=name) for name in "UBO")
    operated["data"]["id"] = contact
    tags = f"/v1/contacts/{contact}/relationships/tags"
    linkage = {"data": [{"type": "contact_tags", "id": tag}]}
    for _ in range(2):
        # What is done again changes nothing.
        client.post("/v1/contacts/upsert", upserted)
    for method in ("POST", "POST", "DELETE", "DELETE", "PATCH", "PATCH"):
        client.request(method, tags, linkage)
    client.post(
        "/v1/contacts/batch",
        {
            "data": [batched["data"], site.document(email="new@x.test")["data"], {"type": "contacts"}],
            "meta": {"on_duplicate": "update"},
        },
    )
    client.post("/v1/operations", {"atomic:operations": [{"op": "update", "data": operated["data"]}]})
    client.post("/v1/operations", {"atomic:operations": [{"op": "remove", "ref": {"type": "x"}}]})
    for of, which, name in (
        ("contacts", contact, "name"), ("contact_tags", tag, "name"), ("custom_fields", field, "title"),
        ("contact_notes", note_id, "body"), ("sites", site.id, "title"),
    ):  # fmt: skip
        for value in ("Z", "Z", True):
            patch(site, of, which, **{name: value})
    client.post(f"/v1/contacts/{contact}/merge", {"data": {"type": "contacts", "id": other}})
    client.request("DELETE", f"/v1/contact_notes/{note_id}")
    client.request("DELETE", f"/v1/contact_tags/{tag}")
    for _ in range(2):
        client.request("DELETE", f"/v1/contacts/{gone}")
        client.post(f"/v1/contacts/{contact}/erase")
    events = client.get("/v1/audit_events?page[size]=100").json["data"]
    assert Counter(each["attributes"]["action"] for each in events) == {
        # Three, and one of the batch; upsert, three of tags, batch, operation and PATCH.
        "contacts.create": 4, "contacts.update": 7, "contacts.merge": 2, "contacts.delete": 1, "contacts.erase": 1,
        "contact_tags.create": 1, "contact_tags.update": 1, "contact_tags.delete": 1,
        "contact_notes.create": 1, "contact_notes.update": 1, "contact_notes.delete": 1,
        "custom_fields.create": 1, "custom_fields.update": 1, "sites.update": 1,
    }  # fmt: skip


def test_the_audit_tells_who_did_what_newest_first_without_personal_data(site: SiteWorld) -> None:
    tag = post(site, "contact_tags", name="Secret name").json["data"]["id"]
    contact = site.create(name="Secret name", email="secret@x.test").json["data"]["id"]
    site.client.post(
        f"/v1/contacts/{contact}/relationships/tags", {"data": [{"type": "contact_tags", "id": tag}]}
    )
    site.client.request("DELETE", f"/v1/contact_tags/{tag}")
    site.client.post(f"/v1/contacts/{contact}/erase")
    reply = site.client.get("/v1/audit_events")
    done = {(each["attributes"]["action"], each["attributes"]["resource_id"]) for each in reply.json["data"]}
    assert done == {
        ("contact_tags.create", tag), ("contacts.create", contact), ("contacts.update", contact),
        ("contact_tags.delete", tag), ("contacts.erase", contact),
    }  # fmt: skip
    stamps = [each["attributes"]["occurred_at"] for each in reply.json["data"]]
    assert stamps == sorted(stamps, reverse=True)
    assert "ecret" not in reply.body.decode()
    one = site.client.get(f"/v1/audit_events?filter[resource_id]={tag}&filter[action_eq]=contact_tags.delete")
    assert one.json["meta"]["total"] == 1
    assert [
        site.client.get(f"/v1/audit_events/{each['id']}").json["data"] for each in reply.json["data"]
    ] == (reply.json["data"])
    key_id = one.json["data"][0]["attributes"]["key_id"]
    assert site.client.get(f"/v1/audit_events?filter[key_id]={key_id}").json["meta"]["total"] == 5
