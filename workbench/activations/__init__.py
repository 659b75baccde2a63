"""Capture activations to disk and read them back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.activations.manifest import Manifest
from workbench.activations.store import ActivationSet

if TYPE_CHECKING:
    from workbench.activations.capturing import capture

__all__ = ["ActivationSet", "Manifest", "capture"]


def __getattr__(name: str) -> Any:
    # Reading a set needs no torch; capturing one does.
    if name != "capture":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return import_module(f"{__name__}.capturing").capture
