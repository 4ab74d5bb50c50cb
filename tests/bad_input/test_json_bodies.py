"""Proves that JSON of every kind, valid, damaged or doubtful, is answered as the contract says."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from support import Reply, RunningServer, SiteWorld

UNIQUE = itertools.count(1)
F3 = "Request body must be a JSON object"
F4 = "Request body must contain a data object"
F5 = "Attributes must be an object"
F6 = "Site relationship is required"

# ---------------------------------------------------------------------------------------------------------
# Not JSON (RFC 8259): what every parser must refuse. By class: name and text.

NOT_STRUCTURE: dict[str, bytes] = {
    "nothing": b"",
    "a space": b" ",
    "line feeds": b"\n\n",
    "open object": b"{",
    "open array": b"[",
    "closing brace": b"}",
    "closing bracket": b"]",
    "colon": b":",
    "comma": b",",
    "brackets crossed": b"[}",
    "braces crossed": b"{]",
    "array in object without name": b"{[]}",
    "object without value": b'{"a"}',
    "object without value after colon": b'{"a":}',
    "object without name": b"{:1}",
    "object with two colons": b'{"a"::1}',
    "object with comma for colon": b'{"a",1}',
    "object with semicolon for comma": b'{"a":1;"b":2}',
    "object with equals sign": b'{"a"=1}',
    "object with arrow": b'{"a"=>1}',
    "object with trailing comma": b'{"a":1,}',
    "object with two trailing commas": b'{"a":1,,}',
    "object with leading comma": b'{,"a":1}',
    "object with double comma": b'{"a":1,,"b":2}',
    "object with missing comma": b'{"a":1 "b":2}',
    "object with bare name": b"{a:1}",
    "object with numeric name": b"{1:1}",
    "object with null name": b"{null:1}",
    "object with array name": b"{[1]:1}",
    "object with single-quoted name": b"{'a':1}",
    "object open after name": b'{"a"',
    "object open after colon": b'{"a":',
    "object open after value": b'{"a":1',
    "object open after comma": b'{"a":1,',
    "object closed twice": b'{"a":1}}',
    "object closed by bracket": b'{"a":1]',
    "object with value alone": b'{"a":1,2}',
    "array with trailing comma": b"[1,]",
    "array with two trailing commas": b"[1,,]",
    "array with leading comma": b"[,1]",
    "array of a comma": b"[,]",
    "array with double comma": b"[1,,2]",
    "array with missing comma": b"[1 2]",
    "array with colon": b"[1:2]",
    "array with semicolon": b"[1;2]",
    "array with star": b"[*]",
    "array open after value": b"[1",
    "array open after comma": b"[1,",
    "array open with lines": b"[1,\n1\n,1",
    "array closed twice": b"[1]]",
    "array closed by brace": b"[1}",
    "array in array open": b"[[1]",
    "unclosed nesting": b'[{"a":[{"b":[',
    "colon for comma": b'["a":1]',
    "angle brackets": b"<.>",
    "angle bracket in array": b"[<null>]",
    "parentheses": b"(1)",
    "ampersand": b"&",
    "dollar": b"$",
    "hash": b"#",
    "ASCII null": b"\0",
    "word": b"word",
    "XML": b'<?xml version="1.0"?><a/>',
    "YAML": b"a: 1\nb: 2",
    "form": b"a=1&b=2",
    "form feed as white space": b"[\x0c]",
    "vertical tab as white space": b"[\x0b1]",
    "no-break space as white space": b"[\xc2\xa01]",
    "line separator as white space": b"[\xe2\x80\xa81]",
    "word joiner as white space": b"[\xe2\x81\xa0]",
    "ideographic space as white space": b"[\xe3\x80\x80]",
    "byte-order mark inside": b"[\xef\xbb\xbf]",
}
NOT_LITERALS: dict[str, bytes] = {
    "True": b"True",
    "TRUE": b"TRUE",
    "False": b"False",
    "None": b"None",
    "NULL": b"NULL",
    "Null": b"Null",
    "nul": b"nul",
    "nulll": b"nulll",
    "tru": b"tru",
    "fals": b"fals",
    "truefalse": b"truefalse",
    "undefined": b"undefined",
    "nil": b"nil",
    "yes": b"yes",
    "true with minus": b"-true",
    "true in full width": "ｔｒｕｅ".encode(),
    "NaN": b"NaN",
    "nan": b"nan",
    "-NaN": b"-NaN",
    "Infinity": b"Infinity",
    "-Infinity": b"-Infinity",
    "+Infinity": b"+Infinity",
    "Inf": b"Inf",
    "inf": b"inf",
    "1.#INF": b"1.#INF",
    "a date": b"2026-05-01",
    "new Date()": b"new Date()",
}
# fmt: off
NUMBERS = [
    "+1", "++1", "+0", "--", "--1", "-", "-a", "-01", "-012", "-.5", "-2.", "-1x", "00", "01",
    "012", "0x", "0x1", "0x1F", "0XFF", "0b1", "0o7", "1_000", "1,5", ".5", ".-1", ".e1", ".",
    "1.", "0.", "2.e3", "2.e+3", "2.e-3", "0.e1", "0e", "0e+", "0E", "0E+", "0.3e", "0.3e+",
    "1.0e", "1.0e+", "1.0e-", "1eE2", "1e1.5", "1e+-1", "1ee1", "9.e+", "1.2.3", "1.2a",
    "1.8011670033376514H-308", "1a", "1e1a", "1-", "1+1", "1-1", "1/2", "1*2", "2^3", "1%", "$1",
    "1L", "1f", "1n", "0.1.2", "-e1", "e1", "1d5", "1:00", "1'000", "½", "１", "٣", "Ⅷ", "1²",
    "−1", "1٫5", "0.0.0", "127.0.0.1",
]
# fmt: on
NOT_NUMBERS: dict[str, bytes] = {name: name.encode() for name in NUMBERS}
NOT_STRINGS: dict[str, bytes] = {
    "one quote": b'"',
    "unterminated": b'"abc',
    "unterminated after escape": b'"abc\\"',
    "ends in a backslash": b'"abc\\',
    "single quotes": b"'abc'",
    "one single quote": b"'",
    "backquotes": b"`abc`",
    "curly quotes": "“abc”".encode(),
    "guillemets": "«abc»".encode(),
    "three quotes": b'"""abc"""',
    "no quotes": b"abc",
    "escape outside": b"\\n",
    "escaped quotes outside": b'\\"abc\\"',
    "escaped letters outside": b"\\u0022abc\\u0022",
    "two strings": b'"a""b"',
    "two strings with plus": b'"a"+"b"',
    "prefix u": b'u"abc"',
    "prefix b": b'b"abc"',
    "prefix r": b'r"abc"',
    "junk after": b'"abc"x',
    "a raw line break": b'"a\nb"',
    "a raw carriage return": b'"a\rb"',
    "a raw tab": b'"a\tb"',
    "a raw NUL": b'"a\0b"',
    "a continued line": b'"a\\\nb"',
}
NOT_STRINGS |= {f"raw control {code:02x}": b'"%c"' % code for code in range(0x20)}
NOT_ESCAPES: dict[str, bytes] = {
    f"escape {chr(code)!r}": b'"\\%c"' % code for code in range(0x20, 0x7F) if chr(code) not in '"\\/bfnrtu'
}
NOT_ESCAPES |= {
    "escaped NUL byte": b'"\\\0"',
    "escaped tab byte": b'"\\\t"',
    "escaped letter beyond ASCII": '"\\é"'.encode(),
    "escaped emoji": '"\\🌀"'.encode(),
    "u without digits": b'"\\u"',
    "u with one digit": b'"\\u1"',
    "u with two digits": b'"\\u12"',
    "u with three digits": b'"\\u123"',
    "u with three digits and a quote": b'"\\u00A',
    "u with letters": b'"\\uzzzz"',
    "u with sign": b'"\\u+041"',
    "u with space": b'"\\u 041"',
    "u with 0x": b'"\\u0x41"',
    "u with underscore": b'"\\u0_41"',
    "u with braces": b'"\\u{41}"',
    "u in full width digits": '"\\u００４１"'.encode(),
    "capital U": b'"\\U00000041"',
    "half of a second surrogate": b'"\\uD834\\u"',
    "short second surrogate": b'"\\uD834\\uDd"',
    "bad second surrogate": b'"\\uD800\\uZZZZ"',
    "surrogate and bad escape": b'"\\uD800\\x"',
}
DAMAGE: dict[str, bytes] = {f"lone byte {code:02x}": b'"%c"' % code for code in range(0x80, 0x100)}
DAMAGE |= {
    "overlong slash in two bytes": b'"\xc0\xaf"',
    "overlong slash in three bytes": b'"\xe0\x80\xaf"',
    "overlong slash in four bytes": b'"\xf0\x80\x80\xaf"',
    "overlong NUL": b'"\xc0\x80"',
    "overlong quote": b'\xc0\xa2abc"',
    "longest overlong of two": b'"\xc1\xbf"',
    "longest overlong of three": b'"\xe0\x9f\xbf"',
    "longest overlong of four": b'"\xf0\x8f\xbf\xbf"',
    "first high surrogate": b'"\xed\xa0\x80"',
    "last high surrogate": b'"\xed\xaf\xbf"',
    "first low surrogate": b'"\xed\xb0\x80"',
    "last low surrogate": b'"\xed\xbf\xbf"',
    "pair of surrogates (CESU-8)": b'"\xed\xa0\xbd\xed\xb8\x80"',
    "beyond U+10FFFF": b'"\xf4\x90\x80\x80"',
    "five bytes": b'"\xf8\x88\x80\x80\x80"',
    "six bytes": b'"\xfc\x84\x80\x80\x80\x80"',
    "cut two-byte sequence": b'"\xc3"',
    "cut three-byte sequence": b'"\xe2\x82"',
    "cut four-byte sequence": b'"\xf0\x9f\x98"',
    "sequence cut by a letter": b'"\xe2\x82a"',
    "two sequences run together": b'"\xe2\xe2\x82\xac"',
    "one continuation too many": b'"\xe2\x82\xac\xac"',
    "Latin-1": "é".encode("latin-1").join([b'"', b'"']),
    "Windows-1252 quotes": b'"\x93abc\x94"',
    "Shift JIS": '"日本"'.encode("shift_jis"),
    "GB18030": '"中文"'.encode("gb18030"),
    "UTF-16 little endian": '{"a":1}'.encode("utf-16-le"),
    "UTF-16 big endian": '{"a":1}'.encode("utf-16-be"),
    "UTF-16 with mark": '{"a":1}'.encode("utf-16"),
    "UTF-32 little endian": '{"a":1}'.encode("utf-32-le"),
    "UTF-32 with mark": '{"a":1}'.encode("utf-32"),
    "UTF-7 mark": b'+/v8-{"a":1}',
    "half a byte-order mark": b"\xef\xbb{}",
    "damage outside of strings": b"[\xff]",
    "damage after the end": b"{}\xff",
    "damage in a name": b'{"\xff":1}',
}
TRAILING: dict[str, bytes] = {
    "a letter": b"{}x",
    "a number": b"{}1",
    "a second object": b"{}{}",
    "a second object on a line": b"{}\n{}",
    "a second array": b"[1][2]",
    "a comma": b"{},",
    "a brace": b"{}}",
    "a bracket": b"[1]]",
    "a quote": b'{}"',
    "a hash": b"{}#",
    "a NUL": b"{}\0",
    "a semicolon": b"{};",
    "text after white space": b"{}  junk",
    "a line comment": b"{}// end",
    "a byte-order mark": b"{}\xef\xbb\xbf",
    "a substitute": b"{}\x1a",
}
COMMENTS: dict[str, bytes] = {
    "block before": b"/* c */{}",
    "block inside": b'{/* c */"a":1}',
    "block after a value": b'{"a":1/* c */}',
    "block open": b'{"a":1}/*',
    "line before": b"// c\n{}",
    "line inside": b'{"a":1 // c\n}',
    "hash line": b"# c\n{}",
    "hash line inside": b'{"a":1 # c\n}',
    "slash": b"{}/",
    "two slashes": b"{}//",
    "markup comment": b"<!-- c -->{}",
    "semicolon comment": b"; c\n{}",
}
DEEP: dict[str, bytes] = {
    "100,000 open brackets": b"[" * 100_000,
    "100,000 brackets, closed": b"[" * 100_000 + b"]" * 100_000,
    "100,000 open braces": b'{"a":' * 100_000,
    "100,000 objects, closed": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "50,000 of both": b'[{"":' * 50_000,
    "100,000 in data": b'{"data":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "100,000 in an attribute": b'{"data":{"attributes":{"name":' + b"[" * 100_000 + b"]" * 100_000 + b"}}}",
    "500,000 open brackets": b"[" * 500_000,
}

NOT_JSON: dict[str, dict[str, bytes]] = {
    "structure": NOT_STRUCTURE,
    "literals": NOT_LITERALS,
    "numbers": NOT_NUMBERS,
    "strings": NOT_STRINGS,
    "escapes": NOT_ESCAPES,
    "utf8": DAMAGE,
    "trailing": TRAILING,
    "comments": COMMENTS,
    "deep": DEEP,
}
# These become JSON, or something else altogether, where they stand for a value inside of an object.
ALONE = {"structure", "trailing", "comments", "deep"}

# ---------------------------------------------------------------------------------------------------------
# JSON that every parser must take.

VALUES: dict[str, bytes] = {
    "null": b"null",
    "true": b"true",
    "false": b"false",
    "zero": b"0",
    "minus zero": b"-0",
    "one": b"1",
    "minus one": b"-1",
    "2^31": b"2147483648",
    "2^53": b"9007199254740992",
    "largest of 63 bits": b"9223372036854775807",
    "smallest of 64 bits": b"-9223372036854775808",
    "largest of 64 bits": b"18446744073709551615",
    "a fraction": b"1.5",
    "a fraction of zero": b"1.0",
    "minus zero as fraction": b"-0.0",
    "an exponent": b"1e2",
    "a capital exponent": b"1E2",
    "exponent with plus": b"1e+2",
    "exponent with minus": b"1e-2",
    "zero with exponent": b"0e1",
    "fraction with exponent": b"123.456e78",
    "small": b"1e-300",
    "close to zero": b"-0.000000000000000000000000000000000000000000000000000000000000000001",
    "empty string": b'""',
    "blank string": b'"   "',
    "string": b'"asd"',
    "string of digits": b'"123"',
    "string true": b'"true"',
    "string false": b'"false"',
    "string True": b'"True"',
    "string null": b'"null"',
    "string contacts": b'"contacts"',
    "string sites": b'"sites"',
    "all short escapes": rb'"\"\\\/\b\f\n\r\t"',
    "escaped slash": rb'"\/"',
    "escaped control": rb'"\u0012"',
    "escaped NUL": rb'"a\u0000b"',
    "escaped letter": rb'"\u0041"',
    "escaped in capitals": rb'"\u00E9"',
    "escaped quote": rb'"\u0022"',
    "escaped backslash": rb'"\u005C"',
    "escaped line separator": rb'"\u2028"',
    "escaped pair": rb'"\uD83D\uDE39\uD83D\uDC8D"',
    "escaped noncharacter": rb'"\uFFFF"',
    "escaped noncharacter of plane 16": rb'"\uDBFF\uDFFE"',
    "escaped byte-order mark": rb'"\uFEFF"',
    "backslash and u": rb'"\\u0041"',
    "comment in string": b'"a/*b*/c//d#e"',
    "two bytes": '"é"'.encode(),
    "three bytes": '"€"'.encode(),
    "four bytes": '"𝄞"'.encode(),
    "last of two bytes": '"\u07ff"'.encode(),
    "last code point": '"\U0010ffff"'.encode(),
    "noncharacter": '"\ufdd0"'.encode(),
    "private use": '"\ue000"'.encode(),
    "line separator": '"\u2028\u2029"'.encode(),
    "byte-order mark in string": '"\ufeff"'.encode(),
    "delete": b'"\x7f"',
    "control of Latin-1": '"\x80\x9f"'.encode(),
    "long string": b'"' + b"x" * 5_000 + b'"',
    "empty array": b"[]",
    "array with white space": b" [ \n\t\r1 , 2 ] ",
    "array of null": b"[null]",
    "array of an empty string": b'[""]',
    "array of several": b'[1,"2",null,true,{"a":[]}]',
    "array of an identifier": b'[{"type":"sites","id":"1"}]',
    "array of arrays": b"[[[[[]]]]]",
    "empty object": b"{}",
    "object": b'{"a":"b"}',
    "object with empty name": b'{"":0}',
    "object with escaped NUL in name": rb'{"a\u0000b":1}',
    "object with equal names": b'{"a":1,"a":2}',
    "object with long name": b'{"' + b"n" * 1_000 + b'":1}',
    "object with lines": b'{\n"a":\n1\r\n}\t',
    "object of prototypes": b'{"__proto__":{"a":1},"constructor":{"prototype":1}}',
    "nested objects": b'{"a":{"b":{"c":{"d":{}}}}}',
    "array of 1,000": b"[" + b",".join([b"1"] * 1_000) + b"]",
    "nesting of 100": b"[" * 100 + b"]" * 100,
}
# JSON whose fate the RFC leaves to the parser, or which the contract decides: the details allowed as a body.
EITHER = {F3, F4}
DOUBTFUL: dict[str, tuple[bytes, set[str]]] = {
    "lone high surrogate": (rb'"\uD800"', {F3}),
    "lone low surrogate": (rb'"\uDFAA"', {F3}),
    "two high surrogates": (rb'"\uD800\uD800"', {F3}),
    "surrogates the wrong way": (rb'"\uDD1E\uD834"', {F3}),
    "high surrogate and letter": (rb'"\uD888\u1234"', {F3}),
    "high surrogate and escape": (rb'"\uD800\n"', {F3}),
    "high surrogate in small letters": (rb'"\ud800abc"', {F3}),
    "lone surrogate in a name": (rb'{"\uD800":1}', {F3}),
    "lone surrogate in data": (rb'{"data":{"a":"\uDBFF"}}', {F3}),
    "integer of 65 bits": (b"18446744073709551616", EITHER),
    "negative integer of 65 bits": (b"-9223372036854775809", EITHER),
    "integer of 100 digits": (b"1" * 100, EITHER),
    "integer of 10,000 digits": (b"9" * 10_000, EITHER),
    "integer of 500,000 digits": (b"9" * 500_000, EITHER),
    "fraction of 10,000 digits": (b"0." + b"3" * 10_000, EITHER),
    "1e400": (b"1e400", EITHER),
    "-1e400": (b"-1e400", EITHER),
    "1e-400": (b"1e-400", EITHER),
    "exponent of ten digits": (b"1e9999999999", EITHER),
    "negative exponent of ten digits": (b"1e-9999999999", EITHER),
    "exponent of 1,000 digits": (b"1e" + b"9" * 1_000, EITHER),
    "exponent with leading zeros": (b"1e0000000000000000000001", EITHER),
    "denormal": (b"5e-324", EITHER),
    "largest double": (b"1.7976931348623157e308", EITHER),
    "byte-order mark alone": (b"\xef\xbb\xbf", {F3}),
    "byte-order mark and object": (b"\xef\xbb\xbf{}", EITHER),
    "two byte-order marks": (b"\xef\xbb\xbf\xef\xbb\xbf{}", EITHER),
    "nesting of 500": (b"[" * 500 + b"]" * 500, EITHER),
    "nesting of 1,000": (b"[" * 1_000 + b"]" * 1_000, EITHER),
    "nesting of 1,025": (b"[" * 1_025 + b"]" * 1_025, EITHER),
    "nesting of 5,000": (b"[" * 5_000 + b"]" * 5_000, EITHER),
    "data twice, object first": (b'{"data":{},"data":[]}', {F4}),
    "data twice, object last": (b'{"data":[],"data":{}}', {F6}),
    "data by escapes": (rb'{"\u0064ata":{}}', {F6}),
    "data in capitals": (b'{"DATA":{}}', {F4}),
    "data with a blank": (b'{"data ":{}}', {F4}),
}


def flat(cases: dict[str, dict[str, bytes]]) -> list[Any]:
    return [
        pytest.param(family, text, id=f"{family}: {name}")
        for family, texts in cases.items()
        for name, text in texts.items()
    ]


@pytest.fixture(scope="module")
def world(server: RunningServer) -> SiteWorld:
    """One site for all cases here: each uses an e-mail of its own, and none counts what others made."""
    return server.new_site()


@pytest.fixture(autouse=True)
def _still_answers(server: RunningServer, world: SiteWorld) -> Iterator[None]:
    """After each case the server answers, on the very connection that carried the case."""
    yield
    assert world.client.get("/livez").status == 200
    assert server.process.poll() is None


def fresh_email() -> str:
    return f"json{next(UNIQUE)}@example.test"


def document_with(world: SiteWorld, path: str, text: bytes, email: str) -> bytes:
    """Return a good document in which the member at `path` (dots between) has this text as its value."""
    document: Any = world.document(email=email)
    document["data"]["attributes"]["note"] = "x"
    *ways, last = path.split(".")
    place = document
    for way in ways:
        place = place[way]
    place[last] = "\ue123 here"
    return json.dumps(document, ensure_ascii=False).encode().replace('"\ue123 here"'.encode(), text)


def send(world: SiteWorld, body: bytes) -> Reply:
    return world.client.post("/v1/contacts", body=body, headers={"Content-Type": "application/vnd.api+json"})


def errors(reply: Reply) -> list[tuple[int, str, str | None]]:
    """Return status, detail and pointer of each error, once its envelope is proved."""
    assert reply.headers["content-type"] == "application/vnd.api+json"
    titles = {400: "Bad Request", 404: "Not Found", 409: "Conflict", 422: "Unprocessable Entity"}
    found = []
    for error in reply.json["errors"]:
        assert set(error) == {"status", "source", "title", "detail"}
        assert error["status"] == str(reply.status)
        assert error["title"] == titles[reply.status]
        found.append((reply.status, error["detail"], (error["source"] or {}).get("pointer")))
    return found


def is_absent(world: SiteWorld, email: str) -> bool:
    return bool(world.client.get(f"/v1/contacts?filter[email]={email}").json["meta"]["total"] == 0)


# ---------------------------------------------------------------------------------------------------------
# The tables themselves


def strictly_parsed(text: bytes) -> Any:
    def refuse(name: str) -> Any:
        raise ValueError(name)

    return json.loads(text.decode("utf-8"), parse_constant=refuse)


def test_tables_say_of_each_text_what_another_parser_says() -> None:
    assert sum(map(len, NOT_JSON.values())) + len(VALUES) + len(DOUBTFUL) >= 250
    taken = []
    for family, texts in NOT_JSON.items():
        for name, text in texts.items():
            if family == "deep":
                continue
            try:
                strictly_parsed(text)
            except ValueError:
                continue
            taken.append((family, name))
    assert taken == []
    for text in VALUES.values():
        strictly_parsed(text)


# ---------------------------------------------------------------------------------------------------------
# As the body of a create


@pytest.mark.parametrize(("family", "text"), flat(NOT_JSON))
def test_what_is_no_json_is_refused_and_nothing_is_stored(world: SiteWorld, family: str, text: bytes) -> None:
    assert errors(send(world, text)) == [(400, F3, "/data")]
    if family not in ALONE:
        email = fresh_email()
        body = document_with(world, "data.attributes.note", text, email)
        assert errors(send(world, body)) == [(400, F3, "/data")]
        assert is_absent(world, email)


def test_every_beginning_of_a_good_document_is_refused(world: SiteWorld) -> None:
    email = fresh_email()
    whole = json.dumps(world.document(email=email, name="Zoë")).encode()
    wrong = [end for end in range(len(whole)) if errors(send(world, whole[:end])) != [(400, F3, "/data")]]
    assert wrong == []
    assert is_absent(world, email)


def test_every_end_of_a_good_document_is_refused(world: SiteWorld) -> None:
    email = fresh_email()
    whole = json.dumps(world.document(email=email, name="Zoë")).encode()
    wrong = [
        start
        for start in range(1, len(whole))
        # What is left may be JSON of its own, yet never a document.
        if {error[1] for error in errors(send(world, whole[start:]))} - EITHER
    ]
    assert wrong == []
    assert is_absent(world, email)


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in VALUES.items()])
def test_json_that_is_no_document_is_refused_by_its_first_fault(world: SiteWorld, text: bytes) -> None:
    expected = F4 if isinstance(strictly_parsed(text), dict) else F3
    assert errors(send(world, text)) == [(400, expected, "/data")]


@pytest.mark.parametrize(
    ("text", "details"), [pytest.param(text, details, id=name) for name, (text, details) in DOUBTFUL.items()]
)
def test_doubtful_json_is_refused_within_what_the_contract_allows(
    world: SiteWorld, text: bytes, details: set[str]
) -> None:
    (error,) = errors(send(world, text))
    assert error[0] == 400
    assert error[1] in details
    if not text.startswith((b"\xef\xbb\xbf", b'{"data', b'{"DATA', b'{"\\u0064')):
        email = fresh_email()
        reply = send(world, document_with(world, "data.attributes.note", text, email))
        if details == {F3} or reply.status != 201:
            assert errors(reply) == [(400, F3, "/data")]
            assert is_absent(world, email)
        else:
            assert not is_absent(world, email)


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in VALUES.items()])
def test_valid_json_under_an_unknown_attribute_is_dropped(world: SiteWorld, text: bytes) -> None:
    reply = send(world, document_with(world, "data.attributes.note", text, fresh_email()))
    assert reply.status == 201
    assert "note" not in reply.json["data"]["attributes"]


def test_last_of_equal_names_counts_at_every_level(world: SiteWorld) -> None:
    first, second = fresh_email(), fresh_email()
    site = f'"site":{{"data":{{"type":"sites","id":"1","id":"{world.id}"}}}}'
    body = (
        f'{{"data":null,"data":{{"type":"hooks","attributes":[],"relationships":1,"type":"contacts","attributes":'
        f'{{"email":"{first}","name":5.5,"email":"{second}","name":"Last"}},'
        f'"relationships":{{"site":null,{site}}}}}}}'
    )
    reply = send(world, body.encode())
    assert reply.status == 201, reply
    attributes = reply.json["data"]["attributes"]
    assert (attributes["email"], attributes["name"]) == (second, "Last")
    assert is_absent(world, first)


# ---------------------------------------------------------------------------------------------------------
# As the value of a member of the document: what section 1.3 of the contract says of each

Refusals = list[tuple[int, str, str | None]]
BLANK_EMAIL: Refusals = [(422, "Email can't be blank", "/data/attributes/email")]
NO_DATA: Refusals = [(400, F4, "/data")]
NO_SITE: Refusals = [(400, F6, "/data/relationships/site")]
UNKNOWN_SITE: Refusals = [(404, "The requested resource could not be found", "/data/relationships/site")]
NO_ATTRIBUTES: Refusals = [(400, F5, "/data/attributes")]
OTHER_TYPE: Refusals = [(409, "Type must be contacts", "/data/type")]
MADE: Refusals = []


def expected_of_member(path: str, value: Any) -> Refusals:
    if path == "data":
        return NO_SITE if isinstance(value, dict) else NO_DATA
    if path == "data.attributes":
        return BLANK_EMAIL if value is None or isinstance(value, dict) else NO_ATTRIBUTES
    if path == "data.type":
        return MADE if value == "contacts" else OTHER_TYPE
    if path == "data.id":
        return MADE
    if path.endswith("site.data.type"):
        return MADE if value == "sites" else NO_SITE
    if path.endswith("site.data.id"):
        named = (isinstance(value, str) and value) or (isinstance(value, int) and not isinstance(value, bool))
        return UNKNOWN_SITE if named else NO_SITE
    return NO_SITE


@pytest.mark.parametrize(
    "path",
    [
        "data",
        "data.attributes",
        "data.type",
        "data.id",
        "data.relationships",
        "data.relationships.site",
        "data.relationships.site.data",
        "data.relationships.site.data.id",
        "data.relationships.site.data.type",
    ],
)
def test_each_json_value_of_a_member_gets_the_answer_of_the_contract(world: SiteWorld, path: str) -> None:
    wrong = {}
    for name, text in VALUES.items():
        email = fresh_email()
        reply = send(world, document_with(world, path, text, email))
        expected = expected_of_member(path, strictly_parsed(text))
        if expected == MADE:
            if reply.status != 201:
                wrong[name] = reply.body
        elif reply.status < 400 or errors(reply) != expected or not is_absent(world, email):
            wrong[name] = reply.body
    assert wrong == {}


@pytest.mark.parametrize("path", ["data.relationships.site.data.id", "data.id", "data.type", "data"])
def test_doubtful_json_value_of_a_member_is_refused_or_ignored(world: SiteWorld, path: str) -> None:
    statuses = {}
    for name, (text, _) in DOUBTFUL.items():
        if text.startswith(b"\xef\xbb\xbf"):
            continue
        email = fresh_email()
        reply = send(world, document_with(world, path, text, email))
        statuses[name] = reply.status
        if reply.status == 201:
            assert path == "data.id", name
        else:
            assert is_absent(world, email)
    assert set(statuses.values()) <= ({201, 400} if path == "data.id" else {400, 404, 409})


PLAIN = (
    "address_line_1",
    "address_line_2",
    "address_city",
    "address_country",
    "address_state",
    "address_zip",
    "phone_number",
    "business_number",
)
CUSTOM = tuple(f"custom_{number}" for number in range(1, 151))
READ_ONLY = ("external_user_id", "created_at", "updated_at")


def label(name: str) -> str:
    return name.replace("_", " ").capitalize()


def expected_text(name: str, value: Any, text: bytes) -> tuple[str | None, str | None]:
    """Return (what is stored, the detail of the refusal) for a value of an attribute of plain text."""
    if value is None:
        return None, None
    if isinstance(value, str):
        if "\0" in value:
            return None, f"{label(name)} contains characters that cannot be stored"
        return value, None
    if isinstance(value, int) and not isinstance(value, bool):
        return text.decode(), None
    return None, f"{label(name)} is invalid"


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in VALUES.items()])
def test_each_json_value_of_every_text_attribute_is_stored_or_refused_by_name(
    world: SiteWorld, text: bytes
) -> None:
    value = strictly_parsed(text)
    email = fresh_email()
    names = (*PLAIN, *CUSTOM)
    members = b",".join(b'"%s":%s' % (name.encode(), text) for name in names)
    body = document_with(world, "data.attributes", b'{"email":"%s",%s}' % (email.encode(), members), email)
    reply = send(world, body)
    refused = [
        (422, detail, f"/data/attributes/{name}")
        for name in names
        if (detail := expected_text(name, value, text)[1]) is not None
    ]
    if refused:
        assert errors(reply) == refused
        assert is_absent(world, email)
        return
    assert reply.status == 201, reply
    attributes = reply.json["data"]["attributes"]
    for name in names:
        stored = expected_text(name, value, text)[0]
        if stored == "-0":
            assert attributes[name] in {"0", "-0"}
        elif stored is None and name in CUSTOM:
            assert attributes.get(name) is None
        else:
            assert attributes[name] == stored


@pytest.mark.parametrize("attribute", PLAIN + CUSTOM[:1] + CUSTOM[-1:])
def test_each_json_value_of_one_text_attribute_touches_no_other(world: SiteWorld, attribute: str) -> None:
    wrong = {}
    for case, text in VALUES.items():
        stored, detail = expected_text(attribute, strictly_parsed(text), text)
        email = fresh_email()
        reply = send(world, document_with(world, f"data.attributes.{attribute}", text, email))
        if detail is not None:
            fine = reply.status == 422 and errors(reply) == [(422, detail, f"/data/attributes/{attribute}")]
        else:
            fine = reply.status == 201
            attributes = reply.json["data"]["attributes"] if fine else {}
            fine = fine and attributes.get(attribute) in ({"0", "-0"} if stored == "-0" else {stored})
            fine = fine and attributes["email"] == email and attributes["name"] == email.partition("@")[0]
        if not fine:
            wrong[case] = reply.body
    assert wrong == {}


def test_each_json_value_of_name_is_stored_or_refused(world: SiteWorld) -> None:
    wrong = {}
    for case, text in VALUES.items():
        stored, detail = expected_text("name", strictly_parsed(text), text)
        email = fresh_email()
        reply = send(world, document_with(world, "data.attributes.name", text, email))
        if detail is not None:
            fine = reply.status == 422 and errors(reply) == [(422, detail, "/data/attributes/name")]
        else:
            blank = stored is None or not stored.strip()
            allowed = {"0", "-0"} if stored == "-0" else {email.partition("@")[0] if blank else stored}
            fine = reply.status == 201 and reply.json["data"]["attributes"]["name"] in allowed
        if not fine:
            wrong[case] = reply.body
    assert wrong == {}


def test_each_json_value_of_email_is_refused_by_the_right_rule(world: SiteWorld) -> None:
    wrong = {}
    for case, text in VALUES.items():
        value = strictly_parsed(text)
        _, detail = expected_text("email", value, text)
        if detail is None:
            blank = value is None or (isinstance(value, str) and not value.strip())
            detail = "Email can't be blank" if blank else "Email is invalid"
        reply = send(world, document_with(world, "data.attributes.email", text, fresh_email()))
        if reply.status != 422 or errors(reply) != [(422, detail, "/data/attributes/email")]:
            wrong[case] = reply.body
    assert wrong == {}


def test_each_json_value_of_subscribed_is_a_boolean_by_the_table_or_refused(world: SiteWorld) -> None:
    meanings = {
        b"true": True,
        b"false": False,
        b'"true"': True,
        b'"false"': False,
        b"1": True,
        b"0": False,
        b"null": False,
    }
    wrong = {}
    for case, text in VALUES.items():
        if text == b"-0":
            continue  # zero, or no zero: the contract does not say
        reply = send(world, document_with(world, "data.attributes.subscribed", text, fresh_email()))
        if text in meanings:
            fine = reply.status == 201 and reply.json["data"]["attributes"]["subscribed"] is meanings[text]
        else:
            refused = [(422, "Subscribed is invalid", "/data/attributes/subscribed")]
            fine = reply.status == 422 and errors(reply) == refused
        if not fine:
            wrong[case] = reply.body
    assert wrong == {}


@pytest.mark.parametrize("attribute", READ_ONLY)
def test_each_json_value_of_an_attribute_that_create_does_not_take_is_ignored(
    world: SiteWorld, attribute: str
) -> None:
    wrong = {}
    for case, text in VALUES.items():
        reply = send(world, document_with(world, f"data.attributes.{attribute}", text, fresh_email()))
        if reply.status != 201 or reply.json["data"]["attributes"]["external_user_id"] is not None:
            wrong[case] = reply.body
            continue
        if attribute != "external_user_id" and reply.json["data"]["attributes"][attribute][:2] != "20":
            wrong[case] = reply.body
    assert wrong == {}


@pytest.mark.parametrize("attribute", ["name", "email", "phone_number", "custom_150", "subscribed"])
def test_doubtful_json_value_of_an_attribute_is_stored_exactly_or_refused(
    world: SiteWorld, attribute: str
) -> None:
    wrong = {}
    for case, (text, _) in DOUBTFUL.items():
        if text.startswith(b"\xef\xbb\xbf"):
            continue
        reply = send(world, document_with(world, f"data.attributes.{attribute}", text, fresh_email()))
        if reply.status == 201:
            # Only an integer has a text that could be stored, and all of its digits must have been.
            if reply.json["data"]["attributes"][attribute] != text.decode():
                wrong[case] = reply.body
        elif errors(reply)[0][0] not in {400, 422}:
            wrong[case] = reply.body
    assert wrong == {}


# ---------------------------------------------------------------------------------------------------------
# As bodies of the token calls

PARAMETERS_MISSING = {"error": "Missing required parameters"}


@pytest.mark.parametrize("media_type", ["application/json", "application/x-www-form-urlencoded"])
@pytest.mark.parametrize("family", [*NOT_JSON, "valid", "doubtful"])
def test_body_without_parameters_gets_no_token_and_revokes_none(
    world: SiteWorld, family: str, media_type: str
) -> None:
    cases = NOT_JSON | {
        "valid": VALUES,
        "doubtful": {name: text for name, (text, _) in DOUBTFUL.items()},
    }
    wrong = {}
    for name, text in cases[family].items():
        for path in ("/v1/oauth/token", "/oauth/token", "/v1/oauth/revoke"):
            reply = world.client.post(path, body=text, headers={"Content-Type": media_type})
            if (
                reply.status != 400
                or reply.headers["content-type"] != "application/json"
                or reply.json.get("error") != PARAMETERS_MISSING["error"]
            ):
                wrong[name, path] = (reply.status, reply.body)
    assert wrong == {}


@pytest.mark.parametrize("family", [family for family in NOT_JSON if family not in ALONE])
def test_good_credentials_inside_of_damaged_json_get_no_token(world: SiteWorld, family: str) -> None:
    credentials = (
        f'{{"grant_type":"client_credentials","client_id":"{world.client_id}",'
        f'"client_secret":"{world.client_secret}","scope":'
    ).encode()
    wrong = {}
    for name, text in NOT_JSON[family].items():
        reply = world.client.post(
            "/v1/oauth/token", body=credentials + text + b"}", headers={"Content-Type": "application/json"}
        )
        if reply.status != 400 or "error" not in reply.json:
            wrong[name] = (reply.status, reply.body)
    assert wrong == {}


def test_scope_may_have_any_json_value(world: SiteWorld) -> None:
    wrong = {}
    for name, text in VALUES.items():
        body = (
            f'{{"grant_type":"client_credentials","client_id":"{world.client_id}",'
            f'"client_secret":"{world.client_secret}","scope":'
        ).encode() + text
        reply = world.client.post(
            "/v1/oauth/token", body=body + b"}", headers={"Content-Type": "application/json"}
        )
        if reply.status != 200 or not reply.json["access_token"]:
            wrong[name] = (reply.status, reply.body)
    assert wrong == {}


@pytest.mark.parametrize("parameter", ["grant_type", "client_id", "client_secret", "refresh_token"])
def test_each_json_value_of_a_token_parameter_is_refused_by_a_flat_error(
    world: SiteWorld, parameter: str
) -> None:
    good: dict[str, Any] = {
        "grant_type": "refresh_token" if parameter == "refresh_token" else "client_credentials",
        "client_id": world.client_id,
        "client_secret": world.client_secret,
        "refresh_token": "x",
    }
    wrong = {}
    for name, text in {**VALUES, **{name: text for name, (text, _) in DOUBTFUL.items()}}.items():
        marked = json.dumps({**good, parameter: "@@"}).encode()
        reply = world.client.post(
            "/v1/oauth/token",
            body=marked.replace(b'"@@"', text),
            headers={"Content-Type": "application/json"},
        )
        flat_error = reply.headers["content-type"] == "application/json" and isinstance(
            reply.json.get("error"), str
        )
        wanted = {400, 401}
        if name in VALUES and isinstance(value := strictly_parsed(text), str) and value:
            wanted = {400} if parameter == "grant_type" else {401}
        if reply.status not in wanted or not flat_error:
            wrong[name] = (reply.status, reply.body)
    assert wrong == {}


def test_each_json_value_as_token_to_revoke_leaves_the_callers_own_alive(world: SiteWorld) -> None:
    wrong = {}
    for name, text in {**VALUES, **{name: text for name, (text, _) in DOUBTFUL.items()}}.items():
        reply = world.client.post(
            "/v1/oauth/revoke", body=b'{"token":' + text + b"}", headers={"Content-Type": "application/json"}
        )
        known = name in VALUES and isinstance(value := strictly_parsed(text), str) and bool(value)
        if reply.status not in ({200} if known else {200, 400}):
            wrong[name] = (reply.status, reply.body)
        if reply.status == 200 and reply.body:
            wrong[name] = (reply.status, reply.body)
    assert wrong == {}
    assert world.client.get("/v1/me").status == 200
