"""Proves what somebody who watches a server sees: its lines, its counts, its request ids, its page."""

import re
import urllib.request
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest

from databases import free_port, run_sql, writes_held
from rollbook import __version__
from support import Client, RunningServer, SiteWorld, wait_until

Serve = Callable[..., RunningServer]


def events(server: RunningServer, name: str) -> list[dict[str, Any]]:
    return [line for line in server.log_lines() if line["event"] == name]


def test_start_and_end_are_a_line_each_and_every_line_has_time_level_and_event(serve: Serve) -> None:
    server = serve()
    server.client().get("/v1/version")
    assert server.stop() == 0
    lines = server.log_lines()
    assert len(server.log.read_text().splitlines()) == len(lines)
    assert (lines[0]["event"], lines[-1]["event"]) == ("server_started", "server_stopped")
    assert lines[0]["url"] == server.url
    assert 0 < lines[0]["seconds"] < 60
    for line in lines:
        assert list(line)[:3] == ["time", "level", "event"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
        assert line["level"] == "info"
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)


@pytest.mark.parametrize("style", ["plain", "color"])
def test_a_person_can_choose_lines_to_read(serve: Serve, style: str) -> None:
    server = serve(ROLLBOOK_LOG_FORMAT=style)
    server.client().get("/v1/version", headers={"X-Request-Id": "mine"})
    assert server.stop() == 0
    pattern = r"^\S+Z info    request_answered method=GET route=/v1/version status=200 seconds=[\d.e-]+ request_id=mine$"
    plain = re.sub(r"\x1b\[\d*m", "", server.log.read_text())
    assert re.search(pattern, plain, re.MULTILINE)
    assert ("\x1b[" in server.log.read_text()) == (style == "color")


def test_an_unexpected_failure_is_an_error_with_its_place(serve: Serve) -> None:
    server = serve()
    site = server.new_site()
    run_sql(server.database_url, "DROP TABLE audit_events")
    answer = site.client.post(
        "/v1/contacts", site.document(email="ines@example.test"), headers={"X-Request-Id": "broken-1"}
    )
    assert (answer.status, answer.headers["x-request-id"]) == (500, "broken-1")
    wait_until(lambda: events(server, "request_failed"), 10)
    (line,) = events(server, "request_failed")
    assert (line["level"], line["request_id"], line["route"]) == ("error", "broken-1", "/v1/contacts")
    assert re.search(r"\w+\.py:\d+ \w+", line["where"])
    assert "ines@example.test" not in server.log.read_text()


class Metrics:
    """The metrics of a server at one moment."""

    def __init__(self, port: int) -> None:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            self.media_type = answer.headers["content-type"]
            self.text: str = answer.read().decode()

    def __getitem__(self, name: str) -> float:
        """The value of a sample, by its whole name."""
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.text, re.MULTILINE)
        return float(found[1]) if found else 0.0


def test_counts_grow_with_what_happens_and_have_no_labels_of_the_clients_choice(serve: Serve) -> None:
    port = free_port()
    server = serve(ROLLBOOK_METRICS_PORT=str(port), ROLLBOOK_MAX_CONNECTIONS="5")
    site = server.new_site()
    before = Metrics(port)
    assert before.media_type.startswith("text/plain")
    assert before[f'rollbook_info{{version="{__version__}"}}'] == 1
    for number in range(5):
        site.create(email=f"a{number}@x.test")
    site.create(email="a0@x.test")
    for path in ("/v1/secret-path-1", "/v1/contacts/12345", "/v1/contacts/ines@x.test"):
        assert site.client.get(path).status == 404
    created = 'rollbook_requests_total{method="POST",route="/v1/contacts",status="201"}'
    taken = 'rollbook_requests_total{method="POST",route="/v1/contacts",status="422"}'
    unknown = 'rollbook_requests_total{method="GET",route="unknown",status="404"}'
    seconds = 'rollbook_request_seconds_count{route="/v1/contacts"}'
    wait_until(lambda: Metrics(port)[unknown] >= 1, 10)
    after = Metrics(port)
    assert [after[name] - before[name] for name in (created, taken, unknown, seconds)] == [5, 1, 1, 6]
    assert after['rollbook_request_seconds_bucket{le="+Inf",route="/v1/contacts"}'] == after[seconds]
    for secret in ("secret-path", "12345", "ines", site.token, site.id):
        assert secret not in after.text


def test_refused_connections_and_a_locked_database_are_counted(serve: Serve) -> None:
    port = free_port()
    server = serve(ROLLBOOK_METRICS_PORT=str(port), ROLLBOOK_MAX_CONNECTIONS="3")
    site = server.new_site()
    with writes_held(server.database_url):
        assert site.create(email="a@x.test").status == 503
    assert site.create(email="a@x.test").status == 201
    held = [Client(server.url) for _ in range(8)]
    for client in held:
        try:
            client.get("/livez")
        except OSError:
            continue
    wait_until(lambda: Metrics(port)["rollbook_connections_refused_total"] >= 1, 10)
    for client in held:
        client.close()
    assert Metrics(port)["rollbook_storage_unavailable_total"] == 1
    assert Metrics(port)["rollbook_failures_total"] == 0


def test_every_answer_has_a_request_id_of_its_own(server: RunningServer, site: SiteWorld) -> None:
    nobody = server.client()
    answers = [
        *(site.client.get("/v1/contacts") for _ in range(100)),
        *(nobody.get(path) for path in ("/v1/contacts", "/v1/nowhere", "/nowhere", "/livez", "/docs", "/openapi.json")),
        *(site.create(email="x") for _ in range(3)),
    ]  # fmt: skip
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert len(set(ids)) == len(answers)
    assert all(re.fullmatch(r"[A-Za-z0-9._:-]{1,128}", each) for each in ids)


def test_request_ids_do_not_begin_anew_after_a_restart(serve: Serve) -> None:
    first = serve()
    ids = [first.client().get("/livez").headers["x-request-id"] for _ in range(5)]
    first.stop()
    again = serve().client()
    ids += [again.get("/livez").headers["x-request-id"] for _ in range(5)]
    assert len(set(ids)) == 10


class References(HTMLParser):
    """What a page loads or leads to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note each address."""
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "action")]


def test_all_that_the_page_names_is_there(server: RunningServer) -> None:
    client = server.client()
    page = client.get("/docs")
    found = References(page.body.decode()).found
    assert {"/docs/docs.css", "/docs/docs.js"} <= set(found)
    for each in found:
        if each.startswith("#"):
            assert f'id="{each[1:]}"' in page.body.decode()
        elif not each.startswith("data:image/svg+xml,"):
            assert re.match(r"/(?!/)", each)
            assert client.get(each).status == 200


def test_the_policy_of_the_page_allows_its_own_server_alone(server: RunningServer) -> None:
    headers = server.client().get("/docs").headers
    rules = dict(rule.strip().split(" ", 1) for rule in headers["content-security-policy"].split(";"))
    assert rules["default-src"] == "'none'"
    for what in ("script-src", "style-src", "connect-src"):
        assert rules[what] == "'self'"
    for what in ("base-uri", "form-action", "frame-ancestors"):
        assert rules[what] == "'none'"
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    ["/docs/x", "/docs/docs.html", "/docs/../cli.py", "/docs/..%2Fservice.py", "/docs/%2e%2e/service.py",
     "/docs/docs.js/x", "/docs/..", "/docs/.", "/docs/docs.css%00"],
)  # fmt: skip
def test_nothing_else_is_served_beside_the_page(server: RunningServer, path: str) -> None:
    answer = server.client().get(path)
    assert answer.status == 404
    assert answer.json["errors"][0]["title"] == "Not Found"


@pytest.mark.parametrize(
    "path", ["/livez", "/readyz", "/docs", "/docs/docs.js", "/openapi.json", "/v1/version"]
)
def test_head_is_answered_as_get_without_the_body(server: RunningServer, path: str) -> None:
    client = server.client()
    got, head = client.get(path), client.request("HEAD", path)
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(got.body)))
