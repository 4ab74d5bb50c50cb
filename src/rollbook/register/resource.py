"""What the register keeps of a resource type, and how it is listed, shown and included."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, Table, bindparam, func, or_, select

from rollbook.jsonapi.errors import Problem, Refused
from rollbook.jsonapi.query import Query
from rollbook.jsonapi.reading import Draft, read_id
from rollbook.jsonapi.resource import Attribute, Filter, Record, ResourceType
from rollbook.jsonapi.writing import Collection
from rollbook.register.callers import Caller
from rollbook.storage import dialects
from rollbook.storage.statements import Statement
from rollbook.storage.transactions import Row, Snapshot, Transaction

MOST_SHAPES = 512
# So many rows an index passes in about the time that a change of threads takes.
SHORT_ROWS = 250


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


@dataclass(frozen=True, eq=False)
class Resource:
    """A resource type with the table that holds it; its routes and its answers follow from this.

    `record` makes a record of a row of `columns`, which begin with the id and the site. `sort_columns` has
    the column of each sort, `total` counts all resources of sites faster than counting would.
    """

    type: ResourceType
    table: Table
    columns: tuple[ColumnElement[Any], ...]
    record: Callable[[Row], Record]
    sort_columns: Mapping[str, ColumnElement[Any]]
    view_permission: str | None = None
    creation: Creation | None = None
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


def plain_record(resource: ResourceType) -> Callable[[Row], Record]:
    """Return a `record` for rows of id, site, then the attributes and to-one relationships in order."""
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
    """Return a page of a collection, the exact number of what matches, and what the page includes."""
    resource, query = asked.resource, asked.query
    filters, sites = _filters_and_sites(resource, query, asked.sites)
    if not sites:
        return Collection((), 0)
    shape = tuple((name, tuple(len(values) for values in alternatives)) for name, alternatives in filters)
    rows_of, count_of = _statements(resource, len(sites), shape, query.sort)
    values: dict[str, Any] = {f"site_{at}": site for at, site in enumerate(sites)}
    for name, alternatives in filters:
        bound = [value for alternative in alternatives for value in alternative]
        values.update((f"{name}_{at}", value) for at, value in enumerate(bound))
    offset = query.page.offset
    rows = snapshot.rows(rows_of, {**values, "size": query.page.size, "offset": offset})
    if len(rows) < query.page.size and (rows or not offset):
        total = offset + len(rows)
    elif not filters and resource.total is not None:
        total = resource.total(snapshot, sites)
    else:
        total = snapshot.rows(count_of, values)[0][0]
    records = [resource.record(row) for row in rows]
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


@lru_cache(maxsize=MOST_SHAPES)
def _statements(
    resource: Resource,
    sites: int,
    filters: tuple[tuple[str, tuple[int, ...]], ...],
    sort: tuple[tuple[str, bool], ...],
) -> tuple[Statement, Statement]:
    """Return the statements for a page and for the number of what matches, for one shape of question."""
    conditions = [_of_sites(resource, sites)]
    for name, lengths in filters:
        condition = resource.type.filters_by_name[name].condition
        places = iter(range(sum(lengths)))
        conditions.append(
            or_(
                *(
                    condition([bindparam(f"{name}_{next(places)}") for _ in range(length)])
                    for length in lengths
                )
            )
        )
    selective = any(resource.type.filters_by_name[name].selective for name, _ in filters)
    ordering: list[ColumnElement[Any]] = []
    for name, descending in sort:
        column = resource.sort_columns[name]
        if selective:
            column = dialects.sorted_last(column)
        ordering.append(column.desc() if descending else column.asc())
    rows = _select(resource).where(*conditions).order_by(*ordering, resource.id)
    count = select(func.count()).select_from(resource.table).where(*conditions)
    return (
        Statement(rows.limit(bindparam("size")).offset(bindparam("offset"))),
        Statement(count),
    )


@lru_cache(maxsize=MOST_SHAPES)
def _of_ids(resource: Resource, sites: int, ids: int) -> Statement:
    wanted = resource.id.in_([bindparam(f"id_{at}") for at in range(ids)])
    return Statement(_select(resource).where(_of_sites(resource, sites), wanted).order_by(resource.id))


def _select(resource: Resource) -> Select[Any]:
    return select(*resource.columns)


def _of_sites(resource: Resource, sites: int) -> ColumnElement[bool]:
    if sites == 1:
        return resource.site == bindparam("site_0")
    return resource.site.in_([bindparam(f"site_{at}") for at in range(sites)])


def _by_id(snapshot: Snapshot, resource: Resource, sites: Sequence[int], ids: Sequence[int]) -> list[Record]:
    if not sites or not ids:
        return []
    values = {f"site_{at}": site for at, site in enumerate(sites)}
    values.update((f"id_{at}", each) for at, each in enumerate(ids))
    return [resource.record(row) for row in snapshot.rows(_of_ids(resource, len(sites), len(ids)), values)]


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
