"""Contacts: the people on one's sites, one per e-mail and site."""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import orjson
from sqlalchemy import bindparam, delete, select, update

from rollbook.jsonapi.errors import Problem, Refusal, Refused
from rollbook.jsonapi.reading import Draft
from rollbook.jsonapi.resource import Record
from rollbook.register import (
    audience,
    audit,
    consent,
    custom_fields,
    days,
    known_audience,
    plans,
    tags,
    text,
)
from rollbook.register.callers import Caller
from rollbook.register.consent import Circumstances, Subscription
from rollbook.register.contact_type import (
    BESIDE,
    COLUMNS,
    FIXED,
    NO_KEYS,
    PLAIN,
    RECORD_COLUMNS,
    STAMPS,
    SUBSCRIPTION_AT,
    TYPE,
    Keys,
    custom_document,
    keys_of,
    record_of,
    records_of,
    values_of_row,
)
from rollbook.register.custom_fields import PREFIX
from rollbook.register.moments import now
from rollbook.register.one_by_one import one_by_one
from rollbook.register.resource import Change, Creation, Found, Removal, Resource, missing
from rollbook.storage import dialects, search_index
from rollbook.storage.statements import InsertRows, Statement
from rollbook.storage.tables import (
    contact_counts,
    contact_notes,
    contact_tombstones,
    search_backlog,
)
from rollbook.storage.tables import contacts as table
from rollbook.storage.transactions import Snapshot, Transaction

VIEW = "view:contacts"
EDIT = "edit:contacts"


EMAIL_PLACE = TYPE.on_create["email"][0]
EXTERNAL_PLACE = TYPE.on_update["external_user_id"][0]
NOBODY_ELSE = 0


class NewContact(NamedTuple):
    """A contact that is to be made: checked, with its keys, and with what is wrong with it."""

    caller: Caller
    site_id: int
    values: tuple[Any, ...]
    keys: Keys
    subscribed: bool
    circumstances: Circumstances
    problems: tuple[Problem, ...]


class ContactChange(NamedTuple):
    """A change of a contact: what is given of it, and what is wrong with that.

    `tags` are the ones that it shall have, where they are given. `external_user_id` may be set without a
    customer where `may_set_external` says so.
    """

    found: Found
    given: dict[str, Any]
    tags: tuple[int, ...] | None
    circumstances: Circumstances
    problems: tuple[Problem, ...]
    may_set_external: bool = False


existing_id = Statement(
    select(table.c.id).where(
        table.c.site_id == bindparam("site_id"), table.c.email_key == bindparam("email_key")
    )
)
with_external_user_id = Statement(
    select(table.c.id).where(
        table.c.site_id == bindparam("site_id"),
        dialects.indexed_whole(table.c.external_user_id)
        == dialects.indexed_whole(bindparam("external_user_id", type_=table.c.external_user_id.type)),
    )
)
contact_as_it_is = Statement(
    select(*COLUMNS).where(table.c.site_id == bindparam("site_id"), table.c.id == bindparam("id"))
)
add_contact = InsertRows(
    dialects.insert_or_skip(table, ["site_id", "email_key"]).returning(table.c.id),
    [
        *("site_id", "id", "name", "email", *PLAIN, "subscription", "custom", *STAMPS),
        *("name_key", "email_key", "search_keys", "subscribed_at"),
    ],
)
CHANGED = (*FIXED, *BESIDE, "updated_at", "name_key", "email_key")
change_contact = Statement(
    update(table)
    .where(table.c.site_id == bindparam("of_site"), table.c.id == bindparam("of_id"))
    .values({name: bindparam(name) for name in CHANGED})
)
add_to_backlog = InsertRows(
    dialects.insert_or_skip(search_backlog, ["site_id", "contact_id"]), ["site_id", "contact_id"]
)
add_to_counts = InsertRows(
    dialects.insert_or_add(
        contact_counts,
        ["site_id"],
        contact_counts.c.contacts,
        contact_counts.c.subscribed,
        contact_counts.c.never_subscribed,
    ),
    ["site_id", "contacts", "subscribed", "never_subscribed"],
)
lock_counts = Statement(
    select(contact_counts.c.site_id)
    .where(dialects.among(contact_counts.c.site_id, bindparam("sites")))
    .order_by(contact_counts.c.site_id)
    .with_for_update()
)
# What belongs to a contact beside its ledger, from the leaves to the root.
delete_whole = tuple(
    Statement(delete(each).where(each.c.site_id == bindparam("site_id"), key == bindparam("id")))
    for each, key in (
        (search_backlog, search_backlog.c.contact_id),
        (contact_notes, contact_notes.c.contact_id),
        (table, table.c.id),
    )
)


def lock_with_counts(transaction: Transaction, site_ids: Iterable[int]) -> None:
    """Have sites to oneself, as `Transaction.lock_sites`, for what counts contacts in them in no order.

    Creates lock no site, but count in the order of the sites, and whoever held the count of a later one while
    waiting for that of an earlier would wait in a circle with them.
    """
    sites = sorted(set(site_ids))
    transaction.lock_sites(sites)
    if len(sites) > 1:
        transaction.rows(lock_counts, {"sites": orjson.dumps(sites).decode()})


def prepare(caller: Caller, site_id: int, draft: Draft) -> NewContact:
    """Judge a draft by itself, and make the keys that its contact is stored and found by."""
    given = draft.attributes
    email = text.email_text(str(given.get("email") or ""))
    problems = list(draft.problems)
    _judge_email(email, problems)
    circumstances = consent.UNSAID
    if draft.meta:
        circumstances, more = consent.read_circumstances(draft.meta)
        problems += more
    name = _name(given.get("name"), email)
    subscribed = given.get("subscribed") is True
    state = int(Subscription.SUBSCRIBED if subscribed else Subscription.NEVER)
    values = (name, email, *map(given.get, PLAIN), state, custom_document(given))
    if problems:
        problems.sort(key=lambda problem: problem.place)
    keys = NO_KEYS if problems else keys_of(name, email, given)
    return NewContact(caller, site_id, values, keys, subscribed, circumstances, tuple(problems))


def all_problems(snapshot: Snapshot, new: NewContact) -> list[Problem]:
    """Return every problem of a contact that cannot be made, a taken e-mail among them."""
    problems = list(new.problems)
    if not any(problem.name == "email" for problem in problems):
        email_key = text.email_key(new.values[1])
        problems += _taken(snapshot, new.caller, new.site_id, email_key, NOBODY_ELSE)
    return sorted(problems, key=lambda problem: problem.place)


def create_many(transaction: Transaction, items: list[NewContact]) -> list[Record | Refused]:
    """Store contacts, each with its consent event and its audit row, or refuse a taken e-mail.

    Of several with one e-mail in one site the first is stored.
    """
    moment = now()
    ids = transaction.new_ids("contacts", len(items))
    # The unique index judges, never a look before the insert: two that come at once cannot both pass.
    rows = transaction.insert(
        add_contact,
        [
            (new.site_id, each, *new.values, moment, moment, *new.keys, moment if new.subscribed else None)
            for each, new in zip(ids, items, strict=True)
        ],
    )
    sites = tuple(sorted({new.site_id for new in items}))
    defined = transaction.remembered(custom_fields.names_defined, sites)
    stored = {row[0] for row in rows}
    made = [(each, new) for each, new in zip(ids, items, strict=True) if each in stored]
    make_searchable(transaction, [(new.site_id, each) for each, new in made])
    consent.record(
        transaction,
        [
            consent.Event(new.site_id, each, True, new.caller, new.circumstances)
            for each, new in made
            if new.subscribed
        ],
        moment,
    )
    audit.record(
        transaction, TYPE.name, "create", [(new.site_id, each, new.caller) for each, new in made], moment
    )
    of_states = Counter((new.site_id, new.subscribed) for _, new in made)
    more = _count(
        transaction,
        [
            (site_id, many, many * subscribed, many * (not subscribed))
            for (site_id, subscribed), many in of_states.items()
        ],
    )
    day = moment[: days.DAY]
    days.keep(
        transaction, [(site_id, day, many, subscribed, 0, 0, 0) for site_id, many, subscribed, _ in more]
    )
    return [
        _made(new, each, moment, defined[new.site_id]) if each in stored else _refused(transaction, new)
        for each, new in zip(ids, items, strict=True)
    ]


def _refused(snapshot: Snapshot, new: NewContact) -> Refused:
    """Return the refusal of an e-mail that was in the way; whose it was may be gone by now."""
    taken = _taken(snapshot, new.caller, new.site_id, new.keys.email_key, NOBODY_ELSE)
    return Refused(*(taken or [Problem(Refusal.TAKEN, "email", place=EMAIL_PLACE)]))


def check_linkage(snapshot: Snapshot, found: Found, draft: Draft) -> None:
    """Raise Refused where a change names a tag that the contact's site does not have."""
    tags.ids_of_known(snapshot, found.site_id, draft.linkage.get("tags", ()))


def prepare_change(found: Found, draft: Draft) -> ContactChange:
    """Judge a change of a contact by itself; a null `subscribed` or `external_user_id` counts as absent."""
    given = {
        name: value
        for name, value in draft.attributes.items()
        if value is not None or name not in ("subscribed", "external_user_id")
    }
    problems = list(draft.problems)
    if "email" in given:
        email = text.email_text(str(given["email"] or ""))
        given["email"] = email
        _judge_email(email, problems)
    circumstances, more = consent.read_circumstances(draft.meta)
    problems += more
    wanted = draft.linkage.get("tags")
    numbers = None if wanted is None else tuple(int(each) for each in wanted)
    problems.sort(key=lambda problem: problem.place)
    return ContactChange(found, given, numbers, circumstances, tuple(problems))


def all_problems_of_change(snapshot: Snapshot, change: ContactChange) -> list[Problem]:
    """Return every problem of a change that cannot be made."""
    problems, found = list(change.problems), change.found
    named = {problem.name for problem in problems}
    if "email" in change.given and "email" not in named:
        key = text.email_key(change.given["email"])
        problems += _taken(snapshot, found.caller, found.site_id, key, found.id)
    external = change.given.get("external_user_id")
    if external is not None and "external_user_id" not in named:
        if not change.may_set_external:
            problems.append(Problem(Refusal.NEEDS_CUSTOMER, "external_user_id", place=EXTERNAL_PLACE))
        else:
            problems += _taken_external(snapshot, found, external)
    return sorted(problems, key=lambda problem: problem.place)


def change_many(transaction: Transaction, items: list[ContactChange]) -> list[Record | Refused]:
    """Change contacts, each with its ledger, its tokens and its audit row, or refuse."""
    return one_by_one(transaction, items, lambda change: change.found.site_id, _change)


def remove_many(transaction: Transaction, items: list[Found]) -> list[Refused | None]:
    """Delete contacts with everything that belongs to them; their e-mails are free at once."""
    return one_by_one(transaction, items, lambda found: found.site_id, _remove)


def read(snapshot: Snapshot, found: Found) -> Record:
    """Return a contact as it is; raise Refused where it is gone or is not as the caller expects."""
    row = snapshot.row(contact_as_it_is, {"site_id": found.site_id, "id": found.id})
    if row is None:
        raise missing(snapshot, RESOURCE, found.caller, str(found.id))
    (record,) = records_of(snapshot, [row])
    found.judge(record)
    return record


def make_searchable(transaction: Transaction, contacts: Sequence[tuple[int, int]]) -> None:
    """Have contacts, given as (site, id), found by their texts; their tokens are made in a quiet moment."""
    transaction.insert(add_to_backlog, contacts)
    transaction.owes(len(contacts))


def values_of(snapshot: Snapshot, site_id: int, contact_id: int) -> dict[str, Any] | None:
    """Return the stored values of a contact by column, or None where there is none."""
    row = snapshot.row(contact_as_it_is, {"site_id": site_id, "id": contact_id})
    return None if row is None else values_of_row(row)


def store(
    transaction: Transaction,
    site_id: int,
    contact_id: int,
    before: dict[str, Any],
    after: dict[str, Any],
    moment: str,
) -> None:
    """Put other values in the place of a contact's, and keep what it is found by."""
    keys = keys_of(after["name"], after["email"], after)
    which = {"of_site": site_id, "of_id": contact_id}
    transaction.run(change_contact, after | keys._asdict() | {"updated_at": moment} | which)
    texts = (before["search_keys"], before["name"], before["email"])
    if texts != (keys.search_keys, after["name"], after["email"]):
        make_searchable(transaction, [(site_id, contact_id)])


def delete_with_all(transaction: Transaction, site_id: int, contact_id: int, state: Subscription) -> None:
    """Delete a contact with everything that belongs to it; `state` is its subscription."""
    which = {"site_id": site_id, "id": contact_id}
    moments = consent.moments(transaction, site_id, contact_id)
    tags.replace(transaction, site_id, contact_id, "", state, ())
    search_index.remove(transaction, site_id, contact_id)
    consent.forget(transaction, site_id, contact_id)
    for statement in delete_whole:
        transaction.run(statement, which)
    _count(transaction, [(site_id, -1, *_minus(_state_counts(state)))])
    days.keep(transaction, days.of_moments(site_id, moments, -1))


def gone(snapshot: Snapshot, caller: Caller, contact_id: int) -> Problem | None:
    """Return the refusal that names the survivor of a merged contact, where the caller may know it."""
    sites = sorted(caller.sites)
    row = snapshot.row(_survivor_of(plans.site_places(sites)), plans.site_values(sites) | {"id": contact_id})
    if row is None or row[0] is None or not caller.may(VIEW):
        return None
    return Problem(Refusal.NOT_FOUND, existing=(TYPE.name, row[0]), existing_as="merged_into")


@lru_cache
def _survivor_of(sites: int) -> Statement:
    of_sites = plans.of_sites(contact_tombstones.c.site_id, sites)
    return Statement(
        select(contact_tombstones.c.survivor_id).where(of_sites, contact_tombstones.c.id == bindparam("id"))
    )


def _made(new: NewContact, contact_id: int, moment: str, defined: tuple[str, ...]) -> Record:
    """Return the record of a contact that was just stored: its columns keep what they are given."""
    *fixed, custom = new.values
    external_user_id = tag_ids = None
    row = (contact_id, new.site_id, *fixed, external_user_id, moment, moment, custom, tag_ids)
    return record_of(row, defined)


def _change(transaction: Transaction, change: ContactChange) -> Record | Refused:
    found = change.found
    which = {"site_id": found.site_id, "id": found.id}
    row = transaction.row(contact_as_it_is, which)
    if row is None:
        return missing(transaction, RESOURCE, found.caller, str(found.id))
    (current,) = records_of(transaction, [row])
    found.judge(current)
    if change.tags:
        tags.ids_of_known(transaction, found.site_id, [str(each) for each in change.tags])
    problems = all_problems_of_change(transaction, change)
    if problems:
        return Refused(*problems)
    before = values_of_row(row)
    after = _after(before, change.given)
    moment = now()
    changed = after != before
    if changed:
        store(transaction, found.site_id, found.id, before, after, moment)
        _follow_subscription(transaction, change, before["subscription"], after["subscription"], moment)
    if change.tags is not None:
        of_contact = (found.site_id, found.id, before["created_at"], after["subscription"])
        changed |= tags.replace(transaction, *of_contact, change.tags)
    if not changed:
        return current
    audit.record(transaction, TYPE.name, "update", [(found.site_id, found.id, found.caller)], moment)
    (record,) = records_of(transaction, transaction.rows(contact_as_it_is, which))
    return record


def _after(before: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a contact after a change."""
    after = before | {name: value for name, value in given.items() if name in FIXED}
    if "name" in given:
        after["name"] = _name(given["name"], after["email"])
    if given.get("subscribed") is True:
        after["subscription"] = int(Subscription.SUBSCRIBED)
    elif given.get("subscribed") is False and before["subscription"] == Subscription.SUBSCRIBED:
        after["subscription"] = int(Subscription.UNSUBSCRIBED)
    if any(name.startswith(PREFIX) for name in given):
        after["custom"] = custom_document(orjson.loads(before["custom"]) | given)
    return after


def _follow_subscription(
    transaction: Transaction, change: ContactChange, before: int, after: int, moment: str
) -> None:
    """Write the ledger's event for a change of subscription, and keep the counts."""
    if before == after:
        return
    found = change.found
    subscribed = after == Subscription.SUBSCRIBED
    event = consent.Event(found.site_id, found.id, subscribed, found.caller, change.circumstances)
    consent.add(transaction, event, moment)
    recount(transaction, found.site_id, found.id, Subscription(before), Subscription(after))


def recount(
    transaction: Transaction, site_id: int, contact_id: int, before: Subscription, after: Subscription
) -> None:
    """Keep what is counted when a contact's ledger has changed, and with it perhaps its subscription."""
    if before is not after:
        tags.follow_subscription(transaction, site_id, contact_id, before, after)
    _count(transaction, [(site_id, 0, *_minus(_state_counts(before))), (site_id, 0, *_state_counts(after))])
    consent.follow(transaction, site_id, contact_id)


def _remove(transaction: Transaction, found: Found) -> Refused | None:
    row = transaction.row(contact_as_it_is, {"site_id": found.site_id, "id": found.id})
    if row is None:
        return missing(transaction, RESOURCE, found.caller, str(found.id))
    found.judge(*records_of(transaction, [row]))
    delete_with_all(transaction, found.site_id, found.id, Subscription(row[SUBSCRIPTION_AT]))
    audit.record(transaction, TYPE.name, "delete", [(found.site_id, found.id, found.caller)], now())
    return None


def _state_counts(state: Subscription) -> tuple[int, int]:
    return int(state is Subscription.SUBSCRIBED), int(state is Subscription.NEVER)


def _minus(counts: tuple[int, int]) -> tuple[int, int]:
    return -counts[0], -counts[1]


def _count(
    transaction: Transaction, changes: Sequence[tuple[int, int, int, int]]
) -> list[tuple[int, int, int, int]]:
    """Add to the counts of sites: contacts, those subscribed, those who never were; return the sums."""
    sums: dict[int, tuple[int, int, int]] = {}
    for site_id, *more in changes:
        known = sums.get(site_id, (0, 0, 0))
        sums[site_id] = (known[0] + more[0], known[1] + more[1], known[2] + more[2])
    added = [(site_id, *more) for site_id, more in sorted(sums.items()) if any(more)]
    transaction.insert(add_to_counts, added)
    return added


def _judge_email(email: str, problems: list[Problem]) -> None:
    """Add what is wrong with an e-mail, unless its value was wrong already."""
    if problems and any(problem.name == "email" for problem in problems):
        return
    if not email:
        problems.append(Problem(Refusal.BLANK, "email", place=EMAIL_PLACE))
    elif not text.is_email(email):
        problems.append(Problem(Refusal.INVALID, "email", place=EMAIL_PLACE))


def _name(given: Any, email: str) -> str:
    name = str(given or "")
    return name if name.strip() else email.rpartition("@")[0]


def _taken(snapshot: Snapshot, caller: Caller, site_id: int, email_key: str, own_id: int) -> list[Problem]:
    row = snapshot.row(existing_id, {"site_id": site_id, "email_key": email_key})
    if row is None or row[0] == own_id:
        return []
    existing = (TYPE.name, row[0]) if caller.may(VIEW) else None
    return [Problem(Refusal.TAKEN, "email", place=EMAIL_PLACE, existing=existing)]


def _taken_external(snapshot: Snapshot, found: Found, external: str) -> list[Problem]:
    values = {"site_id": found.site_id, "external_user_id": external}
    row = snapshot.row(with_external_user_id, values)
    if row is None or row[0] == found.id:
        return []
    existing = (TYPE.name, row[0]) if found.caller.may(VIEW) else None
    return [Problem(Refusal.TAKEN, "external_user_id", place=EXTERNAL_PLACE, existing=existing)]


RESOURCE = Resource(
    type=TYPE,
    table=table,
    columns=RECORD_COLUMNS,
    records=records_of,
    sort_columns={"name": table.c.name_key, "email": table.c.email_key, "created_at": table.c.created_at},
    view_permission=VIEW,
    creation=Creation(EDIT, prepare, all_problems, create_many),
    change=Change(EDIT, prepare_change, all_problems_of_change, change_many, check_linkage),
    removal=Removal(EDIT, remove_many),
    gone=gone,
    total=audience.total,
    known=known_audience.known,
)
