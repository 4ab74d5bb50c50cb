"""The rate limit: so many requests a minute for each token, or for each address without one.

Every answer says how much is left, in the fields of the IETF's draft "RateLimit header fields for HTTP"
(draft-ietf-httpapi-ratelimit-headers, from its eighth version on).
"""

import time

from rollbook.api.http import Request
from rollbook.jsonapi.errors import Refusal, refuse

WINDOW_SECONDS = 60
MOST_COUNTED = 100_000


class RateLimit:
    """Counts requests in windows of a minute that begin with a client's first request; 0 is no limit."""

    def __init__(self, each_minute: int) -> None:
        self._each_minute = each_minute
        self._policy = (b"ratelimit-policy", b'"default";q=%d;w=%d' % (each_minute, WINDOW_SECONDS))
        self._windows: dict[bytes, tuple[float, int]] = {}

    def admit(self, request: Request, *, by_token: bool = True) -> None:
        """Count a request, and give its answer the headers of the limit.

        Where no token is asked for, one would only serve to be counted apart: that is not `by_token`. Raises
        Refused, with the seconds to wait, for one too many.
        """
        if not self._each_minute:
            return
        client = (by_token and request.header(b"authorization")) or request.client.encode()
        moment = time.monotonic()
        since, count = self._windows.get(client, (moment, 0))
        if moment - since >= WINDOW_SECONDS:
            since, count = moment, 0
        wait = max(1, -int(-(since + WINDOW_SECONDS - moment) // 1))
        left = max(0, self._each_minute - count - 1)
        # The seconds are those of Retry-After, as the draft asks (section 4).
        request.answer_headers += (self._policy, (b"ratelimit", b'"default";r=%d;t=%d' % (left, wait)))
        if count >= self._each_minute:
            raise refuse(Refusal.RATE_EXCEEDED, retry_after=wait)
        if len(self._windows) >= MOST_COUNTED:
            self._forget_old(moment)
        self._windows[client] = (since, count + 1)

    def _forget_old(self, moment: float) -> None:
        self._windows = {
            client: window for client, window in self._windows.items() if moment - window[0] < WINDOW_SECONDS
        }
        if len(self._windows) >= MOST_COUNTED:
            # Somebody sends a new token with each request; starting over is cheaper than remembering.
            self._windows.clear()
