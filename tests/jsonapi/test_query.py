"""Proves what a query string is read as, and that the links made of it lead to what they promise."""

import re
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from jsonapi.worlds import API_URL, BOATS, SAILORS

from rollbook.jsonapi.errors import Refusal, Refused
from rollbook.jsonapi.query import Page, Query, fields_of, read_query

pytestmark = pytest.mark.sqlite

URL = f"{API_URL}/boats"


def read(text: str) -> Query:
    return read_query(BOATS, text.encode())


def test_nothing_asked_is_the_first_page_of_the_default_size_and_order() -> None:
    query = read("")
    assert query.page == Page(1, 7)
    assert query.page.offset == 0
    assert query.sort == (("launched_at", True),)
    assert (query.filters, query.include, query.unknown) == ((), (), ())
    assert fields_of(query, BOATS) is None
    assert query.link(URL) == URL


def test_a_type_without_a_default_order_is_left_to_its_ids() -> None:
    assert read_query(SAILORS, b"").sort == ()
    assert read_query(SAILORS, b"").page == Page(1, 30)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("3", 3), ("007", 7), ("0", 1), ("-1", 1), ("1.5", 1), ("abc", 1), ("", 1), ("1e3", 1), ("%2B2", 1),
        ("+2", 1), ("%D9%A3", 1), ("%EF%BC%92", 1), ("%C2%B2", 1), ("0x10", 1), ("1_0", 1), ("%00", 1),
        ("0" * 30 + "4", 4), ("0" * 30, 1),
    ],
)  # fmt: skip
def test_a_page_number_that_is_none_is_the_first(text: str, number: int) -> None:
    assert read(f"page[number]={text}").page == Page(number, 7)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1), ("50", 50), ("51", 50), ("9" * 400, 50), ("0", 7), ("-5", 7), ("2.0", 7), ("many", 7), ("", 7),
        ("%D9%A3", 7), ("0" * 30 + "4", 4), ("0" * 30, 7),
    ],
)  # fmt: skip
def test_a_page_size_is_capped_and_a_bad_one_is_the_default(text: str, size: int) -> None:
    assert read(f"page[size]={text}").page == Page(1, size)


@given(number=st.integers(min_value=1))
def test_any_page_number_gives_an_offset_that_a_database_can_hold(number: int) -> None:
    query = read(f"page[number]={number}&page[size]=50")
    assert 0 <= query.page.offset < 2**63
    assert query.page.number == number or number > 2**39


def test_of_a_repeated_parameter_the_last_counts() -> None:
    query = read("page[size]=3&sort=name&filter[kind]=sloop&page[size]=5&sort=-length&filter[kind]=yawl")
    assert query.page.size == 5
    assert query.sort == (("length", True),)
    assert query.filters == (("kind", ("yawl",)),)


def test_a_later_empty_filter_takes_an_earlier_one_back() -> None:
    assert read("filter[kind]=sloop&filter[kind]=").filters == ()


@pytest.mark.parametrize("text", ["filter[kind]=a b", "filter%5Bkind%5D=a%20b", "filter%5bkind%5d=a+b"])
def test_brackets_and_blanks_may_be_raw_or_encoded(text: str) -> None:
    assert read(text).filters == (("kind", ("a b",)),)


@pytest.mark.parametrize("text", ["=true&page[number]=2", "&=true&&page[number]=2&", "&&&page[number]=2&="])
def test_empty_names_and_doubled_separators_are_skipped(text: str) -> None:
    query = read(text)
    assert (query.page.number, query.unknown) == (2, ())
    assert query.link(URL) == f"{URL}?page[number]=2"


def test_an_array_is_a_comma_list() -> None:
    assert read("filter[kind][]=sloop&filter[kind][]=yawl").filters == (("kind", ("sloop,yawl",)),)


@pytest.mark.parametrize(
    ("sent", "alternatives"),
    [
        ("ines+mail@example.test", ("ines mail@example.test", "ines+mail@example.test")),
        ("ines%2Bmail@example.test", ("ines+mail@example.test",)),
        ("ines%20mail@example.test", ("ines mail@example.test", "ines+mail@example.test")),
        ("no+sign", ("no sign",)),
        ("ines@example.test", ("ines@example.test",)),
    ],
)
def test_a_blank_in_what_looks_like_an_email_is_also_tried_as_a_plus(
    sent: str, alternatives: tuple[str, ...]
) -> None:
    assert read(f"filter[email]={sent}").filters == (("email", alternatives),)


@pytest.mark.parametrize(
    "text",
    [
        "limit=3",
        "per_page=3",
        "page=2",
        "filter[colour]=red",
        "filter[kind=sloop",
        "filter=red",
        "fields[boats=name",
        "fields=name",
        "page[limit]=3",
        "x",
    ],
)
def test_what_means_nothing_is_named_and_changes_nothing(text: str) -> None:
    query = read(text)
    assert query.unknown == (text.partition("=")[0],)
    assert (query.page, query.filters, query.include) == (Page(1, 7), (), ())


@pytest.mark.parametrize(
    ("text", "sort"),
    [
        ("name", (("name", False),)),
        ("-name,length", (("name", True), ("length", False))),
        ("length,-name,-length", (("length", False), ("name", True))),
        ("colour,name", (("name", False),)),
        ("colour", (("launched_at", True),)),
        ("", (("launched_at", True),)),
        ("--name", (("launched_at", True),)),
        ("NAME", (("launched_at", True),)),
    ],
)
def test_sorts_are_read_in_order_and_unknown_ones_ignored(
    text: str, sort: tuple[tuple[str, bool], ...]
) -> None:
    assert read(f"sort={text}").sort == sort


def test_each_include_is_read_once() -> None:
    assert read("include=owner,crew,owner").include == ("owner", "crew")
    assert read("include=").include == ()


@pytest.mark.parametrize("name", ["harbour", "anchor", "Owner", "owner.boats"])
def test_an_include_that_is_not_offered_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(Refused) as refused:
        read(f"include=owner,{name}")
    (problem,) = refused.value.problems
    assert (problem.refusal, problem.name) == (Refusal.INCLUDE_UNKNOWN, name)


def test_fields_are_asked_for_by_type_or_by_its_singular() -> None:
    query = read("fields[boats]=name,insured&fields[sailor]=rank")
    assert fields_of(query, BOATS) == frozenset({"name", "insured"})
    assert fields_of(query, SAILORS) == frozenset({"rank"})
    both = read("fields[boat]=name&fields[boats]=insured")
    assert fields_of(both, BOATS) == frozenset({"insured"})
    assert fields_of(read("fields[boats]="), BOATS) == frozenset({""})


def test_a_link_keeps_all_but_the_page_and_leaves_brackets_literal() -> None:
    query = read("filter%5Bemail%5D=a%2Bb%40c.test&page%5Bnumber%5D=2&x=1+2&page[size]=5&fields[boats]=name")
    assert query.link(URL, 3) == (
        f"{URL}?filter[email]=a%2Bb%40c.test&x=1%202&page[size]=5&fields[boats]=name&page[number]=3"
    )
    assert query.link(URL) == (
        f"{URL}?filter[email]=a%2Bb%40c.test&page[number]=2&x=1%202&page[size]=5&fields[boats]=name"
    )


NAMES = st.sampled_from(
    ["filter[name_has]", "filter[email]", "filter[kind]", "filter[kind][]", "fields[boats]", "fields[sailor]",
     "sort", "page[size]", "page[number]", "page[number][]", "x", "filter[colour]", "größe", "a b", "+", "a=b&c", "%41"]
)  # fmt: skip
VALUES = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.sampled_from(["3", "-name,length", "a+b@c.test", "100%", "%zz", "a&b=c#d", "50", "name,insured"]),
)


@st.composite
def query_strings(draw: st.DrawFn) -> bytes:
    """Query strings as any client could write them: each name and value encoded in one of several ways."""
    parts = []
    for name, value in draw(st.lists(st.tuples(NAMES, VALUES), max_size=8)):
        name_encoder = draw(st.sampled_from([quote, quote_plus]))
        value_encoder = draw(st.sampled_from([quote, quote_plus]))
        name_safe, value_safe = (
            draw(st.sampled_from(["", "[]"])),
            draw(st.sampled_from(["", "[]@,:/?$'()*!;"])),
        )
        parts.append(f"{name_encoder(name, safe=name_safe)}={value_encoder(value, safe=value_safe)}")
    return "&".join(parts).encode()


def meaning(query: Query) -> tuple[object, ...]:
    """Return all that a query asks, but for the number of the page."""
    return query.page.size, query.sort, query.filters, dict(query.fields), query.include, query.unknown


@given(sent=query_strings(), page=st.integers(1, 10_000))
def test_whoever_follows_a_link_asks_the_same_of_another_page(sent: bytes, page: int) -> None:
    asked = read_query(BOATS, sent)
    url, _, query_string = asked.link(URL, page).partition("?")
    followed = read_query(BOATS, query_string.encode("ascii"))
    assert url == URL
    assert followed.page.number == page
    assert meaning(followed) == meaning(asked)
    assert followed.link(URL, page) == asked.link(URL, page)


@given(sent=query_strings())
def test_the_link_to_itself_asks_the_same_and_is_a_url_with_literal_brackets(sent: bytes) -> None:
    asked = read_query(BOATS, sent)
    link = asked.link(URL)
    own = read_query(BOATS, link.removeprefix(URL).removeprefix("?").encode("ascii"))
    assert (own.page, meaning(own)) == (asked.page, meaning(asked))
    assert re.fullmatch(r"(?:[A-Za-z0-9._~!$'()*,;:@/?&=\[\]-]|%[0-9A-Fa-f]{2})*", link.removeprefix(URL))
    assert "%5B" not in link.upper().partition("?")[2].partition("=")[0]


@given(sent=st.binary(max_size=60))
def test_any_bytes_are_read(sent: bytes) -> None:
    assume(b"include" not in sent)
    query = read_query(BOATS, sent)
    assert 1 <= query.page.size <= 50
    assert query.page.number >= 1
    query.link(URL, 2).encode("ascii")
