"""Proves that the server answers as its OpenAPI description says, by requests that follow from it.

A failure names its seed; ROLLBOOK_TEST_SEED=<seed> repeats its requests.
"""

import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import jsonschema_rs
import pytest
import requests
import schemathesis
from api.grounding import FULL, NARROW, World, ground, world_of
from contract.answers import Json
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from schemathesis import APIOperation, Case, GenerationMode, Response
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.generation.feedback import FeedbackSources
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.specs.openapi.schemas import OpenApiSchema

from rollbook.api.description import describe_api
from support import RunningServer, start_server

SEED = int(os.environ.get("ROLLBOOK_TEST_SEED", "20261124"))
# With these, all operations together get 2,000 requests in a round. In a soak each round has the next seed.
CASES, CASES_WITHOUT_INPUT = 52, 8
SOAK_ROUNDS = 25
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# What else the library can check is left out where the contract says otherwise:
# negative_data_rejection, missing_required_header: unknown attributes and parameters are ignored, bad page
#   numbers count as 1, numbers are taken for strings (contract 2.4, 2.6, 2.12);
# positive_data_acceptance: what is taken, unknown or forbidden is refused though its shape is right;
# unsupported_method, allow_header_conformance: an unsupported method answers 404, without Allow (2.1);
# ignored_auth sends each request again: `judge` asks for the 401 itself;
# use_after_free, ensure_resource_availability: of other tests, which know what they created.
OPERATIONS = {
    operation["operationId"]: operation
    for item in describe_api("http://crm.example.test")["paths"].values()
    for operation in item.values()
}
# Of the requests of an operation, so many are a success at the least; the others are refused, and as described.
LEAST_SUCCESS = 0.25


@dataclass
class Described:
    """A running server and its own description, in which every object has only the members it names."""

    server: RunningServer
    document: Json
    schema: OpenApiSchema


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Described]:
    running = start_server(tmp_path_factory.mktemp("described") / "rollbook.db")
    document = running.client().get("/openapi.json").json
    config = schemathesis.Config()
    yield Described(running, document, schemathesis.openapi.from_dict(closed(document), config=config))
    assert running.stop() == 0


def closed(part: Any) -> Any:
    """Return a description whose objects have no other members than those it names.

    The published one is open, as JSON:API asks of clients. Here every member of an answer has to be known;
    to requests, `ground` adds members that mean nothing, fewer and likelier ones than would be generated.
    """
    if isinstance(part, list):
        return [closed(each) for each in part]
    if not isinstance(part, dict):
        return part
    found = {name: closed(each) for name, each in part.items()}
    return {"additionalProperties": False, **found} if isinstance(found.get("properties"), dict) else found


@dataclass
class Journal:
    """What was asked of one operation in one round, what was answered, and what was wrong."""

    described: Described
    world: World
    session: requests.Session
    statuses: Counter[int] = field(default_factory=Counter)
    findings: dict[str, str] = field(default_factory=dict)

    def ask(self, case: Case[Any], chance: random.Random) -> None:
        """Send a request as somebody, and judge the answer."""
        who = ground(case, self.world, chance)
        token = self.world.tokens.get(who)
        if who == FULL and (case.method, case.path) == ("POST", "/v1/sites"):
            token = self.world.everywhere.token
        case.headers.pop("Authorization", None)
        if token is not None:
            case.headers["Authorization"] = f"Bearer {token}"
        again = "Idempotency-Key" in case.headers and chance.random() < 0.3
        for _ in range(1 + again):
            self.send(case)

    def send(self, case: Case[Any]) -> None:
        """Send a request as it is, and note what is wrong with the answer."""
        answer = case.call(self.described.server.url, self.session, timeout=60)
        self.statuses[answer.status_code] += 1
        try:
            case.validate_response(answer, CHECKS)
        except FailureGroup as group:
            for failure in group.exceptions:
                self.findings.setdefault(f"{answer.status_code} {failure.title}", str(group))
        for finding in self.judge(case, answer):
            self.findings.setdefault(finding, f"{finding}\n{case.as_curl_command()}\n{answer.content!r}")

    def judge(self, case: Case[Any], answer: Response) -> Iterator[str]:
        """Say what is wrong with an answer that no schema can say."""
        operation = case.operation.definition.raw
        status, media_type = answer.status_code, answer.headers.get("content-type", [""])[0]
        response = operation["responses"].get(str(status), {})
        if media_type not in response.get("content", {"": None}):
            yield f"{status} has the media type {media_type!r}"
        if status >= 400 and media_type == "application/vnd.api+json":
            errors = json.loads(answer.content)["errors"]
            if {each["status"] for each in errors} != {str(status)}:
                yield f"{status} has errors of another status"
        known = {f"Bearer {self.world.tokens[who]}" for who in (FULL, NARROW)}
        known.add(f"Bearer {self.world.everywhere.token}")
        unknown = answer.request.headers.get("Authorization") not in known
        if operation.get("security") != [] and unknown and status != 401:
            yield f"{status} without a token"


@pytest.mark.parametrize("operation_id", OPERATIONS)
def test_every_answer_is_as_described(
    described: Described, operation_id: str, pytestconfig: pytest.Config
) -> None:
    rounds = SOAK_ROUNDS if pytestconfig.getoption("--soak") else 1
    operation = described.schema.find_operation_by_id(operation_id)
    statuses: Counter[int] = Counter()
    with requests.Session() as session:
        for number in range(SEED, SEED + rounds):
            journal = Journal(described, world_of(described.server), session)
            play(operation, number, journal)
            print(f"seed: {number}, statuses: {dict(sorted(journal.statuses.items()))}")
            if journal.findings:
                pytest.fail(f"seed {number}\n" + "\n\n".join(journal.findings.values()), pytrace=False)
            statuses += journal.statuses
    cases = CASES if has_input(operation) else CASES_WITHOUT_INPUT
    assert statuses.total() >= rounds * cases
    assert sum(statuses[status] for status in (200, 201, 304)) >= LEAST_SUCCESS * statuses.total(), statuses


def has_input(operation: APIOperation[Any, Any, Any, Any]) -> bool:
    """Say whether an operation takes anything: without, nothing can be wrong with it."""
    return bool(operation.definition.raw.get("parameters") or operation.body)


def play(operation: APIOperation[Any, Any, Any, Any], number: int, journal: Journal) -> None:
    """Send the requests of a round, the same ones for the same seed."""
    modes = [GenerationMode.POSITIVE, GenerationMode.POSITIVE, GenerationMode.POSITIVE]
    if has_input(operation):
        modes.append(GenerationMode.NEGATIVE)
    strategies = [operation.as_strategy(mode, feedback=FeedbackSources()) for mode in modes]
    name = f"{number} {operation.label}"

    @seeded(random.Random(name).getrandbits(64))
    @settings(
        max_examples=CASES if has_input(operation) else CASES_WITHOUT_INPUT,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=st.one_of(strategies), chance=st.integers(0, 2**64))
    def each(case: Case[Any], chance: int) -> None:
        journal.ask(case, random.Random(f"{name} {chance} {journal.statuses.total()}"))

    each()


def test_the_description_is_valid_openapi(described: Described) -> None:
    schemathesis.openapi.from_dict(described.document).validate()
    for name, schema in described.document["components"]["schemas"].items():
        assert jsonschema_rs.meta.is_valid(schema), name


def test_every_reference_of_the_description_leads_somewhere(described: Described) -> None:
    for reference in sorted(set(references(described.document))):
        found: Any = described.document
        for name in reference.removeprefix("#/").split("/"):
            found = found[name]
        assert isinstance(found, dict), reference


def test_every_example_of_the_description_fits_its_schema(described: Described) -> None:
    # As the schemas are closed, an example has no member that is not described either.
    document = closed(described.document)
    checked = 0
    for where, schema, example in examples(document, "#"):
        checked += 1
        whole = {**schema, "components": document["components"]}
        faults = [error.message for error in jsonschema_rs.Draft202012Validator(whole).iter_errors(example)]
        assert faults == [], where
    assert checked > 500


def examples(part: Any, where: str) -> Iterator[tuple[str, Json, Any]]:
    """Return every example of a description: its place, its schema and itself."""
    if isinstance(part, list):
        for at, each in enumerate(part):
            yield from examples(each, f"{where}/{at}")
    if not isinstance(part, dict):
        return
    if isinstance(part.get("schema"), dict):
        if "example" in part:
            yield where, part["schema"], part["example"]
        for name, each in part.get("examples", {}).items():
            yield f"{where}/{name}", part["schema"], each["value"]
    for name, each in part.items():
        yield from examples(each, f"{where}/{name}")


def references(part: Any) -> Iterator[str]:
    """Return every reference in a description."""
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for each in part.values():
            yield from references(each)
    elif isinstance(part, list):
        for each in part:
            yield from references(each)
