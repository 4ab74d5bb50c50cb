"""Tells people on standard error how far a long command is."""

import time
from typing import TextIO

SECONDS_BETWEEN = 0.2
CLEAR_LINE = "\r\x1b[K"


class Progress:
    """Tells of each part when it is done; at a terminal also meanwhile, in a line that is written over."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._is_watched = out.isatty()
        self._what, self._unit = "", ""
        self._of = self._before = self._done = 0
        self._began = self._told = 0.0

    def begin(self, what: str, unit: str, of: int, done: int = 0) -> None:
        """Hear that a part begins: how much it is, and how much of that was done before."""
        self._what, self._unit, self._of, self._before, self._done = what, unit, of, done, done
        self._began = self._told = time.monotonic()

    def advance(self, by: int) -> None:
        """Hear that more of the part is done."""
        self._done += by
        now = time.monotonic()
        if self._is_watched and now - self._told >= SECONDS_BETWEEN:
            self._told = now
            rate = (self._done - self._before) / (now - self._began)
            left = max(0, self._of - self._done) / rate if rate else 0
            self._write(
                f"{CLEAR_LINE}{self._what}: {self._done:,} of {self._of:,} {self._unit}, "
                f"{rate:,.0f}/s, {left:,.0f} s remaining"
            )

    def end(self, *, quietly: bool = False) -> None:
        """Hear that the part is done; `quietly` where that is told in another way."""
        if quietly:
            self._write(CLEAR_LINE if self._is_watched else "")
            return
        seconds = time.monotonic() - self._began
        made = self._done - self._before
        before = f", {self._before:,} before" if self._before else ""
        self._write(
            f"{CLEAR_LINE if self._is_watched else ''}{self._what}: {made:,} {self._unit} in {seconds:.1f} s "
            f"({made / max(seconds, 1e-3):,.0f}/s){before}\n"
        )

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()
