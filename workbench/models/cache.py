"""The cache folder of the workbench."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """``concept-workbench`` in the user's cache directory: converted weights, hashes of weights, results of checks."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "concept-workbench"
