"""Proves contract 3: tokens and their end, keys, sites, permissions, version, me."""

import base64
import json
from typing import Any
from urllib.parse import urlencode

import pytest

from databases import on_postgresql, run_sql
from support import Reply, RunningServer, SiteWorld, run_rollbook

FORM = "application/x-www-form-urlencoded"
WRONG_CLIENT = (401, {"error": "Invalid client credentials"})
WRONG_REFRESH = (401, {"error": "Invalid refresh token"})
MISSING = (400, {"error": "Missing required parameters"})
UNSUPPORTED = (400, {"error": "Unsupported grant type"})
DEAD = "Access token is invalid or has expired"


def credentials(site: SiteWorld) -> dict[str, str]:
    return {
        "grant_type": "client_credentials",
        "client_id": site.client_id,
        "client_secret": site.client_secret,
    }


def ask(server: RunningServer, given: dict[str, Any], path: str = "/v1/oauth/token") -> Reply:
    return server.client().post(path, body=urlencode(given), headers={"Content-Type": FORM})


def multipart(given: dict[str, str]) -> tuple[str, str]:
    parts = [
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in given.items()
    ]
    return "".join(parts) + "--b--\r\n", "multipart/form-data; boundary=b"


def assert_granted(reply: Reply) -> dict[str, Any]:
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert reply.headers["cache-control"] == "no-store"
    document: dict[str, Any] = reply.json
    assert set(document) == {"access_token", "refresh_token", "token_type", "expires_in"}
    assert (document["token_type"], document["expires_in"]) == ("Bearer", 7200)
    assert document["access_token"] != document["refresh_token"]
    return document


def works(server: RunningServer, token: str) -> bool:
    reply = server.client(token).get("/v1/sites")
    assert reply.status == 200 or reply.json["errors"][0]["detail"] == DEAD
    return reply.status == 200


@pytest.mark.parametrize("path", ["/v1/oauth/token", "/api/v1/oauth/token", "/oauth/token"])
def test_client_credentials_in_a_form_give_a_pair(server: RunningServer, site: SiteWorld, path: str) -> None:
    assert works(server, assert_granted(ask(server, credentials(site) | {"scope": ""}, path))["access_token"])


def test_client_credentials_may_come_as_json_multipart_or_basic(
    server: RunningServer, site: SiteWorld
) -> None:
    given = credentials(site)
    client = server.client()
    assert_granted(client.post("/v1/oauth/token", given))
    assert_granted(client.post("/v1/oauth/token", body=json.dumps(given)))
    body, media_type = multipart(given)
    assert_granted(client.post("/v1/oauth/token", body=body, headers={"Content-Type": media_type}))
    basic = base64.b64encode(f"{site.client_id}:{site.client_secret}".encode()).decode()
    headers = {"Authorization": f"Basic {basic}", "Content-Type": FORM}
    assert_granted(client.post("/v1/oauth/token", body="grant_type=client_credentials", headers=headers))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"client_secret": "wrong"}, WRONG_CLIENT),
        ({"client_id": "wrong"}, WRONG_CLIENT),
        ({"client_id": ""}, MISSING),
        ({"client_secret": ""}, MISSING),
        ({"grant_type": "authorization_code"}, UNSUPPORTED),
        ({"grant_type": "password", "username": "a", "password": "b"}, UNSUPPORTED),
        ({"grant_type": ""}, MISSING),
        ({"grant_type": "", "username": "a", "password": "b"}, UNSUPPORTED),
        ({"grant_type": "refresh_token"}, MISSING),
        ({"grant_type": "refresh_token", "refresh_token": "wrong"}, WRONG_REFRESH),
    ],
)
def test_errors_are_flat_objects(
    server: RunningServer, site: SiteWorld, change: dict[str, str], expected: tuple[int, Any]
) -> None:
    reply = ask(server, credentials(site) | change)
    assert (reply.status, reply.json) == expected
    assert reply.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("body", "media_type"),
    [("", FORM), ("", "application/json"), ("{", "application/json"), ("[]", "application/json"), ("\0\xff", FORM),
     ('{"client_id":{}}', "application/json"), ("x", "multipart/form-data"), ("x", "multipart/form-data; boundary=b"),
     ("--b\r\n\r\n--b--", "multipart/form-data; boundary=b")],
)  # fmt: skip
def test_a_body_without_parameters_is_refused(server: RunningServer, body: str, media_type: str) -> None:
    reply = server.client().post("/v1/oauth/token", body=body, headers={"Content-Type": media_type})
    assert (reply.status, reply.json) == MISSING


@pytest.mark.parametrize("basic", ["Basic", "Basic !", "Basic YQ==", "Basic /////w=="])
def test_damaged_basic_credentials_are_none(server: RunningServer, basic: str) -> None:
    headers = {"Authorization": basic, "Content-Type": FORM}
    reply = server.client().post("/v1/oauth/token", body="grant_type=client_credentials", headers=headers)
    assert (reply.status, reply.json) == MISSING


@pytest.mark.parametrize("grant", [{"grant_type": "refresh_token"}, {}])
def test_a_refresh_token_alone_gives_a_new_pair_and_is_used_up(
    server: RunningServer, site: SiteWorld, grant: dict[str, str]
) -> None:
    first = assert_granted(ask(server, credentials(site)))
    second = assert_granted(ask(server, grant | {"refresh_token": first["refresh_token"]}))
    assert works(server, second["access_token"])
    assert works(server, first["access_token"]), "the old access token stays valid until its own end"
    again = ask(server, grant | {"refresh_token": first["refresh_token"]})
    assert (again.status, again.json) == WRONG_REFRESH


def test_an_access_token_is_no_refresh_token_nor_the_other_way_round(
    server: RunningServer, site: SiteWorld
) -> None:
    pair = assert_granted(ask(server, credentials(site)))
    assert not works(server, pair["refresh_token"])
    wrong = ask(server, {"refresh_token": pair["access_token"]})
    assert (wrong.status, wrong.json) == WRONG_REFRESH


def test_expired_tokens_are_dead(server: RunningServer, site: SiteWorld) -> None:
    pair = assert_granted(ask(server, credentials(site)))
    assert works(server, pair["access_token"])
    url, past = server.database_url, "2020-01-01T00:00:00.000Z"
    ((key,),) = run_sql(url, "SELECT id FROM keys WHERE client_id = ?", site.client_id)
    run_sql(url, "UPDATE tokens SET access_expires_at = ? WHERE key_id = ?", past, key)
    if on_postgresql():
        # Servers go by this number; whoever writes beside them has to change it.
        run_sql(url, "UPDATE remembered_changes SET number = number + 1")
    assert not works(server, pair["access_token"])
    run_sql(url, "UPDATE tokens SET refresh_expires_at = ? WHERE key_id = ?", past, key)
    reply = ask(server, {"refresh_token": pair["refresh_token"]})
    assert (reply.status, reply.json) == WRONG_REFRESH
    assert_granted(ask(server, credentials(site)))
    left = run_sql(url, "SELECT count(*) FROM tokens WHERE key_id = ?", key)
    assert left == [(1,)], "expired pairs are swept when a new one is made"


@pytest.mark.parametrize("which", ["access_token", "refresh_token"])
def test_either_token_revokes_the_pair(server: RunningServer, site: SiteWorld, which: str) -> None:
    pair = assert_granted(ask(server, credentials(site)))
    client = server.client(pair["access_token"])
    reply = client.post(
        "/v1/oauth/revoke", body=urlencode({"token": pair[which]}), headers={"Content-Type": FORM}
    )
    assert (reply.status, reply.body) == (200, b"")
    assert not works(server, pair["access_token"])
    assert ask(server, {"refresh_token": pair["refresh_token"]}).status == 401
    assert works(server, site.token), "other pairs of the key live on"


def test_revoking_asks_for_a_token_in_header_and_body(server: RunningServer, site: SiteWorld) -> None:
    unknown = site.client.post("/v1/oauth/revoke", {"token": "unknown"})
    assert (unknown.status, unknown.body) == (200, b"")
    missing = site.client.post("/v1/oauth/revoke", body="", headers={"Content-Type": FORM})
    assert (missing.status, missing.json) == MISSING
    nobody = server.client().post("/v1/oauth/revoke", {"token": site.token})
    assert (nobody.status, nobody.json["errors"][0]["detail"]) == (401, "Access token is missing")
    assert works(server, site.token)


@pytest.mark.parametrize("command", ["delete", "rotate"])
def test_a_key_deleted_or_rotated_by_a_command_is_dead_at_the_next_request(
    server: RunningServer, site: SiteWorld, command: str
) -> None:
    assert works(server, site.token)
    done = run_rollbook("keys", command, site.client_id, "--json", ROLLBOOK_DATABASE=server.database_url)
    assert done.returncode == 0, done.stderr
    assert not works(server, site.token)
    assert ask(server, credentials(site)).status == 401
    if command == "rotate":
        assert works(server, server.token(site.client_id, json.loads(done.stdout)["client_secret"]))


def test_a_foreign_resource_is_answered_like_an_unknown_one_to_the_byte(
    server: RunningServer, site: SiteWorld
) -> None:
    other = server.new_site()
    foreign_id = other.create(email="a@b.c").json["data"]["id"]
    for foreign, unknown in (
        (f"/v1/contacts/{foreign_id}", "/v1/contacts/1"),
        (f"/v1/sites/{other.id}", "/v1/sites/1"),
        (f"/v1/contacts?filter[site_id]={other.id}", "/v1/contacts?filter[site_id]=1"),
    ):
        seen, never = site.client.get(foreign), site.client.get(unknown)
        assert seen.status == never.status
        assert seen.body.replace(other.id.encode(), b"1") == never.body.replace(other.id.encode(), b"1")
    assert site.client.get("/v1/contacts?filter[search]=a@b").json["meta"]["total"] == 0
    assert [each["id"] for each in site.client.get("/v1/sites").json["data"]] == [site.id]


def test_a_missing_permission_on_a_seen_site_is_403_and_an_unseen_contact_404(server: RunningServer) -> None:
    writer, other = server.new_site(permissions=("edit:contacts",)), server.new_site()
    own = writer.create(email="a@b.c").json["data"]["id"]
    foreign = other.create(email="a@b.c").json["data"]["id"]
    assert writer.client.get("/v1/contacts").status == 403
    assert writer.client.get(f"/v1/contacts/{own}").status == 403
    assert writer.client.get(f"/v1/contacts/{foreign}").status == 404
    assert writer.client.get("/v1/contacts?include=nobody").status == 400
    assert writer.client.get("/v1/sites").status == 200


def test_version_needs_no_token(server: RunningServer) -> None:
    reply = server.client().get("/v1/version")
    assert reply.headers["content-type"] == "application/vnd.api+json"
    assert reply.json == {
        "meta": {"title": "Contacts API V1", "version": "1.1.0"},
        "links": {"documentation": f"{server.url}/docs"},
        "jsonapi": {
            "version": "v1.1",
            "specification": "https://jsonapi.org/format/",
            "specficiation": "https://jsonapi.org/format/",
        },
    }


def test_me_shows_the_user_of_the_key(serve: Any) -> None:
    server = serve(ROLLBOOK_OWNER_NAME="mira de vance", ROLLBOOK_OWNER_EMAIL="mira@example.test")
    document = server.new_site().client.get("/v1/me").json
    user_id = document["data"].pop("id")
    assert user_id.isdecimal()
    attributes = {
        "initials": "MD",
        "name": "mira de vance",
        "email": "mira@example.test",
        "role_level": "OWNER",
    }
    assert document == {"data": {"type": "users", "attributes": attributes}}
