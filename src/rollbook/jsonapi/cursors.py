"""Cursors: where a page begins or ends, as an opaque text that belongs to its sort."""

import base64
import binascii
from collections.abc import Sequence

import orjson

from rollbook.jsonapi.reading import ID_LIMIT

Place = Sequence[str | int]


def write(sort: str, place: Place) -> str:
    """Return the cursor of a place: the values that are sorted by, and the id at their end."""
    return base64.urlsafe_b64encode(orjson.dumps([sort, *place])).decode("ascii").rstrip("=")


def read(cursor: str, sort: str, keys: int) -> Place | None:
    """Return the place of a cursor of this sort by so many keys, or None where it is none."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        found = orjson.loads(base64.b64decode(padded.encode("ascii"), b"-_", validate=True))
    except (binascii.Error, orjson.JSONDecodeError, UnicodeEncodeError):
        return None
    if not isinstance(found, list) or len(found) != keys + 2 or found[0] != sort:
        return None
    *values, last = found[1:]
    if not isinstance(last, int) or isinstance(last, bool) or not 0 <= last < ID_LIMIT:
        return None
    usable = all(isinstance(value, str | int) and not isinstance(value, bool) for value in values)
    in_range = all(abs(value) < ID_LIMIT for value in values if isinstance(value, int))
    return (*values, last) if usable and in_range else None
