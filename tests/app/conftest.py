"""One study for all the tests of the app, made once by the real engine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import small_study
from browsing import ARGUMENTS, free_port, require_browser
from harness import Start
from other_site import Site
from small_study import MAIN
from streamlit.testing.v1 import AppTest

from tests.conftest import made_once

FAILED = pytest.StashKey[bool]()


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study that no test may change."""
    return made_once(tmp_path_factory, "app", lambda folder: small_study.make(folder).close())


@pytest.fixture
def study_folder(made: Path, tmp_path: Path) -> Path:
    """A copy of the study for one test."""
    return Path(shutil.copytree(made, tmp_path / "studies" / "small"))


@pytest.fixture(scope="session")
def hostile_folder(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of hostile texts and labels, one of them a megabyte long."""
    folder = tmp_path_factory.mktemp("hostile") / "hostile"
    small_study.make_hostile(folder).close()
    # The same model has embedded the words that names are suggested from.
    shutil.copytree(made / "cache", folder / "cache", dirs_exist_ok=True)
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


@dataclass
class Server:
    """A running server of the app."""

    base: str
    process: subprocess.Popen[str]
    answer: Path
    log: Path

    def show(self, folder: Path) -> None:
        """Serve another study."""
        line = f"{folder}\n"
        assert self.process.stdin is not None
        self.process.stdin.write(line)
        self.process.stdin.flush()
        self._until(lambda: self.answer.exists() and self.answer.read_text() == line)

    def wait(self) -> None:
        self._until(self._healthy)

    def _healthy(self) -> bool:
        try:
            urllib.request.urlopen(f"{self.base}/_stcore/health").close()
        except OSError:
            return False
        return True

    def _until(self, done: Callable[[], bool]) -> None:
        for _ in range(600):
            if done():
                return
            time.sleep(0.1)
        raise AssertionError(self.log.read_text())


@contextmanager
def running(folder: Path, port: int = 0, **settings: str) -> Iterator[Server]:
    """A server that keeps its log and its answers in a folder; ``settings`` are variables of its environment."""
    port = port or free_port()
    known = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    command = [sys.executable, str(Path(__file__).with_name("server.py")), str(MAIN), str(port), str(folder / "answer")]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, cwd=folder, text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(MAIN.parents[1]), *known])} | settings,
        )  # fmt: skip
    started = Server(f"http://localhost:{port}", process, folder / "answer", folder / "server.log")
    try:
        started.wait()
        yield started
    finally:
        process.terminate()
        process.wait(timeout=20)


@pytest.fixture(scope="session")
def any_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all the tests of a session."""
    with running(tmp_path_factory.mktemp("server")) as started:
        yield started


@pytest.fixture
def server(any_server: Server) -> Server:
    """That server, for a browser."""
    require_browser()
    return any_server


@pytest.fixture
def run_server() -> Callable[..., AbstractContextManager[Server]]:
    """For a server with settings of its own."""
    return running


@pytest.fixture
def other() -> Iterator[Site]:
    """Another site on this machine."""
    site = Site()
    yield site
    site.shutdown()
    site.server_close()


@pytest.fixture
def fresh_server(tmp_path: Path) -> Iterator[Server]:
    """A server that nobody has asked for anything."""
    require_browser()
    with running(tmp_path) as started:
        yield started


@pytest.fixture
def serve(server: Server) -> Callable[[Path], str]:
    """Serve a study; the address of the app."""

    def begin(folder: Path) -> str:
        server.show(folder)
        return server.base

    return begin


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
            if "server" in request.fixturenames:
                print(request.getfixturevalue("server").log.read_text()[-4000:])
        context.close()


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    asked = os.environ.get("WORKBENCH_ARTIFACTS")
    folder = Path(asked) if asked else tmp_path_factory.mktemp("artifacts")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
