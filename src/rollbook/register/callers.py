"""Who asks: a key's sites and permissions, the first argument of every operation that needs a right."""

from dataclasses import dataclass

from rollbook.jsonapi.errors import Refusal, refuse
from rollbook.jsonapi.reading import read_id

# Every permission by its name; `view:` names are those that clients of the original know.
PERMISSIONS = (
    "view:contacts",
    "edit:contacts",
    "view:contact_tags",
    "edit:contact_tags",
    "view:contact_notes",
    "edit:contact_notes",
    "view:custom_fields",
    "edit:custom_fields",
    "edit:sites",
    "view:audit_events",
    "view:form_submissions",
    "view:purchases",
    "view:transactions",
    "view:orders",
)


@dataclass(frozen=True, slots=True)
class Caller:
    """A key that asks, as of the last commit: what it sees, what it may do, until when (epoch seconds)."""

    key_id: int
    user_id: int
    sites: frozenset[int]
    permissions: frozenset[str]
    expires: float
    all_sites: bool = False

    def site(self, site_id: str, relationship: str = "site") -> int:
        """Return the number of a site that the caller sees; raise Refused, as for an unknown id."""
        number = read_id(site_id)
        if number is None or number not in self.sites:
            raise refuse(Refusal.RELATED_NOT_FOUND, relationship)
        return number

    def may(self, permission: str | None) -> bool:
        """Say whether the caller has a permission; None asks for none."""
        return permission is None or permission in self.permissions

    def require(self, permission: str | None) -> None:
        """Raise Refused where the caller lacks a permission."""
        if not self.may(permission):
            raise refuse(Refusal.PERMISSION_MISSING)
