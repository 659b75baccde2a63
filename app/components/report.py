"""The button that builds a report and the one that saves it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from app import state
from app.components.download import download, file_name
from workbench.progress import Progress
from workbench.study import Study


def report_button(study: Study, concept: str | None = None) -> None:
    """Build the report of a study, or of one concept in it, and download it as a file."""
    key = ("report", str(study.folder), concept or "")
    what = "A page of this concept" if concept else "The whole study"
    download(
        key, ("Build report", "Building the report"), lambda show: build(study, concept, show), "Download report (HTML)",
        file_name(study.name, *([concept] if concept else []), ending=".html"), "text/html",
        lambda: state.version(study), help=f"{what} as one HTML file that opens without a network.",
    )  # fmt: skip


def build(study: Study, concept: str | None, show: Progress) -> bytes:
    """The report's bytes."""
    show(0, 1, "comparing methods, drawing figures")
    with state.model_lock(study), tempfile.TemporaryDirectory() as folder:
        path = study.report(Path(folder) / "report.html", concepts=[concept] if concept else None)
        return path.read_bytes()
