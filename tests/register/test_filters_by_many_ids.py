"""Proves that filters by ids find what a look at each resource finds, however many ids are asked for."""

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
from register.house import caller, create, new, open_register, page, stored

from rollbook.register import notes, plans, tagging, tags
from rollbook.register.catalogue import RESOURCES
from rollbook.register.resource import Found
from rollbook.register.tagging import Tagging, Verb
from rollbook.storage.database import Database
from rollbook.storage.postgresql import POSTGRESQL
from rollbook.storage.statements import every_statement

# More than have places, and more than are looked up as sets.
TAGS = 70
# As many as fill a head.
MOST = 6_000
# How many of a site's tags a contact has, from the first.
PEOPLE = {"All": TAGS, "Few": 9, "More": TAGS - 1, "Nil": 0, "One": 1}


class World(NamedTuple):
    """Two sites with the same people; the tags, contacts and notes of each site, in the order of their ids."""

    database: Database
    tags: dict[int, list[int]]
    contacts: dict[int, dict[int, set[int]]]
    notes: dict[int, int]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    database = open_register(tmp_path_factory.mktemp("many") / "rollbook.db")
    made = World(database, {}, {}, {})
    for site in (1, 2):
        with database.transaction() as transaction:
            fresh = [tags.NewTag(caller(site), site, f"Tag {at}", ()) for at in range(TAGS)]
            made.tags[site] = [stored(each).id for each in tags.create_many(transaction, fresh)]
        people = [new(site, name=name, email=f"{name}@x.test") for name in PEOPLE]
        ids = [stored(each).id for each in create(database, *people)]
        chosen = {each: made.tags[site][:many] for each, many in zip(ids, PEOPLE.values(), strict=True)}
        made.contacts[site] = {each: set(of_contact) for each, of_contact in chosen.items()}
        with database.transaction() as transaction:
            for each, of_contact in chosen.items():
                whose = Found(caller(site), site, each)
                tagging.write_many(transaction, [Tagging(whose, Verb.ADD, tuple(of_contact))])
            written = [notes.NewNote(caller(site), str(each), "x", ()) for each in ids]
            made.notes.update(
                zip(ids, (stored(each).id for each in notes.create_many(transaction, written)), strict=True)
            )
    yield made
    database.close()


def padded(ids: list[int], many: int) -> list[int]:
    """Return so many ids, of which the others are unknown and larger."""
    return (ids + [ids[-1] + 1_000 + at for at in range(many)])[:many]


def found(world: World, query: str, sites: tuple[int, ...], of: str = "contacts") -> set[int]:
    """Return the ids that a query finds: the same by one page, by small ones, and by cursors."""
    whole, _ = page(world.database, query, caller(*sites), of)
    ids = [each.id for each in whole.records]
    assert whole.total == len(ids)
    by_number, by_cursor = [], []
    for number in range(1, len(ids) + 2):
        part, _ = page(world.database, f"{query}&page[size]=1&page[number]={number}", caller(*sites), of)
        assert part.total == len(ids)
        by_number += [each.id for each in part.records]
    cursor: str | None = ""
    while cursor is not None:
        part, _ = page(world.database, f"{query}&page[size]=1&page[after]={cursor}", caller(*sites), of)
        by_cursor += [each.id for each in part.records]
        cursor = part.cursors[1]
    assert by_number == ids
    assert by_cursor == ids
    return set(ids)


MEANS: dict[str, Callable[[set[int], set[int]], bool]] = {
    "has_tag_id": lambda asked, own: bool(asked & own),
    "has_all_tag_id": lambda asked, own: asked <= own,
    "has_no_tag_id": lambda asked, own: not asked & own,
}


@pytest.mark.parametrize("name", MEANS)
@pytest.mark.parametrize("sites", [(1,), (2,), (1, 2)], ids=str)
@pytest.mark.parametrize("many", [8, 9, 64, 65, TAGS, MOST])
@pytest.mark.parametrize("sort", ["-created_at", "name"])
def test_a_filter_by_any_number_of_tags_finds_whom_a_look_at_each_finds(
    world: World, name: str, sites: tuple[int, ...], many: int, sort: str
) -> None:
    everybody = {id_: own for site in sites for id_, own in world.contacts[site].items()}
    for first in (0, 1, TAGS - 1):
        asked = padded(world.tags[1][first:], many)
        expected = {id_ for id_, own in everybody.items() if MEANS[name](set(asked), own)}
        query = f"sort={sort}&filter[{name}]={','.join(map(str, asked))}"
        assert found(world, query, sites) == expected, first


@pytest.mark.parametrize("name", MEANS)
def test_many_tags_may_be_of_several_sites(world: World, name: str) -> None:
    everybody = world.contacts[1] | world.contacts[2]
    asked = [*world.tags[2], *world.tags[1][:5]]
    expected = {id_ for id_, own in everybody.items() if MEANS[name](set(asked), own)}
    assert found(world, f"filter[{name}]={','.join(map(str, asked))}", (1, 2)) == expected


@pytest.mark.parametrize("name", MEANS)
def test_a_tag_that_is_asked_for_many_times_counts_once(world: World, name: str) -> None:
    asked = [*world.tags[1], *world.tags[1][::-1]]
    query = f"filter[{name}]={','.join(map(str, asked))}"
    assert found(world, query, (1,)) == {
        id_ for id_, own in world.contacts[1].items() if MEANS[name](set(asked), own)
    }


def test_many_tags_narrow_what_another_filter_finds(world: World) -> None:
    asked = ",".join(map(str, world.tags[1]))
    ids = dict(zip(PEOPLE, world.contacts[1], strict=True))
    assert found(world, f"filter[has_tag_id]={asked}&filter[search]=one", (1,)) == {ids["One"]}
    assert found(world, f"filter[has_no_tag_id]={asked}&filter[search]=one", (1,)) == set()
    last = world.tags[1][-1]
    both = f"filter[has_all_tag_id]={','.join(map(str, world.tags[1][:-1]))}&filter[has_no_tag_id]={last}"
    assert found(world, both, (1,)) == {ids["More"]}


def test_a_list_of_tags_that_can_be_read_in_two_ways_means_either(world: World) -> None:
    asked = f"{','.join(map(str, world.tags[1]))}, @"
    tagged = {id_ for id_, own in world.contacts[1].items() if own}
    assert found(world, f"filter[has_tag_id]={asked}", (1,)) == tagged
    # What is no id is a tag that nobody has.
    assert found(world, f"filter[has_all_tag_id]={asked}", (1,)) == set()
    assert found(world, f"filter[has_no_tag_id]={asked}", (1,)) == set(world.contacts[1]) - tagged


@pytest.mark.parametrize("sites", [(1,), (2,), (1, 2)], ids=str)
@pytest.mark.parametrize("many", [8, 9, 100, MOST])
def test_notes_of_any_number_of_contacts_are_found(world: World, sites: tuple[int, ...], many: int) -> None:
    asked = padded([*world.contacts[1], *world.contacts[2]], many)
    expected = {world.notes[id_] for site in sites for id_ in world.contacts[site] if id_ in asked}
    text = ",".join(map(str, [*asked, *asked]))
    assert found(world, f"filter[contact_id]={text}", sites, "contact_notes") == expected


@pytest.mark.parametrize(
    ("of", "name"), [*(("contacts", name) for name in MEANS), ("contact_notes", "contact_id")]
)
def test_all_larger_numbers_of_ids_share_their_statements(world: World, of: str, name: str) -> None:
    def ask(many: int) -> None:
        for rest in ("", "&sort=-created_at&page[number]=2&page[size]=1", "&page[after]="):
            page(
                world.database,
                f"filter[{name}]={','.join(map(str, range(1, many + 1)))}{rest}",
                caller(1),
                of,
            )

    ask(100)
    before = set(every_statement)
    for many in (101, 999, MOST):
        ask(many)
    assert set(every_statement) - before == set()


def test_a_statement_that_is_kept_takes_little_more_memory_than_its_text() -> None:
    filters = tuple((name, (plans.MOST_VALUE_PLACES,)) for name in MEANS)

    def text_of(age: str) -> str:
        shape = plans.Shape(1, filters, ((age, True),), plans.Plan.SORT)
        return plans.page_statement(RESOURCES["contacts"], shape).compiled(POSTGRESQL)[0]

    text_of("created_at")  # What all statements share is made.
    gc.collect()
    tracemalloc.start()
    text = text_of("name")
    gc.collect()
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < 5 * len(text)
