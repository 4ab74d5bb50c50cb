"""Tagging: which tags a contact has, changed by adding, removing or replacing some."""

from enum import Enum
from typing import NamedTuple

from rollbook.jsonapi.errors import Refused
from rollbook.register import consent, contacts, tags
from rollbook.register.contacts import ContactChange
from rollbook.register.one_by_one import one_by_one
from rollbook.register.resource import Found
from rollbook.storage.transactions import Transaction


class Verb(Enum):
    """What is done with tags that a contact has or has not."""

    ADD = "add"
    REMOVE = "remove"
    REPLACE = "replace"


class Tagging(NamedTuple):
    """A contact, what to do, and with which tags of its site."""

    found: Found
    verb: Verb
    tags: tuple[int, ...]


def write_many(transaction: Transaction, items: list[Tagging]) -> list[list[int] | Refused]:
    """Add, remove or replace tags; return all tags of each contact, ascending."""
    return one_by_one(transaction, items, lambda tagging: tagging.found.site_id, _write)


def _write(transaction: Transaction, tagging: Tagging) -> list[int] | Refused:
    found = tagging.found
    current, named = set(tags.of_contact(transaction, found.site_id, found.id)), set(tagging.tags)
    if tagging.verb is Verb.ADD:
        wanted = current | named
    else:
        wanted = current - named if tagging.verb is Verb.REMOVE else named
    change = ContactChange(found, {}, tuple(sorted(wanted)), consent.UNSAID, ())
    (answer,) = contacts.change_many(transaction, [change])
    if isinstance(answer, Refused):
        return answer
    return tags.of_contact(transaction, found.site_id, found.id)
