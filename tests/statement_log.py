"""What PostgreSQL's own log says that servers and the register asked it: every process's, each text once."""

import re
from collections.abc import Iterator
from pathlib import Path

# Every statement, without its values; each line begins with who asked.
SETTINGS = (
    "log_statement=all",
    "log_parameter_max_length=0",
    "log_parameter_max_length_on_error=0",
    "log_line_prefix=%a|",
)
# The register's connections give this name; migrations and the tests' own give none.
ASKED = re.compile(r"rollbook\|LOG:  (?:statement|execute [^:]+): (.*)", re.DOTALL)


def statements(log: Path) -> set[str]:
    """Return the texts of the statements that the register asked for."""
    return {asked[1] for entry in _entries(log) if (asked := ASKED.fullmatch(entry))}


def _entries(log: Path) -> Iterator[str]:
    """Return each entry of the log once; its further lines begin with a tab."""
    seen: set[str] = set()
    lines: list[str] = []
    with log.open(encoding="utf-8", errors="replace") as opened:
        for line in opened:
            if line.startswith("\t"):
                lines.append(line[1:])
                continue
            entry = "".join(lines).rstrip("\n")
            if entry not in seen:
                seen.add(entry)
                yield entry
            lines = [line]
    yield "".join(lines).rstrip("\n")
