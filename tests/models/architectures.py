"""Small models with random weights of many architectures, as folders that `load_model` reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

VOCABULARY = 300
_COMMON = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
_WIDE = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64}
_USUAL = _WIDE | {"max_position_embeddings": 64} | _COMMON
_GROUPED = _USUAL | {"num_key_value_heads": 2}
_EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 32}
_GPT = {"n_layer": 2, "n_embd": 32, "n_head": 4, "n_positions": 64} | _COMMON

# By Hugging Face's `model_type`: what its configuration is given.
CAUSAL: dict[str, dict[str, Any]] = {
    "gpt2": _GPT,
    "gpt_bigcode": _GPT,
    "gptj": _GPT | {"rotary_dim": 4},
    "codegen": _GPT | {"rotary_dim": 4},
    "gpt_neo": _USUAL | {"num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]], "window_size": 4},
    "gpt_neox": _USUAL | {"rotary_pct": 0.5},
    "opt": _USUAL | {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "bloom": {"n_layer": 2, "hidden_size": 32, "n_head": 4} | _COMMON,
    "falcon": _USUAL,
    "mpt": {"n_layers": 2, "d_model": 32, "n_heads": 4, "max_seq_len": 64, "expansion_ratio": 2} | _COMMON,
    "xglm": {"num_layers": 2, "d_model": 32, "attention_heads": 4, "ffn_dim": 64, "max_position_embeddings": 64} | _COMMON,
    "llama": _GROUPED,
    "mistral": _GROUPED | {"sliding_window": 6},
    "mixtral": _GROUPED | {"num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen2": _GROUPED,
    "qwen3": _GROUPED | {"head_dim": 8},
    "qwen2_moe": _GROUPED | _EXPERTS | {"num_experts": 4, "shared_expert_intermediate_size": 32},
    "qwen3_moe": _GROUPED | _EXPERTS | {"num_experts": 4, "head_dim": 8},
    "gemma": _GROUPED | {"head_dim": 16},
    "gemma2": _GROUPED | {"head_dim": 16, "sliding_window": 6, "final_logit_softcapping": 2.0},
    "gemma3_text": _GROUPED | {"head_dim": 16, "sliding_window": 6},
    "phi": _USUAL | {"partial_rotary_factor": 0.5},
    "phi3": _GROUPED,
    "phimoe": _GROUPED | {"num_local_experts": 4, "num_experts_per_tok": 2},
    "cohere": _GROUPED | {"logit_scale": 0.3},
    "cohere2": _GROUPED | {"logit_scale": 0.3, "sliding_window": 6},
    "granite": _GROUPED | {"logits_scaling": 4.0, "embedding_multiplier": 2.0, "residual_multiplier": 0.5},
    "granitemoe": _GROUPED | {"num_local_experts": 4, "num_experts_per_tok": 2, "logits_scaling": 4.0},
    "olmo": _GROUPED,
    "olmo2": _GROUPED,
    "olmo3": _GROUPED | {"sliding_window": 6},
    "olmoe": _GROUPED | {"num_experts": 4, "num_experts_per_tok": 2},
    "stablelm": _GROUPED,
    "starcoder2": _GROUPED,
    "nemotron": _GROUPED,
    "glm": _GROUPED | {"head_dim": 8},
    "glm4": _GROUPED | {"head_dim": 8},
    "smollm3": _GROUPED,
    "arcee": _GROUPED,
    "apertus": _GROUPED,
    "exaone4": _GROUPED | {"sliding_window": 6},
    "seed_oss": _GROUPED | {"head_dim": 8},
    "ernie4_5": _GROUPED,
    "helium": _GROUPED | {"head_dim": 8},
    "hunyuan_v1_dense": _GROUPED | {"head_dim": 8},
    "gpt_oss": _GROUPED | {"head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 6},
    "lfm2": _GROUPED | {"layer_types": ["conv", "full_attention"]},
    "mamba": {"num_hidden_layers": 2, "hidden_size": 32, "state_size": 4} | _COMMON,
    "openai-gpt": _GPT,
    "biogpt": _USUAL,
    "ctrl": {"n_layer": 2, "n_embd": 32, "n_head": 4, "n_positions": 64, "dff": 64} | _COMMON,
}
# A second configuration of some of them, where it changes the mathematics: its name, the type and what is given besides.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2 scaled by layer": ("gpt2", {"scale_attn_by_inverse_layer_idx": True, "tie_word_embeddings": False}),
    "gpt2 not scaled": ("gpt2", {"scale_attn_weights": False, "activation_function": "relu"}),
    "gpt_bigcode with all heads": ("gpt_bigcode", {"multi_query": False}),
    "gpt_neox one after the other": ("gpt_neox", {"use_parallel_residual": False, "tie_word_embeddings": True}),
    "opt post-norm": ("opt", {"do_layer_norm_before": False}),
    "opt projected": ("opt", {"do_layer_norm_before": False, "word_embed_proj_dim": 16}),
    "bloom residual behind the norm": ("bloom", {"apply_residual_connection_post_layernorm": True}),
    "falcon alibi": ("falcon", {"alibi": True, "multi_query": False, "parallel_attn": False, "bias": True}),
    "falcon new decoder": ("falcon", {"new_decoder_architecture": True, "num_kv_heads": 2}),
    "mpt without alibi": ("mpt", {"attn_config": {"alibi": False}}),
    "llama with biases": ("llama", {"attention_bias": True, "mlp_bias": True, "head_dim": 16, "tie_word_embeddings": True}),
    "llama 3 frequencies": ("llama", {"rope_parameters": {
        "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32}}),
    "llama dynamic frequencies": ("llama", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0}}),
    "llama yarn": ("llama", {"rope_parameters": {
        "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 16}}),
    "phi3 longrope": ("phi3", {"original_max_position_embeddings": 16, "rope_parameters": {
        "rope_type": "longrope", "rope_theta": 10000.0, "long_factor": [1.0, 2.0, 3.0, 4.0], "short_factor": [1.0] * 4,
        "original_max_position_embeddings": 16}}),
    "mistral window of 20": ("mistral", {"sliding_window": 20}),
    "qwen2 window in one layer": ("qwen2", {"use_sliding_window": True, "sliding_window": 20, "max_window_layers": 1}),
    "gemma2 capped attention": ("gemma2", {"attn_logit_softcapping": 1.0, "query_pre_attn_scalar": 7, "sliding_window": 20}),
    "stablelm norms of heads": ("stablelm", {"use_parallel_residual": True, "qk_layernorm": True, "use_qkv_bias": True}),
    "olmo clipped": ("olmo", {"clip_qkv": 0.5}),
    "qwen2_moe dense layer": ("qwen2_moe", {"mlp_only_layers": [0]}),
}  # fmt: skip
_SMALL = {"embedding_size": 16}
ENCODERS: dict[str, dict[str, Any]] = {
    "bert": _USUAL,
    "distilbert": {"n_layers": 2, "dim": 32, "n_heads": 4, "hidden_dim": 64, "max_position_embeddings": 64} | _COMMON,
    "roberta": _USUAL,
    "xlm-roberta": _USUAL,
    "camembert": _USUAL,
    "electra": _USUAL | _SMALL,
    "albert": _USUAL | _SMALL,
    "mpnet": _USUAL,
    "deberta": _USUAL | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "deberta-v2": _USUAL | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "modernbert": _USUAL | {"global_attn_every_n_layers": 2, "local_attention": 8},
    "ernie": _USUAL,
    "roformer": _USUAL | _SMALL,
    "convbert": _USUAL | _SMALL,
    "mobilebert": _USUAL | {"intra_bottleneck_size": 16, "true_hidden_size": 16, "embedding_size": 16},
    "squeezebert": _USUAL | {"embedding_size": 32},
    "rembert": _USUAL | {"input_embedding_size": 16, "output_embedding_size": 16},
    "nystromformer": _USUAL,
    "megatron-bert": _USUAL,
    "data2vec-text": _USUAL,
    "fnet": _USUAL,
    "ibert": _USUAL,
    "layoutlm": _USUAL,
    # Full attention up to 28 tokens, sparse beyond.
    "big_bird": _USUAL | {"block_size": 4, "num_random_blocks": 1},
    "esm": _USUAL | {"position_embedding_type": "rotary"},
    "xlnet": {"n_layer": 2, "d_model": 32, "n_head": 4, "d_inner": 64} | _COMMON,
}


def save(name: str, folder: Path, padding_side: str = "right", template: str | None = None) -> Path:
    """A model of this type, or variant, its weights far from what an untrained model has: norms and biases take part too."""
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

    kind, changes = VARIANTS.get(name, (name, {}))
    causal = kind in CAUSAL
    torch.manual_seed(3)
    config = AutoConfig.for_model(kind, **(CAUSAL[kind] if causal else ENCODERS[kind]) | changes)
    model = (AutoModelForCausalLM if causal else AutoModel).from_config(config)
    scatter(model)
    if causal:
        # The end token is never the likeliest, so that texts are as long as they may be.
        with torch.no_grad():
            model.get_output_embeddings().weight[_COMMON["eos_token_id"]] = 0
    model.save_pretrained(folder)
    save_tokenizer(folder, template=template or (None if causal else AROUND), padding_side=padding_side)
    return folder


def scatter(model: nn.Module) -> None:
    """Random numbers in place of an initialisation: a norm that is left out, or a bias, shows itself."""
    rng = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=rng)
            if parameter.dim() < 2:
                parameter.add_(0.2 * noise)
            else:
                parameter.copy_(noise / parameter.shape[-1] ** 0.5)


AROUND = "<s> $A </s>"


def save_tokenizer(folder: Path, *, template: str | None = None, padding_side: str = "right") -> None:
    """Bytes as tokens, with a few merges. ``template`` is what it puts around each text; with GLM's no token begins texts."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    letters = ["<s>", "</s>", "<pad>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    vocabulary = {letter: number for number, letter in enumerate(letters)}
    merges = [("t", "h"), ("th", "e"), ("Ġ", "the")]
    for left, right in merges:
        vocabulary[left + right] = len(vocabulary)
    backend = Tokenizer(models.BPE(vocabulary, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    own = {"[gMASK]": len(vocabulary), "<sop>": len(vocabulary) + 1} if template and "[gMASK]" in template else {}
    if template:
        backend.add_special_tokens(list(own))
        known = vocabulary | own
        around = [(token, known[token]) for token in template.split() if token != "$A"]
        backend.post_processor = processors.TemplateProcessing(template, special_tokens=around)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=None if own else "<s>", eos_token="</s>", pad_token="<pad>", padding_side=padding_side
    )
    tokenizer.save_pretrained(folder)
