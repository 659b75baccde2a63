"""One cluster for the tests of a file: its workers take seconds to start."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

STORE = 200_000_000


@pytest.fixture(scope="module")
def sets_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the workers of the cluster keep sets that they fetch."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def ray(sets_home: Path) -> Iterator[Any]:
    """Two workers that are kept for all of them."""
    pytest.importorskip("ray")
    import torch

    from workbench.engines import cluster

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(sets_home)
    try:
        with cluster.Ray(workers=2, store=STORE) as engine:
            yield engine
    finally:
        torch.set_num_threads(threads)
        if before is None:
            del os.environ["XDG_CACHE_HOME"]
        else:
            os.environ["XDG_CACHE_HOME"] = before
