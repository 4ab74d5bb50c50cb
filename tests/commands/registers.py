"""A register with awkward data, and copies of it in this process."""

import contextlib
from pathlib import Path

from contract.answers import new_contact, new_field, new_note, new_tag, shown
from extensions.writes import keyed, resource

from rollbook.register import copies
from rollbook.storage.copying import Proof
from rollbook.storage.opening import open_database
from support import SiteWorld, start_server

KINDS = ("sqlite", "postgresql")
LONG = "Ł" * 1_500
LONG_EMAIL = f"{'x' * 990}@long.example.test"
AWKWARD = (
    "tab\tand\nline\\n\\N",
    "\u200f‮right to left",
    "🧑‍🚀 é e\u0301 ﬁ ß İ",
    "'; DROP TABLE contacts; --",
    LONG,
)


class Source:
    """A register that no server serves any more, and what is known of it."""

    def __init__(self, folder: Path) -> None:
        server = start_server(folder / "source.db")
        self.url = server.database_url
        self.site, other = server.new_site(title="Größe ﬁ"), server.new_site()
        self.token = self.site.token
        fill(self.site)
        new_contact(other, "ines@example.test")
        self.contacts = [
            shown(self.site.client, f"/v1/contacts/{each['id']}")
            for each in self.site.client.get("/v1/contacts?page[size]=100").json["data"]
        ]
        assert server.stop() == 0


def fill(site: SiteWorld) -> None:
    """Store what is awkward: in texts, in lengths, in what belongs to each other, in what is gone."""
    client = site.client
    tags = [new_tag(site, name)["id"] for name in ("VIP ", "ﬁrst", "empty")]
    new_field(site, "Straße")
    people = [
        new_contact(site, f"person{at}@x.test", name=name, phone_number=name[:40], subscribed=at % 2 == 0)
        for at, name in enumerate(AWKWARD)
    ]
    new_contact(site, LONG_EMAIL, custom_1="value", address_city="", address_zip=None)
    for at in range(12):
        new_contact(site, f"plain{at}@größe.test", subscribed=True)
    for at in (0, 1, 2):
        site.client.request(
            "POST",
            f"/v1/contacts/{people[at]['id']}/relationships/tags",
            {"data": [{"type": "contact_tags", "id": each} for each in tags[: 1 + at % 2]]},
        )
        new_note(site, people[at]["id"], AWKWARD[at])
    client.request("PATCH", f"/v1/contacts/{people[2]['id']}", patch(people[2]["id"], subscribed=False))
    gone = [new_contact(site, f"gone{at}@x.test", subscribed=True)["id"] for at in range(2)]
    merge = {"data": {"type": "contacts", "id": gone[0]}}
    assert client.post(f"/v1/contacts/{people[0]['id']}/merge", merge).status == 200
    assert client.post(f"/v1/contacts/{gone[1]}/erase").status == 200
    kept = {"data": resource(site, name="Kept", email="kept@x.test")}
    assert client.post("/v1/contacts", kept, headers=keyed("once")).status == 201
    outside = {"data": resource(site, email="u@x.test", external_user_id=LONG)}
    assert client.post("/v1/contacts/upsert", outside | {"meta": {"match": "external_user_id"}}).status == 201


def patch(contact_id: str, **attributes: object) -> dict[str, object]:
    """Return the document that changes a contact."""
    return {"data": {"type": "contacts", "id": contact_id, "attributes": attributes}}


class Silence:
    """Hears how far a copy is, and tells nobody."""

    def begin(self, what: str, unit: str, of: int, done: int = 0) -> None: ...

    def advance(self, by: int) -> None: ...

    def end(self, *, quietly: bool = False) -> None: ...


def copied(source: str, target: str) -> list[Proof]:
    """Copy in this process."""
    with contextlib.closing(open_database(source)) as one, contextlib.closing(open_database(target)) as other:
        return list(copies.copy(one, other, Silence()))
