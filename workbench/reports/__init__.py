"""One HTML file that stands alone, and the tables as files."""

from __future__ import annotations

from workbench.reports.export import export_run, export_tables
from workbench.reports.highlight import highlight, visible
from workbench.reports.report import write_report

__all__ = ["export_run", "export_tables", "highlight", "visible", "write_report"]
