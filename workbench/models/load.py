"""One way to load any model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from torch import nn

from workbench.errors import ConfigError
from workbench.models.base import Model
from workbench.models.packaged import PACKAGED

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?", re.ASCII)


def load_model(spec: str | Path | nn.Module, **options: Any) -> Model:
    """A model by its bundled name, its local Hugging Face folder, its hub name, or a torch module of your
    own.

    Options of text models: ``max_length`` (tokens; texts are cut there, 128 when left out), ``bos``, ``special``, ``device``,
    ``dtype`` (``float32``, ``bfloat16`` or ``float16``) and ``device_map`` (several GPUs; needs accelerate). Of a module:
    ``preprocess``, ``name``, ``example``, ``classes``, ``device``. ``load_model(**model.source)`` gives a model back, unless
    it came from a module. Without ``device`` it is the one that `workbench.models.devices.choose_device` finds: a GPU where
    there is one.

    Raises `UnknownNameError` when a name leads nowhere, `ConfigError` when a model or an option cannot be
    used.
    """
    try:
        return _load(spec, options)
    except TypeError as error:
        if "unexpected keyword argument" in str(error) and options:
            raise ConfigError(f"Loading this model takes no such option: {', '.join(options)}.") from error
        raise


def _load(spec: str | Path | nn.Module, options: dict[str, Any]) -> Model:
    if isinstance(spec, nn.Module):
        from workbench.models.module import load_module

        return load_module(spec, **options)
    name = str(spec)
    if name in PACKAGED:
        return PACKAGED[name](**options)
    from workbench.models.pretrained import load_pretrained, unknown_model

    known = {key: value for key, value in options.items() if key not in {"device", "device_map"}}
    folder = Path(name).expanduser()
    if folder.is_dir():
        path = str(folder.resolve())
        return load_pretrained(path, name=folder.resolve().name, source={"spec": path, **known}, **options)
    if not _HUB_NAME.fullmatch(name):
        raise unknown_model(name)
    return load_pretrained(name, name=name, source={"spec": name, **known}, **options)
