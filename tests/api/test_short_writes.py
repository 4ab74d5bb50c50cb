"""Proves which writes everybody may wait for: no document that would hold the event loop."""

from typing import Any

import pytest
from tenancy.inside import inside

from rollbook.api.documents import LONGEST_SHORT_BODY
from rollbook.storage.database import Database
from support import RunningServer


@pytest.mark.sqlite
@pytest.mark.parametrize(("letters", "is_short"), [(10, True), (LONGEST_SHORT_BODY, False)])
def test_a_create_is_a_short_write_unless_its_document_is_large(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch, letters: int, is_short: bool
) -> None:
    told: list[bool] = []
    write = Database.write

    async def noting(self: Database, *given: Any, **named: Any) -> Any:
        told.append(named["is_short"])
        return await write(self, *given, **named)

    monkeypatch.setattr(Database, "write", noting)
    site = server.new_site()
    document = site.document(email="ines@example.test", name="a" * letters)
    with inside(server) as within:
        status, _ = within.cost(site.token, "POST", "/v1/contacts", document, {})
    assert (status, told) == (201, [is_short])
