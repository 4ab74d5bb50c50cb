"""A small invented world for the tests of the format: boats, their sailors and their harbour."""

from typing import Any

from rollbook.jsonapi.resource import (
    Attribute,
    AttributeFamily,
    Filter,
    Kind,
    Record,
    Relationship,
    ResourceType,
)

API_URL = "https://boats.example.test/v1"


def _filter(name: str) -> Filter:
    return Filter(name, f"of that {name}", values=lambda text, _: [text], condition=lambda bound: bound[0])


SAILORS = ResourceType(
    name="sailors",
    description="Who sails.",
    attributes=(Attribute("name", on_create=True, required=True), Attribute("rank", nullable=True)),
    sorts=("name",),
)

BOATS = ResourceType(
    name="boats",
    description="What is sailed.",
    attributes=(
        Attribute("name", on_create=True, required=True),
        Attribute("home_port", nullable=True, on_create=True),
        Attribute("insured", Kind.BOOLEAN, on_create=True),
        AttributeFamily("flag_", 12, Attribute("flag", nullable=True, on_create=True, description="A flag.")),
        Attribute("launched_at", Kind.TIMESTAMP),
    ),
    relationships=(
        Relationship("harbour", "harbours", required=True),
        Relationship("owner", "sailors", includable=True),
        Relationship("crew", "sailors", to_many=True, linked=True, includable=True),
    ),
    sorts=("name", "length", "launched_at"),
    default_sort="-launched_at",
    filters=(_filter("name_has"), _filter("email"), _filter("kind")),
    links={"owner": ""},
    page_size=7,
    page_cap=50,
    example_id="17",
)


def boat(number: int, **more: Any) -> Record:
    """Return a boat with a name, without owner and crew unless said."""
    attributes = {"name": f"Boat {number}", "home_port": None, "insured": False, "flag_2": "red"}
    return Record(number, attributes, {"harbour": 3, "owner": None, "crew": (), **more})


def sailor(number: int) -> Record:
    """Return a sailor."""
    return Record(number, {"name": f"Sailor {number}", "rank": None}, {})
