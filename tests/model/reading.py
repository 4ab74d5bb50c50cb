"""How the model is read: what is found, in which order, and how it is shown."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from model.documents import Json, Url
from model.things import (
    CUSTOM,
    PLAIN,
    WRITABLE,
    Answer,
    Key,
    Refused,
    Thing,
    email_key,
    error,
    fold,
    identifiers,
    not_found,
)

Pairs = Sequence[tuple[str, str]]
SHOWN = {
    "consent_events": ("event", "cause", "source", "wording", "ip_address", "key_id", "user_id"),
    "contact_notes": ("body",),
    "contact_tags": ("name",),
    "custom_fields": ("title", "handle", "type", "required"),
    "sites": ("title", "subdomain"),
}
INCLUDES: dict[str, dict[str, str | None]] = {
    "contacts": {"offers": None, "tags": "view:contact_tags", "customer": None, "site": None},
    "contact_notes": {"contact": "view:contacts"},
}
PAGES = {"contact_notes": (20, 100)}
DEFAULT_SORTS = {"contacts": "-created_at", "contact_notes": "-created_at", "consent_events": "occurred_at"}
NOBODY, EVERYBODY = "used_coupon_code", "no_sent_email_broadcast_id"


class Register:
    """What there is, in lists, and the answers to questions about it."""

    def __init__(self, api: str) -> None:
        self.api = api
        self.things: dict[str, list[Thing]] = {name: [] for name in WRITABLE}
        self.sites = self.things["sites"]
        self.gone: list[Thing] = []
        self.merged: list[tuple[Thing, Thing]] = []
        self.local_ids: dict[tuple[str, str], Thing] = {}
        self.count = 0

    # Who and what is meant.

    def find(self, key: Key, type_name: str, which: Any) -> Thing:
        """Return the resource with an id, or with the identifier of an atomic operation."""
        if isinstance(which, dict) and "lid" in which:
            thing = self.local_ids.get((type_name, which["lid"]))
            if thing is not None and thing in self.things[type_name] and key.sees(thing):
                return thing
        sent = which.get("id") if isinstance(which, dict) else which
        for thing in self.things[type_name]:
            if thing.id.known == str(sent) and key.sees(thing):
                return thing
        for other, survivor in self.merged:
            if type_name == "contacts" and other.id.known == str(sent) and key.sees(other):
                raise self.named(not_found(), key, survivor, "merged_into")
        raise not_found()

    def named(self, problem: Refused, key: Key, other: Thing, member: str) -> Refused:
        """Let a refusal name the resource that it is about, where the key may view it."""
        if not key.may(f"view:{other.type}"):
            return problem
        about = {"about": Url((self.api, other.type, other.id))}
        return Refused(problem.status, problem.errors[0] | {"links": about, "meta": {member: other.id}})

    def resource(self, thing: Thing, fields: dict[str, list[str]] | None = None) -> Json:
        """Return the resource object of a resource."""
        attributes = self._attributes(thing)
        fields = fields or {}
        names = fields.get(thing.type, fields.get(thing.type.removesuffix("s")))
        if names is not None:
            attributes = {name: value for name, value in attributes.items() if name in names}
        found: Json = {"id": thing.id, "type": thing.type, "attributes": attributes}
        site = {"data": {"id": thing.site.id, "type": "sites"}} if thing.site else None
        if thing.contact is not None:
            found["relationships"] = {"contact": {"data": {"id": thing.contact.id, "type": "contacts"}}}
        elif thing.type == "contacts":
            linked = (self.api, "contacts", thing.id, "relationships")
            found["relationships"] = {
                "customer": {"data": None},
                "site": site,
                "offers": {"data": [], "links": {"self": Url((*linked, "offers"))}},
                "tags": {"data": identifiers(thing.tags), "links": {"self": Url((*linked, "tags"))}},
            }
            found["links"] = {"customer": ""}
        elif site:
            found["relationships"] = {"site": site}
        return found

    def _attributes(self, thing: Thing) -> Json:
        values = thing.values
        stamps = {"created_at": thing.created_at, "updated_at": thing.updated_at}
        if thing.type == "contacts":
            defined = {
                each.values["handle"]
                for each in self.things["custom_fields"]
                if each.site is thing.site and not each.values.get("archived")
            }
            head = {name: values[name] for name in ("name", "email", *PLAIN)}
            head |= {"subscribed": thing.subscribed, "external_user_id": values["external_user_id"]}
            shown = [name for name in CUSTOM if values.get(name) is not None or name in defined]
            return head | {name: values.get(name) for name in shown} | stamps
        if thing.type == "consent_events":
            return {name: values[name] for name in SHOWN[thing.type]} | {"occurred_at": thing.created_at}
        found = {name: values[name] for name in SHOWN[thing.type]}
        if thing.type in ("contact_notes", "sites"):
            return found | stamps
        return found | ({"archived": True} if values.get("archived") else {})

    def showing(self, thing: Thing) -> Answer:
        """Return the answer that shows a resource after a write."""
        url = Url((self.api, thing.type, thing.id))
        return Answer(200, {"data": self.resource(thing), "links": {"self": url, "current": url}}, thing)

    def given(self, thing: Thing, names: set[str]) -> Json:
        """Return the resource object with nothing but the attributes and relationships of these names."""
        whole = self.resource(thing)
        for part in ("attributes", "relationships"):
            whole[part] = {name: value for name, value in whole[part].items() if name in names}
        return whole

    def showing_given(self, thing: Thing, names: set[str]) -> Answer:
        """Return the answer that shows what was given for a resource, to one who may not view it."""
        url = Url((self.api, thing.type, thing.id))
        return Answer(200, {"data": self.given(thing, names), "links": {"self": url, "current": url}})

    def created(self, thing: Thing) -> Answer:
        """Return the answer that shows a new resource."""
        return Answer(201, self.showing(thing).document, thing)

    def linkage(self, contact: Thing) -> Answer:
        """Return the answer of a contact's tags."""
        url = Url((self.api, "contacts", contact.id, "relationships", "tags"))
        return Answer(200, {"data": identifiers(contact.tags), "links": {"self": url}})

    def tags_of(self, key: Key, which: str) -> Answer:
        """Return the answer to a question for a contact's tags."""
        contact = self.find(key, "contacts", which)
        key.require("view:contacts")
        return self.linkage(contact)

    def show(self, key: Key, type_name: str, which: str, query: Pairs) -> Answer:
        """Return the answer to a question for one resource."""
        includes = _includes(type_name, query)
        thing = self.find(key, type_name, which)
        for permission in includes.values():
            key.require(permission)
        key.require(None if type_name == "sites" else f"view:{type_name}")
        fields = _fields(query)
        document: Json = {"data": self.resource(thing, fields)}
        if includes:
            document["included"] = self._included([thing], includes, fields)
        url = Url((self.api, type_name, thing.id), tuple(query))
        return Answer(200, {**document, "links": {"self": url, "current": url}}, None if query else thing)

    def everything_about(self, key: Key, which: str) -> tuple[Answer, set[tuple[str, str]]]:
        """Return what an export answers, without its audit events, and those as (action, key)."""
        contact = self.find(key, "contacts", which)
        for permission in ("contacts", "contact_tags", "contact_notes", "audit_events"):
            key.require(f"view:{permission}")
        notes = [each for each in self.things["contact_notes"] if each.contact is contact]
        tags = sorted(contact.tags, key=lambda tag: tag.number)
        parts = [*contact.ledger, *notes, *tags, *([contact.site] if contact.site else [])]
        url = Url((self.api, "contacts", contact.id, "export"))
        links = {"self": url, "current": url}
        included = [self.resource(each) for each in parts]
        merged = self.merged_into(contact)
        meta = {"merged_ids": [each.id for each in merged], "mobile_phone_number": None}
        document = {"data": self.resource(contact), "included": included, "links": links, "meta": meta}
        return Answer(200, document), contact.audit.union(*(each.audit for each in merged))

    def merged_into(self, contact: Thing) -> list[Thing]:
        """Return the contacts that were dissolved in one, in the order of their ids."""
        merged = [other for other, survivor in self.merged if survivor is contact]
        return sorted(merged, key=lambda each: int(each.id.known))

    def _included(
        self, things: Sequence[Thing], includes: Iterable[str], fields: dict[str, list[str]]
    ) -> list[Json]:
        found: dict[Thing, None] = {}
        for name in includes:
            for thing in things:
                of_thing: Json = {"tags": thing.tags, "site": [thing.site], "contact": [thing.contact]}
                related = of_thing.get(name, [])
                found |= dict.fromkeys(each for each in related if each is not None)
        ordered = sorted(found, key=lambda thing: (thing.type, thing.number))
        return [self.resource(each, fields) for each in ordered]

    def listing(self, key: Key, type_name: str, query: Pairs) -> list[Thing]:
        """Return what a collection holds for a key, filtered and sorted."""
        asked = dict(query)
        found = [each for each in self.things[type_name] if key.sees(each)]
        if type_name in ("contact_tags", "custom_fields"):
            found = [each for each in found if not each.values.get("archived")]
        for name, value in asked.items():
            if name.startswith("filter[") and value:
                spelt = [value, value.replace(" ", "+")] if "@" in value and " " in value else [value]
                filter_name = name.removeprefix("filter[").removesuffix("]")
                found = [each for each in found if any(_passes(each, filter_name, text) for text in spelt)]
        return _sorted(type_name, found, asked.get("sort", ""))

    def page(self, key: Key, type_name: str, query: Pairs) -> Answer:
        """Return the answer to a question for a page by its number."""
        includes = _includes(type_name, query)
        for permission in (*includes.values(), None if type_name == "sites" else f"view:{type_name}"):
            key.require(permission)
        return self._page_of(
            type_name, self.listing(key, type_name, query), query, includes, (self.api, type_name)
        )

    def ledger_of(self, key: Key, which: str, query: Pairs) -> Answer:
        """Return the answer to a question for the consent events of a contact."""
        contact = self.find(key, "contacts", which)
        key.require("view:contacts")
        parts = (self.api, "contacts", contact.id, "consent_events")
        return self._page_of("consent_events", contact.ledger, query, (), parts)

    def _page_of(
        self,
        type_name: str,
        things: list[Thing],
        query: Pairs,
        includes: Iterable[str],
        parts: tuple[Any, ...],
    ) -> Answer:
        number, size = _page_asked(type_name, query)
        last = max(1, -(-len(things) // size))
        others = tuple((name, value) for name, value in query if name != "page[number]")
        own = Url(parts, tuple(query))
        to = {"first": 1, "prev": number - 1} if number > 1 else {}
        to |= {"next": number + 1, "last": last} if number < last else {}
        links = {"self": own, "current": own}
        links |= {name: Url(parts, (*others, ("page[number]", str(at)))) for name, at in to.items()}
        meta = {"total": len(things), "total_count": len(things), "total_pages": last, "current_page": number}
        shown = things[(number - 1) * size : number * size]
        return self._collection(shown, query, includes, links, meta)

    def cursor_pages(self, key: Key, type_name: str, query: Pairs, backward: bool) -> list[Answer]:
        """Return the answers to a walk by cursors: to the end, or from the last page to the beginning."""
        things = self.listing(key, type_name, query)
        includes = _includes(type_name, query)
        size = _page_asked(type_name, query)[1]
        parts = (self.api, type_name)
        answers = []
        for start in range(0, len(things) or 1, size):
            own = Url(parts, tuple(query), "page[before]" if backward else "page[after]")
            if start == 0 and not backward:
                own = Url(parts, (*query, ("page[after]", "")))
            links = {"self": own, "current": own}
            if start > 0:
                links["prev"] = Url(parts, tuple(query), "page[before]")
            if start + size < len(things):
                links["next"] = Url(parts, tuple(query), "page[after]")
            meta = {"page": {"size": size}}
            answers.append(self._collection(things[start : start + size], query, includes, links, meta))
        return answers[-2::-1] if backward else answers

    def _collection(
        self, shown: list[Thing], query: Pairs, includes: Iterable[str], links: Json, meta: Json
    ) -> Answer:
        fields = _fields(query)
        document: Json = {"data": [self.resource(each, fields) for each in shown]}
        if includes:
            document["included"] = self._included(shown, includes, fields)
        asked = [name[7:-1] for name, value in query if name.startswith("filter[") and value]
        unsupported = [name for name in asked if name in (NOBODY, EVERYBODY)]
        meta = meta | ({"unsupported_filters": unsupported} if unsupported else {})
        return Answer(200, {**document, "links": links, "meta": meta})


def _includes(type_name: str, query: Pairs) -> dict[str, str | None]:
    known = INCLUDES.get(type_name, {})
    names = [each for each in dict(query).get("include", "").split(",") if each]
    for name in names:
        if name not in known:
            raise Refused(400, error(400, f"{name} is not a supported include", {"parameter": "include"}))
    return {name: known[name] for name in names}


def _fields(query: Pairs) -> dict[str, list[str]]:
    return {name[7:-1]: value.split(",") for name, value in query if name.startswith("fields[")}


def _page_asked(type_name: str, query: Pairs) -> tuple[int, int]:
    """Return the number and the size of a page; a bad value is never an error."""
    default, cap = PAGES.get(type_name, (30, 1000))
    asked = dict(query)
    number, size = (
        int(text) if text.isascii() and text.isdigit() else 0
        for text in (asked.get("page[number]", ""), asked.get("page[size]", ""))
    )
    return number or 1, min(size or default, cap)


SORTS: dict[str, dict[str, Callable[[Thing], Any]]] = {
    "contacts": {
        "name": lambda thing: fold(thing.values["name"]),
        "email": lambda thing: email_key(thing.values["email"]),
        "created_at": lambda thing: thing.created_at.known,
    },
    "contact_tags": {"name": lambda thing: fold(thing.values["name"])},
    "contact_notes": {
        "created_at": lambda thing: thing.created_at.known,
        "updated_at": lambda thing: thing.updated_at.known,
    },
    "custom_fields": {
        "title": lambda thing: fold(thing.values["title"]),
        "handle": lambda thing: CUSTOM.index(thing.values["handle"]),
        "type": lambda thing: thing.values["type"].lower(),
        "required": lambda thing: thing.values["required"],
    },
    "sites": {
        "title": lambda thing: fold(thing.values["title"]),
        "subdomain": lambda thing: thing.values["subdomain"],
    },
}


def _sorted(type_name: str, things: list[Thing], sort: str) -> list[Thing]:
    """Return resources in the order that is asked for; what is equal in that of the ids."""
    known = SORTS[type_name]
    asked = [each for each in sort.split(",") if each.removeprefix("-") in known]
    if not asked and type_name in DEFAULT_SORTS:
        asked = [DEFAULT_SORTS[type_name]]
    found = sorted(things, key=lambda thing: int(thing.id.known))
    for each in reversed(asked):
        found.sort(key=known[each.removeprefix("-")], reverse=each.startswith("-"))
    return found


def _passes(thing: Thing, name: str, value: str) -> bool:
    """Say whether a filter lets a resource pass; one whose value means nothing lets all pass."""
    values, ids = thing.values, [each.strip() for each in value.split(",")]
    flag = {"true": True, "1": True, "false": False, "0": False}.get(value.lower())
    attribute = name.removesuffix("_contains").removesuffix("_cont")
    if name == "site_id":
        return (thing.site or thing).id.known in ids
    if name == "contact_id":
        return thing.contact is not None and thing.contact.id.known in ids
    if name == "search":
        return all(
            fold(word) in fold(values["name"]) or word.lower() in values["email"] for word in value.split()
        )
    if name in ("email", "email_eq"):
        return email_key(values["email"]) == email_key(value)
    if name in ("email_contains", "subdomain_cont"):
        return value.lower() in values[attribute]
    if name.endswith(("_contains", "_cont")):
        return fold(value) in fold(values.get(attribute) or "")
    tags = {each.id.known for each in thing.tags}
    if name in ("has_tag_id", "has_all_tag_id", "has_no_tag_id"):
        every = {each for each in ids if each} <= tags
        return {"has_tag_id": bool(tags & set(ids)), "has_all_tag_id": every}.get(name, not tags & set(ids))
    if name == "type_eq":
        return bool(values["type"] == value)
    if name == "required_eq":
        return flag is None or values["required"] == flag
    if name == "subscribed":
        return flag is None or thing.subscribed == flag
    if name == "never_subscribed":
        return flag is None or (not thing.ledger) == flag
    if name == "is_hidden":
        return flag is not True
    if name.endswith("_in_last"):
        return not value.isdigit() or _happened(thing, name)
    return name != NOBODY


def _happened(thing: Thing, name: str) -> bool:
    """Say whether it happened within some days: whatever happened at all did today."""
    said = {(each.values["event"], each.values["cause"]) for each in thing.ledger}
    answers = {
        "created_in_last": True,
        "not_created_in_last": False,
        "subscribed_in_last": any(event == "subscribed" for event, _ in said),
        "unsubscribed_in_last": any(event == "unsubscribed" for event, _ in said),
        "manually_unsubscribed_in_last": ("unsubscribed", "administrator") in said,
        "opted_out_in_last": ("unsubscribed", "recipient") in said,
    }
    return answers[name]
