"""The trial that every concept stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.evidence.family import Family, Tried, load_installed, register
from workbench.evidence.metrics import BY_KEY, QUESTIONS, TRIAL

if TYPE_CHECKING:
    import pandas as pd

    from workbench.study import Study

__all__ = ["BY_KEY", "QUESTIONS", "TRIAL", "Family", "Tried", "examine", "register"]

load_installed()


def examine(study: Study, concepts: Any, dataset: Any = None, **options: Any) -> pd.DataFrame:
    """Put concepts on trial; see :func:`workbench.evidence.trial.examine`."""
    from workbench.evidence.trial import examine as run

    return run(study, concepts, dataset, **options)
