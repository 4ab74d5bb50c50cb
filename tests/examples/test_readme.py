"""Proves that what the README says can be pasted as it stands, from the token to the last tag."""

import csv
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support import Client, RunningServer

README = (Path(__file__).parents[2] / "README.md").read_text()
AWKWARD = [
    "Sinéad O'Connor",
    "Okafor, Ines",
    'Dwayne "Rock" Johnson',
    "$(HOME) `x` \\n %s",
    "李小龙",
    "Ann\nLee",
]


def part(title: str) -> str:
    """Return the lines to paste of a part of the README, in order."""
    section = README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```$", section, re.DOTALL | re.MULTILINE)
    assert blocks, title
    return "".join(blocks)


def write_spreadsheet(folder: Path) -> None:
    """Save 50 people as spreadsheets do: with a byte-order mark, and quotes where they are needed."""
    with (folder / "people.csv").open("w", encoding="utf-8-sig", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["name", "email", "subscribed", "Remarks"])
        for at in range(50):
            name = AWKWARD[at] if at < len(AWKWARD) else f"Person {at}"
            rows.writerow([name, f"person{at}@example.{'org' if at % 2 else 'com'}", "false", "none"])


def paste(folder: Path, lines: str) -> str:
    """Run lines as somebody who pastes them, and return what they print."""
    done = subprocess.run(
        ["bash", "-c", lines], cwd=folder, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stderr == ""
    return done.stdout


def test_a_days_work_can_be_pasted_as_it_stands(serve: Callable[..., RunningServer], tmp_path: Path) -> None:
    server = serve()
    client_id, secret = (
        re.findall(rf"{name} +(\w+)", server.greeting)[0] for name in ("client_id", "client_secret")
    )
    setting = re.findall(r"`(H=.*?)`:", README)[0]
    lines = "\n".join([part("The main job: create a contact"), setting, part("A day's work with people")])
    for of_readme, here in (
        ("http://127.0.0.1:8000", server.url), ("YOUR_CLIENT_ID", client_id), ("YOUR_CLIENT_SECRET", secret),
    ):  # fmt: skip
        assert of_readme in lines
        lines = lines.replace(of_readme, here)
    write_spreadsheet(tmp_path)
    printed = paste(tmp_path, lines)
    assert printed.count(" 201\n") == 50
    assert '"created":0,"updated":0,"skipped":50,"refused":0' in printed
    assert '"errors"' not in printed
    assert_done(server.client(server.token(client_id, secret)))


def assert_done(client: Client) -> None:
    """Assert that all of the day's work is done."""

    def asked(query: str) -> Any:
        return client.get(f"/v1/contacts?page[size]=100&{query}").json

    # John Doe and 50 people, of whom two are one now.
    everybody = {each["id"]: each["attributes"] for each in asked("")["data"]}
    assert len(everybody) == 50
    names = {each["name"] for each in everybody.values()}
    assert set(AWKWARD) - names == {AWKWARD[1]}, "its contact is dissolved in the first"
    assert everybody["2301000002"]["name"] == AWKWARD[0]
    ledger = client.get("/v1/contacts/2301000001/consent_events").json["data"]
    assert [each["attributes"]["event"] for each in ledger] == ["subscribed", "unsubscribed"]
    # The half with the tag; whoever took it over by the merge has lost it again.
    tagged = {each["attributes"]["email"] for each in asked("filter[has_tag_id]=2150000001")["data"]}
    assert tagged == {f"person{at}@example.org" for at in range(3, 50, 2)}
    assert client.get("/v1/contacts/2301000003").json["errors"][0]["meta"] == {"merged_into": "2301000002"}
