"""Sites: where contacts belong; made by an operator, read by keys."""

import itertools
import re
from typing import Any, NamedTuple

from sqlalchemy import bindparam, insert, select, update

from rollbook.jsonapi.errors import Problem, Refusal, Refused, refuse
from rollbook.jsonapi.reading import ID_LIMIT, Draft
from rollbook.jsonapi.resource import Attribute, Filter, Kind, Record, ResourceType
from rollbook.register import audit, text
from rollbook.register.callers import Caller
from rollbook.register.moments import now
from rollbook.register.one_by_one import one_by_one
from rollbook.register.resource import (
    Change,
    Creation,
    Found,
    Resource,
    each_by,
    missing,
    plain_record,
    stored,
)
from rollbook.storage import dialects, tables
from rollbook.storage.statements import InsertRows, Statement
from rollbook.storage.transactions import Snapshot, Transaction

table = tables.sites

EDIT = "edit:sites"
NOWHERE = 0
SUBDOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")

TYPE = ResourceType(
    name="sites",
    description="A site: the audience that contacts belong to.",
    attributes=(
        Attribute(
            "title",
            required=True,
            on_create=True,
            on_update=True,
            description="What people call the site.",
            example="Harbour Studio",
        ),
        Attribute(
            "subdomain",
            on_create=True,
            on_update=True,
            description="A short name of a-z, 0-9 and -; made from the title unless given.",
            example="harbour",
            asks={"pattern": f"^{SUBDOMAIN.pattern}$"},
        ),
        Attribute("created_at", Kind.TIMESTAMP, example="2026-02-03T08:15:00.000Z"),
        Attribute("updated_at", Kind.TIMESTAMP, example="2026-02-03T08:15:00.000Z"),
    ),
    sorts=("title", "subdomain"),
    filters=(
        Filter(
            "title_cont",
            "whose title contains this, in any case",
            values=lambda value, _sites: [text.text_key(value)],
            condition=lambda bound: dialects.contains(table.c.title_key, bound[0]),
            example="harbour",
        ),
        Filter(
            "subdomain_cont",
            "whose subdomain contains this, in any case",
            values=lambda value, _sites: [value.lower()],
            condition=lambda bound: dialects.contains(table.c.subdomain, bound[0]),
            example="harb",
        ),
    ),
    example_id="123",
)


class SiteRefused(ValueError):
    """A site cannot be made so; the message says why."""


class Site(NamedTuple):
    """A site as the command line shows it."""

    id: int
    title: str
    subdomain: str


every_site = Statement(select(table.c.id, table.c.title, table.c.subdomain).order_by(table.c.id))
site_with_subdomain = Statement(select(table.c.id).where(table.c.subdomain == bindparam("subdomain")))
site_with_id = Statement(select(table.c.id).where(table.c.id == bindparam("id")))
add_site = InsertRows(insert(table), ["id", "title", "title_key", "subdomain", "created_at", "updated_at"])
add_counts = InsertRows(
    insert(tables.contact_counts), ["site_id", "contacts", "subscribed", "never_subscribed"]
)
change_site = Statement(
    update(table)
    .where(table.c.id == bindparam("of_id"))
    .values(
        title=bindparam("title"),
        title_key=bindparam("title_key"),
        subdomain=bindparam("subdomain"),
        updated_at=bindparam("updated_at"),
    )
)


class NewSite(NamedTuple):
    """A site that is to be made by a caller, and what is wrong with it."""

    caller: Caller
    title: str
    subdomain: str | None
    problems: tuple[Problem, ...]


class SiteChange(NamedTuple):
    """A change of a site, and what is wrong with it."""

    found: Found
    given: dict[str, Any]
    problems: tuple[Problem, ...]


def create(
    transaction: Transaction, *, title: str | None, subdomain: str | None, site_id: int | None
) -> Site:
    """Make a site; without an id it gets a new one, without a title or a subdomain a plain one.

    Raises SiteRefused where the id or the subdomain is taken or cannot be used.
    """
    if site_id is None:
        site_id = _free_id(transaction)
    elif not 0 < site_id < ID_LIMIT:
        raise SiteRefused(f"The id {site_id} cannot be used: it must be between 1 and 2^53 - 1.")
    elif transaction.row(site_with_id, {"id": site_id}):
        raise SiteRefused(f"There is a site {site_id} already. `rollbook sites list` shows all.")
    title = title or f"Site {site_id}"
    if subdomain is None:
        subdomain = _free_subdomain(transaction, title, site_id)
    elif not SUBDOMAIN.fullmatch(subdomain):
        raise SiteRefused(
            f"The subdomain {subdomain!r} cannot be used: it must have 1 to 63 of a-z, 0-9 and -, and "
            "neither begin nor end with -."
        )
    elif transaction.row(site_with_subdomain, {"subdomain": subdomain}):
        raise SiteRefused(f"The subdomain {subdomain!r} is taken. `rollbook sites list` shows all.")
    moment = now()
    transaction.insert(add_site, [(site_id, title, text.text_key(title), subdomain, moment, moment)])
    transaction.insert(add_counts, [(site_id, 0, 0, 0)])
    return Site(site_id, title, subdomain)


def everything(snapshot: Snapshot) -> list[Site]:
    """Return all sites, in the order of their ids."""
    return [Site(*row) for row in snapshot.rows(every_site)]


def all_sites_only(caller: Caller, _draft: Draft) -> int:
    """Return that a new site belongs to none; raise Refused for a key that would not see it."""
    if not caller.all_sites:
        raise refuse(Refusal.PERMISSION_MISSING)
    return NOWHERE


def prepare(caller: Caller, _site_id: int, draft: Draft) -> NewSite:
    """Judge the draft of a site by itself."""
    title, subdomain = str(draft.attributes.get("title") or ""), draft.attributes.get("subdomain")
    problems = [*_judge({"title": title, "subdomain": subdomain}, draft), *draft.problems]
    problems.sort(key=lambda problem: problem.place)
    return NewSite(caller, title, None if subdomain is None else str(subdomain), tuple(problems))


def all_problems(snapshot: Snapshot, new: NewSite) -> list[Problem]:
    """Return every problem of a site that cannot be made."""
    return [*new.problems, *_taken(snapshot, new.subdomain, NOWHERE, new.problems)]


def create_many(transaction: Transaction, items: list[NewSite]) -> list[Record | Refused]:
    """Make sites, or refuse a taken subdomain."""
    answers: list[Record | Refused] = []
    for new in items:
        problems = _taken(transaction, new.subdomain, NOWHERE)
        if problems:
            answers.append(Refused(*problems))
            continue
        site = create(transaction, title=new.title, subdomain=new.subdomain, site_id=None)
        audit.record(transaction, TYPE.name, "create", [(site.id, site.id, new.caller)], now())
        answers.append(_stored(transaction, site.id))
    return answers


def prepare_change(found: Found, draft: Draft) -> SiteChange:
    """Judge the change of a site by itself; a null subdomain counts as absent."""
    given = {name: value for name, value in draft.attributes.items() if name == "title" or value is not None}
    problems = sorted((*_judge(given, draft), *draft.problems), key=lambda problem: problem.place)
    return SiteChange(found, given, tuple(problems))


def all_problems_of_change(snapshot: Snapshot, change: SiteChange) -> list[Problem]:
    """Return every problem of a change that cannot be made."""
    subdomain = change.given.get("subdomain")
    return [*change.problems, *_taken(snapshot, subdomain, change.found.id, change.problems)]


def change_many(transaction: Transaction, items: list[SiteChange]) -> list[Record | Refused]:
    """Change sites, or refuse a taken subdomain."""
    return one_by_one(transaction, items, lambda change: change.found.site_id, _change)


def _change(transaction: Transaction, change: SiteChange) -> Record | Refused:
    found = change.found
    current = stored(transaction, RESOURCE, found.site_id, found.id)
    if current is None:
        return missing(transaction, RESOURCE, found.caller, str(found.id))
    found.judge(current)
    problems = all_problems_of_change(transaction, change)
    if problems:
        return Refused(*problems)
    after = current.attributes | change.given
    if after == current.attributes:
        return current
    moment = now()
    values = {name: after[name] for name in ("title", "subdomain")}
    values |= {"title_key": text.text_key(after["title"]), "updated_at": moment}
    transaction.run(change_site, values | {"of_id": found.id})
    audit.record(transaction, TYPE.name, "update", [(found.id, found.id, found.caller)], moment)
    return _stored(transaction, found.id)


def _stored(snapshot: Snapshot, site_id: int) -> Record:
    record = stored(snapshot, RESOURCE, site_id, site_id)
    if record is None:
        raise LookupError(f"the site {site_id} is gone within its own transaction")
    return record


def _judge(given: dict[str, Any], draft: Draft) -> list[Problem]:
    """Return what is wrong with a title and a subdomain, unless their values were wrong already."""
    known = {problem.name for problem in draft.problems}
    problems = []
    if "title" in given and "title" not in known and not str(given["title"] or "").strip():
        problems.append(Problem(Refusal.BLANK, "title", place=TYPE.on_create["title"][0]))
    subdomain = given.get("subdomain")
    if subdomain is not None and "subdomain" not in known and not SUBDOMAIN.fullmatch(str(subdomain)):
        problems.append(Problem(Refusal.INVALID, "subdomain", place=TYPE.on_create["subdomain"][0]))
    return problems


def _taken(
    snapshot: Snapshot, subdomain: str | None, own_id: int, known: tuple[Problem, ...] = ()
) -> list[Problem]:
    """Return that a subdomain is another site's; whose is not said, for it may be unseen."""
    if subdomain is None or any(problem.name == "subdomain" for problem in known):
        return []
    row = snapshot.row(site_with_subdomain, {"subdomain": subdomain})
    if row is None or row[0] == own_id:
        return []
    return [Problem(Refusal.TAKEN, "subdomain", place=TYPE.on_create["subdomain"][0])]


def _free_id(transaction: Transaction) -> int:
    # An id that came from elsewhere may stand in the way of those that we allot.
    while True:
        (site_id,) = transaction.new_ids("sites", 1)
        if not transaction.row(site_with_id, {"id": site_id}):
            return site_id


def _free_subdomain(transaction: Transaction, title: str, site_id: int) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:40].strip("-") or f"site-{site_id}"
    for free in itertools.chain(
        (slug, f"{slug}-{site_id}"), map(f"{slug}-{site_id}-{{}}".format, itertools.count(2))
    ):
        if not transaction.row(site_with_subdomain, {"subdomain": free}):
            break
    return free


RESOURCE = Resource(
    type=TYPE,
    table=table,
    columns=(
        table.c.id,
        table.c.id.label("site_id"),
        table.c.title,
        table.c.subdomain,
        table.c.created_at,
        table.c.updated_at,
    ),
    records=each_by(plain_record(TYPE)),
    sort_columns={"title": table.c.title_key, "subdomain": table.c.subdomain},
    creation=Creation(EDIT, prepare, all_problems, create_many, site_of=all_sites_only, extension=True),
    change=Change(EDIT, prepare_change, all_problems_of_change, change_many, extension=True),
)
