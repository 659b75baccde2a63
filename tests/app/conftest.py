"""One study for all the tests of the app, made once by the real engine."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

MAIN = Path(__file__).parents[2] / "app" / "main.py"


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study that no test may change."""
    import small_study

    folder = tmp_path_factory.mktemp("studies") / "small"
    small_study.make(folder).close()
    return folder


@pytest.fixture
def study_folder(made: Path, tmp_path: Path) -> Path:
    """A copy of the study for one test."""
    return Path(shutil.copytree(made, tmp_path / "studies" / "small"))
