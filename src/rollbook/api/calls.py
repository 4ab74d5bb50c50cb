"""What a handler is given: the request, who asks, and what the server works with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from rollbook.api.http import Request
from rollbook.jsonapi.reading import read_object
from rollbook.observations import Observe
from rollbook.register.callers import Caller
from rollbook.register.resource import Resource
from rollbook.storage.database import Database

if TYPE_CHECKING:
    from rollbook.api.passwords import PasswordDesk


@dataclass(frozen=True, slots=True)
class House:
    """What every handler works with.

    `base_url` is the public one, without a trailing slash; `strict` says that unknown parameters are
    refused; `running` has the API key and idempotency key of each write that is under way; `passwords` is
    there where the password grant is on.
    """

    database: Database
    catalogue: Mapping[str, Resource]
    base_url: str
    observe: Observe
    describe: Callable[[], dict[str, Any]]
    strict: bool = False
    running: set[tuple[int, str]] = field(default_factory=set)
    passwords: "PasswordDesk | None" = None

    @property
    def api_url(self) -> str:
        """The public base of the resources' URLs."""
        return self.base_url + "/v1"


NOBODY = Caller(0, 0, frozenset(), frozenset(), 0.0)


class Retry(NamedTuple):
    """A write that may come again: its API key, and the hashes of its idempotency key and its request."""

    key_id: int
    key: str
    request_hash: str


class Call(NamedTuple):
    """One request on its way to its handler; `id` is the one in its path, where the route has one.

    `as_of` is there where the caller is from memory, and a read or write has to prove it
    (`Database.recalled`).
    """

    house: House
    request: Request
    resource: Resource | None = None
    id: str = ""
    caller: Caller = NOBODY
    body: bytes = b""
    retry: Retry | None = None
    as_of: int | None = None

    @property
    def of(self) -> Resource:
        """The resource that the route belongs to."""
        if self.resource is None:
            raise LookupError("this route belongs to no resource")
        return self.resource

    @property
    def document(self) -> dict[str, Any]:
        """The JSON object that the body is; raises Refused for any other."""
        return read_object(self.body, exactly=self.request.has_large_numbers)
