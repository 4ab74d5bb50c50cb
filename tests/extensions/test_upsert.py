"""Proves that an upsert creates or changes, and that nobody who unsubscribed is subscribed by accident."""

from typing import Any

import pytest
from contract.answers import (
    EMAIL_BLANK,
    EMAIL_INVALID,
    FORBIDDEN,
    NO_ATTRIBUTES,
    NO_DATA,
    NO_OBJECT,
    NO_SITE,
    NOT_FOUND,
    SITE_NOT_FOUND,
    Json,
    assert_refused,
    attribute_error,
    error,
    key_for,
    listed,
    made,
    new_contact,
    new_tag,
    other_type,
    patch,
    shown,
    tag_ids,
    taken,
)
from extensions.writes import at_once, ledger, resource, total

from support import Client, Reply, RunningServer, SiteWorld

BY_EXTERNAL = {"match": "external_user_id"}


def upsert(
    site: SiteWorld,
    tags: list[str] | None = None,
    meta: Json | None = None,
    client: Client | None = None,
    **attributes: Any,
) -> Reply:
    """Upsert a contact with these attributes, tags and `meta`."""
    document: Json = {"data": resource(site, tags, **attributes)}
    if meta is not None:
        document["meta"] = meta
    return (client or site.client).post("/v1/contacts/upsert", document)


def changed(reply: Reply) -> Json:
    """Return the contact that an upsert of one that was there answers."""
    assert reply.status == 200, reply
    contact: Json = reply.json["data"]
    return contact


def test_a_new_email_is_created_and_answered_like_a_create(site: SiteWorld) -> None:
    reply = upsert(site, email="ines@example.test", name="Ines", address_city="Porto", custom_4="4")
    contact = made(reply)
    url = f"{site.client.url}/v1/contacts/{contact['id']}"
    assert reply.headers["location"] == url
    assert reply.headers["content-type"] == "application/vnd.api+json"
    assert reply.json["links"] == {"self": url, "current": url}
    assert reply.body == site.client.get(f"/v1/contacts/{contact['id']}").body
    wanted = {"name": "Ines", "address_city": "Porto", "custom_4": "4", "subscribed": False}
    assert wanted.items() <= contact["attributes"].items()


def test_a_contact_with_the_email_is_changed_and_answered_with_200(site: SiteWorld) -> None:
    contact = new_contact(site, name="Ines", address_city="Porto")
    reply = upsert(site, email="ines@example.test", name="Ines Okafor")
    after = changed(reply)
    assert after["id"] == contact["id"]
    assert after["attributes"]["name"] == "Ines Okafor"
    assert reply.body == site.client.get(f"/v1/contacts/{contact['id']}").body
    assert "location" not in reply.headers
    assert total(site.client) == 1


def test_only_what_is_given_changes_and_null_clears(site: SiteWorld) -> None:
    before = new_contact(
        site,
        name="Ines",
        phone_number="1",
        business_number="2",
        address_city="Porto",
        custom_1="Retail",
        custom_2="Spring",
    )
    given: Json = {"phone_number": None, "custom_1": None, "address_city": "", "address_zip": "4050"}
    after = changed(upsert(site, email="ines@example.test", **given))["attributes"]
    expected = before["attributes"] | {"phone_number": None, "address_city": "", "address_zip": "4050"}
    del expected["custom_1"]
    assert after == expected | {"updated_at": after["updated_at"]}


@pytest.mark.parametrize("sent", ["INES@Example.Test", "  ines@example.test \n", "Ines@EXAMPLE.test"])
def test_the_email_is_found_trimmed_and_in_any_case(site: SiteWorld, sent: str) -> None:
    contact = new_contact(site)
    after = changed(upsert(site, email=sent, name="Same"))
    assert (after["id"], after["attributes"]["email"]) == (contact["id"], "ines@example.test")


def test_a_blank_name_becomes_the_local_part_of_the_email(site: SiteWorld) -> None:
    assert made(upsert(site, email="new@example.test", name=" "))["attributes"]["name"] == "new"
    new_contact(site, "old@example.test", name="Old")
    assert changed(upsert(site, email="old@example.test", name=""))["attributes"]["name"] == "old"


def test_a_contact_of_another_site_is_not_met(server: RunningServer, site: SiteWorld) -> None:
    other = server.new_site()
    theirs = new_contact(other, name="Theirs")
    both = key_for(server, site, other)
    mine = made(upsert(site, client=both, email="ines@example.test", name="Mine"))
    assert mine["id"] != theirs["id"]
    assert shown(other.client, f"/v1/contacts/{theirs['id']}") == theirs


def test_tags_are_replaced_where_given_and_kept_where_not(site: SiteWorld) -> None:
    one, two, three = (new_tag(site, name)["id"] for name in ("One", "Two", "Three"))
    assert tag_ids(made(upsert(site, [one, two], email="ines@example.test"))) == [one, two]
    assert tag_ids(changed(upsert(site, email="ines@example.test", name="Ines"))) == [one, two]
    assert tag_ids(changed(upsert(site, [two, three], email="ines@example.test"))) == [two, three]
    (found,) = listed(site.client, f"/v1/contacts?filter[has_tag_id]={three}")
    assert tag_ids(found) == [two, three]
    assert tag_ids(changed(upsert(site, [], email="ines@example.test"))) == []
    assert listed(site.client, f"/v1/contacts?filter[has_tag_id]={three}") == []


def test_an_unknown_tag_refuses_all_of_it(server: RunningServer, site: SiteWorld) -> None:
    mine, foreign = new_tag(site, "Mine")["id"], new_tag(server.new_site(), "Foreign")["id"]
    before = new_contact(site, "there@example.test", name="There")
    for unknown in (foreign, "1", "no-number"):
        refused = upsert(site, [mine, unknown], email="new@example.test")
        assert_refused(refused, NOT_FOUND)
        assert_refused(upsert(site, [mine, unknown], email="there@example.test", name="Other"), NOT_FOUND)
    assert listed(site.client, "/v1/contacts") == [before]


def test_who_unsubscribed_stays_so_and_the_answer_says_it(site: SiteWorld) -> None:
    contact = new_contact(site, subscribed=True)
    unsubscribed = {"data": {"attributes": {"subscribed": False}}}
    assert patch(site.client, f"/v1/contacts/{contact['id']}", unsubscribed).status == 200
    for said in (True, "true", 1):
        after = changed(upsert(site, email="ines@example.test", subscribed=said, name=f"Said {said!r}"))
        assert after["attributes"]["subscribed"] is False
        assert after["attributes"]["name"] == f"Said {said!r}"
    assert shown(site.client, f"/v1/contacts/{contact['id']}")["attributes"]["subscribed"] is False
    assert ledger(site.client, contact["id"]) == ["subscribed", "unsubscribed"]


def test_resubscribe_subscribes_who_unsubscribed(site: SiteWorld) -> None:
    contact = new_contact(site, subscribed=True)
    changed(upsert(site, email="ines@example.test", subscribed=False))
    meta = {"resubscribe": True}
    after = changed(upsert(site, email="ines@example.test", subscribed=True, meta=meta))
    assert after["attributes"]["subscribed"] is True
    assert ledger(site.client, contact["id"]) == ["subscribed", "unsubscribed", "subscribed"]


@pytest.mark.parametrize("meta", [{"resubscribe": False}, {"resubscribe": None}, {"other": True}, {}])
def test_nothing_but_resubscribe_true_subscribes_again(site: SiteWorld, meta: Json) -> None:
    new_contact(site, subscribed=True)
    changed(upsert(site, email="ines@example.test", subscribed=False))
    after = changed(upsert(site, email="ines@example.test", subscribed=True, meta=meta))
    assert after["attributes"]["subscribed"] is False


def test_resubscribe_alone_subscribes_nobody(site: SiteWorld) -> None:
    contact = new_contact(site, subscribed=True)
    changed(upsert(site, email="ines@example.test", subscribed=False))
    after = changed(upsert(site, email="ines@example.test", name="Ines", meta={"resubscribe": True}))
    assert after["attributes"]["subscribed"] is False
    assert ledger(site.client, contact["id"]) == ["subscribed", "unsubscribed"]


def test_who_was_never_subscribed_is_subscribed_and_unsubscribed_as_said(site: SiteWorld) -> None:
    contact = new_contact(site)
    said: list[tuple[Any, bool]] = [(None, False), (False, False), (True, True), (None, True), (False, False)]
    for given, expected in said:
        after = changed(upsert(site, email="ines@example.test", subscribed=given))
        assert after["attributes"]["subscribed"] is expected
    assert ledger(site.client, contact["id"]) == ["subscribed", "unsubscribed"]


def test_by_external_user_id_a_contact_is_created_with_it_and_found_by_it(site: SiteWorld) -> None:
    first = made(
        upsert(site, meta=BY_EXTERNAL, email="ines@example.test", external_user_id="crm-1", name="Ines")
    )
    assert first["attributes"]["external_user_id"] == "crm-1"
    after = changed(
        upsert(site, meta=BY_EXTERNAL, email="ines@new.test", external_user_id="crm-1", address_city="Porto")
    )
    assert after["id"] == first["id"]
    wanted = {"email": "ines@new.test", "name": "Ines", "address_city": "Porto", "external_user_id": "crm-1"}
    assert wanted.items() <= after["attributes"].items()
    assert [each["id"] for each in listed(site.client, "/v1/contacts?filter[email]=ines@new.test")] == [
        first["id"]
    ]
    assert listed(site.client, "/v1/contacts?filter[email]=ines@example.test") == []


def test_by_external_user_id_a_contact_that_is_there_needs_no_email(site: SiteWorld) -> None:
    made(upsert(site, meta=BY_EXTERNAL, email="ines@example.test", external_user_id="crm-1"))
    after = changed(upsert(site, meta=BY_EXTERNAL, external_user_id="crm-1", name="Ines Okafor"))
    assert after["attributes"]["email"] == "ines@example.test"
    assert after["attributes"]["name"] == "Ines Okafor"
    assert_refused(upsert(site, meta=BY_EXTERNAL, external_user_id="crm-2", name="Nobody"), EMAIL_BLANK)
    assert total(site.client) == 1


def test_by_external_user_id_the_email_of_another_contact_is_refused(site: SiteWorld) -> None:
    other = new_contact(site, "other@example.test")
    mine = made(upsert(site, meta=BY_EXTERNAL, email="ines@example.test", external_user_id="crm-1"))
    refusal = taken("Email", "email", f"{site.client.url}/v1/contacts/{other['id']}")
    for external in ("crm-1", "crm-2"):
        refused = upsert(site, meta=BY_EXTERNAL, email="Other@example.test", external_user_id=external)
        assert_refused(refused, refusal)
    assert shown(site.client, f"/v1/contacts/{mine['id']}") == mine
    assert shown(site.client, f"/v1/contacts/{other['id']}") == other


@pytest.mark.parametrize("given", [{}, {"external_user_id": None}, {"external_user_id": " "}])
def test_matching_by_external_user_id_requires_one(site: SiteWorld, given: Json) -> None:
    refused = upsert(site, meta=BY_EXTERNAL, email="ines@example.test", **given)
    assert_refused(refused, attribute_error("external_user_id", "External user id can't be blank"))
    assert total(site.client) == 0


def test_an_external_user_id_belongs_to_its_site(server: RunningServer, site: SiteWorld) -> None:
    other = server.new_site()
    mine = made(upsert(site, meta=BY_EXTERNAL, email="ines@example.test", external_user_id="crm-1"))
    theirs = made(upsert(other, meta=BY_EXTERNAL, email="ines@example.test", external_user_id="crm-1"))
    assert mine["id"] != theirs["id"]


def test_matching_by_email_stores_no_external_user_id(site: SiteWorld) -> None:
    contact = made(upsert(site, email="ines@example.test", external_user_id="crm-1"))
    assert contact["attributes"]["external_user_id"] is None
    known = made(upsert(site, meta=BY_EXTERNAL, email="known@example.test", external_user_id="crm-2"))
    upsert(site, email="known@example.test", external_user_id="crm-3")
    upsert(site, email="known@example.test", external_user_id=None)
    after = shown(site.client, f"/v1/contacts/{known['id']}")
    assert after["attributes"]["external_user_id"] == "crm-2"


def test_by_external_user_id_who_unsubscribed_stays_so(site: SiteWorld) -> None:
    given: Json = {"email": "ines@example.test", "external_user_id": "crm-1"}
    made(upsert(site, meta=BY_EXTERNAL, subscribed=True, **given))
    changed(upsert(site, meta=BY_EXTERNAL, subscribed=False, **given))
    after = changed(upsert(site, meta=BY_EXTERNAL, subscribed=True, **given))
    assert after["attributes"]["subscribed"] is False
    after = changed(upsert(site, meta=BY_EXTERNAL | {"resubscribe": True}, subscribed=True, **given))
    assert after["attributes"]["subscribed"] is True


@pytest.mark.parametrize("match", ["name", "", 1, True, ["email"], {"email": 1}])
def test_an_unknown_match_is_refused(site: SiteWorld, match: Any) -> None:
    refused = upsert(site, meta={"match": match}, email="ines@example.test")
    assert_refused(refused, error(422, "Match is invalid", "/meta/match"))
    assert total(site.client) == 0


def test_it_is_refused_like_a_create(server: RunningServer, site: SiteWorld) -> None:
    def ask(document: Any = None, **more: Any) -> Reply:
        return site.client.post("/v1/contacts/upsert", document, **more)

    assert_refused(ask(body=b"[]"), NO_OBJECT)
    assert_refused(ask({"data": []}), NO_DATA)
    assert_refused(ask({"data": resource(site) | {"attributes": []}}), NO_ATTRIBUTES)
    assert_refused(ask({"data": {"type": "contacts", "attributes": {"email": "a@x.test"}}}), NO_SITE)
    assert_refused(ask({"data": resource(server.new_site(), email="a@x.test")}), SITE_NOT_FOUND)
    assert_refused(
        ask({"data": resource(site, email="a@x.test") | {"type": "users"}}), other_type("contacts")
    )
    assert_refused(ask({"data": resource(site)}), EMAIL_BLANK)
    assert_refused(ask({"data": resource(site, email="a b@x.test")}), EMAIL_INVALID)
    assert_refused(
        ask({"data": resource(site, name=[], email="a@x.test", phone_number="\0", subscribed="yes")}),
        attribute_error("name", "Name is invalid"),
        attribute_error("phone_number", "Phone number contains characters that cannot be stored"),
        attribute_error("subscribed", "Subscribed is invalid"),
    )
    assert total(site.client) == 0


def test_who_may_not_edit_contacts_may_not_upsert(server: RunningServer, site: SiteWorld) -> None:
    before = new_contact(site)
    reader = key_for(server, site, permissions=("view:contacts",))
    for email in ("ines@example.test", "new@example.test"):
        assert_refused(upsert(site, client=reader, email=email, name="Other"), FORBIDDEN)
    assert listed(site.client, "/v1/contacts") == [before]


def test_who_may_not_view_contacts_is_answered_only_what_was_sent_for_one_that_was_there(
    server: RunningServer, site: SiteWorld
) -> None:
    one, two = new_tag(site, "One")["id"], new_tag(site, "Two")["id"]
    there = made(
        upsert(site, [one], email="ines@example.test", name="Hidden", phone_number="1", custom_1="1")
    )
    writer = key_for(server, site, permissions=("edit:contacts",))
    silent = upsert(site, client=writer, email=" INES@example.test", subscribed=None)
    assert "etag" not in silent.headers
    contact = changed(silent)
    assert contact["id"] == there["id"]
    assert contact["attributes"] == {"email": "ines@example.test"}
    assert contact["relationships"] == {"site": there["relationships"]["site"]}
    told = changed(
        upsert(site, [two], client=writer, email="ines@example.test", address_city="Porto", name="")
    )
    assert told["attributes"] == {"name": "ines", "email": "ines@example.test", "address_city": "Porto"}
    assert set(told["relationships"]) == {"site", "tags"}
    assert tag_ids(told) == [two]


def test_by_external_user_id_who_may_not_view_contacts_is_not_answered_the_email(
    server: RunningServer, site: SiteWorld
) -> None:
    made(upsert(site, meta=BY_EXTERNAL, email="ines@example.test", external_user_id="crm-1"))
    writer = key_for(server, site, permissions=("edit:contacts",))
    given: Json = {"external_user_id": "crm-1", "name": "Ines"}
    told = changed(upsert(site, client=writer, meta=BY_EXTERNAL, **given))
    assert told["attributes"] == given


def test_who_may_not_view_contacts_is_answered_all_of_one_that_the_call_made(
    server: RunningServer, site: SiteWorld
) -> None:
    writer = key_for(server, site, permissions=("edit:contacts",))
    contact = made(upsert(site, client=writer, email="ines@example.test"))
    assert contact == shown(site.client, f"/v1/contacts/{contact['id']}")


def test_of_twenty_simultaneous_upserts_one_creates_and_the_others_change(
    server: RunningServer, site: SiteWorld
) -> None:
    def ask(number: int) -> Reply:
        attribute: Json = {f"custom_{number + 1}": str(number)}
        return upsert(site, client=server.client(site.token), email="ines@example.test", **attribute)

    replies = at_once(20, ask)
    assert sorted(reply.status for reply in replies) == [200] * 19 + [201]
    (contact_id,) = {reply.json["data"]["id"] for reply in replies}
    attributes = shown(site.client, f"/v1/contacts/{contact_id}")["attributes"]
    assert all(attributes[f"custom_{number + 1}"] == str(number) for number in range(20))
    assert total(site.client) == 1


def test_other_methods_on_its_path_are_unknown(site: SiteWorld) -> None:
    for method in ("GET", "PATCH", "DELETE", "PUT"):
        body: Json | None = {"data": {"attributes": {}}} if method == "PATCH" else None
        assert_refused(site.client.request(method, "/v1/contacts/upsert", body), NOT_FOUND)
