"""What a register of contacts does, in dicts and lists: the plain model that the server is compared with.

Written from the wire contract and the page of extensions. Every method takes the documents that the server
is sent, changes the model, and returns the answer that is expected, or raises Refused with the errors.
"""

import copy
import re
from collections.abc import Iterable, Sequence
from typing import Any

from model.documents import Json, Learned, plain
from model.reading import Register
from model.things import (
    CUSTOM,
    PLAIN,
    WRITABLE,
    Answer,
    Key,
    Refused,
    Thing,
    attribute_error,
    email_key,
    error,
    fold,
    identifiers,
    label,
    not_found,
    refused,
)

NOT_ON_CREATE = ("external_user_id", "archived")
NOT_ON_CHANGE = ("handle",)


class Model(Register):
    """The register, as one who reads the documentation understands it."""

    # What a document says.

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
        site = None if type_name in ("contact_notes", "sites") else self.site_of(key, data)
        if type_name == "sites" and key.site_ids is not None:
            raise refused(403, "You do not have permission to perform this action")
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
        elif type_name == "sites":
            _judge_blank("title", given, problems)
            self._judge_subdomain(None, given, problems)
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

    def _judge_subdomain(self, own: Thing | None, given: Json, problems: dict[str, Json]) -> None:
        subdomain = given.get("subdomain")
        if subdomain is None or "subdomain" in problems:
            return
        if not re.fullmatch("[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", subdomain):
            problems["subdomain"] = attribute_error("subdomain", "is invalid")
        elif any(each.values["subdomain"] == subdomain and each is not own for each in self.sites):
            # Whose it is is said to nobody: every site is unlike every other, seen or not.
            problems["subdomain"] = attribute_error("subdomain", "has already been taken")

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
        if type_name == "sites":
            self._judge_subdomain(thing, given, problems)
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
        contact, made, given = self._upsert(
            key, document, "update", by_external=meta.get("match") == "external_user_id"
        )
        if made:
            return self.created(contact)
        return self.showing(contact) if key.may("view:contacts") else self.showing_given(contact, given)

    def _upsert(
        self, key: Key, document: Json, on_duplicate: str, by_external: bool
    ) -> tuple[Thing, bool, set[str]]:
        """Return the contact, whether it is new, and the names of what was given for it."""
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
            return contact, True, set()
        names = {name for name in given if name != "subscribed" or given[name] is not None}
        names |= {"site"} if tags is None else {"site", "tags"}
        if on_duplicate == "update":
            opted_out = bool(contact.ledger) and not contact.subscribed
            if opted_out and meta.get("resubscribe") is not True:
                given.pop("subscribed", None)
            self._change_contact(key, contact, given, tags, circumstances)
        return contact, False, names

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
        whole: list[Thing] = []
        named: dict[int, set[str]] = {}
        for at, data in enumerate(document["data"]):
            try:
                contact, made, names = self._upsert(
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
                whole += [contact] if made or key.may("view:contacts") else []
                named.setdefault(contact.number, set()).update(names)
            results.append(result)
        data = [
            self.resource(each) if each in whole else self.given(each, named[each.number]) for each in shown
        ]
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
            return {} if verb == "remove" else {"data": identifiers(contact.tags)}
        if verb == "add":
            thing = self.create(key, type_name, document)
            if "lid" in data:
                self.local_ids[type_name, data["lid"]] = thing
            return {"data": self.resource(thing)}
        if verb == "update":
            return {"data": self.resource(self.change(key, type_name, target, document))}
        self.remove(key, type_name, target)
        return {}

    def merge(self, key: Key, which: str, document: Json, if_match: Any = None) -> Answer:
        """Dissolve another contact in the one that survives."""
        survivor = self.find(key, "contacts", which)
        other = self.find(key, "contacts", document["data"])
        if survivor.site is not other.site:
            raise not_found()
        key.require("edit:contacts")
        key.require("edit:contact_notes")
        if survivor is other:
            raise refused(422, "A contact can't be merged with itself", "/data/id")
        self._match(survivor, if_match)
        for name, value in other.values.items():
            own = survivor.values.get(name)
            if (value and not own) or own is None:
                survivor.values[name] = value
        survivor.tags += [each for each in other.tags if each not in survivor.tags]
        survivor.ledger = sorted([*survivor.ledger, *other.ledger], key=lambda event: event.number)
        for each in (*self.things["contact_notes"], *survivor.ledger):
            each.contact = survivor if each.contact is other else each.contact
        survivor.touch()
        for each in (survivor, other):
            each.audit.add(("contacts.merge", key.id))
        self._drop(other)
        self.merged = [(each, survivor if into is other else into) for each, into in self.merged]
        self.merged.append((other, survivor))
        return self.showing(survivor)

    def erase(self, key: Key, which: str, if_match: Any = None) -> list[Thing]:
        """Remove a person; return the contacts that were one with it."""
        contact = self.find(key, "contacts", which)
        key.require("edit:contacts")
        key.require("edit:contact_notes")
        self._match(contact, if_match)
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
        return self.named(problem, key, other, "existing_id").errors[0]

    def _next(self) -> int:
        self.count += 1
        return self.count


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
