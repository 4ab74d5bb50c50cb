"""What commands print: a JSON document for programs, or lines for people."""

from typing import Any

import click
import orjson


def show(document: Any, as_json: bool, text: str) -> None:
    """Print a document as JSON, or what a person reads instead."""
    if as_json:
        print_json(document)
    else:
        click.echo(text)


def print_json(document: Any) -> None:
    """Print a document as JSON."""
    click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())


def table(columns: str, rows: Any) -> str:
    """Return rows, named by columns that are separated by blanks, in aligned columns with a head."""
    names = columns.split()
    lines = [names]
    for row in rows:
        cells = [row[name] for name in names]
        lines.append([", ".join(cell) if isinstance(cell, list) else cell for cell in cells])
    widths = [max(len(line[at]) for line in lines) for at in range(len(names))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
