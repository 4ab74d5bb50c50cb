"""Moments as the register keeps them: ISO 8601 in UTC, with milliseconds and Z."""

import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache


def now(plus_seconds: float = 0) -> str:
    """Return the present moment, or one so many seconds later."""
    if plus_seconds:
        return _text(datetime.now(UTC) + timedelta(seconds=plus_seconds))
    seconds, milliseconds = divmod(time.time_ns() // 1_000_000, 1_000)
    return f"{_second(seconds)}.{milliseconds:03}Z"


def just_after(moment: str) -> str:
    """Return the first moment that the register can tell from this one."""
    return _text(datetime.fromisoformat(moment) + timedelta(milliseconds=1))


def epoch(moment: str) -> float:
    """Return the seconds since 1970 of a moment that the register keeps."""
    return datetime.fromisoformat(moment).timestamp()


# Thousands of requests and log lines have one second.
@lru_cache(maxsize=2)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
