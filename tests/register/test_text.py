"""Proves the keys by which texts are compared, and the tokens by which they are found."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollbook.register.text import LONG_MARK, email_key, email_text, grams, is_email, text_key
from rollbook.storage.search_index import SEPARATOR


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("INES", "ines"), ("Straße", "STRASSE"), ("ﬁne", "FINE"), ("Å", "A\u030a"), ("\u212b", "å"), ("ＡＢＣ１２", "abc12"),
        ("Σίσυφος", "ΣΊΣΥΦΟΣ"), ("é", "E\u0301"), ("ǆ", "Ǆ"), ("①", "1"), ("ㅎㅏㄴ", "ㅎㅏㄴ"), ("한", "한"),
    ],
)  # fmt: skip
def test_what_people_call_equal_has_one_key(one: str, other: str) -> None:
    assert text_key(one) == text_key(other)


@pytest.mark.parametrize(
    ("one", "other"), [("e", "é"), ("a", "а"), ("a b", "ab"), (" a", "a"), ("i", "ı"), ("o", "0")]
)
def test_what_people_call_different_has_two_keys(one: str, other: str) -> None:
    assert text_key(one) != text_key(other)


@given(text=st.text(st.characters(exclude_categories=["Cs"], max_codepoint=0x24F)))
def test_a_key_does_not_know_capital_letters(text: str) -> None:
    assert text_key(text) == text_key(text.swapcase()) or any(each in text for each in "ıſŉǰİ")


def test_the_key_of_a_long_text_is_made_in_a_time_that_grows_with_its_length() -> None:
    began = time.monotonic()
    key = text_key("a" + "\u0315\u0300" * 250_000)
    assert len(key) > 400_000
    # Ordering so many marks at once would take minutes.
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("  Ines@Example.TEST\n", "ines@example.test"),
        ("ÜNAL@X.test", "ünal@x.test"),
        ("\u00a0a@b.c\u3000", "a@b.c"),
    ],
)
def test_an_email_is_kept_trimmed_and_lower_cased(sent: str, kept: str) -> None:
    assert email_text(sent) == kept


@pytest.mark.parametrize(
    ("email", "key"),
    [
        ("Ines@Example.TEST", "ines@example.test"), ("a@exämple.test", "a@xn--exmple-cua.test"),
        ("ünal@example.test", "ünal@example.test"), ("ünal@exämple.test", "ünal@xn--exmple-cua.test"),
        ("a@日本.test", "a@xn--wgv71a.test"), ("a@straße.test", "a@xn--strae-oqa.test"), ("a@🚢.test", "a@🚢.test"),
        ("a@" + "ä" * 300, "a@" + "ä" * 300), ("a@-ä", "a@-ä"), ("no email ä", "no email ä"), ("a+b@c.test", "a+b@c.test"),
    ],
)  # fmt: skip
def test_the_key_of_an_email_has_its_domain_in_ascii_where_that_can_be(email: str, key: str) -> None:
    assert email_key(email) == key


@given(email=st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
@settings(max_examples=300)
def test_an_email_and_its_stored_text_have_one_key(email: str) -> None:
    assert email_key(email) == email_key(email_text(email))


@pytest.mark.parametrize(
    "email",
    ["a@b", "a@b.c", "a+tag@b.c", "ünal@日本.test", "a.b.c@d", '"a@b"@c.test', "!#$%&'*+-/=?^_`{|}~@x", "a@[192.0.2.1]"],
)  # fmt: skip
def test_local_at_domain_is_an_email(email: str) -> None:
    assert is_email(email)


@pytest.mark.parametrize(
    "email",
    ["", "a", "@", "a@", "@b", "a b@c", "a@b c", "a\t@b", "a\u00a0b@c", "a@b@c", '"a"@b@c', "a\u2028@b", "a@b\u3000c"],
)  # fmt: skip
def test_what_lacks_a_side_or_has_blanks_or_a_second_at_is_no_email(email: str) -> None:
    assert not is_email(email)


def test_grams_are_all_three_letters_in_a_row_with_the_site_before_them() -> None:
    assert set(grams("7", "abcd", "xy").split(SEPARATOR)) == {
        "7 abc", "7 bcd", "7 cd", "7 d", "7 xy", "7 y",
    }  # fmt: skip


@given(
    one=st.integers(1, 999),
    other=st.integers(1, 999),
    texts=st.lists(st.text(max_size=12), min_size=1, max_size=3),
)
def test_two_sites_share_no_token(one: int, other: int, texts: list[str]) -> None:
    tokens = set(grams(str(one), *texts).split(SEPARATOR))
    foreign = set(grams(str(other), *texts).split(SEPARATOR))
    assert (tokens == foreign) if one == other else not (tokens & foreign)
    assert all(token.startswith(f"{one} ") for token in tokens)


def test_a_very_long_text_is_marked_and_not_cut_up_whole() -> None:
    tokens = grams("7", "".join(map(str, range(100_000)))).split(SEPARATOR)
    assert f"7 {LONG_MARK}" in tokens
    assert len(tokens) < 2_000
