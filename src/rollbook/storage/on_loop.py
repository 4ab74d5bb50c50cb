"""Work that an event loop does as a thread would: it rests where the thread would wait, and the loop goes on.

The work is written as if there were threads. It is a greenlet, which is cheaper to change to than a thread:
no two of them contend for the interpreter, and none is woken by the kernel.
"""

import asyncio
import os
import select
import time
from collections.abc import Callable
from typing import Any, TypeVar

from greenlet import getcurrent, greenlet

Out = TypeVar("Out")

READABLE, WRITABLE = 1, 2


class _Work(greenlet):
    """Work that a loop does."""

    def __init__(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        super().__init__(work)
        self.loop = asyncio.get_running_loop()
        self._loops = getcurrent()
        self._done = done

    def go_on(self, *heard: Any) -> None:
        """Go on to where it rests again, or to its end."""
        outcome = self.switch(*heard)
        if self.dead:
            self._done(outcome)

    def fail(self, error: Exception) -> None:
        """Have the rest end in an error."""
        outcome = self.throw(error)
        if self.dead:
            self._done(outcome)

    def rest(self) -> Any:
        """Let the loop go on; return what this is told when it shall go on itself."""
        return self._loops.switch()


def start(work: Callable[[], Out], done: Callable[[Out], None]) -> None:
    """Do work on the running loop, to where it first rests, and have `done` called with its outcome.

    It is called by the loop, not by other work. Neither may raise.
    """
    if is_working():
        raise RuntimeError("work is begun by the loop alone")
    _Work(work, done).go_on()


def is_working() -> bool:
    """Say whether a loop does the work that calls this, not a thread."""
    return _current() is not None


def watch(socket: int) -> "Watch":
    """Return a watch of a socket by the loop that does the work which calls this."""
    work = _current()
    if work is None:
        raise RuntimeError("no loop does the work that watches")
    return Watch(work.loop, socket)


def _current() -> _Work | None:
    current = getcurrent()
    return current if isinstance(current, _Work) else None


def sleep(seconds: float) -> None:
    """Wait, while the loop goes on."""
    work = _current()
    if work is None:
        time.sleep(seconds)
    else:
        work.loop.call_later(seconds, work.go_on)
        work.rest()


def elsewhere(function: Callable[[], Out]) -> Out:
    """Call what may wait for others: on a thread of its own, where a loop would have to wait with it."""
    work = _current()
    if work is None:
        return function()
    called = work.loop.run_in_executor(None, function)
    called.add_done_callback(work.go_on)
    work.rest()
    return called.result()


class Watch:
    """Wakes who rests until a socket is ready."""

    def __init__(self, loop: asyncio.AbstractEventLoop, socket: int) -> None:
        self._loop = loop
        # The driver closes the socket of a lost connection by itself, and another may get its number.
        self._socket = os.dup(socket)
        self._now = select.poll()
        self._now.register(self._socket, select.POLLIN)
        self._resting: _Work | None = None
        self._until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._is_watched = False

    def rest(self, seconds: float, *, may_write: bool = False) -> int:
        """Rest until the socket is READABLE, or WRITABLE where it `may_write`; return which.

        Raises TimeoutError after so many seconds.
        """
        work = _current()
        if work is None:
            raise RuntimeError("no loop does the work that rests")
        # A loop need not tell a second time of a connection that is broken.
        if self._now.poll(0):
            return READABLE
        self._until = self._loop.time() + seconds
        if self._timer is None or self._timer.when() > self._until:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(self._until, self._look_at_clock)
        if not self._is_watched:
            self._is_watched = True
            self._loop.add_reader(self._socket, self._heard)
        if may_write:
            self._loop.add_writer(self._socket, self._wake, WRITABLE)
        self._resting = work
        try:
            ready: int = work.rest()
            return ready
        finally:
            self._resting = None
            if may_write:
                self._loop.remove_writer(self._socket)

    def close(self) -> None:
        """Watch no more; on the loop's thread."""
        if self._is_watched:
            self._loop.remove_reader(self._socket)
        if self._timer is not None:
            self._timer.cancel()
        os.close(self._socket)

    def _heard(self) -> None:
        if self._resting is None:
            # Nobody asked: it is the end, which whoever asks next will hear of.
            self._is_watched = False
            self._loop.remove_reader(self._socket)
        else:
            self._wake(READABLE)

    def _wake(self, ready: int) -> None:
        if self._resting is not None:
            self._resting.go_on(ready)

    def _look_at_clock(self) -> None:
        # One timer for many rests, nearly all of which are over long before it.
        self._timer = None
        if self._resting is not None and self._loop.time() < self._until:
            self._timer = self._loop.call_at(self._until, self._look_at_clock)
        elif self._resting is not None:
            self._resting.fail(TimeoutError())
