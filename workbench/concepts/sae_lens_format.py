"""Folders of sparse dictionaries as sae-lens writes and reads them: every layout of `cfg.json`, and each architecture's tensors.

A folder is read with the codes that sae-lens would give. What could change them and is not understood, a key of the configuration
or a tensor, is refused by name. Layouts from before sae-lens 6, and folders of sparsify, are converted by sae-lens' own code.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workbench.errors import ConfigError
from workbench.paths import is_file
from workbench.shapes import read_shaped, read_tensors, reading
from workbench.sites import Site

CONFIG_FILE = "cfg.json"
WEIGHTS_FILE = "sae_weights.safetensors"
SPARSIFY_FILE = "sae.safetensors"

_BOTH = frozenset({"W_enc", "W_dec", "b_enc", "b_dec"})
TENSORS: dict[str, frozenset[str]] = {
    "standard": _BOTH,
    "topk": _BOTH,
    "abstopk": _BOTH,
    "jumprelu": _BOTH | {"threshold"},
    "gated": frozenset({"W_enc", "W_dec", "b_dec", "b_gate", "b_mag", "r_mag"}),
    # Its encoder is its decoder.
    "matching_pursuit": frozenset({"W_dec", "b_dec"}),
}
"""The tensors of every architecture that is read."""

_UNREAD = {
    "batchtopk": "a dictionary in training; export it with save_inference_model, which writes it as jumprelu",
    "matryoshka_batchtopk": "a dictionary in training; export it with save_inference_model, which writes it as jumprelu",
    "temporal": "a dictionary over whole sequences, whose codes are not those of one row",
}
NORMALISATIONS = ("none", "expected_average_only_in", "layer_norm", "constant_norm_rescale")

CODE_KEYS = frozenset(
    {
        "architecture", "d_in", "d_sae", "dtype", "apply_b_dec_to_input", "normalize_activations", "reshape_activations", "k",
        "rescale_acts_by_decoder_norm", "residual_threshold", "max_iterations", "stop_on_duplicate_support", "activation_fn",
        "activation_fn_str", "activation_fn_kwargs", "finetuning_scaling_factor",
    }
)  # fmt: skip
"""The keys that codes and reconstructions depend on."""

_OTHER = """
act_store_device activations_mixing_fraction adam_beta1 adam_beta2 autocast autocast_lm aux_loss_coefficient b_dec_init_method
cached_activations_path checkpoint_path compile_llm compile_sae context_size d_out dataset_path dataset_trust_remote_code
dead_feature_threshold dead_feature_window decoder_heuristic_init decoder_heuristic_init_norm decoder_init_norm
decoder_orthogonal_init device disable_concat_sequences eval_batch_size_prompts eval_every_n_wandb_logs exclude_special_tokens
expansion_factor feature_sampling_window finetuning_method finetuning_tokens from_pretrained_path ghost_grads_coefficient
hf_hook_name hf_hook_name_out hook_eval hook_head_index hook_head_index_out hook_layer hook_name hook_name_out hook_point
hook_point_head_index hook_point_layer init_encoder_as_decoder_transpose is_dataset_tokenized is_transcoder jumprelu_bandwidth
jumprelu_init_threshold jumprelu_sparsity_loss_mode jumprelu_ste_to_input jumprelu_tanh_scale l0_coefficient l0_lambda
l0_lambda_warm_up_steps l0_warm_up_steps l1_coefficient l1_warm_up_steps llm_compilation_mode llm_device
log_activations_store_to_wandb log_optimizer_state_to_wandb log_to_wandb log_weights_to_wandb logger lp_norm lr lr_decay_steps
lr_end lr_scheduler_name lr_warm_up_steps matryoshka_widths metadata model_batch_size model_class_name
model_from_pretrained_kwargs model_kwargs model_name mse_loss_normalization n_batches_for_norm_estimate n_batches_in_buffer
n_checkpoints n_eval_batches n_restart_cycles neuronpedia_id noise_scale normalize_sae_decoder output_path
pre_act_loss_coefficient prefetch_llm_batches prepend_bos resume_from_checkpoint run_name sae sae_compilation_mode
sae_lens_training_version sae_lens_version save_final_checkpoint scale_sparsity_penalty_by_decoder_norm seed seqpos_slice
sequence_separator_token store_batch_size store_batch_size_prompts streaming target_l0 tokens_per_buffer topk_threshold_lr
total_training_steps total_training_tokens train_batch_size train_batch_size_tokens training_tokens use_cached_activations
use_chat_formatting use_ghost_grads use_matryoshka_aux_loss use_sparse_activations verbose wandb_entity wandb_group wandb_id
wandb_log_frequency wandb_project
"""
OTHER_KEYS = frozenset(_OTHER.split())
"""What says where a dictionary comes from and how it was trained, by all versions of sae-lens; codes do not depend on it."""

_MODULE = re.compile(r"(?:.*\.)?(?:layers|layer|h|blocks)\.(\d+)(\.mlp|\.attention|\.attn|\.self_attn)?")
_HOOK = re.compile(r"blocks\.(\d+)\.(?:attn\.)?hook_(resid_pre|resid_post|mlp_out|attn_out|z)")


def read_folder(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Configuration, in the layout of sae-lens 6, and tensors of the dictionary in a folder.

    Raises:
        ConfigError: The folder holds none, or one with a key or tensor that is not understood, which is named.
    """
    if not is_file(folder / CONFIG_FILE):
        raise ConfigError(f"{folder} holds no dictionary in the format of sae-lens ({CONFIG_FILE} and {WEIGHTS_FILE}).")
    try:
        with reading(f"{CONFIG_FILE} or {WEIGHTS_FILE}", error=ConfigError):
            config = read_shaped(folder / CONFIG_FILE, dict[str, Any], error=ConfigError)
            if (folder / SPARSIFY_FILE).exists() and not (folder / WEIGHTS_FILE).exists():
                return converted(*_from_sparsify(folder, config))
            return converted(config, read_tensors(folder / WEIGHTS_FILE, error=ConfigError))
    except ConfigError as error:
        raise ConfigError(f"The dictionary in {folder} cannot be read: {error}") from error


def converted(config: dict[str, Any], tensors: dict[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A configuration of any version in the layout of sae-lens 6, and the tensors that its architecture has.

    Raises:
        ConfigError: A key or a tensor is not understood or missing; it is named.
    """
    unknown = sorted(set(config) - CODE_KEYS - OTHER_KEYS)
    if unknown:
        raise ConfigError(
            f"{CONFIG_FILE} has keys that are not understood: {', '.join(unknown)}. Remove them if codes do not depend on them."
        )
    _check_activation(config)
    architecture = _architecture(config)
    tensors = dict(tensors)
    if "log_threshold" in tensors and architecture == "jumprelu":
        tensors["threshold"] = tensors.pop("log_threshold").exp()
    _fold_finetuning(config, tensors)
    check_tensors(architecture, tensors)
    width = {"d_in": tensors["W_dec"].shape[1], "d_sae": tensors["W_dec"].shape[0]}
    wrong = [key for key, size in width.items() if config.get(key, size) != size]
    if wrong:
        raise ConfigError(f"{wrong[0]} is {config[wrong[0]]} in {CONFIG_FILE} and {width[wrong[0]]} in the weights.")
    converted = _as_version_6(config | width)
    check_config(converted)
    return converted, tensors


def stored(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration that a run holds: runs of earlier versions kept older layouts of sae-lens as they came."""
    if config.get("architecture") in TENSORS and _is_old(config) and _activation(config) == "topk":
        return config | {"architecture": "topk", "k": config["activation_fn_kwargs"]["k"]}
    return config


def check_config(config: dict[str, Any]) -> None:
    """See that a configuration in the layout of sae-lens 6 can be read. `ConfigError` names what cannot."""
    architecture, scaling = config.get("architecture"), config.get("normalize_activations", "none")
    if architecture not in TENSORS:
        raise ConfigError(_no_architecture(architecture))
    if scaling not in NORMALISATIONS:
        raise ConfigError(
            f"normalize_activations={scaling!r} is not read; those that are: {', '.join(NORMALISATIONS)}. Fold the scaling into"
            " the weights with sae-lens and save them again."
        )
    if config.get("reshape_activations", "none") not in {"none", "hook_z"}:
        raise ConfigError(f"reshape_activations={config['reshape_activations']!r} is not understood.")
    if architecture in {"topk", "abstopk"} and not _positive(config.get("k")):
        raise ConfigError(f"k={config.get('k')!r} is no number of active latents.")
    if architecture in {"topk", "abstopk"} and config["k"] > config.get("d_sae", config["k"]):
        raise ConfigError(f"k={config['k']} latents cannot be active, as the dictionary has {config['d_sae']}.")


def check_tensors(architecture: str, tensors: dict[str, Tensor], extra: bool = False) -> None:
    """See that the tensors of an architecture are there with fitting shapes, and, unless ``extra``, no others."""
    wanted = TENSORS[architecture]
    if missing := sorted(wanted - set(tensors)):
        raise ConfigError(f"A dictionary of architecture '{architecture}' lacks the tensor {', '.join(missing)}.")
    unknown = sorted(set(tensors) - wanted)
    if unknown and not extra:
        raise ConfigError(
            f"A dictionary of architecture '{architecture}' has a tensor that is not understood: {', '.join(unknown)}."
        )
    if tensors["W_dec"].dim() != 2:
        raise ConfigError(f"W_dec is [latents, width], not {list(tensors['W_dec'].shape)}.")
    c, d = tensors["W_dec"].shape
    for name in sorted(wanted):
        shape = {"W_dec": (c, d), "W_enc": (d, c), "b_dec": (d,)}.get(name, (c,))
        if tuple(tensors[name].shape) != shape:
            raise ConfigError(f"The tensor {name} is {list(tensors[name].shape)} and W_dec {[c, d]}: they do not fit.")


def trained_at(config: dict[str, Any]) -> tuple[str, Site | None]:
    """The hook that a dictionary was trained at, as its folder spells it, and the site that this is, if it is known to be one."""
    facts = config | (config.get("metadata") or {})
    head = facts.get("hook_head_index")
    for key in ("hook_name", "hook_point", "hf_hook_name"):
        if isinstance(name := facts.get(key), str) and name:
            return name, _site(name, head if isinstance(head, int) else None)
    return "", None


def same_place(site: Site) -> Site:
    """One spelling for what a model's hooks spell in several ways: the stream before a block is that after the block before."""
    if site.kind == "layer":
        return _site(site.path or "", None) or site
    if site.kind == "resid_pre" and site.layer is not None:
        return Site("resid_post", site.layer - 1) if site.layer else Site("embed")
    return site


def _site(name: str, head: int | None) -> Site | None:
    if name == "ln_final.hook_normalized":
        return Site("final")
    if found := _HOOK.fullmatch(name):
        layer, kind = int(found[1]), found[2]
        if kind == "z":
            return None if head is None else Site("head_out", layer, head)
        return Site(kind, layer)
    if found := _MODULE.fullmatch(name):
        return Site({None: "resid_post", ".mlp": "mlp_out"}.get(found[2], "attn_out"), int(found[1]))
    try:
        return Site.parse(name)
    except ConfigError:
        return None


def _architecture(config: dict[str, Any]) -> str:
    architecture = config.get("architecture", "standard" if _is_old(config) else None)
    if _is_old(config) and _activation(config) == "topk":
        architecture = "topk"
    if config.get("is_transcoder"):
        architecture = "transcoder"
    if architecture not in TENSORS:
        raise ConfigError(_no_architecture(architecture))
    return str(architecture)


def _no_architecture(architecture: Any) -> str:
    known = ", ".join(TENSORS)
    if "transcoder" in str(architecture):
        return f"It is a {architecture}, which maps one site to another, and no dictionary of one site. Those are read: {known}."
    if architecture in _UNREAD:
        return f"It is of architecture '{architecture}': {_UNREAD[architecture]}. Those that are read: {known}."
    return f"A dictionary of architecture {architecture!r} cannot be read; those that can: {known}."


def _is_old(config: dict[str, Any]) -> bool:
    from packaging.version import InvalidVersion, Version

    metadata = config.get("metadata")
    version = config.get("sae_lens_version") or (metadata.get("sae_lens_version") if isinstance(metadata, dict) else None)
    try:
        return not version or Version(str(version)) < Version("6.0.0-rc.0")
    except InvalidVersion as error:
        raise ConfigError(f"sae_lens_version={version!r} is no version.") from error


def _activation(config: dict[str, Any]) -> str:
    return str(config.get("activation_fn_str") or config.get("activation_fn") or "relu")


def _check_activation(config: dict[str, Any]) -> None:
    """Refuse an activation function that sae-lens would take for another one."""
    name, options = _activation(config), dict(config.get("activation_fn_kwargs") or {})
    if name not in {"relu", "topk"}:
        raise ConfigError(f"The activation function '{name}' is not read; those that are: relu, topk.")
    k = options.pop("k", None)
    if options.pop("signed", False) or options:
        raise ConfigError(f"activation_fn_kwargs={config['activation_fn_kwargs']} is not understood.")
    if name == "topk" and not _positive(k if _is_old(config) else config.get("k", k)):
        raise ConfigError("The activation function is topk, and activation_fn_kwargs does not say k.")
    if name == "topk" and not _is_old(config) and config.get("architecture") not in {"topk", "abstopk"}:
        raise ConfigError(f"The activation function is topk, and the architecture {config.get('architecture')!r}.")


def _positive(k: Any) -> bool:
    return isinstance(k, int) and not isinstance(k, bool) and k > 0


def _fold_finetuning(config: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Multiply the factor of each latent, found by fine-tuning, into its decoder row: sae-lens 3 to 5 applied it there."""
    names = [name for name in ("scaling_factor", "finetuning_scaling_factor") if name in tensors]
    for name in names:
        factor = tensors.pop(name)
        if torch.allclose(factor.float(), torch.ones_like(factor, dtype=torch.float32)):
            continue
        if not config.get("finetuning_scaling_factor") or factor.shape != tensors["W_dec"].shape[:1]:
            raise ConfigError(
                f"There is a tensor {name} {list(factor.shape)}, and finetuning_scaling_factor does not announce it."
            )
        if config.get("rescale_acts_by_decoder_norm"):
            raise ConfigError(f"A tensor {name} beside rescale_acts_by_decoder_norm is not understood.")
        tensors["W_dec"] = tensors["W_dec"] * factor[:, None]


def _as_version_6(config: dict[str, Any]) -> dict[str, Any]:
    metadata = config.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        raise ConfigError(f"metadata in {CONFIG_FILE} is no JSON object.")
    if not _is_old(config):
        # Where it was trained is no part of what it is.
        return {"dtype": "float32"} | config | {"device": "cpu", "metadata": metadata or {}} | _default_k(config)
    from importlib.metadata import version

    loaders = _sae_lens_loaders()
    # An empty dictionary of options would be searched for k.
    given = {key: value for key, value in config.items() if key != "activation_fn_kwargs" or value}
    converted: dict[str, Any] = loaders.handle_config_defaulting(dict(given))
    kept = (metadata or {}) | converted["metadata"] | {"sae_lens_version": version("sae-lens")}
    return {"dtype": "float32"} | converted | {"device": "cpu", "metadata": kept} | _default_k(converted)


def _default_k(config: dict[str, Any]) -> dict[str, Any]:
    """The k that sae-lens takes where none is given."""
    return {"k": 100} if config["architecture"] in {"topk", "abstopk"} and config.get("k") is None else {}


def _from_sparsify(folder: Path, config: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A folder that sparsify wrote, by sae-lens' own converter."""
    for key in ("signed", "multi_topk", "skip_connection", "transcode"):
        if config.get(key):
            raise ConfigError(f"{key}={config[key]!r} of a dictionary of sparsify is not understood.")
    if config.get("activation", "topk") != "topk":
        raise ConfigError(f"activation={config['activation']!r} of a dictionary of sparsify is not understood.")
    converted, tensors = _sae_lens_loaders().sparsify_disk_loader(
        folder.resolve(), device="cpu", cfg_overrides={"dtype": "float32"}
    )
    if tuple(tensors["W_dec"].shape) == (converted["d_in"], converted["d_sae"]):
        # Sparsify writes it as [latents, width], and the converter turns it.
        tensors["W_dec"] = tensors["W_dec"].T
    return converted, {name: tensor.contiguous() for name, tensor in tensors.items()}


def _sae_lens_loaders() -> Any:
    # sae-lens imports wandb, which must neither ask nor call anyone.
    os.environ.setdefault("WANDB_MODE", "disabled")
    from sae_lens.loading import pretrained_sae_loaders

    return pretrained_sae_loaders
