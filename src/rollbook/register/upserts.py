"""Upserts: contacts that are created where they are new, and else skipped, changed or refused."""

from collections.abc import Sequence
from dataclasses import replace
from enum import Enum
from typing import Any, NamedTuple

from rollbook.jsonapi.errors import Problem, Refusal, Refused
from rollbook.jsonapi.reading import Draft, read_changed_resource, read_new_resource
from rollbook.jsonapi.resource import Record
from rollbook.register import contacts, tags
from rollbook.register.callers import Caller
from rollbook.register.consent import Subscription
from rollbook.register.contacts import ContactChange, NewContact
from rollbook.register.resource import Found, new_item
from rollbook.storage.transactions import Snapshot, Transaction


class OnDuplicate(Enum):
    """What a contact that is there already means."""

    REFUSE = "refuse"
    SKIP = "skip"
    UPDATE = "update"


class Upsert(NamedTuple):
    """A contact that is to be there: as a new one, and as a change of one that is there.

    With `external_user_id` the contact is found by that, else by its e-mail.
    """

    new: NewContact
    changed: Draft
    on_duplicate: OnDuplicate
    resubscribe: bool = False
    external_user_id: str | None = None
    problems: tuple[Problem, ...] = ()

    @property
    def key(self) -> str:
        """The key of the e-mail."""
        return self.new.keys.email_key


class Outcome(NamedTuple):
    """What became of an upsert; of a contact that was there, with the names of what was `given` for it."""

    record: Record
    created: bool = False
    skipped: bool = False
    given: frozenset[str] = frozenset()


def read(
    caller: Caller,
    document: dict[str, Any],
    on_duplicate: OnDuplicate,
    *,
    resubscribe: bool,
    by_external_user_id: bool,
) -> Upsert:
    """Read the document of an upsert; raise Refused by the stages of the contract, up to 409."""
    draft = read_new_resource(contacts.RESOURCE.type, document)
    new: NewContact = new_item(contacts.RESOURCE, caller, draft)
    changed = read_changed_resource(contacts.RESOURCE.type, document, "")._replace(conflict=None)
    external, problems = changed.attributes.get("external_user_id"), list(new.problems)
    if by_external_user_id:
        problems += [each for each in changed.problems if each.name == "external_user_id"]
        if not str(external or "").strip() and not any(each.name == "external_user_id" for each in problems):
            problems.append(Problem(Refusal.BLANK, "external_user_id", place=contacts.EXTERNAL_PLACE))
        if not any(
            name == "email" for name in (*changed.attributes, *(each.name for each in changed.problems))
        ):
            problems = [each for each in problems if each.name != "email"]
    else:
        # Ignored as on create, so that whether it can be stored does not matter either.
        changed.attributes.pop("external_user_id", None)
        changed = changed._replace(
            problems=tuple(each for each in changed.problems if each.name != "external_user_id")
        )
        external = None
    problems.sort(key=lambda problem: problem.place)
    return Upsert(
        new, changed, on_duplicate, resubscribe, None if external is None else str(external), tuple(problems)
    )


def do_many(transaction: Transaction, items: list[Upsert]) -> list[Outcome | Refused]:
    """Do upserts, each by itself; of several with one e-mail, the first makes the contact."""
    contacts.lock_with_counts(transaction, (item.new.site_id for item in items))
    outcomes: dict[int, Outcome | Refused] = {}
    for at, item in enumerate(items):
        refused = _refusal(transaction, item)
        if refused is not None:
            outcomes[at] = refused
    by_email = [at for at, item in enumerate(items) if at not in outcomes and item.external_user_id is None]
    made = contacts.create_many(transaction, [items[at].new for at in by_email]) if by_email else []
    for at, answer in zip(by_email, made, strict=True):
        item = items[at]
        if isinstance(answer, Record):
            outcomes[at] = _finish(transaction, item, answer)
        elif item.on_duplicate is OnDuplicate.REFUSE:
            outcomes[at] = answer
        else:
            outcomes[at] = _meet(transaction, item, _with_email(transaction, item))
    for at, item in enumerate(items):
        if at not in outcomes:
            outcomes[at] = _by_external_user_id(transaction, item)
    return [outcomes[at] for at in range(len(items))]


def do_batches(transaction: Transaction, batches: list[list[Upsert]]) -> list[list[Outcome | Refused]]:
    """Do batches of upserts."""
    # Each would lock its own, whatever sites those before it have.
    contacts.lock_with_counts(transaction, (item.new.site_id for batch in batches for item in batch))
    return [do_many(transaction, batch) for batch in batches]


def _refusal(snapshot: Snapshot, item: Upsert) -> Refused | None:
    """Return why an upsert cannot be done, as far as its own words tell."""
    try:
        tags.ids_of_known(snapshot, item.new.site_id, item.changed.linkage.get("tags", ()))
    except Refused as refused:
        return refused
    return Refused(*item.problems) if item.problems else None


def _with_email(snapshot: Snapshot, item: Upsert) -> int:
    values = {"site_id": item.new.site_id, "email_key": item.key}
    return int(snapshot.rows(contacts.existing_id, values)[0][0])


def _by_external_user_id(transaction: Transaction, item: Upsert) -> Outcome | Refused:
    values = {"site_id": item.new.site_id, "external_user_id": item.external_user_id}
    row = transaction.row(contacts.with_external_user_id, values)
    if row is not None:
        return _meet(transaction, item, row[0])
    if "email" not in item.changed.attributes:
        return Refused(Problem(Refusal.BLANK, "email", place=contacts.EMAIL_PLACE))
    (answer,) = contacts.create_many(transaction, [item.new])
    return answer if isinstance(answer, Refused) else _finish(transaction, item, answer)


def _finish(transaction: Transaction, item: Upsert, made: Record) -> Outcome | Refused:
    """Give a contact that was just made what a create does not: its tags, its external user id."""
    change = _change(item, made.id)
    given = {} if item.external_user_id is None else {"external_user_id": item.external_user_id}
    if not given and not change.tags:
        return Outcome(made, created=True)
    (answer,) = contacts.change_many(transaction, [change._replace(given=given)])
    if isinstance(answer, Refused):
        raise answer  # what was made must not stay: its words were checked, so this is no daily event
    return Outcome(answer, created=True)


def _meet(transaction: Transaction, item: Upsert, contact_id: int) -> Outcome | Refused:
    """Skip or change the contact that is there."""
    found = Found(item.new.caller, item.new.site_id, contact_id)
    current = contacts.read(transaction, found)
    if item.on_duplicate is OnDuplicate.SKIP:
        return Outcome(current, skipped=True)
    change = _change(item, contact_id)
    if not item.resubscribe and change.given.get("subscribed") is True and _opted_out(transaction, found):
        change = change._replace(given={**change.given, "subscribed": False})
    (answer,) = contacts.change_many(transaction, [change])
    if isinstance(answer, Refused):
        return answer
    return Outcome(answer, given=frozenset(("site", *change.given, *item.changed.linkage)))


def _change(item: Upsert, contact_id: int) -> ContactChange:
    found = Found(item.new.caller, item.new.site_id, contact_id)
    change = contacts.prepare_change(found, item.changed)
    return change._replace(circumstances=item.new.circumstances, may_set_external=True)


def _opted_out(snapshot: Snapshot, found: Found) -> bool:
    values = contacts.values_of(snapshot, found.site_id, found.id)
    return values is not None and values["subscription"] == Subscription.UNSUBSCRIBED


def moved(refused: Refused, at: int) -> Sequence[Problem]:
    """Return the problems of one item of a batch, at their places in its document."""
    return [replace(problem, within=f"/data/{at}") for problem in refused.problems]
