"""What comes into a study from elsewhere, and what leaves it as plain files."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from app import jobs, state
from app.components.download import download, file_name
from app.components.page import empty, heading
from app.components.sign_in import no_writing
from app.components.text import literal, sentence
from app.components.uploads import called_as_uploaded, reached, saved
from app.notes import show_notes
from app.tables import set_label
from app.writer import Writer, writer_of
from workbench.errors import ConfigError
from workbench.progress import Progress
from workbench.serving import roots
from workbench.store.exchange import export_table, table_names
from workbench.study import Study

LEFT_OUT = "(left out)"
POOLS = ("mean", "max", "last")
DTYPES = ("float16", "float32", "bfloat16")
MIME = {".csv": "text/csv", ".parquet": "application/vnd.apache.parquet"}
TABLE, CONCEPTS, ACTIVATIONS, STUDY = "a table", "a run's concepts", "activations", "the whole study"


def import_activations(study: Study) -> None:
    """Import a folder of activations that something else made."""
    heading(
        "Import activations",
        "SITE.npy or SITE.safetensors for every site, and rows.csv or rows.parquet; or a Hugging Face data set on disk. The files"
        " are uploaded, or lie in a folder on the machine that serves this app.",
    )
    if (writer := writer_of(study)) is None:
        no_writing(study)
        return
    go, options, files, table = _import_form(study)
    key = ("import", str(study.folder))
    if go:
        if "folder" not in options and not files:
            raise ConfigError("Say which folder the activations are in, or upload the files.")
        jobs.start(
            key, "Importing activations", lambda show: _import(writer, options, files, [table] if table else [], show)
        )  # fmt: skip
        st.rerun()
    job = jobs.find_job(key)
    if job is None:
        return
    if not job.finished:
        jobs.watch(key)
    elif job.error:
        st.error(sentence(job.error))
    else:
        show_notes(job.notes)
        st.success(literal(f"Imported {job.result}.", 400))


def _import_form(study: Study) -> tuple[bool, dict[str, Any], list[UploadedFile], UploadedFile | None]:
    """The form: whether it was sent, the options that were filled in, and what was uploaded."""
    with st.form(f"import {study.folder}", border=True):
        files = st.file_uploader(
            "Files of activations, and the table of rows", type=["npy", "safetensors", "csv", "parquet"],
            accept_multiple_files=True, key="import files",
        )  # fmt: skip
        asked = {"folder": st.text_input("Or a folder", placeholder="/data/activations", key="import folder", help=reached())}
        left, right = st.columns(2)
        table = left.file_uploader(
            "Data", type=["csv", "tsv", "jsonl", "parquet"], key="import data file",
            help="The texts whose examples the rows number. Otherwise they are made of the table of rows.",
        )  # fmt: skip
        asked["data"] = right.text_input(
            "Or data by a bundled name or a path", placeholder=LEFT_OUT, key="import data", help=reached()
        )
        asked["rows"] = left.text_input(
            "Table of rows", placeholder=LEFT_OUT, key="import rows", help=f"When it is not in the folder. {reached()}"
        )
        asked["model"] = right.text_input(
            "Model", placeholder=LEFT_OUT, key="import model", help="What to call the model that made them."
        )
        asked["text"] = right.text_input(
            "Column with the texts", placeholder=LEFT_OUT, key="import text", help="Of the data; guessed when it is left out."
        )
        asked["encoding"] = left.text_input(
            "Encoding of the data", placeholder="guessed", key="import encoding", help="Such as cp1252, where it cannot be told."
        )
        labels = left.multiselect(
            "Columns with labels", [], accept_new_options=True, placeholder=LEFT_OUT, key="import labels", help="Of the data."
        )
        pool = right.selectbox(
            "Rows without positions are", POOLS, index=None, placeholder=LEFT_OUT, key="import pool",
            help="How one row came of a whole text.",
        )  # fmt: skip
        dtype = left.selectbox("Numbers on disk", DTYPES, index=None, placeholder="as they are", key="import dtype")
        go = st.form_submit_button("Import", icon=":material/download:", type="primary")
    options: dict[str, Any] = {name: text.strip() for name, text in asked.items() if text.strip()}
    options |= {"labels": [str(label) for label in labels]} if labels else {}
    options |= {name: value for name, value in (("pool", pool), ("store_dtype", dtype)) if value}
    return go, options, files, table


def _import(
    writer: Writer, asked: dict[str, Any], files: list[UploadedFile], table: list[UploadedFile], show: Progress
) -> str:  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch, called_as_uploaded(Path(scratch)):
        folder: str | Path = asked.get("folder", "")
        asked = {name: value for name, value in asked.items() if name != "folder"}
        if table:
            asked["data"] = saved(table, Path(scratch) / "data")[0]
        if files:
            # Named in the study's data, so it is called what it is.
            folder = Path(scratch) / "uploaded"
            saved(files, folder)
        return writer.import_activations(folder, asked, show)


def export(study: Study) -> None:
    """Choose what leaves the study, and save it."""
    heading("Export", "As files that other programs read.")
    what = st.segmented_control(
        "What",
        [TABLE, CONCEPTS, ACTIVATIONS, STUDY],
        default=TABLE,
        required=True,
        key="export what",
        label_visibility="collapsed",
    )
    {TABLE: _table, CONCEPTS: _concepts, ACTIVATIONS: _activations, STUDY: _study}[str(what)](study)


def _table(study: Study) -> None:
    left, right = st.columns([3, 1])
    name = str(left.selectbox("Table", _table_names(str(study.folder), state.version(study), study), key="table"))
    ending = str(right.selectbox("As", list(MIME), format_func=lambda e: e.removeprefix("."), key="table as"))
    raw = ending == ".csv" and st.toggle(
        "Texts as they are", help="Otherwise a text that a spreadsheet would run as a formula begins with an apostrophe."
    )
    key = ("table", str(study.folder), name, ending, str(raw))
    download(
        key, ("Write the table", "Writing the table"), lambda _show: _written(study, name, ending, raw),
        literal(f"Save {name}", 90), file_name(study.name, name, ending=ending), MIME[ending],
        lambda: state.version(study),
    )  # fmt: skip


@st.cache_resource(max_entries=8, show_spinner=False)
def _table_names(folder: str, key: state.Version, _study: Study) -> list[str]:
    return table_names(_study)


def _written(study: Study, table: str, ending: str, raw: bool) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return export_table(study, table, Path(folder) / f"table{ending}", raw).read_bytes()


def _concepts(study: Study) -> None:
    found = [str(run) for run in state.concept_frame(study)["run"].unique()]
    if not found:
        empty("No run has found concepts yet. Run an analysis first:", f"workbench run {study.name} linear_probe")
        return
    run = str(st.selectbox("Run", found[::-1], key="take run", help="An SAE is written in the format of sae-lens."))
    download(
        ("concepts", str(study.folder), run), ("Pack the concepts", "Packing the concepts"),
        lambda _show: _zipped_run(study, run), "Save weights and tables (zip)",
        file_name(study.name, run, ending=".zip"), "application/zip",
    )  # fmt: skip


def _zipped_run(study: Study, run: str) -> bytes:
    import shutil

    from workbench.reports import export_run

    with tempfile.TemporaryDirectory() as folder:
        export_run(study.get_run(run), Path(folder) / "out")
        return Path(shutil.make_archive(f"{folder}/run", "zip", f"{folder}/out")).read_bytes()


def _activations(study: Study) -> None:
    if (writer := writer_of(study)) is None:
        no_writing(study)
        return
    sets = {acts.id: acts for acts in study.activations()}
    if not sets:
        empty("There are no activations yet. Capture some first:", f"workbench capture {study.name} --model … --data …")
        return
    chosen = str(
        st.selectbox(
            "Activations", list(sets)[::-1], key="take set",
            format_func=lambda i: set_label(sets[i]),
        )
    )  # fmt: skip
    sites = [
        str(s) for s in st.multiselect("Sites", list(map(str, sets[chosen].sites)), placeholder="all of them", key="take sites")
    ]
    about = "A folder that does not exist yet, on the machine that serves this app: activations are too large for a browser."
    place = next((root for root in roots() if root != study.folder), study.folder)
    folder = st.text_input(
        "Folder", value=str(place / f"{study.name}-{chosen[:8]}"), help=f"{about} {reached()}", key=f"take folder {chosen}"
    )
    job = jobs.button(
        ("export", str(study.folder), chosen, *sites, folder), "Write safetensors", "Writing",
        lambda show: writer.export_activations(chosen, sites, folder, show), icon=":material/save:",
    )  # fmt: skip
    if job is not None:
        st.success(literal(f"Wrote {job.result} files into {folder}.", 600))


def _study(study: Study) -> None:
    st.html(
        '<div class="cw-soft">One file for others, or for beside a paper: catalog, runs and texts. Activations are left out,'
        " since the model and the data make them again; <code>workbench pack --activations</code> puts them in.</div>"
    )
    if study.remote and writer_of(study) is None:
        # Packing fetches what is only there into the study.
        no_writing(study)
        return
    download(
        ("pack", str(study.folder)), ("Pack the study", "Packing the study"),
        lambda show: _packed(study, show), "Save the study (zip)", file_name(study.name, ending=".zip"), "application/zip",
        lambda: state.version(study),
    )  # fmt: skip


def _packed(study: Study, show: Progress) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return study.pack(Path(folder) / "study.zip", progress=show).read_bytes()
