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


def read(cursor: str, sort: str, kinds: Sequence[type]) -> Place | None:
    """Return the place of a cursor of this sort by values of these kinds, or None where it is none."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        found = orjson.loads(base64.b64decode(padded.encode("ascii"), b"-_", validate=True))
    except (binascii.Error, orjson.JSONDecodeError, UnicodeEncodeError):
        return None
    if not isinstance(found, list) or len(found) != len(kinds) + 2 or found[0] != sort:
        return None
    place = tuple(found[1:])
    # To Python a boolean is a whole number, too.
    if any(type(value) is not kind for value, kind in zip(place, (*kinds, int), strict=True)):
        return None
    # No stored text holds U+0000.
    usable = all("\0" not in value if isinstance(value, str) else abs(value) < ID_LIMIT for value in place)
    return place if usable and place[-1] >= 0 else None
