"""What the tests of writes share: their documents, their refusals, and many requests at one time."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

from contract.answers import Json, identifiers, listed

from support import Client, Reply, SiteWorld

RETRY_DIFFERS = {
    "status": "422",
    "source": {"header": "Idempotency-Key"},
    "title": "Unprocessable Entity",
    "detail": "Idempotency-Key was used for another request",
}
RETRY_RUNNING = {
    "status": "409",
    "source": {"header": "Idempotency-Key"},
    "title": "Conflict",
    "detail": "A request with this Idempotency-Key is still running",
}
KEY_NOT_USABLE = {
    "status": "400",
    "source": {"header": "Idempotency-Key"},
    "title": "Bad Request",
    "detail": "Idempotency-Key must have 1 to 255 visible ASCII characters",
}
CHANGED_MEANWHILE = {
    "status": "412",
    "source": {"header": "If-Match"},
    "title": "Precondition Failed",
    "detail": "The resource has changed since it was read",
}


def resource(site: SiteWorld | str, tags: Sequence[str] | None = None, **attributes: Any) -> Json:
    """Return the resource object of a contact in a site, with these tags where they are given."""
    site_id = site if isinstance(site, str) else site.id
    related: Json = {"site": {"data": {"type": "sites", "id": site_id}}}
    if tags is not None:
        related["tags"] = identifiers(*tags)
    return {"type": "contacts", "attributes": attributes, "relationships": related}


def keyed(key: str) -> dict[str, str]:
    """Return the header of a write that may be sent again."""
    return {"Idempotency-Key": key}


def is_replayed(reply: Reply) -> bool:
    """Say whether an answer says that it was given before."""
    return reply.headers.get("idempotency-replayed") == "true"


def ledger(client: Client, contact_id: str) -> list[str]:
    """Return the events of a contact's ledger, oldest first."""
    events = listed(client, f"/v1/contacts/{contact_id}/consent_events")
    return [each["attributes"]["event"] for each in events]


def total(client: Client, path: str = "/v1/contacts") -> int:
    """Return how many resources a collection has."""
    reply = client.get(path)
    assert reply.status == 200, reply
    number: int = reply.json["meta"]["total_count"]
    return number


def at_once(times: int, ask: Callable[[int], Reply]) -> list[Reply]:
    """Ask so many times from as many threads, all let go together; return the answers by number."""
    replies: dict[int, Reply] = {}
    gate = threading.Barrier(times)

    def work(number: int) -> None:
        gate.wait(30)
        replies[number] = ask(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(replies) == times
    return [replies[number] for number in range(times)]
