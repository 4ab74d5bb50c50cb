"""The filters of contacts: whom one means by name, tag, consent or age; one declaration for each."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Select, and_, bindparam, exists, func, literal, or_, select

from rollbook.jsonapi.reading import read_id
from rollbook.jsonapi.resource import Filter, Places
from rollbook.register import days, text
from rollbook.register.consent import Subscription
from rollbook.register.custom_fields import flag_asked
from rollbook.register.moments import now
from rollbook.register.one_or_many import OneOrMany
from rollbook.register.plans import Walk, of_sites
from rollbook.register.resource import SITE_FILTER
from rollbook.storage import dialects, search_index
from rollbook.storage.tables import contact_counts, search_backlog
from rollbook.storage.tables import contact_taggings as taggings
from rollbook.storage.tables import contact_tags as tags
from rollbook.storage.tables import contacts as table
from rollbook.storage.transactions import Snapshot

Sites = tuple[int, ...]
Values = Callable[[str, Sites], Sequence[Any] | None]
Condition = Callable[[Sequence[Any]], ColumnElement[bool]]
Count = Callable[[Snapshot, Sites, Sequence[Any]], int]

SECONDS_IN_A_DAY = 86_400
# As far back as a calendar reaches.
MOST_DAYS = 700_000
NOBODY = 0
# So many words of a search are values of their own.
MOST_WORDS_APART = 3

# The texts beside name and e-mail that are searched, each with the letter of its tokens.
LETTERS = {
    "address_line_1": "a",
    "address_line_2": "b",
    "address_city": "c",
    "address_state": "d",
    "address_country": "e",
    "address_zip": "f",
    "phone_number": "g",
    "mobile_phone_number": "h",
}

# A long name is not whole in its key.
WHOLE_NAME = func.coalesce(dialects.member(table.c.search_keys, "name"), table.c.name_key)
# Beside the table that a walk goes through.
chosen = taggings.alias("chosen")

counts_of_sites = OneOrMany(
    lambda of_sites: select(
        contact_counts.c.contacts, contact_counts.c.subscribed, contact_counts.c.never_subscribed
    ).where(of_sites(contact_counts.c.site_id))
)
count_of_tag = OneOrMany(
    lambda of_sites: select(tags.c.contacts).where(of_sites(tags.c.site_id), tags.c.id == bindparam("tag_id"))
)
# A database might read the taggings of all contacts, in the order that makes them distinct.
distinct_contacts = dialects.without_index(taggings.c.contact_id).distinct()
count_of_tags = OneOrMany(
    lambda of_sites: (
        select(func.count(distinct_contacts))
        # Conditions by lists do not say which table they are about.
        .select_from(taggings)
        .where(
            of_sites(taggings.c.site_id),
            dialects.among_many(taggings.c.tag_id, bindparam("tag_ids")),
        )
    )
)
counts_of_tags = OneOrMany(
    lambda of_sites: select(tags.c.id, tags.c.contacts).where(
        of_sites(tags.c.site_id),
        dialects.among_many(tags.c.id, bindparam("tag_ids")),
    )
)


def counts(snapshot: Snapshot, sites: Sites) -> tuple[int, int, int]:
    """Return how many contacts the sites have, how many are subscribed, and how many never were."""
    rows = counts_of_sites.rows(snapshot, sites)
    everybody, subscribed, never = (sum(row[at] for row in rows) for at in range(3))
    return everybody, subscribed, never


def total(snapshot: Snapshot, sites: Sites) -> int:
    """Return how many contacts the sites have."""
    return counts(snapshot, sites)[0]


def _emails(value: str, _sites: Sites) -> list[str]:
    return [text.email_key(value)]


def _scopes(sites: Sites, letter: str = "") -> list[str]:
    return [f"{site}{letter}" for site in sites]


def _search_values(value: str, sites: Sites) -> list[Any] | None:
    # Within JSON, U+0000 can be asked of no database alike.
    asked = value.replace("\0", dialects.UNSTORABLE).split()
    words = [(text.text_key(word), word.lower()) for word in dict.fromkeys(asked)]
    if not words:
        return None
    tokens = text.gram_query(_scopes(sites), *words)
    if len(words) > MOST_WORDS_APART:
        return [tokens, orjson.dumps(words).decode()]
    return [tokens, *itertools.chain.from_iterable(words)]


def _has_words(bound: Sequence[Any]) -> ColumnElement[bool]:
    """Return the condition that each word is part of the name or the e-mail.

    Few are given one by one, in the spellings of both; more as one list, so that a thousand words are no
    larger a statement, though it takes longer to look at each contact.
    """
    if len(bound) == 1:
        return dialects.contains_all(WHOLE_NAME, table.c.email, bound[0])
    return and_(
        *(
            dialects.contains(table.c.email, of_email) | dialects.contains(WHOLE_NAME, of_name)
            for of_name, of_email in zip(bound[::2], bound[1::2], strict=True)
        )
    )


def _ids(value: str, _sites: Sites) -> list[int]:
    """Return the ids of a comma list, each once; one that is none stands for nothing."""
    ids = dict.fromkeys(read_id(each.strip()) or NOBODY for each in value.split(",") if each.strip())
    return list(ids) or [NOBODY]


def _since(value: str, _sites: Sites) -> list[str] | None:
    """Return the moment that was so many days ago, or None for a text that is no whole number."""
    value = value.strip()
    if not (value.isascii() and value.isdecimal()):
        return None
    digits = value.lstrip("0") or "0"
    days = MOST_DAYS if len(digits) > len(str(MOST_DAYS)) else min(int(digits), MOST_DAYS)
    return [now(-SECONDS_IN_A_DAY * days)]


def _as_flag(passes: bool) -> Callable[[str, Sites], list[int]]:
    """Return the values of a filter whose answer does not depend on the contact."""
    return lambda _value, _sites: [int(passes)]


def _unless_asked(value: str, sites: Sites) -> list[int] | None:
    """Return the values of a filter by a flag that nobody has: true finds nobody, false everybody."""
    flag = flag_asked(value, sites)
    return None if flag is None else [1 - flag[0]]


def _constant(bound: Sequence[Any]) -> ColumnElement[bool]:
    passes: ColumnElement[bool] = bound[0] == literal(1)
    return passes


def _count_constant(snapshot: Snapshot, sites: Sites, values: Sequence[Any]) -> int:
    return total(snapshot, sites) if values[0] else 0


def _has_tokens(bound: Places) -> ColumnElement[bool]:
    """Return the condition that a contact has the tokens of the first place, or is not indexed yet."""
    unindexed = select(search_backlog.c.contact_id)
    if bound.sites:
        # What others leave to be indexed costs them alone.
        unindexed = unindexed.where(of_sites(search_backlog.c.site_id, bound.sites))
    return search_index.has_tokens(table.c.id, bound[0], unindexed, not bound.sites)


def _part_of(
    name: str, what: str, condition: Condition, letter: str, key: Callable[[str], str], example: str
) -> Filter:
    """Return a filter for a part of a text: the index narrows, the text decides."""
    return Filter(
        name,
        f"whose {what} contains this, in any case",
        values=lambda value, sites: [text.gram_query(_scopes(sites, letter), (key(value),)), key(value)],
        condition=lambda bound: _has_tokens(bound) & condition(bound[1:]),
        example=example,
        selective=True,
        probe=lambda bound: condition(bound[1:]),
        grade="A",
    )


def _part_of_member(name: str, example: str) -> Filter:
    column = dialects.member(table.c.search_keys, name)
    return _part_of(
        f"{name}_contains",
        name.replace("_", " "),
        lambda bound: dialects.contains(column, bound[0]),
        LETTERS[name],
        text.text_key,
        example,
    )


def _taggings(column: ColumnElement[Any], of: ColumnElement[bool]) -> Select[Any]:
    """Return a column of those taggings of a contact that a condition means."""
    of_contact = (chosen.c.site_id == table.c.site_id) & (chosen.c.contact_id == table.c.id)
    return select(column).where(of_contact, of).correlate(table)


def _tagged(tag_id: Any) -> ColumnElement[bool]:
    return exists(_taggings(chosen.c.tag_id, chosen.c.tag_id == tag_id))


def _of_list(tag_ids: Any) -> ColumnElement[bool]:
    # A contact's few tags are looked up in the list; an index would have the whole list looked up there.
    return dialects.among_many(dialects.without_index(chosen.c.tag_id), tag_ids)


def _tagged_of_list(tag_ids: Any) -> ColumnElement[bool]:
    return exists(_taggings(chosen.c.tag_id, _of_list(tag_ids)))


def _tagged_with_whole_list(tag_ids: Any, many: Any) -> ColumnElement[bool]:
    has_all: ColumnElement[bool] = _taggings(func.count(), _of_list(tag_ids)).scalar_subquery() == many
    return has_all


def count_tagged(snapshot: Snapshot, sites: Sites, values: Sequence[Any]) -> int:
    """Return how many contacts of the sites have any of these tags."""
    if len(values) == 1:
        return sum(many for (many,) in count_of_tag.rows(snapshot, sites, {"tag_id": values[0]}))
    ((many,),) = count_of_tags.rows(snapshot, sites, {"tag_ids": orjson.dumps(values).decode()})
    return int(many)


def _count_of_all(snapshot: Snapshot, sites: Sites, values: Sequence[Any]) -> int | None:
    return count_tagged(snapshot, sites, values) if len(values) == 1 else None


def _count_untagged(snapshot: Snapshot, sites: Sites, values: Sequence[Any]) -> int:
    return total(snapshot, sites) - count_tagged(snapshot, sites, values)


def _count_since(snapshot: Snapshot, sites: Sites, values: Sequence[Any]) -> int:
    return days.since(snapshot, sites, "created_at", values[0])


def _count_before(snapshot: Snapshot, sites: Sites, values: Sequence[Any]) -> int:
    return total(snapshot, sites) - _count_since(snapshot, sites, values)


def counts_tagged(snapshot: Snapshot, sites: Sites, values: Sequence[Any]) -> dict[int, int]:
    """Return how many contacts of the sites have each of these tags, of those that the sites have."""
    rows = counts_of_tags.rows(snapshot, sites, {"tag_ids": orjson.dumps(values).decode()})
    return dict(rows)


def _rarest_first(snapshot: Snapshot, sites: Sites, values: Sequence[Any]) -> Sequence[Any]:
    """Return the ids of tags, the one with the fewest contacts first."""
    many = counts_tagged(snapshot, sites, values)
    return sorted(values, key=lambda tag_id: many.get(tag_id, 0))


def _states(*when_true: Subscription) -> Values:
    """Return the values of a filter by the state of subscription: those that pass."""

    def values(value: str, sites: Sites) -> list[int] | None:
        flag = flag_asked(value, sites)
        if flag is None:
            return None
        return [int(state) for state in Subscription if (state in when_true) == (flag == [1])]

    return values


def count_states(snapshot: Snapshot, sites: Sites, values: Sequence[Any]) -> int:
    """Return how many contacts of the sites are in any of these states of subscription."""
    everybody, subscribed, never = counts(snapshot, sites)
    of_state = {
        Subscription.NEVER: never,
        Subscription.SUBSCRIBED: subscribed,
        Subscription.UNSUBSCRIBED: everybody - subscribed - never,
    }
    return sum(of_state[state] for state in values)


def _in_state(bound: Sequence[Any]) -> ColumnElement[bool]:
    return table.c.subscription == bound[0] if len(bound) == 1 else table.c.subscription.in_(bound)


def _ledger(name: str, meaning: str) -> Filter:
    """Return a filter by the last moment of a kind of event in the ledger."""
    moment = name.replace("_in_last", "_at")
    return Filter(
        name,
        meaning,
        values=_since,
        condition=lambda bound: table.c[moment] >= bound[0],
        example="30",
        count=lambda snapshot, sites, values: days.since(snapshot, sites, moment, values[0]),
        grade="A",
    )


def _of_nobody_yet(name: str, meaning: str, grade: str, example: str) -> Filter:
    """Return a filter by what no contact has so far: offers, products, forms, a customer."""
    return Filter(
        name,
        f"{meaning}; nobody has any yet",
        values=_as_flag(name.startswith(("no_", "not_", "has_no_"))),
        condition=_constant,
        example=example,
        count=_count_constant,
        grade=grade,
    )


def _unsupported(name: str, about: str) -> Filter:
    """Return a filter of class X (contract, section 7.1): the logical answer, made visible in `meta`."""
    negated = name.startswith(("no_", "not_"))
    boolean = not name.endswith(("_id", "_ids", "_in_last", "_code"))

    def values(value: str, sites: Sites) -> list[int]:
        return [int(negated or (boolean and flag_asked(value, sites) == [0]))]

    return Filter(
        name,
        f"by {about}, which this server does not have: it finds {'everybody' if negated else 'nobody'}"
        + (", and everybody given `false`" if boolean else ""),
        values=values,
        condition=_constant,
        example="false" if boolean else "30" if name.endswith("_in_last") else "1",
        count=_count_constant,
        grade="X",
    )


def _exactly(name: str, more: str = "") -> Filter:
    return Filter(
        name,
        "whose e-mail is this, in any case" + more,
        values=_emails,
        condition=lambda bound: table.c.email_key == bound[0],
        example="ines@example.test",
        selective=True,
    )


TAG_WALK = Walk(
    taggings,
    taggings.c.site_id,
    taggings.c.contact_id,
    taggings.c.tag_id,
    (taggings.c.contact_created_at.desc(), taggings.c.contact_id.asc()),
)

_STORED = (
    SITE_FILTER,
    Filter(
        "search",
        "each of whose words, split at white space, is part of the name or the e-mail, in any case",
        values=_search_values,
        condition=lambda bound: _has_tokens(bound) & _has_words(bound[1:]),
        example="ines",
        selective=True,
        probe=lambda bound: _has_words(bound[1:]),
        grade="A",
    ),
    _exactly("email"),
    _exactly("email_eq", "; the same as `email`"),
    Filter(
        "created_in_last",
        "created within so many days",
        values=_since,
        condition=lambda bound: table.c.created_at >= bound[0],
        example="30",
        count=_count_since,
        grade="A",
    ),
    Filter(
        "not_created_in_last",
        "created longer than so many days ago",
        values=_since,
        condition=lambda bound: table.c.created_at < bound[0],
        example="30",
        count=_count_before,
        grade="A",
    ),
    Filter(
        "is_hidden",
        "who are hidden (`true`), or who are not (`false`); nothing in the API hides anybody",
        values=_unless_asked,
        condition=_constant,
        example="false",
        count=_count_constant,
        grade="A",
    ),
    _part_of(
        "name_contains",
        "name",
        lambda bound: dialects.contains(WHOLE_NAME, bound[0]),
        "",
        text.text_key,
        "oka",
    ),
    _part_of(
        "email_contains",
        "e-mail",
        lambda bound: dialects.contains(table.c.email, bound[0]),
        "",
        str.lower,
        "@example",
    ),
    _part_of_member("phone_number", "555 010"),
    _part_of_member("mobile_phone_number", "555 010"),
    _part_of_member("address_line_1", "flores"),
    _part_of_member("address_line_2", "esq"),
    _part_of_member("address_city", "porto"),
    _part_of_member("address_state", "porto"),
    _part_of_member("address_country", "pt"),
    _part_of_member("address_zip", "4050"),
    Filter(
        "has_tag_id",
        "who have the tag, or any of a comma list",
        values=_ids,
        condition=lambda bound: or_(*map(_tagged, bound)),
        of_list=lambda tag_ids, _many: _tagged_of_list(tag_ids),
        example="2150000042",
        walk=TAG_WALK,
        count=count_tagged,
        grade="A",
    ),
    Filter(
        "has_all_tag_id",
        "who have every tag of a comma list",
        values=_ids,
        condition=lambda bound: and_(*map(_tagged, bound)),
        of_list=_tagged_with_whole_list,
        example="2150000042,2150000043",
        walk=TAG_WALK._replace(needs_all=True, arranged=_rarest_first),
        count=_count_of_all,
        grade="A",
    ),
    Filter(
        "has_no_tag_id",
        "who do not have the tag, nor any of a comma list",
        values=_ids,
        condition=lambda bound: and_(*(~_tagged(tag_id) for tag_id in bound)),
        of_list=lambda tag_ids, _many: ~_tagged_of_list(tag_ids),
        example="2150000042",
        count=_count_untagged,
        grade="A",
    ),
    Filter(
        "subscribed",
        "who are subscribed to marketing (`true`), or who are not (`false`)",
        values=_states(Subscription.SUBSCRIBED),
        condition=_in_state,
        example="true",
        count=count_states,
        grade="A",
    ),
    Filter(
        "never_subscribed",
        "who never subscribed (`true`), or who did, whether or not they still are (`false`)",
        values=_states(Subscription.NEVER),
        condition=_in_state,
        example="true",
        count=count_states,
        grade="A",
    ),
    _ledger("subscribed_in_last", "who subscribed within so many days"),
    _ledger("unsubscribed_in_last", "who unsubscribed within so many days"),
    _ledger("manually_unsubscribed_in_last", "whom an administrator unsubscribed within so many days"),
    _ledger("opted_out_in_last", "who unsubscribed by themselves within so many days"),
)

_LATER = tuple(
    _of_nobody_yet(name, meaning, grade, example)
    for name, meaning, grade, example in (
        ("joined_in_last", "who became customers within so many days", "A", "30"),
        ("has_offer_id", "who hold the offer", "A", "2150000789"),
        ("has_no_offer_id", "who do not hold the offer", "A", "2150000789"),
        ("has_product_id", "who own or owned the product", "A", "2305000005"),
        ("has_active_product_id", "who own the product", "A", "2305000005"),
        ("has_no_product_id", "who never owned the product", "A", "2305000005"),
        ("previously_owned_product_id", "who owned the product, and do no more", "A", "2305000005"),
        ("submitted_form_id", "who submitted the form", "A", "2149000001"),
        ("no_submitted_form_id", "who never submitted the form", "A", "2149000001"),
        ("active_in_last", "customers who were active within so many days", "B", "30"),
        ("inactive_in_last", "customers who were not active within so many days", "B", "30"),
        ("net_revenue_equal_to", "customers with this net revenue", "B", "49.00"),
        ("net_revenue_greater_than", "customers with more net revenue", "B", "49.00"),
        ("net_revenue_less_than", "customers with less net revenue", "B", "49.00"),
    )
)

_UNSUPPORTED = tuple(
    _unsupported(name, about)
    for about, names in (
        ("coupons", "used_coupon_code"),
        ("events", "registered_event_id not_registered_event_id"),
        ("assessments", "completed_assessment_id passed_assessment_id failed_assessment_id"),
        (
            "broadcasts",
            "sent_email_broadcast_id no_sent_email_broadcast_id no_sent_email_broadcast_ids"
            " no_delivered_email_broadcast_id opened_email_broadcast_id clicked_email_broadcast_id"
            " bounced_email_broadcast_id dropped_email_broadcast_id no_opened_email_broadcast_id"
            " no_clicked_email_broadcast_id no_bounced_email_broadcast_id no_dropped_email_broadcast_id"
            " opened_email_in_last not_opened_email_in_last delivered_email_in_last"
            " not_delivered_email_in_last clicked_email_in_last not_clicked_email_in_last is_hard_bouncing"
            " bounced_in_last complained_in_last healthy_contacts_with_open_data"
            " passive_contacts_with_open_data unengaged_contacts_with_open_data"
            " inactive_contacts_with_open_data",
        ),
        ("newsletters", "subscribed_newsletter_id unsubscribed_newsletter_id"),
        ("sequences", "subscribed_email_sequence_id not_subscribed_email_sequence_id"),
    )
    for name in names.split()
)

FILTERS = (*_STORED, *_LATER, *_UNSUPPORTED)
