"""What is worth logging or counting: one type for each thing that happens; logs and metrics choose from it.

No observation has room for a body, a name, an address, a query value or a token.
"""

import traceback
from collections.abc import Callable
from typing import NamedTuple


class RequestAnswered(NamedTuple):
    """A request was answered; `route` is its template, never its path."""

    method: str
    route: str
    status: int
    seconds: float
    request_id: str
    level: str = "info"


class ParametersIgnored(NamedTuple):
    """A query had so many parameters that mean nothing; their names are the client's, so none is kept."""

    route: str
    parameters: int
    request_id: str
    level: str = "info"


class RequestFailed(NamedTuple):
    """A request met an error that nobody expected; `where` has the innermost frames, not the message."""

    route: str
    error: str
    where: str
    request_id: str
    level: str = "error"

    @classmethod
    def of(cls, error: BaseException, route: str, request_id: str) -> "RequestFailed":
        """Describe an error by its type and place: its message may carry personal data."""
        return cls(route, type(error).__name__, _where(error), request_id)


class StorageUnavailable(NamedTuple):
    """The database could not do what a request needs."""

    route: str
    reason: str
    request_id: str
    level: str = "warning"


class ConnectionRefused(NamedTuple):
    """A connection, or what it sent, was refused before it became a request."""

    reason: str
    status: int
    level: str = "warning"


class ErasurePutOff(NamedTuple):
    """A server starts without having finished erasures, which the database cannot do now; `reason` is its
    message, for whoever operates the server.
    """

    reason: str
    level: str = "warning"


class ServerStarted(NamedTuple):
    """The server answers from now on."""

    url: str
    database: str
    seconds: float
    level: str = "info"


class ServerStopped(NamedTuple):
    """The server has finished what it had begun, and has closed its database."""

    level: str = "info"


class WorkerFailed(NamedTuple):
    """A server process among several ends by an error; `reason` is its message, where that is for whoever
    operates the server.
    """

    worker: int
    error: str
    where: str
    reason: str = ""
    level: str = "error"

    @classmethod
    def of(cls, error: BaseException, worker: int, reason: str) -> "WorkerFailed":
        """Describe an error by its type and place."""
        return cls(worker, type(error).__name__, _where(error), reason)


class WorkerEnded(NamedTuple):
    """A server process among several ended by itself; another takes its place, unless it had just begun."""

    worker: int
    exit_code: int
    level: str = "error"


Observation = (
    RequestAnswered
    | ParametersIgnored
    | RequestFailed
    | StorageUnavailable
    | ConnectionRefused
    | ErasurePutOff
    | ServerStarted
    | ServerStopped
    | WorkerFailed
    | WorkerEnded
)
Observe = Callable[[Observation], None]


def all_of(observers: list[Observe]) -> Observe:
    """Return one observer that tells every one of several."""
    if len(observers) == 1:
        return observers[0]

    def observe(observation: Observation) -> None:
        for each in observers:
            each(observation)

    return observe


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return " > ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames)
