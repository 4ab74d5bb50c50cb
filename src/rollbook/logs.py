"""Log lines from observations: JSON for machines, colour or plain text for people."""

import re
import sys
from typing import TextIO

import orjson

from rollbook.observations import Observation, Observe
from rollbook.register.moments import now

LEVELS = ("debug", "info", "warning", "error")
COLORS = {"debug": "\x1b[2m", "info": "\x1b[32m", "warning": "\x1b[33m", "error": "\x1b[31m"}
RESET = "\x1b[0m"


def logger(level: str, style: str, stream: TextIO | None = None) -> Observe:
    """Return an observer that writes a line for each observation of at least `level`.

    `style` is json, color, plain, or auto: colour on a terminal, else JSON. Lines go to standard error.
    """
    out = stream or sys.stderr
    if style == "auto":
        style = "color" if out.isatty() else "json"
    line = {"json": _json, "color": _color, "plain": _plain}[style]
    shown = frozenset(LEVELS[LEVELS.index(level) :])

    def observe(observation: Observation) -> None:
        if observation.level in shown:
            out.write(line(observation))
            out.flush()

    return observe


def _json(observation: Observation) -> str:
    fields = observation._asdict()
    head = {"time": now(), "level": fields.pop("level"), "event": _event(observation)}
    return orjson.dumps(head | _rounded(fields)).decode() + "\n"


def _plain(observation: Observation) -> str:
    fields = observation._asdict()
    level = fields.pop("level")
    said = " ".join(f"{name}={value}" for name, value in _rounded(fields).items())
    return f"{now()} {level:<7} {_event(observation)} {said}\n".replace(" \n", "\n")


def _color(observation: Observation) -> str:
    return f"{COLORS[observation.level]}{_plain(observation).rstrip()}{RESET}\n"


def _event(observation: Observation) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(observation).__name__).lower()


def _rounded(fields: dict[str, object]) -> dict[str, object]:
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in fields.items()}
