"""Proves that what belongs to another tenant is answered like what does not exist, wherever an id can stand."""

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import pytest
from tenancy.inside import Cost, Inside, inside
from tenancy.worlds import KINDS, STRANGE, TYPES, Tenant, World, new_tenant, rows_of

from rollbook.api.routes import Route, all_routes
from rollbook.register.catalogue import RESOURCES
from support import Reply, RunningServer

ROUTES = all_routes(list(RESOURCES.values()))
WITH_ID = [route for route in ROUTES if route.bearer and "{id}" in route.template]
COLLECTIONS = [route for route in ROUTES if route.bearer and route.asks and "{id}" not in route.template]
# What is not a resource of a tenant: its id says nothing about another.
NO_TENANTS_ID = {"key_id", "resource_id"}
ID_FILTERS = {
    "site_id": "sites",
    "contact_id": "contacts",
    "has_tag_id": "contact_tags",
    "has_all_tag_id": "contact_tags",
    "has_no_tag_id": "contact_tags",
    "resource_id": "contacts",
}
VARYING = {"date", "x-request-id"}
NO_HEADERS: Mapping[str, str] = {}
FRESH = itertools.count()

WRONGS: list[dict[str, Any]] = [
    {},
    {"type": "boats"},
    {"attributes": {}},
    {"attributes": {"email": "x", "name": "\0"}},
]

Asked = tuple[str, str, Any]


@pytest.fixture(scope="module")
def world(server: RunningServer) -> World:
    """Three tenants on the worker's server."""
    words = ("wordofown", "wordofforeign", "wordofunseen")
    return World(server, *(new_tenant(server, word) for word in words))


@pytest.fixture(scope="module")
def inner(server: RunningServer) -> Iterator[Inside]:
    """The application in this process, on the file of the worker's server."""
    with inside(server) as made:
        yield made


class Matrix:
    """Asks the same of each kind of id, and compares the answers, and what they cost; counts the cells."""

    def __init__(self, world: World, inner: Inside) -> None:
        self.world = world
        self.inner = inner
        self.cells: Counter[str] = Counter()
        self.before = [rows_of(world.server, world.id(kind, "sites")) for kind in STRANGE]

    def compare(
        self, name: str, asked: dict[str, Asked], headers: Mapping[str, str] = NO_HEADERS
    ) -> dict[str, Reply]:
        """Send what is asked for each kind; foreign and unseen must be answered like unknown."""
        replies = {}
        for kind, (method, path, document) in asked.items():
            self.cells[name.partition(" ")[0]] += 1
            sent = dict(headers)
            if "Idempotency-Key" in sent:
                # One that the asker never used; what is stored is another test's business.
                sent["Idempotency-Key"] = f"key-{next(FRESH)}"
            replies[kind] = self.world.own.client.request(method, path, document, headers=sent)
            text = replies[kind].body.decode()
            for word in self.world.strange_words():
                assert word not in text, (name, kind, text)
            assert replies[kind].status < 500, (name, kind, text)
        plain = {kind: self._plain(reply) for kind, reply in replies.items()}
        for kind in STRANGE:
            if kind in plain:
                assert plain[kind] == plain["unknown"], (name, kind, asked[kind])
        self._compare_costs(name, {kind: each for kind, each in asked.items() if kind != "own"}, headers)
        return replies

    def _compare_costs(self, name: str, asked: dict[str, Asked], headers: Mapping[str, str]) -> None:
        """Each must take the same statements, in the same order: none tells by its time what there is."""
        for _ in range(5):
            costs = {kind: self._cost(each, headers) for kind, each in asked.items()}
            # A commit of the server in between makes the application look its caller up again.
            if len({repr(each) for each in costs.values()}) <= 1:
                return
        raise AssertionError((name, asked, costs))

    def _cost(self, asked: Asked, headers: Mapping[str, str]) -> tuple[int, Cost]:
        sent = dict(headers)
        if "Idempotency-Key" in sent:
            sent["Idempotency-Key"] = f"key-{next(FRESH)}"
        token = self.world.own.client.token
        self.inner.cost(token, "GET", "/v1/me", None, {})
        return self.inner.cost(token, *asked, sent)

    def _plain(self, reply: Reply) -> tuple[int, dict[str, str], str]:
        """Return an answer without the ids that the request itself had."""
        text = reply.body.decode()
        for type_name, kind in itertools.product(TYPES, ("unknown", *STRANGE)):
            for which in (0, 1):
                text = text.replace(self.world.id(kind, type_name, which), type_name)
        headers = {name: value for name, value in reply.headers.items() if name not in VARYING}
        return reply.status, headers, text

    def end(self) -> None:
        """Nothing of the others has changed."""
        after = [rows_of(self.world.server, self.world.id(kind, "sites")) for kind in STRANGE]
        assert after == self.before


@pytest.fixture
def matrix(world: World, inner: Inside) -> Iterator[Matrix]:
    made = Matrix(world, inner)
    yield made
    made.end()
    print(dict(made.cells))


def body_of(world: World, route: Route, kind: str) -> Any:
    """Return a sound body for a route with an id."""
    if route.method in ("GET", "DELETE") and "relationships" not in route.template:
        return None
    if "relationships" in route.template:
        return {"data": [{"type": "contact_tags", "id": world.id("own", "contact_tags")}]}
    if route.template.endswith("/merge"):
        return {"data": {"type": "contacts", "id": world.id(kind, "contacts", 1)}}
    if route.template.endswith("/erase"):
        return None
    assert route.resource is not None
    return {"data": {"type": route.resource.type.name, "attributes": {}}}


def type_of(route: Route) -> str:
    return route.template.split("/")[2]


PATH_ROUTES = [
    route
    for route in WITH_ID
    if type_of(route) in TYPES and not route.template.endswith(("/merge", "/erase"))
]


@pytest.mark.parametrize("route", WITH_ID, ids=lambda route: f"{route.method} {route.template}")
def test_an_id_in_the_path(matrix: Matrix, world: World, route: Route) -> None:
    type_name = type_of(route)
    if type_name not in TYPES:
        assert type_name == "audit_events"  # they are numbered across tenants, and shown like any resource
        rows = world.foreign.client.get("/v1/audit_events?page[size]=1").json["data"]
        asked: dict[str, Asked] = {"unknown": ("GET", "/v1/audit_events/2799999999999", None)}
        asked["foreign"] = ("GET", f"/v1/audit_events/{rows[0]['id']}", None)
        replies = matrix.compare("path", asked)
        assert replies["foreign"].status == 404
        return
    harmless = route.method == "GET" or (route.method == "PATCH" and "relationships" not in route.template)
    kinds = KINDS if harmless else KINDS[1:]
    for headers in ({}, {"If-Match": '"x"'}, {"Idempotency-Key": "fresh"}):
        for query in ("", "?include=site", "?fields[contacts]=name", "?page[size]=1"):
            asked = {
                kind: (
                    route.method,
                    route.template.replace("{id}", world.id(kind, type_name)) + query,
                    body_of(world, route, kind),
                )
                for kind in kinds
            }
            replies = matrix.compare("path", asked, headers=headers)
            assert replies["unknown"].status in (400, 404)


@pytest.mark.parametrize("route", COLLECTIONS, ids=lambda route: route.template)
def test_every_filter_sort_and_include_within_each_site(matrix: Matrix, world: World, route: Route) -> None:
    assert route.resource is not None
    declared = route.resource.type
    questions = [f"filter[{each.name}]={quote(each.example or 'x')}" for each in declared.filters]
    questions += [f"sort={sign}{name}" for name in declared.sorts for sign in ("", "-")]
    questions += [f"include={name}" for name in declared.includable]
    questions += ["page[after]=", "page[before]=", "page[number]=2", "fields[contacts]=name"]
    if not any(each.name == "site_id" for each in declared.filters):
        questions = [f"filter[{each.name}]=wordof" for each in declared.filters]
        for question in questions:
            matrix.compare("collection", {"own": ("GET", f"{route.template}?{question}", None)})
        return
    for question in questions:
        asked: dict[str, Asked] = {
            kind: ("GET", f"{route.template}?{question}&filter[site_id]={world.id(kind, 'sites')}", None)
            for kind in KINDS
            if "site_id" not in question or kind != "own"
        }
        replies = matrix.compare("collection", asked)
        if "site_id" not in question:
            assert replies["foreign"].json["data"] == []


@pytest.mark.parametrize("word", ["wordofforeign", "wordofunseen", "wordofnobody"])
def test_no_text_finds_what_is_elsewhere(matrix: Matrix, world: World, word: str) -> None:
    for resource in RESOURCES.values():
        for each in resource.type.filters:
            if each.name.endswith(("_cont", "_contains")) or each.name in ("search", "email", "email_eq"):
                for part in (word, word[6:9], f"{word}1@{word}.test"):
                    path = f"/v1/{resource.type.name}?filter[{each.name}]={part}"
                    reply = world.own.client.get(path)
                    matrix.cells["text"] += 1
                    assert reply.json["meta"]["total"] == 0 or word[6:9] in "own", path


@pytest.mark.parametrize("route", COLLECTIONS, ids=lambda route: route.template)
def test_an_id_in_a_filter(matrix: Matrix, world: World, route: Route) -> None:
    assert route.resource is not None
    for each in route.resource.type.filters:
        if each.name not in ID_FILTERS:
            assert (
                not each.name.endswith("_id")
                or each.grade == "X"
                or each.name in NO_TENANTS_ID
                or "yet" in each.meaning
            )
            continue
        type_name = ID_FILTERS[each.name]
        for shape, query in itertools.product(
            ("{0}", "{0},{0}", "{own},{0}", "{0},{own}", "{unknown},{0}", " {0}"),
            ("", "&include=site", "&sort=-created_at", "&page[after]=", "&page[size]=1"),
        ):
            if "include" in query and "site" not in route.resource.type.includable:
                continue
            value = {"own": world.id("own", type_name), "unknown": world.id("unknown", type_name, 1)}
            asked: dict[str, Asked] = {
                kind: (
                    "GET",
                    f"{route.template}?filter[{each.name}]="
                    + shape.format(world.id(kind, type_name), **value).replace(" ", "%20")
                    + query,
                    None,
                )
                for kind in KINDS
            }
            matrix.compare("filter", asked)


CREATES = [
    route for route in ROUTES if route.writes and route.method == "POST" and "{id}" not in route.template
]


def resource_object(world: World, type_name: str, kind: str, stamp: str) -> dict[str, Any]:
    """Return a resource object whose relationship points to a site or a contact of a kind."""
    texts = {
        "contacts": {"email": f"{stamp}@new.test"},
        "contact_tags": {"name": stamp},
        "contact_notes": {"body": stamp},
        "custom_fields": {"title": stamp},
    }
    to = ("contact", "contacts") if type_name == "contact_notes" else ("site", "sites")
    linkage = {"data": {"type": to[1], "id": world.id(kind, to[1])}}
    return {"type": type_name, "attributes": texts[type_name], "relationships": {to[0]: linkage}}


@pytest.mark.parametrize("type_name", TYPES[:-1])
def test_an_id_in_the_body_of_a_create(matrix: Matrix, world: World, type_name: str) -> None:
    for at, headers in enumerate(({}, {"Idempotency-Key": "shared-key"}, {"If-Match": "*"})):
        for wrong in WRONGS:
            asked: dict[str, Asked] = {
                kind: (
                    "POST",
                    f"/v1/{type_name}",
                    {"data": resource_object(world, type_name, kind, f"{type_name}{at}") | wrong},
                )
                for kind in KINDS[1:]
            }
            replies = matrix.compare("create", asked, headers=headers)
            assert replies["unknown"].status in (404, 409, 422)


def test_an_id_in_an_upsert_and_in_a_batch(matrix: Matrix, world: World) -> None:
    for meta in ({}, {"match": "external_user_id"}, {"resubscribe": True}):
        asked: dict[str, Asked] = {}
        for kind in KINDS[1:]:
            data = resource_object(world, "contacts", kind, "up")
            data["attributes"]["external_user_id"] = "7"
            asked[kind] = ("POST", "/v1/contacts/upsert", {"data": data, "meta": meta})
        assert matrix.compare("upsert", asked)["unknown"].status == 404
    for place, on_duplicate in itertools.product(range(4), ("refuse", "skip", "update")):
        asked = {}
        for kind in KINDS[1:]:
            items = [resource_object(world, "contacts", "unknown", f"b{number}") for number in range(4)]
            items[place] = resource_object(world, "contacts", kind, f"b{place}")
            meta_of = {"on_duplicate": on_duplicate}
            asked[kind] = ("POST", "/v1/contacts/batch", {"data": items, "meta": meta_of})
        replies = matrix.compare("batch", asked)
        assert replies["foreign"].json["meta"]["refused"] == 4
    for kind in KINDS[1:]:
        data = resource_object(world, "contacts", "own", "tagged")
        data["relationships"]["tags"] = {
            "data": [{"type": "contact_tags", "id": world.id(kind, "contact_tags")}]
        }
        reply = world.own.client.post("/v1/contacts/upsert", {"data": data})
        matrix.cells["upsert"] += 1
        assert reply.status == 404, reply


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_ids_in_relationship_documents(matrix: Matrix, world: World, method: str) -> None:
    for contact, shape in itertools.product(KINDS, ("{0}", "{0} {own}", "{own} {0}", "{unknown} {0}")):
        asked: dict[str, Asked] = {}
        value = {"own": world.id("own", "contact_tags"), "unknown": world.id("unknown", "contact_tags", 1)}
        for tag in KINDS[1:]:
            ids = shape.format(world.id(tag, "contact_tags"), **value).split()
            linkage = {"data": [{"type": "contact_tags", "id": each} for each in ids]}
            path = f"/v1/contacts/{world.id(contact, 'contacts')}/relationships/tags"
            asked[tag] = (method, path, linkage)
        assert matrix.compare("linkage", asked)["unknown"].status == 404
    for tag, beside in itertools.product(KINDS[1:], (True, False)):
        linked = {"tags": {"data": [{"type": "contact_tags", "id": world.id(tag, "contact_tags")}]}}
        document: Any = {"data": {"attributes": {"name": "never"}}}
        (document if beside else document["data"])["relationships"] = linked
        reply = world.own.client.request("PATCH", f"/v1/contacts/{world.id('own', 'contacts')}", document)
        matrix.cells["linkage"] += 1
        assert (reply.status, reply.json["errors"][0]["source"]) == (404, None)


@pytest.mark.parametrize("action", ["merge", "erase", "export", "consent_events"])
def test_what_is_done_with_a_person(matrix: Matrix, world: World, action: str) -> None:
    method = "POST" if action in ("merge", "erase") else "GET"
    for other in KINDS if action == "merge" else ("own",):
        document = (
            {"data": {"type": "contacts", "id": world.id(other, "contacts", 1)}}
            if action == "merge"
            else None
        )
        asked: dict[str, Asked] = {
            kind: (method, f"/v1/contacts/{world.id(kind, 'contacts')}/{action}", document)
            for kind in KINDS[1:]
        }
        assert matrix.compare(action, asked)["unknown"].status == 404
    if action == "merge":
        asked = {
            kind: (
                "POST",
                f"/v1/contacts/{world.id('own', 'contacts')}/merge",
                {"data": {"type": "contacts", "id": world.id(kind, "contacts")}},
            )
            for kind in KINDS[1:]
        }
        assert matrix.compare(action, asked)["unknown"].status == 404


def operations(world: World, type_name: str, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return every way to name a resource in an operation."""
    resource_id = world.id(kind, type_name)
    for op in ("update", "remove"):
        data: Any = {"type": type_name, "id": resource_id, "attributes": {"name": "never"}}
        yield f"{op} ref", {"op": op, "ref": {"type": type_name, "id": resource_id}, "data": data}
        yield f"{op} href", {"op": op, "href": f"/v1/{type_name}/{resource_id}", "data": data}
        if op == "update":
            yield f"{op} data", {"op": op, "data": data}
    if type_name != "sites":
        yield "add", {"op": "add", "data": resource_object(world, type_name, kind, "op")}
    if type_name == "contacts":
        linkage = [{"type": "contact_tags", "id": world.id("own", "contact_tags")}]
        for op in ("add", "update", "remove"):
            ref = {"type": "contacts", "id": resource_id, "relationship": "tags"}
            yield f"{op} tags", {"op": op, "ref": ref, "data": linkage}
            href = f"/v1/contacts/{resource_id}/relationships/tags"
            yield f"{op} tags href", {"op": op, "href": href, "data": linkage}
    if type_name == "contact_tags":
        for op in ("add", "update", "remove"):
            ref = {"type": "contacts", "id": world.id("own", "contacts"), "relationship": "tags"}
            yield f"{op} these", {"op": op, "ref": ref, "data": [{"type": "contact_tags", "id": resource_id}]}


@pytest.mark.parametrize("type_name", TYPES)
def test_an_id_in_atomic_operations(matrix: Matrix, world: World, type_name: str) -> None:
    harmless = {"op": "update", "data": {"type": "contacts", "id": world.id("own", "contacts")}}
    ways = {kind: list(operations(world, type_name, kind)) for kind in KINDS[1:]}
    for at, (way, _) in enumerate(ways["unknown"]):
        for before, after in ((0, 0), (1, 0), (0, 2)):
            asked: dict[str, Asked] = {
                kind: (
                    "POST",
                    "/v1/operations",
                    {"atomic:operations": [harmless] * before + [ways[kind][at][1]] + [harmless] * after},
                )
                for kind in KINDS[1:]
            }
            replies = matrix.compare("operation", asked)
            assert replies["unknown"].status in (404, 422), way


def gone_ids(world: World, kind: str) -> list[str]:
    """Make contacts of a tenant, and have one merged, one erased and one deleted; return their ids."""
    tenant: Tenant = getattr(world, kind)
    made = [
        tenant.site.create(email=f"{way}{next(FRESH)}@{tenant.word}.test").json["data"]["id"]
        for way in ("merged", "erased", "deleted")
    ]
    other = {"data": {"type": "contacts", "id": made[0]}}
    assert tenant.client.post(f"/v1/contacts/{world.id(kind, 'contacts')}/merge", other).status == 200
    assert tenant.client.post(f"/v1/contacts/{made[1]}/erase").status == 200
    assert tenant.client.request("DELETE", f"/v1/contacts/{made[2]}").status == 200
    shown = tenant.client.get(f"/v1/contacts/{made[0]}").json["errors"][0]
    assert shown["meta"]["merged_into"] == world.id(kind, "contacts"), "it is told to those who see the site"
    return made


def test_who_is_gone_elsewhere_is_as_unknown_as_who_never_was(world: World, inner: Inside) -> None:
    gone = {kind: gone_ids(world, kind) for kind in STRANGE}
    gone["unknown"] = [world.id("unknown", "contacts", at) for at in range(3)]
    matrix = Matrix(world, inner)
    for at, route in itertools.product(range(3), WITH_ID):
        if type_of(route) == "contacts":
            asked: dict[str, Asked] = {
                kind: (route.method, route.template.replace("{id}", ids[at]), body_of(world, route, "own"))
                for kind, ids in gone.items()
            }
            assert matrix.compare("gone", asked)["unknown"].status in (400, 404)
    for at in range(3):
        for way in ("merge", "note"):
            asked = {}
            for kind, ids in gone.items():
                identifier = {"data": {"type": "contacts", "id": ids[at]}}
                asked[kind] = ("POST", f"/v1/contacts/{world.id('own', 'contacts')}/merge", identifier)
                if way == "note":
                    data = {"attributes": {"body": "x"}, "relationships": {"contact": identifier}}
                    asked[kind] = ("POST", "/v1/contact_notes", {"data": data})
            assert matrix.compare("gone", asked)["unknown"].status in (404, 422)
    matrix.end()
    print(dict(matrix.cells))


def test_a_cursor_of_another_key_shows_nothing_of_its_site(matrix: Matrix, world: World) -> None:
    for resource in RESOURCES.values():
        for sort in ("", *resource.type.sorts, *(f"-{name}" for name in resource.type.sorts)):
            path = f"/v1/{resource.type.name}?page[size]=1&sort={sort}&page[after]="
            following = world.foreign.client.get(path).json["links"].get("next")
            if following is None:
                continue
            reply = world.own.client.get(following.removeprefix(world.server.url))
            matrix.cells["cursor"] += 1
            assert reply.status == 200
            assert not any(word in reply.body.decode() for word in world.strange_words())


def test_an_idempotency_key_of_another_key_is_no_key_of_mine(matrix: Matrix, world: World) -> None:
    headers = {"Idempotency-Key": "of-the-foreign-one"}
    tag = {"data": resource_object(world, "contact_tags", "foreign", "kept")}
    assert world.foreign.client.post("/v1/contact_tags", tag, headers=headers).status == 201
    matrix.before = [rows_of(world.server, world.id(kind, "sites")) for kind in STRANGE]
    mine = world.own.client.post("/v1/contact_tags", tag, headers=headers)
    never = world.own.client.post("/v1/contact_tags", tag, headers={"Idempotency-Key": "never-used"})
    assert (mine.status, mine.body) == (never.status, never.body)
    assert "idempotency-replayed" not in mine.headers
    matrix.cells["idempotency"] += 2


def test_an_entity_tag_of_another_tenant_matches_nothing_of_mine(matrix: Matrix, world: World) -> None:
    for kind, which in itertools.product(STRANGE, (0, 1)):
        strange = getattr(world, kind)
        etag = strange.tags[strange.ids["contacts"][which]]
        for target in KINDS[1:]:
            replies = [
                world.own.client.request(
                    "PATCH",
                    f"/v1/contacts/{world.id(target, 'contacts', which)}",
                    {"data": {"attributes": {"name": "never"}}},
                    headers={"If-Match": sent},
                )
                for sent in (etag, '"nonsense"')
            ]
            matrix.cells["etag"] += 2
            assert replies[0].status == replies[1].status == 404
            assert replies[0].body == replies[1].body


def test_the_matrix_knows_every_route_and_every_filter_by_an_id() -> None:
    places = {type_of(route) for route in WITH_ID} | {route.template.split("/")[2] for route in COLLECTIONS}
    assert places <= {*TYPES, "audit_events"}
    assert {route.template for route in CREATES} == {
        *(f"/v1/{name}" for name in TYPES), "/v1/contacts/upsert", "/v1/contacts/batch", "/v1/operations",
    }  # fmt: skip
    below = {route.template.split("/", 4)[4] for route in WITH_ID if route.template.count("/") > 3}
    assert below == {"relationships/tags", "merge", "erase", "export", "consent_events"}


def test_the_matrix_has_more_than_fifteen_hundred_cells(server: RunningServer, inner: Inside) -> None:
    words = ("wordofowners", "wordofstrangers", "wordofhidden")
    world = World(server, *(new_tenant(server, word) for word in words))
    whole = Matrix(world, inner)
    for route in WITH_ID:
        test_an_id_in_the_path(whole, world, route)
    for route in COLLECTIONS:
        test_every_filter_sort_and_include_within_each_site(whole, world, route)
        test_an_id_in_a_filter(whole, world, route)
    for type_name in TYPES:
        test_an_id_in_atomic_operations(whole, world, type_name)
    whole.end()
    print(json.dumps(whole.cells))
    assert sum(whole.cells.values()) >= 1_500
