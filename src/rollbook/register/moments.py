"""Moments as the register keeps them: ISO 8601 in UTC, with milliseconds and Z."""

from datetime import UTC, datetime, timedelta


def now(plus_seconds: float = 0) -> str:
    """Return the present moment, or one so many seconds later."""
    return _text(datetime.now(UTC) + timedelta(seconds=plus_seconds))


def just_after(moment: str) -> str:
    """Return the first moment that the register can tell from this one."""
    return _text(datetime.fromisoformat(moment) + timedelta(milliseconds=1))


def epoch(moment: str) -> float:
    """Return the seconds since 1970 of a moment that the register keeps."""
    return datetime.fromisoformat(moment).timestamp()


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
