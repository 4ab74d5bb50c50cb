"""The whole story of a request: read `respond` first."""

import itertools
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping

from rollbook.api import bearer, documents, retries
from rollbook.api.calls import NOBODY, Call, House
from rollbook.api.cors import PREFLIGHT, Sharing
from rollbook.api.http import Answer, ClientGone, Request, json_answer
from rollbook.api.limits import RateLimit
from rollbook.api.routes import UNKNOWN, Route, RouteTable, all_routes
from rollbook.jsonapi.errors import Problem, Refusal, Refused, error_document, refuse
from rollbook.jsonapi.reading import NumbersTooLarge
from rollbook.observations import RequestAnswered, RequestFailed, StorageUnavailable
from rollbook.register.callers import Caller
from rollbook.settings import Settings
from rollbook.storage.faults import StorageError
from rollbook.storage.transactions import Outdated

SENT_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
RETRY_SECONDS = 1
CHALLENGES: Mapping[Refusal, bytes] = {
    Refusal.TOKEN_MISSING: b"Bearer",
    Refusal.TOKEN_INVALID: b'Bearer error="invalid_token"',
}


class Application:
    """What answers requests: one server's house, its routes and its limits."""

    def __init__(self, settings: Settings, house: House) -> None:
        self._house = house
        self._rate_limit = RateLimit(settings.rate_limit)
        self._sharing = Sharing(settings.cors_origins) if settings.cors_origins else None
        self._routes = RouteTable(all_routes(list(house.catalogue.values())))
        # Unique in the logs of this process and its successors, and cheaper than a random one each.
        self._request_ids = map(f"{secrets.token_hex(6)}-{{:x}}".format, itertools.count(1))

    async def respond(self, request: Request) -> tuple[str, Answer]:
        """Answer a request, whatever happens; also return the template of its route.

        The order is the contract's: rate limit, token, size of the body, then what the route's handler
        finds.
        """
        if self._sharing is not None and (preflight := self._sharing.meet(request)) is not None:
            return PREFLIGHT, preflight
        route, last = self._routes.find(request.method, request.path)
        template = UNKNOWN if route is None else route.template
        try:
            needs_bearer = self._routes.needs_bearer(route, request.path)
            self._rate_limit.admit(request, by_token=needs_bearer)
            if route is not None and route.proves and not self._house.database.engine.is_near:
                answer = await self._answer_by_recalled(route, last, request)
                if answer is not None:
                    return template, answer
            caller = NOBODY
            if needs_bearer:
                database = self._house.database
                caller = bearer.known_caller(database, request) or await bearer.caller(database, request)
            try:
                return template, await self._answer(route, last, request, caller)
            except NumbersTooLarge:
                request.has_large_numbers = True
                return template, await self._answer(route, last, request, caller)
        except Refused as refused:
            return template, self._refusal(self._rate_limit.judged(refused, request))
        except StorageError as error:
            self._house.observe(StorageUnavailable(template, type(error).__name__, request.request_id))
            return template, self._refusal(refuse(Refusal.UNAVAILABLE, retry_after=RETRY_SECONDS))
        except ClientGone:
            raise
        except Exception as error:
            self._house.observe(RequestFailed.of(error, template, request.request_id))
            return template, self._refusal(refuse(Refusal.UNEXPECTED))

    async def _answer_by_recalled(self, route: Route, last: str, request: Request) -> Answer | None:
        """Answer by the caller as remembered, which the handler proves; None where that cannot be.

        A refusal is an answer, too, and proven before it is given.
        """
        database = self._house.database
        recalled = bearer.recalled_caller(database, request)
        if recalled is None or request.header(retries.KEY) is not None:
            return None
        caller, as_of = recalled
        try:
            return await self._answer(route, last, request, caller, as_of)
        except (Outdated, NumbersTooLarge):
            return None
        except Refused:
            if await database.is_still(as_of):
                raise
            return None

    def _answer(
        self, route: Route | None, last: str, request: Request, caller: Caller, as_of: int | None = None
    ) -> Awaitable[Answer]:
        # Each coroutine that stands between a handler and the loop costs as much as a look-up.
        if not request.is_whole:
            return self._answer_once_whole(route, last, request, caller, as_of)
        body = request.whole_body
        if route is None:
            raise refuse(Refusal.NOT_FOUND)
        call = Call(self._house, request, route.resource, last, caller, body, as_of=as_of)
        if request.query and route.bearer and not route.asks:
            documents.judge_parameters(call)
        handled = retries.once(call, route.handle) if route.writes else route.handle(call)
        return handled if route.finish is None else _finished(handled, route.finish, call)

    async def _answer_once_whole(
        self, route: Route | None, last: str, request: Request, caller: Caller, as_of: int | None
    ) -> Answer:
        await request.body()
        return await self._answer(route, last, request, caller, as_of)

    async def serve(self, request: Request, send: Callable[[Answer], None]) -> None:
        """Answer a request by `send`, and tell that it was answered."""
        began = time.perf_counter()
        sent_id = request.header(b"x-request-id")
        usable = sent_id is not None and SENT_REQUEST_ID.fullmatch(sent_id)
        request.request_id = sent_id.decode() if sent_id and usable else next(self._request_ids)
        try:
            template, answer = await self.respond(request)
        except ClientGone:
            return
        send(answer)
        self._house.observe(
            RequestAnswered(
                request.method, template, answer.status, time.perf_counter() - began, request.request_id
            )
        )

    def _refusal(self, refused: Refused) -> Answer:
        headers: tuple[tuple[bytes, bytes], ...] = ()
        first: Problem = refused.problems[0]
        if first.refusal in CHALLENGES:
            headers = ((b"www-authenticate", CHALLENGES[first.refusal]),)
        if refused.retry_after is not None:
            headers = (*headers, (b"retry-after", b"%d" % refused.retry_after))
        document = error_document(refused.problems, self._house.api_url)
        return json_answer(refused.status, document, headers=headers)


async def _finished(
    handled: Awaitable[Answer], finish: Callable[[Call], Awaitable[None]], call: Call
) -> Answer:
    """Return the answer of a handler once what follows it is done, whatever the handler found."""
    try:
        return await handled
    finally:
        await finish(call)
