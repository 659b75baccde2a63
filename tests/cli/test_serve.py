"""What `workbench app` refuses to serve, and why, before a server is started."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from workbench.cli import main

AUTH = '[auth]\nredirect_uri = "https://x.example/oauth2callback"\ncookie_secret = "s"\n'


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without secrets, which is the user's home as well."""
    (tmp_path / "studies").mkdir()
    (tmp_path / ".streamlit").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("secrets", "options", "said"),
    [
        ("", ["--address", "0.0.0.0"], "has no sign-in configured"),
        ("# [auth] is only spoken of", ["--address", "0.0.0.0"], "has no sign-in configured"),
        ('note = "[auth]"', ["--address", "192.168.0.7"], "has no sign-in configured"),
        ("[authors]", ["--address", "0.0.0.0"], "has no sign-in configured"),
        ("[auth", [], "is not TOML"),
        ("[auth]", ["--address", "0.0.0.0"], "needs redirect_uri and cookie_secret"),
        (AUTH + "[workbench]\neditors = 'ada@x.example'", [], "lists mail addresses"),
        ("", ["--root", "nowhere"], "nowhere is not a folder"),
        ("", ["--url", "x.example"], "not an address of the app"),
        ("", ["--max-upload", "much"], "is no size"),
        ("", ["nowhere"], "is not a folder"),
    ],
)
def test_what_cannot_be_served_is_one_sentence(
    home: Path, capsys: pytest.CaptureFixture[str], secrets: str, options: list[str], said: str
) -> None:
    (home / ".streamlit" / "secrets.toml").write_text(secrets)
    with pytest.raises(SystemExit) as end:
        main(["app", *options])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert said in " ".join(error.split())
    assert "Traceback" not in error


def test_a_port_that_is_taken_is_said_before_anything_is_served(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / ".streamlit" / "secrets.toml").write_text("")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SystemExit) as end:
            main(["app", "--address", "127.0.0.1", "--port", str(taken.getsockname()[1])])
    assert end.value.code == 2
    said = capsys.readouterr()
    assert "Nothing can be served at 127.0.0.1" in said.err
    assert "Serving" not in said.out + said.err
