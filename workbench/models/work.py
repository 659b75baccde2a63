"""How much work it is for a model to read each of some inputs, for estimates of the time left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from workbench.models.batch import InputError
from workbench.progress import CHARACTERS_A_TOKEN, text_work

if TYPE_CHECKING:
    from workbench.models.base import Model

_LOOKED_AT = 32


def reading_work(model: Model, inputs: Sequence[object]) -> list[int]:
    """About how much work each input is: the characters of a text, as far as the model reads it; the same for every image."""
    if model.modality == "image":
        return [1] * len(inputs)
    return text_work(inputs, model.max_length, _characters_a_token(model, inputs))


def _characters_a_token(model: Model, inputs: Sequence[object]) -> float:
    """How many characters a token has, by the beginnings of a few texts: from a third of one (bytes) to six (words)."""
    places = np.unique(np.linspace(0, len(inputs) - 1, min(len(inputs), _LOOKED_AT)).astype(int))
    # So short that even tokens of one character are not cut off.
    some = [text for text in (str(inputs[i])[: max(model.max_length // 2, 1)].strip() for i in places) if text]
    try:
        tokens = int(model.batch(some).keep.sum()) if some else 0
    except InputError:
        # One in which the tokenizer finds nothing.
        tokens = 0
    return sum(map(len, some)) / tokens if tokens else CHARACTERS_A_TOKEN
