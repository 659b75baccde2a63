"""Dictionaries from elsewhere: what sae-lens reads is read with its codes, and what is not understood is named."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

os.environ.setdefault("WANDB_MODE", "disabled")

from workbench.concepts import ConceptSet
from workbench.concepts.dictionary import DictionaryConcepts
from workbench.concepts.sae_lens_format import CODE_KEYS, OTHER_KEYS, TENSORS, same_place, trained_at
from workbench.edits import set_latent
from workbench.errors import ConfigError
from workbench.sites import Site

D, C, SITE = 12, 40, "resid_post.0"
OLD = {
    "d_in": D, "d_sae": C, "dtype": "float32", "device": "cpu", "model_name": "gpt2", "hook_name": "blocks.0.hook_resid_post",
    "hook_layer": 0, "hook_head_index": None, "prepend_bos": True, "dataset_path": "x", "context_size": 64,
    "normalize_activations": "none", "apply_b_dec_to_input": True, "finetuning_scaling_factor": False,
    "sae_lens_training_version": "3.0.0", "activation_fn_str": "relu", "activation_fn_kwargs": {},
}  # fmt: skip
NEW = {
    "d_in": D, "d_sae": C, "dtype": "float32", "device": "cpu", "apply_b_dec_to_input": True, "normalize_activations": "none",
    "reshape_activations": "none", "metadata": {"sae_lens_version": "6.20.0", "hook_name": "blocks.0.hook_resid_post"},
}  # fmt: skip
TOPK = {"activation_fn_kwargs": {"k": 8}}


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


ROWS = draw(9, 60, D) * 2 + 1


def tensors_of(architecture: str) -> dict[str, torch.Tensor]:
    every = {
        "W_enc": draw(1, D, C) * 0.3, "W_dec": draw(2, C, D) * 0.5, "b_enc": draw(3, C) * 0.1, "b_dec": draw(4, D) * 0.5,
        "threshold": draw(5, C).abs() * 0.5, "b_gate": draw(6, C), "b_mag": draw(7, C), "r_mag": draw(8, C) * 0.2,
    }  # fmt: skip
    return {name: every[name] for name in TENSORS[architecture]}


def write(folder: Path, config: dict, tensors: dict[str, torch.Tensor], name: str = "sae_weights.safetensors") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cfg.json").write_text(json.dumps(config))
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, folder / name)
    return folder


def old(architecture: str, **more) -> tuple[dict, dict[str, torch.Tensor]]:
    return OLD | {"architecture": architecture} | more, tensors_of(architecture)


def new(architecture: str, **more) -> tuple[dict, dict[str, torch.Tensor]]:
    return NEW | {"architecture": architecture} | more, tensors_of(architecture)


def without(config: dict, *keys: str) -> dict:
    return {key: value for key, value in config.items() if key not in keys}


CASES = {
    "old standard": old("standard"),
    "old, no architecture": (OLD, tensors_of("standard")),
    "oldest names": (
        without(OLD, "hook_name", "activation_fn_str", "activation_fn_kwargs", "normalize_activations")
        | {"hook_point": "blocks.0.hook_resid_post", "l1_coefficient": 1e-4, "lr": 4e-4, "use_ghost_grads": True},
        tensors_of("standard"),
    ),
    "old topk by activation_fn_str": old("standard", activation_fn_str="topk", **TOPK),
    "old topk by activation_fn": (
        without(OLD, "activation_fn_str") | {"architecture": "standard", "activation_fn": "topk"} | TOPK, tensors_of("standard"),
    ),
    "old topk": old("topk", k=8, **TOPK),
    "old topk without options": (without(OLD, "activation_fn_kwargs") | {"architecture": "topk", "k": 5}, tensors_of("topk")),
    "old topk, rescaled": old("topk", rescale_acts_by_decoder_norm=True, **TOPK),
    "old jumprelu": old("jumprelu"),
    "old gated": old("gated"),
    "normalize_activations false": old("standard", normalize_activations=False),
    "normalize_activations true": old("standard", normalize_activations=True),
    "normalize_activations null": old("standard", normalize_activations=None),
    "layer_norm": old("standard", normalize_activations="layer_norm"),
    "constant_norm_rescale": old("topk", normalize_activations="constant_norm_rescale", **TOPK),
    "expected average": old("standard", normalize_activations="expected_average_only_in"),
    "input without bias": old("jumprelu", apply_b_dec_to_input=False),
    "factor that is not there": old("standard", finetuning_scaling_factor=True),
    "factor of ones": (OLD, tensors_of("standard") | {"scaling_factor": torch.ones(C)}),
    "new standard": new("standard"),
    "new, a checkpoint of training": new("standard", l1_coefficient=2.0, lp_norm=1.0, l1_warm_up_steps=10, decoder_init_norm=0.1),
    "new topk": new("topk", k=8, rescale_acts_by_decoder_norm=False),
    "new topk, rescaled": new("topk", k=8, rescale_acts_by_decoder_norm=True),
    "new topk, layer_norm": new("topk", k=8, rescale_acts_by_decoder_norm=True, normalize_activations="layer_norm"),
    "new abstopk": new("abstopk", k=8, rescale_acts_by_decoder_norm=True),
    "new jumprelu": new("jumprelu"),
    "new gated": new("gated"),
    "new gated, layer_norm": new("gated", normalize_activations="layer_norm", apply_b_dec_to_input=False),
    "new matching pursuit": new("matching_pursuit", residual_threshold=0.5, max_iterations=20, stop_on_duplicate_support=True),
    "new matching pursuit, to the end": new(
        "matching_pursuit", residual_threshold=0.0, stop_on_duplicate_support=False, max_iterations=7
    ),
    "new matching pursuit, no bias": new("matching_pursuit", apply_b_dec_to_input=False),
}  # fmt: skip


def both(folder: Path, theirs=None):
    """Codes and reconstructions by sae-lens and by us, and our dictionary."""
    from sae_lens import SAE

    sae = theirs or SAE.load_from_disk(str(folder))
    ours = DictionaryConcepts.from_sae_lens(folder, SITE)
    with torch.no_grad():
        codes = sae.encode(ROWS)
        return (codes, sae.decode(codes)), (ours.encode(ROWS), ours.reconstruct(ROWS)), ours


@pytest.mark.parametrize("case", CASES)
def test_codes_and_reconstructions_are_those_of_sae_lens(case: str, tmp_path: Path) -> None:
    theirs, ours, read = both(write(tmp_path / "given", *CASES[case]))
    assert float((theirs[0] != 0).sum(-1).float().mean()) > 2
    for expected, found in zip(theirs, ours, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    # What a run keeps of it is read by both as well, without the older layout.
    read.save(tmp_path / "kept")
    again, kept, _ = both(tmp_path / "kept")
    for expected, found, ours_again in zip(theirs, again, kept, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(ours_again, expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(ConceptSet.load(tmp_path / "kept").encode(ROWS), ours[0])


@pytest.mark.parametrize("exported", ["batchtopk", "matryoshka_batchtopk"])
def test_what_sae_lens_exports_from_training_is_read(exported: str, tmp_path: Path) -> None:
    from sae_lens.registry import get_sae_training_class

    maker, config = get_sae_training_class(exported)
    options = {"matryoshka_widths": [10, 20]} if exported.startswith("matryoshka") else {}
    torch.manual_seed(0)
    sae = maker(config(d_in=D, d_sae=C, k=6, rescale_acts_by_decoder_norm=True, **options))
    sae.topk_threshold = torch.tensor(0.4, dtype=torch.float64)
    sae.save_inference_model(tmp_path / "export")
    sae.save_model(tmp_path / "checkpoint")
    theirs, ours, read = both(tmp_path / "export")
    assert read.architecture == "jumprelu"
    for expected, found in zip(theirs, ours, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    with pytest.raises(ConfigError, match=f"{exported}.*save_inference_model"):
        DictionaryConcepts.from_sae_lens(tmp_path / "checkpoint", SITE)


@pytest.mark.parametrize("layout", ["as sae-lens reads it", "as sparsify writes it"])
def test_a_folder_of_sparsify_is_read_by_the_converter_of_sae_lens(layout: str, tmp_path: Path) -> None:
    from sae_lens import SAE
    from sae_lens.loading.pretrained_sae_loaders import sparsify_disk_loader

    t = tensors_of("topk")
    given = {"encoder.weight": t["W_enc"].T, "encoder.bias": t["b_enc"], "W_dec": t["W_dec"].T, "b_dec": t["b_dec"]}
    config = {"d_in": D, "num_latents": C, "k": 8, "normalize_decoder": False, "signed": False}
    folder = write(tmp_path / "layers.3", config, given, "sae.safetensors")
    theirs = SAE.load_from_disk(str(folder), converter=sparsify_disk_loader, dtype="float32")
    if layout == "as sparsify writes it":
        write(folder, config, given | {"W_dec": t["W_dec"]}, "sae.safetensors")
    expected, found, read = both(folder, theirs)
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(other, one, atol=1e-5, rtol=1e-5)
    assert trained_at(read.config)[1] == Site("resid_post", 3)
    write(folder, config | {"signed": True}, given, "sae.safetensors")
    with pytest.raises(ConfigError, match="signed"):
        DictionaryConcepts.from_sae_lens(folder, SITE)


def test_a_factor_of_fine_tuning_scales_what_its_latents_write(tmp_path: Path) -> None:
    # sae-lens 3 to 5 multiplied the codes by it before decoding; sae-lens 6 cannot load such a folder.
    t, factor = tensors_of("standard"), draw(11, C).abs() + 0.5
    config = OLD | {"architecture": "standard", "finetuning_scaling_factor": True}
    plain = DictionaryConcepts.from_sae_lens(write(tmp_path / "plain", OLD, t), SITE)
    for name in ("scaling_factor", "finetuning_scaling_factor"):
        tuned = DictionaryConcepts.from_sae_lens(write(tmp_path / name, config, t | {name: factor}), SITE)
        codes = tuned.encode(ROWS)
        assert torch.equal(codes, plain.encode(ROWS))
        torch.testing.assert_close(tuned.decode(codes), (codes * factor) @ t["W_dec"] + t["b_dec"], atol=1e-5, rtol=1e-5)
    with pytest.raises(ConfigError, match="scaling_factor"):
        DictionaryConcepts.from_sae_lens(write(tmp_path / "hidden", OLD, t | {"scaling_factor": factor}), SITE)


@pytest.mark.parametrize(
    ("config", "tensors", "named"),
    [
        (*new("standard", whitening="zca"), "whitening"),
        (NEW | {"architecture": "standard"}, tensors_of("standard") | {"W_skip": draw(0, D, D)}, "W_skip"),
        (NEW | {"architecture": "jumprelu"}, tensors_of("standard"), "threshold"),
        (NEW | {"architecture": "standard"}, tensors_of("gated"), "b_enc"),
        (*old("standard", activation_fn_str="tanh-relu"), "tanh-relu"),
        (*old("standard", activation_fn_str="topk"), "does not say k"),
        (*old("standard", activation_fn_str="topk", activation_fn_kwargs={"k": 8, "postact": "gelu"}), "postact"),
        (*new("standard", activation_fn="topk", k=8), "topk.*standard"),
        (*new("standard", normalize_activations="covariance_whitening"), "covariance_whitening"),
        (*new("standard", d_sae=C + 1), "d_sae is 41"),
        (NEW | {"architecture": "transcoder", "d_out": D}, tensors_of("standard"), "transcoder.*one site"),
        (NEW | {"architecture": "jumprelu_skip_transcoder", "d_out": D}, tensors_of("jumprelu"), "jumprelu_skip_transcoder"),
        (NEW | {"architecture": "temporal"}, tensors_of("standard"), "temporal.*sequences"),
        (NEW, tensors_of("standard"), "architecture None"),
        (*new("topk", k=0), "k=0"),
        (*new("topk", k=C + 1), f"k={C + 1} latents.*has {C}"),
        (*new("abstopk", k=C + 1), f"k={C + 1} latents.*has {C}"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused_by_name(config: dict, tensors: dict, named: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=named):
        DictionaryConcepts.from_sae_lens(write(tmp_path, config, tensors), SITE)


def test_every_key_that_sae_lens_writes_is_known() -> None:
    import sae_lens
    from sae_lens.loading.pretrained_sae_loaders import LLM_METADATA_KEYS

    names = set(LLM_METADATA_KEYS)
    for name, maker in vars(sae_lens).items():
        if name.endswith(("SAEConfig", "LanguageModelSAERunnerConfig")) and dataclasses.is_dataclass(maker):
            names |= {field.name for field in dataclasses.fields(maker)}
    # Of a temporal dictionary, which is refused as such.
    temporal = {field.name for field in dataclasses.fields(sae_lens.TemporalSAEConfig)}
    assert names - temporal - CODE_KEYS - OTHER_KEYS == set()
    assert not CODE_KEYS & OTHER_KEYS


@pytest.mark.parametrize(
    ("spelled", "site"),
    [
        ({"hook_name": "blocks.8.hook_resid_pre"}, "resid_pre.8"),
        ({"metadata": {"hook_name": "blocks.2.hook_mlp_out"}}, "mlp_out.2"),
        ({"hook_point": "blocks.3.hook_attn_out"}, "attn_out.3"),
        ({"hook_name": "blocks.5.attn.hook_z", "hook_head_index": 2}, "head_out.5.2"),
        ({"metadata": {"hf_hook_name": "model.layers.12"}}, "resid_post.12"),
        ({"hook_name": "transformer.h.4.mlp"}, "mlp_out.4"),
        ({"hook_name": "resid_post.3"}, "resid_post.3"),
        ({"hook_name": "blocks.5.attn.hook_z"}, None),
        ({"hook_name": "something else"}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_where_a_dictionary_was_trained_is_read_in_every_spelling(spelled: dict, site: str | None) -> None:
    assert trained_at(spelled)[1] == (None if site is None else Site.parse(site))


def test_the_stream_before_a_block_is_that_after_the_one_before() -> None:
    assert same_place(Site.parse("resid_pre.8")) == Site.parse("resid_post.7")
    assert same_place(Site.parse("layer:transformer.h.7")) == Site.parse("resid_post.7")


def test_an_older_run_that_kept_a_layout_of_sae_lens_3_is_read_as_topk(tmp_path: Path) -> None:
    made = DictionaryConcepts(SITE, tensors_of("standard"), OLD | {"architecture": "standard"})
    made.save(tmp_path / "run")
    (tmp_path / "run" / "cfg.json").write_text(json.dumps(OLD | {"architecture": "standard", "activation_fn_str": "topk"} | TOPK))
    assert int((ConceptSet.load(tmp_path / "run").encode(ROWS) > 0).sum(-1).max()) == 8


def test_a_threshold_may_be_written_as_its_logarithm(tmp_path: Path) -> None:
    config, tensors = new("jumprelu")
    by_logarithm = {name: tensor for name, tensor in tensors.items() if name != "threshold"}
    by_logarithm["log_threshold"] = tensors["threshold"].log()
    plain, other = (
        DictionaryConcepts.from_sae_lens(write(tmp_path / name, config, given), SITE)
        for name, given in (("plain", tensors), ("logarithm", by_logarithm))
    )
    torch.testing.assert_close(other.threshold, plain.threshold)


def test_a_latent_of_a_dictionary_that_scales_every_row_is_set(tmp_path: Path) -> None:
    read = DictionaryConcepts.from_sae_lens(write(tmp_path, *CASES["layer_norm"]), SITE)
    h = ROWS[:12].reshape(3, 4, D)
    codes = read.encode(ROWS[:12])
    changed = codes.clone()
    changed[:, 5] = 3.0
    expected = ROWS[:12] + read.decode(changed, ROWS[:12]) - read.decode(codes, ROWS[:12])
    torch.testing.assert_close(set_latent(SITE, read, 5, 3.0)(h).reshape(12, D), expected, atol=1e-4, rtol=1e-4)
    with pytest.raises(ConfigError, match="layer_norm"):
        read.decode(codes)
