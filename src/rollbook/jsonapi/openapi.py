"""Describes resource types in OpenAPI 3.1: their schemas, parameters and examples."""

from collections.abc import Container, Sequence
from typing import Any

from rollbook.jsonapi.resource import Attribute, AttributeFamily, Kind, Relationship, ResourceType

MEDIA_TYPE = "application/vnd.api+json"

EXTENSION = {"x-extension": True}
STRING = {"type": "string"}
LINK = {"type": "string", "format": "uri-reference"}
# Brackets in the queries of these stand as they are, which the format of URIs does not allow.
QUERY_LINK = {"type": "string", "description": "An absolute URL."}
IDENTIFIER_ID = {"type": "string", "pattern": "^[0-9]+$", "description": "A whole number below 2^53."}


ETAG: dict[str, Any] = {
    "ETag": {
        "description": "What the resource is now.",
        "required": True,
        "schema": {"type": "string", "pattern": '^"[^"]+"$'},
    }
}
LOCATION: dict[str, Any] = {
    "Location": {"description": "Where the new resource is.", "required": True, "schema": LINK}
}


def reference(name: str) -> dict[str, Any]:
    """Return a reference to a schema of the description."""
    return {"$ref": f"#/components/schemas/{name}"}


def resource_schemas(resource: ResourceType, known: Container[str]) -> dict[str, Any]:
    """Return the schemas of a resource type: its attributes, its object, its documents.

    `known` has the names of the types that have schemas; only these are ever included.
    """
    name = resource.name
    targets = [each.target for each in resource.includable.values() if each.target in known]
    included = {"included": included_schema(targets)} if targets else {}
    return {
        f"{name}_attributes": _attributes_schema(resource),
        f"{name}_resource": _resource_schema(resource),
        f"{name}_document": {
            "type": "object",
            "required": ["data", "links"],
            "properties": {
                "data": reference(f"{name}_resource"),
                **included,
                "links": {
                    "type": "object",
                    "required": ["self", "current"],
                    "properties": {"self": QUERY_LINK, "current": QUERY_LINK},
                },
            },
        },
        f"{name}_collection": _collection_schema(name, included),
    }


def included_schema(targets: Sequence[str]) -> dict[str, Any]:
    """Return the schema of an `included` member, which has resources of these types."""
    resources = [reference(f"{target}_resource") for target in targets]
    return {"type": "array", "items": resources[0] if len(resources) == 1 else {"anyOf": resources}}


def create_schema(resource: ResourceType, meta: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the schema of the document that creates a resource of a type; `meta` is that of its meta."""
    attributes, required = _given_attributes(resource, "on_create")
    related = [each for each in resource.relationships if each.required or each.on_create]
    data: dict[str, Any] = {
        "type": "object",
        "required": ["attributes"] if required else [],
        "properties": {
            "type": {"const": resource.name},
            "attributes": attributes | {"required": required},
        },
    }
    if related:
        data["required"].append("relationships")
        data["properties"]["relationships"] = {
            "type": "object",
            "required": [each.name for each in related],
            "properties": {each.name: _linkage_schema(each) for each in related},
        }
    return _document_schema(data, meta)


def change_schema(resource: ResourceType, meta: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the schema of the document that changes a resource of a type; `meta` is that of its meta."""
    related = [each for each in resource.relationships if each.on_update]
    data: dict[str, Any] = {
        "type": "object",
        "properties": {
            "type": {"const": resource.name},
            "id": {"type": ["string", "integer"], "description": "As in the path, where given."},
            "attributes": _given_attributes(resource, "on_update")[0],
        },
    }
    if related:
        data["properties"]["relationships"] = {
            "type": "object",
            "properties": {each.name: _linkage_schema(each) for each in related},
        }
    return _document_schema(data, meta)


def linkage_schema(target: str) -> dict[str, Any]:
    """Return the schema of a to-many relationship's document."""
    return {
        "type": "object",
        "required": ["data"],
        "properties": {
            "data": {"type": "array", "items": identifier_schema(target)},
            "links": {"type": "object", "properties": {"self": LINK}},
        },
    }


def create_example(resource: ResourceType, related_ids: dict[str, str]) -> dict[str, Any]:
    """Return a document that creates a resource, with all attributes that can be given."""
    example: dict[str, Any] = {"type": resource.name, "attributes": _given_example(resource, "on_create")}
    related = [each for each in resource.relationships if each.required or each.on_create]
    if related:
        example["relationships"] = {
            each.name: {"data": {"type": each.target, "id": related_ids.get(each.name, "1")}}
            for each in related
        }
    return {"data": example}


def change_example(resource: ResourceType) -> dict[str, Any]:
    """Return a document that changes the first attribute of a resource."""
    given = _given_example(resource, "on_update")
    first = next(iter(given.items()))
    return {"data": {"type": resource.name, "id": resource.example_id, "attributes": dict([first])}}


def resource_example(resource: ResourceType, related_ids: dict[str, str]) -> dict[str, Any]:
    """Return a resource object as an answer has it."""
    attributes: dict[str, Any] = {}
    for each in resource.attributes:
        if isinstance(each, AttributeFamily):
            attributes[f"{each.prefix}1"] = each.each.example
        else:
            attributes[each.name] = each.example
    relationships: dict[str, Any] = {}
    for related in resource.relationships:
        known = related_ids.get(related.name)
        data: Any = [] if related.to_many else None
        if known is not None and not related.to_many:
            data = {"id": known, "type": related.target}
        relationships[related.name] = {"data": data}
    example: dict[str, Any] = {"id": resource.example_id, "type": resource.name, "attributes": attributes}
    if relationships:
        example["relationships"] = relationships
    return example | ({"links": dict(resource.links)} if resource.links else {})


def single_parameters(resource: ResourceType) -> list[dict[str, Any]]:
    """Return the query parameters of one resource."""
    parameters = [
        query_parameter(
            f"fields[{resource.name}]", "Attributes to answer, separated by commas; the rest is left out."
        )
    ]
    if resource.includable:
        names = ", ".join(resource.includable)
        parameters.append(query_parameter("include", f"Related resources to include: any of {names}."))
    return parameters


def collection_parameters(resource: ResourceType) -> list[dict[str, Any]]:
    """Return the query parameters of a collection: page, sort, filters and those of one resource."""
    size = f"From 1 to {resource.page_cap}; a bad value counts as {resource.page_size}."
    parameters = [
        query_parameter("page[number]", "The page, from 1; a bad value counts as 1.", {"type": "integer"}),
        query_parameter("page[size]", size, {"type": "integer"}),
        query_parameter("page[after]", "Extension: the page after this cursor; empty begins at the start.")
        | EXTENSION,
        query_parameter("page[before]", "Extension: the page before this cursor.") | EXTENSION,
    ]
    if resource.sorts:
        default = f" The default is `{resource.default_sort or 'id'}`."
        names = ", ".join(f"`{name}`" for name in resource.sorts)
        parameters.append(
            query_parameter(
                "sort", f"Fields to sort by, separated by commas, a minus for descending: {names}.{default}"
            )
        )
    for each in resource.filters:
        grade = f" Class {each.grade}." if each.grade else ""
        parameter = query_parameter(f"filter[{each.name}]", f"Only {resource.name} {each.meaning}.{grade}")
        parameters.append(parameter | ({"example": each.example} if each.example else {}))
    return parameters + single_parameters(resource)


def query_parameter(name: str, description: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return an optional parameter of the query string."""
    return {"name": name, "in": "query", "description": description, "schema": schema or STRING}


def content(schema: str, example: Any) -> dict[str, Any]:
    """Return the content of a request or a response in JSON:API's media type."""
    return {MEDIA_TYPE: {"schema": reference(schema), "example": example}}


def family_pattern(family: AttributeFamily) -> str:
    """Return the pattern of the names of a family's attributes; it does not count to the highest."""
    return f"^{family.prefix}[1-9][0-9]*$"


_KIND_SCHEMAS: dict[Kind, dict[str, Any]] = {
    Kind.TEXT: {"type": "string"},
    Kind.BOOLEAN: {"type": "boolean"},
    Kind.TIMESTAMP: {"type": "string", "format": "date-time"},
}


def _attribute_schema(attribute: Attribute) -> dict[str, Any]:
    schema = dict(_KIND_SCHEMAS[attribute.kind])
    if attribute.nullable:
        schema["type"] = [schema["type"], "null"]
    if attribute.choices:
        schema["enum"] = [*attribute.choices, *([None] if attribute.nullable else [])]
    if attribute.description:
        schema["description"] = attribute.description
    return schema


def _writable_schema(attribute: Attribute) -> dict[str, Any]:
    """Return what a request may give for an attribute: more than what is answered."""
    schema = {**_attribute_schema(attribute), **attribute.asks}
    if attribute.kind is Kind.BOOLEAN:
        return schema | {"type": ["boolean", "string", "integer", "null"], "enum": _BOOLEANS}
    if attribute.choices:
        return schema | {"type": ["string", "null"], "enum": [*attribute.choices, None]}
    kinds = ["string"] if attribute.asks else ["string", "integer"]
    schema["type"] = kinds if attribute.required else [*kinds, "null"]
    return schema | ({"minLength": 1} if attribute.required else {})


_BOOLEANS: Sequence[Any] = [True, False, "true", "false", 1, 0, None]


def _document_schema(data: dict[str, Any], meta: dict[str, Any] | None) -> dict[str, Any]:
    properties = {"data": data} if meta is None else {"data": data, "meta": meta}
    return {"type": "object", "required": ["data"], "properties": properties}


def _given_attributes(resource: ResourceType, when: str) -> tuple[dict[str, Any], list[str]]:
    """Return the schema of the attributes that a request may give, and which it must."""
    properties, patterns, required = {}, {}, []
    for each in resource.attributes:
        if isinstance(each, AttributeFamily):
            patterns[family_pattern(each)] = _writable_schema(each.each)
        elif getattr(each, when):
            properties[each.name] = _writable_schema(each)
            required += [each.name] if each.required else []
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    return schema | ({"patternProperties": patterns} if patterns else {}), required


def _given_example(resource: ResourceType, when: str) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for each in resource.attributes:
        if isinstance(each, AttributeFamily):
            given[f"{each.prefix}1"] = each.each.example
        elif getattr(each, when):
            given[each.name] = each.example
    return given


def _linkage_schema(relationship: Relationship) -> dict[str, Any]:
    if relationship.to_many:
        return linkage_schema(relationship.target)
    data = identifier_schema(relationship.target)
    return {"type": "object", "required": ["data"], "properties": {"data": data}}


def _attributes_schema(resource: ResourceType) -> dict[str, Any]:
    properties, patterns = {}, {}
    for each in resource.attributes:
        if isinstance(each, AttributeFamily):
            patterns[family_pattern(each)] = _attribute_schema(each.each)
        else:
            read_only = {} if each.on_create or each.on_update else {"readOnly": True}
            properties[each.name] = _attribute_schema(each) | read_only
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    return schema | ({"patternProperties": patterns} if patterns else {})


def _resource_schema(resource: ResourceType) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "type": "object",
        "description": resource.description,
        "required": ["id", "type", "attributes"],
        "properties": {
            "id": IDENTIFIER_ID,
            "type": {"const": resource.name},
            "attributes": reference(f"{resource.name}_attributes"),
        },
    }
    if resource.relationships:
        schema["required"].append("relationships")
        schema["properties"]["relationships"] = {
            "type": "object",
            "required": [each.name for each in resource.relationships],
            "properties": {each.name: _relationship_schema(each) for each in resource.relationships},
        }
    if resource.links:
        schema["required"].append("links")
        schema["properties"]["links"] = {
            "type": "object",
            "required": [*resource.links],
            "properties": dict.fromkeys(resource.links, STRING),
        }
    return schema


def _relationship_schema(relationship: Relationship) -> dict[str, Any]:
    identifier = identifier_schema(relationship.target)
    data: dict[str, Any]
    if relationship.to_many:
        data = {"type": "array", "items": identifier}
    elif relationship.required:
        data = identifier
    else:
        data = {"anyOf": [identifier, {"type": "null"}]}
    schema: dict[str, Any] = {"type": "object", "required": ["data"], "properties": {"data": data}}
    if relationship.linked:
        schema["properties"]["links"] = {"type": "object", "properties": {"self": LINK}}
    return schema | ({"description": relationship.description} if relationship.description else {})


def identifier_schema(target: str) -> dict[str, Any]:
    """Return the schema of a resource identifier."""
    return {
        "type": "object",
        "required": ["id", "type"],
        "properties": {"id": IDENTIFIER_ID, "type": {"const": target}},
    }


def _collection_schema(name: str, included: dict[str, Any]) -> dict[str, Any]:
    counts = ("total", "total_count", "total_pages", "current_page")
    return {
        "type": "object",
        "required": ["data", "links", "meta"],
        "properties": {
            "data": {"type": "array", "items": reference(f"{name}_resource")},
            **included,
            "links": {
                "type": "object",
                "required": ["self", "current"],
                "properties": dict.fromkeys(("self", "current", "first", "prev", "next", "last"), QUERY_LINK),
            },
            "meta": {
                "type": "object",
                "properties": {count: {"type": "integer", "minimum": 0} for count in counts}
                | {
                    "unsupported_filters": {"type": "array", "items": STRING},
                    "page": {"type": "object", "properties": {"size": {"type": "integer"}}},
                },
            },
        },
    }
