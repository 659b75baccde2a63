from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from tests.models.architectures import save_tokenizer

os.environ["HF_HUB_OFFLINE"] = "1"
torch.set_num_threads(2)


def tiny_config(kind: str):
    from transformers import BertConfig, DistilBertConfig, Gemma3TextConfig, GPT2Config, LlamaConfig

    wide = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64}
    common = {"vocab_size": 300, "max_position_embeddings": 64}
    return {
        "gpt2": lambda: GPT2Config(n_layer=2, n_embd=32, n_head=4, vocab_size=300, n_positions=64),
        "llama": lambda: LlamaConfig(**wide, **common, num_key_value_heads=2, eos_token_id=1),
        "gemma3": lambda: Gemma3TextConfig(**wide, **common, num_key_value_heads=2, head_dim=16),
        "bert": lambda: BertConfig(**wide, **common),
        "distilbert": lambda: DistilBertConfig(n_layers=2, dim=32, n_heads=4, hidden_dim=64, **common),
    }[kind]()


def save_tiny(kind: str, folder: Path) -> Path:
    from transformers import AutoModel, AutoModelForCausalLM

    torch.manual_seed(3)
    maker = AutoModel if kind in {"bert", "distilbert"} else AutoModelForCausalLM
    maker.from_config(tiny_config(kind)).save_pretrained(folder)
    save_tokenizer(folder)
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A folder with a small random model of this architecture."""
    made: dict[str, Path] = {}

    def get(kind: str) -> Path:
        if kind not in made:
            made[kind] = save_tiny(kind, tmp_path_factory.mktemp(kind))
        return made[kind]

    return get


@pytest.fixture(scope="session")
def minilm():
    from workbench.models import load_model

    return load_model("minilm")


@pytest.fixture(scope="session")
def efficientnet():
    from workbench.models import load_model

    return load_model("efficientnet-lite0")
