"""Does what transactions owe beside the writer, where a database lets two write at once."""

import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from rollbook.storage import on_loop, planner_statistics
from rollbook.storage.transactions import Transaction
from rollbook.storage.workers import QUIET_SECONDS
from rollbook.storage.writing import MOST_OWED, Writer

# So much is done at once; less waits until nobody has written for a moment.
PORTION = 256
# How long the writer waits for room at most: what is owed longer makes searches slower, no write wrong.
LONGEST_WAIT_SECONDS = 5.0
# How soon statistics are looked at again after they were made, and where they could not be.
STATISTICS_SECONDS, NO_STATISTICS_SECONDS = 1.0, 60.0


class UpkeepThread(threading.Thread):
    """A thread that does what a writer's transactions owe, in transactions of its own.

    `upkeep` does a part of it, and returns how much that was. Where it fails, what is owed stays owed until
    the next write. Once nothing is owed, and nobody has written for a moment, `tidy` is done. Where the
    tables have outgrown what the planner knows of them, that is made anew.
    """

    def __init__(
        self,
        writer: Writer,
        upkeep: Callable[[Transaction], int],
        tidy: Callable[[Transaction], None],
    ) -> None:
        super().__init__(name="upkeep", daemon=True)
        self._writer = writer
        self._upkeep = upkeep
        self._tidy = tidy
        # Whoever was here before may have left it so.
        self._is_untidy = True
        self._owed = 0
        # From before, there may be any number.
        self._is_some_left = True
        self._news = threading.Condition()
        self._is_stopped = self._has_failed = False
        # Meanwhile nothing of what is owed is done, so nobody waits for that.
        self._renews_statistics = False
        self._looks_at_statistics_after = -math.inf

    def owe(self, count: int) -> None:
        """Note that so much more is owed."""
        if count:
            with self._news:
                before, self._owed = self._owed, self._owed + count
                # Waking the thread for each write would have it and the writer take turns for nothing.
                if before <= 0 or self._has_failed or before < PORTION <= self._owed:
                    self._has_failed = False
                    self._news.notify_all()

    def wait_for_room(self) -> None:
        """Wait while too much is owed."""
        if not self._has_room():
            on_loop.elsewhere(self._wait_for_room)

    def _wait_for_room(self) -> None:
        with self._news:
            self._news.wait_for(self._has_room, LONGEST_WAIT_SECONDS)

    def _has_room(self) -> bool:
        is_little = self._owed <= MOST_OWED
        return is_little or self._renews_statistics or self._has_failed or self._is_stopped

    def stop(self) -> None:
        """End after the part that is under way."""
        with self._news:
            self._is_stopped = True
            self._news.notify_all()

    def run(self) -> None:
        """Do what is owed until the end."""
        while self._waits_for_work():
            if not self._owes():
                self._is_untidy = False
                # It makes searches faster, and nothing wrong where it cannot be.
                with suppress(Exception):
                    self._writer.do(self._tidy)
                self._renew_statistics(planner_statistics.TIMES_WHEN_QUIET)
                continue
            before, done = self._owed, -1
            with suppress(Exception):
                done = self._writer.do(self._upkeep)
            with self._news:
                # What was written meanwhile asks for another attempt.
                self._has_failed = done < 0 and self._owed == before
                self._is_some_left = self._is_some_left and done > 0
                self._is_untidy = self._is_untidy or done > 0
                # Where nothing was found, all that was owed before is done: another server was at it.
                self._owed -= before if done == 0 else min(max(done, 0), self._owed)
                self._news.notify_all()
            if done > 0:
                self._renew_statistics(planner_statistics.TIMES_WHILE_WRITTEN)

    def _renew_statistics(self, times: int) -> None:
        """Have the planner's statistics made anew where a table has become so many times as large."""
        if time.monotonic() < self._looks_at_statistics_after:
            return
        try:
            if self._writer.do(lambda each: planner_statistics.are_outgrown(each, times)):
                with self._news:
                    self._renews_statistics = True
                    self._news.notify_all()
                self._writer.do(planner_statistics.renew)
                # Of tables that others own, or have locked, they stay what they were.
                self._looks_at_statistics_after = time.monotonic() + STATISTICS_SECONDS
        except Exception:
            # Nothing becomes wrong, and they are not worth a long wait after each portion.
            self._looks_at_statistics_after = time.monotonic() + NO_STATISTICS_SECONDS
        finally:
            self._renews_statistics = False

    def _waits_for_work(self) -> bool:
        with self._news:
            self._news.wait_for(self._has_work)
            known = -1
            while not self._is_stopped and self._owed < PORTION and known != self._owed:
                known = self._owed
                self._news.wait(QUIET_SECONDS)
            return not self._is_stopped

    def _has_work(self) -> bool:
        return self._is_stopped or ((self._owes() or self._is_untidy) and not self._has_failed)

    def _owes(self) -> bool:
        return self._owed > 0 or self._is_some_left
