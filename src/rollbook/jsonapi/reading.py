"""Turns a request document into checked values, or into every problem that it has."""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from rollbook.jsonapi.errors import DATA, Problem, Refusal, Refused, refuse
from rollbook.jsonapi.resource import Attribute, Kind, Relationship, ResourceType

BOOLEANS: dict[Any, bool] = {True: True, False: False, "true": True, "false": False}

# What may be a number that the parser does not take, or makes another of.
LARGE_NUMBER = re.compile(rb"[0-9]{19}|[eE][+-]?[0-9]{3}")
LARGE = float(1 << 63)
# In the place of a number that nothing takes.
SOME_FRACTION = 0.5

# JSON:API ids are strings; ours stand for whole numbers that every JSON reader keeps exact.
ID_LIMIT = 1 << 53


NOTHING: Mapping[str, Any] = {}
Values = dict[str, str | bool | None]


class Draft(NamedTuple):
    """What a request says of one resource object.

    `related` has the id that was sent for each to-one relationship, `linkage` the ids for each to-many one,
    of those that the request may carry; `attributes` the values that can be stored, `meta` the document's
    own. `conflict` and `problems` are what is wrong with the type or id and with single attributes: they
    are answered only after the caller's rights, hence not raised.
    """

    related: dict[str, str]
    attributes: Values
    conflict: Problem | None
    problems: tuple[Problem, ...]
    linkage: Mapping[str, tuple[str, ...]] = NOTHING
    meta: Mapping[str, Any] = NOTHING


class NumbersTooLarge(Exception):
    """A document has numbers that were not read as they were sent; see `read_object`."""


def read_object(body: bytes, *, exactly: bool = False) -> dict[str, Any]:
    """Parse a request body (RFC 8259) that must be an object; raise Refused for anything else.

    It and whatever reads a part of the document raise NumbersTooLarge for numbers that were not read as they
    were sent. That takes longer, and never happens to one that was read `exactly`.
    """
    try:
        document = _read_exactly(body) if exactly else orjson.loads(body)
    except (ValueError, RecursionError):
        if not exactly and LARGE_NUMBER.search(body):
            raise NumbersTooLarge from None
        raise refuse(Refusal.BODY_NOT_OBJECT) from None
    if not isinstance(document, dict):
        raise refuse(Refusal.BODY_NOT_OBJECT)
    return document


def _read_exactly(body: bytes) -> Any:
    """Parse JSON with whole numbers of any size; raise ValueError or RecursionError where it is none."""
    document = json.loads(body.decode(), parse_float=_fraction, parse_constant=_no_number)
    # An escaped unpaired surrogate, which is no UTF-8, is refused by encoding it.
    json.dumps(document, ensure_ascii=False).encode()
    return document


def _fraction(digits: str) -> float:
    return number if abs(number := float(digits)) < LARGE else SOME_FRACTION


def _no_number(name: str) -> None:
    raise ValueError(name)


def read_new_resource(resource: ResourceType, document: dict[str, Any]) -> Draft:
    """Read the document of a create request for a resource of the given type.

    Raises Refused where the document has no shape to speak of (status 400); all milder problems are in
    the draft.
    """
    data = _data_of(document)
    attributes = _attributes_of(data)
    relationships = data.get("relationships")
    related: dict[str, str] = {}
    linkage: dict[str, tuple[str, ...]] = {}
    for each in resource.relationships:
        if each.required:
            related[each.name] = _required_id(each, relationships)
        elif each.on_create and each.to_many:
            _add_linkage(linkage, each, relationships, DATA)
        elif each.on_create and (sent := _identifier_id(each, relationships)) is not None:
            related[each.name] = sent
    values, problems = _read_attributes(resource.on_create, attributes)
    return Draft(related, values, _type_conflict(resource, data), problems, linkage, meta_of(document))


def read_changed_resource(resource: ResourceType, document: dict[str, Any], resource_id: str) -> Draft:
    """Read the document of an update of the resource with the given id; raises Refused like a create.

    Relationships are taken beside `data` too: clients of the original send them there.
    """
    data = _data_of(document)
    attributes = _attributes_of(data)
    linkage: dict[str, tuple[str, ...]] = {}
    for each in resource.relationships:
        if each.on_update and each.to_many:
            for place, where in ((document, ""), (data, DATA)):
                _add_linkage(linkage, each, place.get("relationships"), where)
    conflict = _type_conflict(resource, data)
    if conflict is None and "id" in data and _text_of_id(data["id"]) != resource_id:
        conflict = Problem(Refusal.ID_CONFLICT)
    values, problems = _read_attributes(resource.on_update, attributes)
    return Draft({}, values, conflict, problems, linkage, meta_of(document))


def read_linkage(document: dict[str, Any], target: str) -> tuple[str, ...]:
    """Return the ids of a to-many linkage document (JSON:API 1.1, "Updating To-Many Relationships").

    A missing type is tolerated. Raises Refused for anything but an array of identifiers.
    """
    ids = _linkage_ids(document, target)
    if ids is None:
        raise refuse(Refusal.DATA_NOT_ARRAY)
    return ids


def read_identifier(document: dict[str, Any], target: str) -> str:
    """Return the id of a document that is one resource identifier; raise Refused for anything else."""
    identifier = document.get("data")
    if isinstance(identifier, dict) and identifier.get("type", target) == target:
        sent = _text_of_id(identifier.get("id"))
        if sent:
            return sent
    raise refuse(Refusal.DATA_NOT_IDENTIFIER)


def meta_of(document: dict[str, Any]) -> Mapping[str, Any]:
    """Return the `meta` of a document; one that is no object counts as absent."""
    meta = document.get("meta")
    return meta if isinstance(meta, dict) else NOTHING


def read_id(text: str) -> int | None:
    """Return the number that an id stands for, or None where it can be no id of ours."""
    if text.isascii() and text.isdecimal() and len(text) <= 16 and (number := int(text)) < ID_LIMIT:
        # Ids are compared as strings: 007 is not 7.
        return number if str(number) == text else None
    return None


def _data_of(document: dict[str, Any]) -> dict[str, Any]:
    data = document.get("data")
    if not isinstance(data, dict):
        raise refuse(Refusal.DATA_NOT_OBJECT)
    return data


def _attributes_of(data: dict[str, Any]) -> dict[str, Any]:
    attributes = data.get("attributes")
    if attributes is None:
        return {}
    if not isinstance(attributes, dict):
        raise refuse(Refusal.ATTRIBUTES_NOT_OBJECT)
    return attributes


def _type_conflict(resource: ResourceType, data: dict[str, Any]) -> Problem | None:
    if "type" in data and data["type"] != resource.name:
        return Problem(Refusal.TYPE_CONFLICT, words=(("type", resource.name),))
    return None


def _required_id(relationship: Relationship, relationships: Any) -> str:
    """Return the id of a required to-one relationship's resource identifier."""
    found = _identifier_id(relationship, relationships)
    if found is None:
        raise refuse(Refusal.RELATIONSHIP_REQUIRED, relationship.name)
    return found


def _identifier_id(relationship: Relationship, relationships: Any) -> str | None:
    found = relationships.get(relationship.name) if isinstance(relationships, dict) else None
    identifier = found.get("data") if isinstance(found, dict) else None
    if isinstance(identifier, dict) and identifier.get("type") == relationship.target:
        return _text_of_id(identifier.get("id")) or None
    return None


def _add_linkage(
    linkage: dict[str, tuple[str, ...]], relationship: Relationship, relationships: Any, where: str
) -> None:
    found = relationships.get(relationship.name) if isinstance(relationships, dict) else None
    if found is None:
        return
    ids = _linkage_ids(found, relationship.target)
    if ids is None:
        within = f"{where}/relationships/{relationship.name}/data"
        raise Refused(Problem(Refusal.DATA_NOT_ARRAY, within=within))
    linkage[relationship.name] = ids


def _linkage_ids(document: Any, target: str) -> tuple[str, ...] | None:
    identifiers = document.get("data") if isinstance(document, dict) else None
    if not isinstance(identifiers, list):
        return None
    ids = []
    for each in identifiers:
        if not isinstance(each, dict) or each.get("type", target) != target:
            return None
        sent = _text_of_id(each.get("id"))
        if not sent:
            return None
        ids.append(sent)
    return tuple(dict.fromkeys(ids))


def _text_of_id(sent: Any) -> str:
    """Return an id that was sent as a text or as a whole number; empty for anything else."""
    if isinstance(sent, int) and not isinstance(sent, bool):
        return str(sent)
    _judge_size(sent)
    return sent if isinstance(sent, str) else ""


def _judge_size(value: Any) -> None:
    """Raise NumbersTooLarge for what may be a whole number that the parser made a fraction."""
    if isinstance(value, float) and abs(value) >= LARGE:
        raise NumbersTooLarge


def _read_attributes(
    writable: dict[str, tuple[int, Attribute]], attributes: dict[str, Any]
) -> tuple[Values, tuple[Problem, ...]]:
    values: Values = {}
    problems: list[Problem] = []
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
        if attribute.choices and value not in attribute.choices:
            raise refuse(Refusal.INVALID)
        return value
    elif isinstance(value, int) and not isinstance(value, bool) and not attribute.choices:
        return str(value)
    _judge_size(value)
    raise refuse(Refusal.INVALID)
