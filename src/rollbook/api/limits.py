"""The rate limit: so many requests a minute for each token, or for each address without one."""

import time

from rollbook.api.http import Request
from rollbook.jsonapi.errors import Refusal, refuse

WINDOW_SECONDS = 60
MOST_COUNTED = 100_000


class RateLimit:
    """Counts requests in windows of a minute that begin with a client's first request; 0 is no limit."""

    def __init__(self, each_minute: int) -> None:
        self._each_minute = each_minute
        self._windows: dict[bytes, tuple[float, int]] = {}

    def admit(self, request: Request) -> None:
        """Count a request; raise Refused, with the seconds to wait, for one too many."""
        if not self._each_minute:
            return
        client = request.header(b"authorization") or request.client.encode()
        moment = time.monotonic()
        since, count = self._windows.get(client, (moment, 0))
        if moment - since >= WINDOW_SECONDS:
            since, count = moment, 0
        if count >= self._each_minute:
            wait = max(1, -int(-(since + WINDOW_SECONDS - moment) // 1))
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
