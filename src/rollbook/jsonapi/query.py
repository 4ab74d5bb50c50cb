"""Turns a query string into a small immutable description of what is asked."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from rollbook.jsonapi.errors import Refusal, refuse
from rollbook.jsonapi.resource import ResourceType

# What may stand literally in a link: RFC 3986's unreserved and harmless reserved characters.
LITERAL = "-._~!$'()*,;:@/?[]"
# A parameter that needs no respelling, and one that needs no decoding.
LINKABLE = re.compile(r"[A-Za-z0-9._~!$'()*,;:@/?\[\]-]+=[A-Za-z0-9._~!$'()*,;:@/?\[\]=-]*")
ENCODED = re.compile(r"[%+\x80-\xff]")
CURSORS = AFTER, BEFORE = "page[after]", "page[before]"
# What says which part of a collection is wanted, in which order, and with what.
STANDARD_PARAMETERS = frozenset({"page[number]", "page[size]", *CURSORS, "sort", "include"})
# A longer query is not worth the memory.
LONGEST_REMEMBERED = 256
EVERY_FIELD: frozenset[str] | None = None


class Page(NamedTuple):
    """A page of a collection: its number, from 1, and its size; or where it begins or ends, by a cursor.

    `cursor` is the parameter, `page[after]` or `page[before]`, and its text.
    """

    number: int
    size: int
    cursor: tuple[str, str] | None = None

    @property
    def offset(self) -> int:
        """How many resources stand before the page."""
        return (self.number - 1) * self.size


class Query(NamedTuple):
    """What a request asks of a resource or a collection.

    `filters` has (name, alternatives): a resource passes when one of the alternative texts matches it.
    `sort` has (field, descending). `fields` has the attributes asked for by type. `unknown` names the
    parameters that mean nothing here, `unsupported` the filters that are known but cannot be answered
    (class X). `pairs` has each parameter as sent: its name, and its text for a link.
    """

    page: Page
    sort: tuple[tuple[str, bool], ...]
    filters: tuple[tuple[str, tuple[str, ...]], ...]
    fields: Mapping[str, frozenset[str]]
    include: tuple[str, ...]
    unknown: tuple[str, ...]
    unsupported: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]

    def link(self, url: str, page: int | None = None) -> str:
        """Return `url` with this query, for another page where one is given; brackets stay literal."""
        if page is None:
            texts = [text for _, text in self.pairs]
        else:
            texts = [text for name, text in self.pairs if name != "page[number]"]
            texts.append(f"page[number]={page}")
        return f"{url}?{'&'.join(texts)}" if texts else url

    def cursor_link(self, url: str, parameter: str, cursor: str) -> str:
        """Return `url` with this query, for the page that begins after or ends before a cursor."""
        texts = [text for name, text in self.pairs if name not in ("page[number]", *CURSORS)]
        return f"{url}?{'&'.join([*texts, f'{parameter}={cursor}'])}"


def read_query(resource: ResourceType, query_string: bytes) -> Query:
    """Read the query string of a request for a resource type.

    Bad pages fall back to the default, unknown sorts, fields and parameters are ignored. Raises Refused for
    an unknown include, and for two cursors at once.
    """
    if len(query_string) > LONGEST_REMEMBERED:
        return _read(resource, query_string)
    return _read_short(resource, query_string)


@lru_cache(maxsize=256)
def _read_short(resource: ResourceType, query_string: bytes) -> Query:
    """Read a query string, or remember what it says: most clients ask for few pages again and again."""
    return _read(resource, query_string)


def _read(resource: ResourceType, query_string: bytes) -> Query:
    texts: dict[str, str] = {}
    pairs: list[tuple[str, str]] = []
    read = _read_parameter if len(query_string) > LONGEST_REMEMBERED else _read_short_parameter
    for part in query_string.decode("latin-1").split("&"):
        name, text, link = read(part)
        if not name:
            continue
        pairs.append((name, link))
        if name.endswith("[]"):
            name = name[:-2]
            text = f"{texts[name]},{text}" if name in texts else text
        texts[name] = text
    filters: list[tuple[str, tuple[str, ...]]] = []
    fields: dict[str, frozenset[str]] = {}
    unknown: list[str] = []
    unsupported: list[str] = []
    others: list[tuple[str, str]] = []
    for name, text in texts.items():
        if name in STANDARD_PARAMETERS:
            others.append((name, text))
            continue
        family, _, rest = name.partition("[")
        key = rest[:-1] if rest.endswith("]") else ""
        if family == "filter" and (not text or key in resource.withdrawn_filters):
            continue
        if family == "filter" and key in resource.filters_by_name:
            filters.append((key, _alternatives(text)))
            if resource.filters_by_name[key].grade == "X":
                unsupported.append(key)
        elif family == "fields" and key:
            fields[key] = frozenset(text.split(","))
        else:
            unknown.append(name)
    view = _view if len(query_string) > LONGEST_REMEMBERED else _short_view
    page, sort, include = view(resource, *others)
    return Query(
        page, sort, tuple(filters), fields, include, tuple(unknown), tuple(unsupported), tuple(pairs)
    )


def _view(
    resource: ResourceType, *parameters: tuple[str, str]
) -> tuple[Page, tuple[tuple[str, bool], ...], tuple[str, ...]]:
    """Return which part of a collection the standard parameters want, in which order, and with what."""
    texts = dict(parameters)
    page, sort = _page(resource, texts), _sort(resource, texts.get("sort", ""))
    return page, sort, _include(resource, texts.get("include", ""))


# Who looks for others asks for the same page of them.
_short_view = lru_cache(maxsize=256)(_view)


def _read_parameter(part: str) -> tuple[str, str, str]:
    """Return the name and the text of a parameter, and how it is written in a link."""
    encoded, _, value = part.partition("=")
    name, text = _decoded(encoded), _decoded(value)
    return name, text, part if LINKABLE.fullmatch(part) else f"{_linkable(name)}={_respelt(value)}"


# Of several parameters, most are the same in every query of a client.
_read_short_parameter = lru_cache(maxsize=256)(_read_parameter)


def fields_of(query: Query, resource: ResourceType) -> frozenset[str] | None:
    """Return the attributes asked for of a type, or None where all are."""
    return query.fields.get(resource.name, query.fields.get(resource.singular, EVERY_FIELD))


def parameter_names(query_string: bytes) -> list[str]:
    """Return the names of the parameters of a query string, each once, in their order."""
    parts = (part.partition("=")[0] for part in query_string.decode("latin-1").split("&"))
    return list(dict.fromkeys(_decoded(name) for name in parts if name))


def _decoded(text: str) -> str:
    """Decode a name or a value of a query, whose bytes came as Latin-1."""
    if not ENCODED.search(text):
        return text
    return unquote_to_bytes(text.replace("+", " ").encode("latin-1")).decode("utf-8", "replace")


def _linkable(text: str) -> str:
    return quote(text, safe=LITERAL)


def _respelt(value: str) -> str:
    # A raw plus means a space in a query; spelt out, it survives whatever reads the link.
    return quote(value.replace("+", "%20").encode("latin-1"), safe=LITERAL + "%")


def _alternatives(text: str) -> tuple[str, ...]:
    # Clients in the field leave the plus of an e-mail raw, and it arrives as a space.
    return (text, text.replace(" ", "+")) if "@" in text and " " in text else (text,)


def _page(resource: ResourceType, texts: dict[str, str]) -> Page:
    number = _positive(texts.get("page[number]", "")) or 1
    size = _positive(texts.get("page[size]", "")) or resource.page_size
    cursors = [(name, texts[name]) for name in CURSORS if name in texts]
    if len(cursors) > 1:
        raise refuse(Refusal.CURSORS_BOTH)
    return Page(number, min(size, resource.page_cap), cursors[0] if cursors else None)


def _positive(text: str) -> int:
    """Return the number, or 0 for what is none; as large as an offset can be at most."""
    if not (text.isascii() and text.isdecimal()):
        return 0
    digits = text.lstrip("0")
    return min(int(digits or "0"), 1 << 40) if len(digits) <= 16 else 1 << 40


def _sort(resource: ResourceType, text: str) -> tuple[tuple[str, bool], ...]:
    fields: list[tuple[str, bool]] = []
    for each in text.split(","):
        name = each.strip()
        descending = name.startswith("-")
        name = name.removeprefix("-")
        if name in resource.sorts and not any(name == known for known, _ in fields):
            fields.append((name, descending))
    if not fields and resource.default_sort:
        name = resource.default_sort.removeprefix("-")
        fields.append((name, name != resource.default_sort))
    return tuple(fields)


def _include(resource: ResourceType, text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in resource.includable:
            raise refuse(Refusal.INCLUDE_UNKNOWN, name)
    return names
