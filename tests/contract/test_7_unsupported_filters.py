"""Proves contract 7.1 for filters by what nobody has: logical answers, and `meta` that names class X."""

from collections.abc import Callable, Iterator

import pytest
from contract.answers import new_contact
from contract.finding import AUDIENCE, UNSUPPORTED, asked, found

from support import Client, RunningServer, start_server

EVERYBODY = {"Ann", "Bob", "Cy"}
NEGATED = [name for name in UNSUPPORTED if name.startswith(("no_", "not_"))]
BOOLEAN = [name for name in UNSUPPORTED if name == "is_hard_bouncing" or name.endswith("_with_open_data")]
POSITIVE = [name for name in UNSUPPORTED if name not in NEGATED]
# Those that are answered from offers, products, forms and customers, which nobody has.
FINDING_NOBODY = [
    "joined_in_last", "active_in_last", "inactive_in_last", "has_offer_id", "has_product_id",
    "has_active_product_id", "previously_owned_product_id", "submitted_form_id", "net_revenue_equal_to",
    "net_revenue_greater_than", "net_revenue_less_than",
]  # fmt: skip
FINDING_EVERYBODY = ["has_no_offer_id", "has_no_product_id", "no_submitted_form_id"]


def value_for(name: str) -> str:
    """Return a value as a client would send it."""
    if name.endswith("_in_last"):
        return "30"
    return "true" if name in BOOLEAN else "SPRING" if name == "used_coupon_code" else "2150000042"


@pytest.fixture(scope="module", params=["off", "on"], ids=["lenient", "strict"])
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of a server with three contacts, strict or not, which the tests only read."""
    running = start_server(tmp_path_factory.mktemp("strict") / "rollbook.db", ROLLBOOK_STRICT=request.param)
    site = running.new_site()
    for name in EVERYBODY:
        new_contact(site, f"{name}@x.test", name=name, subscribed=name == "Ann")
    yield site.client
    assert running.stop() == 0


def unsupported(client: Client, **filters: str) -> list[str] | None:
    reply = client.get(f"/v1/contacts?{asked(**filters)}")
    assert reply.status == 200, reply
    named: list[str] | None = reply.json["meta"].get("unsupported_filters")
    return named


def test_there_are_35_filters_of_class_x() -> None:
    assert (len(UNSUPPORTED), len(NEGATED), len(BOOLEAN)) == (35, 12, 5)
    assert not {*FINDING_NOBODY, *FINDING_EVERYBODY} & {*UNSUPPORTED}


@pytest.mark.parametrize("name", POSITIVE)
def test_a_positive_filter_of_class_x_finds_nobody_and_is_named(client: Client, name: str) -> None:
    assert found(client, **{name: value_for(name)}) == set()
    assert unsupported(client, **{name: value_for(name)}) == [name]


@pytest.mark.parametrize("name", NEGATED)
def test_a_negated_filter_of_class_x_finds_everybody_and_is_named(client: Client, name: str) -> None:
    assert found(client, **{name: value_for(name)}) == EVERYBODY
    assert unsupported(client, **{name: value_for(name)}) == [name]


@pytest.mark.parametrize("name", BOOLEAN)
def test_a_boolean_filter_of_class_x_finds_everybody_when_it_is_given_false(
    client: Client, name: str
) -> None:
    for value, expected in (("false", EVERYBODY), ("0", EVERYBODY), ("true", set()), ("1", set())):
        assert found(client, **{name: value}) == expected, value
        assert unsupported(client, **{name: value}) == [name]


@pytest.mark.parametrize("name", [name for name in UNSUPPORTED if name not in NEGATED + BOOLEAN])
def test_a_filter_of_class_x_that_is_not_boolean_finds_nobody_by_false_too(client: Client, name: str) -> None:
    assert found(client, **{name: "false"}) == set()
    assert found(client, **{name: "0"}) == set()


def test_several_of_class_x_are_combined_and_all_named(client: Client) -> None:
    negated = {name: value_for(name) for name in NEGATED}
    assert found(client, **negated) == EVERYBODY
    assert sorted(unsupported(client, **negated) or ()) == sorted(NEGATED)
    for positive in (POSITIVE[0], POSITIVE[-1]):
        assert found(client, **negated, **{positive: value_for(positive)}) == set()
    every = {name: value_for(name) for name in UNSUPPORTED}
    assert sorted(unsupported(client, **every) or ()) == sorted(UNSUPPORTED)
    assert found(client, no_sent_email_broadcast_id="1", search="ann") == {"Ann"}
    assert found(client, is_hard_bouncing="false", subscribed="false") == {"Bob", "Cy"}
    assert found(client, used_coupon_code="x", search="ann") == set()


def test_filters_of_other_classes_are_not_named(client: Client) -> None:
    for name in AUDIENCE:
        if name not in UNSUPPORTED:
            assert unsupported(client, **{name: "1"}) is None, name
    assert unsupported(client) is None
    assert unsupported(client, search="ann", used_coupon_code="x", subscribed="1") == ["used_coupon_code"]


def test_class_x_is_named_on_pages_by_cursor_and_beyond_the_end_too(client: Client) -> None:
    query = asked(no_opened_email_broadcast_id="1")
    for page in ("page[after]=", "page[number]=99", "page[size]=1", "sort=name&include=tags"):
        meta = client.get(f"/v1/contacts?{query}&{page}").json["meta"]
        assert meta["unsupported_filters"] == ["no_opened_email_broadcast_id"], page


@pytest.mark.parametrize("name", FINDING_NOBODY)
@pytest.mark.parametrize("value", ["1", "30", "2150000042", "1,2"])
def test_a_filter_by_what_nobody_has_finds_nobody(client: Client, name: str, value: str) -> None:
    if value == "1,2" and not name.endswith("_id"):
        value = "0"
    assert found(client, **{name: value}) == set()
    assert found(client, **{name: value, "search": "ann"}) == set()


@pytest.mark.parametrize("name", FINDING_EVERYBODY)
@pytest.mark.parametrize("value", ["1", "2150000042", "1,2"])
def test_a_negated_filter_by_what_nobody_has_finds_everybody(client: Client, name: str, value: str) -> None:
    assert found(client, **{name: value}) == EVERYBODY
    assert found(client, **{name: value, "search": "ann"}) == {"Ann"}


def test_a_server_that_is_not_strict_ignores_a_name_that_is_no_filter(
    serve: Callable[..., RunningServer],
) -> None:
    running = serve()
    site = running.new_site()
    new_contact(site, name="Ann")
    assert found(site.client, used_coupon_codes="x") == {"Ann"}
    assert unsupported(site.client, used_coupon_codes="x") is None
