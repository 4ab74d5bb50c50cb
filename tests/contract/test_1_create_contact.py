"""Proves contract 1.1 and 1.2: what a create accepts, and the whole of its answer."""

import json
import re
import threading
from typing import Any

import pytest
from contract.answers import SITE_NOT_FOUND, assert_refused, attribute_error

from support import Reply, RunningServer, SiteWorld, contact_document

# The request of the contract, and the attributes of its answer in their order.
GIVEN = {
    "name": "Ines Okafor", "email": "ines@example.test", "phone_number": "+351 555 010 020",
    "business_number": "+351 555 010 021", "subscribed": True, "address_line_1": "Rua das Flores 12",
    "address_line_2": "2 Esq", "address_city": "Porto", "address_state": "Porto", "address_country": "PT",
    "external_user_id": "crm-7781", "address_zip": "4050-262", "custom_1": "Retail", "custom_2": "Spring list",
    "custom_3": "Blue",
}  # fmt: skip
ORDER = [
    "name", "email", "address_line_1", "address_line_2", "address_city", "address_country", "address_state",
    "address_zip", "phone_number", "business_number", "subscribed", "external_user_id", "custom_1", "custom_2",
    "custom_3", "created_at", "updated_at",
]  # fmt: skip
MOMENT = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def whole_answer(
    server: RunningServer, site_id: str, reply: Reply, attributes: dict[str, Any]
) -> dict[str, Any]:
    """Return the document that answers a create with these attributes; ids and stamps are the reply's."""
    contact_id, made = reply.json["data"]["id"], reply.json["data"]["attributes"]["created_at"]
    url = f"{server.url}/v1/contacts/{contact_id}"
    return {
        "data": {
            "id": contact_id,
            "type": "contacts",
            "attributes": attributes | {"created_at": made, "updated_at": made},
            "relationships": {
                "customer": {"data": None},
                "site": {"data": {"id": site_id, "type": "sites"}},
                "offers": {"data": [], "links": {"self": f"{url}/relationships/offers"}},
                "tags": {"data": [], "links": {"self": f"{url}/relationships/tags"}},
            },
            "links": {"customer": ""},
        },
        "links": {"self": url, "current": url},
    }


def test_the_request_of_the_contract_gives_the_answer_of_the_contract(
    server: RunningServer, site: SiteWorld
) -> None:
    reply = site.create(**GIVEN)
    assert reply.status == 201
    expected = GIVEN | {"external_user_id": None}
    assert reply.json == whole_answer(server, site.id, reply, expected)
    assert list(reply.json["data"]["attributes"]) == ORDER
    assert MOMENT.fullmatch(reply.json["data"]["attributes"]["created_at"])
    assert re.fullmatch(r"[1-9]\d{9}", reply.json["data"]["id"])
    assert reply.headers["content-type"] == "application/vnd.api+json"
    assert reply.headers["location"] == reply.json["links"]["self"]


def test_what_was_created_is_read_back_equal(site: SiteWorld) -> None:
    made = site.create(**GIVEN).json
    shown = site.client.get(f"/v1/contacts/{made['data']['id']}")
    assert (shown.status, shown.json) == (200, made)
    assert site.client.get("/v1/contacts").json["data"] == [made["data"]]


def test_the_shortest_body_is_accepted_with_every_attribute_in_the_answer(
    server: RunningServer, site: SiteWorld
) -> None:
    reply = site.create(email="ines@example.test")
    nulls: dict[str, Any] = dict.fromkeys(ORDER[2:10])
    attributes = nulls | {
        "name": "ines",
        "email": "ines@example.test",
        "subscribed": False,
        "external_user_id": None,
    }
    assert reply.json == whole_answer(server, site.id, reply, attributes)


def test_the_published_example_works_as_it_stands(tmp_path: Any, serve: Any) -> None:
    server = serve(tmp_path / "first.db")
    found = re.findall(r"  client_(?:id|secret) +(\S+)\n", server.greeting)
    body = (
        '{"data":{"type":"contacts","attributes":{"name":"John Doe","email":"john.doe@example.com"},'
        '"relationships":{"site":{"data":{"type":"sites","id":"123"}}}}}'
    )
    reply = server.client(server.token(*found)).post("/v1/contacts", body=body)
    assert (reply.status, reply.json["data"]["attributes"]["name"]) == (201, "John Doe")


@pytest.mark.parametrize("name", [None, "", " \t", "\u3000"])
def test_a_blank_name_becomes_the_local_part_of_the_email(site: SiteWorld, name: str | None) -> None:
    reply = site.create(name=name, email=" Ines.O+News@Example.test ")
    assert reply.json["data"]["attributes"]["name"] == "ines.o+news"
    assert reply.json["data"]["attributes"]["email"] == "ines.o+news@example.test"


def test_texts_are_kept_byte_for_byte(site: SiteWorld) -> None:
    awkward = " \t\u202bשלום\u202c e\u0301 \u00e9 👩‍👩‍👧 \ufeff\n'\"\\ \x01\x7f\U000f0000 ﬁ "
    given = {"name": awkward, "address_line_1": awkward, "phone_number": awkward, "custom_150": awkward}
    made = site.create(email="a@b.c", **given)
    shown = site.client.get(f"/v1/contacts/{made.json['data']['id']}").json["data"]["attributes"]
    assert {name: shown[name] for name in given} == given


def test_unknown_attributes_and_the_id_are_ignored(site: SiteWorld) -> None:
    document = site.document(
        email="a@b.c", first_name="A", custom_0="x", custom_151="x", custom_01="x", id="9"
    )
    document["data"]["id"] = "42"
    reply = site.client.post("/v1/contacts", document)
    assert reply.status == 201
    assert reply.json["data"]["id"] != "42"
    assert not {"first_name", "custom_0", "custom_151", "custom_01", "id"} & set(
        reply.json["data"]["attributes"]
    )


@pytest.mark.parametrize(
    ("value", "stored"),
    [(True, True), (False, False), ("true", True), ("false", False), (1, True), (0, False), (None, False)],
)
def test_a_boolean_may_be_a_word_or_a_digit(site: SiteWorld, value: Any, stored: bool) -> None:
    assert site.create(email="a@b.c", subscribed=value).json["data"]["attributes"]["subscribed"] is stored


@pytest.mark.parametrize("number", [2**64 - 1, 2**64, 89490200001234567890, -(2**63) - 1, 10**400])
def test_an_integer_of_any_size_is_stored_as_its_digits(site: SiteWorld, number: int) -> None:
    reply = site.create(email="a@b.c", phone_number=number)
    assert (reply.status, reply.json["data"]["attributes"]["phone_number"]) == (201, str(number))


def test_a_large_integer_changes_nothing_else_of_its_document(site: SiteWorld) -> None:
    deep: Any = {}
    for _ in range(300):
        deep = {"deeper": deep}
    for number in (1, 2**70):
        document = site.document(email=f"{number}@b.c", phone_number=number, unknown=deep)
        assert site.client.post("/v1/contacts", document).status == 201
        document["data"]["attributes"]["email"] = f"{number}@c.d"
        document["meta"] = {"consent": {"source": 10**18}}
        assert site.client.post("/v1/contacts", document).status == 422


@pytest.mark.parametrize("number", [2**64, 10**30])
def test_a_site_whose_id_is_a_large_integer_is_unknown(site: SiteWorld, number: int) -> None:
    document = site.document(email="a@b.c")
    document["data"]["relationships"]["site"]["data"]["id"] = number
    assert_refused(site.client.post("/v1/contacts", document), SITE_NOT_FOUND)


@pytest.mark.parametrize("number", ["1e400", "-1E+999", "1.5e308", "9" * 400 + ".5", "1e22"])
def test_a_number_that_no_attribute_takes_is_dropped_or_invalid_however_large(
    site: SiteWorld, number: str
) -> None:
    def create(name: str) -> Reply:
        document = json.dumps(site.document(email="a@b.c", **{name: "PLACE"}))
        return site.client.post("/v1/contacts", body=document.replace('"PLACE"', number))

    assert_refused(create("phone_number"), attribute_error("phone_number", "Phone number is invalid"))
    assert create("unknown").status == 201


def test_a_text_may_be_an_integer_and_a_custom_field_null_or_empty(site: SiteWorld) -> None:
    reply = site.create(email="a@b.c", phone_number=351555010020, custom_2="", custom_1=None, custom_10=7)
    attributes = reply.json["data"]["attributes"]
    assert attributes["phone_number"] == "351555010020"
    assert {name: value for name, value in attributes.items() if name.startswith("custom")} == {
        "custom_2": "",
        "custom_10": "7",
    }


def test_custom_fields_are_answered_in_the_order_of_their_numbers(site: SiteWorld) -> None:
    reply = site.create(email="a@b.c", custom_100="c", custom_20="b", custom_3="a")
    assert [name for name in reply.json["data"]["attributes"] if name.startswith("custom")] == [
        "custom_3",
        "custom_20",
        "custom_100",
    ]


def test_a_site_id_may_be_a_number(site: SiteWorld) -> None:
    document = contact_document(site.id, email="a@b.c")
    document["data"]["relationships"]["site"]["data"]["id"] = int(site.id)
    assert site.client.post("/v1/contacts", document).status == 201


def test_an_upsert_parameter_does_not_make_it_one(site: SiteWorld) -> None:
    assert site.client.post("/v1/contacts?upsert=true", site.document(email="a@b.c")).status == 201
    assert site.client.post("/v1/contacts?upsert=true", site.document(email="a@b.c")).status == 422


def test_domains_in_letters_and_in_ascii_are_one(site: SiteWorld) -> None:
    assert site.create(email="ines@exämple.test").status == 201
    assert site.create(email="ines@xn--exmple-cua.test").status == 422


def test_of_two_simultaneous_creates_one_is_refused(server: RunningServer, site: SiteWorld) -> None:
    replies: list[Reply] = []
    both = threading.Barrier(2)

    def create() -> None:
        client = server.client(site.token)
        both.wait()
        replies.append(client.post("/v1/contacts", site.document(email="a@b.c")))

    threads = [threading.Thread(target=create) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(reply.status for reply in replies) == [201, 422]
