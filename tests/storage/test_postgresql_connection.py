"""Proves what one message to PostgreSQL brings back: each result, the first error, or a connection given up."""

import contextlib
from collections.abc import Iterator

import psycopg
import pytest

from databases import PostgreSQLServer
from rollbook.storage.dialects import UNSTORABLE
from rollbook.storage.postgresql import PostgreSQL
from rollbook.storage.postgresql_connection import MOST_PREPARED, Asked, PostgreSQLConnection

PREPARED = "SELECT statement FROM pg_prepared_statements"


@contextlib.contextmanager
def connected(url: str, *, prepares: bool = True) -> Iterator[PostgreSQLConnection]:
    with PostgreSQL(url, prepares=prepares).connect() as connection:
        yield connection


@pytest.fixture
def url(postgresql: PostgreSQLServer) -> str:
    return postgresql.new_database()


@pytest.fixture
def connection(url: str) -> Iterator[PostgreSQLConnection]:
    with connected(url) as made:
        yield made


def test_each_statement_of_a_message_has_its_result(connection: PostgreSQLConnection) -> None:
    results = connection.exchange([Asked("SELECT $1, $2", (1, "a")), Asked("BEGIN"), Asked("SELECT 2, NULL")])
    assert [connection.rows_of(each) for each in (results[0], results[2])] == [[(1, "a")], [(2, None)]]
    assert results[1].command_status == b"BEGIN"


def test_a_message_and_its_results_may_both_be_larger_than_what_a_network_holds(
    connection: PostgreSQLConnection,
) -> None:
    large = "x" * 1_000_000
    results = connection.exchange([Asked("SELECT $1", (large,))] * 20)
    assert [connection.rows_of(each) for each in results] == [[(large,)]] * 20


def test_the_first_error_is_raised_and_nothing_after_it_was_done(connection: PostgreSQLConnection) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero):
        connection.exchange(
            [
                Asked("CREATE TABLE first_one ()"),
                Asked("SELECT 1 / $1", (0,)),
                Asked("SELECT nothing_of_the_kind"),
            ]
        )
    assert connection.rows("SELECT to_regclass('first_one')") == [(None,)]


def test_an_error_in_a_transaction_leaves_it_to_be_rolled_back(connection: PostgreSQLConnection) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero):
        connection.exchange([Asked("BEGIN"), Asked("SELECT 1 / 0")])
    with pytest.raises(psycopg.errors.InFailedSqlTransaction):
        connection.rows("SELECT 1")
    connection.exchange([Asked("ROLLBACK")])
    assert connection.rows("SELECT 1") == [(1,)]


def test_a_connection_that_is_lost_is_closed(url: str, connection: PostgreSQLConnection) -> None:
    with connected(url) as other:
        other.rows("SELECT pg_terminate_backend(CAST($1 AS integer))", (connection.info.backend_pid,))
    with pytest.raises(psycopg.OperationalError):
        connection.exchange([Asked("SELECT pg_sleep(10)")])
    assert connection.closed


def test_a_parameter_that_cannot_be_sent_leaves_the_connection_as_it_was(
    connection: PostgreSQLConnection,
) -> None:
    with pytest.raises(psycopg.ProgrammingError):
        connection.exchange([Asked("BEGIN"), Asked("SELECT $1", (object(),))])
    assert connection.rows("SELECT 1") == [(1,)]


def test_a_text_with_u_0000_is_sent_as_one_that_nothing_stored_holds(
    connection: PostgreSQLConnection,
) -> None:
    assert connection.rows("SELECT $1, $2", ("a\0b", 3)) == [(f"a{UNSTORABLE}b", 3)]


def test_whole_numbers_of_any_size_are_one_prepared_statement(connection: PostgreSQLConnection) -> None:
    for number in (1, 100_000, 10_000_000_000, 2, 100_001):
        assert connection.rows("SELECT $1", (number,)) == [(number,)]
    assert connection.rows(PREPARED) == [("SELECT $1",)]


def test_a_statement_is_prepared_for_each_combination_of_types(connection: PostgreSQLConnection) -> None:
    for value in (1, "a", True) * 5:
        connection.rows("SELECT CAST($1 AS text)", (value,))
    assert connection.rows(PREPARED) == [("SELECT CAST($1 AS text)",)] * 3


def test_a_statement_that_fails_whenever_it_is_prepared_fails_by_its_own_fault(
    connection: PostgreSQLConnection,
) -> None:
    for _ in range(5):
        with pytest.raises(psycopg.errors.UndefinedColumn):
            connection.rows("SELECT nothing_of_the_kind")
    assert connection.rows(PREPARED) == []


def test_a_statement_that_was_to_be_prepared_after_an_error_is_prepared_by_the_next(
    connection: PostgreSQLConnection,
) -> None:
    for _ in range(4):
        with pytest.raises(psycopg.errors.DivisionByZero):
            connection.exchange([Asked("SELECT 1 / 0"), Asked("SELECT 5")])
    assert connection.rows("SELECT 5") == [(5,)]
    assert ("SELECT 5",) in connection.rows(PREPARED)


def test_a_statement_twice_in_one_message_is_prepared_once(connection: PostgreSQLConnection) -> None:
    results = connection.exchange([Asked("SELECT $1", (number,)) for number in range(9)])
    assert [connection.rows_of(each)[0][0] for each in results] == list(range(9))
    assert connection.rows(PREPARED) == [("SELECT $1",)]


def test_no_more_statements_are_prepared_than_a_connection_shall_keep(
    connection: PostgreSQLConnection,
) -> None:
    connection.exchange([Asked(f"SELECT {number}") for number in range(MOST_PREPARED + 50)] * 4)
    assert len(connection.rows(PREPARED)) == MOST_PREPARED


def test_nothing_is_prepared_where_each_transaction_has_another_session(url: str) -> None:
    with connected(url, prepares=False) as connection:
        for _ in range(9):
            connection.rows("SELECT $1", (1,))
        assert connection.rows(PREPARED) == []


@pytest.mark.parametrize(
    "change",
    ["DEALLOCATE ALL", "ALTER TABLE pairs ALTER COLUMN number TYPE bigint"],
    ids=["gone", "other types"],
)
def test_a_prepared_statement_that_is_no_more_what_it_was_ends_its_connection(
    connection: PostgreSQLConnection, change: str
) -> None:
    connection.rows("CREATE TEMPORARY TABLE pairs (number integer)")
    for _ in range(4):
        assert connection.rows("SELECT number FROM pairs") == []
    connection.execute(change.encode())
    with pytest.raises(psycopg.OperationalError) as raised:
        connection.rows("SELECT number FROM pairs")
    # It passes: whoever asked begins anew, on another connection.
    assert (raised.value.sqlstate, connection.closed) == (None, True)


def test_what_a_server_says_before_it_ends_a_connection_is_told(
    url: str, connection: PostgreSQLConnection
) -> None:
    with connected(url) as other:
        other.rows("SELECT pg_terminate_backend(CAST($1 AS integer))", (connection.info.backend_pid,))
    with pytest.raises(psycopg.OperationalError, match="terminating connection due to administrator"):
        connection.exchange([Asked("SELECT 1")])
