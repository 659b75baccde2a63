"""Encoders of other kinds from Hugging Face folders: T5 and BART without their decoders, image models, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from torch import nn

from tests.models.conftest import save_tokenizer
from workbench.activations import capture
from workbench.activations.labels import row_targets
from workbench.datasets import dataset_from_table
from workbench.errors import ConfigError, DataError, WorkbenchWarning
from workbench.models import Site, load_model

T5 = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "vocab_size": 300}
VIT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 32,
    "patch_size": 8,
}
IMAGE = np.random.default_rng(0).integers(0, 256, (48, 40, 3), np.uint8)


def test_the_encoder_of_a_t5_folder_is_loaded(tmp_path):
    torch.manual_seed(0)
    whole = hf.T5ForConditionalGeneration(hf.T5Config(**T5, decoder_start_token_id=0)).eval()
    whole.save_pretrained(tmp_path / "whole")
    hf.T5EncoderModel.from_pretrained(tmp_path / "whole").save_pretrained(tmp_path / "alone")
    for name in ("whole", "alone"):
        save_tokenizer(tmp_path / name)
    with pytest.warns(WorkbenchWarning, match="whole has an encoder and a decoder: only its encoder is loaded"):
        model = load_model(tmp_path / "whole")
    alone = load_model(tmp_path / "alone")
    assert model.kind == alone.kind == "encoder"
    assert model.sites == alone.sites
    assert model.weights_hash == alone.weights_hash
    batch = model.batch(["the first text", "ab"])
    site = Site("layer", path="block.1")
    output, seen = model.forward(batch, [site])
    with torch.no_grad():
        expected = whole.encoder(**batch.inputs).last_hidden_state
    weight = batch.attention[..., None].float()
    torch.testing.assert_close(output.pooled, (expected * weight).sum(1) / weight.sum(1))
    torch.testing.assert_close(whole.encoder.final_layer_norm(seen[site])[0], expected[0])
    assert model.embed(["a", "b"]).shape == (2, 16)


def test_the_encoder_of_a_bart_folder_is_loaded(tmp_path):
    small = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2, "d_model": 16}
    config = hf.BartConfig(**small, encoder_ffn_dim=32, decoder_ffn_dim=32, vocab_size=300, max_position_embeddings=40)
    whole = hf.BartForConditionalGeneration(config).eval()
    whole.save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    with pytest.warns(WorkbenchWarning, match="only its encoder"):
        model = load_model(tmp_path)
    batch = model.batch(["the text"])
    with torch.no_grad():
        expected = whole.model.encoder(**batch.inputs).last_hidden_state.mean(1)
    torch.testing.assert_close(model.forward(batch)[0].pooled, expected)


def test_weights_that_are_computed_are_not_missed(tmp_path):
    small = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2, "d_model": 16}
    config = hf.MarianConfig(
        **small, encoder_ffn_dim=32, decoder_ffn_dim=32, vocab_size=300, max_position_embeddings=40, pad_token_id=2,
        decoder_start_token_id=2,
    )  # fmt: skip
    whole = hf.MarianMTModel(config).eval()
    whole.save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    # Marian's positions are sinusoids, which its files leave out.
    assert not any("embed_positions" in name for name in load_file(tmp_path / "model.safetensors"))
    with pytest.warns(WorkbenchWarning, match="only its encoder"):
        model = load_model(tmp_path)
    batch = model.batch(["the text"])
    with torch.no_grad():
        expected = whole.model.encoder(**batch.inputs).last_hidden_state.mean(1)
    torch.testing.assert_close(model.forward(batch)[0].pooled, expected)
    # A table that is learned is missed all the same.
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["model.shared.weight"]
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ConfigError, match="lack"):
        load_model(tmp_path)


def save_vision(folder, net, processor):
    net.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def square(side=32, **more):
    return hf.ViTImageProcessor(size={"height": side, "width": side}, **more)


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    torch.manual_seed(0)
    net = hf.ViTForImageClassification(hf.ViTConfig(**VIT, id2label={0: "cat", 1: "dog", 2: "mat"}, label2id={}))
    return net, save_vision(tmp_path_factory.mktemp("vit"), net, square())


def test_a_vit_folder_gives_a_row_a_patch(vit):
    net, folder = vit
    model = load_model(folder)
    assert (model.kind, model.modality, model.classes) == ("vision", "image", ("cat", "dog", "mat"))
    batch = model.batch([IMAGE, IMAGE[::-1].copy()])
    pixels = square()(images=[IMAGE], return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(batch.inputs["pixels"][:1], pixels)
    site = Site("layer", path="vit.layers.1") if Site("layer", path="vit.layers.1") in model.sites else None
    site = site or next(s for s in model.sites if s.path.endswith("layer.1"))
    output, seen = model.forward(batch, [site])
    with torch.no_grad():
        raw = net(batch.inputs["pixels"], output_hidden_states=True)
    torch.testing.assert_close(output.logits, raw.logits)
    assert model.grid(site) == (4, 4)
    # Without [CLS], which is no place in the image.
    torch.testing.assert_close(seen[site], raw.hidden_states[2][:, 1:])
    torch.testing.assert_close(net.classifier(output.pooled), output.logits)
    every = load_model(folder, special=True)
    torch.testing.assert_close(every.activations(batch, [site])[site], raw.hidden_states[2])
    assert load_model(**every.source).source == every.source


def test_an_image_set_of_a_vit_knows_regions_and_its_processor(vit, tmp_path):
    _, folder = vit
    model = load_model(folder)
    frame = pd.DataFrame({"image": [IMAGE, IMAGE[::-1].copy()]})
    # The right half of the upper half of an image of 40 by 48 pixels.
    frame["regions"] = [[{"x0": 20, "y0": 0, "x1": 40, "y1": 24, "label": "corner"}], []]
    data = dataset_from_table(frame, image="image", labels=[])
    site = next(str(s) for s in model.sites if s.path.endswith(("layer.1", "layers.1")))
    acts = capture(model, data, sites=site, folder=tmp_path / "acts")
    assert acts.n_rows == 32
    targets = row_targets(acts, data)
    marked = targets.values[:16, targets.names.index("region:corner")].reshape(4, 4)
    assert marked.tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]]
    # Another preparation is another capture.
    other = save_vision(tmp_path / "other", hf.ViTForImageClassification.from_pretrained(folder), square(image_mean=[0.4] * 3))
    assert load_model(other).weights_hash == model.weights_hash
    assert load_model(other).input_options() != model.input_options()
    cropping = {"size": {"height": 40, "width": 40}, "do_center_crop": True, "crop_size": {"height": 32, "width": 32}}
    cropped = hf.CLIPImageProcessor(**cropping)
    model = load_model(save_vision(tmp_path / "cropped", hf.ViTForImageClassification.from_pretrained(folder), cropped))
    acts = capture(model, data, sites=site, folder=tmp_path / "acts")
    with pytest.warns(WorkbenchWarning, match="crops images"):
        targets = row_targets(acts, data)
    assert np.isnan(targets.values).all()


def test_edits_of_patches_leave_the_class_token(vit):
    from workbench.edits import zero

    _, folder = vit
    model = load_model(folder)
    site = next(s for s in model.sites if s.path.endswith(("layer.1", "layers.1")))
    batch = model.batch([IMAGE])
    with model.edited(zero(site)):
        edited = model.forward(batch)[0]
    # The classifier reads [CLS] alone, and nothing behind this layer mixes positions.
    torch.testing.assert_close(edited.logits, model.forward(batch)[0].logits)


RESNET = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
CONVNEXT = {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2, "image_size": 32}
SWIN = {"embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4, "image_size": 32, "patch_size": 4}


@pytest.mark.parametrize(
    ("net", "grids"),
    [
        (hf.ResNetForImageClassification, {(16, 16), (8, 8), (4, 4), (1, 1)}),
        (hf.ConvNextForImageClassification, {(8, 8), (4, 4), (1, 1)}),
        (hf.ConvNextModel, {(8, 8), (4, 4), (1, 1)}),
        (hf.SwinForImageClassification, {(8, 8), (4, 4), (1, 1)}),
        (hf.DeiTForImageClassification, {(4, 4), (1, 1)}),
        (hf.Dinov2Model, {(4, 4), (1, 1)}),
    ],
)
def test_other_image_models_give_their_rows_by_place(net, grids, tmp_path):
    torch.manual_seed(0)
    options = {"ResNet": RESNET, "ConvNext": CONVNEXT, "Swin": SWIN, "DeiT": VIT}
    made = next((o for name, o in options.items() if net.__name__.startswith(name)), VIT)
    model_here = net(net.config_class(**made))
    model = load_model(save_vision(tmp_path, model_here, square()))
    batch = model.batch([IMAGE])
    output, seen = model.forward(batch, model.sites)
    assert {model.grid(site) for site in model.sites} <= grids
    for site in model.sites:
        height, width = model.grid(site)
        assert seen[site].shape == (1, height * width, model.width(site))
    if output.logits is not None:
        with torch.no_grad():
            torch.testing.assert_close(output.logits, model_here(batch.inputs["pixels"]).logits)


def test_channels_are_columns_wherever_they_are(tmp_path):
    torch.manual_seed(0)
    net = hf.ConvNextModel(hf.ConvNextConfig(**CONVNEXT))
    model = load_model(save_vision(tmp_path, net, square()))
    batch = model.batch([IMAGE])
    made = {}
    for name, module in net.named_modules():
        module.register_forward_hook(lambda _m, _i, output, name=name: made.setdefault(name, output))
    with torch.no_grad():
        net(batch.inputs["pixels"])
    for site in model.sites:
        output = made[site.path]
        if output.dim() == 4:
            rows = model.activations(batch, [site])[site]
            channels = (
                3 if isinstance(net.get_submodule(site.path), nn.Linear) or site.path.endswith((".act", ".layernorm")) else 1
            )
            last = "layers" in site.path and channels == 3
            torch.testing.assert_close(rows, output.flatten(1, 2) if last else output.flatten(2).transpose(1, 2))


@pytest.mark.parametrize(
    ("config", "what"),
    [
        (hf.Wav2Vec2Config(), "sound"),
        (hf.WhisperConfig(), "sound"),
        (hf.CLIPConfig(), "images together with texts"),
        (
            hf.DetrConfig(
                use_timm_backbone=False, use_pretrained_backbone=False, backbone=None, backbone_config=hf.ResNetConfig()
            ),
            "objects",
        ),
    ],
)
def test_what_cannot_be_read_is_told_by_what_it_is(config, what, tmp_path):
    config.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ConfigError, match=what):
        load_model(tmp_path)


def test_image_folders_that_are_not_whole_say_what_is_missing(vit, tmp_path):
    net, _ = vit
    net.save_pretrained(tmp_path / "none")
    with pytest.raises(ConfigError, match=r"no preprocessor_config\.json: save the model's image processor"):
        load_model(tmp_path / "none")
    (tmp_path / "text").mkdir()
    hf.BertConfig().save_pretrained(tmp_path / "text")
    (tmp_path / "text" / "model.safetensors").write_bytes(b"")
    with pytest.raises(ConfigError, match="no tokenizer"):
        load_model(tmp_path / "text")
    mae = hf.ViTMAEModel(hf.ViTMAEConfig(**VIT, decoder_num_hidden_layers=1))
    with pytest.raises(ConfigError, match="at random"):
        load_model(save_vision(tmp_path / "mae", mae, square()))
    whole = hf.CLIPImageProcessor(size={"shortest_edge": 32}, do_center_crop=False)
    resnet = hf.ResNetModel(hf.ResNetConfig(**RESNET))
    model = load_model(save_vision(tmp_path / "sizes", resnet, whole))
    with pytest.raises(DataError, match="makes 38 by 32 pixels"):
        model.batch([IMAGE])


class Twins(nn.Module):
    """Several linear layers, the last of which is the classifier; what they put out is freed on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(12))

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = layer(x) * 1.0
        return self.layers[-1](x)


def test_the_classifier_of_a_module_is_the_same_at_every_load():
    torch.manual_seed(0)
    net = Twins()
    first = load_model(net, example=np.zeros(8, np.float32))
    for _ in range(30):
        model = load_model(net, example=np.zeros(8, np.float32))
        assert model._classifier is net.layers[-1]
        assert model.sites == first.sites


def test_a_freed_tensor_is_not_taken_for_the_output():
    class Doubled(Twins):
        def forward(self, x):
            return super().forward(x) * 2.0

    # The output is of no linear layer: the tensors of those are freed, and another may stand in the place of one.
    found = {load_model(Doubled(), example=np.zeros(8, np.float32))._classifier for _ in range(30)}
    assert found == {None}
