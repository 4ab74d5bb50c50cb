"""Checks passwords on threads of their own: one check takes 64 MiB, and the time of hundreds of requests."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from rollbook.jsonapi.errors import Refusal, refuse
from rollbook.register import passwords

AT_ONCE = 2
MOST_WAITING = 64
RETRY_SECONDS = 5


class PasswordDesk:
    """Where passwords are checked, a few at once; more than may wait are refused."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="password")
        self._waiting = 0

    async def fits(self, password_hash: str | None, password: str) -> bool:
        """Say whether a password is the one of a hash; raise Refused where too many wait."""
        if self._waiting >= MOST_WAITING:
            raise refuse(Refusal.UNAVAILABLE, retry_after=RETRY_SECONDS)
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, passwords.fits, password_hash, password)
        finally:
            self._waiting -= 1
