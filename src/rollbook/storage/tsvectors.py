"""PostgreSQL's lists of tokens as they travel: in binary, so that nobody writes or reads quotes."""

import struct
from collections.abc import Iterable

# Behind each token: its end, and that it has no positions (tsvectorrecv in tsvector.c).
_TERMINATOR = "\0\0\0"


class Tsvector(bytes):
    """A list of tokens without their positions, as PostgreSQL receives it."""

    __slots__ = ()


def tsvector(tokens: Iterable[str]) -> Tsvector:
    """Return the list of these tokens, each once; PostgreSQL sorts them. None may hold U+0000."""
    each_once = dict.fromkeys(tokens)
    ended = _TERMINATOR.join(each_once) + _TERMINATOR if each_once else ""
    return Tsvector(struct.pack("!I", len(each_once)) + ended.encode())
