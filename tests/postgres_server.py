"""A PostgreSQL server of the tests' own, on loopback, in a folder that is gone afterwards."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

START_S = 60
# A machine that fails takes the tests' database with it, and nobody minds.
QUICK = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=16MB", "max_connections=60")


def find() -> Path | None:
    """The folder of the newest server that is installed, or None."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    found = debian[-1] if debian else shutil.which("initdb")
    return Path(found).parent if found else None


@contextmanager
def running(binaries: Path) -> Iterator[str]:
    """Start a server, and stop it at the end: the URL of its database. Its password is put into PGPASSWORD meanwhile."""
    password, before = secrets.token_hex(16), os.environ.get("PGPASSWORD")
    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        home = Path(folder)
        (home / "password").write_text(password)
        # PostgreSQL refuses to be root.
        user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
        if user:
            for path in (home, home / "password"):
                shutil.chown(path, "postgres", "postgres")
        make = [binaries / "initdb", "-D", home / "data", "-U", "tester", "-A", "scram-sha-256", "--pwfile", home / "password"]
        options = ["--encoding=UTF8", "--no-locale", "--no-sync"]
        subprocess.run([*make, *options], cwd=home, check=True, capture_output=True, **user)
        os.environ["PGPASSWORD"] = password
        try:
            server, port = _started(binaries, home, user)
            try:
                yield f"postgresql+psycopg://tester@127.0.0.1:{port}/postgres"
            finally:
                server.terminate()
                with suppress(subprocess.TimeoutExpired):
                    server.wait(5)
                server.kill()
                server.wait()
        finally:
            os.environ.pop("PGPASSWORD")
            if before is not None:
                os.environ["PGPASSWORD"] = before


def _started(binaries: Path, home: Path, user: dict) -> tuple[subprocess.Popen, int]:
    settings = [part for setting in QUICK for part in ("-c", setting)]
    for _ in range(5):
        port = _free_port()
        command = [binaries / "postgres", "-D", home / "data", "-h", "127.0.0.1", "-p", str(port), "-k", "", *settings]
        with (home / "log").open("w") as log:
            server = subprocess.Popen(command, cwd=home, stdout=log, stderr=log, **user)
        if _answers(server, port):
            return server, port
        # Somebody else took the port in between.
        server.kill()
        server.wait()
    raise RuntimeError((home / "log").read_text())


def _answers(server: subprocess.Popen, port: int) -> bool:
    import psycopg

    deadline = time.monotonic() + START_S
    while server.poll() is None and time.monotonic() < deadline:
        with suppress(psycopg.OperationalError):
            psycopg.connect(host="127.0.0.1", port=port, user="tester", dbname="postgres").close()
            return True
        time.sleep(0.05)
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
