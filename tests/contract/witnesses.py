"""What a test that is named as a proof has to be seen doing: asking what it is said to prove, or being answered so.

A name and a file prove nothing. So while such a test runs, its requests and answers are overheard, and what it
is said to prove has to be among them: the call answered with success, the filter, sort or include asked for,
the attribute in an answer, the refusal in its own words.
"""

import json
import re
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import pytest
from contract import proofs

from rollbook.jsonapi.errors import Refusal
from support import Reply


class Exchange(NamedTuple):
    """A request and its answer."""

    method: str
    target: str
    reply: Reply

    @property
    def path(self) -> str:
        """The path, below the prefix that every route has."""
        return urlsplit(self.target).path.replace("/api/v1/", "/v1/")

    @property
    def query(self) -> list[tuple[str, str]]:
        """The parameters."""
        return parse_qsl(urlsplit(self.target).query, keep_blank_values=True)

    @property
    def document(self) -> Any:
        """The answer, or nothing where it is no JSON."""
        try:
            return json.loads(self.reply.body)
        except ValueError:
            return None


Shows = Callable[[Exchange], bool]


class Claim(NamedTuple):
    """A part of the API that a test is said to prove, and the exchanges that it needs, in any order."""

    part: str
    needs: tuple[Shows, ...]

    def parts(self, exchanges: list[Exchange]) -> Iterator[str]:
        """Yield a name for each that is needed and was seen."""
        for at, shows in enumerate(self.needs):
            if any(map(shows, exchanges)):
                yield f"{self.part} #{at}"


def call(operation: str, *, works: bool) -> Claim:
    """Return the claim that a call was made, and that it `works`."""
    method, _, template = operation.partition(" ")
    path = re.compile(re.escape(template).replace(r"\{id\}", "[^/]+"))
    below = 300 if works else 500

    def shows(each: Exchange) -> bool:
        return each.method == method and bool(path.fullmatch(each.path)) and each.reply.status < below

    return Claim(operation, (shows,))


def asking(of: str, parameter: str, *values: str) -> Claim:
    """Return the claim that a collection was asked with a parameter, with each of these values if any."""

    def with_value(value: str) -> Shows:
        return lambda each: (
            each.path.startswith(f"/v1/{of}")
            and any(
                name == parameter and (not value or value in sent.split(",")) for name, sent in each.query
            )
        )

    return Claim(f"{of} {parameter}", tuple(map(with_value, values or ("",))))


def answering(of: str, attribute: str) -> Claim:
    """Return the claim that a resource was answered with an attribute; of a family, with any member."""
    name = re.compile(re.sub("1 to .*", r"\\d+", attribute))

    def shows(each: Exchange) -> bool:
        return any(
            found["type"] == of and any(map(name.fullmatch, found["attributes"]))
            for found in resources(each.document)
        )

    return Claim(f"{of} {attribute}", (shows,))


def refusing(refusal: Refusal) -> Claim:
    """Return the claim that somebody was refused so: with the status, the detail, the pointer."""
    row = refusal.value
    detail = _pattern(row.detail or "")
    pointer = re.compile(".*" + _pattern((row.pointer or "").removeprefix("/data")))

    def shows(each: Exchange) -> bool:
        found = each.document if each.reply.status == row.status else None
        return isinstance(found, dict) and any(
            re.fullmatch(detail, error["detail"] or "", re.DOTALL)
            and (row.pointer is None or pointer.fullmatch(error["source"]["pointer"]))
            for error in found["errors"]
        )

    return Claim(refusal.name, (shows,))


def _pattern(text: str) -> str:
    """Return the expression that finds a text whatever stands in its places."""
    return re.sub(r"\\\{\w+\\\}", ".+", re.escape(text))


def resources(part: Any) -> Iterator[dict[str, Any]]:
    """Yield every resource object of a document."""
    if isinstance(part, list):
        for each in part:
            yield from resources(each)
    elif isinstance(part, dict):
        if "type" in part and isinstance(part.get("attributes"), dict):
            yield part
        for each in part.values():
            yield from resources(each)


def every_claim() -> Iterator[tuple[str, Claim]]:
    """Yield the tests that are named as proofs, with what each is said to prove."""
    for name, by in {**proofs.OPERATIONS, **proofs.EXTENSIONS}.items():
        yield from ((proof, call(name, works=proof == by[0])) for proof in by)
    for of in proofs.TYPES:
        for each in of.filters:
            by = proofs.proofs_of_filter(of.name, each.name)
            yield from ((proof, asking(of.name, f"filter[{each.name}]")) for proof in by)
        sorts = [sign + name for name in of.sorts for sign in ("", "-")]
        yield from ((proof, asking(of.name, "sort", *sorts)) for proof in proofs.SORTS[of.name])
        for proof in proofs.INCLUDES.get(of.name, ()):
            yield proof, asking(of.name, "include", *proofs.includes_of(of.name))
        for name in proofs.attributes_of(of):
            by = proofs.proofs_of_attribute(of.name, name)
            yield from ((proof, answering(of.name, name)) for proof in by)
    for name, by in {**proofs.FAILURES, **proofs.OTHER_FAILURES}.items():
        yield from ((proof, refusing(Refusal[name])) for proof in by)


def claims_by_test() -> dict[str, list[Claim]]:
    """Return what each test is said to prove, by the test's name, without those that cannot be overheard."""
    found: dict[str, list[Claim]] = {}
    for proof, claim in every_claim():
        if proof not in UNHEARD:
            found.setdefault(proofs.test_of(proof), []).append(claim)
    return found


def shown_by(test: str, exchanges: list[Exchange]) -> set[str]:
    """Return the parts of what a test is said to prove that are in these exchanges."""
    return {part for claim in CLAIMS[test] for part in claim.parts(exchanges)}


def unseen_in(shown: dict[str, set[str]]) -> dict[str, list[str]]:
    """Return, for each test that ran, what it is said to prove and was not seen doing."""
    unseen = {
        name: [
            claim.part
            for claim in CLAIMS[name]
            if any(f"{claim.part} #{at}" not in parts for at in range(len(claim.needs)))
        ]
        for name, parts in shown.items()
    }
    return {name: parts for name, parts in unseen.items() if parts}


def name_of(node: pytest.Item) -> str:
    """Return a test's name as `proofs.test_of` gives it."""
    file = node.path.relative_to(TESTS)
    name = file.name if file.parent.name == "contract" else str(file)
    return f"{name}::{getattr(node, 'originalname', node.name)}"


TESTS = Path(__file__).parents[1]
# They use sockets of their own, for no client sends such requests, or the register without a server.
UNHEARD = {
    "1_3::f18_with_a_body_that_is_streamed_too_large",
    "7_filters::substring_filters_find_what_a_plain_scan_finds",
    *chain.from_iterable(by for by in proofs.OTHER_FAILURES.values() if "words_of_http" in by[0]),
}
CLAIMS = claims_by_test()
