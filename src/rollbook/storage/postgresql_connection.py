"""A connection to PostgreSQL that sends several statements in one message, and never waits for ever."""

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import psycopg
from psycopg import errors
from psycopg.abc import Buffer, PQGen
from psycopg.adapt import Dumper, PyFormat, Transformer
from psycopg.pq import ExecStatus, Format
from psycopg.pq.abc import PGconn, PGresult
from psycopg.types.numeric import Int8Dumper
from psycopg.waiting import Ready, Wait

from rollbook.storage import on_loop
from rollbook.storage.dialects import UNSTORABLE
from rollbook.storage.statements import Row
from rollbook.storage.tsvectors import Tsvector

RV = TypeVar("RV")

# A database that says nothing for so long is taken for away: on the whole, and where a read may scan.
LONGEST_ANSWER_SECONDS, LONGEST_READ_SECONDS = 15.0, 65.0
# A statement is prepared when it is sent for the third time, and as many are kept for a connection, of which
# the pool makes a new one every hour.
SELDOM = 2
MOST_PREPARED = 200
MOST_COUNTED = 1_000
# The SQLSTATEs of a prepared statement that is not what it was: its columns are others, or it is gone.
NO_LONGER_PREPARED = ("0A000", "26000")


# PostgreSQL's own number of the type, which is the same everywhere (pg_type.dat).
TSVECTOR_OID = 3614


class _TsvectorDumper(Dumper):
    """Sends a `Tsvector` as it is."""

    format = Format.BINARY
    oid = TSVECTOR_OID

    def dump(self, obj: Tsvector) -> Tsvector:
        """Return what is sent."""
        return obj


class Asked(NamedTuple):
    """A statement, with its parameters in the order of their numbers."""

    sql: str
    parameters: Sequence[Any] = ()


class _Sendable(NamedTuple):
    """A statement as libpq takes it; texts with the same types of parameters are one prepared statement."""

    sql: str
    values: list[Buffer | None]
    types: tuple[int, ...]
    formats: Sequence[int]

    @property
    def key(self) -> "_Key":
        """What it is prepared by."""
        return self.sql, self.types


_Key = tuple[str, tuple[int, ...]]


class PostgreSQLConnection(psycopg.Connection[Row]):
    """A connection that is given up where the database says nothing for too long.

    A timeout of a statement is the database's own, and no help where that hangs, or the network swallows
    what is sent.

    The driver's own pipeline sends, and looks for answers, after each statement, and lets other threads have
    the interpreter each time; `exchange` does so once for them all. It `prepares` statements that are sent
    often, unless what lies between gives each transaction another session of the database.
    """

    longest_answer_seconds: float | None = LONGEST_ANSWER_SECONDS
    prepares = False

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # Whole numbers are sent as one type whatever their size, for statements are prepared for types.
        self.adapters.register_dumper(int, Int8Dumper)
        self.adapters.register_dumper(Tsvector, _TsvectorDumper)
        self._adapted = Transformer(self)
        self._names: dict[_Key, bytes] = {}
        self._times_sent: Counter[_Key] = Counter()
        self._numbers = itertools.count(1)
        self._watch: on_loop.Watch | None = None

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """Wait for an answer; raise OperationalError, and close, where none comes in time."""
        timeout = timeout or self.longest_answer_seconds
        try:
            if on_loop.is_working():
                return self._rest(gen, timeout)
            return super().wait(gen, interval, timeout)
        except (errors._WaitTimeout, TimeoutError):
            self.close()
            raise psycopg.OperationalError("the database does not answer") from None

    def _rest(self, gen: PQGen[RV], timeout: float | None) -> RV:
        """Wait for an answer while the loop goes on."""
        if self._watch is None:
            self._watch = on_loop.watch(self.pgconn.socket)
        try:
            wanted = next(gen)
            while True:
                ready = self._watch.rest(timeout or LONGEST_READ_SECONDS, may_write=bool(wanted & Wait.W))
                wanted = gen.send(Ready.W if ready == on_loop.WRITABLE else Ready.R)
        except StopIteration as end:
            answer: RV = end.value
            return answer

    def close(self) -> None:
        """Close it."""
        self.leave_loop()
        super().close()

    def leave_loop(self) -> None:
        """Let another loop or thread have it."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()

    def exchange(self, statements: Sequence[Asked]) -> list[PGresult]:
        """Send statements in one message, and return the result of each.

        Outside of a transaction, they are one. Raises the error of the first that has one, and those after it
        were not done; or that of the connection, which is closed then.
        """
        sendable = [self._sendable(each) for each in statements]
        pgconn = self.pgconn
        try:
            pgconn.enter_pipeline_mode()
            preparations = [self._send(pgconn, each) for each in sendable]
            pgconn.pipeline_sync()
            answers = self.wait(_answers(pgconn))
            pgconn.exit_pipeline_mode()
        except BaseException:
            # Nobody knows what was sent of it.
            self.close()
            raise
        results, following = [], iter(answers)
        for each, is_preparation in zip(sendable, preparations, strict=True):
            if is_preparation and next(following).status != ExecStatus.COMMAND_OK:
                del self._names[each.key]
            results.append(next(following))
        for answer in answers:
            if answer.status == ExecStatus.FATAL_ERROR:
                raise self._error(answer)
        return results

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Send one statement, and return its rows."""
        return self.rows_of(self.exchange([Asked(sql, parameters)])[0])

    def rows_of(self, result: PGresult) -> list[Row]:
        """Return the rows of a result."""
        self._adapted.set_pgresult(result)
        return self._adapted.load_rows(0, result.ntuples, tuple)

    def _error(self, answer: PGresult) -> psycopg.Error:
        error = errors.error_from_result(answer, self.info.encoding)
        if not self._names or error.sqlstate not in NO_LONGER_PREPARED:
            return error
        # The next connection prepares anew.
        self.close()
        return psycopg.OperationalError(f"the connection is given up: {error}")

    def _sendable(self, asked: Asked) -> _Sendable:
        formats = [PyFormat.AUTO] * len(asked.parameters)
        try:
            values = self._adapted.dump_sequence(asked.parameters, formats)
        except psycopg.DataError:
            # A text with U+0000; no stored text holds it.
            values = self._adapted.dump_sequence(list(map(_without_nul, asked.parameters)), formats)
        return _Sendable(asked.sql, list(values), self._adapted.types or (), self._adapted.formats or ())

    def _send(self, pgconn: PGconn, each: _Sendable) -> bool:
        """Add a statement to the message; say whether its preparation is there, too."""
        name, is_preparation = self._names.get(each.key), False
        if name is None and self._is_sent_often(each.key):
            name, is_preparation = f"rollbook_{next(self._numbers)}".encode(), True
            self._names[each.key] = name
            pgconn.send_prepare(name, each.sql.encode(), each.types)
        if name is None:
            pgconn.send_query_params(each.sql.encode(), each.values, each.types, each.formats)
        else:
            pgconn.send_query_prepared(name, each.values, each.formats)
        return is_preparation

    def _is_sent_often(self, key: _Key) -> bool:
        if not self.prepares or len(self._names) >= MOST_PREPARED:
            return False
        if len(self._times_sent) >= MOST_COUNTED:
            self._times_sent.clear()
        self._times_sent[key] += 1
        return self._times_sent[key] > SELDOM


def _answers(pgconn: PGconn) -> PQGen[list[PGresult]]:
    """Send what is left of a message, and return the results until its end."""
    results: list[PGresult] = []
    try:
        yield from _take(pgconn, results)
    except psycopg.OperationalError as error:
        last = results[-1] if results else None
        if last is None or last.status != ExecStatus.FATAL_ERROR:
            raise
        # What the server said before it went.
        raise psycopg.OperationalError(last.get_error_message()) from error
    return results


def _take(pgconn: PGconn, results: list[PGresult]) -> PQGen[None]:
    while pgconn.flush():
        ready = yield Wait.RW
        if ready & Ready.R:
            # The server may wait for its answers to be taken before it reads on.
            pgconn.consume_input()
    is_between = False
    while True:
        while pgconn.is_busy():
            yield Wait.R
            pgconn.consume_input()
        result = pgconn.get_result()
        if result is None:
            # It stands between the results of two statements, and for ever where the connection is lost.
            if is_between:
                raise psycopg.OperationalError(pgconn.get_error_message() or "the connection is lost")
            is_between = True
            continue
        is_between = False
        if result.status == ExecStatus.PIPELINE_SYNC:
            return
        results.append(result)


def _without_nul(value: Any) -> Any:
    return value.replace("\0", UNSTORABLE) if isinstance(value, str) else value
