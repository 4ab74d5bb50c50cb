"""The checker of SQL: what a distributed PostgreSQL may be asked on the way of a request.

The common subset of them: no sequences, advisory locks, LISTEN and NOTIFY, triggers, stored procedures,
extensions, temporary tables, savepoints; no `SELECT *`; and no table of sites without a condition on the
site, by which such a database finds the one machine that has the rows. PostgreSQL's own grammar reads the
statements, and what is not allowed here by name is forbidden.
"""

import json
import re
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from pglast.parser import ParseError, parse_sql_json

from rollbook import cli
from rollbook.register import checks, consent, days, erasure, keys, members, upkeep
from rollbook.storage import planner_statistics, search_backlog, search_index, search_questions, tables
from rollbook.storage.postgresql import POSTGRESQL
from rollbook.storage.statements import Statement, every_statement

assert cli.main, "importing it makes every statement of the register"

Node = dict[str, Any]

OF_SITES = {each.name for each in tables.metadata.sorted_tables if "site_id" in each.columns} | {
    "contact_search"
}
OF_NO_SITE = {each.name for each in tables.metadata.sorted_tables} - OF_SITES | {
    "remembered_changes",
    "writers",
    "alembic_version",
}
QUERIES = ("SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt")
# VACUUM and CHECKPOINT follow an erasure.
ORDERS = ("VacuumStmt", "CheckPointStmt", "VariableShowStmt")
TRANSACTIONS = tuple(f"TRANS_STMT_{each}" for each in ("BEGIN", "START", "COMMIT", "ROLLBACK"))
# What a session may set for good: what a session without it would do without.
SETTINGS = ("lock_timeout", "statement_timeout", "application_name", "random_page_cost")
# PostgreSQL's own, and those alone: a name that is not here may be of a stored procedure or an extension.
FUNCTIONS = frozenset(
    [
        "count",
        "sum",
        "min",
        "max",
        "string_agg",
        "strpos",
        "substr",
        "length",
        "translate",
        "replace",
        "btrim",
        "md5",
        "json_array_elements",
        "json_array_elements_text",
        "json_to_recordset",
        "unnest",
        "to_regclass",
        "to_regrole",
        "current_setting",
        "pg_has_role",
    ]
)

# Statements that are about many sites, by the statement or by a part of it; each with its reason.
ABOUT_MANY: dict[Statement, str] = {
    keys.sites_of_key: "which sites a key sees is what it asks, before any site is known",
    upkeep.number_owed: "what all sites owe, for those who wait for it",
    search_backlog.next_sites: "upkeep, in quiet moments, does what all sites owe",
    upkeep.next_keys.statements["postgresql"]: "upkeep, in quiet moments, does what all sites owe",
    upkeep.next_texts.statements["postgresql"]: "upkeep, in quiet moments, does what all sites owe",
    erasure.unscrubbed: "the start of a server looks for an erasure that was interrupted, of any site",
    consent.follow_all: "all that is kept is made anew, after an older program wrote",
    members.delete_all: "all that is kept is made anew, after an older program wrote",
    members.every_tag: "all that is kept is made anew, after an older program wrote",
    days.delete_all: "all totals are counted anew, by whoever wrote beside the operations",
    days.add_every_day: "all totals are counted anew, by whoever wrote beside the operations",
}
# `rollbook db check` proves the whole register, a stretch of keys after another.
CHECKS: tuple[Statement, ...] = (
    *(each for each in vars(checks).values() if isinstance(each, Statement)),
    *(statement for questions in checks.QUESTIONS.values() for statement, _ in questions),
    *(made.rows for made in checks.MADE.values()),
    *checks._ENDS.values(),
    *checks._LAST.values(),
)
PARTS = (
    (
        "contact_search",
        r"\(SELECT (contact_search\.)?contact_id(?: AS contact_id)?\s+FROM contact_search\s+"
        r"WHERE (contact_search\.)?grams @@ (?:(?:\(SELECT )?CAST\(\$\d+ AS (?i:tsquery)\)|asked\.query OFFSET 0\))",
        "each token begins with its site, so that a question finds no contact of another",
    ),
    (
        "search_backlog",
        r" UNION ALL SELECT search_backlog\.contact_id FROM search_backlog\)",
        "it is kept short, and the site of what it names is compared outside",
    ),
)

# What is asked of PostgreSQL's own tables on no way of a request but one in five minutes. A database without them
# answers the first with no statistics, and is not asked for the second; the others are upkeep's, and nothing goes
# wrong where they fail.
OF_POSTGRESQL = (
    search_questions.has_statistics,
    search_questions.commonest,
    search_index.merge_pending_list,
    planner_statistics.outgrown,
)


class Sin(NamedTuple):
    """What is wrong with a statement; `table` is the one that it uses without its site."""

    what: str
    table: str | None = None


def sins_of(sql: str) -> list[str]:
    """Return what is wrong with a statement but for what is allowed by name; empty when all is well."""
    text = normalised(sql)
    if any(text == normalised(each.compiled(POSTGRESQL)[0]) for each in OF_POSTGRESQL):
        return []
    try:
        parsed = json.loads(parse_sql_json(text))
    except ParseError as error:
        return [f"PostgreSQL's grammar does not know it: {error.args[0]}"]
    sins: list[Sin] = []
    for each in parsed["stmts"]:
        ((kind, node),) = each["stmt"].items()
        sins += _of_statement(kind, node)
        sins += _of_parts(node)
        if kind in QUERIES:
            sins += _of_sites(kind, node, frozenset(), frozenset())
    return list(
        dict.fromkeys(sin.what for sin in sins if sin.table is None or not _is_allowed(text, sin.table))
    )


class Verdict(NamedTuple):
    """How many statements were looked at, how many of these differ by more than their number of values, and
    what is wrong with which.
    """

    statements: int
    shapes: int
    sinful: dict[str, list[str]]

    def lines(self) -> list[str]:
        """Return the verdict in words."""
        found = [
            f"{self.statements} texts of {self.shapes} shapes, {len(self.sinful)} of them beyond the subset"
        ]
        return found + [f"{', '.join(sins)}: {sql}" for sql, sins in sorted(self.sinful.items())]


def judged(statements: Collection[str]) -> Verdict:
    """Judge statements that were asked."""
    # Tests ask for plans; nobody else does.
    texts = {text for each in statements if not (text := normalised(each)).startswith("EXPLAIN ")}
    shapes = {re.sub(r"(\([^()]*\$)\d+[^()]*\)(?:, \([^()]*\$\d+[^()]*\))*", r"\1)", each) for each in texts}
    return Verdict(len(texts), len(shapes), {each: sins for each in texts if (sins := sins_of(each))})


def normalised(sql: str) -> str:
    """Return a statement on one line."""
    return " ".join(sql.split())


def _is_allowed(text: str, table: str) -> bool:
    about_many = {normalised(each.compiled(POSTGRESQL)[0]) for each in (*ABOUT_MANY, *CHECKS)}
    return text in about_many or any(table == of and re.search(part, text) for of, part, _ in PARTS)


def _of_statement(kind: str, node: Node) -> Iterator[Sin]:
    """Return what is wrong with the kind of a statement."""
    if kind == "TransactionStmt":
        if node["kind"] not in TRANSACTIONS:
            yield Sin(f"uses {node['kind'].removeprefix('TRANS_STMT_')}")
    elif kind == "VariableSetStmt":
        if not node.get("is_local") and node.get("name") not in SETTINGS:
            yield Sin(f"sets {node.get('name')} for the session")
    elif kind not in QUERIES + ORDERS:
        yield Sin(f"is a {kind.removesuffix('Stmt')}")


def _of_parts(node: Any) -> Iterator[Sin]:
    """Return what is wrong with any part of a statement, however deep."""
    named = {each["ctename"] for each in _found(node, "CommonTableExpr")}
    for call in _found(node, "FuncCall"):
        name = call["funcname"][-1]["String"]["sval"]
        if name not in FUNCTIONS:
            yield Sin(f"calls {name}()")
    if list(_found(node, "A_Star")):
        yield Sin("selects *")
    if list(_found(node, "intoClause")):
        yield Sin("selects into a table")
    for table in [*_found(node, "RangeVar"), *_found(node, "relation")]:
        if "schemaname" in table or table.get("relname", "sites") not in OF_SITES | OF_NO_SITE | named:
            yield Sin(f"uses {table['relname']}, which is no table of the register")
        if table.get("relpersistence", "p") != "p":
            yield Sin("uses a temporary table")


def _found(node: Any, name: str) -> Iterator[Node]:
    """Return every part of this name, the outer ones first."""
    if isinstance(node, list):
        for each in node:
            yield from _found(each, name)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key == name:
                yield value
            yield from _found(value, name)


def _of_sites(kind: str, node: Node, outer: frozenset[str], named: frozenset[str]) -> Iterator[Sin]:
    """Return the tables that a query, or one within it, uses without their site.

    `outer` has the names of the tables around it, `named` those of the queries that WITH names.
    """
    named |= {each["ctename"] for each in _found(node.get("withClause"), "CommonTableExpr")}
    level = _Level(kind, node, outer, named)
    for name, table in level.tables.items():
        if table in OF_SITES and name not in level.bound:
            yield Sin(f"uses {table} without its site", table)
    if kind == "InsertStmt":
        yield from _of_insert(node)
    for side in ("larg", "rarg"):
        if kind == "SelectStmt" and side in node:
            yield from _of_sites("SelectStmt", node[side], outer, named)
    parts = {key: value for key, value in node.items() if key not in ("larg", "rarg")}
    for inner_kind, inner in _queries_within(parts):
        yield from _of_sites(inner_kind, inner, outer | level.tables.keys(), named)


def _of_insert(node: Node) -> Iterator[Sin]:
    table = node["relation"]["relname"]
    if table not in OF_SITES:
        return
    columns = [each["ResTarget"]["name"] for each in node.get("cols", [])]
    taken = [each.get("name") for each in _found(node.get("onConflictClause"), "IndexElem")]
    if "site_id" not in columns or (taken and "site_id" not in taken):
        yield Sin(f"inserts into {table} without its site", table)


def _queries_within(node: Any) -> Iterator[tuple[str, Node]]:
    """Return the next queries within: not those that are within these."""
    if isinstance(node, list):
        for each in node:
            yield from _queries_within(each)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key in QUERIES:
                yield key, value
            else:
                yield from _queries_within(value)


class _Level:
    """One query without those within it: its tables by the names that it gives them, and which of these have
    a condition on their site.

    `tables` has None for what is not a table: a query, a function, a name of WITH.
    """

    def __init__(self, kind: str, node: Node, outer: frozenset[str], named: frozenset[str]) -> None:
        self.tables: dict[str, str | None] = {}
        self.bound: set[str] = set()
        self._outer = outer
        self._named = named
        self._conditions: list[tuple[Node, set[str] | None]] = []
        if kind in ("UpdateStmt", "DeleteStmt"):
            self._add_table(node["relation"])
        for each in [*node.get("fromClause", []), *node.get("usingClause", [])]:
            self._add(each)
        if "whereClause" in node:
            self._conditions.append((node["whereClause"], None))
        self._bind()

    def _add_table(self, table: Node) -> None:
        name = table["relname"]
        self.tables[table.get("alias", {}).get("aliasname", name)] = None if name in self._named else name

    def _add(self, source: Node) -> set[str]:
        """Add a part of FROM; return the names that it gives."""
        before = set(self.tables)
        ((kind, node),) = source.items()
        if kind == "RangeVar":
            self._add_table(node)
        elif kind == "JoinExpr":
            left, right = self._add(node["larg"]), self._add(node["rarg"])
            # A condition of an outer join leaves the rows of its outer side.
            narrowed = {"JOIN_LEFT": right, "JOIN_RIGHT": left, "JOIN_FULL": set()}.get(node["jointype"])
            if "quals" in node:
                self._conditions.append((node["quals"], narrowed))
        else:
            self.tables[node["alias"]["aliasname"]] = None
        return set(self.tables) - before

    def _bind(self) -> None:
        found = -1
        while len(self.bound) != found:
            found = len(self.bound)
            for condition, narrowed in self._conditions:
                more = self._bound_by(condition)
                self.bound |= more if narrowed is None else more & narrowed

    def _bound_by(self, condition: Node) -> set[str]:
        """Return the tables that a condition binds to a site, with those that are bound already."""
        ((kind, node),) = condition.items()
        if kind == "BoolExpr" and node["boolop"] != "NOT_EXPR":
            of_each = [self._bound_by(each) for each in node["args"]]
            return set.union(*of_each) if node["boolop"] == "AND_EXPR" else set.intersection(*of_each)
        if kind == "SubLink" and node["subLinkType"] == "ANY_SUBLINK" and "operName" not in node:
            return self._sites_in(node["testexpr"])
        if kind != "A_Expr" or node["name"][0]["String"]["sval"] != "=":
            return set()
        left = self._sites_in(node["lexpr"])
        if node["kind"] != "AEXPR_OP":
            return left
        right = self._sites_in(node["rexpr"])
        by_left = right if self._is_known(node["lexpr"]) else set()
        return by_left | (left if self._is_known(node["rexpr"]) else set())

    def _sites_in(self, operand: Node) -> set[str]:
        """Return the table whose site an operand is."""
        ((kind, node),) = operand.items()
        if kind in ("TypeCast", "CollateClause"):
            return self._sites_in(node["arg"])
        if kind == "RowExpr":
            return set().union(*map(self._sites_in, node["args"]))
        if kind != "ColumnRef":
            return set()
        *of, column = _names(node)
        return {
            name
            for name, table in self.tables.items()
            if (of == [name] if of else table in OF_SITES)
            and column == ("id" if table == "sites" else "site_id")
        }

    def _is_known(self, operand: Node) -> bool:
        """Say whether an operand is a value, or a site of a table that is bound, or of one around."""
        for column in _found(operand, "ColumnRef"):
            name = _names(column)[0]
            here = self._sites_in({"ColumnRef": column}) & self.bound
            around = name in self._outer and name not in self.tables
            made = self.tables.get(name, "") is None
            if not (here or around or made):
                return False
        return True


def _names(column: Node) -> list[str]:
    """Return the parts of a column's name."""
    return [each["String"]["sval"] if "String" in each else "*" for each in column["fields"]]


def declared_statements() -> list[str]:
    """Return the SQL of each statement that the register declares for PostgreSQL."""
    of_postgresql = [each for each in list(every_statement) if each.only in (None, "postgresql")]
    return sorted({each.compiled(POSTGRESQL)[0] for each in of_postgresql})
