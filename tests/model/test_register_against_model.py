"""Proves that whatever is written and asked, in whatever order, the server answers as the plain model does.

A run prints its seed, and `pytest --hypothesis-seed=<seed>` with this file replays it. A failure ends with the
shortest steps that were found to fail, and with what was sent, what was expected and what was answered in
the last of them; `@reproduce_failure`, which is printed too, put over the class `Machine`, replays these
steps alone. `--soak` goes on for 100,000 steps (`-s` shows how far it is).
"""

import difflib
import itertools
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from model import words
from model.documents import MOMENT, Json, aligned, plain
from model.model import Model
from model.things import FIELD_KINDS, Answer, Key, Refused, Thing, not_found

from rollbook.register import keys as register_keys
from rollbook.register import sites as register_sites
from rollbook.storage.opening import open_database
from support import Client, Reply, RunningServer, start_server

STEPS_OF_A_SOAK = 100_000
VIEWS = tuple(
    f"view:{name}" for name in ("contacts", "contact_tags", "contact_notes", "custom_fields", "audit_events")
)
EDITS = tuple(f"edit:{name}" for name in ("contacts", "contact_tags", "contact_notes", "custom_fields"))
# The keys by the sites that they see, of three, and their permissions.
KEYS: dict[str, tuple[tuple[int, ...], tuple[str, ...]]] = {
    "both": ((0, 1), ()),
    "one": ((0,), ()),
    "all": ((), ()),
    "reader": ((0, 1), VIEWS),
    "writer": ((0, 1), EDITS),
    "narrow": ((0, 1), ("view:contacts", "edit:contacts")),
}
# What stands in a path where there is nothing: ids of others' form, and, by number, of what is gone.
NO_IDS = ("1", "abc", "007")
UNKNOWN = 36

keys = st.sampled_from(["both"] * 6 + ["all", "all", "one", "one", "reader", "writer", "narrow", "narrow"])
picks = st.integers(0, 40)
site_picks = st.sampled_from([0, 0, 0, 0, 1, 1, 2, 3])
matches = st.sampled_from(["", "", "", "", "", "*", "newest", "oldest"])
onces = st.sampled_from([False, False, True])
twists = st.sampled_from([""] * 16 + ["no site", "other type", "other id"])
tag_picks = st.one_of(st.none(), st.none(), st.lists(picks, max_size=3))


@dataclass
class Kept:
    """A write that may be sent again, with the answer that it got."""

    key: Key
    method: str
    path: str
    document: Any
    headers: dict[str, str]
    status: int
    body: Any


class RegisterMachine(RuleBasedStateMachine):
    """Drives a server and the model by the same steps, and compares every answer as a whole."""

    server: RunningServer
    steps: Counter[str]

    def __init__(self) -> None:
        super().__init__()
        self.model = Model(f"{self.server.url}/v1")
        self.keys: dict[str, Key] = {}
        self.clients: dict[str, Client] = {}
        self.kept: list[Kept] = []
        self.seen: dict[str, list[tuple[str, Any]]] = {}
        self.numbers = itertools.count(1)
        self.log: list[str] = []
        self._make_sites_and_keys()

    def _make_sites_and_keys(self) -> None:
        database = open_database(self.server.database_url)
        try:
            with database.transaction() as transaction:
                made = [
                    register_sites.create(transaction, title=title, subdomain=None, site_id=None)
                    for title in ("Straße", "STRASSE 2", "other")
                ]
                new_keys = {
                    name: register_keys.create(
                        transaction,
                        name=name,
                        site_ids=[made[at].id for at in seen],
                        permissions=permissions,
                    )
                    for name, (seen, permissions) in KEYS.items()
                }
        finally:
            database.close()
        for at, site in enumerate(made):
            thing = Thing("sites", None, at, {"title": site.title, "subdomain": site.subdomain})
            thing.id.learn(str(site.id))
            self.model.sites.append(thing)
        for name, key in new_keys.items():
            self.clients[name] = client = Client(self.server.url)
            sent = {
                "grant_type": "client_credentials",
                "client_id": key.client_id,
                "client_secret": key.client_secret,
            }
            client.token = client.post("/v1/oauth/token", sent).json["access_token"]
            user_id = client.get("/v1/me").json["data"]["id"]
            seen = frozenset(str(made[at].id) for at in KEYS[name][0]) or None
            permissions = frozenset(KEYS[name][1]) or None
            self.keys[name] = Key(name, str(key.id), user_id, seen, permissions)

    def teardown(self) -> None:
        """Close what the steps used."""
        for client in self.clients.values():
            client.close()

    # Sending and comparing.

    def exchange(
        self,
        key: str,
        method: str,
        path: str,
        document: Any,
        expect: Callable[[], Answer],
        headers: dict[str, str] | None = None,
    ) -> Reply:
        """Do one thing with the model and with the server, and compare the answers."""
        self.steps["requests"] += 1
        request = f"{key}: {method} {path} {headers or ''}\n{_pretty(document)}"
        try:
            answer = expect()
        except Refused as no:
            answer = Answer(no.status, {"errors": list(no.errors)})
        reply = self.clients[key].request(method, path, document, headers=headers)
        self.log.append(f"{key}: {method} {path} -> {reply.status}")
        self._compare(request, answer, reply)
        if answer.shown is not None:
            self._note_tag(request, answer, reply)
        return reply

    def _compare(self, request: str, answer: Answer, reply: Reply) -> None:
        expected, told = aligned(answer.document, reply.json)
        if (answer.status, expected) != (reply.status, told):
            self._fail(request, f"{answer.status} {_pretty(expected)}", f"{reply.status} {_pretty(told)}")

    def _fail(self, request: str, expected: str, told: str) -> None:
        difference = "\n".join(
            difflib.unified_diff(expected.splitlines(), told.splitlines(), "expected", "answered")
        )
        before = "\n".join(self.log[-12:-1])
        raise AssertionError(
            f"step {self.steps['steps']}\nbefore:\n{before}\n\nrequest:\n{request}\n\nexpected:\n{expected}\n\n"
            f"answered:\n{told}\n\ndifference:\n{difference}"
        )

    def _note_tag(self, request: str, answer: Answer, reply: Reply) -> None:
        """Compare an entity tag with those before: it is another if, and only if, the document is."""
        tag = reply.headers.get("etag", "")
        assert answer.shown is not None
        document = plain(answer.document)
        known = self.seen.setdefault(answer.shown.id.known, [])
        for other, before in known:
            if (other == tag) != (before == document):
                self._fail(
                    request, f"another ETag than {other} of {_pretty(before)}", f"{tag} {_pretty(document)}"
                )
        assert tag.startswith('"'), request
        if (tag, document) not in known:
            known.append((tag, document))

    def write(
        self,
        key: str,
        method: str,
        path: str,
        document: Any,
        act: Callable[[Key], Answer],
        *,
        once: bool = False,
        headers: dict[str, str] | None = None,
    ) -> Reply:
        """Exchange a write; `once` gives it an Idempotency-Key, and notes its answer."""
        sent = dict(headers or {})
        if once:
            sent["Idempotency-Key"] = f"once-{next(self.numbers)}"
        reply = self.exchange(key, method, path, document, lambda: act(self.keys[key]), sent)
        if once and reply.status < 300:
            self.kept.append(Kept(self.keys[key], method, path, document, sent, reply.status, reply.json))
        self.steps["refused" if reply.status >= 300 else "written"] += 1
        return reply

    def ask(self, key: str, path: str, query: Any, expect: Callable[[Key], Answer]) -> Reply:
        """Exchange a question."""
        text = "&".join(f"{name}={quote(value, safe='')}" for name, value in query)
        where = f"/v1/{path}?{text}" if text else f"/v1/{path}"
        return self.exchange(key, "GET", where, None, lambda: expect(self.keys[key]))

    # Choosing.

    def id_of(self, type_name: str, pick: int) -> str:
        """Return the id of a resource, of one that is gone, or none at all."""
        pool = self.model.things[type_name]
        if pick < UNKNOWN and pool:
            return pool[pick % len(pool)].id.known
        gone = [each.id.known for each in self.model.gone if each.type == type_name]
        others = [*gone[-2:], *NO_IDS]
        return others[pick % len(others)]

    def site_id(self, pick: int) -> str:
        return self.model.sites[pick].id.known if pick < len(self.model.sites) else "1"

    def tags_sent(self, numbers: list[int]) -> list[Json]:
        return [{"type": "contact_tags", "id": self.id_of("contact_tags", each)} for each in numbers]

    def matching(self, resource_id: str, match: str) -> tuple[dict[str, str], Any]:
        """Return the headers that expect a resource as it was once seen, and how that was."""
        known = self.seen.get(resource_id, [])
        if match == "*":
            return {"If-Match": "*"}, None
        if not match or not known:
            return {}, None
        tag, document = known[-1 if match == "newest" else 0]
        return {"If-Match": tag}, document

    def resource(
        self, type_name: str, site: int, attributes: Json, twist: str = "", tags: list[int] | None = None
    ) -> Json:
        """Return a resource object to be sent."""
        related: Json = {"site": {"data": {"type": "sites", "id": self.site_id(site)}}}
        if twist == "no site":
            related["site"] = {"data": None}
        if tags is not None:
            related["tags"] = {"data": self.tags_sent(tags)}
        type_sent = "people" if twist == "other type" else type_name
        return {"type": type_sent, "attributes": attributes, "relationships": related}

    # Writing.

    @initialize()
    def begin(self) -> None:
        """Make a few of each, for not every run has every rule."""
        for at in range(3):
            self.show("all", "sites", at, ())
        for at, word in enumerate(("Straße", "STRASSE", "é", "e\u0301", "ann")):
            site, given = at % 2, {"email": f"{word}@example.test", "name": word, "subscribed": at % 3 == 0}
            self._create("both", "contacts", {"data": self.resource("contacts", site, given)}, once=False)
            self._create(
                "both", "contact_tags", {"data": self.resource("contact_tags", site, {"name": word})}, False
            )
            self.create_note("both", at, word, "", once=at == 0)
        self.create_field("both", 0, "Straße", None, None, None, once=False)
        self.create_field("both", 1, "tag", "custom_2", "PhoneField", True, once=False)

    @rule(
        key=keys,
        site=site_picks,
        email=words.emails,
        given=words.attributes,
        consent=words.consents,
        twist=twists,
        once=onces,
    )
    def create_contact(
        self, key: str, site: int, email: Any, given: Json, consent: Any, twist: str, once: bool
    ) -> None:
        document: Json = {"data": self.resource("contacts", site, {"email": email, **given}, twist)}
        if consent is not None:
            document["meta"] = {"consent": consent}
        self._create(key, "contacts", document, once)

    @rule(key=keys, site=site_picks, name=words.values, twist=twists, once=onces)
    def create_tag(self, key: str, site: int, name: Any, twist: str, once: bool) -> None:
        self._create(
            key, "contact_tags", {"data": self.resource("contact_tags", site, {"name": name}, twist)}, once
        )

    @rule(
        key=keys,
        site=site_picks,
        title=words.values,
        handle=st.sampled_from(
            [None, None, None, "custom_2", "custom_3", "custom_10", "custom_151", "other", 5]
        ),
        kind=st.sampled_from([None, *FIELD_KINDS, "StarField"]),
        required=words.flags,
        once=onces,
    )
    def create_field(
        self, key: str, site: int, title: Any, handle: Any, kind: Any, required: Any, once: bool
    ) -> None:
        given = {"title": title, "handle": handle, "type": kind, "required": required}
        given = {name: value for name, value in given.items() if value is not None}
        self._create(key, "custom_fields", {"data": self.resource("custom_fields", site, given)}, once)

    @rule(key=keys, title=words.values, subdomain=words.subdomains, rarely=st.integers(0, 3), once=onces)
    def create_site(self, key: str, title: Any, subdomain: Any, rarely: int, once: bool) -> None:
        if rarely == 0 or key != "all":
            given = {"title": title, "subdomain": self._subdomain(subdomain or "new")}
            self._create(key, "sites", {"data": {"type": "sites", "attributes": given}}, once)

    @rule(
        key=keys,
        pick=picks,
        given=st.fixed_dictionaries({}, optional={"title": words.values, "subdomain": words.subdomains}),
        match=matches,
        twist=twists,
        once=onces,
    )
    def change_site(self, key: str, pick: int, given: Json, match: str, twist: str, once: bool) -> None:
        if "subdomain" in given:
            given = given | {"subdomain": self._subdomain(given["subdomain"])}
        document = {"data": {"type": "sites", "attributes": given}}
        self._change(key, "sites", pick, document, match, twist, once, safe={"title": "Matched"})

    def _subdomain(self, word: Any) -> Any:
        """Return a subdomain that no other run has taken."""
        fit = isinstance(word, str) and word.isalnum() and word.isascii() and word.islower()
        return f"run-{self.site_id(0)}-{word}" if fit else word

    @rule(key=keys, contact=picks, body=words.values, twist=twists, once=onces)
    def create_note(self, key: str, contact: int, body: Any, twist: str, once: bool) -> None:
        named = {"type": "sites" if twist == "no site" else "contacts", "id": self.id_of("contacts", contact)}
        data = {
            "type": "contact_notes",
            "attributes": {"body": body},
            "relationships": {"contact": {"data": named}},
        }
        self._create(key, "contact_notes", {"data": data}, once)

    def _create(self, key: str, type_name: str, document: Json, once: bool) -> None:
        def act(who: Key) -> Answer:
            return self.model.created(self.model.create(who, type_name, document))

        reply = self.write(key, "POST", f"/v1/{type_name}", document, act, once=once)
        if reply.status == 201:
            assert reply.headers["location"] == reply.json["links"]["self"]

    @rule(
        key=keys,
        pick=picks,
        email=st.one_of(st.just("unsaid"), st.just("unsaid"), words.emails),
        given=words.attributes,
        external=st.sampled_from(["unsaid"] * 6 + [None, None, "crm-1"]),
        tags=tag_picks,
        beside=st.booleans(),
        consent=words.consents,
        match=matches,
        twist=twists,
        once=onces,
    )
    def change_contact(
        self,
        key: str,
        pick: int,
        email: Any,
        given: Json,
        external: Any,
        tags: list[int] | None,
        beside: bool,
        consent: Any,
        match: str,
        twist: str,
        once: bool,
    ) -> None:
        sent = {**given, "email": email, "external_user_id": external}
        data: Json = {
            "type": "contacts",
            "attributes": {name: each for name, each in sent.items() if each != "unsaid"},
        }
        document: Json = {"data": data}
        if tags is not None:
            (document if beside else data)["relationships"] = {"tags": {"data": self.tags_sent(tags)}}
        if consent is not None:
            document["meta"] = {"consent": consent}
        self._change(key, "contacts", pick, document, match, twist, once, safe={"name": "Matched"})

    @rule(
        key=keys,
        pick=picks,
        given=st.fixed_dictionaries({}, optional={"name": words.values, "archived": words.flags}),
        match=matches,
        twist=twists,
        once=onces,
    )
    def change_tag(self, key: str, pick: int, given: Json, match: str, twist: str, once: bool) -> None:
        document = {"data": {"type": "contact_tags", "attributes": given}}
        self._change(key, "contact_tags", pick, document, match, twist, once, safe={"archived": True})

    @rule(key=keys, pick=picks, body=words.values, match=matches, twist=twists, once=onces)
    def change_note(self, key: str, pick: int, body: Any, match: str, twist: str, once: bool) -> None:
        document = {"data": {"type": "contact_notes", "attributes": {"body": body}}}
        self._change(key, "contact_notes", pick, document, match, twist, once, safe={"body": "Matched"})

    @rule(
        key=keys,
        pick=picks,
        given=st.fixed_dictionaries(
            {},
            optional={
                "title": words.values,
                "archived": words.flags,
                "required": words.flags,
                "handle": words.words,
                "type": st.sampled_from([*FIELD_KINDS[:3], None, "StarField"]),
            },
        ),
        match=matches,
        once=onces,
    )
    def change_field(self, key: str, pick: int, given: Json, match: str, once: bool) -> None:
        document = {"data": {"type": "custom_fields", "attributes": given}}
        self._change(key, "custom_fields", pick, document, match, "", once, safe={"archived": True})

    def _change(
        self,
        key: str,
        type_name: str,
        pick: int,
        document: Json,
        match: str,
        twist: str,
        once: bool,
        safe: Json,
    ) -> None:
        resource_id = self.id_of(type_name, pick)
        headers, expected = self.matching(resource_id, match)
        if twist == "other type":
            document["data"]["type"] = "people"
        elif twist == "other id":
            document["data"]["id"] = "1"
        elif pick % 2:
            document["data"]["id"] = resource_id
        if expected is not None:
            # What comes first, a tag that is old or a value that is wrong, is nobody's promise.
            document["data"]["attributes"] = safe
            document.pop("meta", None)

        def act(who: Key) -> Answer:
            return self.model.showing(self.model.change(who, type_name, resource_id, document, expected))

        path = f"/v1/{type_name}/{resource_id}"
        self.write(key, "PATCH", path, document, act, once=once, headers=headers)

    @rule(
        key=keys,
        type_name=st.sampled_from(["contacts", "contact_tags", "contact_notes", "custom_fields"]),
        pick=picks,
        match=matches,
        once=onces,
    )
    def remove(self, key: str, type_name: str, pick: int, match: str, once: bool) -> None:
        resource_id = self.id_of(type_name, pick)
        headers, expected = self.matching(resource_id, match)

        def act(who: Key) -> Answer:
            self.model.remove(who, type_name, resource_id, expected)
            return Answer(200, {"data": {}})

        self.write(key, "DELETE", f"/v1/{type_name}/{resource_id}", None, act, once=once, headers=headers)

    @rule(
        key=keys,
        pick=picks,
        verb=st.sampled_from(["POST", "POST", "PATCH", "DELETE"]),
        tags=st.lists(picks, max_size=3),
        twist=twists,
        match=matches,
        once=onces,
    )
    def link_tags(
        self, key: str, pick: int, verb: str, tags: list[int], twist: str, match: str, once: bool
    ) -> None:
        contact_id = self.id_of("contacts", pick)
        headers, expected = self.matching(contact_id, match)
        document: Json = {"data": {"type": "contact_tags"} if twist else self.tags_sent(tags)}

        def act(who: Key) -> Answer:
            return self.model.linkage(self.model.link(who, verb, contact_id, document, expected))

        path = f"/v1/contacts/{contact_id}/relationships/tags"
        self.write(key, verb, path, document, act, once=once, headers=headers)

    @rule(
        key=keys,
        site=site_picks,
        email=words.emails,
        given=words.attributes,
        external=words.externals,
        tags=tag_picks,
        meta=st.fixed_dictionaries(
            {},
            optional={
                "match": st.sampled_from(["external_user_id", "external_user_id", "email", "phone_number"]),
                "resubscribe": st.sampled_from([True, True, False, "true"]),
                "consent": words.consents,
            },
        ),
        twist=twists,
        once=onces,
    )
    def upsert(
        self,
        key: str,
        site: int,
        email: Any,
        given: Json,
        external: Any,
        tags: list[int] | None,
        meta: Json,
        twist: str,
        once: bool,
    ) -> None:
        named = {"email": email, "external_user_id": external}
        if email is None and external is not None:
            del named["email"]
        data = self.resource("contacts", site, {**given, **named}, twist, tags)
        document = {"data": data, "meta": meta}
        self.write(
            key,
            "POST",
            "/v1/contacts/upsert",
            document,
            lambda who: self.model.upsert(who, document),
            once=once,
        )

    @rule(
        pick=st.integers(0, UNKNOWN - 1),
        how=st.sampled_from(["change", "upsert", "update"]),
        wanted=st.booleans(),
        resubscribe=st.sampled_from([True, False]),
        cause=st.sampled_from(["administrator", "recipient"]),
        once=onces,
    )
    def turn_subscription(
        self, pick: int, how: str, wanted: bool, resubscribe: bool, cause: str, once: bool
    ) -> None:
        """Subscribe or unsubscribe somebody who is there, in each of the ways."""
        contacts = self.model.things["contacts"]
        if not contacts:
            return
        contact = contacts[pick % len(contacts)]
        site = self.model.sites.index(contact.site) if contact.site else 0
        given = {"subscribed": wanted, "email": contact.values["email"]}
        data = self.resource("contacts", site, given)
        meta = {"consent": {"cause": cause}, "resubscribe": resubscribe}
        document: Json = {"data": data, "meta": meta}
        if how == "change":
            self._change("all", "contacts", contacts.index(contact), document, "", "", once, safe={})
        elif how == "upsert":
            path = "/v1/contacts/upsert"
            self.write("all", "POST", path, document, lambda who: self.model.upsert(who, document), once=once)
        else:
            document = {"data": [data], "meta": {**meta, "on_duplicate": "update"}}
            path = "/v1/contacts/batch"
            self.write("all", "POST", path, document, lambda who: self.model.batch(who, document), once=once)

    @rule(
        site=site_picks,
        email=st.one_of(st.just("unsaid"), words.proper_emails),
        name=words.words,
        external=st.sampled_from(["crm-1", "crm-2", "CRM-1", 7]),
        once=onces,
    )
    def upsert_by_external(self, site: int, email: str, name: str, external: Any, once: bool) -> None:
        given = {"email": email, "name": name.replace("\0", ""), "external_user_id": external}
        data = self.resource(
            "contacts", site, {each: value for each, value in given.items() if value != "unsaid"}
        )
        document = {"data": data, "meta": {"match": "external_user_id"}}
        self.write(
            "all",
            "POST",
            "/v1/contacts/upsert",
            document,
            lambda who: self.model.upsert(who, document),
            once=once,
        )

    @rule(
        key=keys,
        items=st.lists(
            st.tuples(site_picks, words.emails, words.attributes, tag_picks, twists), min_size=1, max_size=4
        ),
        meta=st.fixed_dictionaries(
            {},
            optional={
                "on_duplicate": st.sampled_from(
                    ["refuse", "skip", "skip", "update", "update", "update", "replace"]
                ),
                "resubscribe": st.booleans(),
                "consent": words.consents,
            },
        ),
        once=onces,
    )
    def batch(
        self, key: str, items: list[tuple[int, Any, Json, list[int] | None, str]], meta: Json, once: bool
    ) -> None:
        data: list[Any] = [
            self.resource("contacts", site, {"email": email, **given}, twist, tags)
            for site, email, given, tags, twist in items
        ]
        if items[0][4] == "other id":
            data[0] = 5
        document = {"data": data, "meta": meta}
        self.write(
            key,
            "POST",
            "/v1/contacts/batch",
            document,
            lambda who: self.model.batch(who, document),
            once=once,
        )

    @rule(
        key=st.sampled_from(["both", "both", "both", "all", "one", "narrow"]),
        plans=st.lists(
            st.tuples(
                st.sampled_from(
                    [
                        *("add contacts", "add contact_tags", "add contact_notes", "add custom_fields"),
                        *(
                            "update contacts",
                            "update contact_tags",
                            "update contact_notes",
                            "update custom_fields",
                        ),
                        *("remove contacts", "remove contact_tags", "remove contact_notes"),
                        *("add tags", "update tags", "remove tags"),
                    ]
                ),
                picks,
                picks,
                words.emails,
                words.proper_attributes,
            ),
            min_size=1,
            max_size=5,
        ),
        once=onces,
    )
    def perform(self, key: str, plans: list[tuple[str, int, int, Any, Json]], once: bool) -> None:
        lids: dict[str, list[str]] = {}
        operations = [self._operation(at, lids, *plan) for at, plan in enumerate(plans)]
        document = {"atomic:operations": operations}
        reply = self.write(
            key, "POST", "/v1/operations", document, lambda who: self.model.perform(who, document), once=once
        )
        if reply.status >= 300:
            self._look_over("all")

    def _operation(
        self, at: int, lids: dict[str, list[str]], plan: str, pick: int, other: int, email: Any, given: Json
    ) -> Json:
        verb, _, type_name = plan.partition(" ")

        def named(of_type: str, number: int) -> Json:
            """Return an identifier: of what an operation before makes, or of what is there."""
            new = lids.get(of_type, [])
            if new and number % 3:
                return {"type": of_type, "lid": new[number % len(new)]}
            return {"type": of_type, "id": self.id_of(of_type, number)}

        if type_name == "tags":
            ref = named("contacts", pick)
            data = [named("contact_tags", each) for each in ([pick, other] if other % 2 else [other])]
            if "id" in ref and other % 5 == 0:
                return {"op": verb, "href": f"/v1/contacts/{ref['id']}/relationships/tags", "data": data}
            return {"op": verb, "ref": {**ref, "relationship": "tags"}, "data": data}
        word = str(given.get("name") or email)
        attributes: Json = {
            "contacts": {"email": email, **given} if verb == "add" else given,
            "contact_tags": {"name": word},
            "contact_notes": {"body": word},
            "custom_fields": {"title": word},
        }[type_name]
        if verb == "add":
            data_sent = self.resource(type_name, pick % 2, attributes)
            if type_name == "contact_notes":
                data_sent["relationships"] = {"contact": {"data": named("contacts", other)}}
            if pick % 4:
                data_sent["lid"] = f"new-{at}"
                lids.setdefault(type_name, []).append(f"new-{at}")
            return {"op": "add", "data": data_sent}
        target = named(type_name, pick)
        sent: Json = {"data": {**target, "attributes": attributes}} if verb == "update" else {}
        if "id" in target and other % 3 == 0:
            return {"op": verb, "href": f"/v1/{type_name}/{target['id']}", **sent}
        return {"op": verb, "ref": target, **sent}

    @rule(key=keys, survivor=picks, other=picks, match=matches, once=onces)
    def merge(self, key: str, survivor: int, other: int, match: str, once: bool) -> None:
        contact_id = self.id_of("contacts", survivor)
        headers, expected = self.matching(contact_id, match)
        document = {"data": {"type": "contacts", "id": self.id_of("contacts", other)}}
        path = f"/v1/contacts/{contact_id}/merge"

        def act(who: Key) -> Answer:
            return self.model.merge(who, contact_id, document, expected)

        self.write(key, "POST", path, document, act, once=once, headers=headers)

    @rule(key=keys, pick=picks, rarely=st.integers(0, 3), match=matches)
    def erase(self, key: str, pick: int, rarely: int, match: str) -> None:
        if rarely:
            # It rewrites the file: often enough is enough.
            pick = UNKNOWN + pick % 4
        contact_id = self.id_of("contacts", pick)
        headers, expected = self.matching(contact_id, match)
        forgotten: list[Thing] = []

        def act(who: Key) -> Answer:
            forgotten.extend(self.model.erase(who, contact_id, expected))
            return Answer(200, {"data": {}})

        self.write(key, "POST", f"/v1/contacts/{contact_id}/erase", None, act, headers=headers)
        for kept in self.kept:
            if forgotten and _tells_of(kept.body, forgotten):
                kept.status, kept.body = 404, {"errors": list(not_found().errors)}

    @rule(pick=st.integers(0, 20), differently=st.sampled_from([False, False, True]))
    def send_again(self, pick: int, differently: bool) -> None:
        """Whatever happened meanwhile, a write that was done once is not done again."""
        if not self.kept:
            return
        kept = self.kept[-1 - pick % len(self.kept)]
        document = kept.document
        answer = Answer(kept.status, kept.body)
        if differently:
            document = {**(document or {}), "other": True}
            error = {
                "status": "422",
                "source": {"header": "Idempotency-Key"},
                "title": "Unprocessable Entity",
                "detail": "Idempotency-Key was used for another request",
            }
            answer = Answer(422, {"errors": [error]})
        reply = self.exchange(kept.key.name, kept.method, kept.path, document, lambda: answer, kept.headers)
        assert reply.headers.get("idempotency-replayed") == (None if differently else "true")

    # Reading.

    @rule(
        key=keys,
        type_name=st.sampled_from([*words.FILTERS, "contacts", "contacts"]),
        pick=picks,
        shape=words.shapes,
    )
    def show(self, key: str, type_name: str, pick: int, shape: tuple[tuple[str, str], ...]) -> None:
        resource_id = self.id_of(type_name, pick)
        path = f"{type_name}/{resource_id}"
        self.ask(key, path, shape, lambda who: self.model.show(who, type_name, resource_id, shape))

    @rule(key=keys, type_name=st.sampled_from(["contacts", "contact_tags", "contact_notes"]), pick=picks)
    def ask_for_what_is_known(self, key: str, type_name: str, pick: int) -> None:
        """A client that has a resource as it is gets it only if it has changed."""
        resource_id = self.id_of(type_name, pick)
        for tag, document in self.seen.get(resource_id, [])[-2:]:
            try:
                answer = self.model.show(self.keys[key], type_name, resource_id, ())
            except Refused:
                continue
            reply = self.clients[key].get(f"/v1/{type_name}/{resource_id}", headers={"If-None-Match": tag})
            same = plain(answer.document) == document
            assert (reply.status, reply.body == b"") == ((304, True) if same else (200, False)), (
                tag,
                document,
            )

    @rule(key=keys, pick=picks)
    def ask_for_tags(self, key: str, pick: int) -> None:
        contact_id = self.id_of("contacts", pick)
        path = f"contacts/{contact_id}/relationships/tags"
        self.ask(key, path, (), lambda who: self.model.tags_of(who, contact_id))

    @rule(key=keys, pick=picks, page=words.pages)
    def ask_for_ledger(self, key: str, pick: int, page: tuple[tuple[str, str], ...]) -> None:
        contact_id = self.id_of("contacts", pick)
        path = f"contacts/{contact_id}/consent_events"
        self.ask(key, path, page, lambda who: self.model.ledger_of(who, contact_id, page))

    @rule(key=keys, pick=picks)
    def export(self, key: str, pick: int) -> None:
        contact_id = self.id_of("contacts", pick)
        audit: set[tuple[str, str]] = set()

        def expect() -> Answer:
            answer, events = self.model.everything_about(self.keys[key], contact_id)
            audit.update(events)
            return answer

        path = f"/v1/contacts/{contact_id}/export"
        reply = self.clients[key].get(path)
        request = f"{key}: GET {path}"
        try:
            answer = expect()
        except Refused as no:
            self._compare(request, Answer(no.status, {"errors": list(no.errors)}), reply)
            return
        told = reply.json
        assert MOMENT.fullmatch(told["meta"].pop("exported_at"))
        events = [each for each in told["included"] if each["type"] == "audit_events"]
        told["included"] = [each for each in told["included"] if each["type"] != "audit_events"]
        self._compare(request, answer, Reply(reply.status, reply.headers, json.dumps(told).encode()))
        about = {(each["attributes"]["resource_type"], each["attributes"]["resource_id"]) for each in events}
        assert about == {("contacts", each) for each in (contact_id, *told["meta"]["merged_ids"])}
        assert {(each["attributes"]["action"], each["attributes"]["key_id"]) for each in events} == audit

    @rule(key=keys, pick=picks)
    def ask_for_audit(self, key: str, pick: int) -> None:
        """Who did what to a contact, as those see it who see its site."""
        contacts = self.model.things["contacts"]
        if not contacts:
            return
        contact, who = contacts[pick % len(contacts)], self.keys[key]
        path = f"/v1/audit_events?page[size]=1000&filter[resource_id]={contact.id.known}"
        reply = self.clients[key].get(path)
        if not who.may("view:audit_events"):
            assert reply.status == 403, path
            return
        told = {(each["attributes"]["action"], each["attributes"]["key_id"]) for each in reply.json["data"]}
        assert told == (contact.audit if who.sees(contact) else set()), path

    def _query(
        self, key: str, type_name: str, filters: list[tuple[int, int, str]], sort: int
    ) -> list[tuple[str, str]]:
        query = []
        for which, pick, word in filters:
            name = words.FILTERS[type_name][which % len(words.FILTERS[type_name])]
            query.append((f"filter[{name}]", self._filter_value(name, pick, word)))
        if (
            key == "all"
            and type_name != "sites"
            and not any(name == "filter[site_id]" and value for name, value in query)
        ):
            # It sees the sites of other runs, too.
            query.append(("filter[site_id]", self._every_site()))
        text = words.SORTS[type_name][sort % len(words.SORTS[type_name])]
        return list(dict([*query, *([("sort", text)] if text else [])]).items())

    def _filter_value(self, name: str, pick: int, word: str) -> str:
        if name == "site_id":
            return ("", self.site_id(0), self.site_id(2), f"{self.site_id(0)},{self.site_id(1)}", "1")[
                pick % 5
            ]
        if name == "contact_id":
            return ",".join(
                self.id_of("contacts", each) for each in ([pick, pick + 1] if pick % 2 else [pick])
            )
        if name.endswith("tag_id"):
            return ",".join(
                self.id_of("contact_tags", each) for each in ([pick, pick + 1] if pick % 2 else [pick])
            )
        if name.endswith("_in_last"):
            return ("1", "30", "99999", "soon", "-1")[pick % 5]
        if name in ("subscribed", "never_subscribed", "is_hidden", "required_eq"):
            return ("true", "false", "1", "0", "TRUE", "maybe")[pick % 6]
        if name == "type_eq":
            return FIELD_KINDS[pick % len(FIELD_KINDS)]
        contacts = self.model.things["contacts"]
        if name.startswith(("email", "search")) and contacts and pick % 3:
            email = str(contacts[pick % len(contacts)].values["email"])
            email = email.upper().replace("+", " ") if pick % 2 and "ß" not in email else email
            return email[pick % 4 :] if name in ("email_contains", "search") else email
        return word

    @rule(
        key=keys,
        type_name=words.collections,
        filters=st.lists(st.tuples(picks, picks, words.words), max_size=2),
        sort=picks,
        page=words.pages,
        shape=words.shapes,
    )
    def ask_for_page(
        self, key: str, type_name: str, filters: list[tuple[int, int, str]], sort: int, page: Any, shape: Any
    ) -> None:
        if type_name == "sites" and key == "all":
            key = "both"
        query = [*self._query(key, type_name, filters, sort), *page, *shape]
        self.ask(key, type_name, query, lambda who: self.model.page(who, type_name, query))

    @rule(
        key=st.sampled_from(["both", "both", "one", "all"]),
        type_name=words.collections,
        filters=st.lists(st.tuples(picks, picks, words.words), max_size=1),
        sort=picks,
        size=st.sampled_from(["2", "3", "5", "1000"]),
        other_sort=picks,
    )
    def walk(
        self,
        key: str,
        type_name: str,
        filters: list[tuple[int, int, str]],
        sort: int,
        size: str,
        other_sort: int,
    ) -> None:
        """By cursors to the end of a collection, and back to its beginning."""
        if type_name == "sites" and key == "all":
            key = "both"
        query = [*self._query(key, type_name, filters, sort), ("page[size]", size)]
        cursor, name = "", "page[after]"
        for backward in (False, True):
            pages = self.model.cursor_pages(self.keys[key], type_name, query, backward)
            for page in pages:
                reply = self.ask(key, type_name, [*query, (name, cursor)], _always(page))
                links = reply.json["links"]
                name = "page[before]" if backward else "page[after]"
                cursor = _cursor(links.get("prev" if backward else "next", ""), name)
            name = "page[before]"
            cursor = _cursor(links.get("prev", ""), name)
        asked = dict(query).get("sort", "")
        other = words.SORTS[type_name][other_sort % len(words.SORTS[type_name])]
        link = links.get("next", "")
        if link and {asked, other} <= {"name", "-name", "email", "title", "-title"} and asked != other:
            self._ask_with_foreign_cursor(key, type_name, _cursor(link, "page[after]"), other)

    def _ask_with_foreign_cursor(self, key: str, type_name: str, cursor: str, sort: str) -> None:
        error = {
            "status": "400",
            "source": {"parameter": "page[after]"},
            "title": "Bad Request",
            "detail": "page[after] is not a cursor of this collection and sort",
        }
        query = [("sort", sort), ("page[after]", cursor)]
        self.ask(key, type_name, query, _always(Answer(400, {"errors": [error]})))

    @rule(key=st.sampled_from(["both", "all"]))
    def look_over(self, key: str) -> None:
        self._look_over(key)

    def _look_over(self, key: str) -> None:
        """Compare all that there is."""
        self._ask_for_all("both", "sites", [("page[size]", "1000")])
        sites = ("filter[site_id]", self._every_site())
        for type_name in self.model.things:
            if type_name != "sites":
                self._ask_for_all(key, type_name, [sites, ("page[size]", "1000")])

    def _every_site(self) -> str:
        return ",".join(each.id.known for each in self.model.sites)

    def _ask_for_all(self, key: str, type_name: str, query: list[tuple[str, str]]) -> None:
        self.ask(key, type_name, query, lambda who: self.model.page(who, type_name, query))


def _tells_of(part: Any, erased: list[Thing]) -> bool:
    """Say whether an answer tells of a person: by an id, or by the e-mail in the same site."""
    if isinstance(part, list):
        return any(_tells_of(each, erased) for each in part)
    if not isinstance(part, dict):
        return False
    if part.get("id") in [each.id.known for each in erased]:
        return True
    if part.get("type") == "contacts" and "attributes" in part:
        values, site = erased[0].values, erased[0].site
        of_site = site is not None and part["relationships"]["site"]["data"]["id"] == site.id.known
        return of_site and bool(part["attributes"]["email"] == values["email"])
    return any(_tells_of(each, erased) for each in part.values())


def _always(answer: Answer) -> Callable[[Key], Answer]:
    """Return what expects an answer that is known already."""
    return lambda _: answer


def _cursor(link: str, name: str) -> str:
    return dict(parse_qsl(urlsplit(link).query, keep_blank_values=True)).get(name, "")


def _pretty(document: Any) -> str:
    return json.dumps(document, indent=1, ensure_ascii=True) if document is not None else ""


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server of these tests' own: its lists hold what the machine wrote, and an erasure is quick."""
    running = start_server(tmp_path_factory.mktemp("model") / "rollbook.db")
    yield running
    assert running.stop() == 0


def test_the_server_answers_as_the_model_does(
    own_server: RunningServer, request: pytest.FixtureRequest
) -> None:
    soak = request.config.getoption("--soak")
    given = request.config.getoption("--hypothesis-seed")
    seed = int(given) if given else random.SystemRandom().randrange(1 << 32)
    counted: Counter[str] = Counter()

    class Machine(RegisterMachine):
        server = own_server
        steps = counted

        def check_invariants(self, *arguments: Any) -> None:
            counted["steps"] += 1
            if counted["steps"] % 5_000 == 0:
                print(dict(counted), flush=True)
            super().check_invariants(*arguments)

    examples, length, steps = (50, 500, STEPS_OF_A_SOAK) if soak else (7, 50, 300)
    while counted["steps"] < steps:
        print(f"--hypothesis-seed={seed}", dict(counted), flush=True)
        hypothesis.seed(seed)(Machine)
        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=length,
                deadline=None,
                database=None,
                print_blob=True,
                phases=(Phase.generate, Phase.shrink),
                suppress_health_check=list(HealthCheck),
            ),
        )
        # Hypothesis ends a long example early, so that it may take some more.
        seed += 1
    print(dict(counted))
    assert counted["written"] > counted["steps"] // 20
