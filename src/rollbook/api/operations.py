"""JSON:API's atomic operations (https://jsonapi.org/ext/atomic/): all of them are done, or none."""

import re
from typing import Any

from rollbook.api.calls import Call
from rollbook.api.http import Answer, json_bytes
from rollbook.api.retries import write
from rollbook.jsonapi.errors import Refusal, Refused, refuse
from rollbook.jsonapi.writing import resource_object
from rollbook.register import atomic
from rollbook.register.atomic import Done, Operation, Target

MEDIA_TYPE = b'application/vnd.api+json;ext="https://jsonapi.org/ext/atomic"'
OPERATIONS = "atomic:operations"
MOST_OPERATIONS = 100
HREF = re.compile(r"(?:/api)?/v1/([a-z_]+)(?:/([^/]+)(?:/relationships/([a-z_]+))?)?")


async def perform(call: Call) -> Answer:
    """Perform operations in one transaction, and answer what each of them made."""
    sent = call.document.get(OPERATIONS)
    if not isinstance(sent, list) or not 1 <= len(sent) <= MOST_OPERATIONS:
        limit, where = str(MOST_OPERATIONS), f"/{OPERATIONS}"
        raise refuse(Refusal.ITEMS_OUT_OF_RANGE, limit=limit, items="operations", where=where)
    operations = [_read(each, f"/{OPERATIONS}/{at}", call.house.base_url) for at, each in enumerate(sent)]
    asked = atomic.Asked(call.caller, operations, call.house.catalogue)
    return await write(call, atomic.perform_many, asked, lambda results: _answer(call, results))


def _answer(call: Call, results: list[Done]) -> Answer:
    api_url = call.house.api_url
    written: list[dict[str, Any]] = []
    for done in results:
        if done.record is not None and done.resource is not None:
            written.append({"data": resource_object(done.resource.type, done.record, api_url)})
        elif done.linkage is not None:
            target, ids = done.linkage
            written.append({"data": [{"type": target, "id": str(each)} for each in ids]})
        else:
            written.append({})
    return Answer(200, json_bytes({"atomic:results": written}), MEDIA_TYPE)


def _read(sent: Any, where: str, base_url: str) -> Operation:
    """Return an operation; raise Refused for one that has no shape to speak of."""
    if not isinstance(sent, dict) or sent.get("op") not in ("add", "update", "remove"):
        raise _not_understood(where, "An operation must be an object whose op is add, update or remove")
    ref, href, data = sent.get("ref"), sent.get("href"), sent.get("data")
    if ref is not None and href is not None:
        raise _not_understood(where, "An operation cannot have both ref and href")
    if ref is not None:
        target = _of_ref(ref, where)
    elif href is not None:
        target = _of_href(href, where, base_url)
    elif isinstance(data, dict) and isinstance(data.get("type"), str):
        target = Target(data["type"], *_id_and_lid(data if sent["op"] == "update" else {}))
    else:
        raise _not_understood(
            where, "An operation must name its target by ref, by href or by the type in data"
        )
    return Operation(sent["op"], target, data, where)


def _of_ref(ref: Any, where: str) -> Target:
    if not isinstance(ref, dict) or not isinstance(ref.get("type"), str):
        raise _not_understood(where, "A ref must be an object with a type")
    relationship = ref.get("relationship")
    if relationship is not None and not isinstance(relationship, str):
        raise _not_understood(where, "The relationship of a ref must be a name")
    return Target(ref["type"], *_id_and_lid(ref), relationship)


def _of_href(href: Any, where: str, base_url: str) -> Target:
    found = HREF.fullmatch(href.removeprefix(base_url)) if isinstance(href, str) else None
    if found is None:
        raise _not_understood(where, "An href must be the path of a collection, a resource or a relationship")
    return Target(found[1], found[2], None, found[3])


def _id_and_lid(sent: dict[str, Any]) -> tuple[str | None, str | None]:
    resource_id, lid = sent.get("id"), sent.get("lid")
    if isinstance(resource_id, int) and not isinstance(resource_id, bool):
        resource_id = str(resource_id)
    return (
        resource_id if isinstance(resource_id, str) else None,
        lid if isinstance(lid, str) else None,
    )


def _not_understood(where: str, why: str) -> Refused:
    return refuse(Refusal.OPERATION_NOT_UNDERSTOOD, why=why).within(where)
