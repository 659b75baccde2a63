"""Every plug-in passes, in a new process that has it installed, what `workbench.testing` asks of all analyses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.plugins.installing import HERE, in_new_process, installed

CODE = """
from pathlib import Path
from workbench.testing import check_analysis
print(check_analysis({name!r}, Path({folder!r}), without={without!r}).to_string())
"""
PLUGINS = sorted(path.parent.name for path in HERE.glob("*/pyproject.toml"))
LARGEST = 80
WITHOUT = [] if "WORKBENCH_FULL" in os.environ else ["stays_at_its_null", "bounds_its_memory"]


@pytest.mark.full
@pytest.mark.parametrize("name", PLUGINS)
def test_a_plugin_conforms(name: str, tmp_path: Path) -> None:
    plugin = installed(name, tmp_path / "plugins" / name)
    done = in_new_process(CODE.format(name=name, folder=str(tmp_path / "studies"), without=WITHOUT), plugin)
    assert "is_read_by_another_process" in done


@pytest.mark.parametrize("name", PLUGINS)
def test_a_plugin_is_small(name: str) -> None:
    assert sum(len(path.read_text().splitlines()) for path in (HERE / name).glob("*.py")) <= LARGEST
