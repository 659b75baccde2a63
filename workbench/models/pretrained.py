"""Text models from a local Hugging Face folder or from the hub."""

from __future__ import annotations

from typing import Any

from workbench.models.base import Kind, Model
from workbench.models.text import DEFAULT_LENGTH, Tokens
from workbench.models.weights import pretrained_hash, quiet


def load_pretrained(
    path: str, *, name: str, source: dict[str, Any], max_length: int | None = None, device: str = "cpu"
) -> Model:
    """The text model at a path."""
    import torch
    from transformers import AutoTokenizer, BertForNextSentencePrediction

    with quiet():
        from transformer_lens.model_bridge import TransformerBridge

        from workbench.models.transformer import TransformerModel

        tokenizer = AutoTokenizer.from_pretrained(path)
        model, info = BertForNextSentencePrediction.from_pretrained(
            path,
            dtype=torch.float32,
            use_safetensors=True,
            attn_implementation="eager",
            output_loading_info=True,
        )
        kind: Kind = "encoder"
        digest = pretrained_hash(model, base_only=True, missing=info["missing_keys"])
        tokens = Tokens(tokenizer, max_length or DEFAULT_LENGTH, bos=False, device=device)
        bridge = TransformerBridge.boot_transformers(path, hf_model=model, tokenizer=tokenizer, device=device)
        return TransformerModel(bridge, tokens, name=name, kind=kind, weights_hash=digest, source=source)
