"""Proves, one by one, what the model and the server once disagreed about."""

from typing import Any

import pytest
from contract.answers import NOT_FOUND, assert_refused, attribute_error

from support import RunningServer, SiteWorld

Json = dict[str, Any]


def upsert(site: SiteWorld, meta: Json, **attributes: Any) -> Any:
    return site.client.post("/v1/contacts/upsert", {**site.document(**attributes), "meta": meta})


def test_the_problems_of_a_changed_tag_stand_in_the_order_of_the_attributes(site: SiteWorld) -> None:
    related = {"site": {"data": {"type": "sites", "id": site.id}}}
    tag = {"data": {"type": "contact_tags", "attributes": {"name": "Tag"}, "relationships": related}}
    path = site.client.post("/v1/contact_tags", tag).json["links"]["self"]
    change = {"data": {"attributes": {"archived": "yes", "name": {}}}}
    refused = site.client.request("PATCH", path.removeprefix(site.client.url), change)
    name, archived = (
        attribute_error("name", "Name is invalid"),
        attribute_error("archived", "Archived is invalid"),
    )
    assert_refused(refused, name, archived)


@pytest.mark.parametrize("name", ["address_city", "custom_7"])
@pytest.mark.parametrize(("own", "other", "united"), [("", None, ""), (None, "", ""), ("", "Porto", "Porto")])
def test_a_merge_loses_no_empty_text_to_one_that_is_missing(
    site: SiteWorld, name: str, own: str | None, other: str | None, united: str
) -> None:
    first = site.create(email="first@example.test", **{name: own}).json["data"]["id"]
    second = site.create(email="second@example.test", **{name: other}).json["data"]["id"]
    document = {"data": {"type": "contacts", "id": second}}
    merged = site.client.post(f"/v1/contacts/{first}/merge", document)
    assert merged.json["data"]["attributes"][name] == united


@pytest.mark.parametrize("email", [[], "no at sign", "a\0@example.test"])
def test_an_upsert_by_external_user_id_is_refused_for_an_email_that_cannot_be_one(
    site: SiteWorld, email: Any
) -> None:
    by_external = {"match": "external_user_id"}
    what = "contains characters that cannot be stored" if "\0" in email else "is invalid"
    invalid = attribute_error("email", f"Email {what}")
    blank = attribute_error("external_user_id", "External user id can't be blank")
    assert_refused(upsert(site, by_external, email=email, external_user_id="crm-1"), invalid)
    assert_refused(upsert(site, by_external, email=email, external_user_id=""), invalid, blank)


@pytest.mark.parametrize("external", [[], True, "a\0", "crm-1", None])
def test_an_upsert_by_email_ignores_any_external_user_id_whether_or_not_the_contact_is_new(
    site: SiteWorld, external: Any
) -> None:
    for status in (201, 200):
        answer = upsert(site, {}, email="ines@example.test", external_user_id=external)
        assert answer.status == status
        assert answer.json["data"]["attributes"]["external_user_id"] is None


def test_a_null_external_user_id_takes_none_away(site: SiteWorld) -> None:
    given = {"email": "ines@example.test", "external_user_id": "crm-1"}
    made = upsert(site, {"match": "external_user_id"}, **given).json
    path = f"/v1/contacts/{made['data']['id']}"
    changed = site.client.request("PATCH", path, {"data": {"attributes": {"external_user_id": None}}})
    assert changed.status == 200
    assert changed.json == made


def test_an_unknown_contact_is_unknown_before_it_matters_what_may_be_included(server: RunningServer) -> None:
    site = server.new_site(permissions=("view:contacts",))
    assert_refused(site.client.get("/v1/contacts/1?include=tags"), NOT_FOUND)
