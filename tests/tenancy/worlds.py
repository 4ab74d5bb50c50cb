"""Two tenants on one server, each with a secret word in everything it has, and a third site that nobody is shown."""

from dataclasses import dataclass
from typing import Any

from databases import beside, on_postgresql
from support import Client, RunningServer, SiteWorld

KINDS = ("own", "foreign", "unseen", "unknown")
STRANGE = ("foreign", "unseen")
TYPES = ("contacts", "contact_tags", "contact_notes", "custom_fields", "sites")
# As long as the ids that exist, so that lengths tell nothing either.
UNKNOWN = {
    "contacts": "2301999999",
    "contact_tags": "2150999999",
    "contact_notes": "2303999999",
    "custom_fields": "2304999999",
    "sites": "2147999999",
}
# Every column of every table.
COLUMNS = {
    "sqlite": "SELECT t.name, c.name FROM sqlite_schema t, pragma_table_info(t.name) c WHERE t.type = 'table'",
    "postgresql": "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'",
}


@dataclass
class Tenant:
    """A site with two of everything; `word` stands in every text."""

    site: SiteWorld
    word: str
    ids: dict[str, list[str]]
    tags: dict[str, str]

    @property
    def client(self) -> Client:
        """The client of the key that sees this site alone."""
        return self.site.client

    def linked(self, relationship: str, type_name: str, resource_id: str) -> dict[str, Any]:
        """Return a relationships object with one identifier."""
        return {relationship: {"data": {"type": type_name, "id": resource_id}}}


def new_tenant(server: RunningServer, word: str) -> Tenant:
    """Make a site and fill it."""
    site = server.new_site(title=f"Site of {word}")
    tenant = Tenant(site, word, {name: [] for name in TYPES}, {})
    tenant.ids["sites"].append(site.id)
    in_site = tenant.linked("site", "sites", site.id)
    for number in (1, 2):
        made = {
            "contacts": {
                "name": f"{word} {number}",
                "email": f"{word}{number}@{word}.test",
                "address_city": word,
            },
            "contact_tags": {"name": f"{word} tag {number}"},
            "custom_fields": {"title": f"{word} field {number}"},
        }
        for type_name, attributes in made.items():
            document = {"data": {"type": type_name, "attributes": attributes, "relationships": in_site}}
            reply = site.client.post(f"/v1/{type_name}", document)
            assert reply.status == 201, reply
            tenant.ids[type_name].append(reply.json["data"]["id"])
            tenant.tags[reply.json["data"]["id"]] = reply.headers["etag"]
        about = tenant.linked("contact", "contacts", tenant.ids["contacts"][-1])
        note = {"data": {"type": "contact_notes", "attributes": {"body": word}, "relationships": about}}
        reply = site.client.post("/v1/contact_notes", note)
        assert reply.status == 201, reply
        tenant.ids["contact_notes"].append(reply.json["data"]["id"])
    contact, tag = tenant.ids["contacts"][0], tenant.ids["contact_tags"][0]
    linkage = {"data": [{"type": "contact_tags", "id": tag}]}
    assert site.client.post(f"/v1/contacts/{contact}/relationships/tags", linkage).status == 200
    return tenant


@dataclass
class World:
    """The asker's own tenant, a foreign one, and one whose site the asker's owner has but its key not."""

    server: RunningServer
    own: Tenant
    foreign: Tenant
    unseen: Tenant

    def id(self, kind: str, type_name: str, which: int = 0) -> str:
        """Return an id of a type, as seen by the asker."""
        if kind == "unknown":
            return str(int(UNKNOWN[type_name]) - which)
        tenant: Tenant = getattr(self, kind)
        of_type = tenant.ids[type_name]
        return of_type[min(which, len(of_type) - 1)]

    def strange_words(self) -> tuple[str, ...]:
        """Return what must never be in an answer to the asker."""
        return (self.foreign.word, self.unseen.word)


def rows_of(server: RunningServer, site_id: str) -> dict[str, list[Any]]:
    """Return every row that the database holds of a site, by table."""
    with beside(server.database_url) as connection:
        found: dict[str, list[Any]] = {}
        columns: dict[str, list[str]] = {}
        for table, column in connection.rows(COLUMNS["postgresql" if on_postgresql() else "sqlite"]):
            columns.setdefault(table, []).append(column)
        for table, names in columns.items():
            key = "site_id" if "site_id" in names else "id" if table == "sites" else None
            # What a quiet moment makes of both is no matter of the asker.
            if key is not None and table not in ("search_backlog", "contact_search"):
                rows = connection.rows(
                    f"SELECT {', '.join(names)} FROM {table} WHERE {key} = ?", int(site_id)
                )
                found[table] = sorted(rows, key=repr)
        return found
