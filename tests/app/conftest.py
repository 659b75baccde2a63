"""One study for all the tests of the app, made once by the real engine."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import small_study


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study that no test may change."""
    folder = tmp_path_factory.mktemp("studies") / "small"
    small_study.make(folder).close()
    return folder


@pytest.fixture
def study_folder(made: Path, tmp_path: Path) -> Path:
    """A copy of the study for one test."""
    return Path(shutil.copytree(made, tmp_path / "studies" / "small"))


@pytest.fixture(scope="session")
def hostile_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of hostile texts and labels, one of them a megabyte long."""
    folder = tmp_path_factory.mktemp("hostile") / "hostile"
    small_study.make_hostile(folder).close()
    return folder
