"""What the register keeps of a resource type, and how it is listed, shown and included."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import orjson
from sqlalchemy import ColumnElement, Table, bindparam, select

from rollbook.jsonapi import cursors
from rollbook.jsonapi.errors import Problem, Refusal, Refused, refuse
from rollbook.jsonapi.query import AFTER, Query
from rollbook.jsonapi.reading import Draft, read_id
from rollbook.jsonapi.resource import Attribute, Filter, Record, ResourceType
from rollbook.jsonapi.writing import Collection
from rollbook.register import plans
from rollbook.register.callers import Caller
from rollbook.register.plans import Plan, Shape
from rollbook.storage import dialects, search_index
from rollbook.storage.search_questions import Question, TokensAsked, narrowed
from rollbook.storage.statements import Row, Statement
from rollbook.storage.transactions import Snapshot, TakesLong, Transaction

# So many are sorted in about the time that a page takes.
FEW_TO_SORT = 1_000
# Beyond this place, a page is found from the end of the collection where that is nearer.
FAR = 1_000

# For how many resources it is remembered where they were found.
MOST_PLACES_KNOWN = 20_000

# The values of each filter's alternatives.
Filters = Sequence[tuple[str, Sequence[Sequence[Any]]]]


class Asked(NamedTuple):
    """Whom a question means, of whom it wants so many."""

    sites: tuple[int, ...]
    filters: Filters
    in_default_order: bool
    size: int


class Known(NamedTuple):
    """What is known of those whom a question means: how many, and ids where they are few.

    Without a total, some of these ids may be of others, whom the filters leave out.
    """

    total: int | None
    ids: Sequence[int] | None = None


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
    `locks_sites` says that it waits for who changes their sites.
    """

    permission: str
    prepare: Callable[[Caller, int, Draft], Any]
    all_problems: Callable[[Snapshot, Any], Sequence[Problem]]
    create_many: Callable[[Transaction, list[Any]], Sequence[Record | Refused]]
    site_of: Callable[[Caller, Draft], int] = site_of_draft
    locks_sites: bool = False
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
    the column of each sort, `total` counts all resources of sites faster than counting would, `known` says
    what is known of several filters, or None; `listed` says which rows a list may show, and `gone` why an id
    is unknown to a caller, where that can be said.
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
    known: Callable[[Snapshot, Asked], Known | None] | None = None

    @cached_property
    def id(self) -> ColumnElement[Any]:
        """The column of the id."""
        return self.columns[0]

    @cached_property
    def site(self) -> ColumnElement[Any]:
        """The column of the site."""
        return self.columns[1]


@dataclass(slots=True)
class PageAsked:
    """A page of a collection that is asked for, by one who sees these sites.

    `filters_and_sites` are the values of each filter's alternatives, and the sites that are left to look at.
    """

    resource: Resource
    query: Query
    sites: frozenset[int]
    catalogue: Mapping[str, Resource]
    # Made of the others, and so no part of what is asked.
    filters_and_sites: "tuple[Filters, tuple[int, ...]]" = field(init=False, compare=False)

    def __post_init__(self) -> None:
        self.filters_and_sites = self._filters_and_sites()

    def _filters_and_sites(self) -> "tuple[Filters, tuple[int, ...]]":
        asked = dict(self.query.filters)
        declared = self.resource.type.filters_by_name
        sites = self.sites
        if SITE_FILTER.name in asked and SITE_FILTER.name in declared:
            sites = sites & frozenset(_sites_asked(asked.pop(SITE_FILTER.name)[0], ()))
        ordered = tuple(sorted(sites))
        filters: list[tuple[str, list[Sequence[Any]]]] = []
        for name, texts in asked.items():
            of_text = declared[name].values
            alternatives = [values for text in texts if (values := of_text(text, ordered)) is not None]
            if alternatives:
                filters.append((name, alternatives))
        return filters, ordered


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

    Raises Refused for a cursor that does not belong to the collection and its sort, and TakesLong where the
    snapshot is for a glance and more may have to be looked at.
    """
    resource, query = asked.resource, asked.query
    filters, sites = asked.filters_and_sites
    if not sites:
        return Collection((), 0)
    if snapshot.is_hurried and not filters and not plans.has_few(snapshot, resource, sites, FEW_TO_SORT):
        raise TakesLong
    shape, values, known = _question(snapshot, asked, sites, filters)
    if known is not None and (known.total == 0 or known.ids == []):
        return Collection((), 0)
    if query.page.cursor is not None:
        rows, cursors = _page_by_cursor(snapshot, resource, query, shape, values)
        records = resource.records(snapshot, rows)
        return Collection(records, 0, _included(snapshot, asked, query.include, records), cursors)
    if known is None and (shape.plan is Plan.WALK and query.page.offset > FAR):
        known = _total(snapshot, resource, sites, filters)
    rows = _page_by_number(snapshot, asked, shape, values, known)
    if rows and shape.plan is Plan.SORT:
        total, rows = rows[0][-1], [row[:-1] for row in rows]
    elif shape.plan is Plan.FEW:
        total, rows = len(rows), rows[query.page.offset :][: query.page.size]
    elif len(rows) < query.page.size and (rows or not query.page.offset):
        total = query.page.offset + len(rows)
    else:
        known = known or _total(snapshot, resource, sites, filters)
        total = known.total if known else None
        if total is None:
            total = snapshot.rows(plans.count_statement(resource, shape), values)[0][0]
    records = resource.records(snapshot, rows)
    return Collection(records, total, _included(snapshot, asked, query.include, records))


def each_one(snapshot: Snapshot, items: list[OneAsked]) -> list[Collection | None]:
    """Return each resource that is asked for, as a collection with what it includes, or None where the
    asker sees none.
    """
    if len(items) == 1:
        return [_one(snapshot, items[0])]
    numbers = [read_id(asked.id) for asked in items]
    wanted: dict[tuple[Resource, frozenset[int]], dict[int, None]] = {}
    for asked, number in zip(items, numbers, strict=True):
        if number is not None:
            wanted.setdefault((asked.resource, asked.sites), {})[number] = None
    found = {
        (*of, record.id): record
        for of, ids in wanted.items()
        for record in _by_id(snapshot, of[0], of[1], list(ids))
    }
    answers: list[Collection | None] = []
    for asked, number in zip(items, numbers, strict=True):
        record = found.get((asked.resource, asked.sites, number or 0))
        included = () if record is None else _included(snapshot, asked, asked.include, [record])
        answers.append(None if record is None else Collection([record], 1, included))
    return answers


def _one(snapshot: Snapshot, asked: OneAsked) -> Collection | None:
    number = read_id(asked.id)
    records = [] if number is None else _by_id(snapshot, asked.resource, asked.sites, [number])
    return Collection(records, 1, _included(snapshot, asked, asked.include, records)) if records else None


def find(snapshot: Snapshot, resource: Resource, caller: Caller, resource_id: str) -> int:
    """Return the site of a resource; raise Refused, as for an unknown id, where the caller sees none."""
    site_id = site_of(snapshot, resource, caller, resource_id)
    if site_id is None:
        raise missing(snapshot, resource, caller, resource_id)
    return site_id


def site_of(snapshot: Snapshot, resource: Resource, caller: Caller, resource_id: str) -> int | None:
    """Return the site of a resource, or None where the caller sees none with this id."""
    number = read_id(resource_id)
    if number is not None:
        for sites in _sites_to_look_at(resource, caller.sites, [number]):
            values = plans.site_values(sites) | {"id": number}
            row = snapshot.row(_site_of(resource, plans.site_places(sites)), values)
            if row is not None:
                return int(row[0])
    return None


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


def _question(
    snapshot: Snapshot, asked: PageAsked, sites: tuple[int, ...], filters: Filters
) -> tuple[Shape, dict[str, Any], Known | None]:
    """Return the shape of a question, the values for its statements, and what is known of its answer."""
    resource, query = asked.resource, asked.query
    filters = [(name, _arranged(snapshot, resource, sites, name, values)) for name, values in filters]
    declared = resource.type.filters_by_name
    places = tuple(
        (name, tuple(plans.value_places(declared[name], each) for each in alternatives))
        for name, alternatives in filters
    )
    shape = Shape(plans.site_places(sites), places, query.sort)
    values = plans.site_values(sites)
    known = None
    if resource.known is not None:
        in_order = plans.is_in_default_order(resource, query.sort)
        known = resource.known(snapshot, Asked(sites, filters, in_order, query.page.size))
    for name, alternatives in filters:
        values |= plans.filter_values(declared[name], alternatives)
    if known is not None and known.ids is not None:
        values["ids"] = orjson.dumps(known.ids).decode()
        shape = shape._replace(plan=Plan.IDS)
    elif _is_selective(snapshot, asked, sites, filters):
        # For a glance, `narrowed` has seen to it that there are few.
        shape = shape._replace(plan=Plan.FEW if snapshot.is_hurried else Plan.SORT)
    elif plans.can_merge(resource, shape):
        shape = shape._replace(plan=Plan.MERGE)
    return shape, values, known


def _arranged(
    snapshot: Snapshot,
    resource: Resource,
    sites: tuple[int, ...],
    name: str,
    alternatives: Sequence[Sequence[Any]],
) -> Sequence[Sequence[Any]]:
    """Return the alternatives of a filter, in each of them first what finds the fewest."""
    of_many = not plans.site_places(sites)
    alternatives = [
        [
            narrowed(snapshot, value, of_many=of_many) if isinstance(value, TokensAsked) else value
            for value in each
        ]
        for each in alternatives
    ]
    walk = resource.type.filters_by_name[name].walk
    if walk is None or walk.arranged is None:
        return alternatives
    return [walk.arranged(snapshot, sites, each) if len(each) > 1 else each for each in alternatives]


def _is_selective(snapshot: Snapshot, asked: PageAsked, sites: tuple[int, ...], filters: Filters) -> bool:
    """Say whether an index leads to so few that sorting them beats walking all in order."""
    for name, alternatives in filters:
        declared = asked.resource.type.filters_by_name[name]
        if not declared.selective:
            continue
        # The exact total, which a page by cursor does not have, looks at all of them anyway.
        if asked.query.page.cursor is None or declared.probe is None or len(alternatives) != 1:
            return True
        most = _most_sorted(snapshot, asked, sites)
        of_many = not plans.site_places(sites)
        questions = [value for value in alternatives[0] if isinstance(value, Question)]
        if sum(search_index.count_up_to(snapshot, each, most, of_many=of_many) for each in questions) < most:
            return True
    return False


def _most_sorted(snapshot: Snapshot, asked: PageAsked, sites: tuple[int, ...]) -> int:
    """Return how many take as long to be found and sorted as walking all until a page of so many is full."""
    everybody = 0 if asked.resource.total is None else asked.resource.total(snapshot, sites)
    return max(FEW_TO_SORT, math.isqrt(everybody * asked.query.page.size))


def _page_by_number(
    snapshot: Snapshot, asked: PageAsked, shape: Shape, values: dict[str, Any], known: Known | None
) -> list[Row]:
    """Return the rows of a page; from the end of the collection where that is known to be nearer."""
    resource, (size, offset) = asked.resource, (asked.query.page.size, asked.query.page.offset)
    backwards = False
    if known is not None and known.total is not None and shape.plan is Plan.WALK:
        size = min(size, max(0, known.total - offset))
        behind = known.total - offset - size
        if size and offset > max(FAR, behind):
            backwards, offset = True, behind
    if not size:
        return []
    statement = plans.page_statement(resource, shape, backwards)
    rows = snapshot.rows(statement, {**values, "size": size, "offset": offset, "until": offset + size})
    return rows[::-1] if backwards else rows


def _total(snapshot: Snapshot, resource: Resource, sites: tuple[int, ...], filters: Filters) -> Known | None:
    """Return the number of what matches where it need not be counted."""
    if resource.total is not None and not filters:
        return Known(resource.total(snapshot, sites))
    if len(filters) == 1 and len(filters[0][1]) == 1:
        name, (values,) = filters[0]
        count = resource.type.filters_by_name[name].count
        found = None if count is None else count(snapshot, sites, values)
        return None if found is None else Known(found)
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
    kinds = [resource.sort_columns[name].type.python_type for name, _ in query.sort]
    place: cursors.Place | None = cursors.read(text, sort, kinds) if text else ()
    if place is None:
        raise refuse(Refusal.CURSOR_UNKNOWN, parameter)
    bound = {f"place_{at}": value for at, value in enumerate(place)}
    statement = plans.cursor_statement(resource, shape, forward, bool(text))
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


@lru_cache(maxsize=plans.MOST_SHAPES)
def _site_of(resource: Resource, sites: int) -> Statement:
    return Statement(
        select(resource.site).where(plans.of_sites(resource.site, sites), resource.id == bindparam("id"))
    )


@lru_cache(maxsize=plans.MOST_SHAPES)
def _of_ids(resource: Resource, sites: int) -> Statement:
    wanted = dialects.among(resource.id, bindparam("ids"))
    rows = select(*resource.columns).where(plans.of_sites(resource.site, sites), wanted)
    return Statement(rows.order_by(resource.id))


@lru_cache(maxsize=plans.MOST_SHAPES)
def _of_id(resource: Resource, sites: int) -> Statement:
    wanted = resource.id == bindparam("id")
    return Statement(select(*resource.columns).where(plans.of_sites(resource.site, sites), wanted))


# The sites that resources were last found in. A resource stays in its site; should an id be of another one,
# as in another register, it is looked for in all.
_last_found_in: dict[tuple[Resource, int], int] = {}


def _by_id(
    snapshot: Snapshot, resource: Resource, sites: frozenset[int] | tuple[int, ...], ids: Sequence[int]
) -> list[Record]:
    if not ids:
        return []
    for looked_at in _sites_to_look_at(resource, sites, ids):
        values, places = plans.site_values(looked_at), plans.site_places(looked_at)
        if len(ids) == 1:
            values["id"], statement = ids[0], _of_id(resource, places)
        else:
            values["ids"], statement = orjson.dumps(ids).decode(), _of_ids(resource, places)
        rows = snapshot.rows(statement, values)
        if rows:
            if len(ids) == 1 < len(looked_at):
                if len(_last_found_in) >= MOST_PLACES_KNOWN:
                    _last_found_in.clear()
                _last_found_in[resource, ids[0]] = rows[0][1]
            return resource.records(snapshot, rows)
    return []


def _sites_to_look_at(
    resource: Resource, sites: frozenset[int] | tuple[int, ...], ids: Sequence[int]
) -> Iterator[Sequence[int]]:
    """Return where to look for resources, of all these sites: for one alone first where it was last found."""
    if len(ids) == 1 < len(sites):
        known = _last_found_in.get((resource, ids[0]))
        if known is not None and known in sites:
            yield (known,)
    if sites:
        yield sorted(sites)


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
            found.append((resource.type, _by_id(snapshot, resource, asked.sites, list(related))))
    return found
