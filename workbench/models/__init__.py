"""Load a model, name its sites, run it, and edit it while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.sites import Site

if TYPE_CHECKING:
    from workbench.models.base import Model
    from workbench.models.batch import Batch, Output
    from workbench.models.load import load_model
    from workbench.models.small import ModelBuilder, SmallModel

__all__ = ["Batch", "Model", "ModelBuilder", "Output", "Site", "SmallModel", "load_model"]

_HOMES = {
    "Batch": "batch", "Model": "base", "ModelBuilder": "small", "Output": "batch", "SmallModel": "small", "load_model": "load",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    # Torch takes seconds to import; a site can be parsed without it.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
