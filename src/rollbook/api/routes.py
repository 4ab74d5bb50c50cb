"""The table of routes: those of every resource, from its declaration, and the few that are no resource's."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from rollbook.api import documents, oauth, operations, people, service
from rollbook.api.calls import Call
from rollbook.api.http import Answer
from rollbook.register import consent, contacts
from rollbook.register.resource import Resource
from rollbook.register.tagging import Verb

PREFIX = "/v1"
# Published examples of the original use the second prefix too.
ALIAS_PREFIX = "/api/v1"
UNKNOWN = "unknown"

Handler = Callable[[Call], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Route:
    """A method and a path template, and who handles it.

    Without `bearer`, no token is asked for; what `writes` may carry an `Idempotency-Key`; `asks` says that
    the handler judges the query itself; `proves` that every answer but a refusal comes of a read or a write
    that is given the call's `as_of`, and so proves who calls; `finish` is done before any answer leaves, a
    repeated one too.
    """

    method: str
    template: str
    handle: Handler
    resource: Resource | None = None
    bearer: bool = True
    writes: bool = False
    asks: bool = False
    proves: bool = False
    finish: Callable[[Call], Awaitable[None]] | None = None


def routes_of(resource: Resource) -> list[Route]:
    """Return the routes that a resource's declaration asks for."""
    collection = f"{PREFIX}/{resource.type.name}"
    single = collection + "/{id}"
    routes = [
        Route("GET", collection, documents.list_page, resource, asks=True, proves=True),
        Route("GET", single, documents.show, resource, asks=True, proves=True),
    ]
    if resource.creation is not None:
        routes.append(Route("POST", collection, documents.create, resource, writes=True, proves=True))
    if resource.change is not None:
        routes.append(Route("PATCH", single, documents.change, resource, writes=True))
    if resource.removal is not None:
        routes.append(Route("DELETE", single, documents.remove, resource, writes=True))
    return routes


def routes_of_people() -> list[Route]:
    """Return what contacts have beyond a resource's routes."""
    of = contacts.RESOURCE
    single = f"{PREFIX}/{of.type.name}/{{id}}"
    tags = single + "/relationships/tags"
    return [
        Route("GET", tags, people.show_tags, of),
        Route("POST", tags, people.write_tags(Verb.ADD), of, writes=True),
        Route("PATCH", tags, people.write_tags(Verb.REPLACE), of, writes=True),
        Route("DELETE", tags, people.write_tags(Verb.REMOVE), of, writes=True),
        Route("POST", f"{PREFIX}/{of.type.name}/upsert", people.upsert, of, writes=True),
        Route("POST", f"{PREFIX}/{of.type.name}/batch", people.batch, of, writes=True),
        Route("GET", single + "/consent_events", people.list_consent_events, consent.RESOURCE, asks=True),
        Route("POST", single + "/merge", people.merge, of, writes=True),
        Route("GET", single + "/export", people.export, of),
        Route("POST", single + "/erase", people.erase, of, writes=True, finish=people.finish_erasures),
        Route("POST", f"{PREFIX}/operations", operations.perform, writes=True),
    ]


def all_routes(resources: list[Resource]) -> list[Route]:
    """Return every route of the server."""
    routes = [
        Route("POST", PREFIX + "/oauth/token", oauth.token, bearer=False),
        Route("POST", "/oauth/token", oauth.token, bearer=False),
        Route("POST", PREFIX + "/oauth/revoke", oauth.revoke),
        Route("GET", PREFIX + "/version", service.version, bearer=False),
        Route("GET", PREFIX + "/me", service.me),
        Route("GET", "/livez", service.livez, bearer=False),
        Route("GET", "/readyz", service.readyz, bearer=False),
        Route("GET", "/openapi.json", service.openapi, bearer=False),
        Route("GET", "/docs", service.docs, bearer=False),
        Route("GET", "/docs/{id}", service.docs, bearer=False),
    ]
    for resource in resources:
        routes.extend(routes_of(resource))
    return routes + routes_of_people()


class RouteTable:
    """Finds the route of a request by three look-ups at most, whatever the number of routes."""

    def __init__(self, routes: list[Route]) -> None:
        self._routes = {(route.method, route.template): route for route in routes}

    def find(self, method: str, path: str) -> tuple[Route | None, str]:
        """Return the route of a method and a path, with the id in the path; HEAD goes where GET does."""
        if method == "HEAD":
            method = "GET"
        if path.startswith(ALIAS_PREFIX + "/"):
            path = path.removeprefix("/api")
        if "{" in path:
            return None, ""  # a template is no path
        route = self._routes.get((method, path))
        if route is not None:
            return route, ""
        head, _, last = path.rpartition("/")
        route = self._routes.get((method, head + "/{id}"))
        if route is not None:
            return route, last
        # The collection, the id, what is below it.
        parts = path.removeprefix(PREFIX + "/").split("/", 2)
        if len(parts) < 3 or not path.startswith(PREFIX + "/"):
            return None, ""
        collection, id_, below = parts
        return self._routes.get((method, f"{PREFIX}/{collection}/{{id}}/{below}")), id_

    @staticmethod
    def needs_bearer(route: Route | None, path: str) -> bool:
        """Say whether a token is asked for first: who has none does not learn which paths exist."""
        if route is not None:
            return route.bearer
        return path.startswith((PREFIX + "/", ALIAS_PREFIX + "/"))
