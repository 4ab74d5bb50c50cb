"""Proves contract 9: what clients in the field send is taken, and what they rely on holds."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest
from contract.answers import (
    NO_DATA,
    NO_SITE,
    NOT_FOUND,
    Json,
    assert_refused,
    change,
    delete,
    identifiers,
    ids,
    listed,
    new_contact,
    new_field,
    new_note,
    new_tag,
    patch,
    shown,
    tag_ids,
)

from support import Reply, RunningServer, SiteWorld, run_rollbook

FORM = "application/x-www-form-urlencoded"


def credentials(site: SiteWorld) -> dict[str, str]:
    return {
        "grant_type": "client_credentials",
        "client_id": site.client_id,
        "client_secret": site.client_secret,
    }


def ask_token(server: RunningServer, given: dict[str, str], path: str = "/v1/oauth/token") -> Reply:
    return server.client().post(path, body=urlencode(given), headers={"Content-Type": FORM})


def tags_path(contact: Json) -> str:
    return f"/v1/contacts/{contact['id']}/relationships/tags"


# 9.1 Tokens.


@pytest.mark.parametrize("path", ["/v1/oauth/token", "/api/v1/oauth/token", "/oauth/token"])
@pytest.mark.parametrize("kind", ["form", "json", "multipart"])
def test_a_token_is_given_for_every_body_at_every_path(
    server: RunningServer, site: SiteWorld, path: str, kind: str
) -> None:
    given = credentials(site)
    parts = "".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in given.items()
    )
    body, media_type = {
        "form": (urlencode(given), FORM),
        "json": (json.dumps(given), "application/json"),
        "multipart": (f"{parts}--b--\r\n", "multipart/form-data; boundary=b"),
    }[kind]
    reply = server.client().post(path, body=body, headers={"Content-Type": media_type})
    assert reply.status == 200
    assert server.client(reply.json["access_token"]).get("/v1/sites").status == 200


def test_a_password_grant_without_grant_type_is_understood_as_one(server: RunningServer) -> None:
    for more in ({}, {"grant_type": "password"}):
        reply = ask_token(server, {"username": "mira@example.test", "password": "x"} | more)
        assert (reply.status, reply.json) == (400, {"error": "Unsupported grant type"})


def test_a_refresh_token_alone_is_enough(server: RunningServer, site: SiteWorld) -> None:
    pair = ask_token(server, credentials(site)).json
    for given in ({"grant_type": "refresh_token"}, {}):
        reply = ask_token(server, given | {"refresh_token": pair["refresh_token"]})
        assert reply.status == 200
        pair = reply.json
    assert server.client(pair["access_token"]).get("/v1/me").status == 200


def test_header_and_body_of_a_revocation_may_carry_the_same_token(
    server: RunningServer, site: SiteWorld
) -> None:
    token = ask_token(server, credentials(site)).json["access_token"]
    reply = server.client(token).post(
        "/v1/oauth/revoke", body=urlencode({"token": token}), headers={"Content-Type": FORM}
    )
    assert (reply.status, reply.body) == (200, b"")
    assert server.client(token).get("/v1/sites").status == 401


def test_expires_in_can_be_added_to_a_clock_and_tokens_are_not_empty(
    server: RunningServer, site: SiteWorld
) -> None:
    pair = ask_token(server, credentials(site)).json
    assert type(pair["expires_in"]) is int
    assert timedelta(seconds=pair["expires_in"]) == timedelta(hours=2)
    assert pair["access_token"]
    assert pair["refresh_token"]


def test_the_error_of_a_token_call_can_be_printed_as_it_stands(
    server: RunningServer, site: SiteWorld
) -> None:
    for change_of in ({"client_secret": "wrong"}, {"client_id": ""}, {"grant_type": "x"}):
        error = ask_token(server, credentials(site) | change_of).json["error"]
        assert isinstance(error, str)
        assert error


def test_a_client_that_meets_401_gets_a_new_token_and_goes_on(server: RunningServer, site: SiteWorld) -> None:
    given = credentials(site)
    token = ask_token(server, given).json["access_token"]
    client = server.client(token)
    client.post("/v1/oauth/revoke", {"token": token})
    sent = site.document(email="ines@example.test")
    assert client.post("/v1/contacts", sent).status == 401
    client.token = ask_token(server, given).json["access_token"]
    assert client.post("/v1/contacts", sent).status == 201


# 9.2 Requests.


def test_plain_json_any_accept_and_a_browser_are_welcome_at_every_write(site: SiteWorld) -> None:
    browser = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
    tag = new_tag(site, "One")["id"]
    for number, accept in enumerate(("application/json", "*/*", "text/html", "application/vnd.api+json", "")):
        headers = {"Content-Type": "application/json", "Accept": accept, "User-Agent": browser}

        def send(method: str, path: str, given: Json, headers: dict[str, str] = headers) -> Reply:
            return site.client.request(method, path, body=json.dumps(given), headers=headers)

        made = send("POST", "/v1/contacts", site.document(email=f"{number}@x.test"))
        contact = made.json["data"]
        path = f"/v1/contacts/{contact['id']}"
        replies = [
            made,
            send("PATCH", path, change("contacts", contact["id"], name="New")),
            send("POST", tags_path(contact), identifiers(tag)),
            site.client.get(path, headers=headers),
            site.client.get("/v1/contacts", headers=headers),
            send("DELETE", path, {}),
        ]
        assert [reply.status for reply in replies] == [201, 200, 200, 200, 200, 200]
        assert {reply.headers["content-type"] for reply in replies} == {"application/vnd.api+json"}


def test_ids_may_be_numbers_wherever_a_client_sends_one(site: SiteWorld) -> None:
    tag = new_tag(site, "One")["id"]
    given = site.document(email="ines@example.test")
    given["data"]["relationships"]["site"]["data"]["id"] = int(site.id)
    contact = site.client.post("/v1/contacts", given).json["data"]
    assert (
        site.client.post(tags_path(contact), identifiers(int(tag))).json["data"] == identifiers(tag)["data"]
    )
    data = {"type": "contacts", "id": int(contact["id"]), "attributes": {"name": "New"}}
    assert patch(site.client, f"/v1/contacts/{contact['id']}", {"data": data}).status == 200
    note = {"attributes": {"body": "x"}, "relationships": {"contact": {"data": {"type": "contacts", "id": int(contact["id"])}}}}  # fmt: skip
    assert site.client.post("/v1/contact_notes", {"data": note}).status == 201


def test_first_and_last_name_are_dropped_and_read_back_as_absent(site: SiteWorld) -> None:
    contact = new_contact(site, "ines@example.test", first_name="Ines", last_name="Okafor")
    assert {"first_name", "last_name"}.isdisjoint(contact["attributes"])
    reply = patch(
        site.client, f"/v1/contacts/{contact['id']}", change("contacts", contact["id"], first_name="X")
    )
    assert reply.json["data"]["attributes"].get("first_name", "") == ""
    assert reply.json["data"]["attributes"]["name"] == "ines"


def test_an_email_alone_or_an_empty_name_makes_a_contact(site: SiteWorld) -> None:
    assert new_contact(site, "one@example.test")["attributes"]["name"] == "one"
    assert new_contact(site, "two@example.test", name="")["attributes"]["name"] == "two"


def test_the_last_name_in_custom_1_and_higher_fields_are_kept(site: SiteWorld) -> None:
    given = {
        "name": "Ines",
        "custom_1": "Okafor",
        "custom_4": "four",
        "custom_25": "",
        "address_country": "Portugal",
    }
    contact = new_contact(site, **given)
    found = shown(site.client, f"/v1/contacts/{contact['id']}")["attributes"]
    assert found.items() >= given.items()


def test_null_clears_a_custom_field_and_an_empty_text_is_one(site: SiteWorld) -> None:
    new_field(site, "Last name", handle="custom_1")
    contact = new_contact(site, custom_1="Okafor")
    path = f"/v1/contacts/{contact['id']}"
    for value in ("", None):
        patch(site.client, path, change("contacts", contact["id"], custom_1=value))
        assert shown(site.client, path)["attributes"]["custom_1"] == value


def test_subscribed_true_is_taken_on_create_and_on_update(site: SiteWorld) -> None:
    first, second = new_contact(site, "1@x.test", subscribed=True), new_contact(site, "2@x.test")
    for contact in (first, second):
        given = change("contacts", contact["id"], subscribed=True)
        reply = patch(site.client, f"/v1/contacts/{contact['id']}", given)
        assert (reply.status, reply.json["data"]["attributes"]["subscribed"]) == (200, True)
    assert len(listed(site.client, "/v1/contacts?filter[subscribed]=true")) == 2


def test_an_update_that_always_sends_name_and_email_is_no_conflict(site: SiteWorld) -> None:
    contact = new_contact(site, "ines@example.test", name="Ines")
    for phone in ("1", "2"):
        given = change("contacts", contact["id"], name="Ines", email="Ines@example.test", phone_number=phone)
        reply = patch(site.client, f"/v1/contacts/{contact['id']}", given)
        assert reply.status == 200
        assert reply.json["data"]["attributes"]["email"] == "ines@example.test"
        assert reply.json["data"]["attributes"]["phone_number"] == phone


def test_a_create_without_a_site_and_an_update_without_data_answer_400(site: SiteWorld) -> None:
    given = {"data": {"type": "contacts", "attributes": {"email": "ines@example.test"}}}
    assert_refused(site.client.post("/v1/contacts", given), NO_SITE)
    contact = new_contact(site)
    path = f"/v1/contacts/{contact['id']}"
    for flat in ({"name": "x"}, {"attributes": {"name": "x"}}, {"id": contact["id"], "type": "contacts"}):
        assert_refused(patch(site.client, path, flat), NO_DATA)
    assert shown(site.client, path) == contact


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *((method, f"/v1/{name}") for name in ("members", "tags", "grants", "webhooks", "payments")
          for method in ("GET", "POST")),
        ("POST", "/v1/contacts/import"), ("GET", "/v1/contacts/import"), ("PATCH", "/v1/contacts"),
        ("PUT", "/v1/contacts"), ("POST", "/v1/contacts/{}/offers"), ("GET", "/v1/contacts/{}/offers"),
        ("GET", "/v1/members/{}"), ("DELETE", "/v1/tags/{}"),
    ],
)  # fmt: skip
def test_calls_that_do_not_exist_answer_404(site: SiteWorld, method: str, path: str) -> None:
    contact = new_contact(site)
    given = {"data": {"type": "offers", "id": "2150000789"}} if method != "GET" else None
    assert_refused(site.client.request(method, path.replace("{}", contact["id"]), given), NOT_FOUND)
    assert listed(site.client, "/v1/contacts") == [contact]


def test_an_upsert_parameter_is_ignored(site: SiteWorld) -> None:
    assert site.client.post("/v1/contacts?upsert=true", site.document(email="a@b.test")).status == 201
    again = site.client.post("/v1/contacts?upsert=true", site.document(email="a@b.test", name="x"))
    assert again.status == 422
    assert listed(site.client, "/v1/contacts")[0]["attributes"]["name"] == "a"


def test_tag_calls_can_be_repeated_as_if_idempotent(site: SiteWorld) -> None:
    tag, contact = new_tag(site, "One")["id"], new_contact(site)
    for method, expected in (("POST", [tag]), ("DELETE", []), ("PATCH", [tag])):
        for _ in range(3):
            reply = site.client.request(method, tags_path(contact), identifiers(tag))
            assert (reply.status, ids(reply.json["data"])) == (200, expected)


def test_a_tag_can_be_removed_and_added_again(site: SiteWorld) -> None:
    tag, contact = new_tag(site, "One")["id"], new_contact(site)
    for _ in range(3):
        assert ids(site.client.post(tags_path(contact), identifiers(tag)).json["data"]) == [tag]
        assert delete(site.client, tags_path(contact), identifiers(tag)).json["data"] == []


def test_the_body_of_a_delete_says_what_is_removed(site: SiteWorld) -> None:
    one, two, contact = new_tag(site, "One")["id"], new_tag(site, "Two")["id"], new_contact(site)
    site.client.post(tags_path(contact), identifiers(one, two))
    body = json.dumps(identifiers(one))
    for headers in ({"Content-Type": "application/json"}, {}):
        reply = delete(site.client, tags_path(contact), body=body, headers=headers)
        assert ids(reply.json["data"]) == [two]


def test_page_and_filter_on_a_relationship_are_ignored(site: SiteWorld) -> None:
    one, two, contact = new_tag(site, "One")["id"], new_tag(site, "Two")["id"], new_contact(site)
    path = f"{tags_path(contact)}?page[number]=9&page[size]=1&filter[name]=x"
    assert len(site.client.post(path, identifiers(one, two)).json["data"]) == 2
    assert len(site.client.get(path).json["data"]) == 2


@pytest.mark.parametrize(
    "query",
    [
        "filter[email]=ines+news@example.test", "filter%5Bemail%5D=ines%2Bnews%40example.test",
        "filter[email]=ines%20news@example.test", "filter[email_eq]=ines+news@example.test",
        "filter[email_eq]=INES%2bNEWS@example.test", "filter[email_contains]=ines+news@example.test",
        "filter[search]=ines+news@example.test", "filter[email]=ines+news@example.test&limit=1",
        "filter[email]=ines+news@example.test&filter[search]=&filter[site_id]=", "filter[search]=&limit=1&per_page=1",
        "limit=1", "filter[email]=", "filter[name_contains]=&filter[has_tag_id]=",
    ],
)  # fmt: skip
def test_raw_and_encoded_brackets_pluses_and_empty_filters_find_the_contact(
    site: SiteWorld, query: str
) -> None:
    contact = new_contact(site, "ines+news@example.test")
    assert listed(site.client, f"/v1/contacts?{query}") == [contact]


def test_a_lookup_without_the_plus_part_does_not_find_another_contact(site: SiteWorld) -> None:
    new_contact(site, "ines+news@example.test")
    plain = new_contact(site, "ines@example.test")
    for name in ("email", "email_eq"):
        assert listed(site.client, f"/v1/contacts?filter[{name}]=ines@example.test") == [plain]


# 9.3 Lists.


@pytest.fixture
def crowd(site: SiteWorld) -> list[Json]:
    """A dozen contacts, the newest first."""
    return [new_contact(site, f"{number:02}@x.test") for number in range(12)][::-1]


@pytest.mark.parametrize("size", [1, 3, 5, 10, 20, 25, 50, 100, 200, 500])
def test_every_way_to_end_a_loop_sees_everybody_once(
    server: RunningServer, site: SiteWorld, crowd: list[Json], size: int
) -> None:
    expected = sorted(ids(crowd))

    def page(number: int) -> Json:
        reply: Json = site.client.get(f"/v1/contacts?page[number]={number}&page[size]={size}").json
        return reply

    def walk(is_last: Callable[[Json, int], bool]) -> list[str]:
        seen: list[str] = []
        for number in range(1, 20):
            reply = page(number)
            seen += ids(reply["data"])
            if is_last(reply, len(seen)):
                break
        return sorted(seen)

    assert walk(lambda reply, _: len(reply["data"]) < size) == expected
    assert walk(lambda reply, _: not reply["links"].get("next")) == expected
    assert walk(lambda reply, _: not reply["meta"]["current_page"] < reply["meta"]["total_pages"]) == expected
    assert walk(lambda reply, seen: seen >= reply["meta"]["total_count"]) == expected
    pages = -(-page(1)["meta"]["total"] // size)
    assert sorted(each for number in range(pages) for each in ids(page(number + 1)["data"])) == expected
    assert "page" not in page(1)["meta"], "who looks for meta.page goes on to the length"


def test_a_page_has_exactly_the_size_that_was_asked_for(site: SiteWorld) -> None:
    for number in range(101):
        new_contact(site, f"{number}@x.test")
    for size in (100, 101, 200):
        reply = site.client.get(f"/v1/contacts?page[size]={size}").json
        assert len(reply["data"]) == min(size, 101), "a clamped size would end a client's loop"


def test_a_scan_of_pages_in_the_order_of_creation_is_stable(site: SiteWorld, crowd: list[Json]) -> None:
    def scan() -> list[str]:
        return [
            each
            for number in range(1, 21)
            for each in ids(
                listed(site.client, f"/v1/contacts?sort=-created_at&page[size]=5&page[number]={number}")
            )
        ]

    assert sorted(scan()) == sorted(ids(crowd))
    assert scan() == scan()


@pytest.mark.parametrize("how", ["blindly", "parsed", "brackets encoded", "query parsed again"])
def test_next_can_be_followed_in_every_way(
    server: RunningServer, site: SiteWorld, crowd: list[Json], how: str
) -> None:
    new_contact(site, "with+plus@x.test")
    following = (
        f"{server.url}/v1/contacts?filter[email_contains]=@x.test&sort=email&page[size]=5&include=tags"
    )
    seen: list[str] = []
    while following:
        parts = urlsplit(following)
        target = f"{parts.path}?{parts.query}"
        if how == "blindly":
            assert following.startswith(server.url)
            target = following.removeprefix(server.url)
        elif how == "brackets encoded":
            target = target.replace("[", "%5B").replace("]", "%5D")
        elif how == "query parsed again":
            again = {name: values[-1] for name, values in parse_qs(parts.query).items()}
            target = f"{parts.path}?{urlencode(again, quote_via=quote)}"
        reply = site.client.get(target).json
        seen += [each["attributes"]["email"] for each in reply["data"]]
        following = reply["links"].get("next") or ""
    assert seen == sorted([*(f"{number:02}@x.test" for number in range(12)), "with+plus@x.test"])


def test_names_of_tags_are_read_from_included_on_a_list(site: SiteWorld) -> None:
    tags = {name: new_tag(site, name)["id"] for name in ("One", "Two")}
    contact = new_contact(site)
    site.client.post(tags_path(contact), identifiers(*tags.values()))
    reply = site.client.get("/v1/contacts?include=tags,offers").json
    names = {each["id"]: each["attributes"]["name"] for each in reply["included"]}
    assert sorted(names[each["id"]] for each in reply["data"][0]["relationships"]["tags"]["data"]) == [
        "One",
        "Two",
    ]


@pytest.mark.parametrize(
    "query", ["", "?fields[contacts]=email", "?fields[contacts]=", "?include=tags&fields[contact]=id"]
)
def test_relationships_of_a_list_item_have_data_despite_sparse_fields(site: SiteWorld, query: str) -> None:
    tag, contact = new_tag(site, "One")["id"], new_contact(site)
    site.client.post(tags_path(contact), identifiers(tag))
    (found,) = listed(site.client, f"/v1/contacts{query}")
    assert found["relationships"]["offers"]["data"] == []
    assert found["relationships"]["customer"]["data"] is None
    assert found["relationships"]["site"]["data"]["id"] == site.id
    assert tag_ids(found) == [tag]
    new_note(site, contact["id"], "x")
    (note,) = listed(site.client, f"/v1/contact_notes?fields[contact_notes]=body{query.replace('?', '&')}"
                     .replace("&include=tags", ""))  # fmt: skip
    assert note["relationships"]["contact"]["data"]["id"] == contact["id"]


def test_moments_can_be_parsed_after_replacing_the_z_and_are_always_there(site: SiteWorld) -> None:
    contact = new_contact(site)
    note = new_note(site, contact["id"], "x")
    for resource in (contact, note, shown(site.client, f"/v1/sites/{site.id}")):
        for stamp in ("created_at", "updated_at"):
            moment = datetime.fromisoformat(resource["attributes"][stamp].replace("Z", "+00:00"))
            assert moment.utcoffset() == timedelta(0)


def test_ids_can_be_cast_to_integers_and_attributes_spread_into_a_flat_object(site: SiteWorld) -> None:
    contact = new_contact(site)
    made = [contact, new_tag(site, "x"), new_note(site, contact["id"], "x"), new_field(site, "x")]
    for resource in (*made, shown(site.client, f"/v1/sites/{site.id}")):
        assert str(int(resource["id"])) == resource["id"]
        assert int(resource["id"]) < 2**53
        flat = {"id": resource["id"], **resource["attributes"]}
        assert flat["id"] == resource["id"], "no attribute hides the id"
        assert all(value is None or isinstance(value, str | bool) for value in flat.values())


def test_the_first_of_an_exact_lookup_is_the_right_one(site: SiteWorld) -> None:
    for email in ("anna@x.test", "ann@x.test", "joann@x.test", "ann@x.test.example"):
        new_contact(site, email)
    for query in (
        "filter[email]=ann@x.test",
        "filter[email_eq]=Ann@X.test",
        "filter[email]=ann@x.test&limit=1",
    ):
        assert listed(site.client, f"/v1/contacts?{query}")[0]["attributes"]["email"] == "ann@x.test"
    found = listed(site.client, "/v1/contacts?filter[email_contains]=ann@x.test")
    assert [each for each in found if each["attributes"]["email"] == "ann@x.test"]


def test_a_lookup_right_after_a_create_finds_it(site: SiteWorld) -> None:
    for number in range(20):
        contact = new_contact(site, f"{number}@x.test")
        assert listed(site.client, f"/v1/contacts?filter[email]={number}@x.test") == [contact]


# 9.4 Answers and errors.


def test_the_id_of_a_201_leads_to_the_contact(site: SiteWorld) -> None:
    reply = site.create(email="ines@example.test")
    assert reply.status == 201
    assert shown(site.client, f"/v1/contacts/{reply.json['data']['id']}") == reply.json["data"]


def test_a_duplicate_can_be_told_by_status_or_words(site: SiteWorld) -> None:
    new_contact(site)
    reply = site.create(email="ines@example.test")
    assert reply.status == 422
    assert b"already been taken" in reply.body


def test_every_2xx_can_be_parsed_without_a_look_at_the_status(site: SiteWorld) -> None:
    tag, contact = new_tag(site, "One"), new_contact(site)
    note = new_note(site, contact["id"], "x")
    paths = [
        f"/v1/contact_notes/{note['id']}",
        f"/v1/contact_tags/{tag['id']}",
        f"/v1/contacts/{contact['id']}",
    ]
    for path in paths:
        reply = delete(site.client, path)
        assert (reply.status, reply.json) == (200, {"data": {}})


def test_no_answer_is_html(site: SiteWorld) -> None:
    given = {"Accept": "text/html", "User-Agent": "Mozilla/5.0"}
    for method, path in (
        ("GET", "/v1/nothing"), ("GET", "/v1/contacts/1"), ("PUT", "/v1/contacts"), ("POST", "/v1/contacts"),
        ("GET", "/v1/contacts"), ("DELETE", "/v1/contacts/1"), ("GET", "/v1/contacts?include=x"), ("GET", "/wp-login.php"),
    ):  # fmt: skip
        reply = site.client.request(method, path, headers=given)
        assert reply.headers["content-type"] == "application/vnd.api+json"
        assert not reply.body.lstrip().startswith(b"<")


def test_a_contact_that_is_gone_answers_404_and_is_found_again_by_its_email(site: SiteWorld) -> None:
    contact = new_contact(site)
    delete(site.client, f"/v1/contacts/{contact['id']}")
    again = new_contact(site)
    given = change("contacts", contact["id"], name="x")
    assert_refused(patch(site.client, f"/v1/contacts/{contact['id']}", given), NOT_FOUND)
    assert_refused(site.client.post(tags_path(contact), identifiers()), NOT_FOUND)
    assert listed(site.client, "/v1/contacts?filter[email]=ines@example.test") == [again]


def test_a_deleted_key_is_401_so_that_clients_drop_their_token(
    server: RunningServer, site: SiteWorld
) -> None:
    run_rollbook("keys", "delete", site.client_id, ROLLBOOK_DATABASE=server.database_url).check_returncode()
    for path in ("/v1/contacts", "/v1/contact_tags", "/v1/contact_notes", "/v1/custom_fields", "/v1/sites"):
        assert site.client.get(path).status == 401


def test_what_is_shown_to_people_is_there_in_every_error(server: RunningServer, site: SiteWorld) -> None:
    contact = new_contact(site)
    replies: list[Any] = [
        site.create(email="ines@example.test"), site.create(email="x"), site.create(),
        site.client.get("/v1/contacts/1"), site.client.post("/v1/contacts", {}), server.client().get("/v1/contacts"),
        patch(site.client, f"/v1/contacts/{contact['id']}", change("people", contact["id"])),
        site.client.post(tags_path(contact), identifiers("1")),
    ]  # fmt: skip
    for reply in replies:
        for each in reply.json["errors"]:
            assert each["detail"] or each["title"]
            assert f"{each['title']}: {each['detail']}".strip(": ")
