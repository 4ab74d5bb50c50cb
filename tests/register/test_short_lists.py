"""Proves which pages are looked at while everybody waits, and that these have little to look at."""

import pytest
from register.house import ask, caller, create, new, page

from rollbook.jsonapi.query import read_query
from rollbook.register import looks, plans, resource
from rollbook.register.catalogue import RESOURCES
from rollbook.storage.database import Database
from rollbook.storage.transactions import TakesLong

MANY = 8


def asked_of(of: str, query: str, *sites: int) -> resource.PageAsked:
    read = read_query(RESOURCES[of].type, query.encode())
    return resource.PageAsked(RESOURCES[of], read, frozenset(sites), RESOURCES)


@pytest.mark.parametrize(
    ("query", "may_be"),
    [
        ("filter[search]=okafor", True),
        ("filter[name_contains]=okafor", True),
        (f"filter[search]={'+'.join(f'abc{at}' for at in range(40))}", False),
        ("filter[search]=okafor&page[size]=251", False),
        ("filter[search]=okafor&filter[subscribed]=true", False),
        ("filter[subscribed]=true", False),
    ],
)
def test_a_search_may_be_short_that_asks_one_site_for_one_short_text(query: str, may_be: bool) -> None:
    assert looks.may_be_short(asked_of("contacts", query, 1)) is may_be
    assert not looks.may_be_short(asked_of("contacts", query, 1, 2))


@pytest.mark.parametrize(
    ("of", "query", "is_short"),
    [
        ("contacts", "", True),
        ("contacts", "filter[site_id]=1", True),
        ("contacts", "sort=name", True),
        ("contacts", "sort=-email,name", True),
        ("contacts", "sort=-name", False),
        ("contacts", "sort=created_at", False),
        ("contacts", "sort=-created_at,name", False),
        ("contacts", "page[size]=251", False),
        ("contacts", "filter[subscribed]=true", False),
        ("contact_notes", "", False),
        ("contact_notes", "page[after]=", True),
        ("contact_tags", "sort=name&page[after]=", False),
        ("audit_events", "", False),
        ("audit_events", "page[after]=", False),
    ],
)
def test_a_page_is_short_whose_order_an_index_has_and_whose_total_nobody_counts(
    of: str, query: str, is_short: bool
) -> None:
    assert looks.is_short(asked_of(of, query, 1)) is is_short


def test_a_page_of_two_sites_is_not_short() -> None:
    assert not looks.is_short(asked_of("contacts", "", 1, 2))
    assert not looks.may_be_short(asked_of("contacts", "", 1, 2))


@pytest.mark.sqlite
@pytest.mark.parametrize("of", RESOURCES)
def test_nothing_is_sorted_for_a_page_that_is_short(database: Database, of: str) -> None:
    single = [f"{sign}{name}" for name in RESOURCES[of].type.sorts for sign in ("", "-")]
    for sort in ["", *single, *(f"{first},{then}" for first in single for then in single)]:
        asked = asked_of(of, f"sort={sort}&page[after]=", 1)
        if looks.is_short(asked):
            statement = plans.page_statement(RESOURCES[of], plans.Shape(1, (), asked.query.sort))
            sql, names, _ = statement.compiled(database.engine.dialect)
            steps = [row[-1] for row in ask(database, f"EXPLAIN QUERY PLAN {sql}", *([1] * len(names)))]
            assert not [step for step in steps if "TEMP B-TREE" in step], sort


@pytest.mark.parametrize(
    ("of", "query"),
    [("contacts", "sort=-name"), ("audit_events", ""), ("audit_events", "page[size]=3&page[after]=")],
)
def test_a_hurried_list_is_that_of_a_reader_or_left_to_one_where_a_site_has_many(
    database: Database, monkeypatch: pytest.MonkeyPatch, of: str, query: str
) -> None:
    create(database, *(new(name=f"name {at}", email=f"{at}@ex.test") for at in range(MANY)))
    create(database, *(new(2, email=f"{at}@ex.test") for at in range(MANY)))
    expected, _ = page(database, query, caller(1), of)
    assert looks.may_be_short(asked_of(of, query, 1))
    with database.snapshot() as snapshot:
        snapshot.is_hurried = True
        monkeypatch.setattr(resource, "FEW_TO_SORT", MANY)
        assert resource.page(snapshot, asked_of(of, query, 1)) == expected
        monkeypatch.setattr(resource, "FEW_TO_SORT", MANY - 1)
        with pytest.raises(TakesLong):
            resource.page(snapshot, asked_of(of, query, 1))
