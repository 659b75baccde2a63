"""Intermediate results of a run, kept until it is finished, so that the same call after a crash resumes from them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from workbench.errors import StudyError, disk_errors
from workbench.paths import child, remove_tree, require_plain
from workbench.shapes import read_shaped, read_tensors
from workbench.writing import folder_beside

Made = tuple[dict[str, Tensor], dict[str, Any]]
"""Tensors by name, and facts that JSON can hold."""


class Unfinished:
    """A folder of intermediate results of one run.

    Args:
        folder: Where they are written; made when there is something to write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def once(self, name: str, make: Callable[[], Made]) -> Made:
        """The result of ``make``, written before it is returned; a result of an earlier attempt is returned unchanged."""
        place = child(self.folder, name)
        if (found := _read(place)) is not None:
            return found
        tensors, facts = make()
        with disk_errors("the intermediate results"), folder_beside(place) as partial:
            save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, partial / "tensors.safetensors")
            (partial / "facts.json").write_text(json.dumps(facts))
            # An unreadable earlier result is in the way.
            remove_tree(place, ignore_errors=True)
        return tensors, facts

    def clear(self) -> None:
        """Remove all of it: the run is finished."""
        remove_tree(self.folder, ignore_errors=True)


def _read(place: Path) -> Made | None:
    try:
        require_plain(place)
        # Facts may hold numbers that are not finite, such as a loss.
        return read_tensors(place / "tensors.safetensors"), read_shaped(place / "facts.json", dict[str, Any], numbers=False)
    except StudyError:
        # Missing or incomplete: it is computed again.
        return None
