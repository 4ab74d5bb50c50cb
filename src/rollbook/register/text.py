"""Keys of texts: what is compared, sorted and searched, the same in every engine."""

import hashlib
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

import idna

from rollbook.storage import search_index
from rollbook.storage.search_questions import TokensAsked

# Beyond this a text is not cut into grams: a name of a megabyte must not hold the writer up. Such a text
# carries a mark instead, and every search looks at it.
LONGEST_INDEXED = 1_000
LONG_MARK = "long"
GRAM = 3
# Longer texts are those of one contact; their tokens are not worth the memory.
LONGEST_REMEMBERED = 24
# No language puts so many marks on one letter.
LONGEST_NORMALIZED = 256
# The index narrows, the texts decide: so many grams of a needle narrow enough.
MOST_GRAMS_ASKED = 16
MOST_WORDS_ASKED = 8
# A longer domain is no name that DNS could hold, and normalizing it could take long.
LONGEST_DOMAIN = 253
# No database indexes texts of any length: PostgreSQL takes 2,704 bytes for all columns of an entry.
LONGEST_KEY_BYTES = 1_000


def text_key(text: str) -> str:
    """Return the key of a text or of a part of one: compatibility-composed (NFKC) and case-folded.

    It is not trimmed: a text is found by its blanks too, and so by the whole of it.
    """
    if text.isascii():
        return text.lower()
    # Folding can take a character apart again.
    return _normalized(_normalized(text).casefold())


def index_key(key: str) -> str:
    """Return a key as an index holds it: itself, or where it is long its beginning with its SHA-256.

    What differs still differs, and sorts as before unless it begins alike for a thousand bytes.
    """
    if len(key) <= LONGEST_KEY_BYTES // 4:  # a character has four bytes at most
        return key
    encoded = key.encode()
    if len(encoded) <= LONGEST_KEY_BYTES:
        return key
    digest = hashlib.sha256(encoded).hexdigest()
    return encoded[: LONGEST_KEY_BYTES - len(digest)].decode(errors="ignore") + digest


def _normalized(text: str) -> str:
    """Return a text in NFKC; a long one in pieces, since ordering marks takes the square of their number."""
    if len(text) <= LONGEST_NORMALIZED:
        return unicodedata.normalize("NFKC", text)
    pieces = []
    start = 0
    while start < len(text):
        end = start + LONGEST_NORMALIZED
        while end < min(len(text), start + 2 * LONGEST_NORMALIZED) and unicodedata.combining(text[end]):
            end += 1
        pieces.append(unicodedata.normalize("NFKC", text[start:end]))
        start = end
    return "".join(pieces)


def email_text(text: str) -> str:
    """Return an e-mail as it is stored: trimmed and lower-cased."""
    return text.strip().lower()


def email_key(email: str) -> str:
    """Return what makes an e-mail unique: `email_text`, with its domain in IDNA's ASCII form, as an index
    holds it.
    """
    return index_key(_in_ascii(email_text(email)))


def _in_ascii(email: str) -> str:
    if email.isascii():
        return email
    local, at, domain = email.rpartition("@")
    if len(domain) > LONGEST_DOMAIN:
        return email
    try:
        return local + at + idna.encode(domain, uts46=True).decode("ascii")
    except idna.IDNAError:
        return email  # no name that DNS could hold, but still one of a kind


def is_email(email: str) -> bool:
    """Say whether a text is `local@domain` without white space inside.

    An at sign in the local part must be quoted (RFC 5322, section 3.4.1); nothing else is asked, for what
    mail servers take is theirs to decide.
    """
    local, at, domain = email.rpartition("@")
    if not (local and at and domain) or len(email.split()) != 1:
        return False
    return "@" not in local or (len(local) > 2 and local[0] == local[-1] == '"')


def grams(scope: str, *texts: str) -> str:
    """Return the tokens that make a contact findable by any part of its texts, joined.

    A token is a scope and the three characters at one place of a text, or what is left there at its end;
    the scope is a site, so that a search never reads what belongs to another tenant, and may go on with the
    letter of a kind of text.
    """
    return search_index.SEPARATOR.join(
        [(_grams_of_short if len(text) <= LONGEST_REMEMBERED else _grams)(scope, text) for text in texts]
    )


def _grams(scope: str, text: str) -> str:
    text = _indexable(text)
    prefix = f"{scope} "
    mark = ""
    if len(text) > LONGEST_INDEXED:
        mark = prefix + LONG_MARK + search_index.SEPARATOR
        text = text[:LONGEST_INDEXED]
    found = [text[at : at + GRAM] for at in range(len(text))]
    return mark + prefix + f"{search_index.SEPARATOR}{prefix}".join(found)


# Cities, countries and first names come again and again.
_grams_of_short = lru_cache(maxsize=1_024)(_grams)


def gram_query(scopes: Iterable[str], *words: tuple[str, ...]) -> TokensAsked:
    """Return what to ask for contacts of these scopes whose tokens could hold every word.

    A word is given as its spellings, one of which must be there.
    """
    scopes = list(scopes)
    spellings = {spelling for word in words for spelling in word}
    # What is shorter than a gram is the beginning of some.
    by_beginning = any(len(spelling) < GRAM for spelling in spellings)

    def tokens(closely: bool) -> list[tuple[list[list[list[str]]], str]]:
        step = 1 if closely else GRAM
        spelled = [
            sorted({tuple(_grams_asked(spelling, step)) for spelling in set(word)})
            for word in words[:MOST_WORDS_ASKED]
        ]

        def of_scope(scope: str) -> list[list[list[str]]]:
            return [[[f"{scope} {gram}" for gram in each] for each in word] for word in spelled]

        return [(of_scope(scope), f"{scope} {LONG_MARK}") for scope in scopes]

    return TokensAsked(tokens, by_beginning=by_beginning)


def _grams_asked(needle: str, step: int) -> list[str]:
    """Return grams of a needle: with a step of GRAM those that stand side by side, with one all of them."""
    needle = _indexable(needle)
    starts = [*range(0, len(needle) - GRAM, step), max(0, len(needle) - GRAM)]
    return sorted({needle[start : start + GRAM] for start in starts[:MOST_GRAMS_ASKED]})


def _indexable(text: str) -> str:
    # The separator would end a token early, and U+0000 the question; no stored text holds the latter.
    return text.replace(search_index.SEPARATOR, " ").replace("\0", "\ufffd")
