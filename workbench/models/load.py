"""One way to load any model."""

from __future__ import annotations

from typing import Any

from torch import nn

from workbench.models.base import Model
from workbench.models.packaged import PACKAGED


def load_model(spec: str | nn.Module, **options: Any) -> Model:
    """A model by its bundled name, its local folder, its hub name, or a torch module of your own."""
    return PACKAGED[str(spec)](**options)
