"""The real server answers under its own addresses alone: by raw sockets, as a hostile page or name would reach it."""

from __future__ import annotations

import base64
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from other_site import Site
from small_study import MAIN
from streamlit.web.server import server_util

from workbench.opening import open_study

SELF = "localhost:{port}"
FOREIGN_HOSTS = [
    "evil.example", "evil.example:{port}", "localhost", "localhost:1", "localhost.evil.example:{port}", "127.0.0.1.nip.example",
    "user@localhost:{port}", "localhost:{port}@evil.example", "0.0.0.0:{port}", "", "[::]:{port}",
]  # fmt: skip
FOREIGN_ORIGINS = [
    "http://localhost:1234", "http://localhost", "https://localhost:{port}", "http://127.0.0.1:{port}", "http://evil.example",
    "null", "http://localhost:{port}.evil.example", "http://evil.example/localhost:{port}", "file://", "", "http://localhost:{port}/",
    "http://user@localhost:{port}",
]  # fmt: skip


def ask(server: Any, head: str, *, path: str = "/", method: str = "GET", websocket: bool = False) -> tuple[int, str]:
    """The status and all of the answer to a request whose header lines these are."""
    port = server.base.rpartition(":")[2]
    lines = [f"{method} {path} HTTP/1.1", *head.format(port=port).splitlines(), "Connection: close"]
    if websocket:
        key = base64.b64encode(os.urandom(16)).decode()
        upgrade = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}"]
        lines = [*lines[:-1], *upgrade, "Sec-WebSocket-Protocol: streamlit"]
    if method in {"PUT", "POST", "DELETE"}:
        lines.append("Content-Length: 0")
    with socket.create_connection(("127.0.0.1", int(port)), timeout=20) as connection:
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        answer = b""
        while part := connection.recv(65536):
            answer += part
            if websocket and b"\r\n\r\n" in answer:
                break
    text = answer.decode("latin-1")
    return int(text.split(" ", 2)[1]), text


def test_its_own_addresses_are_answered(any_server: Any) -> None:
    for host in ("localhost:{port}", "127.0.0.1:{port}", "[::1]:{port}", "LOCALHOST:{port}"):
        assert ask(any_server, f"Host: {host}")[0] == 200
        assert ask(any_server, f"Host: {host}\nOrigin: http://{host}")[0] == 200
        handshake = f"Host: {host}\nOrigin: http://{host}"
        assert ask(any_server, handshake, path="/_stcore/stream", websocket=True)[0] == 101


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_another_name_for_this_machine_is_refused(any_server: Any, host: str) -> None:
    """As after a rebinding of a name: the page's origin and the host agree, and are somebody else's."""
    for origin in ("", f"\nOrigin: http://{host}"):
        assert ask(any_server, f"Host: {host}{origin}", path="/_stcore/health")[0] in {400, 403}
        assert ask(any_server, f"Host: {host}{origin}", path="/_stcore/stream", websocket=True)[0] in {400, 403}


@pytest.mark.parametrize("origin", FOREIGN_ORIGINS)
def test_a_page_of_another_site_is_refused(any_server: Any, origin: str) -> None:
    head = f"Host: {SELF}\nOrigin: {origin}"
    assert ask(any_server, head, path="/_stcore/stream", websocket=True)[0] == 403
    for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS"):
        assert ask(any_server, head, path="/_stcore/upload_file/a/b", method=method)[0] == 403


def test_two_hosts_two_origins_or_none_are_refused(any_server: Any) -> None:
    own = f"Host: {SELF}\nOrigin: http://{SELF}"
    for head in (f"{own}\nOrigin: http://evil.example", f"{own}\nHost: evil.example", "Origin: http://localhost:{port}"):
        assert ask(any_server, head, path="/_stcore/stream", websocket=True)[0] in {400, 403}
    # A handshake, and whatever changes something, has to say which page sends it.
    assert ask(any_server, f"Host: {SELF}", path="/_stcore/stream", websocket=True)[0] == 403
    assert ask(any_server, f"Host: {SELF}", path="/_stcore/upload_file/a/b", method="PUT")[0] == 403


def test_every_answer_names_what_a_page_may_do(any_server: Any) -> None:
    for path in ("/", "/concept", "/_stcore/health", "/_stcore/host-config", "/static/nothing.js", "/media/none"):
        _, text = ask(any_server, f"Host: {SELF}", path=path)
        head = text.partition("\r\n\r\n")[0].lower()
        policy = next(line for line in head.splitlines() if line.startswith("content-security-policy:"))
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "http:" not in policy
        assert "*" not in policy
        assert "script-src 'self' 'sha256-" in policy
        assert {"x-frame-options: deny", "x-content-type-options: nosniff", "referrer-policy: no-referrer"} <= set(
            head.splitlines()
        )
        assert "access-control-allow-origin" not in head


def test_it_listens_on_this_machine_only_and_asks_nobody_for_its_address(any_server: Any) -> None:
    """`streamlit run app/main.py` without any option is as safe as `workbench app`."""
    port = any_server.base.rpartition(":")[2]
    listening = [line.split() for line in Path(f"/proc/{any_server.process.pid}/net/tcp").read_text().splitlines()[1:]]
    bound = [line[1] for line in listening if line[3] == "0A" and int(line[1].rpartition(":")[2], 16) == int(port)]
    assert bound == [f"0100007F:{int(port):04X}"]
    assert "External URL" not in any_server.log.read_text()


def test_a_refused_page_makes_the_server_look_up_nothing(
    run_server: Callable[..., AbstractContextManager[Any]], other: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that the server would ask an outside host for goes to a proxy of the test, which is asked for nothing."""
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), other.base) | {"no_proxy": "localhost"}
    with run_server(tmp_path, **proxies) as server:
        for origin in FOREIGN_ORIGINS:
            head = f"Host: {SELF}\nOrigin: {origin}"
            assert ask(server, head, path="/_stcore/stream", websocket=True)[0] == 403
        assert other.asked == []
    # Streamlit's own check of such an origin, which the gate stands before, does ask.
    for name, value in proxies.items():
        monkeypatch.setenv(name, value)
    server_util.is_url_from_allowed_origins("http://evil.example")
    assert other.asked


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_under_its_addresses_alone_and_ends_with_its_server(tmp_path: Path, end: signal.Signals) -> None:
    open_study(tmp_path / "studies" / "mine").close()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "from workbench.cli import main; main()", "app", "studies", "--port", str(port)]
    command += ["--url", "https://X.example/app", "--max-upload", "3MB"]
    environment = os.environ | {"PYTHONPATH": str(MAIN.parents[1])}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        server = SimpleNamespace(base=f"http://localhost:{port}")
        try:
            for _ in range(300):
                with suppress(OSError):
                    if ask(server, f"Host: {SELF}", path="/_stcore/health")[0] == 200:
                        break
                time.sleep(0.1)
            for host, origin, status in (
                (SELF, f"http://{SELF}", 101), ("x.example", "https://x.example", 101), ("x.example", "http://x.example", 403),
                ("x.example", f"http://{SELF}", 403), (SELF, "https://x.example", 403), ("y.example", "https://y.example", 403),
            ):  # fmt: skip
                head = f"Host: {host}\nOrigin: {origin}"
                assert ask(server, head, path="/_stcore/stream", websocket=True)[0] == status, (host, origin)
        finally:
            process.send_signal(end)
            said, _ = process.communicate(timeout=60)
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
        pass
    assert "External" not in said
    assert "Traceback" not in said
