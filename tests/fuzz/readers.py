"""Every reader of what comes from elsewhere: the honest folder it reads, and the file in it that is changed."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import workbench as wb
from workbench.activations import ActivationSet
from workbench.activations.importing import read_given
from workbench.activations.manifest import parse_manifest
from workbench.concepts import ConceptSet
from workbench.dictionary import DictionaryConcepts
from workbench.jobs import jobs
from workbench.parquet import read_parquet
from workbench.plots import read_figure_file
from workbench.recipes import Recipe
from workbench.shapes import read_tensors
from workbench.store.marker import STUDY_FILE
from workbench.store.marker import read as read_marker

CORPUS = Path(__file__).with_name("corpus")
PACK = CORPUS / "pack" / "study.zip"


@dataclass(frozen=True)
class Reader:
    """One of them.

    Attributes:
        name: What it reads.
        home: The folder of the corpus with an honest example; ``study`` is the packed one, unpacked by hand.
        file: The file that is changed: a glob below that folder, the first match.
        read: Reads a copy of the folder. It gives a result or raises a WorkbenchError.
        fresh: Whether reading changes the folder, so that each case needs a new copy.
    """

    name: str
    home: str
    file: str
    read: Callable[[Path], object]
    fresh: bool = False

    def honest(self, place: Path) -> Path:
        """Put the honest folder into an empty place; the path of the file to change."""
        if self.home == "study":
            with zipfile.ZipFile(PACK) as archive:
                archive.extractall(place)
            shutil.copytree(CORPUS / "jobs", place / "jobs")
        else:
            shutil.copytree(CORPUS / self.home, place, dirs_exist_ok=True)
        return sorted(place.glob(self.file))[0]

    def seeds(self, place: Path) -> list[bytes]:
        """The honest file, and further examples of its kind."""
        more = CORPUS / "more" / self.name
        found = [self.honest(place).read_bytes()]
        return found + [path.read_bytes() for path in sorted(more.iterdir())] if more.is_dir() else found


def _study(folder: Path) -> None:
    with wb.open_study(folder, create=False) as study:
        for run in study.runs()["id"]:
            found = study.get_run(run)
            _ = (
                found.config,
                found.remarks,
                len(found.concepts),
                found.tensors,
                repr(found),
                [found.tables[name] for name in found.tables],
            )
        study.verify()
        study.concepts().table()
        study.log()
        study.usage()
        study.recipes()
        study.collections.table()
        _ = [acts.manifest for acts in study.activations()], repr(study), jobs(study)


def _set(folder: Path) -> None:
    acts = ActivationSet.open(folder)
    acts.read()
    _ = acts.index, repr(acts)


def _unpacked(folder: Path) -> None:
    wb.unpack(str(folder / "study.zip"), folder / "unpacked").close()


def _concepts(folder: Path) -> None:
    found = ConceptSet.load(folder)
    found.directions()


def _table(folder: Path) -> None:
    read_parquet(folder / "table.parquet")
    wb.load_dataset(folder / "table.parquet")


READERS = {
    reader.name: reader
    for reader in (
        Reader("manifest", "set", "manifest.json", parse_manifest),
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
        Reader("cfg.json", "dictionary", "cfg.json", lambda folder: DictionaryConcepts.from_sae_lens(folder, "resid_post.0")),
        Reader("npy", "arrays", "*.npy", read_given),
        Reader("rows", "arrays", "rows.csv", read_given),
        Reader("recipe", "recipes", "recipe.json", lambda folder: Recipe.load(folder / "recipe.json")),
        Reader("figure", "figures", "figure.json", lambda folder: read_figure_file(folder / "figure.json")),
        Reader("study file", "study", STUDY_FILE, lambda folder: read_marker(folder / STUDY_FILE, "it")),
        Reader("job", "study", "jobs/*/end.json", _study, fresh=True),
        Reader("checksums", "study", "runs/*/checksums.json", _study, fresh=True),
        Reader("catalog", "study", "catalog.db", _study, fresh=True),
        Reader("zip", "pack", "study.zip", _unpacked, fresh=True),
    )
}
