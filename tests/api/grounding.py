"""Gives generated requests something to meet: a site with some of everything, real ids, usable values."""

import random
from dataclasses import dataclass, field
from typing import Any

from contract.answers import Json, delete, key_for, new_contact, new_field, new_note, new_tag, patch
from schemathesis import Case
from schemathesis.core import NOT_SET

from rollbook.jsonapi.resource import ResourceType
from rollbook.register.catalogue import RESOURCES
from rollbook.register.consent import TYPE as CONSENT_EVENTS
from support import Client, RunningServer, SiteWorld

# How many of the generated requests are made to meet something; the others stay as they were generated.
GROUNDED = 0.85
# Who asks: a key that may do everything, one that may do little, a token of nobody's, no token.
FULL, NARROW, FALSE, NONE = "full", "narrow", "false", "none"
ASKERS, ODDS = (FULL, NARROW, FALSE, NONE), (90, 4, 3, 3)
# A call that leaves nothing of the resource in its path gets one of its own.
CONSUMES = frozenset({"delete_contacts", "delete_contact_tags", "delete_contact_notes", "erase_contact"})
TAG_FILTERS = ("has_tag_id", "has_all_tag_id", "has_no_tag_id")
AWKWARD: tuple[Any, ...] = ([], {"a": 1}, 1.5, True, -7, None, "", "a\0b", " \u2028\U0001f63a", "x" * 5_000)
ACCEPTS = ("*/*", "application/json", "application/vnd.api+json", "text/html;q=0.9", "")


@dataclass
class World:
    """A site of one test's own with some of everything, and the tokens of those who ask."""

    server: RunningServer
    site: SiteWorld
    tokens: dict[str, str]
    everywhere: Client
    ids: dict[str, list[str]] = field(default_factory=dict)
    emails: list[str] = field(default_factory=list)
    made: int = 0

    def fresh(self, of_type: str) -> str:
        """Make a resource of this type, and return its id."""
        self.made += 1
        if of_type == "contact_tags":
            return str(new_tag(self.site, f"Fresh {self.made}")["id"])
        if of_type == "contact_notes":
            return str(new_note(self.site, self.ids["contacts"][0], f"Note {self.made}")["id"])
        email = f"fresh-{self.made}@example.test"
        contact_id = str(new_contact(self.site, email, subscribed=True, custom_1="Retail")["id"])
        new_note(self.site, contact_id, "Called.")
        return contact_id


def world_of(server: RunningServer) -> World:
    """Make a world on a server."""
    site, everywhere = server.new_site(), key_for(server)
    narrow = key_for(server, site, permissions=("view:contacts", "edit:contact_tags"))
    tokens = {FULL: site.token, NARROW: str(narrow.token), FALSE: "nobody-s-token"}
    world = World(server, site, tokens, everywhere)
    world.emails = [f"person-{number}@example.test" for number in range(6)]
    people = [new_contact(site, email, subscribed=True, custom_2="Green") for email in world.emails]
    tags = [new_tag(site, name)["id"] for name in ("Blue", "Webinar June", "Gone")]
    world.ids = {
        "sites": [site.id],
        "contacts": [each["id"] for each in people],
        "contact_tags": tags,
        "contact_notes": [new_note(site, each["id"], "Called.\nLater.")["id"] for each in people[:3]],
        "custom_fields": [new_field(site, title)["id"] for title in ("Industry", "Colour")],
    }
    # What has changed already has more to show: tags, a ledger of several events, something archived.
    linkage = {"tags": {"data": [{"type": "contact_tags", "id": each} for each in tags]}}
    changed = {"data": {"attributes": {"subscribed": False}, "relationships": linkage}}
    for path, document in (
        (f"contacts/{world.ids['contacts'][0]}", changed),
        (f"contact_tags/{tags[2]}", {"data": {"attributes": {"archived": True}}}),
        (f"custom_fields/{world.ids['custom_fields'][1]}", {"data": {"attributes": {"archived": True}}}),
    ):
        assert patch(site.client, f"/v1/{path}", document).status == 200
    assert delete(site.client, f"/v1/contacts/{world.fresh('contacts')}").status == 200
    world.ids["audit_events"] = [each["id"] for each in site.client.get("/v1/audit_events").json["data"]]
    return world


def ground(case: Case[Any], world: World, chance: random.Random) -> str:
    """Give a generated request, mostly, ids that exist and values that can be used; return who asks."""
    operation = case.operation.definition.raw["operationId"]
    if "id" in case.path_parameters and chance.random() < GROUNDED:
        of_type = case.path.split("/")[2]
        one = world.fresh(of_type) if operation in CONSUMES else chance.choice(world.ids[of_type])
        case.path_parameters["id"] = one
    if case.method == "GET":
        _ground_query(case, operation, world, chance)
    _ground_headers(case, chance)
    if case.body is not NOT_SET and chance.random() < GROUNDED:
        _ground_body(case, operation, world, chance)
    if chance.random() < 0.1:
        case.query["utm_source"] = chance.choice(("spring", "", "a b&c"))
    return chance.choices(ASKERS, ODDS)[0]


def _ground_query(case: Case[Any], operation: str, world: World, chance: random.Random) -> None:
    """Give a query cursors, includes and sorts that mean something, and filters that let something pass."""
    resource = _type_asked(operation, case.path)
    query = case.query
    for name in ("page[after]", "page[before]"):
        if query.pop(name, None) is not None and chance.random() < 0.3:
            query["page[after]"] = ""
    if chance.random() < 0.9:
        query.pop("include", None)
        if resource.includable and chance.random() < 0.4:
            query["include"] = ",".join(chance.sample(list(resource.includable), 1))
    if resource.sorts and chance.random() < 0.3:
        query["sort"] = chance.choice(("", "-")) + chance.choice(resource.sorts)
    filters = [name for name in query if name.startswith("filter[")]
    # Of many filters together nobody passes: keep a few.
    for name in chance.sample(filters, max(0, len(filters) - chance.randrange(1, 4))):
        del query[name]
    for name in filters:
        known = _filter_value(name[len("filter[") : -1], world, chance)
        if name in query and known and chance.random() < 0.7:
            query[name] = known


def _type_asked(operation: str, path: str) -> ResourceType:
    if operation == "list_consent_events":
        return CONSENT_EVENTS
    known = RESOURCES.get(path.split("/")[2] if path.startswith("/v1/") else "")
    return known.type if known else RESOURCES["sites"].type


def _filter_value(name: str, world: World, chance: random.Random) -> str:
    if name == "site_id":
        return world.site.id
    if name in ("contact_id", "resource_id"):
        return chance.choice(world.ids["contacts"])
    if name in TAG_FILTERS:
        return chance.choice(world.ids["contact_tags"])
    return chance.choice(world.emails) if name in ("email", "email_eq") else ""


def _ground_headers(case: Case[Any], chance: random.Random) -> None:
    """Leave most conditions away, and tell most keys of retries from those that were used before."""
    for name in ("If-Match", "If-None-Match"):
        if case.headers.pop(name, None) is not None and chance.random() < 0.4:
            case.headers[name] = chance.choice(("*", "*", '"0123456789abcdef01234567"', "W/*", "what"))
    if "Idempotency-Key" in case.headers and chance.random() < 0.8:
        case.headers["Idempotency-Key"] = f"{chance.getrandbits(64):x}"
    if chance.random() < 0.3:
        case.headers["Accept"] = chance.choice(ACCEPTS)


def _ground_body(case: Case[Any], operation: str, world: World, chance: random.Random) -> None:
    if operation == "token":
        case.body = _credentials(world, chance)
    elif operation == "revoke":
        case.body = {"token": world.server.token(world.site.client_id, world.site.client_secret)}
    elif operation == "perform_operations":
        case.body = {"atomic:operations": [_operation(world, chance) for _ in range(chance.randrange(1, 4))]}
    elif isinstance(case.body, dict):
        body = _with_real_ids(case.body, world, chance)
        case.body, data = body, body.get("data")
        if isinstance(data, dict):
            _ground_data(case, data, operation, world, chance)


def _ground_data(case: Case[Any], data: Json, operation: str, world: World, chance: random.Random) -> None:
    """Let a resource object name what the call is about, and be itself, mostly."""
    attributes = data.get("attributes")
    if operation == "merge_contacts":
        data["id"] = world.fresh("contacts")
    elif operation.startswith("change_"):
        data["id"] = case.path_parameters["id"]
        if isinstance(attributes, dict) and chance.random() < 0.9:
            attributes.pop("external_user_id", None)
    if chance.random() < 0.2:
        data[chance.choice(("links", "meta", "lid", "unknown"))] = chance.choice(("", None, [], {"self": ""}))
    if not isinstance(attributes, dict):
        return
    if chance.random() < 0.2:
        attributes[chance.choice(("first_name", "tags", "id", "custom_151"))] = chance.choice(
            ("Ines", None, [1])
        )
    if attributes and chance.random() < 0.1:
        attributes[chance.choice(list(attributes))] = chance.choice(AWKWARD)
    email = attributes.get("email")
    if operation == "upsert_contact" and chance.random() < 0.3:
        attributes["email"] = chance.choice(world.emails)
    elif isinstance(email, str) and "@" in email and chance.random() < 0.7:
        attributes["email"] = f"{chance.getrandbits(40)}{email}"
    if operation == "create_contact_tags" and isinstance(attributes.get("name"), str | int):
        attributes["name"] = f"{attributes['name']}{chance.getrandbits(20)}"
    if operation == "create_custom_fields" and chance.random() < 0.7:
        attributes.pop("handle", None)


def _with_real_ids(sent: Any, world: World, chance: random.Random) -> Any:
    """Return a document whose resource identifiers name resources that exist."""
    if isinstance(sent, list):
        return [_with_real_ids(each, world, chance) for each in sent]
    if not isinstance(sent, dict):
        return sent
    found = {name: _with_real_ids(value, world, chance) for name, value in sent.items()}
    known = world.ids.get(found["type"]) if isinstance(found.get("type"), str) else None
    if known and "id" in found:
        found["id"] = chance.choice(known)
    return found


def _credentials(world: World, chance: random.Random) -> Json:
    given = {"client_id": world.site.client_id, "client_secret": world.site.client_secret}
    if chance.random() < 0.7:
        return {"grant_type": "client_credentials", **given, "scope": ""}
    pair = world.server.client().post("/v1/oauth/token", {"grant_type": "client_credentials", **given}).json
    return {"grant_type": "refresh_token", "refresh_token": pair["refresh_token"]}


def _operation(world: World, chance: random.Random) -> Json:
    """Return one atomic operation, on something that exists and of every kind."""
    number, contact = chance.getrandbits(40), chance.choice(world.ids["contacts"])
    site = {"site": {"data": {"type": "sites", "id": world.site.id}}}
    tags = [{"type": "contact_tags", "id": chance.choice(world.ids["contact_tags"])}]
    relation = {"type": "contacts", "id": contact, "relationship": "tags"}
    email = {"email": f"{number}@example.test"}
    about = {"contact": {"data": {"type": "contacts", "id": contact}}}
    kinds: list[Json] = [
        {"op": "add", "data": {"type": "contacts", "attributes": email, "relationships": site}},
        {"op": "add", "data": {"type": "contact_tags", "attributes": {"name": f"T {number}"}, "relationships": site}},
        {"op": "add", "data": {"type": "contact_notes", "attributes": {"body": "Hello"}, "relationships": about}},
        {"op": "update", "data": {"type": "contacts", "id": contact, "attributes": {"custom_7": f"{number}"}}},
        {"op": "update", "href": f"/v1/contacts/{contact}", "data": {"type": "contacts", "attributes": {"name": "N"}}},
        {"op": "update", "data": {"type": "sites", "id": world.site.id, "attributes": {"title": f"S {number}"}}},
        {"op": "remove", "ref": {"type": "contacts", "id": world.fresh("contacts")}},
        {"op": chance.choice(("add", "update", "remove")), "ref": relation, "data": tags},
        {"op": "remove", "ref": {"type": "contacts", "id": "1"}},
    ]  # fmt: skip
    return chance.choices(kinds, (9, 9, 9, 9, 9, 9, 9, 9, 1))[0]
