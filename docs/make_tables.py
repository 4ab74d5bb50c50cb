"""Writes the pages that follow from declarations and proofs. `make docs` runs it; a test compares."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from rollbook.jsonapi.errors import Refusal
from rollbook.register.catalogue import RESOURCES

HERE = Path(__file__).parent
TESTS = HERE.parent / "tests"
if str(TESTS) not in sys.path:
    sys.path.append(str(TESTS))

from contract import proofs  # noqa: E402 - it lives beside the tests that it names

FILTERS = """# Filters

This page is made by `make docs` from the declarations. Filters are combined by *and*. An empty value means no
filter, and so does a value that means nothing, such as a number of days that is no number; an unknown filter
is ignored, or refused where `ROLLBOOK_STRICT` is on.

Class A is answered from what the register holds, B from the activity and revenue of customers, X needs what
this server does not have: broadcasts, coupons, events. A filter of class X finds nobody, a negated one
everybody, and the answer's `meta.unsupported_filters` names it.

"""

COMPATIBILITY = """# Compatibility

Rollbook answers as the contacts part of Kajabi's public API v1 does (published description 1.1.0). Where
public sources disagree, it takes what clients in the field rely on. This page is made by `make docs` from the
declarations and from `tests/contract/proofs.py`; a test fails when a part of the API has no proof, or a proof
no test.

## There now
- Contacts in full: list, show, create, change, delete, tags by relationship with all four verbs, `include`,
  sparse fields, every sort, the 73 audience filters ([filters.md](filters.md)).
- Contact tags, contact notes, custom fields and sites: every call of the original.
- `GET /v1/me`, `GET /v1/version`; tokens for client credentials and refresh tokens, for a user name and
  password where `ROLLBOOK_PASSWORD_GRANT` is on, and their end.

## Not there yet
Offers, products, customers, forms, form submissions, hooks. Their paths answer 404. `offers` of a contact is
empty, `customer` is null; filters by these find nobody, negated ones everybody.

## What a client may notice
- An unknown path answers 404 as JSON:API; the original answers HTML.
- A refused duplicate also says which contact is in the way, where the key may read contacts.
- A list is consistent at once: what was created is found by the next call.
- A body that does not come in time is answered 408, a head that is too large 431.
- Answers carry `ETag`; a tag or a field that was archived, which only an extension does, says so.

"""


def rows(*header: str, of: Iterable[tuple[str, ...]]) -> str:
    """Return a table of Markdown."""
    lines = (header, ("---",) * len(header), *of)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def filters() -> str:
    """Return the page of the filters: one row for each of every collection."""
    return FILTERS + rows(
        "collection",
        "filter",
        "class",
        "finds those",
        of=(
            (resource.type.name, f"`filter[{each.name}]`", each.grade or "-", each.meaning)
            for resource in RESOURCES.values()
            for each in resource.type.filters
        ),
    )


def proved(by: Iterable[str]) -> str:
    """Return the cell that names tests, by file and function."""
    return "<br>".join(f"`{proofs.test_of(proof)}`" for proof in by)


def proofs_of_attributes() -> Iterator[tuple[str, str, str]]:
    """Yield a row for each attribute."""
    for of in proofs.TYPES:
        for name in proofs.attributes_of(of):
            yield of.name, f"`{name}`", proved(proofs.proofs_of_attribute(of.name, name))


def proofs_of_filters() -> Iterator[tuple[str, str, str]]:
    """Yield a row for each filter, those of class X by the tests that take all of these."""
    for of in proofs.TYPES:
        for each in of.filters:
            yield of.name, f"`filter[{each.name}]`", proved(proofs.proofs_of_filter(of.name, each.name))


def proofs_of_failures() -> Iterator[tuple[str, str, str]]:
    """Yield a row for each refusal."""
    for each in Refusal:
        by = proofs.FAILURES.get(each.name) or proofs.OTHER_FAILURES[each.name]
        yield str(each.value.status), each.value.detail or "", proved(by)


def compatibility() -> str:
    """Return the page of compatibility: every part of the contract, and the tests that prove it."""
    parts = {
        "Operations": rows("operation", "proved by", of=_plain(proofs.OPERATIONS)),
        "Operations beyond the original ([extensions.md](extensions.md))": rows(
            "operation", "proved by", of=_plain(proofs.EXTENSIONS)
        ),
        "Conventions": rows("convention", "proved by", of=_plain(proofs.CONVENTIONS, code=False)),
        "Attributes": rows("type", "attribute", "proved by", of=proofs_of_attributes()),
        "Sorts": rows(
            "collection",
            "fields",
            "proved by",
            of=((of.name, ", ".join(of.sorts), proved(proofs.SORTS[of.name])) for of in proofs.TYPES),
        ),
        "Includes": rows(
            "resource",
            "relationships",
            "proved by",
            of=(
                (name, ", ".join(proofs.includes_of(name)), proved(by))
                for name, by in proofs.INCLUDES.items()
            ),
        ),
        "Filters": rows("collection", "filter", "proved by", of=proofs_of_filters()),
        "Failures": rows("status", "detail", "proved by", of=proofs_of_failures()),
        "What clients in the field do": rows("habit", "proved by", of=_plain(proofs.TOLERANCE, code=False)),
    }
    return COMPATIBILITY + "\n".join(f"## {title}\n{table}" for title, table in parts.items())


def _plain(table: proofs.Proofs, code: bool = True) -> Iterator[tuple[str, str]]:
    """Yield the rows of a table of proofs as they stand."""
    for name, by in table.items():
        yield f"`{name}`" if code else name, proved(by)


PAGES = {"filters.md": filters, "compatibility.md": compatibility}


def main() -> None:
    """Write every page."""
    for name, make in PAGES.items():
        (HERE / name).write_text(make())


if __name__ == "__main__":
    main()
