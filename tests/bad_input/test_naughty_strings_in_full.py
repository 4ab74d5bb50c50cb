"""Proves that such strings come back byte for byte from every writable field of tags, notes, fields, sites, consent."""

import json
import re
from typing import Any
from urllib.parse import quote

import pytest
from bad_input.test_naughty_strings import BIG_LIST, OWN

from rollbook.jsonapi.query import CURSORS
from rollbook.jsonapi.resource import Kind
from rollbook.register import contact_type, custom_fields
from rollbook.register.catalogue import RESOURCES
from rollbook.register.text import text_key
from support import Reply, SiteWorld

STRINGS = sorted(
    {each for each in [*BIG_LIST, *(each for those in OWN.values() for each in those)] if "\0" not in each}
)
PARTS = [STRINGS[at::4] for at in range(4)]


def sendable(text: str) -> bool:
    """Say whether a text can stand in UTF-8."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def send(site: SiteWorld, method: str, path: str, document: Any) -> Reply:
    return site.client.request(method, path, body=json.dumps(document, ensure_ascii=False).encode())


def in_site(site: SiteWorld) -> dict[str, Any]:
    return {"site": {"data": {"type": "sites", "id": site.id}}}


@pytest.mark.parametrize("strings", PARTS, ids=range(4))
def test_each_string_as_a_tags_name_reads_back_or_is_refused_as_blank_or_taken(
    site: SiteWorld, strings: list[str]
) -> None:
    known: set[str] = set()
    for each in filter(sendable, strings):
        reply = send(
            site,
            "POST",
            "/v1/contact_tags",
            {"data": {"attributes": {"name": each}, "relationships": in_site(site)}},
        )
        if not each.strip():
            assert reply.json["errors"][0]["detail"] == "Name can't be blank", repr(each)
        elif text_key(each.strip()) in known:
            assert reply.json["errors"][0]["detail"] == "Name has already been taken", repr(each)
        else:
            assert reply.status == 201, (each, reply)
            known.add(text_key(each.strip()))
            shown = site.client.get(f"/v1/contact_tags/{reply.json['data']['id']}")
            assert shown.json["data"]["attributes"]["name"] == each


@pytest.mark.parametrize("strings", PARTS, ids=range(4))
def test_each_string_reads_back_from_a_change_of_every_text_of_a_contact(
    site: SiteWorld, strings: list[str]
) -> None:
    path = f"/v1/contacts/{site.create(email='local@x.test').json['data']['id']}"
    names = [
        name
        for name, (_, each) in contact_type.TYPE.on_update.items()
        if each.kind is Kind.TEXT and name not in ("email", "external_user_id")
    ]
    assert len(names) == 9 + 150
    for each in filter(sendable, strings):
        reply = send(site, "PATCH", path, {"data": {"attributes": dict.fromkeys(names, each)}})
        found = reply.json["data"]["attributes"]
        assert {found[name] for name in names[1:]} == {each}
        assert found["name"] == (each if each.strip() else "local")
        assert site.client.get(path).json["data"]["attributes"] == found


@pytest.mark.parametrize("strings", PARTS, ids=range(4))
def test_each_string_as_an_external_user_id_is_kept_and_finds_its_contact(
    site: SiteWorld, strings: list[str]
) -> None:
    for at, each in enumerate(filter(sendable, strings)):
        document = site.document(email=f"{at}@x.test", external_user_id=each)
        document["meta"] = {"match": "external_user_id"}
        first, second = (send(site, "POST", "/v1/contacts/upsert", document) for _ in range(2))
        if not each.strip():
            assert first.json["errors"][0]["detail"] == "External user id can't be blank", repr(each)
            continue
        assert (first.status, second.status) == (201, 200), repr(each)
        assert first.json["data"]["attributes"]["external_user_id"] == each
        assert second.json["data"] == first.json["data"]


@pytest.mark.parametrize("strings", PARTS, ids=range(4))
def test_each_string_reads_back_from_a_note_a_tag_a_field_a_site_or_is_refused(
    site: SiteWorld, strings: list[str]
) -> None:
    contact = site.create(email="a@x.test").json["data"]["id"]
    about = {"contact": {"data": {"type": "contacts", "id": contact}}}
    paths = {"sites": f"/v1/sites/{site.id}"}
    for of, name, related in (
        ("contact_notes", "body", about),
        ("custom_fields", "title", in_site(site)),
        ("contact_tags", "name", in_site(site)),
    ):
        document = {"data": {"attributes": {name: "x"}, "relationships": related}}
        paths[of] = f"/v1/{of}/{site.client.post(f'/v1/{of}', document).json['data']['id']}"
    for each in filter(sendable, strings):
        for of, name in (
            ("contact_notes", "body"), ("custom_fields", "title"), ("contact_tags", "name"), ("sites", "title"),
        ):  # fmt: skip
            reply = send(site, "PATCH", paths[of], {"data": {"attributes": {name: each}}})
            if not each.strip():
                assert reply.json["errors"][0]["detail"] == f"{name.capitalize()} can't be blank", repr(each)
                continue
            assert reply.json["data"]["attributes"][name] == each, (of, each)
            assert site.client.get(paths[of]).json == reply.json
        for of, name, fits in (
            ("custom_fields", "type", each in custom_fields.KINDS),
            ("custom_fields", "required", each in ("true", "false")),
            ("custom_fields", "archived", each in ("true", "false")),
            ("contact_tags", "archived", each in ("true", "false")),
            ("sites", "subdomain", re.fullmatch("[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", each)),
        ):
            reply = send(site, "PATCH", paths[of], {"data": {"attributes": {name: each}}})
            if not fits:
                assert reply.json["errors"][0]["detail"] == f"{name.capitalize()} is invalid", (name, each)
            else:
                assert reply.status in (200, 422), (name, each)
        new = {"data": {"attributes": {"title": each, "handle": each}, "relationships": in_site(site)}}
        assert send(site, "POST", "/v1/custom_fields", new).status == 422, repr(each)


@pytest.mark.parametrize("strings", PARTS, ids=range(4))
def test_each_string_reads_back_from_the_ledger(site: SiteWorld, strings: list[str]) -> None:
    path = f"/v1/contacts/{site.create(email='a@x.test').json['data']['id']}"
    subscribed = False
    for each in filter(sendable, strings):
        said = dict.fromkeys(("source", "wording", "ip_address"), each)
        change = {"data": {"attributes": {"subscribed": not subscribed}}, "meta": {"consent": said}}
        reply = send(site, "PATCH", path, change)
        if not each.strip():
            assert len(reply.json["errors"]) == 3, repr(each)
            continue
        subscribed = not subscribed
        assert reply.json["data"]["attributes"]["subscribed"] is subscribed
        last = site.client.get(f"{path}/consent_events?sort=-occurred_at&page[size]=3").json["data"]
        assert said in [{name: event["attributes"][name] for name in said} for event in last]
        change["meta"] = {"consent": {"cause": each}}
        assert send(site, "PATCH", path, change).json["errors"][0]["detail"] == "Cause is invalid"


@pytest.mark.parametrize("strings", PARTS, ids=range(4))
def test_each_string_as_an_id_in_a_body_is_unknown_or_without_shape(
    site: SiteWorld, strings: list[str]
) -> None:
    contact = site.create(email="a@x.test").json["data"]["id"]
    for each in filter(sendable, strings):
        linkage = {"data": [{"type": "contact_tags", "id": each}]}
        assert send(site, "POST", f"/v1/contacts/{contact}/relationships/tags", linkage).status in (400, 404)
        other = {"data": {"type": "contacts", "id": each}}
        assert send(site, "POST", f"/v1/contacts/{contact}/merge", other).status in (400, 404)
        about = {"contact": {"data": {"type": "contacts", "id": each}}}
        note = {"data": {"attributes": {"body": "b"}, "relationships": about}}
        assert send(site, "POST", "/v1/contact_notes", note).status == 422
        operation = {"op": "remove", "ref": {"type": "contacts", "id": each}}
        assert send(site, "POST", "/v1/operations", {"atomic:operations": [operation]}).status in (400, 404)
        named = {"op": each, "ref": {"type": each, "id": each, "relationship": each}, "href": each}
        assert send(site, "POST", "/v1/operations", {"atomic:operations": [named]}).status == 400
        meta = {
            "data": [site.document(email="m@x.test")["data"]],
            "meta": {"on_duplicate": each, "consent": each},
        }
        assert send(site, "POST", "/v1/contacts/batch", meta).status == 422


def questions(contact: str) -> list[str]:
    """Return every parameter of every collection, with its path; and those of what one contact has."""
    asked = []
    for resource in RESOURCES.values():
        names = [f"filter[{each.name}]" for each in resource.type.filters]
        names += ["sort", "page[number]", "page[size]", f"fields[{resource.type.name}]", *CURSORS]
        asked += [f"/v1/{resource.type.name}?{name}=" for name in names]
    ledger = ("sort", "page[number]", "page[size]", "fields[consent_events]", "filter[contact_id]", *CURSORS)
    asked += [f"/v1/contacts/{contact}/consent_events?{name}=" for name in ledger]
    asked += [f"/v1/contacts/{contact}?{name}=" for name in ("fields[contacts]", "fields[contact]", "sort")]
    asked += [f"/v1/contacts/{contact}/{which}?page[size]=" for which in ("export", "relationships/tags")]
    return asked


@pytest.mark.parametrize("part", range(4))
def test_each_string_as_the_value_of_every_parameter_is_answered(
    site: SiteWorld, part: int, pytestconfig: pytest.Config
) -> None:
    contact = site.create(email="a@x.test").json["data"]["id"]
    strings = [each for each in STRINGS if sendable(each)]
    for at, question in enumerate(questions(contact)):
        # All parameters by all strings take minutes: each gets an eighth of them, in turn, or in a soak all.
        every = 4 if pytestconfig.getoption("--soak") else 32
        for each in strings[(at + part) % every :: every]:
            reply = site.client.get(question + quote(each, safe=""))
            assert reply.status in ((200, 400) if question[:-1].endswith(CURSORS) else (200,)), (
                question,
                each,
            )


def test_strings_at_once_in_batches_and_operations_come_back(site: SiteWorld) -> None:
    strings = [each for each in STRINGS if sendable(each)][:1_000]
    items = [
        site.document(email=f"p{at}@x.test", name=each, custom_1=each)["data"]
        for at, each in enumerate(strings)
    ]
    reply = send(site, "POST", "/v1/contacts/batch", {"data": items})
    assert reply.json["meta"]["created"] == len(strings)
    for each, made in zip(strings, reply.json["data"], strict=True):
        assert made["attributes"]["custom_1"] == each
    operations = [
        {"op": "add", "data": site.document(email=f"q{at}@x.test", name=each, custom_2=each)["data"]}
        for at, each in enumerate(strings[:100])
    ]
    results = send(site, "POST", "/v1/operations", {"atomic:operations": operations}).json["atomic:results"]
    assert [each["data"]["attributes"]["custom_2"] for each in results] == strings[:100]
