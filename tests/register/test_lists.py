"""Proves what lists find, that they see the asker's sites alone, and that a page costs a fixed number of statements."""

import contextlib
import itertools
import math
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from register.house import ask, caller, create, new, open_register, page, stored

from databases import run_sql
from rollbook.jsonapi.query import read_query
from rollbook.register import plans, resource, upkeep
from rollbook.register.catalogue import RESOURCES
from rollbook.register.text import email_text, gram_query, text_key
from rollbook.storage import search_index, search_questions
from rollbook.storage.database import Database
from rollbook.storage.transactions import TakesLong

NAMES = [
    "Ines Okafor", "ines okafor", "Jörg Straße", "JORG STRASSE", "Jo\u0308rg", "李小龍", "李", "Σίσυφος", "ΣΊΣΥΦΟΣ",
    "O'Brien", 'a"b', "100%", "under_score", "a\\b", "tab\there", "two  blanks", " edge ", "ﬁne", "fine", "🚢 boat",
    "👩‍👩‍👧", "aaaa", "aaa", "aa", "A", "x\x1fy", "NULL", "İstanbul", "istanbul", "e\u0301clair", "éclair", "AND OR NOT",
    "*", '"', "(", "long " * 400 + "end", "名" * 1500,
]  # fmt: skip
SHORT_NAMES = [name for name in NAMES if len(name) < 100]
NOT_INDEXED = 6


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A register with people of many names on site 1, and the same on site 2; some are not indexed yet."""
    opened = open_register(tmp_path_factory.mktemp("people") / "rollbook.db")
    for site in (1, 2):
        made = [new(site, name=name, email=f"Person{at}@ex.test") for at, name in enumerate(NAMES)]
        create(opened, *made[:-NOT_INDEXED])
        upkeep.finish(opened)
        create(opened, *made[-NOT_INDEXED:])
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def people_of_short_names(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A register whose site 1 has nobody of a name that is too long for the index of search."""
    opened = open_register(tmp_path_factory.mktemp("short") / "rollbook.db")
    create(opened, *(new(1, name=name, email=f"Person{at}@ex.test") for at, name in enumerate(SHORT_NAMES)))
    upkeep.finish(opened)
    yield opened
    opened.close()


def found_names(database: Database, query: str, *sites: int) -> list[Any]:
    collection, _ = page(database, f"page[size]=1000&{query}", caller(*sites))
    assert collection.total == len(collection.records)
    return sorted(record.attributes["name"] for record in collection.records)


PARTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=4),
    st.sampled_from(NAMES).flatmap(
        lambda name: st.tuples(st.integers(0, len(name) - 1), st.integers(1, 12)).map(
            lambda cut: name[cut[0] : cut[0] + cut[1]]
        )
    ),
    st.sampled_from(NAMES).map(str.upper),
)


@given(part=PARTS)
@settings(max_examples=150, deadline=None, print_blob=True)
def test_a_part_of_a_name_finds_exactly_the_names_that_contain_it_in_any_case(
    people: Database, part: str
) -> None:
    expected = sorted(name for name in NAMES if text_key(part) in text_key(name))
    assert found_names(people, f"filter[name_contains]={quote(part)}", 1) == expected


@given(parts=st.lists(PARTS, min_size=1, max_size=4))
@settings(max_examples=150, deadline=None, print_blob=True)
def test_a_search_finds_exactly_those_with_every_word_in_name_or_email(
    people: Database, parts: list[str]
) -> None:
    query = f"filter[search]={quote(' '.join(parts))}"
    assert found_names(people, query, 1) == scanned(" ".join(parts).split())


@given(parts=st.lists(PARTS, min_size=1, max_size=4))
@settings(max_examples=100, deadline=None, print_blob=True)
def test_a_search_of_many_sites_finds_in_each_what_it_finds_there_alone(
    people: Database, parts: list[str]
) -> None:
    query = f"filter[search]={quote(' '.join(parts))}"
    expected = scanned(" ".join(parts).split())
    assert found_names(people, query, *range(1, 20)) == sorted([*expected, *expected])
    assert found_names(people, query, *range(2, 20)) == expected


def test_a_search_of_thousands_of_sites_by_eight_words_is_answered(people: Database) -> None:
    email = "person12@ex.test"
    words = [email[start:end] for start, end in itertools.product(range(3), range(-2, 0))] + [
        email,
        "person12",
    ]
    assert found_names(people, f"filter[search]={'+'.join(words)}", *range(1, 5_000)) == [NAMES[12]] * 2


@pytest.mark.postgresql
def test_a_search_of_many_sites_asks_each_for_itself(database: Database) -> None:
    asked = gram_query(map(str, range(1, 4)), ('o"b\\',))
    with database.snapshot() as snapshot:
        joined = search_questions.narrowed(snapshot, asked)
        apart = search_questions.narrowed(snapshot, asked, of_many=True)
    assert ask(database, "SELECT unnest(CAST(? AS tsquery[]))::text", apart) == [
        (f"'{site} \"b\\\\' & '{site} o\"b' | '{site} long'",) for site in (1, 2, 3)
    ]
    assert len(joined.split(" | ")) == 6


@pytest.mark.parametrize(
    "query", ["filter[search]=ine", "filter[name_contains]=ine", "filter[email_contains]=erson1"]
)
def test_a_search_has_more_of_the_index_kept_up_for_those_that_follow(
    people: Database, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    monkeypatch.setattr(search_index, "_last_asked", -math.inf)
    found_names(people, "sort=name", 1)
    assert not upkeep.UPKEEP.is_felt()
    found_names(people, query, 1)
    assert upkeep.UPKEEP.is_felt()
    monkeypatch.setattr(search_index, "ASKED_SECONDS", 0)
    assert not upkeep.UPKEEP.is_felt()


def scanned(words: list[str], names: list[str] = NAMES) -> list[str]:
    """Return the names of those who have every word in their name or e-mail."""
    return sorted(
        name
        for at, name in enumerate(names)
        if all(text_key(word) in text_key(name) or word.lower() in f"person{at}@ex.test" for word in words)
    )


def hurried(database: Database, query: str) -> list[Any]:
    """Return the names that a look finds for which everybody waits."""
    read = read_query(RESOURCES["contacts"].type, f"page[size]=250&{query}".encode())
    asked = resource.PageAsked(RESOURCES["contacts"], read, frozenset({1}), RESOURCES)
    with database.snapshot() as snapshot:
        snapshot.is_hurried = True
        return sorted(record.attributes["name"] for record in resource.page(snapshot, asked).records)


def let_eight_be_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have tokens of eight contacts no longer be rare, and none be counted yet."""
    monkeypatch.setattr(search_questions, "RARE", (8, 64))
    monkeypatch.setattr(search_questions, "VERY_FEW", 2)
    monkeypatch.setattr(search_questions, "_counted", {})


@pytest.mark.sqlite
@given(parts=st.lists(PARTS, min_size=1, max_size=4))
@settings(max_examples=150, deadline=None, print_blob=True)
def test_a_search_finds_the_same_whatever_counts_as_rare(
    people_of_short_names: Database, parts: list[str]
) -> None:
    words = " ".join(parts).split()
    query = f"filter[search]={quote(' '.join(parts))}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search_questions, "RARE", (4, 12, 24))
        patch.setattr(search_questions, "VERY_FEW", 2)
        patch.setattr(search_questions, "_counted", {})
        for _ in range(2):
            assert found_names(people_of_short_names, query, 1) == scanned(words, SHORT_NAMES)
        with contextlib.suppress(TakesLong):
            assert hurried(people_of_short_names, query) == scanned(words, SHORT_NAMES)


@pytest.mark.postgresql
@given(parts=st.lists(PARTS, min_size=1, max_size=4))
@settings(max_examples=150, deadline=None, print_blob=True)
def test_a_search_finds_the_same_whatever_statistics_call_common(
    people_of_short_names: Database, parts: list[str]
) -> None:
    query = f"filter[search]={quote(' '.join(parts))}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search_questions, "RARE", (4, 12))
        patch.setattr(search_questions, "_statistics", statistics_of(people_of_short_names))
        assert found_names(people_of_short_names, query, 1) == scanned(" ".join(parts).split(), SHORT_NAMES)


def statistics_of(database: Database) -> search_questions.Statistics:
    run_sql(database.engine.name, "ANALYZE contact_search")
    statistics = search_questions.Statistics()
    with database.snapshot() as snapshot:
        statistics.read(snapshot)
    return statistics


@pytest.mark.postgresql
def test_a_search_does_not_ask_for_what_statistics_call_common(
    people_of_short_names: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_questions, "RARE", (4, 12))
    monkeypatch.setattr(search_questions, "_statistics", statistics_of(people_of_short_names))
    with people_of_short_names.snapshot() as snapshot:
        asked = [gram_query(["1"], (word,)) for word in ("person17@", "person", "son")]
        questions = [search_questions.narrowed(snapshot, each) for each in asked]
    assert questions == [
        "((('1 17@' & '1 n17' & '1 on1'))) | '1 long'",
        "((('1 per' & '1 son'))) | '1 long'",
        "((('1 son'))) | '1 long'",
    ]


@pytest.mark.sqlite
def test_a_hurried_search_does_what_leads_to_few_and_leaves_the_rest(
    people_of_short_names: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_eight_be_many(monkeypatch)
    assert hurried(people_of_short_names, "filter[search]=okafor") == ["Ines Okafor", "ines okafor"]
    for of_many in ("person", "pe", "x", "a+b+c"):
        with pytest.raises(TakesLong):
            hurried(people_of_short_names, f"filter[search]={of_many}")


@pytest.mark.sqlite
def test_a_hurried_search_has_pages_and_the_exact_total(
    people_of_short_names: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_questions, "RARE", (8, 64))
    found = []
    for number in (1, 2, 3):
        page = f"filter[search]=okafor&sort=name&page[size]=1&page[number]={number}"
        read = read_query(RESOURCES["contacts"].type, page.encode())
        asked = resource.PageAsked(RESOURCES["contacts"], read, frozenset({1}), RESOURCES)
        with people_of_short_names.snapshot() as snapshot:
            snapshot.is_hurried = True
            collection = resource.page(snapshot, asked)
        found.append(([each.attributes["name"] for each in collection.records], collection.total))
    assert found == [(["Ines Okafor"], 2), (["ines okafor"], 2), ([], 2)]


@pytest.mark.sqlite
def test_a_hurried_search_knows_that_a_rare_name_has_become_common(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_eight_be_many(monkeypatch)
    create(database, new(1, name="Ines Okafor", email="ines@ex.test"))
    upkeep.finish(database)
    for _ in range(2):
        assert hurried(database, "filter[name_contains]=okafor") == ["Ines Okafor"]
    for at in range(10):
        create(database, new(1, name="Ines Okafor", email=f"{at}@ex.test"))
    upkeep.finish(database)
    with pytest.raises(TakesLong):
        hurried(database, "filter[name_contains]=okafor")


@pytest.mark.sqlite
def test_a_hurried_search_leaves_a_site_with_long_texts_to_the_readers(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_questions, "_counted", {})
    create(database, new(1, name="Ines Okafor", email="ines@ex.test"))
    upkeep.finish(database)
    assert hurried(database, "filter[search]=okafor") == ["Ines Okafor"]
    create(database, new(1, name="x" * 2_000, email="long@ex.test"))
    upkeep.finish(database)
    with pytest.raises(TakesLong):
        hurried(database, "filter[search]=okafor")


@pytest.mark.parametrize("part", ["PERSON1", "@ex.", "1", "n1@", "person12@ex.test", "nobody", "%", "_"])
def test_a_part_of_an_email_finds_exactly_those_that_contain_it(people: Database, part: str) -> None:
    expected = sorted(name for at, name in enumerate(NAMES) if part.lower() in f"person{at}@ex.test")
    assert found_names(people, f"filter[email_contains]={quote(part)}", 1) == expected


def test_a_page_costs_the_same_statements_whatever_its_size(people: Database) -> None:
    for rest in ("", "&include=site", "&filter[search]=person", "&sort=name&filter[email_contains]=ex"):
        # A search counts first which of its four grams is rare, in each of two sites, and remembers that.
        assert page(people, f"page[size]=1{rest}", caller(1, 2))[1] <= (13 if "search" in rest else 4)
        costs = {page(people, f"page[size]={size}{rest}", caller(1, 2))[1] for size in (1, 2, 5, 20, 60)}
        assert len(costs) == 1, (rest, costs)
        # The rows, the number of all, the defined fields, the included sites.
        assert costs.pop() <= 4
    assert page(people, "page[size]=1000&include=site", caller(1, 2))[1] <= 4


def test_a_list_of_an_asker_without_sites_costs_nothing(people: Database) -> None:
    query = resource.PageAsked(RESOURCES["contacts"], read("page[size]=5"), frozenset(), RESOURCES)
    with people.snapshot() as snapshot:
        collection = resource.page(snapshot, query)
        assert (list(collection.records), collection.total, snapshot.statements_run) == ([], 0, 0)


def read(text: str) -> Any:
    from rollbook.jsonapi.query import read_query  # noqa: PLC0415

    return read_query(RESOURCES["contacts"].type, text.encode())


@pytest.mark.parametrize(
    ("seen", "asked", "sites"),
    [
        ((1, 2), "", {1, 2}), ((1, 2), "1", {1}), ((1, 2), "2,1", {1, 2}), ((1,), "2", set()), ((1,), "1,2", {1}),
        ((1, 2), "x", set()), ((1, 2), "01", set()), ((1, 2), "1, 2", {1, 2}), ((1, 2, 3), "3", set()),
    ],
)  # fmt: skip
def test_the_site_filter_never_shows_more_than_the_asker_sees(
    people: Database, seen: tuple[int, ...], asked: str, sites: set[int]
) -> None:
    collection, _ = page(people, f"page[size]=1000&filter[site_id]={asked}", caller(*seen))
    assert {record.linkage["site"] for record in collection.records} == sites
    assert collection.total == len(NAMES) * len(sites)


@pytest.mark.parametrize(
    "query",
    ["", "filter[search]=person", "filter[email]=person3@ex.test", "filter[name_contains]=o", "filter[subscribed]=false",
     "sort=name", "filter[email_contains]=1@ex", "filter[search]=l", "filter[name_contains]=long%20long"],
)  # fmt: skip
def test_no_filter_shows_what_another_site_has(people: Database, query: str) -> None:
    collection, _ = page(people, f"page[size]=1000&{query}", caller(2))
    assert {record.linkage["site"] for record in collection.records} == {2}


@pytest.mark.parametrize("size", [1, 7, 30])
@pytest.mark.parametrize("rest", ["", "&filter[search]=person", "&sort=-name", "&sort=email,-created_at"])
def test_pages_have_everything_once_and_the_exact_total(people: Database, size: int, rest: str) -> None:
    seen: list[int] = []
    total = 2 * len(NAMES)
    for number in range(1, -(-total // size) + 2):
        collection, _ = page(people, f"page[number]={number}&page[size]={size}{rest}", caller(1, 2))
        assert collection.total == total
        seen += [record.id for record in collection.records]
    assert sorted(seen) == sorted({each for (each,) in ask(people, "SELECT id FROM contacts")})


def test_names_are_sorted_without_regard_to_case_and_equals_by_their_ids(database: Database) -> None:
    names = ["beta", "Alpha", "BETA", "alpha", "Ünal", "unal", "Beta"]
    made = create(database, *(new(email=f"a{at}@x.test", name=name) for at, name in enumerate(names)))
    ids = {stored(answer).id: name for answer, name in zip(made, names, strict=True)}
    ascending = [ids[record.id] for record in page(database, "sort=name")[0].records]
    assert ascending == ["Alpha", "alpha", "beta", "BETA", "Beta", "unal", "Ünal"]
    descending = [ids[record.id] for record in page(database, "sort=-name")[0].records]
    assert descending == ["Ünal", "unal", "beta", "BETA", "Beta", "Alpha", "alpha"]


def one(database: Database, which: str, *sites: int) -> Any:
    asked = resource.OneAsked(RESOURCES["contacts"], which, ("site",), frozenset(sites), RESOURCES)
    with database.snapshot() as snapshot:
        return resource.each_one(snapshot, [asked])[0]


def test_where_a_contact_was_found_last_is_a_hint_and_no_more(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    (answer,) = create(database, new(2, email="a@x.test"))
    number = stored(answer).id
    for hint in (1, 2, 3):
        monkeypatch.setattr(resource, "_last_found_in", {(RESOURCES["contacts"], number): hint})
        found = one(database, str(number), 1, 2)
        assert found is not None
        assert found.records == [stored(answer)]
        assert one(database, str(number), 1, 3) is None


def test_one_contact_is_shown_to_who_sees_its_site_and_is_unknown_to_all_others(database: Database) -> None:
    (answer,) = create(database, new(1, email="a@x.test"))
    number = str(stored(answer).id)
    shown = one(database, number, 1, 2)
    assert shown.records == [stored(answer)]
    assert [(each.name, [record.id for record in records]) for each, records in shown.included] == [
        ("sites", [1])
    ]
    assert one(database, number, 2, 3) is None
    assert one(database, number) is None
    for unknown in ("1", "0" + number, number + " ", "", "x", "-1", str(2**53), "٣"):
        assert one(database, unknown, 1) is None


@pytest.mark.parametrize(
    ("query", "found"),
    [("filter[title_cont]=HARB", [1]), ("filter[subdomain_cont]=Reef", [2]), ("filter[title_cont]=%25", []), ("sort=-title", [2, 1])],
)  # fmt: skip
def test_sites_are_found_by_parts_in_any_case(database: Database, query: str, found: list[int]) -> None:
    ask(
        database,
        "UPDATE sites SET title = 'Harbour', title_key = 'harbour', subdomain = 'harbour' WHERE id = 1",
    )
    ask(database, "UPDATE sites SET title = 'Reef', title_key = 'reef', subdomain = 'reef' WHERE id = 2")
    collection, _ = page(database, query, caller(1, 2), of="sites")
    assert [record.id for record in collection.records] == found


def test_the_email_filter_is_exact_whatever_the_case_and_the_spelling_of_the_domain(
    database: Database,
) -> None:
    create(database, new(email="ines+a@exämple.test", name="A"), new(email="ines@exämple.test", name="B"))
    for sent in ("INES@EXÄMPLE.TEST", " ines@xn--exmple-cua.test ", "ines@exa\u0308mple.test"):
        assert found_names(database, f"filter[email]={quote(sent)}", 1) == ["B"], email_text(sent)
    assert found_names(database, "filter[email_eq]=ines+a@ex%C3%A4mple.test", 1) == ["A"]
    assert found_names(database, "filter[email]=ines", 1) == []


@pytest.mark.sqlite
def test_the_index_of_a_burst_has_few_segments(database: Database) -> None:
    create(database, *(new(1, email=f"{at}.person@x.test", name=f"Person {at}") for at in range(2_600)))
    while database.do(upkeep.index_some):
        continue
    assert ask(database, "SELECT count(DISTINCT segid) <= 4 FROM contact_search_idx") == [(1,)]
    assert page(database, "filter[search]=2599.person")[0].total == 1


@pytest.mark.parametrize("sites", [1, 2, plans.MOST_SITE_PLACES])
@pytest.mark.parametrize(
    ("name", "values"), [("search", 3), ("email_contains", 2), ("address_city_contains", 2)]
)
def test_a_search_looks_at_what_its_own_sites_have_not_indexed_alone(
    people: Database, sites: int, name: str, values: int
) -> None:
    shape = plans.Shape(sites, ((name, (values,)),), (("created_at", True),), plans.Plan.SORT)
    sql, _, _ = plans.page_statement(RESOURCES["contacts"], shape).compiled(people.engine.dialect)
    of_backlog = sql.partition("FROM search_backlog")[2].partition(")")[0]
    assert re.search(r"WHERE search_backlog\.site_id (=|IN)", of_backlog), sql
