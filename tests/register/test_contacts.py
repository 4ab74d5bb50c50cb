"""Proves how contacts are stored together: each once, with its consent, its audit row and its count."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from register.house import KEY, ask, caller, create, new, open_register, page, stored

from rollbook.jsonapi.errors import Problem, Refusal, Refused
from rollbook.jsonapi.resource import Record
from rollbook.register import audit, checks, contact_type, contacts, erasure, merging
from rollbook.register.catalogue import RESOURCES
from rollbook.register.resource import Found
from rollbook.register.text import email_text
from rollbook.storage.database import Database

VIEW_ONLY = ("view:contacts", "edit:contacts")


def taken_by(answer: Record | Refused) -> tuple[str, int] | None:
    """Return the resource in the way, as the refusal of a taken e-mail names it."""
    assert isinstance(answer, Refused), answer
    (problem,) = answer.problems
    assert (problem.refusal, problem.name, problem.status) == (Refusal.TAKEN, "email", 422)
    return problem.existing


def test_a_batch_is_answered_item_by_item_in_its_order(database: Database) -> None:
    answers = create(
        database,
        new(email="a@x.test"),
        new(email="b@x.test"),
        new(email="a@x.test", name="Another"),
        new(email="c@x.test"),
    )
    first, second, fourth = (stored(answers[at]) for at in (0, 1, 3))
    assert [each.attributes["email"] for each in (first, second, fourth)] == [
        "a@x.test",
        "b@x.test",
        "c@x.test",
    ]
    assert taken_by(answers[2]) == ("contacts", first.id)
    assert ask(database, "SELECT name FROM contacts WHERE email = 'a@x.test'") == [("a",)]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("ines@example.test", "INES@Example.TEST"),
        ("ines@example.test", " ines@example.test\n"),
        ("ines@exämple.test", "ines@xn--exmple-cua.test"),
        ("ines@XN--EXMPLE-CUA.test", "ines@exämple.test"),
        ("ines@EXÄMPLE.test", "ines@exa\u0308mple.test"),
        ("ines@日本。test", "ines@日本.test"),
        ("Ünal@example.test", "ünal@example.test"),
    ],
)
@pytest.mark.parametrize("together", [True, False])
def test_two_spellings_of_one_email_are_one_contact(
    database: Database, first: str, second: str, together: bool
) -> None:
    items = [new(email=first), new(email=second)]
    answers = (
        create(database, *items) if together else create(database, items[0]) + create(database, items[1])
    )
    assert stored(answers[0]).attributes["email"] == email_text(first)
    assert taken_by(answers[1]) == ("contacts", stored(answers[0]).id)
    assert ask(database, "SELECT count(*) FROM contacts") == [(1,)]


@pytest.mark.parametrize(
    "other",
    [
        "ines+1@example.test",
        "ines@example.tes",
        "in.es@example.test",
        "inés@example.test",
        "ines@examp1e.test",
    ],
)
def test_what_is_another_email_is_another_contact(database: Database, other: str) -> None:
    for answer in create(database, new(email="ines@example.test"), new(email=other)):
        stored(answer)


def test_an_email_is_free_in_another_site(database: Database) -> None:
    one, two = create(database, new(1, email="a@x.test"), new(2, email="a@x.test"))
    assert stored(one).linkage["site"] == 1
    assert stored(two).linkage["site"] == 2
    assert stored(one).id != stored(two).id


def test_who_may_not_read_contacts_does_not_learn_which_is_in_the_way(database: Database) -> None:
    create(database, new(email="a@x.test"))
    blind = caller(1, permissions=("edit:contacts",))
    assert taken_by(create(database, new(1, blind, email="a@x.test"))[0]) is None
    (problem,) = contacts_problems(database, new(1, blind, email="a@x.test"))
    assert problem.existing is None


def contacts_problems(database: Database, item: contacts.NewContact) -> list[Problem]:
    with database.snapshot() as snapshot:
        return contacts.all_problems(snapshot, item)


def test_consent_is_recorded_for_those_alone_who_subscribed(database: Database) -> None:
    answers = create(
        database,
        new(email="yes@x.test", subscribed=True),
        new(email="no@x.test", subscribed=False),
        new(email="silent@x.test"),
        new(email="null@x.test", subscribed=None),
        new(email="yes@x.test", subscribed=True),
        new(2, email="word@x.test", subscribed="true"),
    )
    found = ask(
        database,
        "SELECT site_id, contact_id, event, source, key_id, occurred_at FROM consent_events ORDER BY contact_id",
    )
    yes, word = stored(answers[0]), stored(answers[5])
    assert found == [
        (1, yes.id, "subscribed", "api", KEY, yes.attributes["created_at"]),
        (2, word.id, "subscribed", "api", KEY, word.attributes["created_at"]),
    ]
    assert [stored(answers[at]).attributes["subscribed"] for at in (0, 1, 2, 3)] == [
        True,
        False,
        False,
        False,
    ]


def test_every_stored_contact_and_no_refused_one_has_an_audit_row(database: Database) -> None:
    answers = create(
        database, new(email="a@x.test"), new(email="A@x.test"), new(2, email="b@x.test", subscribed=True)
    )
    found = ask(
        database,
        "SELECT site_id, action, resource_id, key_id, occurred_at FROM audit_events ORDER BY resource_id",
    )
    assert found == [
        (each.linkage["site"], "contacts.create", each.id, KEY, each.attributes["created_at"])
        for each in (stored(answers[0]), stored(answers[2]))
    ]


def test_the_noted_counts_are_those_of_the_contacts(database: Database) -> None:
    create(database, *(new(1 + at % 2, email=f"a{at % 7}@x.test") for at in range(20)))
    create(database, new(2, email="later@x.test"), new(2, email="later@x.test"))
    counted = ask(database, "SELECT site_id, count(*) FROM contacts GROUP BY site_id ORDER BY site_id")
    assert counted == [(1, 7), (2, 8)]
    assert ask(database, "SELECT site_id, contacts FROM contact_counts ORDER BY site_id") == [
        *counted,
        (3, 0),
    ]
    with database.snapshot() as snapshot:
        assert list(checks.faults(snapshot)) == []


def create_and_fail(database: Database, item: contacts.NewContact) -> None:
    with database.transaction() as transaction:
        contacts.create_many(transaction, [item])
        raise ZeroDivisionError


def test_a_transaction_that_fails_leaves_nothing_and_gives_its_ids_to_nobody_twice(
    database: Database,
) -> None:
    with pytest.raises(ZeroDivisionError):
        create_and_fail(database, new(email="a@x.test", subscribed=True))
    for table in ("contacts", "consent_events", "audit_events"):
        assert ask(database, f"SELECT count(*) FROM {table}") == [(0,)]
    assert ask(database, "SELECT contacts FROM contact_counts WHERE site_id = 1") == [(0,)]
    assert page(database, "filter[search]=a@x")[0].total == 0
    answers = create(database, new(email="a@x.test")) + create(database, new(email="b@x.test"))
    assert len({stored(answer).id for answer in answers}) == 2


def test_ids_ascend_with_ten_digits_and_come_never_twice(database: Database) -> None:
    ids = [
        stored(answer).id
        for batch in range(30)
        for answer in create(database, *(new(email=f"a{batch}-{at}@x.test") for at in range(64)))
    ]
    assert ids == sorted(set(ids))
    assert {len(str(each)) for each in ids} == {10}


def test_a_full_batch_costs_as_many_statements_as_a_single_contact(database: Database) -> None:
    def cost(*items: contacts.NewContact) -> int:
        with database.transaction() as transaction:
            answers = contacts.create_many(transaction, list(items))
            assert not any(isinstance(answer, Refused) for answer in answers)
            return transaction.statements_run

    first = cost(new(email="first@x.test", subscribed=True))
    single = cost(new(email="second@x.test", subscribed=True))
    full = cost(*(new(email=f"a{at}@x.test", subscribed=True) for at in range(64)))
    assert full == single <= 7
    # The first leases a block of ids of each kind, and learns the site's fields where these are remembered.
    assert first == single + 3 + (0 if database.engine.is_near else 1)


def test_each_refusal_costs_one_statement_more(database: Database) -> None:
    create(database, *(new(email=f"a{at}@x.test") for at in range(32)))
    with database.transaction() as transaction:
        items = [new(email=f"a{at}@x.test", subscribed=True) for at in range(64)]
        answers = contacts.create_many(transaction, items)
        assert sum(isinstance(answer, Refused) for answer in answers) == 32
        assert transaction.statements_run <= 7 + 32 + 1


def test_stored_attributes_come_in_the_order_of_emission(database: Database) -> None:
    (answer,) = create(
        database, new(email="a@x.test", custom_10="ten", custom_9="nine", custom_3=None, custom_1="")
    )
    names = list(stored(answer).attributes)
    assert names == [
        "name", "email", "address_line_1", "address_line_2", "address_city", "address_country", "address_state",
        "address_zip", "phone_number", "business_number", "subscribed", "external_user_id", "custom_1", "custom_9",
        "custom_10", "created_at", "updated_at",
    ]  # fmt: skip
    moment = stored(answer).attributes["created_at"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", moment)
    assert stored(answer).attributes["updated_at"] == moment
    assert stored(answer).linkage == {"customer": None, "site": 1, "offers": (), "tags": ()}
    assert page(database)[0].records == [stored(answer)]


@pytest.mark.parametrize("name", ["", "  ", "\t\n", "\u3000", None])
def test_a_blank_name_becomes_the_local_part_of_the_email(database: Database, name: str | None) -> None:
    (answer,) = create(database, new(email="Ines.Okafor@x.test", name=name))
    assert stored(answer).attributes["name"] == "ines.okafor"


def test_an_external_user_id_is_ignored(database: Database) -> None:
    (answer,) = create(database, new(email="a@x.test", external_user_id="crm-7781"))
    assert stored(answer).attributes["external_user_id"] is None


@pytest.mark.parametrize(
    ("attributes", "refusal"),
    [
        ({}, Refusal.BLANK), ({"email": None}, Refusal.BLANK), ({"email": ""}, Refusal.BLANK),
        ({"email": " \n\t"}, Refusal.BLANK), ({"email": "\u00a0"}, Refusal.BLANK), ({"email": "ines"}, Refusal.INVALID),
        ({"email": "@x.test"}, Refusal.INVALID), ({"email": "ines@"}, Refusal.INVALID), ({"email": 7}, Refusal.INVALID),
        ({"email": "a b@x.test"}, Refusal.INVALID), ({"email": "a@b@x.test"}, Refusal.INVALID),
        ({"email": True}, Refusal.INVALID), ({"email": "a\0@x.test"}, Refusal.NOT_STORABLE),
    ],
)  # fmt: skip
def test_an_email_that_is_none_is_one_problem(attributes: dict[str, Any], refusal: Refusal) -> None:
    assert [(problem.refusal, problem.name) for problem in new(**attributes).problems] == [(refusal, "email")]


def test_all_problems_come_in_the_order_of_the_attributes_with_the_taken_email_among_them(
    database: Database,
) -> None:
    (answer,) = create(database, new(email="a@x.test"))
    item = new(email="A@x.test", custom_2=[], custom_10="\0", phone_number=1.5, name={}, subscribed="x")
    problems = contacts_problems(database, item)
    assert [(problem.name, problem.refusal) for problem in problems] == [
        ("name", Refusal.INVALID),
        ("email", Refusal.TAKEN),
        ("phone_number", Refusal.INVALID),
        ("subscribed", Refusal.INVALID),
        ("custom_2", Refusal.INVALID),
        ("custom_10", Refusal.NOT_STORABLE),
    ]
    assert problems[1].existing == ("contacts", stored(answer).id)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A register for many invented contacts, each with an e-mail of its own."""
    opened = open_register(tmp_path_factory.mktemp("shared") / "rollbook.db")
    yield opened
    opened.close()


def test_an_export_has_the_newest_deed_first_whatever_block_its_id_is_of(database: Database) -> None:
    first, second = (stored(each) for each in create(database, new(email="a@x.test"), new(email="b@x.test")))
    found = Found(caller(1), 1, first.id)
    with database.transaction() as transaction:
        merging.merge_many(transaction, [merging.Merge(found, second.id)])
    late = "2999-12-31T23:59:59.999Z"
    ask(
        database,
        "UPDATE audit_events SET id = id - 900, occurred_at = ? WHERE action = 'contacts.merge'",
        late,
    )
    with database.snapshot() as snapshot:
        compound = dict(erasure.everything_about(snapshot, found, RESOURCES).compound)
    done = [each.attributes["action"] for each in compound[audit.TYPE]]
    assert done == ["contacts.merge"] * 2 + ["contacts.create"] * 2


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
TEXT_NAMES = (*contact_type.PLAIN, "custom_1", "custom_77", "custom_150")


@given(values=st.dictionaries(st.sampled_from(TEXT_NAMES), TEXTS), name=TEXTS)
@settings(max_examples=80, deadline=None, print_blob=True)
def test_texts_come_back_byte_for_byte(shared: Database, values: dict[str, Any], name: str) -> None:
    number = ask(shared, "SELECT count(*) FROM contacts")[0][0]
    (answer,) = create(shared, new(email=f"a{number}@x.test", name=name, **values))
    (read,) = page(shared, f"filter[email]=a{number}@x.test")[0].records
    for found in (stored(answer).attributes, read.attributes):
        assert {each: found[each] for each in values} == values
        assert found["name"] == (name if name.strip() else f"a{number}")
