"""One HTML file that stands alone, and the tables as files."""

from __future__ import annotations

from workbench.reports.export import export_run, export_tables, zip_tables
from workbench.reports.highlight import highlight, visible
from workbench.reports.report import SECTIONS, choose, expected_bytes, write_report

__all__ = [
    "SECTIONS", "choose", "expected_bytes", "export_run", "export_tables", "highlight", "visible", "write_report", "zip_tables",
]  # fmt: skip
