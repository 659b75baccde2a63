"""Everything by which the app changes a study, or reaches a file whose path somebody typed.

A page that wants to write asks for a :class:`Writer`, and there is none for a session that may only read: whatever messages it
sends, nothing that it can call writes. No other module of the app calls what writes; a test sees to that. A writer may be handed
to a job, which runs in a thread of its own and belongs to no session.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from app import access, state
from workbench.errors import ConfigError, WorkbenchError, WorkbenchWarning
from workbench.jobs import Job, cancel_job, start_job, start_repetition
from workbench.opening import open_study, unpack
from workbench.progress import Progress
from workbench.serving import inside_roots
from workbench.store.remote_url import SCHEMES
from workbench.study import Study

if TYPE_CHECKING:
    import pandas as pd

    from workbench.activations import ActivationSet
    from workbench.recipes import Recipe
    from workbench.store.concept import Concept
    from workbench.store.runs import Run

# Kinds of remotes that are somewhere else, by the scheme of their address. With others, such as sftp to this machine, whoever
# types an address may reach any file that the app's own user can, around the roots.
NETWORK = SCHEMES - {"file", "memory", "sftp", "ssh", "smb", "hdfs"}


class AccessError(WorkbenchError):
    """The session lacks the permission."""


class Writer:
    """What a session may change of a study.

    Args:
        study: The study.

    Raises:
        AccessError: The session, or everyone, may only read it.
    """

    def __init__(self, study: Study) -> None:
        if refusal := access.refusal(study):
            raise AccessError(refusal)
        self.study = study

    def rename(self, concept: Concept, text: str, author: str) -> None:
        """Give a concept a name."""
        concept.rename(text, author)

    def note(self, concept: Concept, text: str, author: str) -> None:
        """Write a note on a concept."""
        concept.note(text, author)

    def collect(self, name: str, ids: list[str], author: str) -> None:
        """Put concepts into a collection."""
        self.study.collections.add(name, ids, author)

    def keep_recipe(self, recipe: Recipe, texts: list[str], author: str) -> None:
        """Keep an intervention."""
        self.study.keep_recipe(recipe, texts, author)

    def relabel(self, acts: ActivationSet, **asked: Any) -> None:
        """Choose other labels, groups or splits."""
        self.study.relabel(acts=acts, **asked)

    def start(
        self, analysis: str, activations: str, sites: list[str], options: dict[str, Any], seed: int, force: bool
    ) -> Job:  # fmt: skip
        """Start an analysis in a process of its own."""
        _check_paths(analysis, options)
        return start_job(self.study, analysis, activations, sites, options, seed, force)

    def repeat(self, run: str, tolerance: float) -> Job:
        """Do a run again, in a process of its own."""
        first = self.study.get_run(run)
        _check_paths(first.analysis, first.config)
        return start_repetition(self.study, first.id, tolerance)

    def edit_head(self, run: Run, name: str, weights: dict[str, dict[int | str, float]], mask: list[int | str]) -> Run:
        """Record an edit of a head as a run."""
        return self.study.edit_head(run, name, weights, mask)

    def stop(self, job: str) -> None:
        """Stop a job."""
        cancel_job(self.study, job)

    def sweep(self) -> None:
        """Record runs whose process has died as failed."""
        from workbench.store.ended import sweep

        sweep(self.study)

    def examine(self, concept: Concept, show: Progress) -> int:
        """Put one concept on trial and say how many rows that gave.

        The analysis is not run again for stability: that may take as long as the first run did.
        """
        with state.model_lock(self.study):
            return len(self.study.examine([concept], replicate=False, progress=show))

    def compare(self, show: Progress) -> int:
        """Compare the methods, and say how many pairs there are."""
        with state.model_lock(self.study):
            return len(self.study.counterparts(progress=show))

    def recapture(self, show: Progress) -> list[str]:
        """Capture the rows that were left out, and give the ids of their sets."""
        with state.model_lock(self.study):
            return [acts.id for acts in self.study.recapture(show)]

    def repair(self, content: bool, show: Progress) -> pd.DataFrame:
        """Mend or drop what is broken."""
        return self.study.repair(content, show)

    def would_delete(self, ids: list[str]) -> pd.DataFrame:
        """What a deletion of runs and sets would take, with what depends on them."""
        return self.study.delete(ids, dry_run=True)

    def delete(self, ids: list[str], with_dependents: bool, show: Progress) -> pd.DataFrame:
        """Delete runs and sets, and say what went."""
        show(0, 1, "deleting")
        return self.study.delete(ids, with_dependents)

    def push(self, address: str, show: Progress) -> list[str]:
        """Copy everything to the remote, and say what was copied."""
        show(0, 1, "copying runs and activations")
        _check_remote(address)
        # A handle of its own: with a first remote the study's file changes, and pages open it anew.
        with open_study(self.study.folder, create=False, remote=address) as opened:
            return opened.push()

    def pull(self, show: Progress) -> list[str]:
        """Fetch what is only at the remote, and say what was fetched."""
        show(0, 1, "fetching runs and activations")
        if self.study.remote:
            _check_remote(self.study.remote.url)
        return self.study.pull()

    def import_activations(self, folder: str | Path, asked: dict[str, Any], show: Progress) -> str:
        """Import a folder of activations, and say what came.

        Args:
            folder: A path that somebody typed, or the folder of an upload.
            asked: Of the options of `Study.import_activations`, and ``data, text, labels, encoding`` of `load_dataset`.
            show: Called with ``(done, total, text)``.
        """
        from workbench.datasets import load_dataset

        show(0, 1, "reading the folder")
        asked = {**asked, "rows": inside_roots(asked["rows"])} if "rows" in asked else dict(asked)
        described = {name: asked.pop(name, None) for name in ("text", "labels", "encoding")}
        data = asked.pop("data", None)
        found = _known_or_inside(data) if isinstance(data, str) else data
        dataset = load_dataset(found, **{k: v for k, v in described.items() if v}) if found else None
        for note in dataset.notes if dataset is not None else ():
            warnings.warn(note, WorkbenchWarning, stacklevel=2)
        if dataset is not None and dataset.modality != "text" and not isinstance(data, str):
            raise ConfigError("An uploaded table may hold texts only: one of images names files of this machine.")
        place = inside_roots(folder) if isinstance(folder, str) else folder
        acts = self.study.import_activations(place, dataset=dataset, **asked)
        return f"{acts.n_rows:,} rows of {acts.n_examples:,} examples at {', '.join(map(str, acts.sites))} ({acts.id})"

    def export_activations(self, chosen: str, sites: list[str], folder: str, show: Progress) -> int:
        """Write activations into a folder, and say how many files that made."""
        show(0, 1, "writing one file a site")
        acts = self.study.activation_set(chosen)
        return len((acts.select(sites) if sites else acts).export(inside_roots(folder)))


def add_study(packed: Path, folder: Path) -> None:
    """Make a study of a packed one.

    Raises:
        AccessError: The session may only read.
        StudyError: It is no packed study, or the folder is there already.
    """
    if not access.is_editor():
        raise AccessError(f"You may read and add nothing. {access.HOW}")
    unpack(packed, folder).close()


def trust_study(folder: str) -> None:
    """Say yes to what a study from elsewhere does when it is opened.

    Raises:
        AccessError: The session may only read.
    """
    if not access.is_editor():
        raise AccessError(f"You may read and say yes to nothing. {access.HOW}")
    open_study(folder, create=False, trust=True).close()


def writer_of(study: Study) -> Writer | None:
    """The session's writer for a study; None where it may only read."""
    return None if access.refusal(study) else Writer(study)


def _check_paths(analysis: str, options: dict[str, Any]) -> None:
    """See that those options of an analysis that are paths lie where the app reaches."""
    from workbench.analysis import find_analysis
    from workbench.registry import analysis_names

    if analysis in analysis_names():
        schemas = find_analysis(analysis).model_json_schema().get("properties", {})
        for name, value in options.items():
            if schemas.get(name, {}).get("path"):
                _known_or_inside(str(value))


def _known_or_inside(text: str) -> str | Path:
    """A bundled name as it is, and anything that may be a path only where the app reaches it."""
    return text if re.fullmatch(r"\w[\w.-]*", text) and not Path(text).exists() else inside_roots(text)


def _check_remote(address: str) -> None:
    """See that a remote is a folder that the app reaches, or a place on the network."""
    from fsspec.implementations.local import LocalFileSystem

    scheme = urlsplit(address).scheme
    if scheme in {"file", "local"}:
        inside_roots(LocalFileSystem._strip_protocol(address))
    elif scheme not in NETWORK:
        raise ConfigError(
            f"The app copies to file:///folder and to {', '.join(sorted(NETWORK))}, not to {scheme or address[:60]}: for another"
            " place use `workbench study push`."
        )
