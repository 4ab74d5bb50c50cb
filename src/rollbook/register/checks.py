"""Proves the invariants that no single constraint can say; for `rollbook db check`.

Large tables are walked in stretches of their keys, so that a register of any size takes little memory, and no
question takes long.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Table, and_, bindparam, case, exists, func, literal, or_, select, tuple_, union_all

from rollbook.register import consent, days, members, tags, text
from rollbook.register.audience import LETTERS
from rollbook.register.contact_type import Keys, keys_of
from rollbook.storage import dialects, search_index
from rollbook.storage.statements import Statement
from rollbook.storage.tables import (
    audit_events,
    consent_events,
    contact_counts,
    contact_days,
    contact_notes,
    contact_taggings,
    contact_tags,
    contact_tombstones,
    contacts,
    custom_fields,
    id_leases,
    keys,
    search_backlog,
    sites,
    users,
)
from rollbook.storage.transactions import Snapshot

ROWS_AT_ONCE = 1_000
BEFORE_EVERY_ID = -(2**63)


def faults(snapshot: Snapshot) -> Iterator[str]:
    """Return what is wrong with the register, a sentence each, as it is found; none when all is well."""
    for site_id, *numbers in snapshot.rows(wrong_counts):
        for kind, kept, counted in zip(_KINDS, numbers[::2], numbers[1::2], strict=True):
            if kept != counted:
                yield f"counts: site {site_id} has {counted} {kind}, but {kept} are noted"
    for kind, offered, highest in snapshot.rows(leases_behind):
        yield f"ids: {highest} is in use among {kind}, but the next one to be given is {offered}"
    for table in WALKED:
        for stretch in _stretches(snapshot, table):
            for statement, sentence in QUESTIONS.get(table, ()):
                yield from (sentence.format(*row) for row in snapshot.rows(statement, stretch))
            if table in MADE:
                yield from _wrong_keys(snapshot, table, stretch)
    yield from _wrong_days(snapshot)
    yield from _wrong_members(snapshot)


class Made(NamedTuple):
    """The columns of a table that Python makes of others, and how."""

    columns: Sequence[str]
    make: Callable[..., Sequence[str | None]]
    rows: Statement


def _wrong_keys(snapshot: Snapshot, table: Table, stretch: dict[str, int]) -> Iterator[str]:
    made = MADE[table]
    for row in snapshot.rows(made.rows, stretch):
        key, kept = row[: len(table.primary_key)], row[len(table.primary_key) :][: len(made.columns)]
        values = made.make(*row[len(key) + len(kept) :])
        for column, had, value in zip(made.columns, kept, values, strict=True):
            if had != value:
                place = " of site ".join(str(each) for each in reversed(key))
                yield f"keys: the {column} of {table.name} {place} is not what Rollbook makes of its texts"


def _stretches(snapshot: Snapshot, table: Table) -> Iterator[dict[str, int]]:
    """Return the first and last keys of stretches of a table, as its questions take them."""
    names = table.primary_key.columns.keys()
    after = [BEFORE_EVERY_ID] * len(names)
    while True:
        bounds = {f"after_{name}": value for name, value in zip(names, after, strict=True)}
        row = snapshot.row(_ENDS[table], bounds) or snapshot.row(_LAST[table], bounds)
        if row is None:
            return
        after = list(row)
        yield bounds | {f"last_{name}": value for name, value in zip(names, after, strict=True)}


def _within(table: Table, to_the_end: bool = False) -> Any:
    """Say that a row is within a stretch: behind the last one, and not behind its own last row."""
    key = tuple_(*table.primary_key)

    def end(which: str) -> Any:
        return tuple_(*(bindparam(f"{which}_{each.name}", type_=each.type) for each in table.primary_key))

    behind: Any = key > end("after")
    return behind if to_the_end else and_(behind, key <= end("last"))


def _in_stretch(table: Table, *columns: Any) -> Any:
    # In the order of the key: a planner may else read all of a site in an index that has the columns.
    return select(*columns).where(_within(table)).order_by(*table.primary_key)


def _taken_twice(table: Table, name: str, of: Callable[[Any], Any] = lambda column: column) -> Statement:
    """Return the question for rows whose value another row of the site has too."""
    other = table.alias("other")
    return Statement(
        _in_stretch(table, table.c.site_id, table.c.id).where(
            table.c[name].is_not(None),
            exists(
                select(other.c.id).where(
                    other.c.site_id == table.c.site_id,
                    of(other.c[name]) == of(table.c[name]),
                    other.c[name].is_not(None),
                    other.c.id != table.c.id,
                )
            ),
        )
    )


_counted = (
    select(
        contacts.c.site_id,
        func.count().label("contacts"),
        func.sum(case((contacts.c.subscription == 1, 1), else_=0)).label("subscribed"),
        func.sum(case((contacts.c.subscription == 0, 1), else_=0)).label("never_subscribed"),
    )
    .group_by(contacts.c.site_id)
    .subquery()
)
_KINDS = ("contacts", "subscribed", "never_subscribed")
_pairs = [(func.coalesce(contact_counts.c[kind], 0), func.coalesce(_counted.c[kind], 0)) for kind in _KINDS]
wrong_counts = Statement(
    select(sites.c.id, *(column for pair in _pairs for column in pair))
    .select_from(
        sites.outerjoin(contact_counts, contact_counts.c.site_id == sites.c.id).outerjoin(
            _counted, _counted.c.site_id == sites.c.id
        )
    )
    .where(or_(*(kept != counted for kept, counted in _pairs)))
)
# Sites may keep ids that come from elsewhere; new ones pass over these.
_LEASED = (users, keys, contacts, consent_events, audit_events, contact_tags, contact_notes, custom_fields)
_in_use = union_all(
    *(select(literal(table.name).label("kind"), func.max(table.c.id).label("highest")) for table in _LEASED),
    select(literal(contacts.name), func.max(contact_tombstones.c.id)),
).subquery()
leases_behind = Statement(
    select(_in_use.c.kind, func.coalesce(id_leases.c.next_id, 0), _in_use.c.highest)
    .select_from(_in_use.outerjoin(id_leases, id_leases.c.kind == _in_use.c.kind))
    .where(_in_use.c.highest >= func.coalesce(id_leases.c.next_id, 0))
)


def _last(column: Any, *events: Any) -> Any:
    """Return a column of a contact's last event, of these where some are named; by the primary key,
    which alone has this order.
    """
    return (
        select(column)
        .where(consent_events.c.site_id == contacts.c.site_id, consent_events.c.contact_id == contacts.c.id)
        .where(*events)
        .order_by(consent_events.c.occurred_at.desc(), consent_events.c.id.desc())
        .limit(1)
        .correlate(contacts)
        .scalar_subquery()
    )


_last_event = _last(consent_events.c.event)
_state = case((_last_event.is_(None), 0), (_last_event == "subscribed", 1), else_=2)
STATES = ("never subscribed", "subscribed", "unsubscribed")


def _in_words(state: Any) -> Any:
    return case(*((state == number, words) for number, words in enumerate(STATES)), else_="no known state")


against_the_ledger = Statement(
    _in_stretch(
        contacts, contacts.c.site_id, contacts.c.id, _in_words(contacts.c.subscription), _in_words(_state)
    ).where(contacts.c.subscription != _state)
)
_is_owed = exists(
    select(search_backlog.c.contact_id).where(
        search_backlog.c.site_id == contacts.c.site_id, search_backlog.c.contact_id == contacts.c.id
    )
)
unsearchable = Statement(
    _in_stretch(contacts, contacts.c.site_id, contacts.c.id).where(
        ~search_index.is_indexed(contacts.c.site_id, contacts.c.id), ~_is_owed
    )
)
tagged_at_another_age = Statement(
    _in_stretch(contact_taggings, contact_taggings.c.site_id, contact_taggings.c.contact_id).where(
        exists(
            select(contacts.c.id).where(
                contacts.c.site_id == contact_taggings.c.site_id,
                contacts.c.id == contact_taggings.c.contact_id,
                contacts.c.created_at != contact_taggings.c.contact_created_at,
            )
        )
    )
)
_joined = dialects.ids_joined(
    contact_taggings.c.tag_id,
    (contact_taggings.c.site_id == contacts.c.site_id) & (contact_taggings.c.contact_id == contacts.c.id),
)
noted_tags_differ = Statement(
    _in_stretch(contacts, contacts.c.site_id, contacts.c.id).where(
        func.coalesce(contacts.c.tag_ids, "") != func.coalesce(_joined, "")
    )
)
_members = (
    select(func.count())
    .select_from(contact_taggings)
    .where(contact_taggings.c.site_id == contact_tags.c.site_id)
    .where(contact_taggings.c.tag_id == contact_tags.c.id)
    .scalar_subquery()
)
wrong_tag_counts = Statement(
    _in_stretch(
        contact_tags, contact_tags.c.site_id, contact_tags.c.id, contact_tags.c.contacts, _members
    ).where(contact_tags.c.contacts != _members)
)


moments_differ = Statement(
    _in_stretch(contacts, contacts.c.site_id, contacts.c.id).where(
        contacts.c.subscription == _state,
        or_(
            *(
                contacts.c[name].is_distinct_from(_last(consent_events.c.occurred_at, events))
                for name, events in days.EVENTS.items()
            )
        ),
    )
)
kept_days = Statement(select(*(contact_days.c[name] for name in ("site_id", "day", *days.TOTALS))))
counted_days = Statement(days.every_day)


def _wrong_days(snapshot: Snapshot) -> Iterator[str]:
    kept, counted = (
        {(site_id, day): numbers for site_id, day, *numbers in snapshot.rows(statement)}
        for statement in (kept_days, counted_days)
    )
    none = [0] * len(days.TOTALS)
    for site_id, day in sorted(kept.keys() | counted.keys()):
        pairs = zip(kept.get((site_id, day), none), counted.get((site_id, day), none), strict=True)
        for name, (noted, there) in zip(days.TOTALS, pairs, strict=True):
            if noted != there:
                yield f"counts: site {site_id} has {there} {name} on {day}, but {noted} are noted"


def _wrong_members(snapshot: Snapshot) -> Iterator[str]:
    """Compare the sets of each tag with its taggings, a tag at a time."""
    for site_id, tag_id in snapshot.rows(members.every_tag):
        rows = set(snapshot.rows(members.tagged, {"site_id": site_id, "tag_id": tag_id}))
        kept = members.of_tags(snapshot, [site_id], [tag_id], consent.Subscription)[tag_id]
        noted = {
            (place[0], contact_id)
            for place, block in kept.items()
            for contact_id in members.ids({place: block})
        }
        if noted != rows:
            yield f"tags: the set of tag {tag_id} of site {site_id} is not that of its taggings"


# For each table, the questions about a stretch of it, and what each row of an answer says.
QUESTIONS: dict[Table, Sequence[tuple[Statement, str]]] = {
    contacts: (
        (
            _taken_twice(contacts, "email_key"),
            "keys: contact {1} of site {0} has an e-mail that another contact has",
        ),
        (
            _taken_twice(contacts, "external_user_id", dialects.indexed_whole),
            "keys: contact {1} of site {0} has an external_user_id that another contact has",
        ),
        (against_the_ledger, "consent: contact {1} of site {0} is {2}, but its ledger says {3}"),
        (unsearchable, "search: contact {1} of site {0} is missing from the index"),
        (
            noted_tags_differ,
            "tags: the tags noted for contact {1} of site {0} are not those that it has",
        ),
        (
            moments_differ,
            "consent: the moments noted for contact {1} of site {0} are not those of its ledger",
        ),
    ),
    contact_taggings: (
        (
            tagged_at_another_age,
            "tags: a tagging of contact {1} of site {0} has another age than the contact",
        ),
    ),
    contact_tags: (
        (
            _taken_twice(contact_tags, "unique_name"),
            "keys: contact_tag {1} of site {0} has a name that another tag has",
        ),
        (wrong_tag_counts, "tags: tag {1} of site {0} has {3} contacts, but {2} are noted"),
    ),
    custom_fields: (
        (
            _taken_twice(custom_fields, "number"),
            "keys: custom field {1} of site {0} has a handle that another field has",
        ),
    ),
}


def _made(table: Table, columns: Sequence[str], of: Sequence[str], make: Callable[..., Any]) -> Made:
    named = (table.c[name] for name in (*columns, *of))
    rows = _in_stretch(table, *table.primary_key, *named)
    # What is owed to the search index may be an older program's, and gets its keys anew with it.
    return Made(columns, make, Statement(rows.where(~_is_owed) if table is contacts else rows))


def _of_contact(name: str, email: str, *texts: str | None) -> Keys:
    return keys_of(name, email, dict(zip(LETTERS, texts, strict=True)))


def _of_title(title: str) -> list[str]:
    return [text.text_key(title)]


MADE = {
    contacts: _made(contacts, Keys._fields, ("name", "email", *LETTERS), _of_contact),
    contact_tags: _made(contact_tags, ("name_key", "unique_name"), ("name",), tags.keys_of),
    sites: _made(sites, ("title_key",), ("title",), _of_title),
    custom_fields: _made(custom_fields, ("title_key",), ("title",), _of_title),
}
WALKED = (sites, contact_tags, custom_fields, contacts, contact_taggings)
_ENDS = {
    table: Statement(
        select(*table.primary_key)
        .where(_within(table, to_the_end=True))
        .order_by(*table.primary_key)
        .limit(1)
        .offset(ROWS_AT_ONCE - 1)
    )
    for table in WALKED
}
_LAST = {
    table: Statement(
        select(*table.primary_key)
        .where(_within(table, to_the_end=True))
        .order_by(*(each.desc() for each in table.primary_key))
        .limit(1)
    )
    for table in WALKED
}
