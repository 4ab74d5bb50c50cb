"""Proves for every write, and every attribute that any write takes, what JSON of every kind is answered.

The cases follow from the routes and the declarations: a new one of either is tried without being named here.
"""

import json
from dataclasses import dataclass
from typing import Any

import pytest
from bad_input.test_json_bodies import DOUBTFUL, F3, F4, NOT_JSON, VALUES, errors, strictly_parsed
from contract.answers import key_for

from rollbook.api.routes import Route, all_routes
from rollbook.jsonapi.errors import label
from rollbook.jsonapi.resource import Attribute, Kind
from rollbook.register.catalogue import RESOURCES
from support import Client, Reply, RunningServer, SiteWorld

# A delete needs no body, and neither does an erasure.
WRITES = [
    route
    for route in all_routes(list(RESOURCES.values()))
    if route.writes
    and (route.method != "DELETE" or "relationships" in route.template)
    and not route.template.endswith("/erase")
]
WITH_ATTRIBUTES = [
    route
    for route in WRITES
    if route.resource is not None
    and "/relationships/" not in route.template
    and not route.template.endswith(("/merge", "/batch"))
]
# Shapes that a whole body is refused for, in the words of one write or another.
NO_SHAPE = {
    F3, F4, "Request body must contain a data array", "Request body must contain a resource identifier",
    "Request body must contain 1 to 100 operations",
}  # fmt: skip
BOOLEANS = {b"true": True, b"false": False, b'"true"': True, b'"false"': False, b"1": True, b"0": False}


@dataclass
class World:
    """A site with one of everything, and a key that may write all of it, other sites too."""

    client: Client
    ids: dict[str, str]
    count: int = 0

    def send(self, route: Route, body: bytes) -> Reply:
        """Send a body to a route; where it has an id, to that of what there is."""
        path = route.template.replace("{id}", self.ids.get(route.template.split("/")[2], ""))
        return self.client.request(route.method, path, body=body)

    def document(self, route: Route) -> Any:
        """Return a good document for a route that takes attributes."""
        assert route.resource is not None
        self.count += 1
        name = route.resource.type.name
        required = {
            "contacts": {"email": f"e{self.count}@x.test"},
            "contact_tags": {"name": f"tag {self.count}"},
            "contact_notes": {"body": "x"},
        }.get(name, {"title": "x"})
        related = {"site": "sites", "contact": "contacts"}
        relationships = {
            key: {"data": {"type": of, "id": self.ids[of]}} for key, of in related.items() if of in self.ids
        }
        attributes = required if route.method == "POST" else {}
        return {"data": {"type": name, "attributes": attributes, "relationships": relationships}}

    def body(self, route: Route, place: tuple[str, ...], text: bytes) -> bytes:
        """Return a good document of a route in which this text stands at a place."""
        document = self.document(route)
        *ways, last = place
        inner = document
        for way in ways:
            inner = inner.setdefault(way, {})
        inner[last] = "\ue123 here"
        return json.dumps(document, ensure_ascii=False).encode().replace('"\ue123 here"'.encode(), text)

    def total(self) -> list[int]:
        """Return how many of everything the site has."""
        names = ("contacts", "contact_tags", "contact_notes", "custom_fields")
        of_site = f"filter[site_id]={self.ids['sites']}&page[size]=1"
        return [self.client.get(f"/v1/{name}?{of_site}").json["meta"]["total"] for name in names]


@pytest.fixture
def world(server: RunningServer, site: SiteWorld) -> World:
    made = World(key_for(server), {"sites": site.id})
    for name in ("contacts", "contact_tags", "contact_notes", "custom_fields"):
        (route,) = (each for each in WITH_ATTRIBUTES if each.template == f"/v1/{name}")
        reply = made.client.post(route.template, made.document(route))
        assert reply.status == 201, reply
        made.ids[name] = reply.json["data"]["id"]
    return made


def of_routes(routes: list[Route]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("route", routes, ids=[f"{each.method} {each.template}" for each in routes])


@of_routes(WRITES)
def test_what_is_no_json_is_refused_by_every_write_and_nothing_is_changed(world: World, route: Route) -> None:
    before = world.total()
    for texts in NOT_JSON.values():
        for name, text in texts.items():
            assert errors(world.send(route, text)) == [(400, F3, "/data")], name
    assert world.total() == before


@of_routes(WRITES)
def test_json_without_shape_is_refused_by_every_write(world: World, route: Route) -> None:
    # Those with `data` in them have their own test.
    texts = VALUES | {name: text for name, (text, _) in DOUBTFUL.items() if b"ata" not in text}
    before = world.total()
    for name, text in texts.items():
        (found,) = errors(world.send(route, text))
        assert found[0] == 400, name
        assert found[1] in NO_SHAPE, name
        if name in VALUES and not isinstance(strictly_parsed(text), dict):
            assert found[1:] == (F3, "/data"), name
    assert world.total() == before


@of_routes([route for route in WRITES if not route.template.endswith("/operations")])
def test_data_of_every_kind_is_refused_by_every_write(world: World, route: Route) -> None:
    of_many = "/relationships/" in route.template or route.template.endswith("/batch")
    for name, text in VALUES.items():
        value = strictly_parsed(text)
        reply = world.send(route, b'{"data":%s}' % text)
        expected = 400
        if of_many and isinstance(value, list) and (not value) == ("/relationships/" in route.template):
            expected = 200  # no tags; or a batch, each of which is refused by itself
        elif not of_many and route.template != "/v1/contacts/{id}/merge" and isinstance(value, dict):
            # Nothing is given, so nothing changes; or what is missing is an attribute.
            missing_attribute = route.template in ("/v1/contact_notes", "/v1/sites")
            expected = 200 if route.method == "PATCH" else 422 if missing_attribute else 400
        assert reply.status == expected, (name, reply)
        if route.template.endswith("/batch") and expected == 200:
            assert reply.json["meta"]["refused"] == len(value), name


def attributes_of(route: Route) -> dict[str, Attribute]:
    """Return the attributes that a write takes, of a family of 150 the first and the last."""
    assert route.resource is not None
    taken = route.resource.type.on_create if route.method == "POST" else route.resource.type.on_update
    return {name: each for name, (_, each) in taken.items() if not name.startswith("custom_") or name in ENDS}


ENDS = ("custom_1", "custom_150")


def stored_or_refused(attribute: Attribute, text: bytes) -> tuple[Any, str | None]:
    """Return what is stored of a value that the type of its attribute takes, or the words that refuse it."""
    value = strictly_parsed(text)
    if attribute.kind is Kind.BOOLEAN:
        return BOOLEANS.get(text), None if text in BOOLEANS else "is invalid"
    if isinstance(value, str) and "\0" in value:
        return None, "contains characters that cannot be stored"
    number = isinstance(value, int) and not isinstance(value, bool)
    if isinstance(value, str) or (number and not attribute.choices):
        return value if isinstance(value, str) else text.decode(), None
    return None, "is invalid"


@of_routes(WITH_ATTRIBUTES)
def test_each_json_value_of_every_attribute_is_stored_or_refused_by_its_name(
    world: World, route: Route
) -> None:
    wrong = {}
    for name, attribute in attributes_of(route).items():
        for case, text in VALUES.items():
            if text in (b"null", b"-0"):
                continue  # no value; and zero, or no zero: the contract does not say
            reply = world.send(route, world.body(route, ("data", "attributes", name), text))
            stored, words = stored_or_refused(attribute, text)
            if reply.status == 422:
                ((_, told, pointer),) = errors_of(reply)
                refusals = {words} if words else RULES
                fine = (
                    pointer == f"/data/attributes/{name}"
                    and told.removeprefix(label(attribute.name) + " ") in refusals
                )
                fine = fine and told.startswith(label(attribute.name))
            else:
                fine = reply.status in (200, 201) and words is None
                found = reply.json["data"]["attributes"].get(name) if fine else None
                # A blank name is the e-mail's local part, an e-mail is lower-cased; archived is said if true.
                fine = fine and (
                    found == stored or (name, found) in UNSAID or (name == "name" and not stored.strip())
                )
            if not fine:
                wrong[name, case] = (reply.status, reply.body)
    assert wrong == {}


# What a rule of the register says of a value whose type is right.
RULES = {"can't be blank", "is invalid", "has already been taken", "can't be set without a customer"}
# Archived is said only where it is true; a create by e-mail, and an upsert, ignore an external user id.
UNSAID = {("archived", None), ("external_user_id", None)}


def errors_of(reply: Reply) -> list[tuple[int, str, str | None]]:
    """Return status, detail and pointer of each error; some name what is in the way besides."""
    return [
        (int(each["status"]), each["detail"], (each["source"] or {}).get("pointer"))
        for each in reply.json["errors"]
    ]


def test_each_json_value_of_what_is_said_about_consent_is_a_text_or_refused(world: World) -> None:
    routes = [route for route in WITH_ATTRIBUTES if route.template.startswith("/v1/contacts")]
    assert {route.template for route in routes} == {
        "/v1/contacts",
        "/v1/contacts/{id}",
        "/v1/contacts/upsert",
    }
    wrong = {}
    for route in routes:
        for name in ("source", "wording", "ip_address", "cause"):
            for case, text in VALUES.items():
                value = strictly_parsed(text)
                usable = value is None or (isinstance(value, str) and "\0" not in value and value.strip())
                if name == "cause":
                    usable = value is None
                reply = world.send(route, world.body(route, ("meta", "consent", name), text))
                if usable:
                    fine = reply.status in (200, 201)
                else:
                    label = name.replace("_", " ").capitalize()
                    fine = reply.status == 422
                    fine = fine and errors(reply) == [(422, f"{label} is invalid", f"/meta/consent/{name}")]
                if not fine:
                    wrong[route.method, name, case] = (reply.status, reply.body)
    assert wrong == {}


@pytest.mark.parametrize("name", ["match", "on_duplicate", "resubscribe", "consent"])
def test_each_json_value_of_a_member_of_meta_is_understood_or_refused(world: World, name: str) -> None:
    (upsert,) = (route for route in WITH_ATTRIBUTES if route.template.endswith("/upsert"))
    for case, text in VALUES.items():
        value = strictly_parsed(text)
        body = world.body(upsert, ("meta", name), text)
        reply = world.send(upsert, body)
        if name in ("on_duplicate", "resubscribe") or value is None or isinstance(value, dict):
            fine = name != "match"
        else:
            fine = False
        assert reply.status == (201 if fine else 422), (name, case, reply)
        data = json.loads(body)
        batch = world.client.post("/v1/contacts/batch", data | {"data": [data["data"]]})
        fine = name in ("match", "resubscribe") or (name == "consent" and fine)
        assert batch.status == (200 if fine else 422), (name, case, batch)


@pytest.mark.parametrize(
    "place",
    [
        ("op",), ("ref",), ("href",), ("data",), ("ref", "type"), ("ref", "id"), ("ref", "lid"), ("ref", "relationship"),
        ("data", "type"), ("data", "lid"), ("data", "relationships"), ("data", "attributes"),
    ],
    ids="/".join,
)  # fmt: skip
def test_each_json_value_of_a_member_of_an_operation_is_understood_or_refused(
    world: World, place: tuple[str, ...]
) -> None:
    (contacts,) = (
        route for route in WITH_ATTRIBUTES if (route.method, route.template) == ("POST", "/v1/contacts")
    )
    before = world.total()
    for case, text in VALUES.items():
        operation: Any = {"op": "add", "data": world.document(contacts)["data"]}
        if place[0] == "ref":
            operation = {"op": "remove", "ref": {"type": "contacts", "id": "1"}}
        inner = operation
        for way in place[:-1]:
            inner = inner[way]
        inner[place[-1]] = "\ue123 here"
        document = {
            "atomic:operations": [operation, {"op": "remove", "ref": {"type": "contacts", "id": "1"}}]
        }
        body = json.dumps(document, ensure_ascii=False).encode().replace('"\ue123 here"'.encode(), text)
        reply = world.client.post("/v1/operations", body=body)
        # Whatever is understood of the first, the second undoes it.
        assert reply.status in (400, 404, 409, 422), (case, reply)
        assert all(
            (each["source"] or {"pointer": "/"})["pointer"].startswith("/") for each in reply.json["errors"]
        ), (case, reply)
    assert world.total() == before
