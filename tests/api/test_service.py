"""Proves health, metrics, documentation, request ids and the log of a running server."""

import json
import re
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import make_tables
from databases import free_port, run_sql, url_of
from rollbook.api.http import Request
from rollbook.api.limits import MOST_COUNTED, RateLimit
from rollbook.api.routes import all_routes
from rollbook.jsonapi.errors import TITLES, Refusal, Refused
from rollbook.observations import RequestFailed
from rollbook.register.catalogue import RESOURCES
from support import RunningServer, SiteWorld, run_rollbook, wait_until

DOCS = Path(__file__).parents[2] / "docs"


def test_a_live_and_ready_server_says_so(server: RunningServer) -> None:
    client = server.client()
    assert (client.get("/livez").json, client.get("/readyz").json) == (
        {"status": "live"},
        {"status": "ready"},
    )


def test_a_server_whose_schema_is_another_is_live_but_not_ready(serve: Callable[..., RunningServer]) -> None:
    server = serve()
    run_sql(server.database_url, "UPDATE alembic_version SET version_num = '9999'")
    client = server.client()
    unready = client.get("/readyz")
    assert (unready.status, unready.json["status"]) == (503, "unready")
    assert "9999" in unready.json["reason"]
    assert client.get("/livez").status == 200


def scrape(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text: str = answer.read().decode()
    return text


def test_metrics_count_on_a_listener_of_their_own(serve: Callable[..., RunningServer]) -> None:
    port = free_port()
    server = serve(ROLLBOOK_METRICS_PORT=str(port))
    site = server.new_site()
    site.create(email="a@b.c")
    site.client.get("/v1/contacts/unknown-1")
    run_sql(server.database_url, "DROP TABLE audit_events")
    site.create(email="d@e.f")
    # An answer is counted once it is sent, and before the server hears anything else.
    site.client.get("/livez")
    text = scrape(port)
    assert 'rollbook_requests_total{method="POST",route="/v1/contacts",status="201"} 1.0' in text
    assert 'rollbook_requests_total{method="GET",route="/v1/contacts/{id}",status="404"} 1.0' in text
    assert 'rollbook_request_seconds_count{route="/v1/contacts"} 2.0' in text
    assert "rollbook_failures_total 1.0" in text
    assert site.client.get("/metrics").status == 404
    other = url_of(server.database.with_name("other.db"))
    taken = run_rollbook("serve", PORT="0", ROLLBOOK_METRICS_PORT=str(port), ROLLBOOK_DATABASE=other)
    assert taken.returncode == 1
    assert f"Cannot serve metrics on 127.0.0.1, port {port}" in taken.stderr


@pytest.mark.parametrize("sent", ["abc", "a.b_c:d-1", "x" * 128])
def test_a_sane_request_id_comes_back(server: RunningServer, sent: str) -> None:
    assert server.client().get("/livez", headers={"X-Request-Id": sent}).headers["x-request-id"] == sent


@pytest.mark.parametrize("sent", ["", "a b", "x" * 129, "a\tb", '"', "é"])
def test_any_other_request_id_is_replaced_by_a_new_one(server: RunningServer, sent: str) -> None:
    client = server.client()
    given = [client.get("/livez", headers={"X-Request-Id": sent}).headers["x-request-id"] for _ in range(3)]
    assert len({*given, sent}) == 4


def test_a_request_is_one_log_line_with_its_route_and_not_its_path(
    server: RunningServer, site: SiteWorld
) -> None:
    made = site.create(email="a@b.c").json["data"]["id"]
    site.client.get(f"/v1/contacts/{made}?filter[email]=secret@b.c", headers={"X-Request-Id": f"one-{made}"})

    def lines() -> list[dict[str, Any]]:
        answered = [each for each in server.log_lines() if each["event"] == "request_answered"]
        return [each for each in answered if each["request_id"] == f"one-{made}"]

    wait_until(lines, 10)
    (line,) = lines()
    assert (line["method"], line["route"], line["status"], line["level"]) == (
        "GET",
        "/v1/contacts/{id}",
        200,
        "info",
    )
    assert 0 < line["seconds"] < 60
    assert "secret@b.c" not in server.log.read_text()


def test_the_log_level_is_the_least_that_is_written(serve: Callable[..., RunningServer]) -> None:
    server = serve(ROLLBOOK_LOG_LEVEL="warning")
    server.client().get("/v1/version")
    server.stop()
    assert server.log.read_text() == ""


def test_a_failure_is_told_by_its_type_and_place_without_its_message() -> None:
    try:
        raise ValueError("ines@example.test is secret")
    except ValueError as error:
        told = RequestFailed.of(error, "/x", "r")
    assert told.error == "ValueError"
    assert "test_service.py" in told.where
    assert "ines" not in str(told)


def request_from(client: str) -> Request:
    return Request("GET", "/", b"", {}, client, limit=0)


def test_the_rate_limit_counts_each_client_alone_and_forgets_when_too_many_come() -> None:
    limit = RateLimit(1)
    limit.admit(request_from("first"))
    with pytest.raises(Refused) as refused:
        limit.admit(request_from("first"))
    assert refused.value.retry_after == 60
    for number in range(MOST_COUNTED):
        limit.admit(request_from(f"other {number}"))
    limit.admit(request_from("first"))


PAGES = {"/docs": "text/html", "/docs/docs.css": "text/css", "/docs/docs.js": "text/javascript"}


@pytest.mark.parametrize("path", PAGES)
def test_the_documentation_page_needs_nothing_from_elsewhere(server: RunningServer, path: str) -> None:
    reply = server.client().get(path)
    assert (reply.status, reply.headers["content-type"]) == (200, f"{PAGES[path]}; charset=utf-8")
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    text = reply.body.decode()
    assert not re.search(r"(?:https?:)?//[a-z]", text.replace("// ", ""))
    assert "innerHTML" not in text
    assert not re.search(r"<script(?! src=)|<style| style=| on\w+=\"", text)


def test_the_description_has_every_route_attribute_filter_and_error(server: RunningServer) -> None:
    description = server.client().get("/openapi.json").json
    assert description["openapi"] == "3.1.0"
    assert json.loads(run_rollbook("openapi").stdout)["paths"].keys() == description["paths"].keys()
    described = {(method.upper(), path) for path, item in description["paths"].items() for method in item}
    hidden = {"/oauth/token", "/openapi.json", "/docs", "/docs/{id}"}
    routes = {(route.method, route.template) for route in all_routes(list(RESOURCES.values()))}
    assert described == {route for route in routes if route[1] not in hidden}
    for resource in RESOURCES.values():
        listed = description["paths"][f"/v1/{resource.type.name}"]["get"]
        names = {parameter["name"] for parameter in listed["parameters"]}
        assert {f"filter[{each.name}]" for each in resource.type.filters} <= names
        schema = description["components"]["schemas"][f"{resource.type.name}_attributes"]
        answered = RunningAttributes(schema)
        for attribute in resource.type.attributes:
            assert answered.has(getattr(attribute, "name", "") or f"{attribute.prefix}7")  # type: ignore[union-attr]
    create = description["paths"]["/v1/contacts"]["post"]["responses"]
    details = [
        example["value"]["errors"][0]["detail"]
        for status, response in create.items()
        if status >= "400"
        for example in response["content"]["application/vnd.api+json"]["examples"].values()
    ]
    expected = {
        "Email can't be blank",
        "Email is invalid",
        "Email has already been taken",
        "Site relationship is required",
    }
    assert expected <= set(details)


class RunningAttributes:
    """The attributes that a schema allows, by name or by pattern."""

    def __init__(self, schema: Any) -> None:
        self._schema = schema

    def has(self, name: str) -> bool:
        patterns = self._schema.get("patternProperties", {})
        return name in self._schema["properties"] or any(re.search(each, name) for each in patterns)


@pytest.mark.parametrize("refusal", Refusal)
def test_every_refusal_is_documented(refusal: Refusal) -> None:
    row = refusal.value
    detail = "null" if row.detail is None else f"`{row.detail}`"
    assert f"| {row.status} | {TITLES[row.status]} | {detail} | " in (DOCS / "errors.md").read_text()


@pytest.mark.parametrize("page", make_tables.PAGES)
def test_the_pages_that_follow_from_declarations_are_up_to_date(page: str) -> None:
    assert (DOCS / page).read_text() == make_tables.PAGES[page](), "run: make docs"
