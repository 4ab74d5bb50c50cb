"""Does what transactions owe beside the writer, where a database lets two write at once."""

import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from rollbook.storage import debts, on_loop, planner_statistics
from rollbook.storage.debts import PORTION, Upkeep, is_quiet
from rollbook.storage.workers import QUIET_SECONDS
from rollbook.storage.writing import Writer

# It begins so long before too much is owed, so that few who write have to wait.
BEGINS_AT_SHARE = 0.75
# How long the writer waits for room at most: what is owed longer makes searches slower, no write wrong.
LONGEST_WAIT_SECONDS = 5.0
# How soon somebody who searches here has it looked at what other servers owe.
LOOK_SECONDS = 1.0
# How soon statistics are looked at again, and where they could not be made.
STATISTICS_SECONDS, NO_STATISTICS_SECONDS = 1.0, 60.0


class UpkeepThread(threading.Thread):
    """A thread that does what a writer's transactions owe, in transactions of its own.

    Where the upkeep fails, what is owed stays owed until the next write. What other servers owe, which
    nobody feels there, is done here where somebody does. Once nothing is owed, and nobody has written for a
    moment, it is tidied up. Where the tables have outgrown what the planner knows of them, that is made anew.
    """

    def __init__(self, writer: Writer, upkeep: Upkeep) -> None:
        super().__init__(name="upkeep", daemon=True)
        self._writer = writer
        self._upkeep = upkeep
        # Whoever was here before may have left it so.
        self._is_untidy = True
        self._owed = 0
        # From before, there may be any number.
        self._is_some_left = True
        self._news = threading.Condition()
        self._is_stopped = self._has_failed = False
        # Meanwhile nothing of what is owed is done, so nobody waits for that.
        self._renews_statistics = False
        self._looks_at_statistics_after = self._can_make_statistics_after = -math.inf

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
        most_owed = self._upkeep.most_owed(self._owed)
        if not self._has_room(most_owed):
            on_loop.elsewhere(lambda: self._wait_for_room(most_owed))

    def _wait_for_room(self, most_owed: int) -> None:
        with self._news:
            self._news.wait_for(lambda: self._has_room(most_owed), LONGEST_WAIT_SECONDS)

    def _has_room(self, most_owed: int) -> bool:
        is_little = self._owed <= most_owed
        return is_little or self._renews_statistics or self._has_failed or self._is_stopped

    def stop(self) -> None:
        """End after the part that is under way."""
        with self._news:
            self._is_stopped = True
            self._news.notify_all()

    def run(self) -> None:
        """Do what is owed until the end."""
        while (step := self._next_step()) is not None:
            step()

    def _do_some(self) -> None:
        before, done = self._owed, -1
        with suppress(Exception):
            done = self._writer.do(self._upkeep.do_some)
        with self._news:
            # What was written meanwhile asks for another attempt.
            self._has_failed = done < 0 and self._owed == before
            self._is_some_left = self._is_some_left and done > 0
            self._is_untidy = self._is_untidy or done > 0
            # Where nothing was found, all that was owed before is done: another server was at it.
            self._owed -= before if done == 0 else min(max(done, 0), self._owed)
            self._news.notify_all()

    def _tidy_up(self) -> None:
        self._is_untidy = False
        # It makes searches faster, and nothing wrong where it cannot be.
        with suppress(Exception):
            self._writer.do(self._upkeep.tidy)
        self._renew_statistics(planner_statistics.TIMES_WHEN_QUIET)

    def _look_at_statistics(self) -> None:
        self._looks_at_statistics_after = time.monotonic() + STATISTICS_SECONDS
        self._renew_statistics(planner_statistics.TIMES_WHILE_WRITTEN)

    def _renew_statistics(self, times: int) -> None:
        """Have the planner's statistics made anew where a table has become so many times as large."""
        if time.monotonic() < self._can_make_statistics_after:
            return
        try:
            if self._writer.do(lambda each: planner_statistics.are_outgrown(each, times)):
                with self._news:
                    self._renews_statistics = True
                    self._news.notify_all()
                self._writer.do(planner_statistics.renew)
                # Of tables that others own, or have locked, they stay what they were.
                self._can_make_statistics_after = time.monotonic() + STATISTICS_SECONDS
        except Exception:
            # Nothing becomes wrong, and they are not worth a long wait after each portion.
            self._can_make_statistics_after = time.monotonic() + NO_STATISTICS_SECONDS
        finally:
            self._renews_statistics = False

    def _next_step(self) -> Callable[[], None] | None:
        """Wait until there is something to do, and return what that is; None at the end."""
        with self._news:
            while not self._news.wait_for(self._has_work, LOOK_SECONDS):
                if self._upkeep.is_felt():
                    self._is_some_left, self._has_failed = True, False
            known: float = -math.inf
            while not self._is_stopped:
                if self._owed and time.monotonic() >= self._looks_at_statistics_after:
                    return self._look_at_statistics
                if self._is_due() or is_quiet(self._owed - known, self._owed):
                    break
                known = self._owed
                self._news.wait(QUIET_SECONDS)
            if self._is_stopped:
                return None
            return self._do_some if self._owes() else self._tidy_up

    def _has_work(self) -> bool:
        return self._is_stopped or ((self._owes() or self._is_untidy) and not self._has_failed)

    def _owes(self) -> bool:
        return self._owed > 0 or self._is_some_left

    def _is_due(self) -> bool:
        """Say whether it is done though others are writing."""
        return self._owed >= (PORTION if self._upkeep.is_felt() else debts.MOST_OWED * BEGINS_AT_SHARE)
