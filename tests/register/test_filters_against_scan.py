"""Proves that every filter by a part of a text, and `search`, finds exactly what a plain scan of all texts finds."""

from urllib.parse import quote

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from register.house import caller, create, new, open_register, page, stored

from rollbook.jsonapi.resource import Record
from rollbook.register import sites, upkeep
from rollbook.register.text import text_key
from rollbook.storage.database import Database

# Letters of many scripts, and what is likely to trip an index: marks, astral letters, ligatures, letters whose
# cases differ in length, blanks of every kind, and the signs of query languages.
LETTERS = st.sampled_from(
    "aAbBeEoOzZ019 \t\u00a0\u3000ßẞſıIİi\u0307\u0301éÉñÑøåÅÅΣσςΆάέКкЖжйЁאבשעمحدعلينेहाश한지ᄒ田中花東京あアｱゔ㍿ﬁﬀ①Ⅷ²𝔸𐐀𐐨😀👍🏽"
    "\u200d\u200b\x1f\x1e\x00\"'*^:-+%_\\.,@()|&"
) | st.characters(exclude_categories=["Cs"])
NEEDLES = st.text(LETTERS, min_size=1, max_size=6)
TEXTS = st.text(LETTERS.filter(lambda letter: letter != "\0"), min_size=1, max_size=14)
# Longer than what is cut into grams.
LONG = st.builds(lambda text, tail: text * 200 + tail, TEXTS, TEXTS)
FIELDS = (
    "phone_number",
    "address_line_1",
    "address_line_2",
    "address_city",
    "address_state",
    "address_country",
    "address_zip",
)


@pytest.fixture(scope="module")
def register(tmp_path_factory: pytest.TempPathFactory) -> Database:
    """A register in which each example makes a site of its own, so that the others are in the way."""
    return open_register(tmp_path_factory.mktemp("register") / "rollbook.db")


def local_part(text: str) -> str:
    return "".join(each for each in text if not each.isspace() and each != "@")


def new_site(database: Database) -> int:
    with database.transaction() as transaction:
        return sites.create(transaction, title=None, subdomain=None, site_id=None).id


def store(database: Database, site_id: int, names: list[str], texts: list[str]) -> list[Record]:
    """Store contacts of which each has one of the texts in each field, a different one in each."""
    people = [
        new(
            site_id,
            name=name,
            email=f"{number}{local_part(texts[number % len(texts)])[:20]}@x.test",
            who=None,
            **{field: texts[(number + at) % len(texts)] for at, field in enumerate(FIELDS)},
        )
        for number, name in enumerate(names)
    ]
    return [stored(each) for each in create(database, *(each for each in people if not each.problems))]


def found(database: Database, site_id: int, name: str, needle: str) -> set[int]:
    """Return the ids of the contacts that a filter finds."""
    collection, _ = page(database, f"filter[{name}]={quote(needle)}&page[size]=1000", caller(site_id))
    assert collection.total == len(collection.records)
    return {each.id for each in collection.records}


def scan(people: list[Record], name: str, needle: str) -> set[int]:
    """Return the ids of the contacts whose text has the needle, by looking at each."""
    if name == "search":
        return {
            each.id
            for each in people
            if all(
                text_key(word) in text_key(each.attributes["name"])
                or word.lower() in each.attributes["email"]
                for word in needle.split()
            )
        }
    field = name.removesuffix("_contains")
    if field == "email":
        return {each.id for each in people if needle.lower() in each.attributes["email"]}
    return {each.id for each in people if text_key(needle) in text_key(each.attributes[field] or "")}


@pytest.mark.parametrize("indexed", [True, False], ids=["in the index", "in the backlog"])
@settings(max_examples=60, deadline=None, print_blob=True)
@given(
    names=st.lists(TEXTS | LONG, min_size=1, max_size=5),
    texts=st.lists(TEXTS | LONG, min_size=1, max_size=4),
    needle=NEEDLES,
    part=st.tuples(st.integers(0, 8), st.integers(0, 12), st.integers(1, 6)),
)
@example(names=["ΣΊΣΥΦΟΣ"], texts=["Straße", "STRASSE", "İstanbul", "ﬁn"], needle="ς", part=(2, 0, 3))
@example(names=["e\u0301cole", "école"], texts=["\u1112\u1161\u11ab", "한"], needle="\u1161", part=(0, 0, 1))
@example(names=['a"b', "a*", "a b"], texts=['"', "*", "^a"], needle='"', part=(1, 1, 1))
@example(names=["a\x1fb"], texts=["\x1f", "a\x1f"], needle="\x1f", part=(0, 0, 3))
def test_every_filter_by_a_part_of_a_text_finds_what_a_plain_scan_finds(
    register: Database,
    indexed: bool,
    names: list[str],
    texts: list[str],
    needle: str,
    part: tuple[int, int, int],
) -> None:
    site_id = new_site(register)
    people = store(register, site_id, names, texts)
    assume(people)
    if indexed:
        upkeep.finish(register)
    every = [*names, *texts]
    whole = every[part[0] % len(every)]
    for sought in {needle, whole[part[1] : part[1] + part[2]] or needle, whole[-2:], whole[:1]}:
        # Both in one text mean a plus for the blank too, which has its own tests.
        if not ("@" in sought and " " in sought):
            for name in (
                "search",
                "name_contains",
                "email_contains",
                *(f"{field}_contains" for field in FIELDS),
            ):
                assert found(register, site_id, name, sought) == scan(people, name, sought), (name, sought)


@settings(max_examples=40, deadline=None, print_blob=True)
@given(
    names=st.lists(TEXTS, min_size=1, max_size=6, unique=True),
    words=st.lists(NEEDLES, min_size=2, max_size=12),
)
def test_a_search_for_many_words_finds_what_a_plain_scan_finds(
    register: Database, names: list[str], words: list[str]
) -> None:
    site_id = new_site(register)
    people = store(register, site_id, names, names)
    upkeep.finish(register)
    for sought in ("\n".join(words), "\n".join(names[0]), f"{names[0]}\n{names[-1][:2]}\nx.test"):
        if not ("@" in sought and " " in sought) and "\0" not in sought:
            assert found(register, site_id, "search", sought) == scan(people, "search", sought), sought
