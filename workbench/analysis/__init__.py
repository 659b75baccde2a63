"""The contract of a method: what it is configured with, what it may read, and what it returns."""

from workbench.analysis.contract import Analysis, Context, Result, find_analysis, register
from workbench.analysis.failures import CANNOT_MEASURE, failed_rows, measured, reason
from workbench.analysis.inputs import Input
from workbench.analysis.planted import Planted
from workbench.analysis.sites import SiteAnalysis
from workbench.metrics import Metric
from workbench.registry import analysis_names

__all__ = [
    "CANNOT_MEASURE", "Analysis", "Context", "Input", "Metric", "Planted", "Result", "SiteAnalysis", "analysis_names",
    "failed_rows", "find_analysis", "measured", "reason", "register",
]  # fmt: skip
