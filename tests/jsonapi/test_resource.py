"""Proves what follows from the declaration of a resource type."""

import pytest
from jsonapi.worlds import BOATS, SAILORS

from rollbook.jsonapi.errors import label
from rollbook.jsonapi.resource import Attribute, AttributeFamily

pytestmark = pytest.mark.sqlite


@pytest.mark.parametrize(
    ("name", "read"),
    [("name", "Name"), ("phone_number", "Phone number"), ("address_line_1", "Address line 1"), ("custom_7", "Custom 7")],
)  # fmt: skip
def test_a_label_is_the_name_as_people_read_it(name: str, read: str) -> None:
    assert label(name) == read


def test_a_family_has_its_members_in_the_order_of_their_numbers() -> None:
    each = Attribute("flag", nullable=True, on_create=True, description="A flag.")
    members = AttributeFamily("flag_", 12, each).members()
    assert [member.name for member in members] == [f"flag_{number}" for number in range(1, 13)]
    assert all(
        (member.nullable, member.on_create, member.kind) == (True, True, each.kind) for member in members
    )


def test_what_a_create_takes_has_its_place_in_the_order_of_emission() -> None:
    ordered = sorted(BOATS.on_create, key=lambda name: BOATS.on_create[name][0])
    assert ordered == ["name", "home_port", "insured", *(f"flag_{number}" for number in range(1, 13))]
    assert "launched_at" not in BOATS.on_create
    assert list(SAILORS.on_create) == ["name"]


def test_the_singular_is_the_name_without_its_s() -> None:
    assert (BOATS.singular, SAILORS.singular) == ("boat", "sailor")


def test_only_some_relationships_may_be_included() -> None:
    assert {name: each.target for name, each in BOATS.includable.items()} == {
        "owner": "sailors",
        "crew": "sailors",
    }
    assert SAILORS.includable == {}


def test_filters_are_found_by_name() -> None:
    assert {name: each.name for name, each in BOATS.filters_by_name.items()} == {
        "name_has": "name_has",
        "email": "email",
        "kind": "kind",
    }
