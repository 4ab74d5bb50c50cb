"""Proves what request documents are read as, and which problems are found in them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonapi.worlds import BOATS

from rollbook.jsonapi.errors import Problem, Refusal, Refused
from rollbook.jsonapi.reading import (
    Draft,
    NumbersTooLarge,
    read_id,
    read_new_resource,
    read_object,
)

pytestmark = pytest.mark.sqlite

HARBOUR = {"harbour": {"data": {"type": "harbours", "id": "3"}}}


def draft_of(attributes: Any = None, relationships: Any = HARBOUR, **more: Any) -> Draft:
    data = {"attributes": attributes or {}, "relationships": relationships, **more}
    return read_new_resource(BOATS, {"data": data})


def refusal_of(body: bytes) -> Problem:
    with pytest.raises(Refused) as refused:
        read_new_resource(BOATS, read_object(body))
    (problem,) = refused.value.problems
    return problem


@pytest.mark.parametrize(
    "body",
    [
        b"", b" ", b"[]", b"[{}]", b"null", b"1", b'"data"', b"true", b"{", b'{"a":1,}', b"{} {}", b"{'a':1}",
        b'{"a":NaN}', b'{"a":Infinity}', b'{"a":"\xff"}', b'\xff\xfe{\x00}\x00', b'{"a":"\\ud800"}',
        b'{"a":"\\udc00\\ud800"}', b"[" * 100_000, b'{"a":' * 100_000, b'{"a":"\n"}', b'{"a":01}',
    ],
    ids=lambda body: repr(body[:16]),
)  # fmt: skip
def test_a_body_that_is_no_json_object_in_utf_8_is_refused(body: bytes) -> None:
    assert refusal_of(body).refusal is Refusal.BODY_NOT_OBJECT


@pytest.mark.parametrize(
    "body",
    [b'{"a":1e400', b'{"a":1e400,"b":NaN}', b'{"a":"\\ud800","b":1e400}', b'{"a":"\xff","b":1e400}',
     b'{"a":1e400,"b":' + b"[" * 100_000, b'{"a":1' + b"0" * 5_000 + b"x}"],
    ids=lambda body: repr(body[-16:]),
)  # fmt: skip
def test_a_body_with_large_numbers_that_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(NumbersTooLarge):
        read_object(body)
    with pytest.raises(Refused, match="BODY_NOT_OBJECT"):
        read_object(body, exactly=True)


def test_what_is_read_exactly_is_as_it_was_sent_but_for_fractions_that_nothing_takes() -> None:
    sent = b'{"a":18446744073709551616,"b":[-9223372036854775809,7,1.5,null,true,"\\u00e9 1e400"],"c":1e400}'
    assert read_object(sent, exactly=True) == {
        "a": 18446744073709551616,
        "b": [-9223372036854775809, 7, 1.5, None, True, "\u00e9 1e400"],
        "c": 0.5,
    }


@given(
    document=st.dictionaries(
        st.text(),
        st.recursive(
            st.none() | st.booleans() | st.text() | st.integers(-(2**63), 2**64 - 1),
            lambda parts: st.lists(parts) | st.dictionaries(st.text(), parts),
        ),
    )
)
def test_a_body_without_large_numbers_is_the_same_however_it_is_read(document: dict[str, Any]) -> None:
    body = json.dumps(document, ensure_ascii=False).encode()
    assert read_object(body, exactly=True) == read_object(body) == document


@given(number=st.integers(min_value=2**64) | st.integers(max_value=-(2**63) - 1))
def test_an_integer_that_was_not_read_as_it_was_sent_is_told(number: int) -> None:
    with pytest.raises(NumbersTooLarge):
        draft_of(read_object(b'{"home_port":%d}' % number))
    identifier = read_object(b'{"type":"harbours","id":%d}' % number)
    with pytest.raises(NumbersTooLarge):
        draft_of(relationships={"harbour": {"data": identifier}})


def test_of_duplicate_members_the_last_counts() -> None:
    assert read_object(b'{"a":1,"a":{"b":2,"b":3}}') == {"a": {"b": 3}}


@pytest.mark.parametrize("body", [b"{}", b'{"data":null}', b'{"data":[]}', b'{"data":"x"}', b'{"Data":{}}'])
def test_a_document_without_a_data_object_is_refused(body: bytes) -> None:
    assert refusal_of(body).refusal is Refusal.DATA_NOT_OBJECT


@pytest.mark.parametrize("attributes", ["[]", '"x"', "1", "true", "false", "0", '""'])
def test_attributes_that_are_no_object_are_refused_before_the_relationships(attributes: str) -> None:
    body = f'{{"data":{{"attributes":{attributes}}}}}'.encode()
    assert refusal_of(body).refusal is Refusal.ATTRIBUTES_NOT_OBJECT


@pytest.mark.parametrize("attributes", ["", '"attributes":null,', '"attributes":{},'])
def test_missing_and_null_attributes_count_as_none_given(attributes: str) -> None:
    body = f'{{"data":{{{attributes}"relationships":{json.dumps(HARBOUR)}}}}}'.encode()
    assert read_new_resource(BOATS, read_object(body)).attributes == {}


IDENTIFIER = {"type": "harbours", "id": "3"}
NO_IDS: tuple[Any, ...] = (None, "", True, 3.0, [], {})


@pytest.mark.parametrize(
    "relationships",
    [
        None, {}, [], "x", {"harbour": None}, {"harbour": "3"}, {"harbour": {}}, {"harbour": {"data": None}},
        {"harbour": {"data": "3"}}, {"harbour": {"data": [IDENTIFIER]}}, {"harbour": {"data": []}},
        {"harbour": {"data": {"id": "3"}}}, {"harbour": {"data": {"type": "harbours"}}},
        {"harbour": {"data": {"type": "sailors", "id": "3"}}}, {"harbour": IDENTIFIER},
        *({"harbour": {"data": {"type": "harbours", "id": bad}}} for bad in NO_IDS),
    ],
)  # fmt: skip
def test_a_required_relationship_needs_one_identifier_of_its_type(relationships: Any) -> None:
    problem = refusal_of(json.dumps({"data": {"relationships": relationships}}).encode())
    assert (problem.refusal, problem.name) == (Refusal.RELATIONSHIP_REQUIRED, "harbour")


@pytest.mark.parametrize(("sent", "read"), [("3", "3"), (3, "3"), (0, "0"), ("x", "x"), (-1, "-1")])
def test_the_id_of_a_relationship_is_kept_as_a_text(sent: Any, read: str) -> None:
    draft = draft_of(relationships={"harbour": {"data": {"type": "harbours", "id": sent}}})
    assert draft.related == {"harbour": read}


def test_optional_relationships_are_left_alone() -> None:
    assert draft_of(relationships=HARBOUR | {"owner": "nonsense", "anchor": 1}).related == {"harbour": "3"}


@pytest.mark.parametrize("sent", ["ships", "Boats", None, 1, ["boats"], {}])
def test_another_type_is_a_conflict_that_is_told_later(sent: Any) -> None:
    conflict = draft_of({"name": "Ida"}, type=sent).conflict
    assert conflict == Problem(Refusal.TYPE_CONFLICT, words=(("type", "boats"),))


def test_a_missing_type_and_the_own_one_are_no_conflict() -> None:
    assert draft_of().conflict is None
    assert draft_of(type="boats").conflict is None


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ("Ida", "Ida"), ("", ""), ("  x  ", "  x  "), (None, None), (0, "0"), (-7, "-7"), (2**53, "9007199254740992"),
        (2**63 - 1, "9223372036854775807"), ("e\u0301 \U0001f6a2\u2028", "e\u0301 \U0001f6a2\u2028"),
    ],
)  # fmt: skip
def test_a_text_is_kept_as_it_is_and_an_integer_as_its_digits(sent: Any, read: str | None) -> None:
    draft = draft_of({"home_port": sent})
    assert (draft.attributes, draft.problems) == ({"home_port": read}, ())


@pytest.mark.parametrize("sent", [True, False, 1.5, 1.0, [], ["x"], {}])
def test_a_text_of_another_json_type_is_invalid(sent: Any) -> None:
    draft = draft_of({"home_port": sent})
    assert [(each.refusal, each.name) for each in draft.problems] == [(Refusal.INVALID, "home_port")]
    assert "home_port" not in draft.attributes


@pytest.mark.parametrize(
    ("sent", "read"),
    [(True, True), ("true", True), (1, True), (False, False), ("false", False), (0, False), (None, None)],
)
def test_a_boolean_may_be_a_word_or_a_digit_and_null_counts_as_absent(sent: Any, read: bool | None) -> None:
    draft = draft_of({"insured": sent})
    assert draft.problems == ()
    assert draft.attributes.get("insured") is read


@pytest.mark.parametrize("sent", ["TRUE", "yes", "", "1", "0", 2, -1, 1.0, 0.0, [], [True], {}])
def test_anything_else_is_no_boolean(sent: Any) -> None:
    assert [(each.refusal, each.name) for each in draft_of({"insured": sent}).problems] == [
        (Refusal.INVALID, "insured")
    ]


@pytest.mark.parametrize("sent", ["\0", "a\0b", "ab\0"])
def test_a_text_with_u0000_cannot_be_stored(sent: str) -> None:
    assert [(each.refusal, each.name) for each in draft_of({"flag_7": sent}).problems] == [
        (Refusal.NOT_STORABLE, "flag_7")
    ]


def test_what_is_unknown_read_only_or_beyond_a_family_is_dropped() -> None:
    sent = {
        "colour": 1.5, "launched_at": [], "flag_0": [], "flag_13": [], "flag_01": [], "Name": [], "flag_12": "z",
    }  # fmt: skip
    draft = draft_of(sent)
    assert (draft.attributes, draft.problems) == ({"flag_12": "z"}, ())


def test_every_problem_is_found_and_knows_its_place_among_the_attributes() -> None:
    draft = draft_of({"flag_10": [], "flag_9": "\0", "insured": "x", "home_port": "Porto", "name": {}})
    ordered = sorted(draft.problems, key=lambda problem: problem.place)
    assert [(each.name, each.refusal) for each in ordered] == [
        ("name", Refusal.INVALID),
        ("insured", Refusal.INVALID),
        ("flag_9", Refusal.NOT_STORABLE),
        ("flag_10", Refusal.INVALID),
    ]
    assert draft.attributes == {"home_port": "Porto"}


@given(number=st.integers(0, 2**53 - 1))
def test_the_digits_of_every_number_below_2_to_the_53_are_an_id(number: int) -> None:
    assert read_id(str(number)) == number
    assert read_id(f"0{number}") is None


@given(number=st.integers(min_value=2**53))
def test_no_number_from_2_to_the_53_on_is_an_id(number: int) -> None:
    assert read_id(str(number)) is None


@given(text=st.text(max_size=20) | st.from_regex(r"[+-]?\s*\d+[\s_.eE]*\d*", fullmatch=True))
def test_no_other_text_is_an_id(text: str) -> None:
    number = read_id(text)
    assert number is None or (str(number) == text and 0 <= number < 2**53)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(-1e300, 1e300) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@given(
    attributes=st.dictionaries(
        st.sampled_from(["name", "home_port", "insured", "flag_1", "flag_12", "colour"]), JSON_VALUES
    )
)
def test_each_known_attribute_is_either_a_value_or_one_problem(attributes: dict[str, Any]) -> None:
    draft = draft_of(attributes)
    names = [*draft.attributes, *(problem.name for problem in draft.problems)]
    assert sorted(names) == sorted(set(attributes) - {"colour"})
    for name, value in draft.attributes.items():
        assert value is None or isinstance(value, bool if name == "insured" else str)
