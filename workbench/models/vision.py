"""Image encoders and classifiers from a Hugging Face folder or from the hub, by the image processor that was saved with them."""

from __future__ import annotations

import json
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, isqrt
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from workbench.errors import ConfigError, DataError
from workbench.models.batch import Batch, Output
from workbench.models.hooks import HookPoint, Whole, hooked
from workbench.models.images import Images, rgb
from workbench.models.module import ModuleModel
from workbench.shapes import parse_json
from workbench.sites import Site

PROCESSOR_FILE = "preprocessor_config.json"
_MOST_EXTRA = 8


@dataclass(frozen=True)
class Behind:
    """The rows of an output ``[b, t, d]`` behind its first ``count``, which stand for no place in the image, such as [CLS]."""

    count: int

    def rows(self, output: Tensor) -> Float[Tensor, "b t d"]:
        """The rows of the patches."""
        return output[:, self.count :]

    def put(self, rows: Float[Tensor, "b t d"], output: Tensor) -> Tensor:
        """The output with these rows in it."""
        return torch.cat([output[:, : self.count], rows], dim=1)


@dataclass(frozen=True)
class ChannelsLast:
    """An output ``[b, h, w, c]`` as rows in raster order."""

    def rows(self, output: Tensor) -> Float[Tensor, "b t d"]:
        """The output as rows."""
        return output.flatten(1, 2)

    def put(self, rows: Float[Tensor, "b t d"], output: Tensor) -> Tensor:
        """The rows in the shape of the output."""
        return rows.reshape(output.shape)


class VisionModel(ModuleModel):
    """A Hugging Face image model: its sites are ``layer:<module path>``, a row for each place in the image.

    Tokens that stand for no place, such as [CLS], have no rows unless the model was loaded with ``special``. The pooled output
    is the input of the classifier, or, without one, the mean of the last hidden state.
    """

    def __init__(self, net: nn.Module, reader: Images, trial: Batch, *, special: bool = False, **known: Any) -> None:
        self._special, self._size = special, tuple(trial.inputs["pixels"].shape[1:])
        self._grids: dict[Site, tuple[int, int]] = {}
        super().__init__(net, reader, trial, kind="vision", modality="image", **known)
        self._place(trial)
        if not self._same_again(trial):
            raise ConfigError(f"{self.name} gives other numbers at each pass, as models do that hide parts of images at random.")

    def batch(self, inputs: Sequence[Any], device: str | None = None, positions: str = "content") -> Batch:
        """Images as pixels. `DataError` where the processor makes an image of another size than others: places would differ."""
        batch = super().batch(inputs, device, positions)
        size = tuple(batch.inputs["pixels"].shape[1:])
        if size != self._size:
            raise DataError(
                f"The image processor of {self.name} makes {size[1]} by {size[2]} pixels of an image, and {self._size[1]} by"
                f" {self._size[2]} of others: set one size in its {PROCESSOR_FILE}, such as by do_center_crop."
            )
        return batch

    def grid(self, site: str | Site) -> tuple[int, int]:
        """Height and width of the grid of an image's rows at this site."""
        place = self.site(site)
        return self._grids.get(place) or super().grid(place)

    def _place(self, trial: Batch) -> None:
        """Find out, of each site, where in the image its rows are."""
        pixels = trial.inputs["pixels"]
        size = (int(pixels.shape[-2]), int(pixels.shape[-1]))
        last = _channels_last(self.net, pixels)
        config: Any = self.net.config
        for site, point in list(self._hook_points.items()):
            if len(point.shape) == 4 and site.path in last:
                self._grids[site] = (point.shape[1], point.shape[2])
                self._hook_points[site] = HookPoint(site, point.module, ChannelsLast(), point.shape[3], point.shape)
            elif len(point.shape) == 3:
                found = _patches(point.shape[1], size, getattr(config, "patch_size", None))
                if found is None:
                    # Such as the output of a pooler, whose rows are no places.
                    del self._hook_points[site]
                    continue
                extra, grid = found
                if extra and self._special:
                    continue
                self._grids[site] = grid
                self._hook_points[site] = HookPoint(
                    site, point.module, Behind(extra) if extra else Whole(), point.width, point.shape
                )

    def _same_again(self, trial: Batch) -> bool:
        first, second = (self.forward(trial)[0].pooled for _ in range(2))
        return torch.equal(first, second)

    def _output(self, raw: Any, batch: Batch, seen: Mapping[Site, Tensor]) -> Output:
        hidden = getattr(raw, "last_hidden_state", None)
        if hidden is None:
            return super()._output(raw, batch, seen)
        # A pooler that is not in the file would be random.
        return Output(hidden.flatten(2).mean(2) if hidden.dim() == 4 else hidden.mean(1))


def vision_reader(path: str, name: str, device: str) -> Images:
    """What makes tensors of images, as the model's image processor says.

    Raises:
        ConfigError: There is none, or it makes no pixels.
    """
    from transformers import AutoImageProcessor

    if Path(path).is_dir() and not (Path(path) / PROCESSOR_FILE).is_file():
        raise ConfigError(f"{path} has no {PROCESSOR_FILE}: save the model's image processor there, with save_pretrained.")
    processor = AutoImageProcessor.from_pretrained(path, trust_remote_code=False)

    def preprocess(image: Any) -> Any:
        return processor(images=rgb(image), return_tensors="pt")["pixel_values"][0]

    settings = parse_json(json.dumps(processor.to_dict(), default=str), numbers=False, halves=True)
    options = {key: value for key, value in settings.items() if value is not None and not key.startswith("_")}
    reader = Images(preprocess, {"processor": type(processor).__name__, "settings": options}, device)
    try:
        reader.batch([noise()])
    except Exception as error:  # Processors raise anything when their settings do not fit.
        raise ConfigError(
            f"The image processor of {name} makes no pixels of an image ({error}): check {PROCESSOR_FILE}."
        ) from error
    return reader


def noise() -> np.ndarray:
    """A fixed random image for trying a model."""
    return np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)


def class_names(config: Any) -> tuple[str, ...] | None:
    """The classes of a classifier, in the order of its outputs; None where the config has no names."""
    names = {int(number): str(name) for number, name in (config.id2label or {}).items()}
    return tuple(names[number] for number in sorted(names)) or None


def _patches(length: int, size: tuple[int, int], patch: Any) -> tuple[int, tuple[int, int]] | None:
    """How many of so many rows come before those of places, and the grid of the places; None where they are no places."""
    if isinstance(patch, int):
        patch = (patch, patch)
    if isinstance(patch, list | tuple) and len(patch) == 2:
        height, width = size[0] // patch[0], size[1] // patch[1]
        # Stages that halve the grid, as Swin's do.
        for times in range(6):
            grid = (ceil(height / 2**times), ceil(width / 2**times))
            if length == grid[0] * grid[1]:
                return 0, grid
        if 0 < length - height * width <= _MOST_EXTRA:
            return length - height * width, (height, width)
        return None
    side = isqrt(length)
    return 0, (side, side) if side * side == length and size[0] == size[1] else (1, length)


def _channels_last(net: nn.Module, pixels: Tensor) -> set[str]:
    """The modules whose four-dimensional output has its channels last.

    A linear layer's has, and a layer norm's; a module without weights keeps what it was given; one that is made of others has
    what the last of them with an output of that shape has.
    """
    found: set[str] = set()
    outputs: list[weakref.ref[Tensor]] = []
    fired: dict[str, tuple[int, ...]] = {}

    def note(name: str, module: nn.Module) -> Any:
        def run(_module: nn.Module, inputs: Any, output: Any) -> None:
            tensor = output[0] if isinstance(output, tuple) and output else output
            if not isinstance(tensor, Tensor) or tensor.dim() != 4:
                return
            given = inputs[0] if inputs else None
            inside = [child for child, shape in fired.items() if child.startswith(f"{name}.") and shape == tuple(tensor.shape)]
            if isinstance(module, nn.Linear):
                last = True
            elif hasattr(module, "normalized_shape"):
                last = getattr(module, "data_format", "channels_last") == "channels_last"
            elif inside:
                last = inside[-1] in found
            else:
                same = any(get_output() is given for get_output in outputs) if given is not None else False
                last = same and not any(True for _ in module.parameters())
            fired.pop(name, None)
            fired[name] = tuple(tensor.shape)
            if last:
                found.add(name)
                outputs.append(weakref.ref(tensor))

        return run

    with hooked({module: note(name, module) for name, module in net.named_modules() if name}), torch.no_grad():
        net(pixels)
    return found
