"""Proves what a deleted tag takes along: itself from all who have it, and nothing else of theirs."""

import pytest
from register.house import ask, caller, create, new, stored

from rollbook.register import checks, consent, contacts, tags, upkeep
from rollbook.register.resource import Found
from rollbook.storage.database import Database

# Each is a part of the next, as a text.
TAGS = (1, 11, 111)


@pytest.fixture
def tagged(database: Database) -> Database:
    """A register with three tags, and a contact with each choice of them."""
    with database.transaction() as transaction:
        names = [(1, each, str(each), *tags.keys_of(str(each)), 0, 0, "", "") for each in TAGS]
        transaction.insert(tags.add_tag, names)
    for chosen in range(2 ** len(TAGS)):
        _tag(database, f"{chosen}@x.test", [each for at, each in enumerate(TAGS) if chosen >> at & 1])
    return database


def _tag(database: Database, email: str, wanted: list[int]) -> None:
    """Make a contact with these tags."""
    record = stored(create(database, new(email=email, subscribed=len(wanted) == 2))[0])
    change = contacts.ContactChange(Found(caller(1), 1, record.id), {}, tuple(wanted), consent.UNSAID, ())
    with database.transaction() as transaction:
        stored(contacts.change_many(transaction, [change])[0])


def delete(database: Database, tag_id: int) -> int:
    """Delete a tag; return how many statements that cost."""
    with database.transaction() as transaction:
        assert tags.remove_many(transaction, [Found(caller(1), 1, tag_id)]) == [None]
        return transaction.statements_run


def noted(database: Database) -> list[str]:
    """Return the tags that are noted for each contact, in the order of their making."""
    return [each or "" for (each,) in ask(database, "SELECT tag_ids FROM contacts ORDER BY id")]


@pytest.mark.parametrize("tag_id", TAGS)
@pytest.mark.parametrize("at_once", [1, 3, 20_000])
def test_a_deleted_tag_is_taken_from_all_who_have_it_and_leaves_their_others(
    tagged: Database, monkeypatch: pytest.MonkeyPatch, tag_id: int, at_once: int
) -> None:
    monkeypatch.setattr(tags, "TAKEN_AT_ONCE", at_once)
    before = noted(tagged)
    assert before == ["", "1", "11", "1,11", "111", "1,111", "11,111", "1,11,111"]
    delete(tagged, tag_id)
    left = [",".join(each for each in ids.split(",") if each != str(tag_id)) for ids in before]
    assert noted(tagged) == left
    upkeep.index_all(tagged)
    with tagged.snapshot() as snapshot:
        assert list(checks.faults(snapshot)) == []


def test_deleting_a_tag_costs_as_many_statements_for_many_contacts_as_for_one(tagged: Database) -> None:
    _tag(tagged, "more@x.test", [1])
    assert delete(tagged, 1) == delete(tagged, 11) <= 9
