"""Studies in one file, and what was steered, on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from workbench.cli import main

pytestmark = pytest.mark.slow


def call(capsys, *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    out = capsys.readouterr()
    return int(end.value.code or 0), out.out, out.err


def test_the_bundled_study_is_unpacked_looked_at_and_packed_again(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = call(capsys, "unpack", "steer")
    assert code == 0
    assert "scribe" in out
    folder = tmp_path / "studies" / "steer"
    code, out, _ = call(capsys, "--json", "steered", str(folder))
    assert code == 0
    rows = json.loads(out)
    assert [row["times_null"] for row in rows if row["times_null"] is not None] == sorted(
        (row["times_null"] for row in rows if row["times_null"] is not None), reverse=True
    )
    code, out, _ = call(capsys, "steered", str(folder))
    assert "38 of 77 concepts steer" in out
    code, out, _ = call(capsys, "--json", "pack", str(folder))
    assert code == 0
    assert json.loads(out)["bytes"] == (tmp_path / "steer.zip").stat().st_size
    code, _, err = call(capsys, "unpack", "steer.zip", str(folder))
    assert code == 2
    assert "there already" in err


def test_nothing_is_captured_again_where_nothing_was_left_out(steer_folder: Path, capsys) -> None:
    code, out, _ = call(capsys, "recapture", str(steer_folder))
    assert code == 0
    assert "all activations are there" in out
    code, out, _ = call(capsys, "steered", str(steer_folder))
    assert code == 0
    assert "No concept has been steered yet" in out
