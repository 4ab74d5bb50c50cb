"""What the register keeps of a resource type, and how it is listed, shown and included."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import orjson
from sqlalchemy import ColumnElement, Select, Table, and_, bindparam, func, or_, select

from rollbook.jsonapi import cursors
from rollbook.jsonapi.errors import Problem, Refusal, Refused, refuse
from rollbook.jsonapi.query import AFTER, Query
from rollbook.jsonapi.reading import Draft, read_id
from rollbook.jsonapi.resource import Attribute, Filter, Record, ResourceType
from rollbook.jsonapi.writing import Collection
from rollbook.register.callers import Caller
from rollbook.storage import dialects
from rollbook.storage.statements import Row, Statement
from rollbook.storage.transactions import Snapshot, Transaction

MOST_SHAPES = 512
# Keys that see more sites share their statements, however many they see.
MOST_SITE_PLACES = 8
# So many rows an index passes in about the time that a change of threads takes.
SHORT_ROWS = 250
# Beyond so many, walking all in order until a page is full is faster than sorting those that pass.
MOST_SORTED = 1_000


def _sites_asked(text: str, _sites: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(number for each in text.split(",") if (number := read_id(each.strip())) is not None)


# Sites bound every statement, so that this filter is not one condition among others.
SITE_FILTER = Filter(
    "site_id",
    "of that site, or of any in a comma list; without it, of every site that the key sees",
    values=_sites_asked,
    condition=lambda sites: sites,
    example="123",
)


class Walk(NamedTuple):
    """An index that holds what one value of a filter finds, in the default order of the collection.

    `found` is the column of the ids, `value` that of the filter's value, `ordering` the order of the index.
    `needs_all` says that the filter asks for all of its values, so that the first may lead.
    """

    table: Table
    site: ColumnElement[Any]
    found: ColumnElement[Any]
    value: ColumnElement[Any]
    ordering: tuple[ColumnElement[Any], ...]
    needs_all: bool = False


class Found(NamedTuple):
    """A resource that a caller may see and wants to change, if it is still as `if_match` expects."""

    caller: Caller
    site_id: int
    id: int
    if_match: Callable[[Record], bool] | None = None

    def judge(self, record: Record) -> None:
        """Raise Refused where the resource has changed since the caller read it."""
        if self.if_match is not None and not self.if_match(record):
            raise refuse(Refusal.CHANGED_MEANWHILE)


def site_of_draft(caller: Caller, draft: Draft) -> int:
    """Return the site of a draft; raise Refused for one that the caller does not see."""
    return caller.site(draft.related["site"])


@dataclass(frozen=True, slots=True)
class Creation:
    """How resources of a type are made.

    `prepare` judges a draft alone; the `problems` of what it returns are answered by `all_problems`, which
    adds those that only the register knows; without problems, `create_many` stores what was prepared.
    """

    permission: str
    prepare: Callable[[Caller, int, Draft], Any]
    all_problems: Callable[[Snapshot, Any], Sequence[Problem]]
    create_many: Callable[[Transaction, list[Any]], Sequence[Record | Refused]]
    site_of: Callable[[Caller, Draft], int] = site_of_draft
    extension: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """How resources of a type are changed; like a creation.

    `check` raises Refused for linkage to what does not exist.
    """

    permission: str
    prepare: Callable[[Found, Draft], Any]
    all_problems: Callable[[Snapshot, Any], Sequence[Problem]]
    change_many: Callable[[Transaction, list[Any]], Sequence[Record | Refused]]
    check: Callable[[Snapshot, Found, Draft], None] | None = None
    extension: bool = False


@dataclass(frozen=True, slots=True)
class Removal:
    """How resources of a type are deleted."""

    permission: str
    remove_many: Callable[[Transaction, list[Found]], Sequence[Refused | None]]
    extension: bool = False


@dataclass(frozen=True, eq=False)
class Resource:
    """A resource type with the table that holds it; its routes and its answers follow from this.

    `records` makes records of rows of `columns`, which begin with the id and the site. `sort_columns` has
    the column of each sort, `total` counts all resources of sites faster than counting would, `listed`
    says which rows a list may show, and `gone` why an id is unknown to a caller, where that can be said.
    """

    type: ResourceType
    table: Table
    columns: tuple[ColumnElement[Any], ...]
    records: Callable[[Snapshot, Sequence[Row]], list[Record]]
    sort_columns: Mapping[str, ColumnElement[Any]]
    view_permission: str | None = None
    creation: Creation | None = None
    change: Change | None = None
    removal: Removal | None = None
    listed: ColumnElement[bool] | None = None
    gone: Callable[[Snapshot, Caller, int], Problem | None] | None = None
    total: Callable[[Snapshot, tuple[int, ...]], int] | None = None

    @cached_property
    def id(self) -> ColumnElement[Any]:
        """The column of the id."""
        return self.columns[0]

    @cached_property
    def site(self) -> ColumnElement[Any]:
        """The column of the site."""
        return self.columns[1]


class PageAsked(NamedTuple):
    """A page of a collection that is asked for, by one who sees these sites."""

    resource: Resource
    query: Query
    sites: frozenset[int]
    catalogue: Mapping[str, Resource]


class OneAsked(NamedTuple):
    """One resource that is asked for, by one who sees these sites, with what it shall include."""

    resource: Resource
    id: str
    include: tuple[str, ...]
    sites: frozenset[int]
    catalogue: Mapping[str, Resource]


def each_by(record: Callable[[Row], Record]) -> Callable[[Snapshot, Sequence[Row]], list[Record]]:
    """Return a `records` for rows that need nothing but themselves."""
    return lambda _snapshot, rows: [record(row) for row in rows]


def plain_record(resource: ResourceType) -> Callable[[Row], Record]:
    """Return what makes a record of a row of id, site, attributes and to-one relationships, in order."""
    names = [each.name for each in resource.attributes if isinstance(each, Attribute)]
    related = [each.name for each in resource.relationships if each.name != "site"]
    has_site = any(each.name == "site" for each in resource.relationships)

    def record(row: Row) -> Record:
        linkage = dict(zip(related, row[2 + len(names) :], strict=True))
        if has_site:
            linkage["site"] = row[1]
        return Record(row[0], dict(zip(names, row[2:], strict=False)), linkage)

    return record


def page(snapshot: Snapshot, asked: PageAsked) -> Collection:
    """Return a page of a collection, the exact number of what matches, and what the page includes.

    Raises Refused for a cursor that does not belong to the collection and its sort.
    """
    resource, query = asked.resource, asked.query
    filters, sites = _filters_and_sites(resource, query, asked.sites)
    if not sites:
        return Collection((), 0)
    shape = Shape(
        _site_places(sites),
        tuple((name, tuple(len(values) for values in alternatives)) for name, alternatives in filters),
        query.sort,
        _is_selective(snapshot, resource, sites, filters),
    )
    values = _site_values(sites)
    for name, alternatives in filters:
        bound = [value for alternative in alternatives for value in alternative]
        values.update((f"{name}_{at}", value) for at, value in enumerate(bound))
    if query.page.cursor is not None:
        rows, cursors = _page_by_cursor(snapshot, resource, query, shape, values)
        records = resource.records(snapshot, rows)
        return Collection(records, 0, _included(snapshot, asked, query.include, records), cursors)
    rows_of, count_of = _statements(resource, shape)
    offset = query.page.offset
    rows = snapshot.rows(rows_of, {**values, "size": query.page.size, "offset": offset})
    if len(rows) < query.page.size and (rows or not offset):
        total = offset + len(rows)
    else:
        kept = _total(snapshot, resource, sites, filters)
        total = snapshot.rows(count_of, values)[0][0] if kept is None else kept
    records = resource.records(snapshot, rows)
    return Collection(records, total, _included(snapshot, asked, query.include, records))


def is_short(asked: PageAsked) -> bool:
    """Say whether an index leads straight to a page: of one site, unfiltered, near the beginning."""
    others = [name for name, _ in asked.query.filters if name != SITE_FILTER.name]
    if others or asked.query.page.offset + asked.query.page.size > SHORT_ROWS:
        return False
    return len(_filters_and_sites(asked.resource, asked.query, asked.sites)[1]) <= 1


def one(snapshot: Snapshot, asked: OneAsked) -> Collection | None:
    """Return one resource, as a collection with what it includes, or None where the asker sees none."""
    number = read_id(asked.id)
    if number is None:
        return None
    records = _by_id(snapshot, asked.resource, sorted(asked.sites), [number])
    if not records:
        return None
    return Collection(records, 1, _included(snapshot, asked, asked.include, records))


def find(snapshot: Snapshot, resource: Resource, caller: Caller, resource_id: str) -> int:
    """Return the site of a resource; raise Refused, as for an unknown id, where the caller sees none."""
    number = read_id(resource_id)
    if number is not None and caller.sites:
        sites = sorted(caller.sites)
        values = _site_values(sites) | {"id": number}
        row = snapshot.row(_site_of(resource, _site_places(sites)), values)
        if row is not None:
            return int(row[0])
    raise missing(snapshot, resource, caller, resource_id)


def missing(snapshot: Snapshot, resource: Resource, caller: Caller, resource_id: str) -> Refused:
    """Return the refusal for an id that is unknown to a caller, with the reason where there is one."""
    number = read_id(resource_id)
    if number is not None and resource.gone is not None:
        problem = resource.gone(snapshot, caller, number)
        if problem is not None:
            return Refused(problem)
    return refuse(Refusal.NOT_FOUND)


def new_item(resource: Resource, caller: Caller, draft: Draft) -> Any:
    """Return what `create_many` takes, judged by itself; raise Refused by the stages of the contract."""
    if resource.creation is None:
        raise refuse(Refusal.NOT_FOUND)
    site_id = resource.creation.site_of(caller, draft)
    caller.require(resource.creation.permission)
    if draft.conflict is not None:
        raise Refused(draft.conflict)
    return resource.creation.prepare(caller, site_id, draft)


def changed_item(
    snapshot: Snapshot,
    resource: Resource,
    caller: Caller,
    resource_id: str,
    draft: Draft,
    if_match: Callable[[Record], bool] | None = None,
) -> Any:
    """Return what `change_many` takes, judged by itself; raise Refused by the stages of the contract."""
    if resource.change is None:
        raise refuse(Refusal.NOT_FOUND)
    site_id = find(snapshot, resource, caller, resource_id)
    found = Found(caller, site_id, int(resource_id), if_match)
    if resource.change.check is not None:
        resource.change.check(snapshot, found, draft)
    caller.require(resource.change.permission)
    if draft.conflict is not None:
        raise Refused(draft.conflict)
    return resource.change.prepare(found, draft)


def removed_item(
    snapshot: Snapshot,
    resource: Resource,
    caller: Caller,
    resource_id: str,
    if_match: Callable[[Record], bool] | None = None,
) -> Found:
    """Return what `remove_many` takes; raise Refused for an unseen id, then for a missing permission."""
    if resource.removal is None:
        raise refuse(Refusal.NOT_FOUND)
    site_id = find(snapshot, resource, caller, resource_id)
    caller.require(resource.removal.permission)
    return Found(caller, site_id, int(resource_id), if_match)


def stored(snapshot: Snapshot, resource: Resource, site_id: int, number: int) -> Record | None:
    """Return a resource of a site as it stands."""
    records = _by_id(snapshot, resource, (site_id,), [number])
    return records[0] if records else None


def _filters_and_sites(
    resource: Resource, query: Query, seen: frozenset[int]
) -> tuple[list[tuple[str, list[Sequence[Any]]]], tuple[int, ...]]:
    """Return the values of each filter's alternatives, and the sites that are left to look at."""
    asked = dict(query.filters)
    sites = seen
    if SITE_FILTER.name in asked and SITE_FILTER.name in resource.type.filters_by_name:
        sites = seen & frozenset(_sites_asked(asked.pop(SITE_FILTER.name)[0], ()))
    ordered = tuple(sorted(sites))
    filters: list[tuple[str, list[Sequence[Any]]]] = []
    for name, texts in asked.items():
        of_text = resource.type.filters_by_name[name].values
        alternatives = [values for text in texts if (values := of_text(text, ordered)) is not None]
        if alternatives:
            filters.append((name, alternatives))
    return filters, ordered


class Shape(NamedTuple):
    """The shape of a question: one statement answers all of a shape, whatever its values.

    `sites` is the number of places for sites, 0 for a list of them; `filters` has each filter's name, with
    the number of values of each of its alternatives.
    """

    sites: int
    filters: tuple[tuple[str, tuple[int, ...]], ...]
    sort: tuple[tuple[str, bool], ...]
    selective: bool


@lru_cache(maxsize=MOST_SHAPES)
def _statements(resource: Resource, shape: Shape) -> tuple[Statement, Statement]:
    """Return the statements for a page and for the number of what matches."""
    walk = _walk(resource, shape)
    conditions = _conditions(resource, shape)
    if walk is None:
        rows = _select(resource).where(*conditions)
        ordering = [
            column.desc() if descending else column.asc()
            for column, descending in _sort_columns(resource, shape)
        ]
        rows = rows.order_by(*ordering, resource.id)
        count = select(func.count()).select_from(resource.table).where(*conditions)
    else:
        rows = _walked(_select(resource), resource, shape, *walk).order_by(*walk[1].ordering)
        count = _walked(select(func.count()), resource, shape, *walk)
    return (
        Statement(rows.limit(bindparam("size")).offset(bindparam("offset"))),
        Statement(count),
    )


def _is_selective(
    snapshot: Snapshot,
    resource: Resource,
    sites: tuple[int, ...],
    filters: list[tuple[str, list[Sequence[Any]]]],
) -> bool:
    """Say whether an index leads to so few that sorting them beats walking all in order."""
    for name, alternatives in filters:
        declared = resource.type.filters_by_name[name]
        if not declared.selective:
            continue
        if declared.count is None or declared.probe is None or len(alternatives) != 1:
            return True
        found = declared.count(snapshot, sites, alternatives[0])
        if found is None or found <= MOST_SORTED:
            return True
    return False


def _conditions(resource: Resource, shape: Shape, without: str = "") -> list[ColumnElement[bool]]:
    conditions = [_of_sites(resource, shape.sites)]
    if resource.listed is not None:
        conditions.append(resource.listed)
    return conditions + [
        _condition(resource, name, lengths, shape.selective)
        for name, lengths in shape.filters
        if name != without or lengths != (1,)
    ]


def _condition(
    resource: Resource, name: str, lengths: tuple[int, ...], selective: bool
) -> ColumnElement[bool]:
    """Return what one filter asks: one of its alternatives, each with so many values."""
    declared = resource.type.filters_by_name[name]
    condition = declared.condition if selective or declared.probe is None else declared.probe
    places = iter(range(sum(lengths)))
    return or_(
        *(condition([bindparam(f"{name}_{next(places)}") for _ in range(length)]) for length in lengths)
    )


def _sort_columns(resource: Resource, shape: Shape) -> list[tuple[ColumnElement[Any], bool]]:
    """Return the columns to sort by, each with whether it descends; without the id, which comes last."""
    columns = []
    for name, descending in shape.sort:
        column = resource.sort_columns[name]
        columns.append((dialects.without_index(column) if shape.selective else column, descending))
    return columns


def _walk(resource: Resource, shape: Shape) -> tuple[str, Walk] | None:
    """Return the filter whose index leads through a page, with that index."""
    name, descending = (shape.sort or (("id", False),))[0]
    default = resource.type.default_sort
    if shape.sites != 1 or len(shape.sort) != 1 or default != ("-" if descending else "") + name:
        return None
    for each, lengths in shape.filters:
        walk = resource.type.filters_by_name[each].walk
        if walk is not None and (lengths == (1,) or (walk.needs_all and len(lengths) == 1)):
            return each, walk
    return None


def _walked(rows: Select[Any], resource: Resource, shape: Shape, name: str, walk: Walk) -> Select[Any]:
    return (
        rows.select_from(walk.table)
        .where(walk.site == bindparam("site_0"), walk.value == bindparam(f"{name}_0"))
        .where(resource.site == walk.site, resource.id == walk.found)
        .where(*_conditions(resource, shape, without=name))
    )


def _total(
    snapshot: Snapshot,
    resource: Resource,
    sites: tuple[int, ...],
    filters: list[tuple[str, list[Sequence[Any]]]],
) -> int | None:
    """Return the number of what matches where it need not be counted."""
    if resource.total is not None and not filters:
        return resource.total(snapshot, sites)
    if len(filters) == 1 and len(filters[0][1]) == 1:
        name, (values,) = filters[0]
        count = resource.type.filters_by_name[name].count
        if count is not None:
            return count(snapshot, sites, values)
    return None


def _page_by_cursor(
    snapshot: Snapshot,
    resource: Resource,
    query: Query,
    shape: Shape,
    values: dict[str, Any],
) -> tuple[list[Row], tuple[str | None, str | None]]:
    """Return the rows of a page that begins after or ends before a cursor, and the cursors around it."""
    parameter, text = query.page.cursor or (AFTER, "")
    forward = parameter == AFTER
    sort = ",".join(("-" if descending else "") + name for name, descending in query.sort)
    place: cursors.Place | None = cursors.read(text, sort, len(query.sort)) if text else ()
    if place is None:
        raise refuse(Refusal.CURSOR_UNKNOWN, parameter)
    bound = {f"place_{at}": value for at, value in enumerate(place)}
    statement = _cursor_statement(resource, shape, forward, bool(text))
    rows = snapshot.rows(statement, {**values, **bound, "size": query.page.size + 1})
    more = len(rows) > query.page.size
    rows = rows[: query.page.size]
    if not forward:
        rows.reverse()
    width = len(resource.columns)
    places = [cursors.write(sort, [*row[width:], row[0]]) for row in (rows[:1] + rows[-1:])]
    before, after = (places[0], places[-1]) if places else (text or None, text or None)
    beyond = bool(text)  # where a cursor was given, there is, or was, something on its other side
    return [row[:width] for row in rows], (
        before if (beyond if forward else more) else None,
        after if (more if forward else beyond) else None,
    )


@lru_cache(maxsize=MOST_SHAPES)
def _cursor_statement(resource: Resource, shape: Shape, forward: bool, placed: bool) -> Statement:
    """Return the statement for a page by cursor; it also answers the sort columns of each row."""
    walk = _walk(resource, shape)
    if walk is None:
        columns = _sort_columns(resource, shape)
        rows = _select(resource).where(*_conditions(resource, shape))
    else:
        columns = [(walk[1].ordering[0].element, shape.sort[0][1])]
        rows = _walked(_select(resource), resource, shape, *walk)
    keys = [(column, descending == forward) for column, descending in columns]
    keys.append((resource.id if walk is None else walk[1].found, not forward))
    rows = rows.add_columns(*(resource.sort_columns[name] for name, _ in shape.sort))
    rows = rows.order_by(*(column.desc() if falls else column.asc() for column, falls in keys))
    if placed:
        rows = rows.where(*_beyond(keys))
    return Statement(rows.limit(bindparam("size")))


def _beyond(keys: list[tuple[ColumnElement[Any], bool]]) -> list[ColumnElement[bool]]:
    """Return the conditions for what comes after the place in the order of the keys.

    The first says no more than the second, but an index understands it.
    """
    places: list[ColumnElement[Any]] = [bindparam(f"place_{at}") for at in range(len(keys))]
    first, falls = keys[0]
    alternatives = []
    for at, (column, falling) in enumerate(keys):
        past = column < places[at] if falling else column > places[at]
        alternatives.append(
            and_(*(equal == place for (equal, _), place in zip(keys[:at], places, strict=False)), past)
        )
    return [first <= places[0] if falls else first >= places[0], or_(*alternatives)]


@lru_cache(maxsize=MOST_SHAPES)
def _site_of(resource: Resource, sites: int) -> Statement:
    return Statement(select(resource.site).where(_of_sites(resource, sites), resource.id == bindparam("id")))


@lru_cache(maxsize=MOST_SHAPES)
def _of_ids(resource: Resource, sites: int) -> Statement:
    wanted = dialects.among(resource.id, bindparam("ids"))
    return Statement(_select(resource).where(_of_sites(resource, sites), wanted).order_by(resource.id))


@lru_cache(maxsize=MOST_SHAPES)
def _of_id(resource: Resource, sites: int) -> Statement:
    return Statement(_select(resource).where(_of_sites(resource, sites), resource.id == bindparam("id")))


def _select(resource: Resource) -> Select[Any]:
    return select(*resource.columns)


def _site_places(sites: Sequence[int]) -> int:
    """Return how many places a statement has for these sites; none where they are given as one list."""
    return len(sites) if len(sites) <= MOST_SITE_PLACES else 0


def _site_values(sites: Sequence[int]) -> dict[str, Any]:
    if _site_places(sites):
        return {f"site_{at}": site for at, site in enumerate(sites)}
    return {"sites": orjson.dumps(sites).decode()}


def _of_sites(resource: Resource, sites: int) -> ColumnElement[bool]:
    if not sites:
        return dialects.among(resource.site, bindparam("sites"))
    if sites == 1:
        return resource.site == bindparam("site_0")
    return resource.site.in_([bindparam(f"site_{at}") for at in range(sites)])


def _by_id(snapshot: Snapshot, resource: Resource, sites: Sequence[int], ids: Sequence[int]) -> list[Record]:
    if not sites or not ids:
        return []
    values = _site_values(sites)
    if len(ids) == 1:
        values["id"], statement = ids[0], _of_id(resource, _site_places(sites))
    else:
        values["ids"], statement = orjson.dumps(ids).decode(), _of_ids(resource, _site_places(sites))
    return resource.records(snapshot, snapshot.rows(statement, values))


def _included(
    snapshot: Snapshot,
    asked: PageAsked | OneAsked,
    names: tuple[str, ...],
    records: Sequence[Record],
) -> Sequence[tuple[ResourceType, Sequence[Record]]]:
    """Return what the records are related to by the named relationships, each resource once."""
    wanted: dict[str, dict[int, None]] = {}
    for name in names:
        target = asked.resource.type.includable[name].target
        ids = wanted.setdefault(target, {})
        for record in records:
            linked = record.linkage[name]
            ids.update(dict.fromkeys([linked] if isinstance(linked, int) else linked or ()))
    found = []
    for target, related in wanted.items():
        # Only what has a resource type can be linked to; a type that is not built has no ids here.
        if related:
            resource = asked.catalogue[target]
            found.append((resource.type, _by_id(snapshot, resource, sorted(asked.sites), list(related))))
    return found
