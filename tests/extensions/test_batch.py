"""Proves that each resource of a batch stands for itself, and that the answer tells what became of each."""

from typing import Any

import pytest
from contract.answers import (
    NO_ARRAY,
    NO_OBJECT,
    NOT_FOUND,
    Json,
    assert_refused,
    error,
    ids,
    key_for,
    listed,
    new_contact,
    new_tag,
    patch,
    shown,
    tag_ids,
)
from extensions.writes import ledger, resource, total

from support import Client, Reply, RunningServer, SiteWorld

COUNTS = ("created", "updated", "skipped", "refused")


def ask(
    site: SiteWorld, items: Any, on_duplicate: str | None = None, client: Client | None = None, **meta: Any
) -> Reply:
    """Send a batch."""
    said = meta | ({} if on_duplicate is None else {"on_duplicate": on_duplicate})
    document = {"data": items} | ({"meta": said} if said else {})
    return (client or site.client).post("/v1/contacts/batch", document)


def batch(site: SiteWorld, items: Any, on_duplicate: str | None = None, **more: Any) -> Json:
    """Send a batch, and return its answer, whose counts are those of its results."""
    reply = ask(site, items, on_duplicate, **more)
    assert reply.status == 200, reply
    assert reply.headers["content-type"] == "application/vnd.api+json"
    answer: Json = reply.json
    results = answer["meta"]["results"]
    assert len(results) == len(items)
    assert counts(answer) == (
        sum(each["status"] == "201" for each in results),
        sum(each["status"] == "200" and "skipped" not in each for each in results),
        sum(each == each | {"status": "200", "skipped": True} for each in results),
        sum("errors" in each for each in results),
    )
    assert sum(counts(answer)) == len(items)
    return answer


def counts(answer: Json) -> tuple[int, ...]:
    """Return how many were created, updated, skipped and refused."""
    return tuple(answer["meta"][name] for name in COUNTS)


def refusal(status: int, detail: str, pointer: str, **more: Any) -> Json:
    """Return the result of an item that is refused for one reason."""
    return {"status": str(status), "errors": [error(status, detail, pointer) | more]}


def test_the_answer_is_the_documented_one(site: SiteWorld) -> None:
    answer = batch(site, [resource(site, email="ines@example.test"), resource(site, name="Nobody")])
    (contact,) = listed(site.client, "/v1/contacts")
    assert answer == {
        "meta": {
            "created": 1,
            "updated": 0,
            "skipped": 0,
            "refused": 1,
            "results": [
                {"status": "201", "id": contact["id"]},
                refusal(422, "Email can't be blank", "/data/1/attributes/email"),
            ],
        },
        "data": [contact],
    }


def test_a_thousand_are_created_in_order_and_found_at_once(site: SiteWorld) -> None:
    items = [
        resource(site, email=f"p{number}@example.test", custom_1=str(number), subscribed=number % 2 == 0)
        for number in range(1_000)
    ]
    answer = batch(site, items)
    assert counts(answer) == (1_000, 0, 0, 0)
    made = ids(answer["meta"]["results"])
    assert len(set(made)) == 1_000
    assert ids(answer["data"]) == made
    assert [each["attributes"]["custom_1"] for each in answer["data"]] == [str(n) for n in range(1_000)]
    assert total(site.client) == 1_000
    assert total(site.client, "/v1/contacts?filter[subscribed]=true") == 500
    assert ids(listed(site.client, "/v1/contacts?filter[email]=p999@example.test")) == [made[999]]
    assert ids(listed(site.client, "/v1/contacts?filter[search]=p512@exa")) == [made[512]]


def test_a_created_contact_is_like_one_that_was_created_alone(site: SiteWorld) -> None:
    given: Json = {
        "email": " Ines@Example.TEST ",
        "name": "",
        "phone_number": 351,
        "subscribed": "true",
        "other": 1,
    }
    (contact,) = batch(site, [resource(site, **given)])["data"]
    wanted = {"email": "ines@example.test", "name": "ines", "phone_number": "351", "subscribed": True}
    assert wanted.items() <= contact["attributes"].items()
    assert shown(site.client, f"/v1/contacts/{contact['id']}") == contact
    assert ledger(site.client, contact["id"]) == ["subscribed"]


@pytest.mark.parametrize("number", [0, 1_001])
def test_none_and_more_than_a_thousand_are_refused(site: SiteWorld, number: int) -> None:
    items = [resource(site, email=f"p{each}@example.test") for each in range(number)]
    assert_refused(ask(site, items), error(400, "Request body must contain 1 to 1,000 resources", "/data"))
    assert total(site.client) == 0


def test_what_is_no_array_of_resources_is_refused(site: SiteWorld) -> None:
    assert_refused(site.client.post("/v1/contacts/batch", body=b"[]"), NO_OBJECT)
    for data in (None, resource(site, email="a@example.test"), "data", 1):
        assert_refused(ask(site, data), NO_ARRAY)
    assert_refused(site.client.post("/v1/contacts/batch", {}), NO_ARRAY)
    assert total(site.client) == 0


@pytest.mark.parametrize("wanted", ["replace", "", 1, ["skip"], True])
def test_an_unknown_on_duplicate_is_refused(site: SiteWorld, wanted: Any) -> None:
    refused = ask(site, [resource(site, email="a@example.test")], wanted)
    assert_refused(refused, error(422, "On duplicate is invalid", "/meta/on_duplicate"))
    assert total(site.client) == 0


@pytest.mark.parametrize("on_duplicate", [None, "refuse"])
def test_a_taken_email_is_refused_by_default(site: SiteWorld, on_duplicate: str | None) -> None:
    there = new_contact(site, name="There")
    items = [
        resource(site, email="new@example.test"),
        resource(site, email="INES@example.test", name="Other"),
    ]
    answer = batch(site, items, on_duplicate)
    about = f"{site.client.url}/v1/contacts/{there['id']}"
    assert answer["meta"]["results"][1] == refusal(
        422,
        "Email has already been taken",
        "/data/1/attributes/email",
        links={"about": about},
        meta={"existing_id": there["id"]},
    )
    assert [each["attributes"]["email"] for each in answer["data"]] == ["new@example.test"]
    assert shown(site.client, f"/v1/contacts/{there['id']}") == there


def test_a_taken_email_can_be_skipped(site: SiteWorld) -> None:
    there = new_contact(site, name="There")
    items = [
        resource(site, email="ines@example.test", name="Other"),
        resource(site, email="new@example.test"),
    ]
    answer = batch(site, items, "skip")
    assert answer["meta"]["results"][0] == {"status": "200", "id": there["id"], "skipped": True}
    assert answer["data"][0] == there
    assert counts(answer) == (1, 0, 1, 0)
    assert shown(site.client, f"/v1/contacts/{there['id']}") == there


def test_a_taken_email_can_mean_an_update(site: SiteWorld) -> None:
    there = new_contact(site, name="There", address_city="Porto", custom_1="kept")
    items = [
        resource(site, email="new@example.test"),
        resource(site, email="ines@example.test", name="Other"),
    ]
    answer = batch(site, items, "update")
    assert answer["meta"]["results"][1] == {"status": "200", "id": there["id"]}
    assert counts(answer) == (1, 1, 0, 0)
    after = shown(site.client, f"/v1/contacts/{there['id']}")
    assert answer["data"][1] == after
    wanted = {"name": "Other", "address_city": "Porto", "custom_1": "kept"}
    assert wanted.items() <= after["attributes"].items()


def test_an_update_subscribes_who_unsubscribed_only_when_told_to(site: SiteWorld) -> None:
    contact = new_contact(site, subscribed=True)
    unsubscribed = {"data": {"attributes": {"subscribed": False}}}
    assert patch(site.client, f"/v1/contacts/{contact['id']}", unsubscribed).status == 200
    items = [resource(site, email="ines@example.test", subscribed=True)]
    (after,) = batch(site, items, "update")["data"]
    assert after["attributes"]["subscribed"] is False
    (after,) = batch(site, items, "update", resubscribe=True)["data"]
    assert after["attributes"]["subscribed"] is True
    assert ledger(site.client, contact["id"]) == ["subscribed", "unsubscribed", "subscribed"]


def test_what_is_wrong_with_one_does_not_touch_the_others(server: RunningServer, site: SiteWorld) -> None:
    unseen = server.new_site()
    right = [resource(site, email=f"right{number}@example.test") for number in range(3)]
    blank = resource(site, email=" ")
    wrong: list[tuple[Any, Json]] = [
        (None, refusal(400, "Request body must contain a data object", "/data/1")),
        ("text", refusal(400, "Request body must contain a data object", "/data/2")),
        (
            resource(site) | {"attributes": []},
            refusal(400, "Attributes must be an object", "/data/3/attributes"),
        ),
        (
            {"type": "contacts", "attributes": {"email": "a@example.test"}},
            refusal(400, "Site relationship is required", "/data/4/relationships/site"),
        ),
        (
            resource(unseen, email="a@example.test"),
            refusal(404, "The requested resource could not be found", "/data/5/relationships/site"),
        ),
        (
            resource(site, email="a@example.test") | {"type": "users"},
            refusal(409, "Type must be contacts", "/data/6/type"),
        ),
        (blank, refusal(422, "Email can't be blank", "/data/7/attributes/email")),
        (
            resource(site, email="a@b c.test"),
            refusal(422, "Email is invalid", "/data/8/attributes/email"),
        ),
        (
            resource(site, email="a@example.test", address_zip="\0"),
            refusal(
                422, "Address zip contains characters that cannot be stored", "/data/9/attributes/address_zip"
            ),
        ),
        (
            resource(site, email="", name={}),
            {
                "status": "422",
                "errors": [
                    error(422, "Name is invalid", "/data/10/attributes/name"),
                    error(422, "Email can't be blank", "/data/10/attributes/email"),
                ],
            },
        ),
    ]
    answer = batch(site, [right[0], *(item for item, _ in wrong), right[1], right[2]])
    results = answer["meta"]["results"]
    assert results[1:-2] == [expected for _, expected in wrong]
    assert [results[at]["status"] for at in (0, -2, -1)] == ["201", "201", "201"]
    emails = {each["attributes"]["email"] for each in listed(site.client, "/v1/contacts")}
    assert emails == {"right0@example.test", "right1@example.test", "right2@example.test"}
    assert total(unseen.client) == 0


def test_each_resource_has_its_own_site(server: RunningServer, site: SiteWorld) -> None:
    other = server.new_site()
    both = key_for(server, site, other)
    answer = batch(
        site,
        [resource(site, email="ines@example.test"), resource(other, email="ines@example.test")],
        client=both,
    )
    assert counts(answer) == (2, 0, 0, 0)
    for at, each in enumerate((site, other)):
        assert ids(listed(each.client, "/v1/contacts")) == [answer["data"][at]["id"]]


def test_one_email_twice_in_a_batch_is_a_duplicate(site: SiteWorld) -> None:
    items = [
        resource(site, email="ines@example.test", name="First"),
        resource(site, email="ines@example.test", name="Second"),
        resource(site, email="Ines@example.test", name="Third"),
    ]
    first, second, third = batch(site, items)["meta"]["results"]
    assert (first["status"], second["status"], third["status"]) == ("201", "422", "422")
    assert second["errors"][0]["meta"] == {"existing_id": first["id"]}
    assert [each["attributes"]["name"] for each in listed(site.client, "/v1/contacts")] == ["First"]


@pytest.mark.parametrize(("on_duplicate", "name"), [("skip", "First"), ("update", "Second")])
def test_one_email_twice_in_a_batch_is_one_contact_in_its_data(
    site: SiteWorld, on_duplicate: str, name: str
) -> None:
    items = [
        resource(site, email="ines@example.test", name="First"),
        resource(site, email="ines@example.test", name="Second"),
    ]
    answer = batch(site, items, on_duplicate)
    first, second = answer["meta"]["results"]
    assert (first["status"], second["status"], second["id"]) == ("201", "200", first["id"])
    (contact,) = answer["data"]
    assert contact["attributes"]["name"] == name
    assert listed(site.client, "/v1/contacts") == [contact]


def test_tags_are_given_and_an_unknown_one_refuses_its_resource_alone(site: SiteWorld) -> None:
    tag = new_tag(site, "Import")["id"]
    there = new_contact(site, "there@example.test")
    items = [
        resource(site, [tag], email="new@example.test"),
        resource(site, [tag, "1"], email="other@example.test"),
        resource(site, [tag], email="there@example.test"),
    ]
    answer = batch(site, items, "update")
    assert [each["status"] for each in answer["meta"]["results"]] == ["201", "404", "200"]
    assert [tag_ids(each) for each in answer["data"]] == [[tag], [tag]]
    found = {
        each["attributes"]["email"] for each in listed(site.client, f"/v1/contacts?filter[has_tag_id]={tag}")
    }
    assert found == {"new@example.test", "there@example.test"}
    assert answer["data"][1]["id"] == there["id"]
    assert total(site.client) == 2


def test_who_may_not_read_contacts_learns_nothing_of_those_that_are_there(
    server: RunningServer, site: SiteWorld
) -> None:
    there = new_contact(site, name="Hidden Name", phone_number="555 0102")
    writer = key_for(server, site, permissions=("edit:contacts",))
    items = [resource(site, email="ines@example.test"), resource(site, email="new@example.test")]
    for on_duplicate, status in (("skip", "200"), ("refuse", "422")):
        reply = ask(site, items, on_duplicate, client=writer)
        assert reply.json["meta"]["results"][0]["status"] == status
        assert there["id"] not in ids(reply.json["data"])
        assert b"Hidden Name" not in reply.body
        assert b"555 0102" not in reply.body
        assert b"existing_id" not in reply.body


def test_who_may_not_read_contacts_is_answered_what_was_sent_for_those_that_are_there_and_all_of_the_others(
    server: RunningServer, site: SiteWorld
) -> None:
    there = new_contact(site, name="Hidden Name", phone_number="555 0102")
    writer = key_for(server, site, permissions=("edit:contacts",))
    items = [
        resource(site, email="ines@example.test", address_city="Porto"),
        resource(site, email="new@example.test", name="New"),
        resource(site, email="ines@example.test", address_zip="4050"),
        resource(site, email="new@example.test", address_city="Faro"),
    ]
    answer = batch(site, items, "update", client=writer)
    known, new = answer["data"]
    assert known["id"] == there["id"]
    assert known["attributes"] == {
        "email": "ines@example.test",
        "address_city": "Porto",
        "address_zip": "4050",
    }
    assert known["relationships"] == {"site": there["relationships"]["site"]}
    assert new == shown(site.client, f"/v1/contacts/{new['id']}")


def test_who_may_not_edit_contacts_makes_none(server: RunningServer, site: SiteWorld) -> None:
    reader = key_for(server, site, permissions=("view:contacts",))
    answer = batch(site, [resource(site, email=f"{at}@example.test") for at in range(2)], client=reader)
    assert [each["status"] for each in answer["meta"]["results"]] == ["403", "403"]
    assert answer["data"] == []
    assert total(site.client) == 0


def test_other_methods_on_its_path_are_unknown(site: SiteWorld) -> None:
    for method in ("GET", "DELETE", "PUT"):
        assert_refused(site.client.request(method, "/v1/contacts/batch"), NOT_FOUND)
