"""Which tokens a search asks for: those that few have, as far as the database can tell.

To intersect what everybody has takes long, and narrows nothing. SQLite counts up to a limit in microseconds.
PostgreSQL cannot, but its statistics, where they are, know what is common.
"""

import math
import time
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import text

from rollbook.storage import search_index
from rollbook.storage.search_index import as_tsquery_token, count_up_to
from rollbook.storage.statements import Statement
from rollbook.storage.transactions import Snapshot, TakesLong

# Words, each as alternatives, each of tokens that must be there together.
Words = Sequence[Sequence[Sequence[str]]]
# A token is rare that fewer contacts have; where no token is, one that is not very common will do, and then
# one that is not all too common. One that very few have is enough by itself.
RARE = (256, 2_048, 16_384)
VERY_FEW = 32
MOST_COUNTED = 24
MOST_KNOWN = 10_000
# So many of a word's tokens narrow enough where their numbers are not known.
MOST_UNCOMMON = 4
# How long statistics are good enough, and how soon they are looked for again where there are none yet.
STATISTICS_SECONDS, NO_STATISTICS_SECONDS = 300.0, 10.0

# Where a database speaks PostgreSQL's protocol, and is another, there may be no such statistics.
has_statistics = Statement(
    text(
        "SELECT count(*) FROM pg_attribute "
        "WHERE attrelid = to_regclass('pg_stats') AND attname = 'most_common_elems'"
    ),
    only="postgresql",
)
commonest = Statement(
    text(
        "SELECT each.token, each.share * (SELECT reltuples FROM pg_class "
        "WHERE oid = to_regclass('contact_search')) "
        "FROM (SELECT unnest(CAST(CAST(most_common_elems AS text) AS text[])) AS token, "
        "unnest(most_common_elem_freqs) AS share FROM pg_stats "
        "WHERE schemaname = current_schema() AND tablename = 'contact_search' AND attname = 'grams') AS each "
        "WHERE each.token IS NOT NULL"
    ),
    only="postgresql",
)


class Count(NamedTuple):
    """How many contacts were found to have a token, up to what was counted, and after how many additions to
    the index.

    A server is the only one that adds to SQLite's. A number that does not hold any more has a search find the
    same by a longer way: those of tokens that are not rare are good enough for ever.
    """

    many: int
    up_to: int
    additions: int

    def holds(self, additions: int) -> bool:
        """Say whether the number is good enough after so many additions."""
        return self.many >= RARE[0] or self.additions == additions


class Statistics:
    """How many contacts have the commonest tokens, by PostgreSQL's statistics.

    They are made anew now and then, and so read anew now and then.
    """

    def __init__(self) -> None:
        self.many: dict[str, float] = {}
        self._good_until = -math.inf

    def read(self, snapshot: Snapshot) -> None:
        """Read them, unless that was not long ago."""
        if time.monotonic() < self._good_until:
            return
        there_are = snapshot.rows(has_statistics)[0][0]
        self.many = dict(snapshot.rows(commonest)) if there_are else {}
        self._good_until = time.monotonic() + (STATISTICS_SECONDS if self.many else NO_STATISTICS_SECONDS)


_statistics = Statistics()
_counted: dict[str, Count] = {}


# For each site its words, and one token instead of them all.
OfSites = Sequence[tuple[Words, str]]


class TokensAsked:
    """The tokens that contacts are asked to have, `by_beginning` where tokens that begin so will do.

    Each site asks for words, a word being alternatives of tokens that must be there together, or for one
    token instead of them all. `tokens` makes them; asked for more, it makes more tokens of the same words,
    of which the rare ones are asked for where `narrowed` finds some.
    """

    def __init__(self, tokens: Callable[[bool], OfSites], *, by_beginning: bool) -> None:
        self._tokens = tokens
        self._of_sites: OfSites | None = None
        self._closer: OfSites | None = None
        self.by_beginning = by_beginning

    @property
    def of_sites(self) -> OfSites:
        """What each site asks for."""
        if self._of_sites is None:
            self._of_sites = self._tokens(False)
        return self._of_sites

    @property
    def closer(self) -> OfSites:
        """The same, with more tokens of the same words."""
        if self._closer is None:
            self._closer = self._tokens(True)
        return self._closer


class Question(str):
    """A question for tokens, in the words of the database that it is for."""

    __slots__ = ()


def narrowed(snapshot: Snapshot, asked: TokensAsked, *, of_many: bool = False) -> Question:
    """Return the value for `has_tokens`, which asks for rare tokens alone: common ones take long to
    intersect, and narrow little more.

    PostgreSQL cannot count up to a limit, but knows what is common; of tokens that only begin so, nothing is
    known. There, `of_many` sites are asked each for itself: for one question, the index takes the square of
    its length. Raises TakesLong where the snapshot is for a glance, and many may have what is asked for.
    """
    search_index.note_asked()
    if snapshot.dialect_name != "sqlite":
        if asked.by_beginning:
            of_sites, end = asked.of_sites, ":*"
        else:
            _statistics.read(snapshot)
            of_sites = [(_uncommon(asked, at), mark) for at, (_, mark) in enumerate(asked.of_sites)]
            end = ""
        each = [
            _joined([site], " & ", " | ", lambda token: as_tsquery_token(token) + end) for site in of_sites
        ]
        return Question("{" + ",".join(map(_as_element, each)) + "}" if of_many else " | ".join(each))
    if not asked.by_beginning:
        rare = [(_rare(snapshot, asked, at), mark) for at, (_, mark) in enumerate(asked.closer)]
        return Question(_joined(rare, " AND ", " OR ", _as_phrase))
    if snapshot.is_hurried:
        raise TakesLong
    return Question(_joined(asked.of_sites, " AND ", " OR ", lambda token: _as_phrase(token) + "*"))


def _uncommon(asked: TokensAsked, at: int) -> Words:
    """Return the tokens of the words of one site that are not common, or all of few tokens where none is."""
    all_of_few, _ = asked.of_sites[at]
    many = _statistics.many
    if not any(token in many for word in all_of_few for each in word for token in each):
        return all_of_few
    words = [
        [
            sorted(
                (token for token in each if many.get(token, 0) < RARE[-1]),
                key=lambda token: many.get(token, 0),
            )
            for each in word
        ]
        for word in asked.closer[at][0]
    ]
    return [[each[:MOST_UNCOMMON] for each in word] for word in words if all(word)] or all_of_few


def _rare(snapshot: Snapshot, asked: TokensAsked, at: int) -> Words:
    """Return the rare tokens of the words of one site that have some, or all of few tokens where none has."""
    some, mark = asked.closer[at]
    if _many(some) > MOST_COUNTED:
        some = asked.of_sites[at][0]
    if not 1 < _many(some) <= MOST_COUNTED:
        some = []
    for limit in RARE:
        found: list[tuple[int, Sequence[Sequence[str]]]] = []
        for word in some:
            spelled = [_held_by_fewer(snapshot, tokens, limit) for tokens in word]
            many = sum(most for _, most in spelled)
            # A word of two spellings is as common as the more common one.
            if all(tokens for tokens, _ in spelled):
                found.append((many, [tokens for tokens, _ in spelled]))
            if many < VERY_FEW:
                found = found[-1:]
                break
        # What comes first is gone through, the others are looked up.
        rare = [spellings for _, spellings in sorted(found, key=itemgetter(0))]
        # Those of long texts are looked at by every search, and a text may be a megabyte.
        if snapshot.is_hurried and (not rare or _many_with(snapshot, mark, 1)):
            raise TakesLong
        if rare:
            return rare
    return asked.of_sites[at][0]


def _held_by_fewer(snapshot: Snapshot, tokens: Sequence[str], limit: int) -> tuple[list[str], int]:
    """Return the tokens that fewer contacts have than the limit, the rarest first, or one alone that very few
    have; and how many contacts may have them.
    """
    rare: list[tuple[int, str]] = []
    fewest = limit
    for token in tokens:
        many = _many_with(snapshot, token, limit)
        fewest = min(fewest, many)
        if many < VERY_FEW:
            return [token], many
        if many < limit:
            rare.append((many, token))
    return [token for _, token in sorted(rare)], fewest


def _many_with(snapshot: Snapshot, token: str, limit: int) -> int:
    """Return how many contacts have a token, or the limit where more have."""
    known = _counted.get(token)
    additions = search_index.additions()
    if known is not None and known.holds(additions) and (known.many >= limit or known.many < known.up_to):
        return min(known.many, limit)
    many = count_up_to(snapshot, _as_phrase(token), limit)
    if len(_counted) >= MOST_KNOWN:
        _counted.clear()
    _counted[token] = Count(many, limit, additions)
    return many


def _many(words: Words) -> int:
    return sum(len(each) for word in words for each in word)


def _joined(of_sites: Any, and_: str, or_: str, quoted: Any) -> str:
    def all_of(tokens: Sequence[str]) -> str:
        return "(" + and_.join(map(quoted, tokens)) + ")"

    return or_.join(
        "(" + and_.join("(" + or_.join(map(all_of, word)) + ")" for word in words) + f"){or_}{quoted(mark)}"
        for words, mark in of_sites
    )


def _as_element(question: str) -> str:
    """Return a question as PostgreSQL reads it in an array."""
    return '"' + question.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _as_phrase(token: str) -> str:
    """Return a token as FTS5 reads it."""
    return '"' + token.replace('"', '""') + '"'
