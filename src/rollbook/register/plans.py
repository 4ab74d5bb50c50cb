"""How a page is found: one statement for each shape of a question, by one of five plans."""

from collections.abc import Callable, Sequence
from enum import Enum
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from sqlalchemy import ColumnElement, Select, Table, and_, bindparam, func, or_, select, tuple_, union

from rollbook.jsonapi.resource import Filter, Places
from rollbook.storage import dialects
from rollbook.storage.statements import Statement
from rollbook.storage.transactions import Snapshot

if TYPE_CHECKING:
    from rollbook.register.resource import Resource

MOST_SHAPES = 512
# Keys that see more sites share their statements, however many they see.
MOST_SITE_PLACES = 8
SITE_PLACES = [f"site_{at}" for at in range(MOST_SITE_PLACES)]
# Filters with more values share their statements, however many these are.
MOST_VALUE_PLACES = 8

SIZE: Any = bindparam("size")
OFFSET: Any = bindparam("offset")
UNTIL: Any = bindparam("until")

Keys = list[tuple[ColumnElement[Any], bool]]


class Plan(Enum):
    """How those whom a question means are found, in their order."""

    # An index has all in the order asked for; those who do not pass are passed by until the page is full.
    WALK = "walk"
    # Other indexes lead to few: all of these are found, counted, and sorted.
    SORT = "sort"
    # The same where so few can be found that all of them are read at once.
    FEW = "few"
    # A filter means any of several values, each of which has its index: these are walked side by side.
    MERGE = "merge"
    # Their ids are known.
    IDS = "ids"


class Walk(NamedTuple):
    """An index that holds what one value of a filter finds, in the default order of the collection.

    `found` is the column of the ids, `value` that of the filter's value, `ordering` the order of the index.
    `needs_all` says that the filter asks for all of its values, so that the first may lead; `arranged` puts
    that first which finds the fewest.
    """

    table: Table
    site: ColumnElement[Any]
    found: ColumnElement[Any]
    value: ColumnElement[Any]
    ordering: tuple[ColumnElement[Any], ...]
    needs_all: bool = False
    arranged: Callable[[Snapshot, tuple[int, ...], Sequence[Any]], Sequence[Any]] | None = None


class Shape(NamedTuple):
    """The shape of a question: one statement answers all of a shape, whatever its values.

    `sites` is the number of places for sites, 0 for a list of them; `filters` has each filter's name, with
    the number of places for the values of each of its alternatives, 0 for a list of them.
    """

    sites: int
    filters: tuple[tuple[str, tuple[int, ...]], ...]
    sort: tuple[tuple[str, bool], ...]
    plan: Plan = Plan.WALK


def is_in_default_order(resource: "Resource", sort: tuple[tuple[str, bool], ...]) -> bool:
    """Say whether this is the order of a collection without a sort."""
    name, descending = (sort or (("id", False),))[0]
    return len(sort) == 1 and resource.type.default_sort == ("-" if descending else "") + name


def can_merge(resource: "Resource", shape: Shape) -> bool:
    """Say whether the first filter is one whose values can be walked side by side."""
    if shape.sites != 1 or not shape.filters or not is_in_default_order(resource, shape.sort):
        return False
    name, lengths = shape.filters[0]
    walk = resource.type.filters_by_name[name].walk
    return walk is not None and not walk.needs_all and len(lengths) == 1 and lengths[0] > 1


def has_walk(resource: "Resource", shape: Shape, name: str, lengths: tuple[int, ...]) -> bool:
    """Say whether the index of a filter can lead through a page."""
    walk = resource.type.filters_by_name[name].walk
    if walk is None or shape.sites != 1 or not is_in_default_order(resource, shape.sort):
        return False
    return lengths == (1,) or (bool(walk.needs_all) and len(lengths) == 1)


def _kept(select_for: Callable[..., Select[Any]]) -> Callable[..., Statement]:
    """Have the statements of the shapes that are asked for kept, but not the expressions, which are large."""
    return lru_cache(maxsize=MOST_SHAPES)(lambda *shape: Statement(partial(select_for, *shape)))


def has_few(snapshot: Snapshot, resource: "Resource", sites: tuple[int, ...], most: int) -> bool:
    """Say whether sites have no more than so many resources, those included that no list shows."""
    if resource.total is not None:
        return resource.total(snapshot, sites) <= most
    values = {**site_values(sites), "most": most}
    return not snapshot.rows(_one_beyond(resource, site_places(sites)), values)


@_kept
def _one_beyond(resource: "Resource", sites: int) -> Select[Any]:
    return select(resource.id).where(of_sites(resource.site, sites)).limit(1).offset(bindparam("most"))


@_kept
def page_statement(resource: "Resource", shape: Shape, backwards: bool = False) -> Select[Any]:
    """Return the statement for a page by number; the plan that finds all answers how many in each row, and
    the one that finds few answers all of them.

    `backwards` is the page as seen from the end of the collection, its rows in the opposite order.
    """
    if shape.plan in (Plan.WALK, Plan.IDS, Plan.FEW):
        rows, keys = _source(resource, shape, resource.columns)
        rows = rows.order_by(*_ordering(keys, backwards))
        return rows if shape.plan is Plan.FEW else rows.limit(SIZE).offset(OFFSET)
    if shape.plan is Plan.MERGE:
        found, keys = _merged(resource, shape, [])
        page = select(found).order_by(*_ordering(_named(found, keys))).limit(SIZE).offset(OFFSET).subquery()
        return _whole(resource, page, keys)
    narrow, keys = _narrow(resource, shape)
    hits = narrow.cte("hits").prefix_with("MATERIALIZED")
    page = select(hits).order_by(*_ordering(_named(hits, keys))).limit(SIZE).offset(OFFSET).subquery()
    many = select(func.count()).select_from(hits).scalar_subquery()
    return _whole(resource, page, keys).add_columns(many)


@_kept
def count_statement(resource: "Resource", shape: Shape) -> Select[Any]:
    """Return the statement for the number of what a question finds."""
    counted = shape._replace(plan=Plan.WALK if shape.plan is Plan.MERGE else shape.plan)
    return _source(resource, counted, [func.count()])[0]


@_kept
def cursor_statement(resource: "Resource", shape: Shape, forward: bool, placed: bool) -> Select[Any]:
    """Return the statement for a page by cursor; it also answers the sort columns of each row."""
    sorted_by = [resource.sort_columns[name] for name, _ in shape.sort]
    if shape.plan is Plan.MERGE:
        beyond = [forward, placed]
        found, keys = _merged(resource, shape, beyond)
        page = select(found).order_by(*_ordering(_named(found, keys), not forward)).limit(SIZE).subquery()
        return _whole(resource, page, keys, not forward).add_columns(*sorted_by)
    rows, keys = _source(resource, shape, [*resource.columns, *sorted_by])
    rows = rows.order_by(*_ordering(keys, not forward))
    if placed:
        rows = rows.where(*_beyond(keys, forward))
    return rows.limit(SIZE)


def site_places(sites: Sequence[int]) -> int:
    """Return how many places a statement has for these sites; none where they are given as one list."""
    return len(sites) if len(sites) <= MOST_SITE_PLACES else 0


def site_values(sites: Sequence[int]) -> dict[str, Any]:
    """Return what a statement with places for these sites is given for them."""
    if site_places(sites):
        return dict(zip(SITE_PLACES, sites, strict=False))
    return {"sites": orjson.dumps(sites).decode()}


def value_places(declared: Filter, values: Sequence[Any]) -> int:
    """Return how many places a statement has for these values of a filter; none where they are one list."""
    return 0 if declared.of_list is not None and len(values) > MOST_VALUE_PLACES else len(values)


def filter_values(declared: Filter, alternatives: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """Return what a statement with places for the values of a filter's alternatives is given for them."""
    given: dict[str, Any] = {}
    for at, values in enumerate(alternatives):
        places = value_places(declared, values)
        # The first of a list has a place, too: it may lead through a page.
        given |= {f"{declared.name}_{at}_{place}": values[place] for place in range(places or 1)}
        if not places:
            given[f"{declared.name}_{at}_list"] = orjson.dumps(values).decode()
            given[f"{declared.name}_{at}_many"] = len(values)
    return given


def of_sites(site: ColumnElement[Any], sites: int) -> ColumnElement[bool]:
    """Return the condition that binds a statement to sites, of which it has so many places."""
    if not sites:
        return dialects.among(site, bindparam("sites"))
    if sites == 1:
        return site == bindparam("site_0")
    return site.in_([bindparam(f"site_{at}") for at in range(sites)])


def _source(resource: "Resource", shape: Shape, columns: Sequence[Any]) -> tuple[Select[Any], Keys]:
    """Return the columns of what a question finds, and the keys of its order; the id comes last."""
    walk = _walk(resource, shape)
    if walk is not None:
        name, index = walk
        return _walked(resource, shape, columns, name, index, 0), _keys_of_walk(shape, index)
    rows = select(*columns).select_from(resource.table).where(*_conditions(resource, shape))
    return rows, [*_sort_columns(resource, shape), (resource.id, False)]


def _walk(resource: "Resource", shape: Shape) -> tuple[str, Walk] | None:
    """Return the filter whose index leads through a page, with that index."""
    if shape.plan is Plan.WALK:
        for each, lengths in shape.filters:
            if has_walk(resource, shape, each, lengths):
                return each, resource.type.filters_by_name[each].walk
    return None


def _walked(
    resource: "Resource", shape: Shape, columns: Sequence[Any], name: str, walk: Walk, at: int
) -> Select[Any]:
    """Return the columns of what the value in one place of a filter finds, by way of its index."""
    return (
        select(*columns)
        .select_from(walk.table)
        .where(walk.site == bindparam("site_0"), walk.value == bindparam(f"{name}_0_{at}"))
        .where(resource.site == walk.site, resource.id == walk.found)
        .where(*_conditions(resource, shape, without=name))
    )


def _keys_of_walk(shape: Shape, walk: Walk) -> Keys:
    column: Any = walk.ordering[0]
    return [(column.element, shape.sort[0][1]), (walk.found, False)]


def _merged(resource: "Resource", shape: Shape, beyond: Sequence[bool]) -> tuple[Any, Keys]:
    """Return the first of each value of the first filter, once each, in no order, and the keys of the order.

    Each index is read for as many as the page and what comes before it have; `beyond` says whether a page
    by cursor goes forward, and has a place.
    """
    name, lengths = shape.filters[0]
    walk = resource.type.filters_by_name[name].walk
    keys = _keys_of_walk(shape, walk)
    forward, placed = beyond or (True, False)
    until = SIZE if beyond else UNTIL
    columns = [resource.id.label("id"), resource.site.label("site"), keys[0][0].label("key_0")]
    parts = []
    for at in range(lengths[0]):
        part = _walked(resource, shape, columns, name, walk, at).order_by(*_ordering(keys, not forward))
        if placed:
            part = part.where(*_beyond(keys, forward))
        parts.append(select(part.limit(until).subquery()))
    return union(*parts).subquery(), keys


def _narrow(resource: "Resource", shape: Shape) -> tuple[Select[Any], Keys]:
    """Return of what a question finds only what it is sorted by, and the keys of the order."""
    rows, keys = _source(resource, shape, [resource.id.label("id"), resource.site.label("site")])
    labelled = [column.label(f"key_{at}") for at, (column, _) in enumerate(keys[:-1])]
    return rows.add_columns(*labelled), keys


def _named(found: Any, keys: Keys) -> Keys:
    """Return the keys as columns of what `_narrow` or `_merged` found."""
    names = [f"key_{at}" for at in range(len(keys) - 1)]
    return [(found.c[name], falls) for name, (_, falls) in zip([*names, "id"], keys, strict=True)]


def _whole(resource: "Resource", page: Any, keys: Keys, backwards: bool = False) -> Select[Any]:
    """Return all columns of the resources of a page, of which there are few."""
    return (
        select(*resource.columns)
        .select_from(page)
        .join(resource.table, (resource.site == page.c.site) & (resource.id == page.c.id))
        .order_by(*_ordering(_named(page, keys), backwards))
    )


def _conditions(resource: "Resource", shape: Shape, without: str = "") -> list[ColumnElement[bool]]:
    conditions = [of_sites(resource.site, shape.sites)]
    if resource.listed is not None:
        conditions.append(resource.listed)
    if shape.plan is Plan.IDS:
        conditions.append(dialects.among(resource.id, bindparam("ids")))
    return conditions + [
        _condition(resource, name, lengths, shape)
        for name, lengths in shape.filters
        if name != without or (lengths != (1,) and shape.plan is not Plan.MERGE)
    ]


def _condition(
    resource: "Resource", name: str, lengths: tuple[int, ...], shape: Shape
) -> ColumnElement[bool]:
    """Return what one filter asks: one of its alternatives, each with so many values."""
    declared = resource.type.filters_by_name[name]
    condition = declared.condition
    if shape.plan not in (Plan.SORT, Plan.FEW) and declared.probe is not None:
        condition = declared.probe
    alternatives = []
    for at, length in enumerate(lengths):
        if length:
            places: list[Any] = [bindparam(f"{name}_{at}_{place}") for place in range(length)]
            alternatives.append(condition(Places(places, sites=shape.sites)))
        else:
            of_list: Any = declared.of_list
            alternatives.append(of_list(bindparam(f"{name}_{at}_list"), bindparam(f"{name}_{at}_many")))
    return or_(*alternatives)


def _sort_columns(resource: "Resource", shape: Shape) -> Keys:
    """Return the columns to sort by, each with whether it descends; without the id, which comes last."""
    columns = []
    for name, descending in shape.sort:
        column = resource.sort_columns[name]
        columns.append((column if shape.plan is Plan.WALK else dialects.without_index(column), descending))
    return columns


def _ordering(keys: Keys, backwards: bool = False) -> list[ColumnElement[Any]]:
    return [column.desc() if falls != backwards else column.asc() for column, falls in keys]


def _beyond(keys: Keys, forward: bool) -> list[ColumnElement[bool]]:
    """Return the conditions for what comes after the place in the order of the keys, or before it.

    Where all keys have one direction, an index leads to the place itself. Else the first condition says no
    more than the second, but an index understands it.
    """
    places: list[ColumnElement[Any]] = [bindparam(f"place_{at}") for at in range(len(keys))]
    columns = [column for column, _ in keys]
    falling = [falls == forward for _, falls in keys]
    if len(set(falling)) == 1:
        place = tuple_(*places)
        return [tuple_(*columns) < place if falling[0] else tuple_(*columns) > place]
    alternatives = []
    for at, column in enumerate(columns):
        past = column < places[at] if falling[at] else column > places[at]
        alike = [column == place for column, place in zip(columns[:at], places, strict=False)]
        alternatives.append(and_(*alike, past))
    first = columns[0] <= places[0] if falling[0] else columns[0] >= places[0]
    return [first, or_(*alternatives)]
