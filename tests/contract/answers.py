"""What the tests of the sections share: error objects as the contract words them, and short ways to begin."""

import contextlib
import json
import re
from collections.abc import Iterable
from typing import Any

from rollbook.register import keys
from rollbook.register.moments import now
from rollbook.storage.opening import open_database
from support import Client, Reply, RunningServer, SiteWorld, wait_until

JSON_API = "application/vnd.api+json"
MOMENT = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
TITLES = {
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    409: "Conflict",
    422: "Unprocessable Entity",
}
Json = dict[str, Any]


def error(status: int, detail: str, pointer: str | None = None, parameter: str | None = None) -> Json:
    """Return an error object with its four members, the source null unless it is given."""
    source = {"pointer": pointer} if pointer else {"parameter": parameter} if parameter else None
    return {"status": str(status), "source": source, "title": TITLES[status], "detail": detail}


def attribute_error(name: str, detail: str) -> Json:
    """Return the 422 of an attribute."""
    return error(422, detail, f"/data/attributes/{name}")


def taken(label: str, name: str, about: str) -> Json:
    """Return the 422 of a taken value, with the resource that has it."""
    found = {"links": {"about": about}, "meta": {"existing_id": about.rpartition("/")[2]}}
    return attribute_error(name, f"{label} has already been taken") | found


NO_OBJECT = error(400, "Request body must be a JSON object", "/data")
NO_DATA = error(400, "Request body must contain a data object", "/data")
NO_ARRAY = error(400, "Request body must contain a data array", "/data")
NO_ATTRIBUTES = error(400, "Attributes must be an object", "/data/attributes")
NO_SITE = error(400, "Site relationship is required", "/data/relationships/site")
NOT_FOUND = error(404, "The requested resource could not be found")
SITE_NOT_FOUND = error(404, "The requested resource could not be found", "/data/relationships/site")
FORBIDDEN = error(403, "You do not have permission to perform this action")
OTHER_ID = error(409, "Id does not match the URL", "/data/id")
EMAIL_BLANK = attribute_error("email", "Email can't be blank")
EMAIL_INVALID = attribute_error("email", "Email is invalid")
NAME_BLANK = attribute_error("name", "Name can't be blank")
BODY_BLANK = attribute_error("body", "Body can't be blank")
NO_CONTACT = error(422, "Contact must exist", "/data/relationships/contact")
NO_CUSTOMER = attribute_error("external_user_id", "External user id can't be set without a customer")


def other_type(of_type: str) -> Json:
    """Return the 409 of a document of another type."""
    return error(409, f"Type must be {of_type}", "/data/type")


def unknown_include(name: str) -> Json:
    """Return the 400 of an include that the resource does not have."""
    return error(400, f"{name} is not a supported include", parameter="include")


def unknown_parameter(name: str) -> Json:
    """Return the 400 that strict mode gives for a parameter that means nothing."""
    return error(400, f"{name} is not a supported parameter", parameter=name)


def assert_refused(reply: Reply, *errors: Json) -> None:
    """Assert the whole answer: status, body to the byte, and every header but those that always differ."""
    body = json.dumps({"errors": list(errors)}, separators=(",", ":"), ensure_ascii=False).encode()
    assert reply.body == body
    assert reply.status == int(errors[0]["status"])
    found = {name: value for name, value in reply.headers.items() if name not in ("date", "x-request-id")}
    assert found == {"content-type": JSON_API, "content-length": str(len(body))}


def patch(client: Client, path: str, document: Any = None, **more: Any) -> Reply:
    """PATCH a path with a document."""
    return client.request("PATCH", path, document, **more)


def delete(client: Client, path: str, document: Any = None, **more: Any) -> Reply:
    """DELETE a path, with a document where one is given."""
    return client.request("DELETE", path, document, **more)


def document(of_type: str, attributes: Json, **related: tuple[str, str]) -> Json:
    """Return a document of this type; `related` has (type, id) by the name of the relationship."""
    data: Json = {"type": of_type, "attributes": attributes}
    if related:
        data["relationships"] = {
            name: {"data": {"type": target, "id": target_id}} for name, (target, target_id) in related.items()
        }
    return {"data": data}


def change(of_type: str, resource_id: str, **attributes: Any) -> Json:
    """Return the document that changes these attributes of a resource."""
    return {"data": {"type": of_type, "id": resource_id, "attributes": attributes}}


def identifiers(*tag_ids: Any) -> Json:
    """Return the document that names these tags."""
    return {"data": [{"type": "contact_tags", "id": each} for each in tag_ids]}


def made(reply: Reply) -> Json:
    """Return the resource that a create answers."""
    assert reply.status == 201, reply
    resource: Json = reply.json["data"]
    return resource


def new_contact(site: SiteWorld, email: str = "ines@example.test", **attributes: Any) -> Json:
    """Create a contact, and return it."""
    return made(site.create(email=email, **attributes))


def new_tag(site: SiteWorld, name: str) -> Json:
    """Create a tag, and return it."""
    given = document("contact_tags", {"name": name}, site=("sites", site.id))
    return made(site.client.post("/v1/contact_tags", given))


def new_note(site: SiteWorld, contact_id: str, body: str) -> Json:
    """Create a note about a contact, and return it."""
    given = document("contact_notes", {"body": body}, contact=("contacts", contact_id))
    return made(site.client.post("/v1/contact_notes", given))


def new_field(site: SiteWorld, title: str, **attributes: Any) -> Json:
    """Define a custom field of a site, and return it."""
    given = document("custom_fields", {"title": title} | attributes, site=("sites", site.id))
    return made(site.client.post("/v1/custom_fields", given))


def tag_ids(resource: Json) -> list[str]:
    """Return the ids of the tags in a contact's relationships, in the order of the ids."""
    linkage = resource["relationships"]["tags"]["data"]
    assert all(set(each) == {"type", "id"} and each["type"] == "contact_tags" for each in linkage)
    return sorted(each["id"] for each in linkage)


def ids(resources: Iterable[Json]) -> list[str]:
    """Return the ids of resources, in their order."""
    return [each["id"] for each in resources]


def listed(client: Client, path: str) -> list[Json]:
    """Return the resources of a page of a collection."""
    reply = client.get(path)
    assert reply.status == 200, reply
    resources: list[Json] = reply.json["data"]
    return resources


def shown(client: Client, path: str) -> Json:
    """Return one resource."""
    reply = client.get(path)
    assert reply.status == 200, reply
    resource: Json = reply.json["data"]
    return resource


def key_for(server: RunningServer, *sites: SiteWorld, permissions: tuple[str, ...] = ()) -> Client:
    """Return a client with a new key for these sites, or for all; without permissions it has every one."""
    site_ids = [int(each.id) for each in sites]
    with contextlib.closing(open_database(server.database_url)) as database:
        key = database.do(
            lambda transaction: keys.create(
                transaction, name="Test", site_ids=site_ids, permissions=permissions
            )
        )
    assert key.client_secret is not None
    return server.client(server.token(key.client_id, key.client_secret))


def pass_the_moment(resource: Json, stamp: str = "created_at") -> None:
    """Wait until the clock has passed a moment of a resource: what is of one millisecond counts as one."""
    moment = resource["attributes"][stamp]
    wait_until(lambda: now() > moment, 1)
