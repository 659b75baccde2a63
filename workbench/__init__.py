"""Concept Workbench: find, name, test and intervene on the concepts inside a model.

A concept is the same object whichever method found it, and every concept stands the same trial::

    import workbench as wb
    study = wb.open_study("studies/topics")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.analysis import register
    from workbench.concepts import ConceptSet, LinearConcepts
    from workbench.concepts.dictionary import DictionaryConcepts
    from workbench.datasets import Dataset, dataset_from_table, load_dataset, load_vocabulary
    from workbench.edits import Edit, Edits, clamp, project_out, steer
    from workbench.errors import WorkbenchError
    from workbench.evidence.calibration import calibration
    from workbench.models import Model, Site, load_model
    from workbench.opening import open_study, unpack
    from workbench.recipes import Recipe, RecipeStep
    from workbench.registry import analysis_names
    from workbench.study import Study
    from workbench.tokens.direct import logit_lens

__version__ = "0.1.0"

# Torch and the libraries on it take seconds to import, so each name is fetched when it is first used.
_HOMES = {
    "analysis_names": "workbench.registry",
    "calibration": "workbench.evidence.calibration",
    "register": "workbench.analysis",
    "ConceptSet": "workbench.concepts",
    "LinearConcepts": "workbench.concepts",
    "DictionaryConcepts": "workbench.concepts.dictionary",
    "Dataset": "workbench.datasets",
    "dataset_from_table": "workbench.datasets",
    "load_dataset": "workbench.datasets",
    "load_vocabulary": "workbench.datasets",
    "Edit": "workbench.edits",
    "Edits": "workbench.edits",
    "clamp": "workbench.edits",
    "project_out": "workbench.edits",
    "steer": "workbench.edits",
    "WorkbenchError": "workbench.errors",
    "Model": "workbench.models",
    "Site": "workbench.models",
    "load_model": "workbench.models",
    "Recipe": "workbench.recipes",
    "RecipeStep": "workbench.recipes",
    "logit_lens": "workbench.tokens.direct",
    "Study": "workbench.study",
    "open_study": "workbench.opening",
    "unpack": "workbench.opening",
}

__all__ = [
    "ConceptSet", "Dataset", "DictionaryConcepts", "Edit", "Edits", "LinearConcepts", "Model", "Recipe", "RecipeStep", "Site",
    "Study", "WorkbenchError", "__version__", "analysis_names", "calibration", "clamp", "dataset_from_table", "load_dataset",
    "load_model", "load_vocabulary", "logit_lens", "open_study", "project_out", "register", "steer", "unpack",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'workbench' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
