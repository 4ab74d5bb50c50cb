"""Expected documents: what only the server can choose stands open in them, until an answer tells it."""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

Json = dict[str, Any]
# In the name of a parameter; in a value both spellings are right.
ENCODED_BRACKET = re.compile(r"[?&][^=&]*%5b", re.IGNORECASE)
ID = re.compile(r"[1-9]\d{0,15}")
MOMENT = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


class Learned:
    """A value that the server chooses, an id or a moment: once told it must stay.

    A moment is never before the one that it follows.
    """

    def __init__(self, kind: str, since: "Learned | None" = None) -> None:
        self.kind = kind
        self.since = since
        self.value: str | None = None

    def learn(self, told: Any) -> None:
        """Take the value from an answer, if none was taken before and this one can be it."""
        form = ID if self.kind == "id" else MOMENT
        fits = isinstance(told, str) and form.fullmatch(told)
        if self.value is None and fits and (self.since is None or self.since.known <= told):
            self.value, self.since = told, None

    @property
    def known(self) -> str:
        """The value, or words for what it may be."""
        since = f" from {self.since.known} on" if self.since else ""
        return self.value or f"<any {self.kind}{since}>"


@dataclass(frozen=True)
class Url:
    """A URL below the API's, with its query as pairs.

    With `cursor`, the name of a parameter, that one is there too, and its text is the server's business.
    """

    parts: tuple[str | Learned, ...]
    query: tuple[tuple[str, str], ...] = ()
    cursor: str = ""

    def normal(self) -> list[Any]:
        """Return what is compared: the path, and the parameters in any order."""
        path = "/".join(each.known if isinstance(each, Learned) else each for each in self.parts)
        pairs = [*self.query, *([(self.cursor, "<cursor>")] if self.cursor else [])]
        return [path, *sorted(map(list, pairs))]

    def normal_of(self, told: Any) -> Any:
        """Return the same of a URL that was answered; one with encoded brackets stays as it is."""
        if not isinstance(told, str) or ENCODED_BRACKET.search(told):
            return told
        at = urlsplit(told)
        pairs = [
            [name, "<cursor>" if name == self.cursor and value else value]
            for name, value in parse_qsl(at.query, keep_blank_values=True)
        ]
        return [f"{at.scheme}://{at.netloc}{at.path}", *sorted(pairs)]


@dataclass(frozen=True)
class Within:
    """A source that points at one item of a document, or at something in it."""

    pointer: str


def plain(expected: Any) -> Any:
    """Return an expected value as JSON, with what is known by now."""
    if isinstance(expected, Learned):
        return expected.known
    if isinstance(expected, Url):
        return expected.normal()
    if isinstance(expected, Within):
        return {"pointer": f"{expected.pointer}…"}
    if isinstance(expected, dict):
        return {name: plain(value) for name, value in expected.items()}
    if isinstance(expected, list | tuple):
        return [plain(each) for each in expected]
    return expected


def aligned(expected: Any, told: Any, name: str = "") -> tuple[Any, Any]:
    """Return an expected value and an answered one in a form in which they are equal if they agree.

    The order of attributes counts, that of other members and of included resources does not. What stood
    open in the expected value is learned.
    """
    if isinstance(expected, Learned):
        expected.learn(told)
    elif isinstance(expected, Url):
        return expected.normal(), expected.normal_of(told)
    elif isinstance(expected, Within):
        pointer = str(told.get("pointer", "")) if isinstance(told, dict) else ""
        inside = pointer == expected.pointer or pointer.startswith(expected.pointer + "/")
        return plain(expected), plain(expected) if inside else told
    elif isinstance(expected, dict) and isinstance(told, dict):
        pairs = {each: aligned(value, told[each], each) for each, value in expected.items() if each in told}
        ours = {each: pairs[each][0] if each in pairs else plain(value) for each, value in expected.items()}
        theirs = {each: pairs[each][1] if each in pairs else value for each, value in told.items()}
        if name == "attributes":
            return list(ours.items()), list(theirs.items())
        return ours, theirs
    elif isinstance(expected, list) and isinstance(told, list):
        if name == "included":
            told = sorted(told, key=lambda each: (each["type"], int(each["id"])))
        if len(expected) == len(told):
            both = [aligned(ours, theirs) for ours, theirs in zip(expected, told, strict=True)]
            return [ours for ours, _ in both], [theirs for _, theirs in both]
    return plain(expected), told
