"""Where a model runs changes nothing of what it is; on a GPU everything works that works without one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import workbench as wb
from workbench import readout
from workbench.concepts import LinearConcepts
from workbench.concepts.dictionary import DictionaryConcepts
from workbench.edits import Edit, clamp, erase, fit_eraser, make_edit, mean, patch, project_out, resample, steer, zero
from workbench.errors import ConfigError
from workbench.evidence import causes, steering
from workbench.models.devices import choose_device
from workbench.tokens import direct

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA GPU")
META = torch.device("meta")
SITE = "resid_post.4"


def dictionary(architecture: str, **config) -> DictionaryConcepts:
    made = torch.Generator().manual_seed(0)
    shapes = {"W_enc": (6, 12), "W_dec": (12, 6), "b_enc": (12,), "b_dec": (6,), "threshold": (12,)}
    tensors = {name: torch.randn(*shape, generator=made) for name, shape in shapes.items()}
    return DictionaryConcepts(SITE, tensors, {"architecture": architecture, "k": 3} | config)


def test_a_device_that_is_not_there_is_named_with_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    for asked in ("nonsense", "cuda:99", "meta"):
        with pytest.raises(ConfigError, match=rf"no device '{asked}'.*there is cpu.*WORKBENCH_DEVICE"):
            choose_device(asked)
    monkeypatch.setenv("WORKBENCH_DEVICE", "nonsense")
    with pytest.raises(ConfigError, match="no device 'nonsense'"):
        wb.load_model("scribe")
    monkeypatch.setenv("WORKBENCH_DEVICE", "cpu")
    assert choose_device() == "cpu"


def test_where_a_model_runs_is_no_part_of_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    model = wb.load_model("scribe", device="cpu", max_length=64)
    assert model.source == {"spec": "scribe", "max_length": 64}
    monkeypatch.setenv("WORKBENCH_DEVICE", "cpu")
    again = wb.load_model("scribe", max_length=64)
    assert again.describe() == model.describe()


@pytest.mark.parametrize(
    "concepts",
    [
        LinearConcepts(SITE, torch.randn(4, 6), torch.randn(4)),
        dictionary("standard"),
        dictionary("topk", rescale_acts_by_decoder_norm=True),
        dictionary("jumprelu"),
        dictionary("topk").subset([2, 5]),
    ],
    ids=["linear", "standard", "topk", "jumprelu", "slice"],
)
def test_concepts_are_read_where_the_activations_are(concepts) -> None:
    codes = concepts.encode(torch.empty(5, 6, device=META))
    assert codes.device == META
    assert codes.shape == (5, len(concepts))
    # Nothing of the set itself has moved, and it is sent over once.
    assert concepts.encode(torch.zeros(5, 6)).device.type == "cpu"
    assert concepts.on(META) is concepts.on(META)
    assert concepts.on(torch.device("cpu")) is concepts
    if isinstance(concepts, DictionaryConcepts):
        assert concepts.decode(codes).device == META


@pytest.fixture(scope="module")
def both():
    return wb.load_model("scribe", device="cpu"), wb.load_model("scribe", device="cuda")


def edits() -> dict[str, Edit]:
    made = torch.Generator().manual_seed(0)
    v, rows = torch.randn(256, generator=made), torch.randn(40, 256, generator=made)
    latents = DictionaryConcepts.from_sae_lens(wb.datasets.paths.data_dir() / "scribe-sae", SITE)
    eraser = fit_eraser(torch.randn(600, 256, generator=made), torch.randint(2, (600,), generator=made).float())
    return {
        "steer": steer(SITE, v, 2.0),
        "clamp": clamp(SITE, v, 3.0),
        "project_out": project_out(SITE, v),
        "mean": mean(SITE, v, 0.5),
        "zero": zero(SITE, 0.3),
        "patch": patch(SITE, rows[:3], start=2),
        "resample": resample(SITE, rows, direction=v),
        "erase": erase(SITE, eraser.left, eraser.right, eraser.bias),
        "set_latent": make_edit("set_latent", SITE, {"dictionary": latents, "latent": 2906, "value": 9.0}),
        "without error": make_edit("set_latent", SITE, {"dictionary": latents, "latent": 7, "value": 9.0, "keep_error": False}),
        "scale_latent": make_edit("scale_latent", SITE, {"dictionary": latents, "latent": 2906, "factor": 3.0}),
        "some positions": steer(SITE, v, 2.0).at([1, 3]),
        "custom": Edit(SITE, lambda h: h * 0.5),
    }


@GPU
def test_a_gpu_reads_and_edits_as_the_processor_does(both) -> None:
    texts = ["The people of this country have spoken.", "It was the best of times, it was the worst of times."]
    for name, edit in {"no edit": None, **edits()}.items():
        found = []
        for model in both:
            with model.edited(*([] if edit is None else [edit])):
                output, seen = model.forward(model.batch(texts), [SITE])
            assert output.logits.device == seen[model.site(SITE)].device
            found.append((output.logits.cpu(), seen[model.site(SITE)].cpu()))
        for ours, theirs in zip(*found, strict=True):
            torch.testing.assert_close(ours, theirs, atol=2e-2, rtol=1e-3, msg=lambda text, name=name: f"{name}: {text}")


@GPU
def test_a_gpu_writes_the_same_text(both) -> None:
    written = [
        model.generate(
            "The people of this country", [steer(SITE, torch.ones(256), 1.0), Edit(SITE, lambda h: h)], max_new_tokens=12
        )
        for model in both
    ]
    assert written[0].texts == written[1].texts
    assert np.allclose(written[0].log_probs, written[1].log_probs, atol=1e-2)


@GPU
def test_a_gpu_measures_what_the_processor_does(both) -> None:
    texts = wb.load_dataset("topics", limit=400)
    some = texts.inputs(range(6))
    directions = causes.random_directions(3, 256, 0)
    examples = np.arange(0, 240)
    found = []
    for model in both:
        site = model.site(SITE)
        passages = steering.read_passages(model, some)
        reading = steering.steer_passages(
            model, site, directions, [0.1, 0.5], 20.0, passages, [torch.tensor([5, 9]), torch.tensor([40])]
        )
        frozen = readout.fit_readout(model, texts, 200)
        response = causes.dose_response(model, site, directions, some, frozen, 20.0, (-0.5, -0.25, 0.25, 0.5))
        gradients = readout.output_gradients(model, texts, frozen, [site], frozen.labels[:2], per_label=4)
        mapping = direct.direct_map(model, some)
        watched = [LinearConcepts(SITE, directions)]
        numbers = {
            "loss": passages.loss, "odds": reading.odds, "cost": reading.loss, "kl": reading.divergence,
            "pooled": readout.pooled_outputs(model, texts, examples[:20]).numpy(),
            "readout": response.readout, "shift": response.output,
            "gradients": torch.cat(list(gradients[SITE].values())).numpy(),
            "effects": mapping.effects(directions).cpu().numpy(),
            "firing": steering.firing(model, site, [None, directions[0] * 5], passages, watched)[0],
            "lens": direct.logit_lens(model, some[0])["probability"].to_numpy(),
        }  # fmt: skip
        found.append(numbers)
    for name, ours in found[0].items():
        scale = np.abs(ours).max()
        np.testing.assert_allclose(found[1][name] / scale, ours / scale, atol=2e-3, err_msg=name)


@GPU
def test_a_study_is_made_on_a_gpu_and_opens_without_one(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_DEVICE", "cuda")
    texts = wb.load_dataset("topics", limit=420)
    with wb.open_study(tmp_path / "study") as study:
        acts = study.capture(wb.load_model("scribe"), texts, sites=["resid_post.1", SITE])
        here = acts.at(SITE)
        latents = study.run("pretrained_dictionary", here)
        study.run("sparse_autoencoder", here, d_sae=192, k=8, samples=40_000, batch_size=512)
        probes = study.run("linear_probe", here, labels="tokens")
        cavs = study.run("concept_activation", here, labels="tokens", per_class=12)
        study.run("mutual_information", here, labels="tokens", permutations=19, max_rows=2000)
        for run in (probes, cavs):
            study.examine(run, steer=1, families=("detects", "informs", "locates", "causes"))
        study.examine([study.concept(f"{latents.id}.2906")], families=("causes",))
        study.counterparts()
        concept = study.concept(f"{latents.id}.2906")
        values = concept.on_text("The people of this country are walking.")["value"]
        recipe = wb.Recipe.made(steps=[{"concept": concept.id, "action": "add", "amount": 20.0}], prompt="The people", name="x")
        written = recipe.bound(study).run(study).texts
        evidence = study.evidence()
        assert not evidence["error"].fillna("").str.contains("device|cuda", case=False).any()
        assert evidence["metric"].isin(["causes.tokens", "causes.readout", "causes.sensitivity"]).any()
    monkeypatch.setenv("WORKBENCH_DEVICE", "cpu")
    with wb.open_study(tmp_path / "study", create=False) as study:
        assert next(iter(study.model.bridge.parameters())).device.type == "cpu"
        assert study.verify().empty
        again = study.concept(concept.id)
        np.testing.assert_allclose(again.on_text("The people of this country are walking.")["value"], values, atol=1e-2)
        assert recipe.bound(study).run(study).texts == written


@GPU
def test_a_module_of_ones_own_runs_on_a_gpu() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(8, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3))
    model = wb.load_model(net, device="cuda", name="mine")
    batch = model.batch([np.ones(8, np.float32), np.zeros(8, np.float32)])
    with model.edited(zero("layer:0")):
        output, seen = model.forward(batch, ["layer:0"])
    assert not seen[model.site("layer:0")].cpu().any()
    assert output.logits.device.type == "cuda"
