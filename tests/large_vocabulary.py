"""Small causal models with random weights: one with a large vocabulary and massive coordinates, and others by architecture."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

MASSIVE = (60.0, -45.0, 30.0)


def save_tokenizer(folder: Path, size: int) -> int:
    """A byte-level tokenizer with ``size`` tokens, saved into a folder; the id of its first special token."""
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = alphabet + ["<bos>", "<eos>"] + [f"\u0120w{i}" for i in range(size - len(alphabet) - 2)]
    tokenizer = Tokenizer(models.BPE(vocab={word: i for i, word in enumerate(words)}, merges=[]))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer.add_special_tokens(["<bos>", "<eos>"])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", model_max_length=512)
    fast.save_pretrained(folder)
    return len(alphabet)


def save_model(folder: Path, config, size: int) -> Path:
    """A causal model of a configuration with random weights, and a tokenizer, saved into a folder."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    save_tokenizer(folder, size)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def save_large_vocabulary(folder: Path, size: int = 65_536, width: int = 32) -> Path:
    """A causal model whose vocabulary is most of it, whose first token is of 15 times the usual norm, and in which three
    coordinates hold nearly all of the square of the mean."""
    from transformers import LlamaConfig, LlamaForCausalLM

    first = save_tokenizer(folder, size)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=size, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=True, bos_token_id=first, eos_token_id=first + 1,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.model.embed_tokens.weight[:, : len(MASSIVE)] = torch.tensor(MASSIVE) / 100
        model.model.embed_tokens.weight[first] *= 15
        # The large coordinates stay in the stream and out of what the layers read, as massive coordinates do in trained models.
        for layer in model.model.layers:
            layer.input_layernorm.weight[: len(MASSIVE)] = 0.01
            layer.post_attention_layernorm.weight[: len(MASSIVE)] = 0.01
    model.save_pretrained(folder)
    return folder
