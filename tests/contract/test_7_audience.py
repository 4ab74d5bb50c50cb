"""Proves contract 7.2 for tags, age and consent: who is found when, alone, and in every pair of filters."""

import itertools
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from contract.answers import change, delete, identifiers, key_for, new_contact, new_tag, patch
from contract.finding import found

from databases import beside, url_of
from rollbook.register import checks, consent, days
from rollbook.register.moments import now
from rollbook.storage.opening import open_database
from support import Client, SiteWorld, start_server

DAY = 86_400
ADMINISTRATOR, RECIPIENT = "administrator", "recipient"


@dataclass(frozen=True)
class Person:
    """A contact of the test site.

    `age` is in days; `ledger` has the moments, in days ago, of the changes of `subscribed`: by turns who
    subscribed, and who unsubscribed for which cause.
    """

    age: float
    tags: str = ""
    ledger: tuple[tuple[float, str], ...] = ()


# The moments stand well off whole days, so that neither the clock nor a leap of it decides.
PEOPLE = {
    "new": Person(0.1),
    "week": Person(6.9, "A", ((0.5, ADMINISTRATOR),)),
    "eight": Person(8.1, "AB", ((8.1, RECIPIENT),)),
    "month": Person(29.9, "ABC", ((29.9, RECIPIENT), (5.1, RECIPIENT))),
    "old": Person(100.1, "B", ((100.1, ADMINISTRATOR), (49.9, ADMINISTRATOR))),
    "older": Person(364.9, "C", ((100.1, ADMINISTRATOR), (5.1, ADMINISTRATOR))),
    "back": Person(399.9, "BC", ((299.9, RECIPIENT), (19.9, RECIPIENT), (1.9, ADMINISTRATOR))),
    "gone": Person(400.1, "D", ((399.9, ADMINISTRATOR), (199.9, RECIPIENT))),
    "silent": Person(1500.1),
}
EVERYBODY = set(PEOPLE)
OTHERS = {"other new": 0.1, "other old": 500.1}


@dataclass(frozen=True)
class World:
    """The people of a site, and two more of another one that has a tag of its own."""

    client: Client
    other: Client
    both: Client
    tags: dict[str, str]

    def filters(self, text: str) -> dict[str, str]:
        """Return the filters of a short text, with ids for the letters of tags."""
        pairs = (each.split("=", 1) for each in text.split("&"))
        return {
            name: "".join(self.tags.get(letter, letter) for letter in value)
            if name.endswith("tag_id")
            else value
            for name, value in pairs
        }

    def found(self, text: str) -> set[str]:
        """Return whom filters find: the same by a key of the site, and by one of two sites beside others."""
        filters = self.filters(text)
        here = found(self.client, **filters)
        assert found(self.both, **filters) == here | found(self.other, **filters)
        return here


def write(site: SiteWorld, name: str, person: Person, tags: dict[str, str]) -> str:
    """Create a contact with its tags and its ledger; return its id."""
    contact: str = new_contact(site, f"{name.replace(' ', '')}@x.test", name=name)["id"]
    path = f"/v1/contacts/{contact}"
    if person.tags:
        linked = identifiers(*(tags[tag] for tag in person.tags))
        assert site.client.post(f"{path}/relationships/tags", linked).status == 200
    for at, (_, cause) in enumerate(person.ledger):
        document = change("contacts", contact, subscribed=at % 2 == 0) | {
            "meta": {"consent": {"cause": cause}}
        }
        assert patch(site.client, path, document).status == 200
    return contact


def age(path: Path, people: dict[str, Person], ids: dict[str, str]) -> None:
    """Move the moments of contacts and of their ledgers back, in the database of a server that is not running."""
    with beside(url_of(path)) as connection:
        for name, person in people.items():
            contact, created = int(ids[name]), now(-person.age * DAY)
            connection.rows("UPDATE contacts SET created_at = ? WHERE id = ?", created, contact)
            sql = "UPDATE contact_taggings SET contact_created_at = ? WHERE contact_id = ?"
            connection.rows(sql, created, contact)
            events = connection.column(
                "SELECT id FROM consent_events WHERE contact_id = ? ORDER BY id", contact
            )
            for event, (ago, _) in zip(events, person.ledger, strict=True):
                sql = "UPDATE consent_events SET occurred_at = ? WHERE id = ?"
                connection.rows(sql, now(-ago * DAY), event)
        moved = connection.rows("SELECT site_id, id FROM contacts")
    with closing(open_database(url_of(path))) as database:
        with database.transaction() as transaction:
            for site_id, contact in moved:
                consent.follow(transaction, site_id, contact)
            days.count_anew(transaction)
        with database.snapshot() as snapshot:
            assert list(checks.faults(snapshot)) == []


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The people, as old as they shall be, on a server of their own; the tests only read."""
    path = tmp_path_factory.mktemp("audience") / "rollbook.db"
    first = start_server(path)
    site, other = first.new_site(), first.new_site()
    tags = {letter: new_tag(site, f"Tag {letter}")["id"] for letter in "ABCDE"}
    tags["O"] = new_tag(other, "Tag A")["id"]
    ids = {name: write(site, name, person, tags) for name, person in PEOPLE.items()}
    others = {name: Person(days, "O", ((days, ADMINISTRATOR),)) for name, days in OTHERS.items()}
    ids |= {name: write(other, name, person, tags) for name, person in others.items()}
    both = key_for(first, site, other)
    assert first.stop() == 0
    age(path, PEOPLE | others, ids)
    running = start_server(path)
    yield World(running.client(site.token), running.client(other.token), running.client(both.token), tags)
    assert running.stop() == 0


# In each line a filter, and the words for those whom it finds; `-` stands before those whom it does not find.
EXAMPLES = """
    created_in_last=1            new
    created_in_last=7            new week
    created_in_last=8            new week
    created_in_last=9            new week eight
    created_in_last=30           new week eight month
    created_in_last=365          new week eight month old older
    created_in_last=0365         new week eight month old older
    created_in_last=400          - gone silent
    created_in_last=1501         -
    created_in_last=1000000      -
    created_in_last=99999999999999999999 -
    created_in_last=0
    not_created_in_last=0        -
    not_created_in_last=1        - new
    not_created_in_last=7        - new week
    not_created_in_last=400      gone silent
    not_created_in_last=1501
    not_created_in_last=1000000
    not_created_in_last=99999999999999999999
    has_tag_id=A                 week eight month
    has_tag_id=D                 gone
    has_tag_id=E
    has_tag_id=A,D               week eight month gone
    has_tag_id=A,B,C,D           - new silent
    has_tag_id=A,A               week eight month
    has_tag_id= A , D            week eight month gone
    has_tag_id=D,7               gone
    has_tag_id=7
    has_tag_id=O
    has_tag_id=O,D               gone
    has_all_tag_id=A             week eight month
    has_all_tag_id=E
    has_all_tag_id=A,B           eight month
    has_all_tag_id=B,A           eight month
    has_all_tag_id= C,B , A      month
    has_all_tag_id=B,C           month back
    has_all_tag_id=A,A           week eight month
    has_all_tag_id=A,D
    has_all_tag_id=A,7
    has_all_tag_id=A,O
    has_no_tag_id=A              - week eight month
    has_no_tag_id=E              -
    has_no_tag_id=7              -
    has_no_tag_id=O              -
    has_no_tag_id=A,D            - week eight month gone
    has_no_tag_id=A,B,C          new gone silent
    has_no_tag_id=A,B,C,D        new silent
    has_no_tag_id=D,7            - gone
    subscribed=true              week eight back
    subscribed=1                 week eight back
    subscribed=false             - week eight back
    subscribed=0                 - week eight back
    never_subscribed=true        new silent
    never_subscribed=1           new silent
    never_subscribed=false       - new silent
    never_subscribed=0           - new silent
    subscribed_in_last=0
    subscribed_in_last=1         week
    subscribed_in_last=2         week back
    subscribed_in_last=9         week eight back
    subscribed_in_last=30        week eight month back
    subscribed_in_last=101       week eight month back old older
    subscribed_in_last=1000000   - new silent
    unsubscribed_in_last=0
    unsubscribed_in_last=5
    unsubscribed_in_last=6       month older
    unsubscribed_in_last=20      month older back
    unsubscribed_in_last=50      month older back old
    unsubscribed_in_last=200     month older back old gone
    manually_unsubscribed_in_last=5
    manually_unsubscribed_in_last=6   older
    manually_unsubscribed_in_last=49  older
    manually_unsubscribed_in_last=50  older old
    manually_unsubscribed_in_last=1000  older old
    opted_out_in_last=5
    opted_out_in_last=6          month
    opted_out_in_last=20         month back
    opted_out_in_last=199        month back
    opted_out_in_last=200        month back gone
    is_hidden=true
    is_hidden=false              -
"""


def whom(words: str) -> set[str]:
    """Return the names of a line of the examples."""
    return EVERYBODY - set(words[1:].split()) if words.startswith("-") else set(words.split())


def examples() -> Iterator[tuple[str, set[str]]]:
    for line in EXAMPLES.strip().splitlines():
        # Blanks in a list of tags stand before a comma or a letter; two blanks end the filter.
        filters, _, words = line.strip().partition("  ")
        if not words and " -" in filters:
            filters, _, words = filters.partition(" ")
        yield filters, whom(words.strip())


ALL = dict(examples())


@pytest.mark.parametrize(("filters", "expected"), ALL.items(), ids=list(ALL))
def test_whom_a_filter_finds(world: World, filters: str, expected: set[str]) -> None:
    assert world.found(filters) == expected


# One example of each kind, so that every pair of them is tried.
COMBINED = (
    "created_in_last=30",
    "not_created_in_last=7",
    "has_tag_id=A",
    "has_tag_id=A,D",
    "has_all_tag_id=B,C",
    "has_no_tag_id=A",
    "has_no_tag_id=A,D",
    "subscribed=true",
    "subscribed=false",
    "never_subscribed=false",
    "subscribed_in_last=30",
    "unsubscribed_in_last=50",
    "manually_unsubscribed_in_last=50",
    "opted_out_in_last=20",
    "is_hidden=false",
)
BY_TEXT = {
    "search=old": {"old", "older"},
    "name_contains=e": {"new", "week", "eight", "older", "gone", "silent"},
    "email_contains=k@": {"week", "back"},
    "email=back@x.test": {"back"},
    "email_eq=none@x.test": set(),
}


@pytest.mark.parametrize("first", COMBINED)
def test_two_filters_find_those_whom_each_finds(world: World, first: str) -> None:
    everything = {each: ALL[each] for each in COMBINED} | BY_TEXT
    for second, expected in everything.items():
        if second.partition("=")[0] != first.partition("=")[0]:
            assert world.found(f"{first}&{second}") == ALL[first] & expected, second


def test_many_filters_find_those_whom_each_finds(world: World) -> None:
    everything = {each: ALL[each] for each in COMBINED} | BY_TEXT
    for chosen in itertools.combinations(everything, 5):
        names = {each.partition("=")[0] for each in chosen}
        expected = set.intersection(*(everything[each] for each in chosen))
        if len(names) == len(chosen) and expected and len(expected) != 1:
            filters = world.filters("&".join(chosen))
            query = "&".join(f"filter[{name}]={value}" for name, value in filters.items())
            given = world.client.get(f"/v1/contacts?{query}").json
            assert {each["attributes"]["name"] for each in given["data"]} == expected, chosen


DAYS = [name for name in dict.fromkeys(each.partition("=")[0] for each in ALL) if name.endswith("_in_last")]


@pytest.mark.parametrize("value", ["seven", "-7", "1.5", "7d", "1e3", "0x7", "%2B7", "7,8", "٧", "７", "'7'", "true"])  # fmt: skip
def test_what_is_no_whole_number_of_days_is_ignored(world: World, value: str) -> None:
    assert len(DAYS) == 6
    for name in DAYS:
        if value == "%2B7":
            value = "+7"
        assert found(world.client, **{name: value}) == EVERYBODY, name
        assert found(world.client, **{name: value, "search": "back"}) == {"back"}, name


@pytest.mark.parametrize("value", ["yes", "no", "2", "-1", "on", "null", "1,0", "t"])
def test_what_is_no_boolean_is_ignored(world: World, value: str) -> None:
    for name in ("subscribed", "never_subscribed", "is_hidden"):
        assert found(world.client, **{name: value}) == EVERYBODY, name
        assert found(world.client, **{name: value, "search": "back"}) == {"back"}, name


def test_a_filter_by_tag_sees_every_change_of_tags_at_once(site: SiteWorld) -> None:
    a, b = new_tag(site, "A"), new_tag(site, "B")
    one, two = (new_contact(site, f"{name}@x.test", name=name)["id"] for name in ("one", "two"))

    def told() -> list[set[str]]:
        """Return who has the first tag, who has both, who has one of them, and who has not the second."""
        both = f"{a['id']},{b['id']}"
        asked = ({"has_tag_id": a["id"]}, {"has_all_tag_id": both}, {"has_tag_id": both})
        return [found(site.client, **each) for each in (*asked, {"has_no_tag_id": b["id"]})]

    def link(contact: str, method: str, *tags: dict[str, Any]) -> None:
        path = f"/v1/contacts/{contact}/relationships/tags"
        assert site.client.request(method, path, identifiers(*(each["id"] for each in tags))).status == 200

    assert told() == [set(), set(), set(), {"one", "two"}]
    link(one, "POST", a, b)
    link(two, "POST", b)
    assert told() == [{"one"}, {"one"}, {"one", "two"}, set()]
    link(one, "DELETE", a)
    assert told() == [set(), set(), {"one", "two"}, set()]
    link(two, "PATCH", a)
    assert told() == [{"two"}, set(), {"one", "two"}, {"two"}]
    assert (
        patch(
            site.client, f"/v1/contact_tags/{a['id']}", change("contact_tags", a["id"], archived=True)
        ).status
        == 200
    )
    assert told() == [{"two"}, set(), {"one", "two"}, {"two"}]
    assert delete(site.client, f"/v1/contact_tags/{a['id']}").status == 200
    assert told() == [set(), set(), {"one"}, {"two"}]
    assert delete(site.client, f"/v1/contacts/{one}").status == 200
    assert told() == [set(), set(), set(), {"two"}]


@pytest.mark.sqlite
def test_a_mobile_number_that_is_stored_is_found_by_a_part(tmp_path: Path) -> None:
    path = tmp_path / "rollbook.db"
    first = start_server(path)
    site = first.new_site()
    ids = [int(new_contact(site, f"{name}@x.test", name=name)["id"]) for name in ("one", "two")]
    assert first.stop() == 0
    # As a program before this one left them: stored, and not yet searched; nor did its lock say more.
    (tmp_path / "rollbook.db.lock").write_text("1")
    with beside(url_of(path)) as connection:
        for contact, number in zip(ids, ("+351 555-01 x", "+49 30 555"), strict=True):
            sql = "UPDATE contacts SET mobile_phone_number = ?, search_keys = NULL WHERE id = ?"
            connection.rows(sql, number, contact)
            sql = "INSERT INTO search_backlog (site_id, contact_id) VALUES (?, ?) ON CONFLICT DO NOTHING"
            connection.rows(sql, int(site.id), contact)
    running = start_server(path)
    client = running.client(site.token)
    for needle, expected in (
        ("555", {"one", "two"}),
        ("X", {"one"}),
        ("0 5", {"two"}),
        ("555 ", set()),
        ("9", {"two"}),
    ):
        assert found(client, mobile_phone_number_contains=needle) == expected, needle
        assert found(client, phone_number_contains=needle) == set()
    assert running.stop() == 0
