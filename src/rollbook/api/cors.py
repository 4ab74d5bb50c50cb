"""Cross-origin resource sharing: which pages of other origins a browser lets use this API.

The words are those of the Fetch standard, section 3.2. Tokens travel in a header, so credentials (cookies)
are never allowed.
"""

from rollbook.api.http import Answer, Headers, Request

# What stands for the route of a preflight in logs and metrics.
PREFLIGHT = "preflight"
ANY = "*"
VARY = (b"vary", b"Origin")
EXPOSED = (
    b"access-control-expose-headers",
    b"Location, ETag, Idempotency-Replayed, Retry-After, RateLimit, RateLimit-Policy, X-Request-Id",
)
ALLOWED: Headers = (
    (b"access-control-allow-methods", b"GET, HEAD, POST, PATCH, DELETE"),
    (
        b"access-control-allow-headers",
        b"Authorization, Content-Type, Accept, Idempotency-Key, If-Match, If-None-Match, X-Request-Id",
    ),
    (b"access-control-max-age", b"86400"),
)


class Sharing:
    """The origins that may use the API: those of the setting, separated by a space, or all."""

    def __init__(self, origins: str) -> None:
        self._any = origins == ANY
        self._origins = frozenset(origins.encode("ascii").split())

    def meet(self, request: Request) -> Answer | None:
        """Give the answer of a request the headers that its origin may have; return that of a preflight.

        What is shared differs by origin, and caches must know, even of an answer that nobody may read.
        """
        origin = request.header(b"origin")
        allowed: Headers = ()
        if origin is not None and (self._any or origin in self._origins):
            allowed = ((b"access-control-allow-origin", ANY.encode() if self._any else origin),)
        request.answer_headers += (VARY, *allowed)
        if origin is not None and request.method == "OPTIONS":
            return Answer(204, b"", b"", ALLOWED if allowed else ())
        if allowed:
            request.answer_headers += (EXPOSED,)
        return None
