"""Proves that the last event of a ledger is its last word, whatever the clocks of those who wrote it say."""

from typing import Any

import pytest
from register.house import ask, caller, create, new, stored

from rollbook.jsonapi.reading import read_changed_resource
from rollbook.jsonapi.resource import Record
from rollbook.register import checks, contacts, merging, upkeep
from rollbook.register.resource import Found
from rollbook.storage.database import Database

AHEAD = "2999-12-31T23:59:59.999Z"


@pytest.fixture
def subscribed(database: Database) -> Found:
    """One who was subscribed by a server whose clock is ahead, and by a later id."""
    (answer,) = create(database, new(email="ines@example.test", subscribed=True))
    ask(database, "UPDATE consent_events SET occurred_at = ?, id = id + 900", AHEAD)
    upkeep.recount(database)
    return Found(caller(1), 1, stored(answer).id)


def changed(database: Database, found: Found, **attributes: Any) -> Record:
    """Change a contact."""
    draft = read_changed_resource(contacts.RESOURCE.type, {"data": {"attributes": attributes}}, str(found.id))
    with database.transaction() as transaction:
        (answer,) = contacts.change_many(transaction, [contacts.prepare_change(found, draft)])
    return stored(answer)


def ledger(database: Database, found: Found) -> list[tuple[str, str]]:
    """Return the events of a contact and their moments, as they are listed."""
    sql = "SELECT event, occurred_at FROM consent_events WHERE contact_id = ? ORDER BY occurred_at, id"
    return [(event, moment) for event, moment in ask(database, sql, found.id)]


def faults(database: Database) -> list[str]:
    """Return what `db check` finds."""
    upkeep.index_all(database)
    with database.snapshot() as snapshot:
        return list(checks.faults(snapshot))


def test_an_event_by_a_clock_that_is_behind_comes_after_those_that_were_there(
    database: Database, subscribed: Found
) -> None:
    assert changed(database, subscribed, subscribed=False).attributes["subscribed"] is False
    assert changed(database, subscribed, subscribed=True).attributes["subscribed"] is True
    assert ledger(database, subscribed) == [
        ("subscribed", AHEAD),
        ("unsubscribed", "3000-01-01T00:00:00.000Z"),
        ("subscribed", "3000-01-01T00:00:00.001Z"),
    ]
    assert faults(database) == []


def test_an_event_by_a_clock_that_is_right_has_its_moment(database: Database) -> None:
    (answer,) = create(database, new(email="ines@example.test"))
    found = Found(caller(1), 1, stored(answer).id)
    after = changed(database, found, subscribed=True)
    assert ledger(database, found) == [("subscribed", after.attributes["updated_at"])]


def test_who_unsubscribed_by_a_clock_that_is_behind_stays_so_in_a_merge(
    database: Database, subscribed: Found
) -> None:
    changed(database, subscribed, subscribed=False)
    (other,) = create(database, new(email="other@example.test"))
    with database.transaction() as transaction:
        (survivor,) = merging.merge_many(transaction, [merging.Merge(subscribed, stored(other).id)])
    assert stored(survivor).attributes["subscribed"] is False
    assert faults(database) == []
