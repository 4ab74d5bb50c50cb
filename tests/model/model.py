"""What a register of contacts does, in dicts and lists: the plain model that the server is compared with.

Written from the wire contract and the page of extensions. Every method takes the documents that the server
is sent, changes the model, and returns the answer that is expected, or raises Refused with the errors.
"""

import copy
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from model.documents import Json, Learned, Url, Within, plain

Pairs = Sequence[tuple[str, str]]
ADDRESS = (
    "address_line_1",
    "address_line_2",
    "address_city",
    "address_country",
    "address_state",
    "address_zip",
)
PLAIN = (*ADDRESS, "phone_number", "business_number")
CUSTOM = tuple(f"custom_{number}" for number in range(1, 151))
FIELD_KINDS = (
    *("TextField", "PhoneField", "EmailField", "TextAreaField", "CheckboxField", "SelectBoxField"),
    *("RadioButtonsField", "CountryField", "MobilePhoneField"),
)
# What a document may set, in the order of the answers: a text, a flag or one of some choices.
CONTACT = dict.fromkeys(("name", "email", *PLAIN), "text") | {"subscribed": "flag"}
WRITABLE: dict[str, dict[str, Any]] = {
    "contacts": {**CONTACT, "external_user_id": "text", **dict.fromkeys(CUSTOM, "text")},
    "contact_tags": {"name": "text", "archived": "flag"},
    "contact_notes": {"body": "text"},
    "custom_fields": {
        "title": "text",
        "handle": "text",
        "type": FIELD_KINDS,
        "required": "flag",
        "archived": "flag",
    },
}
NOT_ON_CREATE = ("external_user_id", "archived")
NOT_ON_CHANGE = ("handle",)
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
IDNA = {"exämple.test": "xn--exmple-cua.test", "exa\u0308mple.test": "xn--exmple-cua.test"}
TITLES = {
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    409: "Conflict",
    412: "Precondition Failed",
    422: "Unprocessable Entity",
}


def fold(text: str) -> str:
    """Return a text as it compares in any case: Unicode's compatibility caseless matching."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return unicodedata.normalize("NFKC", folded)


def email_key(email: str) -> str:
    """Return what makes an e-mail unique."""
    local, at, domain = email.strip().lower().rpartition("@")
    return local + at + IDNA.get(domain, domain)


class Refused(Exception):
    """A request is refused, with these error objects."""

    def __init__(self, status: int, *errors: Json) -> None:
        super().__init__(status, errors)
        self.status, self.errors = status, errors

    def within(self, where: str, pointed: str) -> "Refused":
        """Return the same refusal of an item of a document: `pointed` takes the place of `/data`."""
        return Refused(
            self.status, *(error | {"source": _moved(error, where, pointed)} for error in self.errors)
        )


def _moved(error: Json, where: str, pointed: str) -> Any:
    pointer = (error["source"] or {}).get("pointer", "")
    if pointer.startswith("/data"):
        return {"pointer": pointed + pointer.removeprefix("/data")}
    return Within(where)


def refused(status: int, detail: str, pointer: str | None = None, **more: Any) -> Refused:
    """Return a refusal with one error object."""
    return Refused(status, error(status, detail, {"pointer": pointer} if pointer else None) | more)


def error(status: int, detail: str, source: Json | None = None) -> Json:
    """Return an error object."""
    return {"status": str(status), "source": source, "title": TITLES[status], "detail": detail}


def not_found(pointer: str | None = None) -> Refused:
    """Return the refusal for whatever is unknown or unseen."""
    return refused(404, "The requested resource could not be found", pointer)


@dataclass(eq=False)
class Thing:
    """Any resource; `values` has its attributes as they are stored."""

    type: str
    site: "Thing | None"
    number: int
    values: dict[str, Any]
    id: Learned = field(default_factory=lambda: Learned("id"))
    created_at: Learned = field(default_factory=lambda: Learned("moment"))
    updated_at: Learned = field(default_factory=lambda: Learned("moment"))
    tags: "list[Thing]" = field(default_factory=list)
    ledger: "list[Thing]" = field(default_factory=list)
    contact: "Thing | None" = None
    audit: set[tuple[str, str]] = field(default_factory=set)

    def touch(self) -> None:
        """Note that the resource is changed now."""
        self.updated_at = Learned("moment", self.updated_at)

    @property
    def subscribed(self) -> bool:
        """What the last consent event says."""
        return bool(self.ledger) and self.ledger[-1].values["event"] == "subscribed"


@dataclass(frozen=True)
class Key:
    """An API key: the sites that it sees, and its permissions (None for all)."""

    name: str
    id: str
    user_id: str
    site_ids: frozenset[str]
    permissions: frozenset[str] | None = None

    def may(self, permission: str | None) -> bool:
        """Say whether the key has a permission."""
        return permission is None or self.permissions is None or permission in self.permissions

    def require(self, permission: str | None) -> None:
        """Raise Refused where the key lacks a permission."""
        if not self.may(permission):
            raise refused(403, "You do not have permission to perform this action")

    def sees(self, thing: Thing) -> bool:
        """Say whether the key sees the site of a resource, or a site itself."""
        return (thing.site or thing).id.known in self.site_ids


@dataclass(frozen=True)
class Answer:
    """An answer: its status, its document, and the resource that it shows, if it shows one."""

    status: int
    document: Json
    shown: Thing | None = None


class Model:
    """The register, as one who reads the documentation understands it."""

    def __init__(self, api: str) -> None:
        self.api = api
        self.sites: list[Thing] = []
        self.things: dict[str, list[Thing]] = {name: [] for name in WRITABLE}
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
        pool = self.sites if type_name == "sites" else self.things[type_name]
        for thing in pool:
            if thing.id.known == str(sent) and key.sees(thing):
                return thing
        for other, survivor in self.merged:
            if type_name == "contacts" and other.id.known == str(sent) and key.sees(other):
                raise self._named(not_found(), key, survivor, "merged_into")
        raise not_found()

    def site_of(self, key: Key, data: Json) -> Thing:
        """Return the site that a document names."""
        found = ((data.get("relationships") or {}).get("site") or {}).get("data")
        if not isinstance(found, dict) or found.get("type") != "sites" or not found.get("id"):
            raise refused(400, "Site relationship is required", "/data/relationships/site")
        try:
            return self.find(key, "sites", found)
        except Refused:
            raise not_found("/data/relationships/site") from None

    def tags_named(self, site: Thing | None, key: Key, identifiers: Iterable[Json]) -> list[Thing]:
        """Return tags of a site."""
        tags = [self.find(key, "contact_tags", each) for each in identifiers]
        if any(tag.site is not site for tag in tags):
            raise not_found()
        return tags

    # What a document says.

    def read(self, type_name: str, data: Json, without: Sequence[str]) -> tuple[Json, dict[str, Json]]:
        """Return the attributes that are given, and an error for each that cannot be stored."""
        given: Json = {}
        problems: dict[str, Json] = {}
        for name, value in (data.get("attributes") or {}).items():
            kind = WRITABLE[type_name].get(name)
            if kind is None or name in without:
                continue
            number = isinstance(value, int) and not isinstance(value, bool)
            if value is None:
                given[name] = None
            elif kind == "flag" and (isinstance(value, bool) or value in ("true", "false", 0, 1)):
                given[name] = value in (True, "true")
            elif kind != "flag" and isinstance(value, str) and "\0" in value:
                problems[name] = attribute_error(name, "contains characters that cannot be stored")
            elif kind == "text" and (number or isinstance(value, str)):
                given[name] = str(value)
            elif isinstance(kind, tuple) and value in kind:
                given[name] = value
            else:
                problems[name] = attribute_error(name, "is invalid")
        return given, problems

    def circumstances(self, document: Json, problems: dict[str, Json]) -> Json:
        """Return what a document's `meta.consent` says."""
        said = (document.get("meta") or {}).get("consent")
        found = {"cause": "administrator", "source": "api", "wording": None, "ip_address": None}
        if said is None:
            return found
        if not isinstance(said, dict):
            problems["meta"] = error(422, "Consent is invalid", {"pointer": "/meta/consent"})
            return found
        if said.get("cause") not in (None, "administrator", "recipient"):
            problems["meta"] = error(422, "Cause is invalid", {"pointer": "/meta/consent/cause"})
        return found | {name: value for name, value in said.items() if name in found and value is not None}

    def judge_email(
        self, key: Key, site: Thing | None, own: Thing | None, given: Json, problems: dict[str, Json]
    ) -> None:
        """Trim and lower an e-mail, and note what is wrong with it."""
        if "email" in problems:
            return
        given["email"] = (given.get("email") or "").strip().lower()
        local, at, domain = given["email"].rpartition("@")
        if not given["email"]:
            problems["email"] = attribute_error("email", "can't be blank")
        elif not (local and at and domain) or len(given["email"].split()) > 1:
            problems["email"] = attribute_error("email", "is invalid")
        else:
            other = self.with_email(site, given["email"])
            if other is not None and other is not own:
                problems["email"] = self._taken(key, "email", other)

    def with_email(self, site: Thing | None, email: str) -> Thing | None:
        """Return the contact of a site that has an e-mail."""
        for each in self.things["contacts"]:
            if each.site is site and email_key(each.values["email"]) == email_key(email):
                return each
        return None

    # Writing.

    def create(self, key: Key, type_name: str, document: Json) -> Thing:
        """Make a resource."""
        data = document["data"]
        site = None if type_name == "contact_notes" else self.site_of(key, data)
        key.require(f"edit:{type_name}")
        if data.get("type", type_name) != type_name:
            raise refused(409, f"Type must be {type_name}", "/data/type")
        given, problems = self.read(type_name, data, NOT_ON_CREATE)
        if type_name == "contacts":
            self.judge_email(key, site, None, given, problems)
            circumstances = self.circumstances(document, problems)
            _refuse(type_name, problems)
            return self._add_contact(key, site, given, circumstances)
        contact = None
        if type_name == "contact_notes":
            contact = self._judge_note(key, data, given, problems)
            site = contact.site if contact else None
        elif type_name == "contact_tags":
            self._judge_tag_name(key, site, None, given, problems)
        else:
            self._judge_new_field(key, site, given, problems)
        _refuse(type_name, problems)
        thing = Thing(type_name, site, self._next(), given, contact=contact)
        thing.updated_at = thing.created_at
        self.things[type_name].append(thing)
        return thing

    def _add_contact(self, key: Key, site: Thing | None, given: Json, circumstances: Json) -> Thing:
        values = dict.fromkeys(("name", "email", *PLAIN, "external_user_id"))
        given_values = {
            name: each for name, each in given.items() if each is not None and name != "subscribed"
        }
        contact = Thing("contacts", site, self._next(), values | given_values)
        contact.values["name"] = _name(given.get("name"), given["email"])
        contact.updated_at = contact.created_at
        contact.audit.add(("contacts.create", key.id))
        self._subscribe(key, contact, given.get("subscribed"), circumstances)
        self.things["contacts"].append(contact)
        return contact

    def _subscribe(self, key: Key, contact: Thing, wanted: bool | None, circumstances: Json) -> bool:
        """Add an event to the ledger where the subscription changes; say whether it did."""
        if wanted is None or wanted == contact.subscribed:
            return False
        values = {"event": "subscribed" if wanted else "unsubscribed", **circumstances}
        values |= {"key_id": key.id, "user_id": key.user_id}
        event = Thing("consent_events", contact.site, self._next(), values, contact=contact)
        event.created_at = Learned("moment", contact.created_at)
        contact.ledger.append(event)
        return True

    def _judge_note(self, key: Key, data: Json, given: Json, problems: dict[str, Json]) -> Thing | None:
        _judge_blank("body", given, problems)
        named = ((data.get("relationships") or {}).get("contact") or {}).get("data")
        try:
            if isinstance(named, dict) and named.get("type") == "contacts":
                return self.find(key, "contacts", named)
        except Refused:
            pass
        problems["contact"] = error(422, "Contact must exist", {"pointer": "/data/relationships/contact"})
        return None

    def _judge_tag_name(
        self, key: Key, site: Thing | None, own: Thing | None, given: Json, problems: dict[str, Json]
    ) -> None:
        _judge_blank("name", given, problems)
        if problems:
            return
        for other in self.things["contact_tags"]:
            same = fold(other.values["name"].strip()) == fold(given["name"].strip())
            if same and other.site is site and other is not own:
                problems["name"] = self._taken(key, "name", other)

    def _judge_new_field(self, key: Key, site: Thing | None, given: Json, problems: dict[str, Json]) -> None:
        _judge_blank("title", given, problems)
        others = {each.values["handle"]: each for each in self.things["custom_fields"] if each.site is site}
        handle = given.get("handle") or next(each for each in CUSTOM if each not in others)
        if "handle" not in problems and handle not in CUSTOM:
            problems["handle"] = attribute_error("handle", "is invalid")
        elif "handle" not in problems and handle in others:
            problems["handle"] = self._taken(key, "handle", others[handle])
        defaults = {"title": None, "handle": handle, "type": "TextField", "required": False}
        values = defaults | {name: value for name, value in given.items() if value is not None}
        given.clear()
        given.update(values)

    def change(self, key: Key, type_name: str, which: Any, document: Json, if_match: Any = None) -> Thing:
        """Change what is given of a resource; `if_match` is the document that it must be as."""
        data = document["data"]
        thing = self.find(key, type_name, which)
        tags = self._tags_given(key, thing.site, document) if type_name == "contacts" else None
        key.require(f"edit:{type_name}")
        if data.get("type", type_name) != type_name:
            raise refused(409, f"Type must be {type_name}", "/data/type")
        if "id" in data and str(data["id"]) != thing.id.known:
            raise refused(409, "Id does not match the URL", "/data/id")
        given, problems = self.read(type_name, data, NOT_ON_CHANGE)
        if type_name == "contacts":
            if given.get("external_user_id") is not None:
                problems["external_user_id"] = attribute_error(
                    "external_user_id", "can't be set without a customer"
                )
            if "email" in given:
                self.judge_email(key, thing.site, thing, given, problems)
            circumstances = self.circumstances(document, problems)
            _refuse(type_name, problems)
            self._match(thing, if_match)
            # Null without a customer is no change (contract 5.2).
            given.pop("external_user_id", None)
            self._change_contact(key, thing, given, tags, circumstances)
            return thing
        given = {
            name: each
            for name, each in given.items()
            if each is not None or name in ("name", "title", "body")
        }
        if type_name == "contact_tags" and "name" in given:
            self._judge_tag_name(key, thing.site, thing, given, problems)
        for name in ("title", "body"):
            if name in given:
                _judge_blank(name, given, problems)
        _refuse(type_name, problems)
        self._match(thing, if_match)
        if {"archived": False} | thing.values | given != {"archived": False} | thing.values:
            thing.touch()
        thing.values |= given
        return thing

    def _tags_given(self, key: Key, site: Thing | None, document: Json) -> list[Thing] | None:
        for place in (document["data"], document):
            named = (place.get("relationships") or {}).get("tags")
            if named is not None:
                return self.tags_named(site, key, named["data"])
        return None

    def _change_contact(
        self, key: Key, contact: Thing, given: Json, tags: list[Thing] | None, circumstances: Json
    ) -> None:
        before = dict(contact.values)
        contact.values |= {name: value for name, value in given.items() if name != "subscribed"}
        contact.values["name"] = _name(contact.values["name"], contact.values["email"])
        for name in [each for each in contact.values if each in CUSTOM and contact.values[each] is None]:
            del contact.values[name]
        turned = self._subscribe(key, contact, given.get("subscribed"), circumstances)
        if turned or contact.values != before:
            contact.touch()
        same_tags = tags is None or set(tags) == set(contact.tags)
        if tags is not None:
            contact.tags = list(dict.fromkeys(tags))
        if turned or contact.values != before or not same_tags:
            contact.audit.add(("contacts.update", key.id))

    def remove(self, key: Key, type_name: str, which: Any, if_match: Any = None) -> None:
        """Delete a resource with what belongs to it."""
        thing = self.find(key, type_name, which)
        if type_name == "custom_fields":
            raise not_found()
        key.require(f"edit:{type_name}")
        self._match(thing, if_match)
        self._drop(thing)

    def _drop(self, thing: Thing) -> None:
        self.things[thing.type].remove(thing)
        self.gone.append(thing)
        self.things["contact_notes"] = [
            each for each in self.things["contact_notes"] if each.contact is not thing
        ]
        for contact in self.things["contacts"]:
            contact.tags = [each for each in contact.tags if each is not thing]

    def link(self, key: Key, verb: str, which: Any, document: Json, if_match: Any = None) -> Thing:
        """Add, remove or replace tags of a contact: POST, DELETE, PATCH."""
        sent = document.get("data")
        if not isinstance(sent, list) or not all(isinstance(each, dict) for each in sent):
            raise refused(400, "Request body must contain a data array", "/data")
        contact = self.find(key, "contacts", which)
        tags = self.tags_named(contact.site, key, sent)
        key.require("edit:contacts")
        self._match(contact, if_match)
        added = [each for each in contact.tags if each not in tags]
        wanted = {"POST": added + tags, "DELETE": added, "PATCH": tags}[verb]
        self._change_contact(key, contact, {}, wanted, {})
        return contact

    def upsert(self, key: Key, document: Json) -> Answer:
        """Change the contact with this e-mail, or external user id, or make one."""
        meta = document.get("meta") or {}
        if meta.get("match", "email") not in ("email", "external_user_id"):
            raise refused(422, "Match is invalid", "/meta/match")
        contact, made = self._upsert(
            key, document, "update", by_external=meta.get("match") == "external_user_id"
        )
        return self.created(contact) if made else self.showing(contact)

    def _upsert(self, key: Key, document: Json, on_duplicate: str, by_external: bool) -> tuple[Thing, bool]:
        """Return the contact, and whether it is new."""
        data, meta = document["data"], document.get("meta") or {}
        if not isinstance(data, dict):
            raise refused(400, "Request body must contain a data object", "/data")
        site = self.site_of(key, data)
        key.require("edit:contacts")
        if data.get("type", "contacts") != "contacts":
            raise refused(409, "Type must be contacts", "/data/type")
        tags = self._tags_given(key, site, document)
        given, problems = self.read("contacts", data, ())
        circumstances = self.circumstances(document, problems)
        contact = None
        if by_external:
            _judge_blank("external_user_id", given, problems)
            for each in self.things["contacts"]:
                if each.site is site and each.values["external_user_id"] == given.get("external_user_id", ""):
                    contact = each
        else:
            given.pop("external_user_id", None)
            problems.pop("external_user_id", None)
            self.judge_email(key, site, None, given, problems)
            contact = self.with_email(site, given.get("email") or "")
            if contact is not None and on_duplicate != "refuse" and "email" in given:
                problems.pop("email", None)
        if by_external and ("email" in given or (contact is None and "external_user_id" not in problems)):
            self.judge_email(key, site, contact, given, problems)
        if len(problems) > 1 and (
            (by_external and "email" not in data.get("attributes", {})) or _is_taken(problems)
        ):
            # What depends on who is there already is said of those whose own words are right.
            problems.pop("email", None)
        _refuse("contacts", problems)
        if contact is None:
            external = given.pop("external_user_id", None)
            contact = self._add_contact(key, site, given, circumstances)
            contact.values["external_user_id"] = external
            contact.tags = list(dict.fromkeys(tags or []))
            if external or tags:
                contact.updated_at = Learned("moment", contact.created_at)
                contact.audit.add(("contacts.update", key.id))
            return contact, True
        if on_duplicate == "update":
            opted_out = bool(contact.ledger) and not contact.subscribed
            if opted_out and meta.get("resubscribe") is not True:
                given.pop("subscribed", None)
            self._change_contact(key, contact, given, tags, circumstances)
        return contact, False

    def batch(self, key: Key, document: Json) -> Answer:
        """Upsert many contacts, each by itself."""
        meta = document.get("meta") or {}
        on_duplicate = meta.get("on_duplicate", "refuse")
        if on_duplicate not in ("refuse", "skip", "update"):
            raise refused(422, "On duplicate is invalid", "/meta/on_duplicate")
        problems: dict[str, Json] = {}
        self.circumstances(document, problems)
        _refuse("contacts", problems)
        counts = dict.fromkeys(("created", "updated", "skipped", "refused"), 0)
        results: list[Json] = []
        shown: list[Thing] = []
        for at, data in enumerate(document["data"]):
            try:
                contact, made = self._upsert(
                    key, {"data": data, "meta": meta}, on_duplicate, by_external=False
                )
            except Refused as no:
                counts["refused"] += 1
                errors = list(no.within(f"/data/{at}", f"/data/{at}").errors)
                results.append({"status": str(no.status), "errors": errors})
                continue
            skipped = not made and on_duplicate == "skip"
            counts["created" if made else "skipped" if skipped else "updated"] += 1
            result: Json = {"status": "201" if made else "200"} | ({"skipped": True} if skipped else {})
            if not skipped or key.may("view:contacts"):
                result["id"] = contact.id
                shown += [contact] if contact not in shown else []
            results.append(result)
        data = [self.resource(each) for each in shown]
        return Answer(200, {"data": data, "meta": {**counts, "results": results}})

    def perform(self, key: Key, document: Json) -> Answer:
        """Do atomic operations: all of them, or none."""
        before = copy.deepcopy((self.sites, self.things, self.gone, self.merged, self.count))
        self.local_ids = {}
        results = []
        for at, operation in enumerate(document["atomic:operations"]):
            try:
                results.append(self._operate(key, operation))
            except Refused as no:
                self.sites, self.things, self.gone, self.merged, self.count = before
                where = f"/atomic:operations/{at}"
                raise no.within(where, where + "/data") from None
        self.local_ids = {}
        return Answer(200, {"atomic:results": results})

    def _operate(self, key: Key, operation: Json) -> Json:
        verb, data = operation["op"], operation.get("data") or {}
        document = {"data": data}
        target: Json
        if "href" in operation:
            type_name, _, rest = operation["href"].removeprefix("/v1/").partition("/")
            number, _, relationship = rest.partition("/relationships/")
            target = {"type": type_name, "id": number, "relationship": relationship}
        else:
            target = operation["ref"] if "ref" in operation else operation["data"]
        type_name = target["type"]
        if target.get("relationship"):
            method = {"add": "POST", "update": "PATCH", "remove": "DELETE"}[verb]
            contact = self.link(key, method, target, document)
            return {} if verb == "remove" else {"data": _identifiers(contact.tags)}
        if verb == "add":
            thing = self.create(key, type_name, document)
            if "lid" in data:
                self.local_ids[type_name, data["lid"]] = thing
            return {"data": self.resource(thing)}
        if verb == "update":
            return {"data": self.resource(self.change(key, type_name, target, document))}
        self.remove(key, type_name, target)
        return {}

    def merge(self, key: Key, which: str, document: Json) -> Answer:
        """Dissolve another contact in the one that survives."""
        survivor = self.find(key, "contacts", which)
        other = self.find(key, "contacts", document["data"])
        if survivor.site is not other.site:
            raise not_found()
        key.require("edit:contacts")
        key.require("edit:contact_notes")
        if survivor is other:
            raise refused(422, "A contact can't be merged with itself", "/data/id")
        for name, value in other.values.items():
            own = survivor.values.get(name)
            if (value and not own) or own is None:
                survivor.values[name] = value
        survivor.tags += [each for each in other.tags if each not in survivor.tags]
        survivor.ledger = sorted([*survivor.ledger, *other.ledger], key=lambda event: event.number)
        for each in (*self.things["contact_notes"], *survivor.ledger):
            each.contact = survivor if each.contact is other else each.contact
        survivor.touch()
        survivor.audit.add(("contacts.merge", key.id))
        self._drop(other)
        self.merged = [(each, survivor if into is other else into) for each, into in self.merged]
        self.merged.append((other, survivor))
        return self.showing(survivor)

    def erase(self, key: Key, which: str) -> list[Thing]:
        """Remove a person; return the contacts that were one with it."""
        contact = self.find(key, "contacts", which)
        key.require("edit:contacts")
        key.require("edit:contact_notes")
        self._drop(contact)
        former = [each for each, into in self.merged if into is contact]
        self.merged = [(each, into) for each, into in self.merged if into is not contact]
        return [contact, *former]

    def _match(self, thing: Thing, expected: Any) -> None:
        if expected is not None and plain(self.showing(thing).document) != expected:
            source = {"header": "If-Match"}
            raise Refused(412, error(412, "The resource has changed since it was read", source))

    def _taken(self, key: Key, name: str, other: Thing) -> Json:
        problem = refused(422, f"{label(name)} has already been taken", f"/data/attributes/{name}")
        return self._named(problem, key, other, "existing_id").errors[0]

    def _named(self, problem: Refused, key: Key, other: Thing, member: str) -> Refused:
        """Let a refusal name the resource that it is about, where the key may view it."""
        if not key.may(f"view:{other.type}"):
            return problem
        about = {"about": Url((self.api, other.type, other.id))}
        return Refused(problem.status, problem.errors[0] | {"links": about, "meta": {member: other.id}})

    def _next(self) -> int:
        self.count += 1
        return self.count

    # Reading.

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
                "tags": {"data": _identifiers(thing.tags), "links": {"self": Url((*linked, "tags"))}},
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

    def created(self, thing: Thing) -> Answer:
        """Return the answer that shows a new resource."""
        return Answer(201, self.showing(thing).document, thing)

    def linkage(self, contact: Thing) -> Answer:
        """Return the answer of a contact's tags."""
        url = Url((self.api, "contacts", contact.id, "relationships", "tags"))
        return Answer(200, {"data": _identifiers(contact.tags), "links": {"self": url}})

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
        return Answer(
            200, {"data": self.resource(contact), "included": included, "links": links}
        ), contact.audit

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
        pool = self.sites if type_name == "sites" else self.things[type_name]
        found = [each for each in pool if key.sees(each)]
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


def label(name: str) -> str:
    """Return an attribute's name as people read it."""
    return name.replace("_", " ").capitalize()


def attribute_error(name: str, what: str) -> Json:
    """Return the error object of an attribute."""
    return error(422, f"{label(name)} {what}", {"pointer": f"/data/attributes/{name}"})


def _refuse(type_name: str, problems: dict[str, Json]) -> None:
    """Raise Refused where there are problems, in the order of the attributes."""
    order = list(WRITABLE[type_name])
    places = {"meta": 0.5, "contact": len(order)}
    names = sorted(problems, key=lambda name: order.index(name) if name in order else places[name])
    if names:
        raise Refused(422, *(problems[name] for name in names))


def _judge_blank(name: str, given: Json, problems: dict[str, Json]) -> None:
    if name not in problems and not (given.get(name) or "").strip():
        problems[name] = attribute_error(name, "can't be blank")


def _is_taken(problems: dict[str, Json]) -> bool:
    return "has already been taken" in problems.get("email", {}).get("detail", "")


def _name(name: str | None, email: str) -> str:
    return name if name and name.strip() else email.rpartition("@")[0]


def _identifiers(tags: Iterable[Thing]) -> list[Json]:
    return [{"id": each.id, "type": each.type} for each in sorted(tags, key=lambda tag: tag.number)]


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
