"""Which pages are so short that everybody may wait for them: a change of threads would cost more."""

from functools import lru_cache
from typing import Any

from sqlalchemy import Column, UniqueConstraint

from rollbook.register.plans import MOST_SHAPES
from rollbook.register.resource import SITE_FILTER, PageAsked, Resource
from rollbook.storage.search_questions import TokensAsked

# So many rows an index passes in about the time that a change of threads takes.
SHORT_ROWS = 250
# Each contact that a search leads to is looked at for each of its words.
LONGEST_SHORT_SEARCH = 64


def is_short(asked: PageAsked) -> bool:
    """Say whether an index leads straight to a page, and nobody has to count the collection for it."""
    resource, query = asked.resource, asked.query
    is_counted = query.page.cursor is None and resource.total is None
    # An index leads by way of what a list does not show.
    if is_counted or resource.listed is not None or not _has_index(resource, query.sort):
        return False
    return _is_near_beginning(asked)


def may_be_short(asked: PageAsked) -> bool:
    """Say whether there may be few to look at: all that one site has, or those to whom the search index leads
    by one text that is no long one.
    """
    if _is_near_beginning(asked):
        return True
    asked_texts = sum(len(text) for _, texts in asked.query.filters for text in texts)
    if asked.query.page.size > SHORT_ROWS or asked_texts > LONGEST_SHORT_SEARCH:
        return False
    filters, sites = asked.filters_and_sites
    values = [value for _, alternatives in filters for each in alternatives for value in each]
    return len(sites) == len(filters) == 1 and sum(isinstance(value, TokensAsked) for value in values) == 1


def _is_near_beginning(asked: PageAsked) -> bool:
    """Say whether a page is one of the first of one site, unfiltered."""
    others = [name for name, _ in asked.query.filters if name != SITE_FILTER.name]
    if others or asked.query.page.offset + asked.query.page.size > SHORT_ROWS:
        return False
    return len(asked.filters_and_sites[1]) <= 1


@lru_cache(maxsize=MOST_SHAPES)
def _has_index(resource: Resource, sort: tuple[tuple[str, bool], ...]) -> bool:
    """Say whether an index has a site's resources in just the order of a sort.

    Read backwards it would have those that are alike by falling ids, and these may be all. What is unique
    decides the order, whatever comes after.
    """
    if not sort:
        return True  # by id, as the primary key has them
    (name, descending), *more = sort
    column = resource.sort_columns[name].name
    unique = [each for each in resource.table.constraints if isinstance(each, UniqueConstraint)]
    if [resource.site.name, column] in [each.columns.keys() for each in unique]:
        return True
    orders = [[_spelt(each) for each in index.expressions] for index in resource.table.indexes]
    return not more and [resource.site.name, f"{column} DESC" if descending else column, "id"] in orders


def _spelt(part: Any) -> str:
    return str(part.name if isinstance(part, Column) else part)
