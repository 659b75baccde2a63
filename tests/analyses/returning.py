"""An analysis that returns what a test gives it."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from workbench.analysis import Analysis, Context, Metric, Result, register


@register
class Returns(Analysis):
    """An analysis that returns what a test puts here."""

    name: ClassVar[str] = "returns"
    title: ClassVar[str] = "Returns"
    method: ClassVar[str] = "none"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("returns.known", "known", "A number."), Metric("detects.auroc", "AUROC", "A metric of the trial's."),
    )  # fmt: skip
    result: ClassVar[Callable[[], Result]]

    def run(self, context: Context) -> Result:
        """What was put here."""
        return type(self).result()
