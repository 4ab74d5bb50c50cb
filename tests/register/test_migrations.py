"""Proves that migrations fill what they add from what is there."""

from register.house import ask, caller, create, new, stored

from rollbook.register import checks, consent, contacts, members, tagging, tags, upkeep
from rollbook.register.contacts import ContactChange
from rollbook.register.resource import Found
from rollbook.register.tagging import Tagging, Verb
from rollbook.storage.database import Database
from rollbook.storage.migrate import bring_up_to_date

MOMENTS = ("subscribed_at", "unsubscribed_at", "manually_unsubscribed_at", "opted_out_at")
BY_CONTACT = "CREATE INDEX consent_events_by_contact ON consent_events (site_id, contact_id, occurred_at, id)"
# What makes the ledger as it was before its key was the contact's.
OLDER_LEDGER = {
    "sqlite": (
        "ALTER TABLE consent_events RENAME TO newer",
        "CREATE TABLE consent_events (site_id INTEGER NOT NULL, id INTEGER NOT NULL, contact_id INTEGER NOT NULL,"
        " event TEXT NOT NULL, cause TEXT NOT NULL, source TEXT NOT NULL, wording TEXT, ip_address TEXT,"
        " key_id INTEGER NOT NULL, user_id INTEGER NOT NULL, occurred_at TEXT NOT NULL, PRIMARY KEY (site_id, id))"
        " WITHOUT ROWID, STRICT",
        "INSERT INTO consent_events SELECT site_id, id, contact_id, event, cause, source, wording, ip_address,"
        " key_id, user_id, occurred_at FROM newer",
        "DROP TABLE newer",
        "CREATE INDEX consent_events_by_time ON consent_events (site_id, event, occurred_at, contact_id, cause)",
        BY_CONTACT,
    ),
    "postgresql": (
        "ALTER TABLE consent_events DROP CONSTRAINT consent_events_pkey, ADD PRIMARY KEY (site_id, id)",
        BY_CONTACT,
    ),
}


def kept_in(database: Database) -> list[list[tuple[object, ...]]]:
    """Return what the migrations fill; a set that was emptied is as good as none."""
    return [
        ask(database, f"SELECT id, {', '.join(MOMENTS)} FROM contacts ORDER BY id"),
        ask(database, "SELECT * FROM contact_days ORDER BY site_id, day"),
        ask(database, "SELECT * FROM contact_tag_members WHERE length(members) > 0 ORDER BY 1, 2, 3, 4"),
        ask(database, "SELECT * FROM consent_events ORDER BY id"),
    ]


def test_kept_totals_are_made_of_what_is_there(database: Database) -> None:
    people = [new(1 + at % 2, email=f"a{at}@x.test", subscribed=at % 3 == 0) for at in range(300)]
    found = [
        Found(caller(1, 2), 1 + at % 2, stored(each).id) for at, each in enumerate(create(database, *people))
    ]
    with database.transaction() as transaction:
        for site in (1, 2):
            (tag,) = tags.create_many(transaction, [tags.NewTag(caller(1, 2), site, "Tag", ())])
            own = [each for each in found if each.site_id == site]
            assert len(own) > members.FEW
            tagging.write_many(transaction, [Tagging(each, Verb.ADD, (stored(tag).id,)) for each in own])
        for at in range(0, 300, 6):
            said = consent.Circumstances((consent.ADMINISTRATOR, consent.RECIPIENT)[at % 4 // 2])
            contacts.change_many(
                transaction, [ContactChange(found[at], {"subscribed": False}, None, said, ())]
            )
    upkeep.finish(database)
    kept = kept_in(database)
    for moment in MOMENTS:
        ask(database, f"ALTER TABLE contacts DROP COLUMN {moment}")
    for table in ("contact_days", "contact_tag_members"):
        ask(database, f"DROP TABLE {table}")
    for statement in OLDER_LEDGER[database.engine.dialect.name]:
        ask(database, statement)
    ask(database, "UPDATE alembic_version SET version_num = '0003'")
    bring_up_to_date(database)
    assert kept_in(database) == kept
    with database.snapshot() as snapshot:
        assert list(checks.faults(snapshot)) == []
