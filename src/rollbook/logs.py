"""Log lines from observations: JSON for machines, colour or plain text for people."""

import asyncio
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from typing import TextIO

import orjson

from rollbook.observations import Observation, Observe, RequestAnswered
from rollbook.register.moments import now

LEVELS = ("debug", "info", "warning", "error")
COLORS = {"debug": "\x1b[2m", "info": "\x1b[32m", "warning": "\x1b[33m", "error": "\x1b[31m"}
RESET = "\x1b[0m"
# Other processes may write to the same pipe: so many bytes go there in one piece (POSIX, PIPE_BUF; Linux).
MOST_AT_ONCE = 4_096


def logger(level: str, style: str, stream: TextIO | None = None) -> Observe:
    """Return an observer that writes a line for each observation of at least `level`.

    `style` is json, color, plain, or auto: colour on a terminal, else JSON. Lines go to standard error: those
    of the requests that were answered in one turn of an event loop together, all others at once.
    """
    out = stream or sys.stderr
    if style == "auto":
        style = "color" if out.isatty() else "json"
    line = {"json": _json, "color": _color, "plain": _plain}[style]
    shown = frozenset(LEVELS[LEVELS.index(level) :])
    lines = _Lines(out)

    def observe(observation: Observation) -> None:
        if observation.level in shown:
            lines.add(line(observation), may_wait=isinstance(observation, RequestAnswered))

    return observe


class _Lines:
    """Lines on their way to a stream, in their order; one thread adds them."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._waiting: list[str] = []

    def add(self, line: str, *, may_wait: bool) -> None:
        """Add a line, which is written at the end of the event loop's turn where it `may_wait` that long."""
        is_first = not self._waiting
        self._waiting.append(line)
        if not may_wait:
            self._write()
        elif is_first:
            try:
                asyncio.get_running_loop().call_soon(self._write)
            except RuntimeError:
                self._write()

    def _write(self) -> None:
        lines, self._waiting = self._waiting, []
        # A stream that fails loses these, and is tried again with the next: who tells of a disk that is full,
        # which may be the log's, too, has a request to answer or a server to start.
        with suppress(OSError):
            for piece in _pieces(lines):
                self._out.write(piece)
                self._out.flush()


def _pieces(lines: list[str]) -> Iterator[str]:
    piece = ""
    for line in lines:
        if len(piece) + len(line) > MOST_AT_ONCE:
            yield piece
            piece = ""
        piece += line
    if piece:
        yield piece


def _json(observation: Observation) -> str:
    event = _event(type(observation).__name__)
    line = {"time": now(), "level": observation.level, "event": event, **_said(observation)}
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE).decode()


def _plain(observation: Observation) -> str:
    said = " ".join(f"{name}={value}" for name, value in _said(observation).items())
    event = _event(type(observation).__name__)
    return f"{now()} {observation.level:<7} {event} {said}\n".replace(" \n", "\n")


def _color(observation: Observation) -> str:
    return f"{COLORS[observation.level]}{_plain(observation).rstrip()}{RESET}\n"


@lru_cache
def _event(kind: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind).lower()


def _said(observation: Observation) -> dict[str, object]:
    fields = observation._asdict()
    del fields["level"]
    if "seconds" in fields:
        fields["seconds"] = round(fields["seconds"], 6)
    return fields
