"""Proves that cursors walk every collection in every order, both ways, whatever others write meanwhile."""

import itertools
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from contract.answers import (
    Json,
    assert_refused,
    change,
    delete,
    document,
    error,
    identifiers,
    ids,
    key_for,
    listed,
    new_contact,
    new_field,
    new_note,
    new_tag,
    patch,
    unknown_include,
)
from extensions.writes import resource

from rollbook.register.catalogue import RESOURCES
from rollbook.register.consent import TYPE as CONSENT_EVENTS
from support import Client, RunningServer, SiteWorld

SEED = 20261124
# The sorts of the contract (2.9), and those of the extensions' own collections.
FIELDS = {
    "contacts": ("name", "email", "created_at"),
    "contact_tags": ("name",),
    "contact_notes": ("created_at", "updated_at"),
    "custom_fields": ("title", "handle", "type", "required"),
    "sites": ("title", "subdomain"),
    "audit_events": ("occurred_at",),
    "consent_events": ("occurred_at",),
}
DEFAULTS = {
    "contacts": "-created_at",
    "contact_tags": "",
    "contact_notes": "-created_at",
    "custom_fields": "",
    "sites": "",
    "audit_events": "-occurred_at",
    "consent_events": "occurred_at",
}
SORTS = [
    (of_type, sort)
    for of_type, fields in FIELDS.items()
    for sort in (
        "",
        *(sign + field for field in fields for sign in ("", "-")),
        *(f"{one},-{two}" for one, two in itertools.permutations(fields, 2)),
    )
]
TAGS = "/v1/contact_tags"
CONTACTS = "/v1/contacts"
NAMES = ("alba", "Alba", "ALBA", "Berit", "berit", "Émile", "zoe", "", "100", "Alba ")


@dataclass(frozen=True)
class Crowd:
    """Three sites with some of everything, much of it alike, and a client that sees them."""

    client: Client
    sites: list[SiteWorld]
    paths: dict[str, str]
    tag: Json


@pytest.fixture(scope="module")
def crowd(server: RunningServer) -> Crowd:
    """Fill three sites so that every sort meets ties; nothing here is changed by a test."""
    chance = random.Random(SEED)
    titles = ("Harbour", "harbour", "Quay")
    sites = [server.new_site(title=title) for title in titles]
    client = key_for(server, *sites)
    everybody: list[str] = []
    for at, site in enumerate(sites):
        data = [
            resource(site, name=chance.choice(NAMES), email=f"{number}@x{chance.randrange(9)}.test")
            | {"id": "1"}
            for number in range(11)
        ]
        for start in (0, 6):  # what one batch makes has one created_at
            reply = site.client.post(f"{CONTACTS}/batch", {"data": data[start : start + 6]})
            everybody += ids(reply.json["data"])
        for number in range(4):
            new_tag(site, f"{'Tt'[number % 2]}ag {number // 2} {at}{number}")
            kind = ("TextField", "CheckboxField")[number % 2]
            new_field(site, f"{'Ff'[number % 2]}ield {number // 2}", type=kind, required=number > 2)
    tag = new_tag(sites[0], "Walked")
    for number in range(9):
        new_note(sites[number % 3], everybody[11 * (number % 3)], f"Note {number}")
    in_first = [each["id"] for each in listed(client, f"{CONTACTS}?filter[site_id]={sites[0].id}")]
    for each in in_first[::2]:
        patch(client, f"{CONTACTS}/{each}/relationships/tags", identifiers(tag["id"]))
    turning = in_first[0]
    for wanted in (True, False, True, False, True):
        patch(client, f"{CONTACTS}/{turning}", change("contacts", turning, subscribed=wanted))
    paths = {of_type: f"/v1/{of_type}" for of_type in FIELDS}
    paths["consent_events"] = f"{CONTACTS}/{turning}/consent_events"
    return Crowd(client, sites, paths, tag)


def local(client: Client, url: str) -> str:
    """Return the path and query of a link, once it is proved to be one of this server."""
    assert url.startswith(client.url + "/v1/")
    return url.removeprefix(client.url)


def pages(client: Client, path: str, link: str) -> Iterator[Json]:
    """Follow a link to the end, page by page."""
    following: str | None = path
    while following:
        reply = client.get(following)
        assert reply.status == 200, reply
        yield reply.json
        found = reply.json["links"].get(link)
        following = local(client, found) if found else None


def walk(client: Client, path: str, link: str) -> list[str]:
    """Follow a link to the end; return the ids of all pages, in the order of the collection."""
    found: list[str] = []
    for page in pages(client, path, link):
        seen = ids(page["data"])
        found = [*found, *seen] if link == "next" else [*seen, *found]
    return found


def with_query(path: str, *parameters: str) -> str:
    return f"{path}?{'&'.join(each for each in parameters if each)}"


def in_order(resources: list[Json], sort: str) -> list[str]:
    """Return the ids in the order of the contract: text in any case, nulls last, the id at the end."""
    ordered = sorted(resources, key=lambda each: int(each["id"]))
    for field in reversed([each for each in sort.split(",") if each]):

        def key(each: Json, name: str = field.removeprefix("-")) -> Any:
            value = each["attributes"][name]
            return value.casefold() if isinstance(value, str) else value

        ordered.sort(key=key, reverse=field.startswith("-"))
    return ids(ordered)


# ---------------------------------------------------------------------------------------------------------
# Every collection, every sort, both directions


def test_the_sorts_here_are_all_that_there_are() -> None:
    declared = {each.type.name: tuple(each.type.sorts) for each in RESOURCES.values()}
    assert declared | {"consent_events": CONSENT_EVENTS.sorts} == FIELDS


@pytest.mark.parametrize(("of_type", "sort"), SORTS)
def test_a_walk_sees_everything_once_and_in_order_both_ways(crowd: Crowd, of_type: str, sort: str) -> None:
    path = with_query(crowd.paths[of_type], f"sort={sort}" if sort else "")
    resources = listed(crowd.client, f"{path}&page[size]=100")
    expected = in_order(resources, sort or DEFAULTS[of_type])
    assert len(expected) >= 3
    assert ids(resources) == expected
    for size in (1, 2, 5, len(expected), 100):
        assert walk(crowd.client, f"{path}&page[size]={size}&page[after]=", "next") == expected, size
        assert walk(crowd.client, f"{path}&page[size]={size}&page[before]=", "prev") == expected, size


@pytest.mark.parametrize(("of_type", "sort"), SORTS)
def test_from_the_last_page_the_links_lead_back_over_the_same_resources(
    crowd: Crowd, of_type: str, sort: str
) -> None:
    path = with_query(crowd.paths[of_type], f"sort={sort}", "page[size]=2")
    forward = list(pages(crowd.client, f"{path}&page[after]=", "next"))
    back = list(pages(crowd.client, local(crowd.client, forward[-1]["links"]["prev"]), "prev"))
    walked = [each for page in reversed(back) for each in ids(page["data"])]
    assert walked == [each for page in forward[:-1] for each in ids(page["data"])]


FILTERS = [
    "filter[subscribed]=false",
    "filter[subscribed]=true",
    "filter[never_subscribed]=true",
    "filter[subscribed_in_last]=1",
    "filter[created_in_last]=1",
    "filter[not_created_in_last]=1",
    "filter[search]=x",
    "filter[search]=alba test",
    "filter[name_contains]=a",
    "filter[email_contains]=x1",
    "filter[has_tag_id]={tag}",
    "filter[has_tag_id]={tag},1",
    "filter[has_all_tag_id]={tag}",
    "filter[has_no_tag_id]={tag}",
    "filter[has_tag_id]={tag}&filter[name_contains]=a",
    "filter[has_tag_id]={tag}&filter[subscribed]=false&filter[site_id]={site}",
    "filter[site_id]={site}",
    "filter[site_id]={site},{other}",
    "filter[site_id]={site}&filter[has_tag_id]={tag}",
    "filter[site_id]={site}&filter[has_no_tag_id]={tag}",
    "filter[no_submitted_form_id]=1",
    "filter[email]=0@nobody.test",
]


@pytest.mark.parametrize("wanted", FILTERS)
@pytest.mark.parametrize("sort", ["", "name", "-name", "created_at", "-email"])
def test_a_filtered_walk_sees_what_pages_by_number_show(crowd: Crowd, wanted: str, sort: str) -> None:
    filled = wanted.format(tag=crowd.tag["id"], site=crowd.sites[0].id, other=crowd.sites[2].id)
    path = with_query(CONTACTS, filled.replace(" ", "%20"), f"sort={sort}" if sort else "")
    resources = listed(crowd.client, f"{path}&page[size]=100")
    expected = in_order(resources, sort or DEFAULTS["contacts"])
    assert ids(resources) == expected
    for size in (1, 4, 100):
        assert walk(crowd.client, f"{path}&page[size]={size}&page[after]=", "next") == expected, size
        assert walk(crowd.client, f"{path}&page[size]={size}&page[before]=", "prev") == expected, size


def test_ties_of_created_at_and_of_names_are_walked_by_id(site: SiteWorld) -> None:
    data = [resource(site, name="Same", email=f"{number}@x.test") for number in range(40)]
    made = ids(site.client.post(f"{CONTACTS}/batch", {"data": data}).json["data"])
    moments = {each["attributes"]["created_at"] for each in listed(site.client, f"{CONTACTS}?page[size]=50")}
    assert len(moments) == 1
    expected = sorted(made, key=int)
    for sort in ("", "created_at", "-created_at", "name", "-name", "name,-created_at", "-created_at,name"):
        for size in (1, 7, 39, 40, 41):
            path = f"{CONTACTS}?sort={sort}&page[size]={size}"
            assert walk(site.client, f"{path}&page[after]=", "next") == expected, (sort, size)
            assert walk(site.client, f"{path}&page[before]=", "prev") == expected, (sort, size)


def test_names_with_everything_in_them_are_walked(site: SiteWorld) -> None:
    names = ["", "\ufffd", "\U0010ffff", "a\nb", '"', "\\", "%", "'", "x" * 2_000, "x" * 2_001, "é" * 900, "ß", "ss"]
    for at, name in enumerate(names):
        new_contact(site, f"{at}@x.test", name=name)
    for sort in ("name", "-name", "name,-email"):
        expected = ids(listed(site.client, f"{CONTACTS}?sort={sort}"))
        assert len(expected) == len(names)
        for size in (1, 2):
            path = f"{CONTACTS}?sort={sort}&page[size]={size}"
            assert walk(site.client, f"{path}&page[after]=", "next") == expected
            assert walk(site.client, f"{path}&page[before]=", "prev") == expected


# ---------------------------------------------------------------------------------------------------------
# The document of such a page


def test_links_are_absent_at_the_ends_and_meta_has_no_totals(site: SiteWorld) -> None:
    for number in range(5):
        new_contact(site, f"{number}@x.test")
    first, second, third = pages(site.client, f"{CONTACTS}?page[size]=2&page[after]=", "next")
    assert [set(page["links"]) for page in (first, second, third)] == [
        {"self", "current", "next"},
        {"self", "current", "prev", "next"},
        {"self", "current", "prev"},
    ]
    assert [len(page["data"]) for page in (first, second, third)] == [2, 2, 1]
    assert all(page["meta"] == {"page": {"size": 2}} for page in (first, second, third))
    back = site.client.get(local(site.client, second["links"]["prev"])).json
    assert (back["data"], set(back["links"])) == (first["data"], {"self", "current", "next"})
    again = site.client.get(local(site.client, back["links"]["next"])).json
    assert (again["data"], set(again["links"])) == (second["data"], {"self", "current", "prev", "next"})


@pytest.mark.parametrize("parameter", ["page[after]", "page[before]"])
def test_a_page_that_holds_all_or_nothing_leads_nowhere(site: SiteWorld, parameter: str) -> None:
    nothing = site.client.get(f"{CONTACTS}?{parameter}=").json
    own = f"{site.client.url}{CONTACTS}?{parameter}="
    links = {"self": own, "current": own}
    assert nothing == {"data": [], "links": links, "meta": {"page": {"size": 30}}}
    for number in range(3):
        new_contact(site, f"{number}@x.test")
    for size in (3, 4):
        page = site.client.get(f"{CONTACTS}?page[size]={size}&{parameter}=").json
        assert (len(page["data"]), set(page["links"])) == (3, {"self", "current"})


@pytest.mark.parametrize(
    ("of_type", "asked", "size"),
    [("contacts", None, 30), ("contacts", "1001", 1_000), ("contacts", "0", 30), ("contacts", "x", 30),
     ("contacts", "-1", 30), ("contacts", "1000", 1_000), ("contact_notes", None, 20),
     ("contact_notes", "101", 100), ("contact_tags", None, 30), ("audit_events", None, 30)],
)  # fmt: skip
def test_the_size_of_a_page_is_that_of_pages_by_number(
    site: SiteWorld, of_type: str, asked: str | None, size: int
) -> None:
    path = with_query(f"/v1/{of_type}", f"page[size]={asked}" if asked else "", "page[after]=")
    assert site.client.get(path).json["meta"] == {"page": {"size": size}}


def test_the_links_keep_every_other_parameter(site: SiteWorld) -> None:
    for number in range(3):
        new_contact(site, f"a+{number}@x.test", name="Ines & Öka")
    query = "filter[email_contains]=a%2B&sort=-name&fields[contacts]=email&include=site&page[size]=1&x=1"
    first, second, _ = pages(site.client, f"{CONTACTS}?{query}&page[after]=", "next")
    for url, own in ((first["links"]["next"], "page[after]"), (second["links"]["prev"], "page[before]")):
        asked = parse_qs(urlsplit(url).query)
        assert asked.pop(own)[0]
        assert asked == parse_qs(query)
    assert ids(second["included"]) == [site.id]
    assert [set(each["attributes"]) for each in second["data"]] == [{"email"}]


def test_filters_that_are_not_supported_are_still_named(site: SiteWorld) -> None:
    new_contact(site)
    page = site.client.get(f"{CONTACTS}?filter[no_sent_email_broadcast_id]=1&page[after]=").json
    assert len(page["data"]) == 1
    assert page["meta"] == {"page": {"size": 30}, "unsupported_filters": ["no_sent_email_broadcast_id"]}


def test_an_unknown_include_is_refused_here_too(site: SiteWorld) -> None:
    assert_refused(site.client.get(f"{CONTACTS}?include=x&page[after]="), unknown_include("x"))


def test_cursors_are_known_parameters_to_a_strict_server(serve: Callable[..., RunningServer]) -> None:
    site = serve(ROLLBOOK_STRICT="true").new_site()
    made = [new_contact(site, f"{number}@x.test")["id"] for number in range(3)]
    assert sorted(walk(site.client, f"{CONTACTS}?page[size]=1&page[after]=", "next")) == sorted(made)
    assert site.client.get(f"{CONTACTS}?page[behind]=").status == 400


# ---------------------------------------------------------------------------------------------------------
# What is no cursor


def no_cursor(parameter: str) -> Json:
    detail = f"{parameter} is not a cursor of this collection and sort"
    return error(400, detail, parameter=parameter)


def cursor_of(crowd: Crowd, sort: str, of_type: str = "contacts") -> str:
    """Return the cursor of a first page."""
    reply = crowd.client.get(f"{crowd.paths[of_type]}?sort={sort}&page[size]=1&page[after]=")
    found: str = parse_qs(urlsplit(reply.json["links"]["next"]).query)["page[after]"][0]
    return found


@pytest.mark.parametrize(
    "cursor",
    ["x", "%20", "1", "0", "-1", "null", "%F0%9F%98%80", "%FF", "%00", "WzFd", "W10", "bnVsbA", "====", "a" * 8_000,
     "WyItY3JlYXRlZF9hdCIsMSwyLDNd", "WyItY3JlYXRlZF9hdCIsbnVsbCwyXQ", "eyJhIjoxfQ", "2301000456", "W1tbW1tbW1td"],
)  # fmt: skip
@pytest.mark.parametrize("parameter", ["page[after]", "page[before]"])
def test_a_broken_cursor_is_refused_by_name(crowd: Crowd, parameter: str, cursor: str) -> None:
    for path in crowd.paths.values():
        assert_refused(crowd.client.get(f"{path}?{parameter}={cursor}"), no_cursor(parameter))


@pytest.mark.parametrize("sort", ["-created_at", "name", "-email,created_at"])
def test_every_beginning_of_a_cursor_is_refused(crowd: Crowd, sort: str) -> None:
    whole = cursor_of(crowd, sort)
    for parameter in ("page[after]", "page[before]"):
        path = f"{CONTACTS}?sort={sort}&{parameter}="
        assert crowd.client.get(path + whole).status == 200
        for end in range(1, len(whole)):
            assert_refused(crowd.client.get(path + whole[:end]), no_cursor(parameter))


def test_a_cursor_with_one_character_changed_is_refused_or_leads_to_another_place(crowd: Crowd) -> None:
    chance = random.Random(SEED)
    print("seed", SEED)
    whole = cursor_of(crowd, "name")
    refused = 0
    for at, _ in enumerate(whole):
        for other in chance.sample("ABCXYZabcxyz0189-_=.~", 6):
            reply = crowd.client.get(f"{CONTACTS}?sort=name&page[after]={whole[:at]}{other}{whole[at + 1 :]}")
            if reply.status != 200:
                assert_refused(reply, no_cursor("page[after]"))
                refused += 1
    assert refused


@pytest.mark.parametrize("of_type", FIELDS)
def test_a_cursor_of_another_sort_is_refused(crowd: Crowd, of_type: str) -> None:
    sorts = [sort for named, sort in SORTS if named == of_type and sort]
    cursors = {sort: cursor_of(crowd, sort, of_type) for sort in sorts}
    for (own, cursor), asked in itertools.product(cursors.items(), sorts):
        for parameter in ("page[after]", "page[before]"):
            reply = crowd.client.get(f"{crowd.paths[of_type]}?sort={asked}&{parameter}={cursor}")
            if own == asked:
                assert reply.status == 200
            else:
                assert_refused(reply, no_cursor(parameter))


def test_both_cursors_at_once_are_refused(crowd: Crowd) -> None:
    cursor = cursor_of(crowd, "-created_at")
    detail = "page[after] and page[before] cannot be combined"
    for after, before in itertools.product(("", cursor), repeat=2):
        for path in crowd.paths.values():
            reply = crowd.client.get(f"{path}?page[after]={after}&page[before]={before}")
            assert_refused(reply, error(400, detail, parameter="page[before]"))


# ---------------------------------------------------------------------------------------------------------
# While others write


def test_a_page_begins_after_its_place_though_the_contact_there_is_gone(site: SiteWorld) -> None:
    made = [new_contact(site, f"{letter}@x.test", name=letter)["id"] for letter in "abcdef"]
    path = f"{CONTACTS}?sort=name&page[size]=2"
    first = site.client.get(f"{path}&page[after]=").json
    following = local(site.client, first["links"]["next"])
    for each in made[:2]:
        assert delete(site.client, f"{CONTACTS}/{each}").status == 200
    assert ids(listed(site.client, following)) == made[2:4]
    second = site.client.get(following).json
    before = site.client.get(local(site.client, second["links"]["prev"])).json
    assert before["data"] == []
    assert "prev" not in before["links"]


def test_a_contact_that_moves_or_comes_moves_no_other(site: SiteWorld) -> None:
    made = [new_contact(site, f"{letter}@x.test", name=letter)["id"] for letter in "bcdefg"]
    first = site.client.get(f"{CONTACTS}?sort=name&page[size]=3&page[after]=").json
    patch(site.client, f"{CONTACTS}/{made[2]}", change("contacts", made[2], name="a"))  # the place itself
    new_contact(site, "early@x.test", name="aa")
    between = new_contact(site, "between@x.test", name="dd")["id"]
    rest = walk(site.client, local(site.client, first["links"]["next"]), "next")
    assert ids(first["data"]) == made[:3]
    assert rest == [between, *made[3:]]


def test_a_walk_through_a_tag_goes_on_though_the_place_lost_it(site: SiteWorld) -> None:
    tag = new_tag(site, "Walked")
    data = [resource(site, [tag["id"]], email=f"{number}@x.test") for number in range(6)]
    made = sorted(ids(site.client.post(f"{CONTACTS}/batch", {"data": data}).json["data"]), key=int)
    page = site.client.get(f"{CONTACTS}?filter[has_tag_id]={tag['id']}&page[size]=2&page[after]=").json
    seen = ids(page["data"])
    assert seen == made[:2]
    for each in seen:
        delete(site.client, f"{CONTACTS}/{each}/relationships/tags", identifiers(tag["id"]))
    assert walk(site.client, local(site.client, page["links"]["next"]), "next") == made[2:]


WALKS = [
    ("page[size]=97", "page[after]=", "next"),
    ("page[size]=151&sort=created_at", "page[after]=", "next"),
    ("page[size]=61&sort=name", "page[after]=", "next"),
    ("page[size]=83&sort=-email", "page[before]=", "prev"),
    ("page[size]=211&filter[name_contains]=stay", "page[before]=", "prev"),
]


def test_walks_over_3000_amid_writers_see_each_that_stayed_exactly_once(
    server: RunningServer, site: SiteWorld
) -> None:
    chance = random.Random(SEED)
    print("seed", SEED)

    def batch(kind: str, many: int) -> list[str]:
        # The names are equal in threes, and what one batch makes is of one moment.
        data = [
            resource(site, name=f"{kind} {number // 3}", email=f"{kind}{number}@x.test")
            for number in range(many)
        ]
        return ids(site.client.post(f"{CONTACTS}/batch", {"data": data}).json["data"])

    stay = batch("stay", 900) + batch("Stay too", 900)
    go, move = batch("go", 600), batch("move", 600)
    chance.shuffle(go)
    done = threading.Event()
    failures: list[str] = []
    changes = itertools.count()
    made = 0

    def disturb() -> None:
        nonlocal made
        client = server.client(site.token)
        for at, each in enumerate(go):
            moved, kept = chance.choice(move), chance.choice(stay)
            name = {"name": f"moved {chance.randrange(10**6)}", "email": f"m{at}@{chance.randrange(99)}.test"}
            for reply in (
                delete(client, f"{CONTACTS}/{each}"),
                client.post(CONTACTS, site.document(name=f"new {at}", email=f"new{at}@x.test")),
                patch(client, f"{CONTACTS}/{moved}", {"data": {"attributes": name}}),
                patch(client, f"{CONTACTS}/{kept}", {"data": {"attributes": {"phone_number": str(at)}}}),
            ):
                if reply.status not in (200, 201):
                    failures.append(str(reply))
            made = next(changes) + 1
        done.set()

    seen: dict[str, list[tuple[int, list[str]]]] = {each[0]: [] for each in WALKS}

    def look(query: str, start: str, link: str) -> None:
        client = server.client(site.token)
        while not done.is_set() or not seen[query]:
            before = made
            found = walk(client, f"{CONTACTS}?{query}&{start}", link)
            seen[query].append((made - before, found))

    threads = [threading.Thread(target=disturb)]
    threads += [threading.Thread(target=look, args=each) for each in WALKS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not failures
    assert done.is_set()
    for query, walks in seen.items():
        assert any(changed > 0 for changed, _ in walks), f"nobody wrote during the walks of {query}"
        for _, found in walks:
            stayed = [each for each in found if each in set(stay)]
            assert len(stayed) == len(set(stayed)), query
            assert set(stayed) == set(stay), query
