"""A pooler before PostgreSQL that gives each transaction another session: pgbouncer, where it is installed."""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg

from databases import NOBODY, STARTUP_SECONDS, free_port

PROGRAM = shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin")
MISSING = "pgbouncer is not installed (Debian and Ubuntu: apt-get install pgbouncer)"
# Fewer than a server has threads, so that they share them.
SESSIONS = 2


class Pooler:
    """A pooler of its own in a folder of its own, gone with it; `url` is the maintenance database through it."""

    def __init__(self, postgresql: str) -> None:
        assert PROGRAM is not None, MISSING
        self.folder = Path(tempfile.mkdtemp(prefix="rollbook-pooler-"))
        port = free_port()
        at = psycopg.conninfo.conninfo_to_dict(postgresql)
        self.url = f"postgresql://rollbook@127.0.0.1:{port}/postgres"
        settings = self.folder / "pgbouncer.ini"
        settings.write_text(
            f"[databases]\n* = host={at['host']} port={at['port']} user=rollbook\n"
            f"[pgbouncer]\npool_mode = transaction\ndefault_pool_size = {SESSIONS}\nauth_type = any\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nmax_client_conn = 1000\n"
            # Sessions of databases that no test uses any more make room.
            "server_idle_timeout = 2\n"
        )
        who: dict[str, Any] = {}
        if os.geteuid() == 0:
            who = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
            os.chown(self.folder, NOBODY, NOBODY)
        self.log = self.folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([PROGRAM, str(settings)], stdout=log, stderr=log, cwd="/", **who)
        end = time.monotonic() + STARTUP_SECONDS
        while not self._answers():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=STARTUP_SECONDS).close()
        except psycopg.OperationalError:
            return False
        return True

    def remove(self) -> None:
        """Stop the pooler and remove its folder."""
        self.process.kill()
        self.process.wait(STARTUP_SECONDS)
        shutil.rmtree(self.folder, ignore_errors=True)
