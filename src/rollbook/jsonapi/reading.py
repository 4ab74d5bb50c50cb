"""Turns a request document into checked values, or into every problem that it has."""

from typing import Any, NamedTuple

import orjson

from rollbook.jsonapi.errors import Problem, Refusal, Refused, refuse
from rollbook.jsonapi.resource import Attribute, Kind, Relationship, ResourceType

BOOLEANS: dict[Any, bool] = {True: True, False: False, "true": True, "false": False}

# JSON:API ids are strings; ours stand for whole numbers that every JSON reader keeps exact.
ID_LIMIT = 1 << 53


class Draft(NamedTuple):
    """A resource object that a client wants to be created.

    `related` has the id of each required relationship as sent; `attributes` the values that can be stored;
    `conflict` and `problems` what is wrong with the type and with single attributes: they are answered
    only after the caller's rights, hence not raised.
    """

    related: dict[str, str]
    attributes: dict[str, str | bool | None]
    conflict: Problem | None
    problems: tuple[Problem, ...]


def read_object(body: bytes) -> dict[str, Any]:
    """Parse a request body (RFC 8259) that must be an object; raise Refused for anything else."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise refuse(Refusal.BODY_NOT_OBJECT) from None
    if not isinstance(document, dict):
        raise refuse(Refusal.BODY_NOT_OBJECT)
    return document


def read_new_resource(resource: ResourceType, body: bytes) -> Draft:
    """Read the document of a create request for a resource of the given type.

    Raises Refused where the document has no shape to speak of (status 400); all milder problems are in
    the draft.
    """
    data = read_object(body).get("data")
    if not isinstance(data, dict):
        raise refuse(Refusal.DATA_NOT_OBJECT)
    attributes = data.get("attributes")
    if attributes is None:
        attributes = {}
    elif not isinstance(attributes, dict):
        raise refuse(Refusal.ATTRIBUTES_NOT_OBJECT)
    relationships = data.get("relationships")
    related = {
        each.name: _related_id(each, relationships) for each in resource.relationships if each.required
    }
    conflict = None
    if "type" in data and data["type"] != resource.name:
        conflict = Problem(Refusal.TYPE_CONFLICT, words=(("type", resource.name),))
    values, problems = _read_attributes(resource, attributes)
    return Draft(related, values, conflict, problems)


def read_id(text: str) -> int | None:
    """Return the number that an id stands for, or None where it can be no id of ours."""
    if text.isascii() and text.isdecimal() and len(text) <= 16 and (number := int(text)) < ID_LIMIT:
        # Ids are compared as strings: 007 is not 7.
        return number if str(number) == text else None
    return None


def _related_id(relationship: Relationship, relationships: Any) -> str:
    """Return the id of a required to-one relationship's resource identifier."""
    found = relationships.get(relationship.name) if isinstance(relationships, dict) else None
    identifier = found.get("data") if isinstance(found, dict) else None
    if isinstance(identifier, dict) and identifier.get("type") == relationship.target:
        related_id = identifier.get("id")
        if isinstance(related_id, int) and not isinstance(related_id, bool):
            return str(related_id)
        if isinstance(related_id, str) and related_id:
            return related_id
    raise refuse(Refusal.RELATIONSHIP_REQUIRED, relationship.name)


def _read_attributes(
    resource: ResourceType, attributes: dict[str, Any]
) -> tuple[dict[str, str | bool | None], tuple[Problem, ...]]:
    values: dict[str, str | bool | None] = {}
    problems: list[Problem] = []
    writable = resource.writable
    for name, value in attributes.items():
        known = writable.get(name)
        if known is None:
            continue
        place, attribute = known
        try:
            values[name] = _read_value(attribute, value)
        except Refused as refused:
            problems.extend(
                Problem(problem.refusal, name, problem.words, place) for problem in refused.problems
            )
    return values, tuple(problems)


def _read_value(attribute: Attribute, value: Any) -> str | bool | None:
    if value is None:
        return None
    if attribute.kind is Kind.BOOLEAN:
        if isinstance(value, (bool, str, int)) and value in BOOLEANS:
            return BOOLEANS[value]
    elif isinstance(value, str):
        if "\0" in value:
            raise refuse(Refusal.NOT_STORABLE)
        return value
    elif isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise refuse(Refusal.INVALID)
