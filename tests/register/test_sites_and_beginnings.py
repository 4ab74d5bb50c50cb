"""Proves how sites are made, how an empty register begins, and that its checks find what is wrong."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from register.house import ask, caller, create, new, stored

from databases import on_postgresql, url_of
from rollbook.register import beginnings, checks, days, keys, sites, tagging, tags, upkeep, users
from rollbook.register.resource import Found
from rollbook.register.tagging import Tagging, Verb
from rollbook.storage.database import Database
from rollbook.storage.migrate import bring_up_to_date
from rollbook.storage.opening import open_database


def make(
    database: Database, title: str | None = None, subdomain: str | None = None, site_id: int | None = None
) -> sites.Site:
    with database.transaction() as transaction:
        return sites.create(transaction, title=title, subdomain=subdomain, site_id=site_id)


@pytest.mark.parametrize(
    ("title", "subdomain"),
    [
        ("Harbour Studio", "harbour-studio"), ("  Mira's & Co.  ", "mira-s-co"), ("ÜNAL", "nal"), ("a" * 99, "a" * 40),
        ("日本", "site-7"), ("!!!", "site-7"), ("a" * 39 + " b", "a" * 39), (None, "site-7"), ("", "site-7"),
    ],
)  # fmt: skip
def test_a_subdomain_is_made_of_the_title(database: Database, title: str | None, subdomain: str) -> None:
    assert make(database, title, site_id=7) == sites.Site(7, title or "Site 7", subdomain)


def test_a_subdomain_that_is_made_is_free_whatever_is_taken(database: Database) -> None:
    for taken in ("harbour", "harbour-7", "harbour-7-2"):
        make(database, subdomain=taken)
    made = make(database, "Harbour", site_id=7)
    assert made.subdomain not in ("harbour", "harbour-7", "harbour-7-2")
    assert made.subdomain.startswith("harbour-7-")


@pytest.mark.parametrize("subdomain", ["a", "a-b", "0", "a" * 63, "x--y", "123"])
def test_a_subdomain_of_letters_digits_and_hyphens_is_kept(database: Database, subdomain: str) -> None:
    assert make(database, subdomain=subdomain).subdomain == subdomain


@pytest.mark.parametrize(
    "subdomain", ["", "-a", "a-", "A", "a_b", "a b", "a.b", "ä", "a" * 64, "a\n", "site-1"]
)
def test_any_other_subdomain_is_refused(database: Database, subdomain: str) -> None:
    with pytest.raises(sites.SiteRefused, match="subdomain"):
        make(database, subdomain=subdomain)
    assert ask(database, "SELECT count(*) FROM sites") == [(3,)]


@pytest.mark.parametrize("site_id", [0, -1, 2**53, 2**63, 1])
def test_an_id_that_is_none_or_taken_is_refused(database: Database, site_id: int) -> None:
    with pytest.raises(sites.SiteRefused, match=str(site_id)):
        make(database, site_id=site_id)


def test_the_highest_id_is_kept_and_takes_contacts(database: Database) -> None:
    assert make(database, site_id=2**53 - 1).id == 2**53 - 1
    (answer,) = create(database, new(2**53 - 1, email="a@x.test"))
    assert stored(answer).linkage["site"] == 2**53 - 1


def test_new_ids_pass_over_those_that_came_from_elsewhere(database: Database) -> None:
    first = make(database).id
    for ahead in (1, 2, 4):
        make(database, site_id=first + ahead)
    assert [make(database).id, make(database).id] == [first + 3, first + 5]


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Database]:
    """A register without any site or owner."""
    database = open_database(url_of(tmp_path / "empty.db"))
    bring_up_to_date(database)
    yield database
    database.close()


def begin(database: Database) -> beginnings.Beginning | None:
    with database.transaction() as transaction:
        return beginnings.begin(transaction, owner_name="Mira Vance", owner_email="mira@example.test")


def test_an_empty_register_begins_with_site_123_an_owner_and_a_key_for_everything(empty: Database) -> None:
    begun = begin(empty)
    assert begun is not None
    assert (begun.site.id, begun.key.sites, begun.key.client_secret is not None) == (123, (123,), True)
    with empty.snapshot() as snapshot:
        owner = users.owner(snapshot)
        assert owner is not None
        user = users.user(snapshot, owner)
        assert keys.caller(snapshot, begun.key.id, 0.0).user_id == owner
    assert user == users.User(owner, "Mira Vance", "mira@example.test", "OWNER")


def test_a_register_begins_once(empty: Database) -> None:
    begin(empty)
    assert begin(empty) is None
    for table, number in (("sites", 1), ("users", 1), ("keys", 1)):
        assert ask(empty, f"SELECT count(*) FROM {table}") == [(number,)]


def test_a_register_with_sites_made_before_gets_an_owner_and_nothing_else(database: Database) -> None:
    assert begin(database) is None
    assert ask(database, "SELECT name FROM users") == [("Mira Vance",)]
    assert ask(database, "SELECT count(*) FROM sites") == [(3,)]
    assert ask(database, "SELECT count(*) FROM keys") == [(0,)]


# SQLite's index knows no other name for the contact.
UNINDEX = f"DELETE FROM contact_search WHERE {'contact_id' if on_postgresql() else 'rowid'} = {{id}}"


def faults(database: Database) -> list[str]:
    with database.snapshot() as snapshot:
        return list(checks.faults(snapshot))


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        ("UPDATE contact_counts SET contacts = 3 WHERE site_id = 1", "counts: site 1 has 2 contacts, but 3 are noted"),
        ("UPDATE contact_counts SET contacts = 1 WHERE site_id = 3", "counts: site 3 has 0 contacts, but 1 are noted"),
        ("UPDATE contact_counts SET subscribed = 2 WHERE site_id = 1", "counts: site 1 has 1 subscribed, but 2 are noted"),
        ("UPDATE contact_counts SET never_subscribed = 0", "counts: site 1 has 1 never_subscribed, but 0 are noted"),
        ("DELETE FROM consent_events", "consent: contact {id} of site 1 is subscribed, but its ledger says never subscribed"),
        ("UPDATE consent_events SET event = 'unsubscribed'", "consent: contact {id} of site 1 is subscribed, but its ledger says unsubscribed"),
        (UNINDEX, "search: contact {id} of site 1 is missing from the index"),
    ],
)  # fmt: skip
def test_each_kind_of_damage_is_found_and_named(database: Database, damage: str, fault: str) -> None:
    first, _ = create(database, new(email="a@x.test", subscribed=True), new(email="b@x.test"))
    upkeep.finish(database)
    assert faults(database) == []
    ask(database, damage.format(id=stored(first).id))
    assert faults(database) == [fault.format(id=stored(first).id)]


def test_damage_to_what_is_kept_of_moments_and_tags_is_found(database: Database) -> None:
    (first,) = create(database, new(email="a@x.test", subscribed=True))
    contact_id, day = stored(first).id, str(stored(first).attributes["created_at"])[:10]
    with database.transaction() as transaction:
        (tag,) = tags.create_many(transaction, [tags.NewTag(caller(), 1, "Tag", ())])
        tagging.write_many(
            transaction, [Tagging(Found(caller(), 1, contact_id), Verb.ADD, (stored(tag).id,))]
        )
    upkeep.finish(database)
    assert faults(database) == []
    ask(database, "UPDATE contact_days SET created = 3")
    assert faults(database) == [f"counts: site 1 has 1 created on {day}, but 3 are noted"]
    ask(database, "UPDATE contact_days SET day = '2020-01-01', subscribed = 0")
    assert faults(database) == [
        "counts: site 1 has 0 created on 2020-01-01, but 3 are noted",
        f"counts: site 1 has 1 created on {day}, but 0 are noted",
        f"counts: site 1 has 1 subscribed on {day}, but 0 are noted",
    ]
    with database.transaction() as transaction:
        days.count_anew(transaction)
    ask(database, "UPDATE contact_tag_members SET subscription = 2")
    (fault,) = faults(database)
    assert fault == f"tags: the set of tag {stored(tag).id} of site 1 is not that of its taggings"
    ask(database, "UPDATE contact_tag_members SET subscription = 1")
    ask(database, "UPDATE contacts SET opted_out_at = created_at")
    with database.transaction() as transaction:
        days.count_anew(transaction)
    (fault,) = faults(database)
    assert (
        fault == f"consent: the moments noted for contact {contact_id} of site 1 are not those of its ledger"
    )


def test_a_whole_register_has_no_faults_and_neither_has_its_file(database: Database) -> None:
    create(
        database, *(new(1 + at % 3, email=f"a{at % 20}@x.test", subscribed=at % 2 == 0) for at in range(64))
    )
    assert faults(database) == []
    assert database.faults() == []
