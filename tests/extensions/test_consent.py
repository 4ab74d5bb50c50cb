"""Proves the ledger of consent: what is written when, what it says, and that `subscribed` follows it."""

from typing import Any

import pytest

from support import Reply, SiteWorld

SAID = {
    "source": "footer form",
    "wording": "Yes, send me news.",
    "ip_address": "203.0.113.9",
    "cause": "recipient",
}


def made(reply: Reply) -> str:
    assert reply.status == 201, reply
    resource_id: str = reply.json["data"]["id"]
    return resource_id


def patch(site: SiteWorld, contact: str, subscribed: Any, **meta: Any) -> Reply:
    document = {"data": {"attributes": {"subscribed": subscribed}}, "meta": meta}
    return site.client.request("PATCH", f"/v1/contacts/{contact}", document)


def events(site: SiteWorld, contact: str) -> list[dict[str, Any]]:
    listed = site.client.get(f"/v1/contacts/{contact}/consent_events").json
    return [each["attributes"] for each in listed["data"]]


def found(site: SiteWorld, query: str) -> set[str]:
    return {each["id"] for each in site.client.get(f"/v1/contacts?{query}").json["data"]}


def test_a_create_with_consent_writes_one_event_with_all_that_was_said(site: SiteWorld) -> None:
    document = site.document(email="a@x.test", subscribed=True) | {"meta": {"consent": SAID}}
    contact = made(site.client.post("/v1/contacts", document))
    (event,) = events(site, contact)
    assert event.keys() == {
        "event",
        "cause",
        "source",
        "wording",
        "ip_address",
        "key_id",
        "user_id",
        "occurred_at",
    }
    assert event | SAID == event
    assert event["event"] == "subscribed"


def test_without_words_the_event_says_api_and_administrator(site: SiteWorld) -> None:
    (event,) = events(site, made(site.create(email="a@x.test", subscribed=True)))
    assert (event["source"], event["cause"], event["wording"]) == ("api", "administrator", None)


def test_only_changes_are_written(site: SiteWorld) -> None:
    contact = made(site.create(email="a@x.test"))
    for value in (False, True, True, "true", 1, None, False, 0, True):
        assert patch(site, contact, value).status == 200
    names = [each["event"] for each in events(site, contact)]
    assert names == ["subscribed", "unsubscribed", "subscribed"]
    assert site.client.get(f"/v1/contacts/{contact}").json["data"]["attributes"]["subscribed"] is True


@pytest.mark.parametrize(
    ("meta", "pointer"),
    [
        ({"consent": "yes"}, "/meta/consent"), ({"consent": {"source": 7}}, "/meta/consent/source"),
        ({"consent": {"wording": ""}}, "/meta/consent/wording"), ({"consent": {"cause": "me"}}, "/meta/consent/cause"),
        ({"consent": {"ip_address": ["1"]}}, "/meta/consent/ip_address"),
        ({"consent": {"source": "a\0"}}, "/meta/consent/source"),
    ],
)  # fmt: skip
def test_words_that_cannot_be_kept_are_refused_and_nothing_is_changed(
    site: SiteWorld, meta: dict[str, Any], pointer: str
) -> None:
    contact = made(site.create(email="a@x.test"))
    refused = patch(site, contact, True, **meta)
    assert refused.status == 422
    assert refused.json["errors"][0]["source"] == {"pointer": pointer}
    assert events(site, contact) == []
    again = site.document(email="b@x.test", subscribed=True) | {"meta": meta}
    assert site.client.post("/v1/contacts", again).status == 422


def test_filters_tell_by_whom_and_when(site: SiteWorld) -> None:
    never = made(site.create(email="never@x.test"))
    still = made(site.create(email="still@x.test", subscribed=True))
    removed, left = (
        made(site.create(email=f"{name}@x.test", subscribed=True)) for name in ("removed", "left")
    )
    patch(site, removed, False)
    patch(site, left, False, consent={"cause": "recipient"})
    assert found(site, "filter[never_subscribed]=true") == {never}
    assert found(site, "filter[never_subscribed]=false") == {still, removed, left}
    assert found(site, "filter[subscribed]=true") == {still}
    assert found(site, "filter[subscribed]=false") == {never, removed, left}
    assert found(site, "filter[subscribed_in_last]=1") == {still, removed, left}
    assert found(site, "filter[unsubscribed_in_last]=1") == {removed, left}
    assert found(site, "filter[manually_unsubscribed_in_last]=1") == {removed}
    assert found(site, "filter[opted_out_in_last]=1") == {left}
    assert found(site, "filter[opted_out_in_last]=0") == set()


def test_who_opted_out_stays_out_of_an_upsert_unless_it_resubscribes(site: SiteWorld) -> None:
    contact = made(site.create(email="a@x.test", subscribed=True))
    patch(site, contact, False, consent={"cause": "recipient"})
    document = site.document(email="a@x.test", subscribed=True)
    kept = site.client.post("/v1/contacts/upsert", document)
    assert (kept.status, kept.json["data"]["attributes"]["subscribed"]) == (200, False)
    back = site.client.post("/v1/contacts/upsert", document | {"meta": {"resubscribe": True}})
    assert back.json["data"]["attributes"]["subscribed"] is True
    assert [each["event"] for each in events(site, contact)] == ["subscribed", "unsubscribed", "subscribed"]


def test_a_ledger_is_paged_by_number_and_by_cursor(site: SiteWorld) -> None:
    contact = made(site.create(email="a@x.test"))
    for at in range(7):
        patch(site, contact, at % 2 == 0)
    path = f"/v1/contacts/{contact}/consent_events"
    whole = [each["id"] for each in site.client.get(path).json["data"]]
    second = site.client.get(f"{path}?page[size]=3&page[number]=2").json
    assert [each["id"] for each in second["data"]] == whole[3:6]
    assert second["meta"]["total"] == 7
    assert second["links"]["self"].endswith(f"{path}?page[size]=3&page[number]=2")
    cursor = site.client.get(f"{path}?page[size]=5&page[after]=").json["links"]["next"]
    rest = site.client.get(cursor.removeprefix(site.client.url)).json["data"]
    assert [each["id"] for each in rest] == whole[5:]
