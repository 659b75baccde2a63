"""Which studies there are, which one is open, and what is kept between two runs of a page.

Streamlit runs a page from the top at every click. What is expensive to compute is cached here, once for all sessions, under a key
that changes when the study does. Kept tables are shared: a page must not write into them.
"""

from __future__ import annotations

import atexit
import gc
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, NoReturn

import pandas as pd
import sqlalchemy as sa
import streamlit as st

from app.access import is_editor
from app.components.text import short
from workbench.errors import StudyError, UnknownNameError
from workbench.opening import open_study
from workbench.serving import served_folders
from workbench.store import tables
from workbench.store.members import STUDY_FILE
from workbench.store.runs import newest_comparison
from workbench.study import Study

NAME_SHOWN = 200
SMALL_WIDTH = 1024
BUSY_SECONDS = 20
SLOW_MODULES = (
    "duckdb",
    "plotly.graph_objects",
    "torch",
    "workbench.concepts.dictionary",
    "workbench.models",
    "workbench.evidence.trial",
)


class Version(NamedTuple):
    """Numbers that change whenever something is added to a study."""

    runs: int
    done: int
    concepts: int
    evidence: int
    names: int


def study_folders() -> dict[str, Path]:
    """Every study that is served, by the name that pages and links use."""
    found: list[Path] = []
    for root in served_folders():
        if (root / STUDY_FILE).is_file():
            found.append(root.resolve())
        elif root.is_dir():
            # A hidden folder is of a study that is being unpacked, or was when its process was killed.
            found += sorted(p.parent.resolve() for p in root.glob(f"[!.]*/{STUDY_FILE}"))
    names: dict[str, Path] = {}
    for folder in dict.fromkeys(found):
        name = folder.name if folder.name not in names else f"{folder.parent.name}/{folder.name}"
        names[name if name not in names else str(folder)] = folder
    return names


def current_study() -> Study | None:
    """The study that the link names, or the one that was open, or the first; None where there is none.

    Raises:
        UnknownNameError: The link names a study that is not served.
        StudyError: The study cannot be read.
    """
    folders = study_folders()
    if not folders:
        return None
    asked = st.query_params.get("study")
    if asked is not None and asked not in folders:
        raise UnknownNameError("study", asked, folders)
    name = asked or st.session_state.get("study")
    if name not in folders:
        name = next(iter(folders))
    st.session_state["study"] = name
    folder = folders[name]
    # A study that was deleted and made again in its place is another file, and must not be read through the old handle.
    return _open(str(folder), (folder / STUDY_FILE).stat().st_mtime_ns, not is_editor())


def choose_study(name: str) -> None:
    """Make another study the open one."""
    st.session_state["study"] = name
    st.query_params.clear()
    st.query_params["study"] = name


@st.cache_resource(max_entries=8, show_spinner=False)
def _open(folder: str, stamp: int, read_only: bool) -> Study:
    # Sessions that may only read get a study that is opened read-only.
    return open_study(folder, create=False, read_only=read_only)


def link(concept: str | None = None) -> dict[str, str]:
    """The query of a link to the open study, and to a concept in it."""
    query = {"study": str(st.session_state.get("study", ""))}
    return query | ({"concept": concept} if concept else {})


def keep_pages(pages: dict[str, st.Page]) -> None:
    """Keep this run's pages, so that any part of a page can link to another."""
    st.session_state["pages"] = pages


def page(name: str) -> st.Page:
    """A page by its name, such as ``concept``."""
    found: st.Page = st.session_state["pages"][name]
    return found


def open_concept(identifier: str) -> NoReturn:
    """Go to the page of a concept."""
    st.switch_page(page("concept"), query_params=link(identifier))


def version(study: Study) -> Version:
    """Numbers that change whenever runs, concepts, names or evidence are added: one query."""

    def counted(table: sa.Table) -> sa.ScalarSelect:
        return sa.select(sa.func.count()).select_from(table).scalar_subquery()

    def newest(table: sa.Table) -> sa.ScalarSelect:
        return sa.select(sa.func.coalesce(sa.func.max(table.c.id), 0)).scalar_subquery()

    done = sa.select(sa.func.count()).where(tables.runs.c.status == "done").scalar_subquery()
    parts = [counted(tables.runs), done, counted(tables.concepts), newest(tables.evidence), newest(tables.names)]
    return Version(*(int(v) for v in study.catalog.frame(sa.select(*parts)).iloc[0]))


def concept_frame(study: Study) -> pd.DataFrame:
    """Every concept with its name, who named it, where it is and its evidence; shared, so not to be changed."""
    return _concept_frame(str(study.folder), version(study), study)


@st.cache_resource(max_entries=8, show_spinner="Reading the concepts …")
def _concept_frame(folder: str, key: Version, _study: Study) -> pd.DataFrame:
    # The evidence is most of the work and a new name leaves it as it was, so it is kept apart.
    frame = _measured_frame(folder, key[:-1], _study)
    current = _study.catalog.current_names().set_index("concept")
    text, source = frame["id"].map(current["text"]), frame["id"].map(current["source"])
    shown = [short(name, NAME_SHOWN) for name in text.where(text.notna(), frame["id"])]
    named = frame.copy(deep=False)
    named.insert(1, "name", shown)
    return named.assign(named_by=source.where(source.notna(), "nobody"))


@st.cache_resource(max_entries=8, show_spinner="Reading the evidence …")
def _measured_frame(folder: str, key: tuple[int, ...], _study: Study) -> pd.DataFrame:
    from workbench.store.concept_list import concept_table

    frame = concept_table(_study).drop(columns=["name", "named_by"])
    for column in ("label", "detects", "method", "site"):
        if column in frame:
            frame[column] = [short(v, NAME_SHOWN) if isinstance(v, str) else "" for v in frame[column]]
    runs = _study.runs()
    # A run repeated with another seed is there for stability; its concepts are the same ones found again.
    what = runs["analysis"] + runs["config"].map(_stable) + runs["inputs"].map(lambda i: _stable({**i, "sites": None}))
    repeats = set(runs["id"][what.duplicated()])
    frame["repeat"] = frame["run"].isin(repeats)
    frame["seed"] = frame["run"].map(runs.set_index("id")["seed"])
    return frame.sort_values(["run", "number"], kind="stable").reset_index(drop=True)


def _stable(value: object) -> str:
    return json.dumps(value, sort_keys=True)


def names_of(study: Study) -> dict[str, str]:
    """The current name of every concept, fit to be shown."""
    frame = concept_frame(study)
    return dict(zip(frame["id"], frame["name"], strict=True))


def find(study: Study, argument: str, text: str, limit: int = 100) -> tuple[list[str], list[float]]:
    """Ids and relevance of the concepts that answer a search; ``argument`` is that of ``study.concepts``.

    Raises:
        WorkbenchError: The model that the search needs cannot be loaded, or is busy.
    """
    return _find(str(study.folder), version(study), argument, text, limit, study)


@st.cache_resource(max_entries=64, show_spinner="Searching …")
def _find(folder: str, key: Version, argument: str, text: str, limit: int, _study: Study) -> tuple[list[str], list[float]]:
    with model_lock(_study):
        found = _study.concepts(**{argument: text}, limit=limit)
    return found.ids, found.relevance or [0.0] * len(found.ids)


def vocabulary(study: Study) -> list[str]:
    """The text of every token id of the study's model."""
    return _vocabulary(str(study.folder), study)


@st.cache_resource(max_entries=4, show_spinner=False)
def _vocabulary(folder: str, _study: Study) -> list[str]:
    return _study.model.vocabulary()


def known_pairs(study: Study) -> tuple[pd.DataFrame | None, bool]:
    """The newest recorded comparison of methods, or None, and whether runs have come since; nothing is computed."""
    newest, stale = newest_comparison(study)
    return None if newest is None else _pairs(str(study.folder), newest, study), stale


@st.cache_resource(max_entries=8, show_spinner=False)
def _pairs(folder: str, run: str, _study: Study) -> pd.DataFrame:
    return _study.get_run(run).tables["pairs"]


@st.cache_resource(max_entries=32, show_spinner=False)
def _lock(folder: str) -> threading.Lock:
    return threading.Lock()


@contextmanager
def model_lock(study: Study, wait: float = BUSY_SECONDS) -> Iterator[None]:
    """Hold the study's model: an examination edits it while it runs, and nobody else may read it meanwhile.

    Raises:
        StudyError: It is busy for longer than ``wait`` seconds.
    """
    lock = _lock(str(study.folder))
    if not lock.acquire(timeout=wait):
        raise StudyError("The model is busy with an examination or a report; wait until it is done and try again.")
    try:
        yield
    finally:
        lock.release()


@contextmanager
def one_thread(study: Study) -> Iterator[None]:
    """Give a small model one core while it writes token by token; for use under `model_lock`.

    The work of a token is over before a second thread has got hold of it, and the browser beside it needs a core to show it.
    """
    import torch

    model, before = study.model, torch.get_num_threads()
    small = max(model.width(site) for site in model.match("resid_post.*")) <= SMALL_WIDTH
    if small:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if small:
            torch.set_num_threads(before)


@st.cache_resource(show_spinner=False)
def warm_up() -> threading.Thread:
    """Import torch and the rest behind the first page, so that the page which needs them does not wait."""
    thread = threading.Thread(target=_import_slow, name="warm-up", daemon=True)
    thread.start()
    return thread


def wait_for_engine() -> None:
    """Wait until everything slow is imported.

    torch, transformers and transformer-lens import each other in circles. Two threads that import them at once can each get
    half of one, so the warm-up is the only thread that does, and what needs them waits here.
    """
    warm_up().join()


def _import_slow() -> None:
    from importlib import import_module

    # A missing or broken library raises where it is used.
    with suppress(ImportError):
        for name in SLOW_MODULES:
            import_module(name)
        from workbench.models.pretrained import import_libraries

        import_libraries()
    # Streamlit collects garbage after every drawing of a page, which takes half a second with all the objects of these modules.
    gc.collect()
    gc.freeze()
    # Unfrozen at exit: libraries in C++ would report the objects as leaks.
    atexit.register(gc.unfreeze)
