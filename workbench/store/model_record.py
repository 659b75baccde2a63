"""The record of the one model of a study."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from workbench.errors import StudyError

if TYPE_CHECKING:
    from workbench.store.stored_study import StoredStudy


def require_same_model(study: StoredStudy, described: dict[str, Any]) -> None:
    """Record the model of a new study; refuse another model for a study that has one.

    Raises:
        StudyError: The weights differ from those that the study was made with.
    """
    record = study.known_model()
    if record is None:
        study.catalog.set_info("model", json.dumps(described))
        return
    if record["weights_hash"] != described["weights_hash"]:
        raise StudyError(
            f"Study '{study.name}' was made with the model {weights_text(record)}, not with {weights_text(described)}. Open"
            " another study for it."
        )


def weights_text(described: dict[str, Any]) -> str:
    """Name, weights and type of a model that `Model.describe` describes, for a sentence that tells two apart."""
    dtype = dict(described.get("source", {})).get("dtype", "float32")
    return f"'{described['name']}' in {dtype} (weights {described['weights_hash'][:8]})"
