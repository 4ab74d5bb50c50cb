"""Proves when log lines are written: those of requests a turn of the loop at a time, all others at once."""

import asyncio
import re
from io import StringIO

import pytest

from rollbook.logs import MOST_AT_ONCE, logger
from rollbook.observations import RequestAnswered, RequestFailed, ServerStopped

ANSWERED = RequestAnswered("GET", "/x", 200, 0.1234567, "r")
FAILED = RequestFailed("/x", "ValueError", "x.py:1 x", "r")


class Pieces(StringIO):
    """A stream that knows in which pieces it was written."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []

    def write(self, text: str) -> int:
        """Write a piece."""
        self.pieces.append(text)
        return super().write(text)


@pytest.mark.parametrize(
    ("style", "pattern"),
    [
        ("json", r'{"time":"20.*Z","level":"info","event":"request_answered","method":"GET","route":"/x","status":200,"seconds":0\.123457,"request_id":"r"}\n'),
        ("plain", r"20\S*Z info    request_answered method=GET route=/x status=200 seconds=0\.123457 request_id=r\n"),
        ("color", r"\x1b\[32m20\S*Z info    request_answered method=GET .*\x1b\[0m\n"),
        ("auto", r'{"time":.*}\n'),
    ],
)  # fmt: skip
def test_each_style_of_a_log_line(style: str, pattern: str) -> None:
    out = StringIO()
    logger("info", style, out)(ANSWERED)
    assert re.fullmatch(pattern, out.getvalue())


def test_what_is_below_the_level_is_not_written() -> None:
    out = StringIO()
    logger("error", "json", out)(ServerStopped())
    assert out.getvalue() == ""


def test_the_requests_of_a_turn_are_one_piece_and_anything_else_ends_it() -> None:
    out = Pieces()
    observe = logger("info", "json", out)

    async def two_turns() -> None:
        observe(ANSWERED)
        observe(ANSWERED)
        assert out.pieces == []
        await asyncio.sleep(0)
        observe(ANSWERED)
        observe(FAILED)
        assert [each.count("\n") for each in out.pieces] == [2, 2]
        assert out.pieces[1].splitlines()[1].startswith('{"time":"20')
        assert '"event":"request_failed"' in out.pieces[1].splitlines()[1]
        await asyncio.sleep(0)

    asyncio.run(two_turns())
    assert len(out.pieces) == 2


def test_no_piece_is_larger_than_a_pipe_keeps_together() -> None:
    out = Pieces()
    observe = logger("info", "json", out)

    async def one_turn() -> None:
        for _ in range(100):
            observe(ANSWERED)
        await asyncio.sleep(0)

    asyncio.run(one_turn())
    assert sum(each.count("\n") for each in out.pieces) == 100
    assert max(map(len, out.pieces)) <= MOST_AT_ONCE < sum(map(len, out.pieces[:2]))
    assert all(each.endswith("}\n") for each in out.pieces)


def test_a_stream_that_fails_keeps_nobody_from_an_answer_and_is_tried_again() -> None:
    class Full(Pieces):
        is_full = True

        def write(self, text: str) -> int:
            if self.is_full:
                raise OSError("no space left")
            return super().write(text)

    out = Full()
    observe = logger("info", "json", out)

    async def turns() -> None:
        for _ in range(100):
            observe(ANSWERED)
        await asyncio.sleep(0)
        observe(FAILED)
        out.is_full = False
        observe(ANSWERED)
        await asyncio.sleep(0)

    observe(FAILED)
    asyncio.run(turns())
    assert [each.count("\n") for each in out.pieces] == [1]
