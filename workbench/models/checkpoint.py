"""Checks of a saved model's folder before a library opens it, since folders may come from strangers."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from workbench.errors import ConfigError, StudyError
from workbench.paths import is_file, is_name, read_bytes, shown
from workbench.shapes import ShapeError, parse_json

CONFIG = "config.json"
# Small files that the libraries read as JSON, to any depth.
_SETTINGS = (CONFIG, "generation_config.json", "tokenizer_config.json", "special_tokens_map.json", "preprocessor_config.json")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.txt", "vocab.json", "spiece.model")
_ADAPTER = "adapter_config.json"
# Settings that count layers or experts, each of which has weights of its own.
_PARTS = re.compile(r"(n|num)_(\w+_)?(layers?|blocks?|experts?)|\w+_layers|depth")
_MOST_PARTS = 1000
"""So many parts are accepted without as many tensors, because layers may share weights."""
_MOST_HEADER = 100 * 2**20


def check_folder(folder: Path) -> None:
    """See that a folder holds a model whose weights are safetensors in it, and settings that fit them.

    Raises:
        ConfigError: It does not; the sentence says what to do.
    """
    names = {path.name: path for path in folder.iterdir()}
    if CONFIG not in names:
        raise ConfigError(f"{folder} has no config.json: give the folder of a saved Hugging Face model.")
    if _ADAPTER in names:
        raise ConfigError(
            f"{folder} holds an adapter ({_ADAPTER}), which is not read: merge it into its model, save that, and remove the file."
        )
    if not any(name.endswith(".safetensors") for name in names):
        if any(name.endswith((".bin", ".pt", ".pth")) for name in names):
            raise ConfigError(
                f"{folder} has its weights as a pickle, which is never opened:"
                " save it again with save_pretrained, as safetensors."
            )
        raise ConfigError(f"{folder} has no weights: add its .safetensors file.")
    for name, path in sorted(names.items()):
        # Reading a pipe would block.
        if name.endswith((".safetensors", ".json", ".model", ".txt")) and not is_file(path.resolve()):
            raise ConfigError(f"{path} is no file: fetch or save the model again.")
    settings = {name: _read(names[name]) for name in _SETTINGS if name in names}
    for name, path in sorted(names.items()):
        if name.endswith(".safetensors.index.json"):
            _check_index(path, names)
    _check_parts(folder, settings[CONFIG])


def check_tokenizer(folder: Path) -> None:
    """See that the folder of a text model holds a tokenizer. `ConfigError` otherwise."""
    if not {file.name for file in folder.iterdir()} & set(_TOKENIZER_FILES):
        raise ConfigError(f"{folder} has no tokenizer: save the model's tokenizer there, with save_pretrained.")


def _read(path: Path) -> Any:
    try:
        # The cache of the hub has links in the place of files.
        return parse_json(read_bytes(path.resolve()), numbers=False)
    except (ShapeError, StudyError, OSError) as error:
        raise ConfigError(f"{path} cannot be read: {str(error).rstrip('.')}. Fetch or save the model again.") from error


def _check_index(index: Path, names: Collection[str]) -> None:
    """Check that the folder has the files that an index of weights names."""
    found = _read(index)
    placed = found.get("weight_map") if isinstance(found, dict) else None
    if not isinstance(placed, dict) or not all(isinstance(file, str) for file in placed.values()):
        raise ConfigError(f"{index} is no index of weights: fetch or save the model again.")
    for file in sorted(set(placed.values())):
        if not is_name(file) or not file.endswith(".safetensors"):
            raise ConfigError(f"{index} names {shown(file)}, which is no file of weights in its folder: it is not read.")
        if file not in names:
            raise ConfigError(
                f"{index.parent} lacks {shown(file)}, which its index of weights names: fetch or save the model again."
            )


def _check_parts(folder: Path, config: Any) -> None:
    """Refuse a configuration with more layers than the weights have tensors: a library builds every layer before it reads one."""
    if not isinstance(config, dict):
        raise ConfigError(f"{folder / CONFIG} holds no settings: fetch or save the model again.")
    every = [config, *(part for part in config.values() if isinstance(part, dict))]
    declared = {key: value for part in every for key, value in part.items() if isinstance(value, int) and _PARTS.fullmatch(key)}
    key = max(declared, key=lambda name: declared[name], default="")
    if not key or declared[key] <= _MOST_PARTS:
        return
    tensors = sum(_tensors(path) for path in sorted(folder.glob("*.safetensors")))
    if declared[key] > tensors:
        raise ConfigError(
            f"The config.json of {folder} says {key} {declared[key]:,}, and its weights are {tensors:,} tensors: fetch or save"
            " the model again."
        )


def _tensors(path: Path) -> int:
    """How many tensors the header of a file of weights names; 0 where it is damaged, which the library says."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(_MOST_HEADER, path.stat().st_size):
            return 0
        try:
            return len(parse_json(file.read(length), numbers=False))
        except (ShapeError, TypeError):
            return 0
