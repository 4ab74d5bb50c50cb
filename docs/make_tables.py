"""Writes the pages that follow from declarations: filters.md. `make docs` runs it; a test compares."""

from pathlib import Path

from rollbook.register.catalogue import RESOURCES

HERE = Path(__file__).parent

FILTERS = """# Filters

This page is made by `make docs` from the declarations. Filters are combined by *and*. An empty value means no
filter, and so does a value that means nothing, such as a number of days that is no number; an unknown filter
is ignored, or refused where `ROLLBOOK_STRICT` is on.

Class A is answered from what the register holds, B from the activity and revenue of customers, X needs what
this server does not have: broadcasts, coupons, events. A filter of class X finds nobody, a negated one
everybody, and the answer's `meta.unsupported_filters` names it.

"""


def filters() -> str:
    """Return the page of the filters: one row for each of every collection."""
    lines = ["| collection | filter | class | finds those |", "|---|---|---|---|"]
    for resource in RESOURCES.values():
        for each in resource.type.filters:
            grade = each.grade or "-"
            lines.append(f"| {resource.type.name} | `filter[{each.name}]` | {grade} | {each.meaning} |")
    return FILTERS + "\n".join(lines) + "\n"


PAGES = {"filters.md": filters}


def main() -> None:
    """Write every page."""
    for name, make in PAGES.items():
        (HERE / name).write_text(make())


if __name__ == "__main__":
    main()
