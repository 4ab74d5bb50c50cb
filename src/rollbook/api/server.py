"""Runs the HTTP door: binds its port, starts the database, serves until a signal, and closes in order."""

import asyncio
import contextlib
import gc
import logging
import resource as limits
import signal
import socket
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import uvicorn
import uvloop

from rollbook.api.application import Application
from rollbook.api.calls import House
from rollbook.api.protocol import protocol_factory, sweep
from rollbook.api.retries import end_in_time
from rollbook.observations import Observe, ServerStarted, ServerStopped
from rollbook.register import upkeep
from rollbook.register.catalogue import RESOURCES
from rollbook.settings import Settings
from rollbook.storage.database import Database

if TYPE_CHECKING:
    from rollbook.api.passwords import PasswordDesk

GRACE_SECONDS = 30
# Cyclic garbage is rare here, and looking for it among all that lives takes milliseconds.
GARBAGE_THRESHOLD = 50_000


class PortError(Exception):
    """The address cannot be listened on; the message says why and what to do."""


def bind(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """Return a socket that is bound to an address; raise PortError where that cannot be.

    `shared` lets other sockets of this user be bound to it, too: the system deals connections out among
    those that listen.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        bound.bind((host, port))
    except (OSError, OverflowError, TypeError) as error:
        bound.close()
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise PortError(
            f"Cannot listen on {host}, port {port}: {reason}. Stop what listens there, or choose another "
            "with PORT (and HOST), for example PORT=8001."
        ) from None
    return bound


class Server(uvicorn.Server):
    """uvicorn's server; a signal ends it in order, with the exit code of success."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave on SIGTERM or SIGINT once all that was begun is answered; at once on a second SIGINT."""
        loop = asyncio.get_running_loop()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, self.handle_exit, each, None)
        yield


def serve(
    settings: Settings,
    database: Database,
    bound: socket.socket,
    observe: Observe,
    describe: Callable[[str], dict[str, Any]],
    began: float,
) -> None:
    """Serve on a bound socket until a signal; `describe` returns the OpenAPI description for a base URL.

    `began` is the `time.perf_counter()` of the program's start, for the line that says how long it took.
    """
    base_url = settings.base_url(bound.getsockname()[1])
    house = House(
        database,
        RESOURCES,
        base_url,
        observe,
        lambda: describe(base_url),
        settings.strict == "on",
        passwords=_password_desk(settings),
    )
    _allow_connections(settings.max_connections)
    logging.getLogger("uvicorn").addHandler(logging.NullHandler())
    logging.getLogger("uvicorn").propagate = False
    application = Application(settings, house)
    config = uvicorn.Config(
        application.serve,
        http=protocol_factory(application.serve, settings, observe),  # type: ignore[arg-type]
        interface="asgi3",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        backlog=2048,
    )
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(Server(config), settings, database, bound, observe, base_url, began))


async def _serve(
    server: Server,
    settings: Settings,
    database: Database,
    bound: socket.socket,
    observe: Observe,
    base_url: str,
    began: float,
) -> None:
    beside: list[asyncio.Task[None]] = []
    try:
        database.start(settings.max_waiting, upkeep.UPKEEP)
        beside.append(asyncio.create_task(sweep(server.server_state)))
        beside.append(asyncio.create_task(end_in_time(database, observe)))
        observe(ServerStarted(base_url, database.engine.name, time.perf_counter() - began))
        await server.serve(sockets=[bound])
    finally:
        for task in beside:
            task.cancel()
        await database.stop()
    observe(ServerStopped())


def _password_desk(settings: Settings) -> "PasswordDesk | None":
    """Return where passwords are checked, if that is on; the library for it is not loaded otherwise."""
    if settings.password_grant != "on":  # noqa: S105 - a switch, not a password
        return None
    from rollbook.api.passwords import PasswordDesk  # noqa: PLC0415 - off by default

    return PasswordDesk()


def _allow_connections(wanted: int) -> None:
    """Raise the number of open files that the process may have, as far as it may."""
    soft, hard = limits.getrlimit(limits.RLIMIT_NOFILE)
    needed = wanted + 100
    if soft != limits.RLIM_INFINITY and soft < needed:
        most = needed if hard == limits.RLIM_INFINITY else min(needed, hard)
        with contextlib.suppress(ValueError, OSError):
            limits.setrlimit(limits.RLIMIT_NOFILE, (most, hard))
