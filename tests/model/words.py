"""What the machine writes and asks: texts that collide on purpose, and now and then any text at all."""

from typing import Any

from hypothesis import strategies as st
from model.things import PLAIN

# Case, accents composed and not, ß and ss, ligatures, full width, Greek sigmas, dotless and dotted i, blanks,
# what LIKE and FTS take for theirs, families of emoji: each looks like another, or is part of it.
COLLIDING = (
    *(
        "a",
        "A",
        "ａ",
        "ab",
        "aB",
        "abc",
        "Straße",
        "STRASSE",
        "strasse",
        "ß",
        "ss",
        "ẞ",
        "É",
        "e\u0301",
        "é",
        "E",
    ),
    *(
        "ﬁ",
        "fi",
        "FI",
        "Σ",
        "ς",
        "σ",
        "İ",
        "i",
        "I",
        "ı",
        "ſ",
        "s",
        "s\u0323\u0307",
        "ṩ",
        "👩‍👧",
        "👩",
        "😀",
        "\u200d",
    ),
    *(
        " ",
        "",
        "%",
        "_",
        "*",
        '"',
        "'",
        "\\",
        "a b",
        " a",
        "a ",
        "\ta",
        "a\nb",
        "a+b",
        "\u0301",
        "\u00a0",
        "日本",
        "日本語",
        "本",
    ),
    *("lo" * 600, "tag", "Tag", "TAG ", "null", "0", "\x1f", "\ufeff"),
)
_some_words = st.one_of(
    st.sampled_from(COLLIDING),
    st.sampled_from(COLLIDING),
    st.text("aAß sé\u0301", max_size=4),
    st.text(max_size=6),
)


@st.composite
def _word(draw: st.DrawFn) -> str:
    """Return a word; a strategy of its own, so that it is named by this name, not by all of its words."""
    return draw(_some_words)


words = _word()
# What a document may say in the place of a text: mostly one, sometimes none, a number, or what is no text.
unsuitable: st.SearchStrategy[Any] = st.sampled_from([True, 1.5, [], {}, "a\0"])
values: st.SearchStrategy[Any] = st.one_of(
    words, words, words, words, st.sampled_from([None, ""]), st.integers(0, 9), words, unsuitable
)
flags: st.SearchStrategy[Any] = st.sampled_from(
    [True, False, True, False, "true", "false", 1, 0, None, "yes"]
)

LOCALS = ("ann", "ANN", "straße", "strasse", "é", "e\u0301", "a+b", "b")
DOMAINS = ("example.test", "EXAMPLE.test", "exämple.test", "exa\u0308mple.test", "xn--exmple-cua.test")
proper_emails = st.builds(
    lambda local, domain, pad: pad + local + "@" + domain + pad,
    st.sampled_from(LOCALS),
    st.sampled_from(DOMAINS),
    st.sampled_from(["", "", "", " ", "\t"]),
)
emails: st.SearchStrategy[Any] = st.one_of(
    *(proper_emails for _ in range(8)),
    st.sampled_from([None, "", " ", "ann", "@example.test", "a b@example.test", 5, []]),
)

FREE = ("name", *PLAIN, "custom_1", "custom_2", "custom_3", "custom_10", "custom_150")
IGNORED = ("first_name", "custom_0", "custom_151", "created_at", "id", "tags")
_some_attributes = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(("name", *FREE, *FREE)), values),
        st.tuples(st.sampled_from(FREE), values),
        st.tuples(st.just("subscribed"), flags),
        st.tuples(st.sampled_from(IGNORED), words),
    ),
    max_size=4,
).map(dict)


@st.composite
def _given(draw: st.DrawFn) -> dict[str, Any]:
    """Return some attributes of a contact."""
    return draw(_some_attributes)


attributes = _given()
proper_attributes = st.lists(st.tuples(st.sampled_from(FREE), words), max_size=3).map(dict)
consents: st.SearchStrategy[Any] = st.sampled_from(
    [
        *(None, None, None, None, {"cause": "recipient", "source": "footer form"}),
        *(
            {"wording": "Yes.", "ip_address": "203.0.113.9"},
            {"cause": "administrator"},
            {"cause": "somebody"},
            "yes",
        ),
    ]
)
externals: st.SearchStrategy[Any] = st.sampled_from(["crm-1", "crm-2", "CRM-1", "crm-3", 7, "", None, []])

# Some are of every site's own run, so that two may want one; the others cannot be.
subdomains: st.SearchStrategy[Any] = st.sampled_from(
    ["one", "two", "three", "new", "one", "two", None, "", "Big", "-a", "a.b", "ä", "a" * 64, True, []]
)

CONTACT_FILTERS = (
    *("search", "search", "email", "email_eq", "email_contains", "name_contains", "name_contains"),
    *("phone_number_contains", *(f"{name}_contains" for name in PLAIN[:6]), "mobile_phone_number_contains"),
    *(
        "has_tag_id",
        "has_tag_id",
        "has_all_tag_id",
        "has_no_tag_id",
        "subscribed",
        "never_subscribed",
        "is_hidden",
    ),
    *("created_in_last", "not_created_in_last", "subscribed_in_last", "unsubscribed_in_last", "site_id"),
    *("manually_unsubscribed_in_last", "opted_out_in_last", "used_coupon_code", "no_sent_email_broadcast_id"),
)
FILTERS: dict[str, tuple[str, ...]] = {
    "contacts": CONTACT_FILTERS,
    "contact_tags": ("name_cont", "site_id"),
    "contact_notes": ("contact_id", "contact_id", "site_id"),
    "custom_fields": ("title_cont", "type_eq", "required_eq", "site_id"),
    "sites": ("title_cont", "subdomain_cont"),
}
SORTS: dict[str, tuple[str, ...]] = {
    "contacts": (
        *(
            "",
            "name",
            "-name",
            "email",
            "-email",
            "created_at",
            "-created_at",
            "name,-email",
            "-created_at,name",
        ),
        *("bogus", "bogus,-name"),
    ),
    "contact_tags": ("", "name", "-name"),
    "contact_notes": ("", "created_at", "-created_at", "updated_at", "-updated_at", "updated_at,-created_at"),
    "custom_fields": ("", "title", "-title", "handle", "-handle", "type", "required,-title", "-required"),
    "sites": ("", "title", "-title", "subdomain", "-subdomain"),
}
collections = st.sampled_from(["contacts", "contacts", "contacts", *FILTERS])
pages = st.sampled_from(
    [
        *(
            (),
            (),
            (("page[size]", "2"),),
            (("page[size]", "3"), ("page[number]", "2")),
            (("page[size]", "1000"),),
        ),
        *((("page[size]", "5000"),), (("page[number]", "0"), ("page[size]", "x")), (("page[number]", "99"),)),
        *((("page[size]", "1"), ("page[number]", "3")), (("page[size]", "-1"),)),
    ]
)
shapes = st.sampled_from(
    [
        *((), (), (), (("include", "tags"),), (("include", "tags,site"),), (("include", "site"),)),
        *((("fields[contacts]", "email,subscribed,custom_1"),), (("fields[contact]", "name"),)),
        *((("include", "tags"), ("fields[contact_tags]", "archived"), ("fields[contacts]", "nothing")),),
        *((("include", "contact"),), (("include", "offers,customer"),), (("include", "notes"),)),
        *((("fields[contact_notes]", "body"), ("include", "contact"), ("fields[contacts]", "name")),),
    ]
)
