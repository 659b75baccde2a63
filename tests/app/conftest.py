"""One study for all the tests of the app, made once by the real engine."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import small_study
from browsing import ARGUMENTS, require_browser
from harness import Start
from small_study import MAIN
from streamlit.testing.v1 import AppTest

FAILED = pytest.StashKey[bool]()


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


@pytest.fixture(autouse=True)
def own_main() -> Iterator[None]:
    """Streamlit's harness puts its script in the place of ``__main__``, where processes that a later test spawns would run it."""
    before = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = before


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Start:
    def begin(folder: Path, **query: str) -> AppTest:
        monkeypatch.setenv("WORKBENCH_STUDIES", str(folder))
        test = AppTest.from_file(str(MAIN), default_timeout=120)
        for key, value in query.items():
            test.query_params[key] = value
        return test.run()

    return begin


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[Path], str]]:
    started: list[subprocess.Popen[bytes]] = []

    def begin(folder: Path) -> str:
        require_browser()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "streamlit", "run", str(MAIN), "--server.headless", "true", "--server.port", str(port)]
        environment = os.environ | {"WORKBENCH_STUDIES": str(folder), "PYTHONPATH": str(MAIN.parents[1])}
        with (tmp_path / "server.log").open("wb") as log:
            started.append(subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT, cwd=tmp_path))
        base = f"http://localhost:{port}"
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{base}/_stcore/health").close()
                return base
            except OSError:
                time.sleep(0.1)
        raise AssertionError((tmp_path / "server.log").read_text())

    yield begin
    for process in started:
        process.terminate()
        process.wait(timeout=20)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report


@pytest.fixture
def browser(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    path = require_browser()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(tmp_path / "profile"), executable_path=path, args=ARGUMENTS, viewport={"width": 1440, "height": 900},
            accept_downloads=True,
        )  # fmt: skip
        context.set_default_timeout(60_000)
        yield context
        if request.node.stash.get(FAILED, False):
            for page in context.pages:
                print(f"{page.url} showed:\n{page.inner_text('body')[:4000]}")
            for log in tmp_path.glob("server.log"):
                print(log.read_text()[-4000:])
        context.close()


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    asked = os.environ.get("WORKBENCH_ARTIFACTS")
    folder = Path(asked) if asked else tmp_path_factory.mktemp("artifacts")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
