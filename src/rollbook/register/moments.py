"""Moments as the register keeps them: ISO 8601 in UTC, with milliseconds and Z."""

from datetime import UTC, datetime, timedelta


def now(plus_seconds: float = 0) -> str:
    """Return the present moment, or one so many seconds later."""
    moment = datetime.now(UTC) + timedelta(seconds=plus_seconds)
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def epoch(moment: str) -> float:
    """Return the seconds since 1970 of a moment that the register keeps."""
    return datetime.fromisoformat(moment).timestamp()
