"""What the register of the model is made of: its resources, its keys, its answers and its refusals."""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from model.documents import Json, Learned, Within

ADDRESS = (
    "address_line_1",
    "address_line_2",
    "address_city",
    "address_country",
    "address_state",
    "address_zip",
)
PLAIN = (*ADDRESS, "phone_number", "business_number")
CUSTOM = tuple(f"custom_{number}" for number in range(1, 151))
FIELD_KINDS = (
    *("TextField", "PhoneField", "EmailField", "TextAreaField", "CheckboxField", "SelectBoxField"),
    *("RadioButtonsField", "CountryField", "MobilePhoneField"),
)
# What a document may set, in the order of the answers: a text, a flag or one of some choices.
CONTACT = dict.fromkeys(("name", "email", *PLAIN), "text") | {"subscribed": "flag"}
WRITABLE: dict[str, dict[str, Any]] = {
    "contacts": {**CONTACT, "external_user_id": "text", **dict.fromkeys(CUSTOM, "text")},
    "contact_tags": {"name": "text", "archived": "flag"},
    "contact_notes": {"body": "text"},
    "custom_fields": {
        "title": "text",
        "handle": "text",
        "type": FIELD_KINDS,
        "required": "flag",
        "archived": "flag",
    },
    "sites": {"title": "text", "subdomain": "text"},
}
IDNA = {"exämple.test": "xn--exmple-cua.test", "exa\u0308mple.test": "xn--exmple-cua.test"}
TITLES = {
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    409: "Conflict",
    412: "Precondition Failed",
    422: "Unprocessable Entity",
}


def fold(text: str) -> str:
    """Return a text as it compares in any case: Unicode's compatibility caseless matching."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return unicodedata.normalize("NFKC", folded)


def email_key(email: str) -> str:
    """Return what makes an e-mail unique."""
    local, at, domain = email.strip().lower().rpartition("@")
    return local + at + IDNA.get(domain, domain)


class Refused(Exception):
    """A request is refused, with these error objects."""

    def __init__(self, status: int, *errors: Json) -> None:
        super().__init__(status, errors)
        self.status, self.errors = status, errors

    def within(self, where: str, pointed: str) -> "Refused":
        """Return the same refusal of an item of a document: `pointed` takes the place of `/data`."""
        return Refused(
            self.status, *(error | {"source": _moved(error, where, pointed)} for error in self.errors)
        )


def _moved(error: Json, where: str, pointed: str) -> Any:
    pointer = (error["source"] or {}).get("pointer", "")
    if pointer.startswith("/data"):
        return {"pointer": pointed + pointer.removeprefix("/data")}
    return Within(where)


def refused(status: int, detail: str, pointer: str | None = None, **more: Any) -> Refused:
    """Return a refusal with one error object."""
    return Refused(status, error(status, detail, {"pointer": pointer} if pointer else None) | more)


def error(status: int, detail: str, source: Json | None = None) -> Json:
    """Return an error object."""
    return {"status": str(status), "source": source, "title": TITLES[status], "detail": detail}


def not_found(pointer: str | None = None) -> Refused:
    """Return the refusal for whatever is unknown or unseen."""
    return refused(404, "The requested resource could not be found", pointer)


@dataclass(eq=False)
class Thing:
    """Any resource; `values` has its attributes as they are stored."""

    type: str
    site: "Thing | None"
    number: int
    values: dict[str, Any]
    id: Learned = field(default_factory=lambda: Learned("id"))
    created_at: Learned = field(default_factory=lambda: Learned("moment"))
    updated_at: Learned = field(default_factory=lambda: Learned("moment"))
    tags: "list[Thing]" = field(default_factory=list)
    ledger: "list[Thing]" = field(default_factory=list)
    contact: "Thing | None" = None
    audit: set[tuple[str, str]] = field(default_factory=set)

    def touch(self) -> None:
        """Note that the resource is changed now."""
        self.updated_at = Learned("moment", self.updated_at)

    @property
    def subscribed(self) -> bool:
        """What the last consent event says."""
        return bool(self.ledger) and self.ledger[-1].values["event"] == "subscribed"


@dataclass(frozen=True)
class Key:
    """An API key: the sites that it sees, and its permissions (None for all of either)."""

    name: str
    id: str
    user_id: str
    site_ids: frozenset[str] | None
    permissions: frozenset[str] | None = None

    def may(self, permission: str | None) -> bool:
        """Say whether the key has a permission."""
        return permission is None or self.permissions is None or permission in self.permissions

    def require(self, permission: str | None) -> None:
        """Raise Refused where the key lacks a permission."""
        if not self.may(permission):
            raise refused(403, "You do not have permission to perform this action")

    def sees(self, thing: Thing) -> bool:
        """Say whether the key sees the site of a resource, or a site itself."""
        return self.site_ids is None or (thing.site or thing).id.known in self.site_ids


@dataclass(frozen=True)
class Answer:
    """An answer: its status, its document, and the resource that it shows, if it shows one."""

    status: int
    document: Json
    shown: Thing | None = None


def label(name: str) -> str:
    """Return an attribute's name as people read it."""
    return name.replace("_", " ").capitalize()


def attribute_error(name: str, what: str) -> Json:
    """Return the error object of an attribute."""
    return error(422, f"{label(name)} {what}", {"pointer": f"/data/attributes/{name}"})


def identifiers(tags: Iterable[Thing]) -> list[Json]:
    return [{"id": each.id, "type": each.type} for each in sorted(tags, key=lambda tag: tag.number)]
