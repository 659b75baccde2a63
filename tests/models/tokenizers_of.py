"""Small tokenizers of the kinds that models come with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

LLAMA_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
HEADERS = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")


def bytes_tokenizer(special: list[str], **roles: Any) -> PreTrainedTokenizerFast:
    """Byte-level, with a few merges; the special tokens come first."""
    letters = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    vocabulary = {letter: number for number, letter in enumerate(letters)}
    merges = [("t", "h"), ("th", "e"), ("Ġ", "the")]
    for left, right in merges:
        vocabulary[left + right] = len(vocabulary)
    backend = Tokenizer(models.BPE(vocabulary, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, **roles)


def gpt2_kind() -> PreTrainedTokenizerFast:
    """One token is beginning, end and unknown."""
    end = "<|endoftext|>"
    return bytes_tokenizer([end], bos_token=end, eos_token=end, unk_token=end)


def llama3_kind(template: str | None = LLAMA_TEMPLATE) -> PreTrainedTokenizerFast:
    """Header tokens are special and have no role."""
    made = bytes_tokenizer(["<|begin_of_text|>", "<|end_of_text|>"], bos_token="<|begin_of_text|>", eos_token="<|end_of_text|>")
    made.add_tokens([AddedToken(token, special=True, normalized=False) for token in HEADERS])
    made.pad_token = "<|end_of_text|>"
    made.chat_template = template
    return made


def words_tokenizer(special: list[str], unknown: str, around: tuple[str, str], **roles: Any) -> PreTrainedTokenizerFast:
    """Whole words; what it does not know is one unknown token."""
    words = [*special, "the", "cat", "sat", "on", "mat"]
    backend = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token=unknown))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    first, last = around
    backend.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}".strip(), special_tokens=[(token, words.index(token)) for token in around if token]
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token=unknown, **roles)


def bert_kind() -> PreTrainedTokenizerFast:
    """[CLS] and [SEP] around, its own [UNK]."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return words_tokenizer(
        special, "[UNK]", ("[CLS]", "[SEP]"), pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]"
    )


def own_unknown_kind() -> PreTrainedTokenizerFast:
    """T5's: an end token, and an unknown one of its own."""
    return words_tokenizer(["<pad>", "</s>", "<unk>"], "<unk>", ("", "</s>"), pad_token="<pad>", eos_token="</s>")


KINDS = {"gpt2": gpt2_kind, "llama3": llama3_kind, "bert": bert_kind, "own": own_unknown_kind}


def save_decoder(folder: Path, tokenizer: PreTrainedTokenizerFast, **config: Any) -> Path:
    """A small Llama with this tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    torch.manual_seed(5)
    about = {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 64,
        "vocab_size": len(tokenizer), "max_position_embeddings": 256, "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    AutoModelForCausalLM.from_config(LlamaConfig(**about | config)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
