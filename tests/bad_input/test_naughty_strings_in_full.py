"""Proves that such strings come back byte for byte from every writable field of tags, notes, fields, sites, consent."""

import json
from typing import Any
from urllib.parse import quote

import pytest
from bad_input.test_naughty_strings import BIG_LIST, OWN

from rollbook.jsonapi.query import CURSORS
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
def test_each_string_reads_back_from_a_patch_a_note_a_field_and_the_ledger(
    site: SiteWorld, strings: list[str]
) -> None:
    contact = site.create(email="a@x.test").json["data"]["id"]
    about = {"contact": {"data": {"type": "contacts", "id": contact}}}
    note = site.client.post(
        "/v1/contact_notes", {"data": {"attributes": {"body": "b"}, "relationships": about}}
    )
    field = site.client.post(
        "/v1/custom_fields", {"data": {"attributes": {"title": "t"}, "relationships": in_site(site)}}
    )
    targets = (
        (f"/v1/contacts/{contact}", "address_line_2"),
        (f"/v1/contacts/{contact}", "custom_77"),
        (f"/v1/contact_notes/{note.json['data']['id']}", "body"),
        (f"/v1/custom_fields/{field.json['data']['id']}", "title"),
    )
    subscribed = False
    for each in filter(sendable, strings):
        for path, name in targets:
            reply = send(site, "PATCH", path, {"data": {"attributes": {name: each}}})
            if name in ("body", "title") and not each.strip():
                assert reply.status == 422, (path, each)
                continue
            assert reply.json["data"]["attributes"][name] == each, (path, name)
            if name in ("body", "title"):
                assert site.client.get(path).json["data"]["attributes"][name] == each
        subscribed = not subscribed
        said = {"data": {"attributes": {"subscribed": subscribed}}, "meta": {"consent": {"wording": each}}}
        reply = send(site, "PATCH", f"/v1/contacts/{contact}", said)
        if not each.strip():
            assert reply.status == 422
            subscribed = not subscribed
            continue
        last = f"/v1/contacts/{contact}/consent_events?sort=-occurred_at&page[size]=3"
        assert each in [event["attributes"]["wording"] for event in site.client.get(last).json["data"]]


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


def questions() -> list[str]:
    """Return every parameter of every collection, with its path."""
    asked = []
    for resource in RESOURCES.values():
        names = [f"filter[{each.name}]" for each in resource.type.filters]
        names += ["sort", "page[number]", "page[size]", f"fields[{resource.type.name}]", *CURSORS]
        asked += [f"/v1/{resource.type.name}?{name}=" for name in names]
    return asked


@pytest.mark.parametrize("part", range(4))
def test_each_string_as_the_value_of_every_parameter_is_answered(site: SiteWorld, part: int) -> None:
    site.create(email="a@x.test")
    strings = [each for each in STRINGS if sendable(each)]
    for at, question in enumerate(questions()):
        # All parameters by all strings would take an hour: each parameter gets a few of them, in turn.
        for each in strings[(at + part) % 32 :: 32]:
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
