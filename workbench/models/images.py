"""Images as tensors."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from workbench.datasets.images import on_one_scale, read_image
from workbench.errors import ConfigError, DataError
from workbench.models.batch import Batch

Preprocess = Callable[[Any], Any]


class Images:
    """Stacks what ``preprocess`` makes of each input; without one, inputs are taken as numbers."""

    def __init__(self, preprocess: Preprocess | None, options: dict[str, Any] | None = None, device: str = "cpu") -> None:
        self.preprocess = preprocess
        self.device = device
        self._options = options if options is not None else {"preprocess": _fingerprint(preprocess)}

    def batch(self, images: Sequence[Any], device: str | None = None, positions: str = "content") -> Batch:
        """Float tensors ``[b, …]`` under the name ``pixels``."""
        if positions != "content":
            raise ConfigError(f"The positions '{positions}' are of conversations, and this model reads images.")
        tensors = [self._tensor(image, row) for row, image in enumerate(images)]
        if not tensors:
            raise DataError("There is no image to read: give at least one.")
        for row, tensor in enumerate(tensors):
            if tensor.shape != tensors[0].shape:
                raise DataError(
                    f"Input {row} has the shape {list(tensor.shape)} and the first one {list(tensors[0].shape)}:"
                    " give a preprocess function that makes them alike."
                )
        mask = torch.ones(len(tensors), 1, dtype=torch.bool)
        return Batch({"pixels": torch.stack(tensors)}, mask, mask).to(device or self.device)

    def options(self) -> dict[str, Any]:
        """JSON: how images are prepared."""
        return self._options

    def _tensor(self, image: Any, row: int) -> torch.Tensor:
        try:
            prepared = image if self.preprocess is None else self.preprocess(image)
            tensor = prepared if isinstance(prepared, torch.Tensor) else torch.from_numpy(np.array(prepared, np.float32))
        except DataError as error:
            raise DataError(f"Input {row}: {error}") from error
        except (TypeError, ValueError) as error:
            raise DataError(f"Input {row} cannot be made a tensor ({error}): check the preprocess.") from error
        return tensor.detach().float()


def rgb(image: Any) -> Image.Image:
    """A Pillow image, or a uint8 array ``[h, w]`` or ``[h, w, 3]``, as red, green and blue; the former as a data set reads it."""
    array = on_one_scale([read_image(image, None, 0)])[0] if isinstance(image, Image.Image) else np.asarray(image)
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)):
        raise DataError(f"an image is a uint8 array [h, w] or [h, w, 3], not {array.dtype} {list(array.shape)}.")
    return Image.fromarray(array).convert("RGB")


def scaled(size: int, mean: float, scale: float) -> Preprocess:
    """Resize to a square by bicubic interpolation; ``(pixel - mean) / scale`` as ``[3, size, size]``."""

    def preprocess(image: Any) -> np.ndarray:
        small = rgb(image).resize((size, size), Image.Resampling.BICUBIC)
        return ((np.asarray(small, np.float32) - mean) / scale).transpose(2, 0, 1)

    return preprocess


def _fingerprint(preprocess: Preprocess | None) -> str | None:
    if preprocess is None:
        return None
    qualified = getattr(preprocess, "__qualname__", type(preprocess).__name__)
    name = f"{getattr(preprocess, '__module__', '')}.{qualified}"
    try:
        text = inspect.getsource(preprocess)
    except (OSError, TypeError):
        text = repr(type(preprocess))
    return f"{name} {hashlib.sha256(text.encode()).hexdigest()[:16]}"
