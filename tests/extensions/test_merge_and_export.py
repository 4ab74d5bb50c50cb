"""Proves what a merge keeps of two people, and that an export tells all that is held about one."""

from typing import Any

from databases import run_sql
from support import Reply, RunningServer, SiteWorld


def made(reply: Reply) -> str:
    assert reply.status == 201, reply
    resource_id: str = reply.json["data"]["id"]
    return resource_id


def in_site(site: SiteWorld) -> dict[str, Any]:
    return {"site": {"data": {"type": "sites", "id": site.id}}}


def tag(site: SiteWorld, name: str) -> str:
    return made(
        site.client.post(
            "/v1/contact_tags", {"data": {"attributes": {"name": name}, "relationships": in_site(site)}}
        )
    )


def note(site: SiteWorld, contact: str, body: str) -> str:
    about = {"contact": {"data": {"type": "contacts", "id": contact}}}
    return made(
        site.client.post(
            "/v1/contact_notes", {"data": {"attributes": {"body": body}, "relationships": about}}
        )
    )


def linkage(*tags: str) -> dict[str, Any]:
    return {"data": [{"type": "contact_tags", "id": each} for each in tags]}


def merge(site: SiteWorld, survivor: str, other: str) -> Reply:
    return site.client.post(f"/v1/contacts/{survivor}/merge", {"data": {"type": "contacts", "id": other}})


def test_the_survivor_keeps_what_it_has_and_takes_what_it_lacks(site: SiteWorld) -> None:
    first = made(site.create(name="Ines", email="a@x.test", address_city="Porto", custom_1="one"))
    second = made(
        site.create(
            name="Other",
            email="b@x.test",
            address_city="Faro",
            address_zip="4050",
            custom_1="x",
            custom_2="two",
        )
    )
    attributes = merge(site, first, second).json["data"]["attributes"]
    assert attributes | {"created_at": None, "updated_at": None} == attributes | {
        "name": "Ines", "email": "a@x.test", "address_city": "Porto", "address_zip": "4050",
        "custom_1": "one", "custom_2": "two", "created_at": None, "updated_at": None,
    }  # fmt: skip


def test_an_empty_text_is_filled_from_the_other(site: SiteWorld) -> None:
    first = made(site.create(email="a@x.test", address_city="", custom_3=""))
    second = made(site.create(email="b@x.test", address_city="Faro", custom_3="three"))
    attributes = merge(site, first, second).json["data"]["attributes"]
    assert (attributes["address_city"], attributes["custom_3"]) == ("Faro", "three")


def test_tags_and_notes_of_both_are_the_survivors(site: SiteWorld) -> None:
    first, second = made(site.create(email="a@x.test")), made(site.create(email="b@x.test"))
    tags = sorted([tag(site, "one"), tag(site, "two"), tag(site, "both")])
    for contact, own in ((first, tags[:2]), (second, tags[1:])):
        assert site.client.post(f"/v1/contacts/{contact}/relationships/tags", linkage(*own)).status == 200
    notes = {note(site, first, "of the first"), note(site, second, "of the second")}
    survivor = merge(site, first, second).json["data"]
    assert [each["id"] for each in survivor["relationships"]["tags"]["data"]] == tags
    listed = site.client.get(f"/v1/contact_notes?filter[contact_id]={first}").json["data"]
    assert {each["id"] for each in listed} == notes
    found = site.client.get(f"/v1/contacts?filter[has_tag_id]={tags[2]}").json
    assert [each["id"] for each in found["data"]] == [first]
    assert found["meta"]["total"] == 1


def test_the_last_word_of_both_ledgers_decides_the_subscription(site: SiteWorld) -> None:
    first = made(site.create(email="a@x.test", subscribed=True))
    second = made(site.create(email="b@x.test", subscribed=True))
    stop: Any = {"data": {"attributes": {"subscribed": False}}}
    assert site.client.request("PATCH", f"/v1/contacts/{second}", stop).status == 200
    assert merge(site, first, second).json["data"]["attributes"]["subscribed"] is False
    events = site.client.get(f"/v1/contacts/{first}/consent_events").json["data"]
    assert [each["attributes"]["event"] for each in events] == ["subscribed", "subscribed", "unsubscribed"]


def test_the_other_id_answers_404_and_names_the_survivor_through_a_chain(site: SiteWorld) -> None:
    first, second, third = (made(site.create(email=f"{each}@x.test")) for each in "abc")
    assert merge(site, second, third).status == 200
    assert merge(site, first, second).status == 200
    for gone in (second, third):
        error = site.client.get(f"/v1/contacts/{gone}").json["errors"][0]
        assert error["status"] == "404"
        assert error["meta"] == {"merged_into": first}
        assert error["links"]["about"].endswith(f"/v1/contacts/{first}")
    assert site.create(email="b@x.test").status == 201


def test_a_contact_cannot_be_merged_with_itself_or_with_a_stranger(site: SiteWorld) -> None:
    first = made(site.create(email="a@x.test"))
    refused = merge(site, first, first)
    assert refused.status == 422
    assert refused.json["errors"][0]["detail"] == "A contact can't be merged with itself"
    assert merge(site, first, "2301999999").status == 404
    assert site.client.post(f"/v1/contacts/{first}/merge", {"data": None}).status == 400


def test_an_export_has_everything_that_is_held(site: SiteWorld) -> None:
    contact = made(site.create(email="a@x.test", subscribed=True))
    own_tag, own_note = tag(site, "T"), note(site, contact, "said so")
    site.client.post(f"/v1/contacts/{contact}/relationships/tags", linkage(own_tag))
    other = made(site.create(email="b@x.test", subscribed=True))
    note(site, other, "nobody else's")
    document = site.client.get(f"/v1/contacts/{contact}/export").json
    assert document["data"]["id"] == contact
    types = [each["type"] for each in document["included"]]
    assert types.count("sites") == types.count("contact_tags") == types.count("contact_notes") == 1
    assert {each["id"] for each in document["included"]} >= {own_tag, own_note, site.id}
    actions = [
        each["attributes"]["action"] for each in document["included"] if each["type"] == "audit_events"
    ]
    assert sorted(actions) == ["contacts.create", "contacts.update"]
    assert types.count("consent_events") == 1
    assert "nobody else's" not in str(document)


def test_an_export_tells_what_no_attribute_shows_and_what_was_done_with_those_who_were_merged(
    server: RunningServer, site: SiteWorld
) -> None:
    first, second, third = (made(site.create(email=f"{at}@x.test")) for at in range(3))
    for survivor, other in ((second, third), (first, second)):
        identifier = {"data": {"type": "contacts", "id": other}}
        assert site.client.post(f"/v1/contacts/{survivor}/merge", identifier).status == 200
    given = "UPDATE contacts SET mobile_phone_number = '555 020' WHERE id = ?"
    run_sql(server.database_url, given, int(first))
    document = site.client.get(f"/v1/contacts/{first}/export").json
    assert sorted(document["meta"]["merged_ids"]) == [second, third]
    assert document["meta"]["mobile_phone_number"] == "555 020"
    done = [
        (each["attributes"]["resource_id"], each["attributes"]["action"])
        for each in document["included"]
        if each["type"] == "audit_events"
    ]
    # The newest first: each merge was done to both.
    assert sorted(done) == sorted(
        [(each, "contacts.create") for each in (first, second, third)]
        + [(each, "contacts.merge") for each in (first, second, second, third)]
    )
    assert done[-3:] == [(each, "contacts.create") for each in (third, second, first)]
