"""Folders of models from strangers: what they name outside, what they say they hold, and what would run for ever."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import safe_open

from workbench.errors import ConfigError
from workbench.models import load_model


@pytest.fixture
def folder(tiny: Callable[[str], Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny("gpt2"), tmp_path / "model"))


def settings(folder: Path, **changed: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


def index(folder: Path, file: str) -> None:
    with safe_open(next(folder.glob("*.safetensors")), "pt") as weights:
        placed = dict.fromkeys(weights.keys(), file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": placed}))


@pytest.mark.parametrize("where", ["../own/model.safetensors", "{own}/model.safetensors", "..", "sub/model.safetensors"])
def test_an_index_of_weights_that_names_another_folder_is_refused(folder: Path, tmp_path: Path, where: str) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (folder / "sub").mkdir()
    shutil.copy(folder / "model.safetensors", own)
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    index(folder, where.format(own=own))
    with pytest.raises(ConfigError, match="which is no file of weights in its folder"):
        load_model(str(folder))


@pytest.mark.parametrize("content", ["[]", "{", '{"weight_map": {"a": 1}}', '{"weight_map": []}', "[" * 100_000])
def test_an_index_that_is_none_is_a_sentence(folder: Path, content: str) -> None:
    (folder / "model.safetensors.index.json").write_text(content)
    with pytest.raises(ConfigError, match=r"index\.json"):
        load_model(str(folder))


def test_weights_in_several_files_are_read_by_an_honest_index(folder: Path) -> None:
    whole = load_model(str(folder))
    index(folder, "part.safetensors")
    with pytest.raises(ConfigError, match=r"lacks 'part\.safetensors'"):
        load_model(str(folder))
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    assert load_model(str(folder)).weights_hash == whole.weights_hash


@pytest.mark.parametrize("key", ["n_layer", "num_hidden_layers", "num_experts", "depth"])
def test_more_layers_than_there_are_weights_are_refused_before_any_is_built(folder: Path, key: str) -> None:
    settings(folder, **{key: 10**6})
    with pytest.raises(ConfigError, match=rf"says {key} 1,000,000, and its weights are \d+ tensors"):
        load_model(str(folder))


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "generation_config.json"])
def test_settings_that_are_nested_without_end_are_named(folder: Path, name: str) -> None:
    (folder / name).write_text('{"a":' * 100_000)
    with pytest.raises(ConfigError, match=rf"{name} cannot be read: it is nested too deeply"):
        load_model(str(folder))


def test_code_of_its_own_is_not_run_and_nothing_advises_it(folder: Path) -> None:
    settings(folder, model_type="theirs", auto_map={"AutoConfig": "code.Theirs", "AutoModelForCausalLM": "code.Model"})
    (folder / "code.py").write_text("raise SystemExit('run')")
    with pytest.raises(ConfigError, match="needs Python code of its own, which is never run") as found:
        load_model(str(folder))
    assert "trust_remote_code" not in str(found.value)


def test_an_adapter_that_would_not_be_read_is_said(folder: Path) -> None:
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "somebody/else", "peft_type": "LORA"}))
    with pytest.raises(ConfigError, match="holds an adapter"):
        load_model(str(folder))


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(ConfigError, match="is no file"):
        load_model(str(folder))


def test_links_such_as_those_of_the_hubs_cache_are_followed(folder: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    linked.mkdir()
    for path in folder.iterdir():
        (linked / path.name).symlink_to(path)
    assert load_model(str(linked)).weights_hash == load_model(str(folder)).weights_hash
