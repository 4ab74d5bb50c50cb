"""The table of routes: those of every resource, from its declaration, and the few that are no resource's."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from rollbook.api import documents, oauth, service
from rollbook.api.calls import Call
from rollbook.api.http import Answer
from rollbook.register.resource import Resource

PREFIX = "/v1"
# Published examples of the original use the second prefix too.
ALIAS_PREFIX = "/api/v1"
UNKNOWN = "unknown"

Handler = Callable[[Call], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Route:
    """A method and a path template, and who handles it; without `bearer`, no token is asked for."""

    method: str
    template: str
    handle: Handler
    resource: Resource | None = None
    bearer: bool = True


def routes_of(resource: Resource) -> list[Route]:
    """Return the routes that a resource's declaration asks for."""
    collection = f"{PREFIX}/{resource.type.name}"
    routes = [
        Route("GET", collection, documents.list_page, resource),
        Route("GET", collection + "/{id}", documents.show, resource),
    ]
    if resource.creation is not None:
        routes.append(Route("POST", collection, documents.create, resource))
    return routes


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
    return routes


class RouteTable:
    """Finds the route of a request by two look-ups, whatever the number of routes."""

    def __init__(self, routes: list[Route]) -> None:
        self._routes = {(route.method, route.template): route for route in routes}

    def find(self, method: str, path: str) -> tuple[Route | None, str]:
        """Return the route of a method and a path, with the id in the path; HEAD goes where GET does."""
        if method == "HEAD":
            method = "GET"
        if path.startswith(ALIAS_PREFIX + "/"):
            path = path.removeprefix("/api")
        route = self._routes.get((method, path))
        if route is not None:
            return route, ""
        head, _, last = path.rpartition("/")
        return self._routes.get((method, head + "/{id}")), last

    @staticmethod
    def needs_bearer(route: Route | None, path: str) -> bool:
        """Say whether a token is asked for first: who has none does not learn which paths exist."""
        if route is not None:
            return route.bearer
        return path.startswith((PREFIX + "/", ALIAS_PREFIX + "/"))
