"""The rate limit: so many requests a minute for each token, or for each address without one.

Every answer says how much is left, in the fields of the IETF's draft "RateLimit header fields for HTTP"
(draft-ietf-httpapi-ratelimit-headers, from its eighth version on).
"""

import time
from collections import OrderedDict

from rollbook.api.bearer import token_of
from rollbook.api.http import Request
from rollbook.jsonapi.errors import Refusal, Refused, refuse

WINDOW_SECONDS = 60
MOST_COUNTED = 100_000
FIELD, POLICY = b"ratelimit", b"ratelimit-policy"


class RateLimit:
    """Counts requests in windows of a minute that begin with a client's first request; 0 is no limit.

    A client is a token, an address, or all who come from an address with tokens that are none. These are
    apart from the address itself, for behind a proxy all have one: whoever goes on with an ended token would
    take from the others the requests for new ones.
    """

    def __init__(self, each_minute: int) -> None:
        self._each_minute = each_minute
        self._policy = (POLICY, b'"default";q=%d;w=%d' % (each_minute, WINDOW_SECONDS))
        # By hashes, for tokens may be long; in the order in which the windows began, so that the oldest is
        # the first to be forgotten.
        self._windows: OrderedDict[int, tuple[float, int]] = OrderedDict()

    def admit(self, request: Request, *, by_token: bool = True) -> None:
        """Count a request, and give its answer the headers of the limit.

        Where no token is asked for, one would only serve to be counted apart: that is not `by_token`. Raises
        Refused, with the seconds to wait, for one too many.
        """
        if not self._each_minute:
            return
        token = token_of(request) if by_token else None
        client = hash(("address", request.client) if token is None else ("token", token))
        refused = self._count(client, request)
        if refused is not None:
            raise refused

    def judged(self, refused: Refused, request: Request) -> Refused:
        """Return the refusal of an admitted request; where its token turned out to be none, count it by its
        address instead, and return the refusal of one too many there.
        """
        if not self._each_minute or refused.problems[0].refusal != Refusal.TOKEN_INVALID:
            return refused
        self._windows.pop(hash(("token", token_of(request))), None)
        request.answer_headers = tuple(
            header for header in request.answer_headers if header[0] not in (FIELD, POLICY)
        )
        return self._count(_strangers(request), request) or refused

    def _count(self, client: int, request: Request) -> Refused | None:
        moment = time.monotonic()
        since, count = self._windows.get(client, (moment, 0))
        if moment - since >= WINDOW_SECONDS:
            since, count = moment, 0
        wait = max(1, -int(-(since + WINDOW_SECONDS - moment) // 1))
        left = max(0, self._each_minute - count - 1)
        # The seconds are those of Retry-After, as the draft asks (section 4).
        request.answer_headers += (self._policy, (FIELD, b'"default";r=%d;t=%d' % (left, wait)))
        if count >= self._each_minute:
            return refuse(Refusal.RATE_EXCEEDED, retry_after=wait)
        self._windows[client] = (since, count + 1)
        if not count:
            self._windows.move_to_end(client)
            if len(self._windows) > MOST_COUNTED:
                self._windows.popitem(last=False)
        return None


def _strangers(request: Request) -> int:
    """Return what stands for all who come from an address with tokens that are none."""
    return hash(("strangers", request.client))
