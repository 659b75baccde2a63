"""The tests of a module that names ``CATALOGS`` run with each of them: a study keeps its promises in SQLite and in PostgreSQL.

A test that is about something else says by ``parametrize`` which one it takes.
"""

from __future__ import annotations

import hashlib
import subprocess
import uuid
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

import workbench as wb
from workbench.store import postgres, sqlite, tables
from workbench.store.members import STUDY_FILE
from workbench.store.study_file import read


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    catalogs = getattr(metafunc.module, "CATALOGS", None)
    chosen = any(mark.args[0] == "catalog" for mark in metafunc.definition.iter_markers("parametrize"))
    if catalogs and "catalog" in metafunc.fixturenames and not chosen:
        metafunc.parametrize("catalog", catalogs, indirect=True)


@pytest.fixture
def old_study(tmp_path: Path, catalog: str | None) -> Callable[[], Path]:
    """A maker of the folder of a study whose catalog is of the first version, as it lies before anything opens it."""
    return lambda: first_version(tmp_path / "study", catalog)


@pytest.fixture(scope="session")
def bucket() -> Iterator[str]:
    """An S3-compatible server on a free port of this machine, and a bucket in it."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "ada")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        fsspec.filesystem("s3").mkdir("studies")
        yield "s3://studies"
    server.stop()


@pytest.fixture(params=["file", "memory", "s3"])
def remote(request, tmp_path) -> str:
    """The URL of a place that is new and empty."""
    if request.param == "s3":
        return f"{request.getfixturevalue('bucket')}/{uuid.uuid4().hex}"
    return f"memory://{uuid.uuid4().hex}" if request.param == "memory" else f"file://{tmp_path}/elsewhere"


@contextmanager
def unprepared(folder: Path) -> Iterator[sa.Connection]:
    """A connection to the catalog of a study, in whichever database, without anything being brought up to date."""
    url = read(folder / STUDY_FILE, folder.name).catalog
    engine = postgres.make_engine(url) if url else sqlite.make_engine(f"sqlite:///{folder.as_posix()}/catalog.db")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def first_version(folder: Path, catalog: str | None) -> Path:
    """A study of the first version: the one that is kept, or in PostgreSQL, which came later, what it would have been there."""
    if catalog is None:
        with zipfile.ZipFile(Path(__file__).parent / "old" / "schema1.zip") as old:
            old.extractall(folder)
        return folder
    wb.open_study(folder, catalog=catalog).close()
    with unprepared(folder) as connection:
        for index in ("ix_evidence_run", "ix_names_run"):
            connection.exec_driver_sql(f"DROP INDEX {index}")
        connection.exec_driver_sql("UPDATE info SET value = '1' WHERE key = 'schema'")
        connection.commit()
    return folder


@pytest.fixture(scope="session")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An honest study with a set, a run, a figure, a name, a note and a collection, as another user has left it."""
    place = tmp_path_factory.mktemp("honest")
    given, rng = place / "given", np.random.default_rng(0)
    given.mkdir()
    rows = pd.DataFrame({"example": range(160), "kind": ["left", "right"] * 80, "token": [f"word{i}" for i in range(160)]})
    values = rng.normal(size=(160, 4)).astype(np.float16)
    values[:, 0] += 4 * rows["kind"].eq("left").to_numpy()
    np.save(given / "resid_post.0.npy", values)
    rows.to_csv(given / "rows.csv", index=False)
    with wb.open_study(place / "study") as study:
        run = study.run("linear_probe", study.import_activations(given), labels="kind")
        run.concepts[0].rename("what is left", "ada")
        run.concepts[0].note("seen everywhere", "ada")
        study.collections.add("kept", [run.concepts[0].id], "ada")
        study.keep_recipe(wb.Recipe(name="a"))
        measured = {"value": 0.9, "low": 0.8, "high": 0.95, "null": 0.5, "null_high": 0.6, "p": 0.001, "p_corrected": 0.002}
        counted = {"n": 40, "clusters": 40, "clusters_positive": 20, "family": "detects.auroc (2 tests)", "label": "left"}
        of = {"concept": run.concepts[0].id, "metric": "detects.auroc", "status": "ok", "dataset": "given", "run": run.id}
        study.catalog.insert(tables.evidence, [dict.fromkeys(tables.EVIDENCE_COLUMNS) | of | measured | counted])
        assert study.verify().empty
        assert run.figures
    return place / "study"


def state(folder: Path) -> dict[str, tuple[Any, ...]]:
    """Every path below a folder, with its kind, its time and its content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        found[path.relative_to(folder).as_posix()] = (status.st_mode, status.st_mtime_ns, content)
    return found


@pytest.fixture
def disk(tmp_path) -> Iterator[Callable[[int], Path]]:
    """A maker of small disks: file systems in memory of so many KiB. Only root may mount one."""
    made: list[Path] = []

    def make(kib: int) -> Path:
        place = tmp_path / f"disk{len(made)}"
        place.mkdir()
        if subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(place)], check=False, capture_output=True
        ).returncode:
            pytest.skip("This user may mount no small disk.")
        made.append(place)
        return place

    yield make
    for place in made:
        subprocess.run(["umount", "--lazy", str(place)], check=False)


def grow(disk: Path) -> None:
    """Make room on a small disk."""
    subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
