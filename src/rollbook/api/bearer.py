"""Finds out who asks, from the bearer token of a request (RFC 6750)."""

import time

from rollbook.api.http import Request
from rollbook.jsonapi.errors import Refusal, refuse
from rollbook.register.callers import Caller
from rollbook.register.tokens import caller_of
from rollbook.storage.database import Database


def known_caller(database: Database, request: Request) -> Caller | None:
    """Return the caller of a request as of the last commit, where it is known without asking anybody."""
    return _unless_ended(database.remembered_now(caller_of, _token(request)))


async def caller(database: Database, request: Request) -> Caller:
    """Return the caller of a request as of the last commit; raise Refused for no token or a bad one."""
    found = _unless_ended(await database.remembered(caller_of, _token(request)))
    if found is None:
        raise refuse(Refusal.TOKEN_INVALID)
    return found


def recalled_caller(database: Database, request: Request) -> tuple[Caller, int] | None:
    """Return the caller of a request from memory alone, and what that is as of (`Database.recalled`)."""
    recalled = database.recalled(caller_of, _token(request))
    return None if recalled is None or _unless_ended(recalled[0]) is None else recalled


def token_of(request: Request) -> str | None:
    """Return the bearer token of a request, or None where it has none."""
    header = request.header(b"authorization")
    scheme, _, token = (header or b"").partition(b" ")
    token = token.strip()
    return token.decode("latin-1") if token and scheme.lower() == b"bearer" else None


def _token(request: Request) -> str:
    token = token_of(request)
    if token is None:
        raise refuse(Refusal.TOKEN_MISSING)
    return token


def _unless_ended(caller: Caller | None) -> Caller | None:
    return None if caller is None or caller.expires <= time.time() else caller
