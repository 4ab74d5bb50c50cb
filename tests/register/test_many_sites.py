"""Proves that a list costs no statement more for each site that its asker sees, and finds what each of them has."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest
from register.house import ask, caller, create, new, open_register, page, stored

from rollbook.register import audience, checks, consent, contacts, days, members, sites, tagging, tags, upkeep
from rollbook.register.audience import SECONDS_IN_A_DAY
from rollbook.register.contacts import ContactChange
from rollbook.register.moments import now
from rollbook.register.one_or_many import OneOrMany
from rollbook.register.resource import Found
from rollbook.register.tagging import Tagging, Verb
from rollbook.storage.database import Database
from rollbook.storage.tables import CONTACT_MOMENTS

# More sites than have places of their own in a statement.
SITES = tuple(range(1, 15))
EMPTY = (3, 7)
EACH = 6
# Of each site.
TAGS = 6
HOUR = 3_600

QUESTIONS = (
    "",
    "filter[subscribed]=true",
    "filter[subscribed]=false",
    "filter[never_subscribed]=true",
    "filter[has_tag_id]={first}",
    "filter[has_tag_id]={first},{second}",
    "filter[has_tag_id]={first},{of_other},{unknown}",
    "filter[has_tag_id]={every}",
    "filter[has_all_tag_id]={first},{second}",
    "filter[has_all_tag_id]={first},{of_other}",
    "filter[has_no_tag_id]={first}",
    "filter[has_no_tag_id]={first},{of_other}",
    "filter[has_no_tag_id]={every}",
    "filter[has_tag_id]={first},{of_other}&filter[subscribed]=true",
    "filter[has_no_tag_id]={first},{of_other}&filter[never_subscribed]=false",
    "filter[created_in_last]=1",
    "filter[not_created_in_last]=1",
    "filter[subscribed_in_last]=1",
    "filter[subscribed_in_last]=1&filter[has_tag_id]={first},{of_other}",
    "filter[unsubscribed_in_last]=1",
    "filter[opted_out_in_last]=1",
)


class World(NamedTuple):
    """A register of many sites, with the values of its questions."""

    database: Database
    values: dict[str, str]

    def ids(self, question: str, *seen: int) -> list[int]:
        """Return the ids of whom an asker who sees these sites finds, ascending."""
        whole, _ = page(self.database, f"page[size]=1000&{question.format(**self.values)}", caller(*seen))
        return sorted(each.id for each in whole.records)

    def total(self, question: str, *seen: int) -> int:
        """Return the total that a page says on which not all of them are."""
        return page(self.database, f"page[size]=1&{question.format(**self.values)}", caller(*seen))[0].total


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Sites of which some have nobody; the others have tags, and contacts of every state, made an hour before
    or after the time of a day ago.
    """
    database = open_register(tmp_path_factory.mktemp("sites") / "rollbook.db")
    tag_ids: dict[int, list[int]] = {}
    with database.transaction() as transaction:
        for site in SITES[3:]:
            sites.create(transaction, title=None, subdomain=None, site_id=site)
    for site in SITES:
        with database.transaction() as transaction:
            fresh = [tags.NewTag(caller(site), site, f"Tag {at}", ()) for at in range(TAGS)]
            tag_ids[site] = [stored(each).id for each in tags.create_many(transaction, fresh)]
        if site not in EMPTY:
            _populate(database, site, tag_ids[site])
    _age(database)
    with database.transaction() as transaction:
        days.count_anew(transaction)
    upkeep.finish(database)
    with database.snapshot() as snapshot:
        assert list(checks.faults(snapshot)) == []
    every = [each for of_site in tag_ids.values() for each in of_site]
    values = {
        "first": str(tag_ids[1][0]),
        "second": str(tag_ids[1][1]),
        "of_other": str(tag_ids[2][1]),
        "unknown": str(every[-1] + 1_000),
        "every": ",".join(map(str, every)),
    }
    yield World(database, values)
    database.close()


def _populate(database: Database, site: int, tag_ids: list[int]) -> None:
    """Make contacts with tags, of which each fourth has none; some subscribe twice, some unsubscribe."""
    people = [
        new(site, name=f"P{at}", email=f"p{at}@x.test", subscribed=at % 3 > 0) for at in range(EACH + site)
    ]
    ids = [stored(each).id for each in create(database, *people)]
    with database.transaction() as transaction:
        for at, contact_id in enumerate(ids):
            found = Found(caller(site), site, contact_id)
            chosen = tuple(tag_ids[: at % 4])
            tagging.write_many(transaction, [Tagging(found, Verb.ADD, chosen)])
            by_recipient = consent.Circumstances(consent.RECIPIENT)
            for subscribed in ((), (False,), (False, True))[at % 3]:
                change = ContactChange(found, {"subscribed": subscribed}, None, by_recipient, ())
                contacts.change_many(transaction, [change])


def _age(database: Database) -> None:
    """Move contacts, and what belongs to them, to an hour before or after the time of a day ago, by turns."""
    moments = [f"{each} = CASE WHEN {each} IS NOT NULL THEN ? END" for each in CONTACT_MOMENTS]
    for turn, seconds in enumerate((HOUR, -HOUR)):
        moment = now(-SECONDS_IN_A_DAY + seconds)
        for changed, of in (
            (f"contacts SET {', '.join(moments)}", "id"),
            ("contact_taggings SET contact_created_at = ?", "contact_id"),
            ("consent_events SET occurred_at = ?", "contact_id"),
        ):
            values = [moment] * changed.count("?")
            ask(database, f"UPDATE {changed} WHERE ({of} + site_id) % 2 = {turn}", *values)


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_page_of_many_sites_takes_as_many_statements_as_one_of_two(world: World, question: str) -> None:
    asked = f"page[size]=1&{question.format(**world.values)}"

    def cost(*seen: int) -> int:
        page(world.database, asked, caller(*seen))  # What is remembered is looked up.
        return page(world.database, asked, caller(*seen))[1]

    assert cost(*SITES) == cost(*SITES[:9]) == cost(1, 2) <= 5


@pytest.mark.parametrize("seen", [(1, 2), (1, 3), EMPTY, SITES], ids=str)
@pytest.mark.parametrize("question", QUESTIONS)
def test_many_sites_have_whom_each_of_them_has_alone(
    world: World, question: str, seen: tuple[int, ...]
) -> None:
    expected = sorted(found for site in seen for found in world.ids(question, site))
    assert world.ids(question, *seen) == expected
    assert world.total(question, *seen) == len(expected)
    assert sum(world.total(question, site) for site in seen) == len(expected)


ASKED_OF_SITES = {
    "counts_of_sites": audience.counts_of_sites,
    "count_of_tag": audience.count_of_tag,
    "count_of_tags": audience.count_of_tags,
    "counts_of_tags": audience.counts_of_tags,
    "members_of_tags": members.members_of_tags,
    **{f"count_since {moment}": each for moment, each in days.count_since.items()},
    **{f"ids_since {moment}": each for moment, each in days.ids_since.items()},
}


@pytest.mark.sqlite
@pytest.mark.parametrize("question", ASKED_OF_SITES.values(), ids=list(ASKED_OF_SITES))
def test_what_sites_are_asked_is_found_by_keys_that_begin_with_the_site(
    world: World, question: OneOrMany
) -> None:
    for statement in (question.one, question.many):
        sql, names, _ = statement.compiled(world.database.engine.dialect)
        steps = [row[3] for row in ask(world.database, "EXPLAIN QUERY PLAN " + sql, *("[1]" for _ in names))]
        looks = [step for step in steps if step.startswith(("SEARCH ", "SCAN "))]
        asked = [each for each in looks if "json_each" not in each and "CONSTANT ROW" not in each]
        assert asked
        assert all(each.startswith("SEARCH ") and "(site_id=?" in each for each in asked), asked
