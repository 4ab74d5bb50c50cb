"""Several server processes on one port: `rollbook serve --workers`."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from databases import url_of
from support import RunningServer, run_rollbook, start_server, wait_until


def workers_of(server: RunningServer) -> set[int]:
    """Return the processes that serve."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text()
    return set(map(int, children.split()))


@pytest.mark.sqlite
def test_one_file_has_one_server_process(tmp_path: Path) -> None:
    done = run_rollbook("serve", "--workers", "2", ROLLBOOK_DATABASE=f"sqlite:///{tmp_path}/rollbook.db")
    assert done.returncode == 1
    assert "One file has one server process. For more, move to PostgreSQL" in done.stderr
    assert not (tmp_path / "rollbook.db").exists()


@pytest.mark.postgresql
def test_workers_share_the_port_and_end_together(tmp_path: Path) -> None:
    server = start_server(tmp_path / "rollbook.db", "--workers", "3")
    site = server.new_site()
    assert len(workers_of(server)) == 3
    clients = [server.client(site.token) for _ in range(24)]
    made = [
        client.post("/v1/contacts", site.document(email=f"{at}@x.test")) for at, client in enumerate(clients)
    ]
    assert {reply.status for reply in made} == {201}
    totals = {client.get("/v1/contacts").json["meta"]["total"] for client in clients}
    assert totals == {24}
    # The beginning of a request id tells the process that answered.
    assert len({reply.headers["x-request-id"].partition("-")[0] for reply in made}) > 1
    assert server.stop() == 0


@pytest.mark.postgresql
def test_a_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    server = start_server(tmp_path / "rollbook.db", "--workers", "2")
    # One that dies at its start would not be: so let it grow old enough.
    wait_until(lambda: len(workers_of(server)) == 2, 10)
    before = workers_of(server)
    wait_until(lambda: _age(min(before)) > 6, 20)
    os.kill(min(before), signal.SIGKILL)
    wait_until(lambda: len(workers_of(server) - before) == 1 and len(workers_of(server)) == 2, 10)
    wait_until(lambda: "workerended" in server.log.read_text().replace("_", ""), 10)
    assert server.client().get("/livez").status == 200
    assert server.stop() == 0


def taken_after_a_free_one() -> socket.socket:
    """Return a socket that listens at a port which comes after a free one."""
    while True:
        taken, before = socket.socket(), socket.socket()
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with before, contextlib.suppress(OSError):
            before.bind(("127.0.0.1", taken.getsockname()[1] - 1))
            return taken
        taken.close()


@pytest.mark.postgresql
def test_a_worker_that_cannot_start_says_why_in_the_log(tmp_path: Path) -> None:
    with taken_after_a_free_one() as taken:
        port: int = taken.getsockname()[1]
        # The second worker's is the one after the first's.
        settings = {"PORT": "0", "ROLLBOOK_METRICS_PORT": str(port - 1), "HOST": "127.0.0.1"}
        url = url_of(tmp_path / "rollbook.db")
        done = run_rollbook("serve", "--workers", "2", ROLLBOOK_DATABASE=url, **settings)
    assert done.returncode == 1
    failed = [each for each in lines_of(done.stderr) if each["event"] == "worker_failed"]
    said = f"Cannot serve metrics on 127.0.0.1, port {port}: Address already in use. "
    assert [(each["worker"], each["error"]) for each in failed] == [(1, "SettingError")]
    assert failed[0]["reason"].startswith(said)
    assert "the log says why" in done.stderr


FAILING = """
from rollbook.api.crew import Crew, CrewEnded
from rollbook.logs import logger

def work(number):
    raise ValueError("ines@example.test is no address")

try:
    Crew(1, work, logger("error", "json")).run()
except CrewEnded:
    print("ended at its start")
"""


@pytest.mark.sqlite
def test_a_worker_that_fails_as_nobody_expected_logs_type_and_place_and_no_message() -> None:
    done = subprocess.run([sys.executable, "-c", FAILING], capture_output=True, text=True, timeout=30)
    assert done.stdout == "ended at its start\n", done.stderr
    failed, ended = lines_of(done.stderr)
    assert (failed["event"], failed["worker"], failed["error"]) == ("worker_failed", 0, "ValueError")
    assert failed["where"].endswith(":6 work")
    assert (ended["event"], ended["exit_code"]) == ("worker_ended", 1)
    assert "ines@" not in done.stderr


CREW = """
import os, signal
from rollbook.api.crew import Crew, CrewEnded
really_fork = os.fork

def fork():
    {before}
    process = really_fork()
    {after}
    return process

os.fork = fork
try:
    Crew(1, lambda _number: signal.pause(), lambda _observation: None).run()
except CrewEnded:
    print("ended at its start")
print("over")
"""


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("os.kill(os.getpid(), signal.SIGTERM)", "", ["over"]),
        ("", "process or os.kill(os.getpid(), signal.SIGTERM)", ["ended at its start", "over"]),
    ],
    ids=["to the parent", "to the worker"],
)
def test_a_signal_in_the_moment_in_which_a_worker_is_begun_ends_it(
    before: str, after: str, said: list[str]
) -> None:
    script = CREW.format(before=before, after=after)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout.split("\n")[:-1]) == (0, said), done.stderr


def lines_of(log: str) -> list[dict[str, Any]]:
    """Return what each JSON line of a log says."""
    return [json.loads(line) for line in log.splitlines() if line.startswith("{")]


def _age(process: int) -> float:
    """Return for how many seconds a process has run."""
    ticks = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19])
    return float(Path("/proc/uptime").read_text().split()[0]) - ticks / os.sysconf("SC_CLK_TCK")
