"""Proves contract 1.3: each failure F1 to F18 with its exact body and headers, and their order."""

import json
import socket
from collections.abc import Callable
from typing import Any

import pytest

from databases import on_postgresql, run_sql, writes_held
from support import Reply, RunningServer, SiteWorld, contact_document

JSON_API = "application/vnd.api+json"
SITE_POINTER = {"pointer": "/data/relationships/site"}


def error(status: int, source: Any, title: str, detail: str | None) -> dict[str, Any]:
    return {"status": str(status), "source": source, "title": title, "detail": detail}


F1 = error(401, None, "Unauthorized", "Access token is missing")
F2 = error(401, None, "Unauthorized", "Access token is invalid or has expired")
F3 = error(400, {"pointer": "/data"}, "Bad Request", "Request body must be a JSON object")
F4 = error(400, {"pointer": "/data"}, "Bad Request", "Request body must contain a data object")
F5 = error(400, {"pointer": "/data/attributes"}, "Bad Request", "Attributes must be an object")
F6 = error(400, SITE_POINTER, "Bad Request", "Site relationship is required")
F7 = error(404, SITE_POINTER, "Not Found", "The requested resource could not be found")
F8 = error(403, None, "Forbidden", "You do not have permission to perform this action")
F9 = error(409, {"pointer": "/data/type"}, "Conflict", "Type must be contacts")
F10 = error(422, {"pointer": "/data/attributes/email"}, "Unprocessable Entity", "Email can't be blank")
F11 = error(422, {"pointer": "/data/attributes/email"}, "Unprocessable Entity", "Email is invalid")
F12 = error(
    422, {"pointer": "/data/attributes/email"}, "Unprocessable Entity", "Email has already been taken"
)
F15 = error(429, None, "Too Many Requests", "Rate limit exceeded")
F16 = error(500, None, "Internal Server Error", None)
F17 = error(503, None, "Service Unavailable", "The service is temporarily unavailable")


def invalid(name: str, label: str) -> dict[str, Any]:
    pointer = {"pointer": f"/data/attributes/{name}"}
    return error(422, pointer, "Unprocessable Entity", f"{label} is invalid")


def not_storable(name: str, label: str) -> dict[str, Any]:
    pointer = {"pointer": f"/data/attributes/{name}"}
    return error(422, pointer, "Unprocessable Entity", f"{label} contains characters that cannot be stored")


def assert_refused(reply: Reply, *errors: dict[str, Any], **headers: str) -> None:
    """Assert the whole answer: status, body to the byte, and every header but those that always differ."""
    assert (
        reply.body == json.dumps({"errors": list(errors)}, separators=(",", ":"), ensure_ascii=False).encode()
    )
    assert reply.status == int(errors[0]["status"])
    found = {name: value for name, value in reply.headers.items() if name not in ("date", "x-request-id")}
    expected = {"content-type": JSON_API, "content-length": str(len(reply.body))}
    assert found == expected | {name.replace("_", "-"): value for name, value in headers.items()}


def post(site: SiteWorld, body: str | bytes) -> Reply:
    return site.client.post("/v1/contacts", body=body)


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer ", "Basic abc", "Token abc", "abc", "bearer"]
)
def test_f1_without_a_bearer_token(server: RunningServer, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    reply = server.client().post("/v1/contacts", contact_document("123", email="a@b.c"), headers=headers)
    assert_refused(reply, F1, www_authenticate="Bearer")


@pytest.mark.parametrize("token", ["unknown", "a b", "é".encode().decode("latin-1"), "x" * 5000, "'; --"])
def test_f2_with_an_unknown_token(server: RunningServer, token: str) -> None:
    reply = server.client(token).post("/v1/contacts", contact_document("123", email="a@b.c"))
    assert_refused(reply, F2, www_authenticate='Bearer error="invalid_token"')


@pytest.mark.parametrize(
    "body",
    [b"", b" ", b"{", b"[]", b'"text"', b"1", b"null", b"true", b"{]", b"{'data':{}}", b'{"data":NaN}']
    + [
        b'{"data":"\xff"}',
        b'{"data":"\\ud800"}',
        b'\xef\xbb\xbf{"data":{}}',
        b"[" * 100_000,
        b'{"a":' * 5_000,
    ]
    + [b'{"data":{}} x', '{"data":{}}'.encode("utf-16")],
)
def test_f3_with_a_body_that_is_no_json_object(site: SiteWorld, body: bytes) -> None:
    assert_refused(post(site, body), F3)


@pytest.mark.parametrize("data", ["", '"data":null', '"data":[]', '"data":"x"', '"data":1', '"Data":{}'])
def test_f4_without_a_data_object(site: SiteWorld, data: str) -> None:
    assert_refused(post(site, "{" + data + "}"), F4)


@pytest.mark.parametrize("attributes", ["[]", '"x"', "1", "true"])
def test_f5_with_attributes_that_are_no_object(site: SiteWorld, attributes: str) -> None:
    assert_refused(post(site, f'{{"data":{{"attributes":{attributes}}}}}'), F5)


@pytest.mark.parametrize(
    "relationships",
    [None, [], "x", {}, {"site": None}, {"site": []}, {"site": {}}, {"site": {"data": None}}]
    + [{"site": {"data": []}}, {"site": {"data": [{"type": "sites", "id": "1"}]}}]
    + [{"site": {"data": {"type": "sites"}}}, {"site": {"data": {"type": "sites", "id": None}}}]
    + [{"site": {"data": {"type": "sites", "id": ""}}}, {"site": {"data": {"type": "contacts", "id": "1"}}}]
    + [{"site": {"data": {"type": "sites", "id": True}}}, {"site": {"data": {"type": "sites", "id": {}}}}],
)
def test_f6_without_one_site_identifier(site: SiteWorld, relationships: Any) -> None:
    document = {"data": {"attributes": {"email": "a@b.c"}, "relationships": relationships}}
    assert_refused(site.client.post("/v1/contacts", document), F6)


def test_f6_without_relationships_at_all(site: SiteWorld) -> None:
    assert_refused(site.client.post("/v1/contacts", {"data": {"attributes": {"email": "a@b.c"}}}), F6)


@pytest.mark.parametrize("unknown", ["1", "0", "-1", "abc", "007", "1.0", " 1", "9" * 30, "٣"])
def test_f7_with_an_unknown_site(site: SiteWorld, unknown: str) -> None:
    assert_refused(site.client.post("/v1/contacts", contact_document(unknown, email="a@b.c")), F7)


def test_f7_with_a_site_that_the_key_does_not_see_is_answered_as_unknown(
    server: RunningServer, site: SiteWorld
) -> None:
    other = server.new_site()
    foreign = site.client.post("/v1/contacts", contact_document(other.id, email="a@b.c"))
    unknown = site.client.post("/v1/contacts", contact_document("1", email="a@b.c"))
    assert_refused(foreign, F7)
    assert foreign.body == unknown.body


def test_f8_without_the_permission_on_a_seen_site(server: RunningServer) -> None:
    reader = server.new_site(permissions=("view:contacts",))
    assert_refused(reader.create(email="a@b.c"), F8)


@pytest.mark.parametrize("of_type", ["contact", "sites", "", None, 1, [], "Contacts"])
def test_f9_with_another_type(site: SiteWorld, of_type: Any) -> None:
    document = site.document(email="a@b.c")
    document["data"]["type"] = of_type
    assert_refused(site.client.post("/v1/contacts", document), F9)


def test_a_missing_type_is_tolerated(site: SiteWorld) -> None:
    document = site.document(email="a@b.c")
    del document["data"]["type"]
    assert site.client.post("/v1/contacts", document).status == 201


@pytest.mark.parametrize("attributes", [{}, {"email": None}, {"email": ""}, {"email": " \t\n\u00a0\u3000"}])
def test_f10_with_a_blank_email(site: SiteWorld, attributes: dict[str, Any]) -> None:
    assert_refused(site.create(**attributes), F10)


@pytest.mark.parametrize("attributes", [b"", b'"attributes":null,', b'"attributes":{},'])
def test_f10_without_attributes(site: SiteWorld, attributes: bytes) -> None:
    site_part = b'"relationships":{"site":{"data":{"type":"sites","id":"%s"}}}' % site.id.encode()
    assert_refused(post(site, b'{"data":{' + attributes + site_part + b"}}"), F10)


@pytest.mark.parametrize(
    "email",
    ["x", "@", "a@", "@b", "a b@c.d", "a@b c", "a@b\tc", "a@@b", "a@b@c", "a\u3000b@c.d", 12, "a@b\u00a0c"],
)
def test_f11_with_a_malformed_email(site: SiteWorld, email: Any) -> None:
    assert_refused(site.create(email=email), F11)


def test_f12_with_a_taken_email_names_the_contact_in_the_way(server: RunningServer, site: SiteWorld) -> None:
    first = site.create(email="Ines@Example.test").json["data"]["id"]
    named = F12 | {
        "links": {"about": f"{server.url}/v1/contacts/{first}"},
        "meta": {"existing_id": first},
    }
    for again in ("ines@example.test", " INES@EXAMPLE.TEST ", "ines@Example.Test"):
        assert_refused(site.create(email=again), named)


def test_f12_without_the_right_to_read_names_nobody(server: RunningServer) -> None:
    writer = server.new_site(permissions=("edit:contacts",))
    assert writer.create(email="a@b.c").status == 201
    assert_refused(writer.create(email="a@b.c"), F12)


def test_an_email_of_another_site_is_free(server: RunningServer, site: SiteWorld) -> None:
    assert site.create(email="a@b.c").status == 201
    assert server.new_site().create(email="a@b.c").status == 201


@pytest.mark.parametrize("value", [True, 1.5, [], {}, ["x"]])
@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("name", "Name"),
        ("email", "Email"),
        ("phone_number", "Phone number"),
        ("address_line_1", "Address line 1"),
    ]
    + [("custom_1", "Custom 1"), ("custom_150", "Custom 150")],
)
def test_f13_with_a_text_of_the_wrong_json_type(site: SiteWorld, name: str, label: str, value: Any) -> None:
    assert_refused(site.create(**({"email": "a@b.c"} | {name: value})), invalid(name, label))


@pytest.mark.parametrize("value", ["yes", "True", "", 2, -1, 1.0, [], {}])
def test_f13_with_a_boolean_of_the_wrong_json_type(site: SiteWorld, value: Any) -> None:
    assert_refused(site.create(email="a@b.c", subscribed=value), invalid("subscribed", "Subscribed"))


@pytest.mark.parametrize(
    ("name", "label"),
    [("name", "Name"), ("email", "Email"), ("business_number", "Business number"), ("custom_3", "Custom 3")],
)
def test_f14_with_u0000_in_a_text(site: SiteWorld, name: str, label: str) -> None:
    assert_refused(site.create(**({"email": "a@b.c"} | {name: "a\0@b.c"})), not_storable(name, label))


def test_each_failed_attribute_has_its_error_in_the_attribute_order(
    server: RunningServer, site: SiteWorld
) -> None:
    first = site.create(email="a@b.c").json["data"]["id"]
    taken = F12 | {"links": {"about": f"{server.url}/v1/contacts/{first}"}, "meta": {"existing_id": first}}
    reply = site.create(
        custom_12=False,
        custom_2="\0",
        subscribed="no",
        phone_number=[],
        address_zip="\0",
        email="A@B.C",
        name={},
    )
    assert_refused(
        reply,
        invalid("name", "Name"),
        taken,
        not_storable("address_zip", "Address zip"),
        invalid("phone_number", "Phone number"),
        invalid("subscribed", "Subscribed"),
        not_storable("custom_2", "Custom 2"),
        invalid("custom_12", "Custom 12"),
    )


def test_f15_beyond_the_rate_limit(serve: Callable[..., RunningServer]) -> None:
    server = serve(ROLLBOOK_RATE_LIMIT="3")
    site = server.new_site()
    assert site.client.get("/v1/sites").status == 200
    client = server.client("nobody")
    assert [client.get("/v1/sites").status for _ in range(3)] == [401] * 3
    reply = client.get("/v1/sites")
    wait = reply.headers["retry-after"]
    assert 1 <= int(wait) <= 60
    limit = {"ratelimit_policy": '"default";q=3;w=60', "ratelimit": f'"default";r=0;t={wait}'}
    assert_refused(reply, F15, retry_after=wait, **limit)
    assert site.client.get("/v1/sites").status == 200


def test_f16_when_something_unexpected_happens(serve: Callable[..., RunningServer]) -> None:
    server = serve()
    site = server.new_site()
    run_sql(server.database_url, "DROP TABLE audit_events")
    assert_refused(site.create(email="a@b.c"), F16)
    assert site.client.get("/v1/contacts").json["data"] == []
    failed = [line for line in server.log_lines() if line["event"] == "request_failed"]
    assert [line["error"] for line in failed] == ["UndefinedTable" if on_postgresql() else "SQLError"]


def test_f17_while_the_database_is_locked(serve: Callable[..., RunningServer]) -> None:
    server = serve()
    site = server.new_site()
    with writes_held(server.database_url):
        refused = site.create(email="a@b.c")
        assert_refused(refused, F17, retry_after="1")
        assert site.client.get("/v1/contacts").status == 200
    assert site.create(email="a@b.c").status == 201


def test_f18_with_a_body_that_is_announced_too_large(site: SiteWorld) -> None:
    too_large = error(413, None, "Content Too Large", "Request body is larger than 1048576 bytes")
    assert_refused(post(site, b" " * 1_048_577), too_large)
    assert post(site, b" " * 1_048_576).status == 400


def test_f18_with_a_body_that_is_streamed_too_large(server: RunningServer, site: SiteWorld) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as raw:
        raw.sendall(
            b"POST /v1/contacts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + site.token.encode() + b"\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        for _ in range(17):
            raw.sendall(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
        answer = b""
        while b"}]}" not in answer:
            answer += raw.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"detail":"Request body is larger than 1048576 bytes"' in answer


def test_the_size_is_checked_after_the_token(server: RunningServer) -> None:
    reply = server.client("unknown").post("/v1/contacts", body=b" " * 1_048_577)
    assert reply.status == 401


# One request fails in every stage at once; mending them one by one shows each in its turn.
STAGES: list[tuple[dict[str, Any], Callable[[dict[str, Any]], None]]] = [
    (F4, lambda document: document.update(data={"type": "people", "attributes": []})),
    (F5, lambda document: document["data"].update(attributes={"phone_number": True})),
    (
        F6,
        lambda document: document["data"].update(
            relationships={"site": {"data": {"type": "sites", "id": "1"}}}
        ),
    ),
    (F7, lambda document: None),
]


def test_the_first_failing_stage_answers_alone(server: RunningServer) -> None:
    reader, writer = server.new_site(permissions=("view:contacts",)), server.new_site()
    document: dict[str, Any] = {}
    for expected, mend in STAGES:
        assert_refused(writer.client.post("/v1/contacts", document), expected)
        mend(document)
    document["data"]["relationships"]["site"]["data"]["id"] = reader.id
    assert_refused(reader.client.post("/v1/contacts", document), F8)
    document["data"]["relationships"]["site"]["data"]["id"] = writer.id
    assert_refused(writer.client.post("/v1/contacts", document), F9)
    document["data"]["type"] = "contacts"
    assert_refused(writer.client.post("/v1/contacts", document), F10, invalid("phone_number", "Phone number"))
    document["data"]["attributes"] = {"email": "a@b.c"}
    assert writer.client.post("/v1/contacts", document).status == 201


def test_of_duplicate_members_the_last_counts(site: SiteWorld) -> None:
    part = f'"relationships":{{"site":{{"data":{{"type":"sites","id":"{site.id}"}}}}}}'
    body = f'{{"data":{{"attributes":{{"email":"first@b.c","email":"last@b.c"}},{part}}}}}'
    assert post(site, body).json["data"]["attributes"]["email"] == "last@b.c"


def test_nothing_is_stored_by_what_was_refused(site: SiteWorld) -> None:
    for attributes in ({"email": "x"}, {"email": "a@b.c", "name": []}, {"email": "a@b.c", "name": "\0"}):
        assert site.create(**attributes).status == 422
    assert site.client.get("/v1/contacts").json["meta"]["total"] == 0
