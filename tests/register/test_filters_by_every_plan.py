"""Proves that filters by tags, consent and age find what a plain scan finds, in order, by each plan there is."""

import itertools
from collections.abc import Callable, Iterator

import pytest
from register.house import ask, caller, create, new, open_register, page, stored

from rollbook.jsonapi.resource import Record
from rollbook.register import (
    audience,
    checks,
    consent,
    contacts,
    days,
    known_audience,
    members,
    resource,
    tagging,
    tags,
    upkeep,
)
from rollbook.register.contacts import ContactChange
from rollbook.register.resource import Found
from rollbook.register.tagging import Tagging, Verb
from rollbook.storage.database import Database
from rollbook.storage.statements import Statement

MANY = 180
SIZE = 7
SITES = (1, 2)
# More than have places of their own in a statement; nobody is there.
EMPTY = tuple(range(101, 111))
# The tags of the contact with a number, in the order of their ids: common ones, a rare one, one of nobody.
RULES: tuple[Callable[[int], bool], ...] = (
    lambda number: number % 2 == 0,
    lambda number: number % 3 == 0,
    lambda number: number % 50 == 1,
    lambda number: number != 4,
    lambda _: False,
)
NEVER, SUBSCRIBED, UNSUBSCRIBED = range(3)


def state(number: int) -> int:
    return (NEVER, SUBSCRIBED, UNSUBSCRIBED)[number % 5 % 3]


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Database, list[Record], dict[int, int]]]:
    """Two sites of contacts with tags, made a day apart; and the number of each contact by its id."""
    database = open_register(tmp_path_factory.mktemp("plans") / "rollbook.db")
    numbers: dict[int, int] = {}
    for site in SITES:
        with database.transaction() as transaction:
            fresh = [tags.NewTag(caller(site), site, f"Tag {at}", ()) for at in range(len(RULES))]
            tag_ids = [stored(each).id for each in tags.create_many(transaction, fresh)]
        people = [
            new(
                site,
                name=f"{'cab'[number % 3]}{number}",
                email=f"p{number}@x.test",
                subscribed=state(number) > NEVER,
            )
            for number in range(MANY)
        ]
        ids = [stored(each).id for each in create(database, *people)]
        numbers |= dict(zip(ids, range(MANY), strict=True))
        with database.transaction() as transaction:
            for number, contact_id in enumerate(ids):
                found = Found(caller(site), site, contact_id)
                chosen = tuple(tag for tag, rule in zip(tag_ids, RULES, strict=True) if rule(number))
                tagging.write_many(transaction, [Tagging(found, Verb.ADD, chosen)])
                if state(number) == UNSUBSCRIBED:
                    unsaid = ContactChange(found, {"subscribed": False}, None, consent.UNSAID, ())
                    contacts.change_many(transaction, [unsaid])
    for contact_id, number in numbers.items():
        made = f"2026-0{1 + number % 9}-{1 + number % 28:02}T10:00:00.{number:03}Z"
        ask(database, "UPDATE contacts SET created_at = ? WHERE id = ?", made, contact_id)
        ask(
            database,
            "UPDATE contact_taggings SET contact_created_at = ? WHERE contact_id = ?",
            made,
            contact_id,
        )
    with database.transaction() as transaction:
        days.count_anew(transaction)
    upkeep.finish(database)
    with database.snapshot() as snapshot:
        assert list(checks.faults(snapshot)) == []
    collection, _ = page(database, "page[size]=1000", caller(*SITES))
    yield database, list(collection.records), numbers
    database.close()


def tags_of(record: Record) -> set[int]:
    linked = record.linkage["tags"]
    assert isinstance(linked, tuple)
    return set(linked)


def scan(text: str, record: Record, number: int, tag_ids: list[int]) -> bool:
    """Say whether filters, in which A to E stand for the tags, mean the contact with a number."""
    for part in text.split("&"):
        name, _, value = part.partition("=")
        named = {tag_ids["ABCDE".index(each)] for each in value.split(",")} if "tag" in name else set()
        passes = {
            "has_tag_id": bool(named & tags_of(record)),
            "has_all_tag_id": named <= tags_of(record),
            "has_no_tag_id": not named & tags_of(record),
            "subscribed": (state(number) == SUBSCRIBED) == (value == "true"),
            "never_subscribed": (state(number) == NEVER) == (value == "true"),
            "unsubscribed_in_last": state(number) == UNSUBSCRIBED,
            "search": value in str(record.attributes["name"]) or value in str(record.attributes["email"]),
        }[name]
        if not passes:
            return False
    return True


ASKED = (
    *("has_tag_id=A", "has_tag_id=A,B", "has_tag_id=C,D", "has_tag_id=E,C", "has_tag_id=A,B,C,D,E"),
    *(
        "has_all_tag_id=A",
        "has_all_tag_id=A,B",
        "has_all_tag_id=D,C",
        "has_all_tag_id=A,E",
        "has_all_tag_id=A,B,D",
    ),
    *("has_no_tag_id=A", "has_no_tag_id=A,B", "has_no_tag_id=D", "has_no_tag_id=D,E"),
    *(
        "has_tag_id=A&subscribed=true",
        "has_tag_id=A,B&subscribed=false",
        "has_no_tag_id=B&never_subscribed=true",
    ),
    *(
        "has_all_tag_id=A,D&has_no_tag_id=B",
        "has_tag_id=C&has_all_tag_id=D",
        "subscribed=true&never_subscribed=true",
    ),
    *("unsubscribed_in_last=1", "unsubscribed_in_last=1&has_tag_id=A", "unsubscribed_in_last=1&search=p1"),
    *("search=p1&has_tag_id=A,B", "search=p&has_all_tag_id=A,B"),
)


@pytest.mark.parametrize(
    ("sites", "empty"),
    [((1,), ()), (SITES, ()), (SITES, EMPTY)],
    ids=["one site", "two sites", "many sites"],
)
@pytest.mark.parametrize(
    "limits",
    [{}, {"FEW_TAGGED": -1}, {"FEW_TAGGED": -1, "MOST_IDS": -1}],
    ids=["few are looked up", "few are known by sets", "all are many"],
)
@pytest.mark.parametrize("sort", ["-created_at", "created_at", "name", "-email"])
def test_every_page_is_that_of_a_scan(
    world: tuple[Database, list[Record], dict[int, int]],
    monkeypatch: pytest.MonkeyPatch,
    sites: tuple[int, ...],
    empty: tuple[int, ...],
    limits: dict[str, int],
    sort: str,
) -> None:
    database, people, numbers = world
    who = caller(*sites, *empty)
    monkeypatch.setattr(resource, "FAR", 3)
    for name, limit in limits.items():
        monkeypatch.setattr(known_audience, name, limit)
    attribute = sort.removeprefix("-")
    for text in ASKED:
        expected = []
        for site in sites:
            own = [each for each in people if each.linkage["site"] == site]
            tag_ids = sorted({tag for each in own for tag in tags_of(each)})
            tag_ids.append(tag_ids[-1] + 1)  # the one of nobody was made last
            expected += [each for each in own if scan(text, each, numbers[each.id], tag_ids)]
            if len(sites) > 1 and "tag" in text:
                # The tags of the other site find nobody in this one, and leave nobody out.
                break
        if len(sites) > 1 and "tag" in text and "has_no_tag" in text:
            continue
        expected.sort(key=lambda each: each.id)
        expected.sort(key=lambda each: str(each.attributes[attribute]), reverse=sort.startswith("-"))
        wanted = [each.id for each in expected]
        named = text
        for letter, tag in zip("ABCDE", tag_ids, strict=True):
            named = "&".join(
                f"{name}={value.replace(letter, str(tag))}" if "tag" in name else f"{name}={value}"
                for name, _, value in (part.partition("=") for part in named.split("&"))
            )
        query = "".join(f"&filter[{part.replace('=', ']=', 1)}" for part in named.split("&"))
        found = []
        for number in itertools.count(1):
            got, _ = page(database, f"sort={sort}&page[size]={SIZE}&page[number]={number}{query}", who)
            assert got.total == len(wanted), (text, number)
            found += [each.id for each in got.records]
            if number * SIZE > len(wanted):
                break
        assert found == wanted, text
        found, cursor = [], ""
        while True:
            got, _ = page(database, f"sort={sort}&page[size]={SIZE}&page[after]={cursor}{query}", who)
            found += [each.id for each in got.records]
            if not got.cursors or got.cursors[1] is None:
                break
            cursor = got.cursors[1]
        assert found == wanted, ("by cursor", text)


@pytest.mark.parametrize(
    "query", ["filter[has_tag_id]=A,B", "filter[has_all_tag_id]=A,B", "filter[has_tag_id]=A&sort=name"]
)
def test_no_set_is_read_for_tags_that_few_have(
    world: tuple[Database, list[Record], dict[int, int]], monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    database, people, _ = world
    own = [each for each in people if each.linkage["site"] == 1]
    for letter, tag in zip("AB", sorted({tag for each in own for tag in tags_of(each)}), strict=False):
        query = query.replace(letter, str(tag))
    expected = page(database, query)[0].total

    def unread(*_: object) -> None:
        raise AssertionError("a set was read")

    monkeypatch.setattr(members, "of_tags", unread)
    # Where the sort has to know the ids of few, sets are what tells them.
    monkeypatch.setattr(known_audience, "MOST_IDS", 0)
    assert page(database, query)[0].total == expected > 0


@pytest.mark.sqlite
@pytest.mark.parametrize(
    "counted", [known_audience.count_beyond, audience.count_of_tags.one, audience.count_of_tags.many]
)
def test_the_contacts_of_tags_are_counted_by_the_index_of_tags(
    world: tuple[Database, list[Record], dict[int, int]], counted: Statement
) -> None:
    database, _, _ = world
    sql, names, _ = counted.compiled(database.engine.dialect)
    plan = ask(database, "EXPLAIN QUERY PLAN " + sql, *("[1]" for _ in names))
    assert any("INDEX contact_taggings_by_tag (site_id=? AND tag_id=?)" in step[3] for step in plan), plan


def test_a_set_is_the_same_as_a_list_and_as_bits() -> None:
    for many in (0, 1, members.FEW, members.FEW + 1, 4_000):
        ids = sorted({(each * 7_919) % members.BLOCK for each in range(many)})
        bits = sum(1 << each for each in ids)
        assert members._unpacked(members._packed(bits)) == bits
        assert list(members.ids({(0, 2): bits})) == [2 * members.BLOCK + each for each in ids]
