"""Every reader of what comes from elsewhere: the honest folder it reads, and the file in it that is changed."""

from __future__ import annotations

import io
import json
import shutil
import sqlite3
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from pydantic import Field
from torch import nn

import workbench as wb
from workbench.activations import ActivationSet
from workbench.activations.importing import read_given
from workbench.activations.manifest import edit_text, parse_manifest
from workbench.concepts import ConceptSet, Graph, Head
from workbench.concepts.dictionary import DictionaryConcepts
from workbench.edits.stored import load_edit
from workbench.jobs import jobs
from workbench.models import ModelBuilder, SmallModel
from workbench.parquet import read_parquet
from workbench.paths import child
from workbench.plots import read_figure_file
from workbench.recipes import Recipe
from workbench.shapes import read_tensors
from workbench.store.deleted import deleted_sets
from workbench.store.dependents import Needs
from workbench.store.look import look
from workbench.store.members import CATALOG, STUDY_FILE
from workbench.store.study_file import read as read_study_file
from workbench.store.unpacking import Member, _copy, _fill, _reading, _require_space
from workbench.store.verify import damaged_files
from workbench.study import Study
from workbench.views import read_views

CORPUS = Path(__file__).with_name("corpus")
PACK = CORPUS / "pack" / "study.zip"


EVERY = 100
"""Of so many cases of a reader that has a slow use too, one has it."""
_RUN = "runs/examine-987ff91c"
NOTHING = Member(CATALOG, 0, io.BytesIO)
_OPENED: dict[Path, Study] = {}


@dataclass(frozen=True)
class Reader:
    """One of them.

    Attributes:
        name: What it reads.
        home: The folder of the corpus with an honest example; ``study`` is the packed one, unpacked by hand, ``run`` a run of it.
        file: The file that is changed: a glob below that folder, the first match.
        read: Reads a copy of the folder. It gives a result or raises a WorkbenchError.
        fresh: Whether reading may change the folder, and what this user knows of it: each case begins with neither.
        whole: A slow use of the same folder, such as checking all of a study, which one case in :data:`EVERY` has as well.
    """

    name: str
    home: str
    file: str
    read: Callable[[Path], object]
    fresh: bool = False
    whole: Callable[[Path], object] | None = None

    def honest(self, place: Path) -> Path:
        """Put the honest folder into an empty place; the path of the file to change."""
        if self.home == "study":
            with zipfile.ZipFile(PACK) as archive:
                archive.extractall(place)
            shutil.copytree(CORPUS / "jobs", place / "jobs")
        elif self.home == "run":
            with zipfile.ZipFile(PACK) as archive:
                _small_run(archive, place)
        else:
            shutil.copytree(CORPUS / self.home, place, dirs_exist_ok=True)
        return sorted(place.glob(self.file))[0]

    def seeds(self, place: Path) -> list[bytes]:
        """The honest file, and further examples of its kind."""
        more = CORPUS / "more" / self.name
        found = [self.honest(place).read_bytes()]
        if self.file == "study.zip" or self.file == CATALOG:
            # Small ones are changed and read in a fraction of the time.
            catalog = _small_catalog(place / "small.db")
            small = catalog if self.file == CATALOG else _small_pack(catalog if self.name == "pack" else b"")
            found = [small] * 3 if self.name == "zip" else [*found, *[small] * 3]
        return found + [path.read_bytes() for path in sorted(more.iterdir())] if more.is_dir() else found


def _small_run(archive: zipfile.ZipFile, place: Path) -> None:
    """A run with one table."""
    kept = ("config.json", "tables/curves.parquet")
    for name in kept:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(archive.read(f"{_RUN}/{name}"))
    sums = json.loads(archive.read(f"{_RUN}/checksums.json"))
    (place / "checksums.json").write_text(json.dumps({name: sums[name] for name in kept}))


def _small_catalog(path: Path) -> bytes:
    """The catalog of the packed study in pages of 512 bytes."""
    with zipfile.ZipFile(PACK) as archive:
        path.write_bytes(archive.read("catalog.db"))
    with closing(sqlite3.connect(path)) as catalog:
        catalog.execute("pragma page_size = 512")
        catalog.execute("vacuum")
    return path.read_bytes()


def _small_pack(catalog: bytes) -> bytes:
    """A pack with one file of each kind, some of them not compressed; without a catalog where that is empty."""
    content = io.BytesIO()
    with zipfile.ZipFile(PACK) as archive, zipfile.ZipFile(content, "w") as small:
        names = ("config.json", "checksums.json", "tables/curves.parquet")
        data = next(name for name in archive.namelist() if name.startswith("datasets/") and name.endswith(".json"))
        manifest = next(name for name in archive.namelist() if name.endswith("manifest.json"))
        for number, name in enumerate(["study.json", *(f"{_RUN}/{name}" for name in names), data, manifest]):
            small.writestr(name, archive.read(name), zipfile.ZIP_DEFLATED if number % 2 else zipfile.ZIP_STORED)
        if catalog:
            small.writestr("catalog.db", catalog)
    return content.getvalue()


def _study(folder: Path) -> None:
    with wb.open_study(folder, create=False) as study:
        for run in study.runs()["id"]:
            found = study.get_run(run)
            _ = (
                found.config, found.remarks, len(found.concepts), found.tensors, repr(found),
                [found.tables[name] for name in found.tables],
            )  # fmt: skip
        study.verify()
        study.concepts().table()
        study.usage()
        _ = [acts.manifest for acts in study.activations()], repr(study), jobs(study)


def _catalog(folder: Path) -> None:
    """A part of what is asked of a catalog alone: which, its content decides."""
    part = zlib.crc32((folder / "catalog.db").read_bytes()) % 4
    with wb.open_study(folder, create=False) as study:
        if part == 0:
            _ = study.runs(None), study.catalog.names(), study.catalog.current_names()
        elif part == 1:
            _ = study.evidence(), study.recipes(), study.known_model()
        elif part == 2:
            _ = study.log(), study.collections.table(), deleted_sets(study)
        else:
            _ = study.concepts().ids, Needs(study)


def _jobs(folder: Path) -> None:
    """The jobs of a study that stays open."""
    if folder not in _OPENED:
        _OPENED[folder] = wb.open_study(folder, create=False)
    _ = [repr(job) for job in jobs(_OPENED[folder])]


def _set(folder: Path) -> None:
    acts = ActivationSet.open(folder)
    acts.read()
    _ = acts.index, repr(acts)


def _members_copied(folder: Path) -> None:
    """The files of a pack, copied as they are; what is in them is read by the next reader."""
    with tempfile.TemporaryDirectory() as made, _reading(folder / "study.zip") as (members, size, _):
        _require_space(folder / "study.zip", folder, members | {CATALOG: next(iter(members.values()), NOTHING)}, size)
        for member in members.values():
            _copy(folder / "study.zip", member, child(Path(made), member.name), lambda _bytes: None)


def _unpacked(folder: Path) -> None:
    """All that is made of a pack before it is opened as any other study is."""
    for name in ("made", "scratch"):
        (folder / name).mkdir()
    _fill(folder / "study.zip", folder / "made", folder / "scratch", "study", None)


def _unpacked_and_opened(folder: Path) -> None:
    wb.unpack(str(folder / "study.zip"), folder / "unpacked").close()


def _concepts(folder: Path) -> None:
    found = ConceptSet.load(folder)
    found.directions()


def _edit(folder: Path) -> None:
    load_edit(folder, "eraser").record()


def _manifest(folder: Path) -> None:
    """What a set says of itself, the edits that it was captured under too."""
    _ = [edit_text(edit) for edit in parse_manifest(folder).request.edits]


class Line(ModelBuilder):
    """One layer."""

    kind: ClassVar[str] = "line-of-the-fuzzers"
    width: int = Field(ge=1, le=64)

    def build(self) -> nn.Module:
        """The layer."""
        return nn.Linear(self.width, 2)


def _graph(folder: Path) -> None:
    Graph.load(folder / "graph").strongest(5)


def _head(folder: Path) -> None:
    head = Head.load(folder / "head")
    head.predict(torch.ones(1, len(head.facts.concepts)))


def _table(folder: Path) -> None:
    read_parquet(folder / "table.parquet")
    wb.load_dataset(folder / "table.parquet")


READERS = {
    reader.name: reader
    for reader in (
        Reader("manifest", "set", "manifest.json", _manifest),
        Reader("shards", "set", "site000-00000.bin", _set),
        Reader("row index", "set", "index.parquet", _set),
        Reader("parquet", "tables", "table.parquet", _table),
        Reader("saved data", "saved", "table.parquet", _table),
        Reader("csv", "tables", "table.csv", lambda folder: wb.load_dataset(folder / "table.csv")),
        Reader("jsonl", "tables", "table.jsonl", lambda folder: wb.load_dataset(folder / "table.jsonl")),
        Reader("conversation", "conversations", "a.json", wb.load_dataset),
        Reader("safetensors", "concepts", "weights.safetensors", lambda folder: read_tensors(folder / "weights.safetensors")),
        Reader("concept weights", "concepts", "weights.safetensors", _concepts),
        Reader("concept set", "concepts", "set.json", _concepts),
        Reader("concept table", "concepts", "table.parquet", _concepts),
        Reader("fitted edit", "edits", "eraser.json", _edit),
        Reader("weights of an edit", "edits", "eraser.safetensors", _edit),
        Reader("graph nodes", "parts", "graph/nodes.parquet", _graph),
        Reader("graph edges", "parts", "graph/edges.parquet", _graph),
        Reader("head", "parts", "head/head.json", _head),
        Reader("head weights", "parts", "head/weights.safetensors", _head),
        Reader("model", "parts", "model/model.json", lambda folder: SmallModel.load(folder / "model")),
        Reader("model weights", "parts", "model/weights.safetensors", lambda folder: SmallModel.load(folder / "model")),
        Reader("views", "parts", "views.json", lambda folder: read_views(folder / "views.json")),
        Reader("cfg.json", "dictionary", "cfg.json", lambda folder: DictionaryConcepts.from_sae_lens(folder, "resid_post.0")),
        Reader("npy", "arrays", "*.npy", read_given),
        Reader("rows", "arrays", "rows.csv", read_given),
        Reader("recipe", "recipes", "recipe.json", lambda folder: Recipe.load(folder / "recipe.json")),
        Reader("figure", "figures", "figure.json", lambda folder: read_figure_file(folder / "figure.json")),
        Reader("study file", "study", STUDY_FILE, lambda folder: read_study_file(folder / STUDY_FILE, "it")),
        Reader("job", "study", "jobs/*/end.json", _jobs),
        Reader("job question", "study", "jobs/*/job.json", _jobs),
        Reader("job progress", "study", "jobs/*/progress.json", _jobs),
        Reader("checksums", "run", "checksums.json", lambda folder: list(damaged_files(folder))),
        Reader("catalog", "study", "catalog.db", lambda folder: look(folder / CATALOG, "it")),
        Reader("study", "study", "catalog.db", _catalog, fresh=True, whole=_study),
        Reader("zip", "pack", "study.zip", _members_copied),
        Reader("pack", "pack", "study.zip", _unpacked, fresh=True, whole=_unpacked_and_opened),
    )
}
