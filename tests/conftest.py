"""Shared fixtures: a study made of planted activations, where the truth is known, and one made by MiniLM on real text."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import settings

from tests import postgres_server

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "disabled"
# Which studies were opened here is kept with the settings of a user, and the tests make hundreds.
if "XDG_CONFIG_HOME" not in os.environ:
    os.environ["XDG_CONFIG_HOME"] = tempfile.mkdtemp(prefix="workbench-settings-")
    atexit.register(shutil.rmtree, os.environ["XDG_CONFIG_HOME"], ignore_errors=True)
if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
    # Threads of two processes that wait for each other's cores are several times slower than one thread each.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))

# How long an example takes depends on what else the machine does.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# The tests that look at what `workbench demo` made.
DEMO = ("tests/test_topics.py", "tests/app/test_app_browser.py::test_the_same_way_through_the_demo")


def worked_together(nodeid: str) -> str:
    """What is run by one process: a file, so that what its tests share is made once; the tests of the demo count as one file."""
    return "demo" if nodeid.startswith(DEMO) else nodeid.split("::", maxsplit=1)[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Files beside each other. With pytest 9.2 xdist's own groups have no effect."""
    from xdist.scheduler import LoadScopeScheduling

    class Files(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return worked_together(nodeid)

    return Files(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where processes share the work out, the longest files come first."""
    if not hasattr(config, "workerinput"):
        return
    groups: dict[str, list[pytest.Item]] = {}
    for item in items:
        groups.setdefault(worked_together(item.nodeid), []).append(item)

    def slow(name: str) -> int:
        return sum(item.get_closest_marker("slow") is not None for item in groups[name])

    order = sorted(groups, key=lambda name: (name != "demo", -slow(name)))
    items[:] = [item for name in order for item in groups[name]]


@contextmanager
def threads(count: int) -> Iterator[None]:
    """A context in which torch computes with so many threads: they decide how sums are rounded."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A PostgreSQL server of this session: the URL of an empty database; its password is in PGPASSWORD."""
    if (binaries := postgres_server.find()) is None:
        if os.environ.get("CI") == "true":
            pytest.fail("PostgreSQL is not installed, and CI must run the tests of a catalog in it.")
        pytest.skip("PostgreSQL is not installed (Debian's package `postgresql`)")
    pytest.importorskip("psycopg")
    with postgres_server.running(binaries) as url:
        yield url


@pytest.fixture
def catalog(request: pytest.FixtureRequest) -> str | None:
    """Where a study has its catalog: None for SQLite; tests/store/conftest.py says which tests run with both."""
    return request.getfixturevalue("postgres") if getattr(request, "param", "sqlite") == "postgresql" else None


@pytest.fixture
def planted(tmp_path: Path, catalog: str | None) -> Iterator[Callable]:
    """A maker of studies whose activations are noise, a direction for 'omega' and one for kind=left.

    The maker takes the strength of the planted directions and returns study, activations, data set, and the two directions.
    """
    from workbench.testing.worlds import planted_dataset, word_index, write_world

    opened = []

    def make(strength: float = 4.0, examples: int = 400, width: int = 24, seed: int = 0):
        dataset = planted_dataset(examples, seed)
        index = word_index(dataset.inputs())
        rng = np.random.default_rng(seed)
        acts = rng.normal(size=(len(index), width)).astype(np.float32)
        directions = np.linalg.qr(rng.normal(size=(width, 2)))[0].T.astype(np.float32)
        left = dataset.table["kind"].eq("left").to_numpy()[index["example"]]
        acts += strength * index["token"].eq("omega").to_numpy()[:, None] * directions[0]
        acts += strength * left[:, None] * directions[1]
        world = write_world(tmp_path / f"study{len(opened)}", dataset, {"resid_post.0": acts}, index, directions, catalog)
        opened.append(world.study)
        return world.study, world.activations, dataset, directions

    yield make
    for study in opened:
        study.close()


@pytest.fixture(scope="session")
def minilm():
    """The packaged text encoder, loaded once."""
    import workbench as wb

    return wb.load_model("minilm")


def made_once(base: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """The folder that ``make`` fills: where processes share the tests, one of them makes it and each has a copy of its own."""
    own = base.mktemp(name) / name
    if "PYTEST_XDIST_WORKER" not in os.environ:
        make(own)
        return own
    first = base.getbasetemp().parent / "made" / name / name
    first.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(first.with_suffix(".lock")):
        if not (first.parent / "whole").exists():
            shutil.rmtree(first, ignore_errors=True)
            make(first)
            (first.parent / "whole").touch()
    return Path(shutil.copytree(first.parent, own.parent, dirs_exist_ok=True)) / name


@pytest.fixture(scope="session")
def small_study(tmp_path_factory: pytest.TempPathFactory):
    """A study on 420 Brown sentences with all four analyses, names, and the trial."""
    import workbench as wb

    def make(folder: Path) -> None:
        with wb.open_study(folder) as study:
            texts = wb.load_dataset("brown", limit=420)
            acts = study.capture(wb.load_model("minilm"), texts, sites=["resid_post.2", "resid_post.3"])
            options = {"d_sae": 192, "k": 8, "samples": 60_000, "batch_size": 512}
            sae = study.run("sparse_autoencoder", acts.at("resid_post.3"), **options)
            probes = study.run("linear_probe", acts, labels="tokens")
            cavs = study.run("concept_activation", acts.at("resid_post.3"), labels="tokens", per_class=12)
            study.run("mutual_information", acts, labels="tokens", permutations=19, max_rows=2000)
            sae.concepts.name()
            study.examine(sae, steer=2)
            study.examine(probes, sites=["resid_post.3"], steer=2)
            study.examine(cavs, steer=2, families=("detects", "informs", "locates", "stable"))

    with wb.open_study(made_once(tmp_path_factory, "small", make), create=False) as study:
        yield study


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The study and report of `workbench demo`, and what it printed."""
    place = tmp_path_factory.mktemp("demo")
    done = run_demo(place)
    assert done.returncode == 0, done.stderr
    return place, done.stdout


def run_demo(place: Path) -> subprocess.CompletedProcess:
    arguments = ["demo", "--no-serve", "--study", str(place / "topics"), "--report", str(place / "report.html")]
    command = [sys.executable, "-c", "from workbench.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def steer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small study of the bundled causal model: two sites, probes, and the latents of the bundled dictionary."""
    import workbench as wb

    def make(folder: Path) -> None:
        with threads(1), wb.open_study(folder) as study:
            texts = wb.load_dataset("topics", limit=360)
            acts = study.capture(wb.load_model("scribe"), texts, sites=["resid_post.4", "resid_post.7"])
            study.run("pretrained_dictionary", acts.at("resid_post.4"))
            study.run("linear_probe", acts, labels="tokens")

    return made_once(tmp_path_factory, "steer", make)


@pytest.fixture(scope="session")
def bundled_steer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study that comes with the workbench, as it comes: without activations. No test may change it."""
    import workbench as wb

    folder = tmp_path_factory.mktemp("bundled") / "steer"
    wb.unpack("steer", folder).close()
    return folder
