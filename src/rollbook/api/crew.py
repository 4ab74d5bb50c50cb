"""Several server processes on one port: begun together, replaced when one dies, ended together."""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rollbook.api.server import PortError, bind, serve
from rollbook.observations import Observe, WorkerEnded, WorkerFailed, all_of
from rollbook.settings import SettingError, Settings
from rollbook.storage.database import Database
from rollbook.storage.faults import StorageError

# A worker that dies sooner after its start than this would die again: then all end.
SHORTEST_LIFE_SECONDS = 5.0
ENDING = (signal.SIGTERM, signal.SIGINT)
# Errors whose message is for who operates the server; that of any other may have personal data.
TELLING = (PortError, SettingError, StorageError)


class CrewEnded(Exception):
    """The workers cannot go on; the message says why."""


def serve_together(
    settings: Settings,
    workers: int,
    observe: Observe,
    open_database: Callable[[Settings], Database],
    open_metrics: Callable[[Settings, int], list[Observe]],
    describe: Callable[[str], dict[str, Any]],
    began: float,
) -> None:
    """Serve by several processes on one port, each with its own way to the database; see `server.serve`.

    Raises CrewEnded where they cannot go on.
    """
    # Each counts the requests that it gets itself.
    share = max(1, settings.rate_limit // workers) if settings.rate_limit else 0

    def work(number: int) -> None:
        metrics_port = settings.metrics_port and settings.metrics_port + number
        own = replace(settings, rate_limit=share, metrics_port=metrics_port)
        bound = bind(own.host, own.port, shared=True)
        observers = [observe, *open_metrics(own, own.port)]
        serve(own, open_database(own), bound, all_of(observers), describe, began)

    Crew(workers, work, observe).run()


class Crew:
    """The processes that serve: each is a copy of this one that runs `work` with its number."""

    def __init__(self, size: int, work: Callable[[int], None], observe: Observe) -> None:
        self._size = size
        self._work = work
        self._observe = observe
        self._workers: dict[int, tuple[int, float]] = {}
        self._is_ending = False

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, and return when every worker has finished what it had begun.

        Raises CrewEnded where a worker dies at its start: whatever ails it will ail the next.
        """
        before = {each: signal.signal(each, self._end) for each in ENDING}
        try:
            for number in range(self._size):
                self._begin(number)
            died_young = self._watch()
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)
        if died_young:
            raise CrewEnded("A server process ended at its start; the log says why.")

    def _watch(self) -> bool:
        """Wait for the end of all workers, replacing those that die; say whether one died at its start."""
        died_young = False
        while self._workers:
            process, status = os.wait()
            if process not in self._workers:
                continue
            number, since = self._workers.pop(process)
            if self._is_ending:
                continue
            self._observe(WorkerEnded(number, os.waitstatus_to_exitcode(status)))
            if time.monotonic() - since < SHORTEST_LIFE_SECONDS:
                died_young = True
                self._end()
            else:
                self._begin(number)
        return died_young

    def _begin(self, number: int) -> None:
        # A signal waits until the worker has handlers of its own, and is known to who passes signals on.
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        try:
            if not self._is_ending:
                self._fork(number)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)

    def _fork(self, number: int) -> None:
        process = os.fork()
        if process == 0:
            code = 1
            try:
                for each in ENDING:
                    signal.signal(each, signal.SIG_DFL)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
                self._work(number)
                code = 0
            except BaseException as error:
                reason = str(error) if isinstance(error, TELLING) else ""
                self._observe(WorkerFailed.of(error, number, reason))
            finally:
                # What the parent has open, or has to do at its end, is not the worker's business.
                os._exit(code)
        self._workers[process] = (number, time.monotonic())

    def _end(self, *_signal: object) -> None:
        self._is_ending = True
        for process in self._workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGTERM)
