"""Proves that the register's SQL stays within what distributed PostgreSQLs have in common."""

from pathlib import Path

import pytest
from pglast.parser import parse_sql_json

from rollbook.storage import tables
from rollbook.storage.postgresql import POSTGRESQL
from statement_log import statements
from subset import ABOUT_MANY, PARTS, declared_statements, sins_of

pytestmark = pytest.mark.sqlite  # or without any database

SINS = [
    ("SAVEPOINT a", "uses SAVEPOINT"),
    ("ROLLBACK TO SAVEPOINT a", "uses ROLLBACK_TO"),
    ("PREPARE TRANSACTION 'a'", "uses PREPARE"),
    ("LISTEN a", "is a Listen"),
    ("NOTIFY a", "is a Notify"),
    ("LOCK TABLE contacts", "is a Lock"),
    ("CREATE TEMPORARY TABLE a (b int)", "is a Create"),
    ("CREATE EXTENSION a", "is a CreateExtension"),
    ("CREATE TRIGGER a BEFORE INSERT ON contacts EXECUTE FUNCTION b()", "is a CreateTrig"),
    ("DO $$ BEGIN END $$", "is a Do"),
    ("CALL a()", "is a Call"),
    ("COPY contacts FROM STDIN", "is a Copy"),
    ("SET search_path = a", "sets search_path for the session"),
    ("SELECT set_config('a', 'b', false)", "calls set_config()"),
    ("SELECT nextval('a')", "calls nextval()"),
    ("SELECT pg_advisory_xact_lock($1)", "calls pg_advisory_xact_lock()"),
    ("SELECT pg_try_advisory_lock($1)", "calls pg_try_advisory_lock()"),
    ("SELECT pg_notify('a', 'b')", "calls pg_notify()"),
    ("SELECT my_procedure($1)", "calls my_procedure()"),
    ("SELECT id FROM sites WHERE similarity(title, $1) > 0", "calls similarity()"),
    ("SELECT id INTO TEMP a FROM sites", "selects into a table"),
    ("SELECT * FROM sites", "selects *"),
    ("SELECT s.* FROM sites AS s", "selects *"),
    ("SELECT id FROM sites WHERE id IN (SELECT * FROM users)", "selects *"),
    ("UPDATE sites SET title = $1 RETURNING *", "selects *"),
    ("SELECT oid FROM pg_class", "uses pg_class, which is no table of the register"),
    ("SELECT id FROM other.contacts WHERE site_id = $1", "uses contacts, which is no table of the register"),
    ("SELEC id FROM sites", 'PostgreSQL\'s grammar does not know it: syntax error at or near "SELEC"'),
]

WITHOUT_SITE = [
    "SELECT id FROM contacts",
    "SELECT id FROM contacts WHERE id = $1",
    "SELECT id FROM contacts WHERE site_id > $1",
    "SELECT id FROM contacts WHERE NOT site_id = $1",
    "SELECT id FROM contacts WHERE site_id = id",
    "SELECT id FROM contacts WHERE site_id = $1 OR id = $2",
    "SELECT id FROM contacts AS a WHERE contacts.site_id = $1",
    "SELECT id FROM contacts WHERE (site_id, id) > ($1, $2)",
    "SELECT a.id FROM contacts AS a JOIN contacts AS b ON a.id = b.id WHERE b.site_id = $1",
    "SELECT a.id FROM contacts AS a JOIN sites ON sites.id = a.site_id",
    "SELECT sites.id FROM sites LEFT JOIN contacts ON contacts.site_id = sites.id",
    "SELECT id FROM contacts LEFT JOIN sites ON contacts.site_id = $1",
    "SELECT t.id FROM contact_tags AS t WHERE t.site_id = $1 AND EXISTS (SELECT 1 FROM contacts WHERE id = t.id)",
    "SELECT id FROM sites WHERE id IN (SELECT site_id FROM contacts)",
    "SELECT id FROM contacts WHERE site_id = $1 UNION ALL SELECT id FROM contacts",
    "WITH a AS (SELECT id FROM contacts) SELECT id FROM a",
    "SELECT a.id FROM (SELECT id FROM contacts) AS a",
    "SELECT (SELECT count(*) FROM contacts)",
    "UPDATE contacts SET name = $1 WHERE id = $2",
    "DELETE FROM contacts",
    "DELETE FROM contacts USING contact_tags WHERE contacts.site_id = $1 AND contact_tags.id = $2",
    "INSERT INTO contacts (id) VALUES ($1)",
    "INSERT INTO contacts (site_id, id) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING",
    "INSERT INTO contacts (site_id, id) SELECT site_id, id FROM contact_tombstones",
]

SOUND = [
    "BEGIN",
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
    "COMMIT",
    "ROLLBACK",
    "SET LOCAL lock_timeout = 5",
    "SET statement_timeout = 5",
    "VACUUM contacts",
    "SELECT count(*) FROM sites",
    "SELECT id FROM sites WHERE id = $1 FOR NO KEY UPDATE",
    "SELECT id FROM contacts WHERE site_id = $1::BIGINT",
    "SELECT id FROM contacts AS a WHERE a.site_id IN ($1, $2) AND a.id = $3",
    "SELECT id FROM contacts WHERE site_id = ANY (CAST($1 AS bigint[]))",
    "SELECT id FROM contacts WHERE site_id IN (SELECT CAST(value AS bigint) FROM json_array_elements_text($1) AS t(value))",
    "SELECT id FROM contacts WHERE (site_id = $1 AND id > $2) OR (site_id = $3 AND id > $4)",
    "SELECT id FROM contacts WHERE (site_id, id) = ($1, $2)",
    "SELECT a.id FROM contacts AS a, contact_taggings AS b WHERE b.site_id = $1 AND a.site_id = b.site_id",
    "SELECT a.id FROM contacts AS a JOIN sites ON sites.id = a.site_id WHERE sites.id = $1",
    "SELECT sites.id FROM sites LEFT JOIN contacts ON contacts.site_id = sites.id WHERE sites.id = $1",
    "SELECT id FROM contacts WHERE site_id = $1 AND EXISTS (SELECT 1 FROM contact_notes AS n WHERE n.site_id = contacts.site_id)",
    "WITH a AS (SELECT site_id, id FROM contacts WHERE site_id = $1) SELECT n.id FROM a JOIN contact_notes AS n ON n.site_id = a.site_id",
    "UPDATE contacts SET name = $1 WHERE site_id = $2 AND id = $3 RETURNING id",
    "INSERT INTO contacts (site_id, id) VALUES ($1, $2), ($3, $4) ON CONFLICT (site_id, email_key) DO NOTHING",
]


@pytest.mark.parametrize(("sql", "sin"), SINS)
def test_a_forbidden_construct_is_found(sql: str, sin: str) -> None:
    assert sin in [each.split(", at index")[0] for each in sins_of(sql)]


@pytest.mark.parametrize("sql", WITHOUT_SITE)
def test_a_table_that_is_used_without_its_site_is_found(sql: str) -> None:
    assert [each for each in sins_of(sql) if "without its site" in each]


@pytest.mark.parametrize("sql", SOUND)
def test_what_is_sound_passes(sql: str) -> None:
    assert sins_of(sql) == []


def test_every_statement_that_the_register_declares_is_within_the_subset() -> None:
    declared = declared_statements()
    assert len(declared) >= 80
    assert {sql: sins for sql in declared if (sins := sins_of(sql))} == {}


def test_what_is_allowed_is_still_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    declared = declared_statements()
    monkeypatch.setattr("subset.ABOUT_MANY", {})
    sinful = {sql for sql in declared if sins_of(sql)}
    assert sinful == {each.compiled(POSTGRESQL)[0] for each in ABOUT_MANY}
    assert all(reason for *_, reason in PARTS)


def test_the_schema_is_within_the_subset() -> None:
    folder = Path(tables.__file__).parent / "migrations" / "versions"
    for script in folder.glob("*_postgresql.sql"):
        text = script.read_text()
        parsed = parse_sql_json(text)
        for each in (
            "CreateSeqStmt",
            "CreateTrigStmt",
            "CreateFunctionStmt",
            "CreateExtensionStmt",
            "DoStmt",
        ):
            assert each not in parsed
        for each in ("CONSTR_ATTR_DEFERRABLE", '"deferrable":true', "CONSTR_EXCLUSION", "CONSTR_IDENTITY"):
            assert each not in parsed
        assert "serial" not in text.lower()


def test_the_log_is_read_whole_and_each_statement_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        "|LOG:  database system is ready to accept connections\n"
        "rollbook|LOG:  statement: BEGIN\n"
        "rollbook|LOG:  execute _pg3_1: SELECT id \n"
        "\tFROM sites\n"
        "|LOG:  statement: DROP TABLE by_a_test\n"
        "rollbook|LOG:  execute <unnamed>: SELECT id \n"
        "\tFROM sites\n"
        'rollbook|ERROR:  duplicate key value violates unique constraint "a"\n'
        "rollbook|STATEMENT:  INSERT INTO a VALUES ($1)\n"
        "rollbook|LOG:  execute <unnamed>: SELECT 'a: b'\n"
    )
    assert statements(log) == {"BEGIN", "SELECT id \nFROM sites", "SELECT 'a: b'"}
