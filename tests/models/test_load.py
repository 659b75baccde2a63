from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.models.architectures import CAUSAL, save_tokenizer, scatter
from workbench.errors import ConfigError, UnknownNameError, WorkbenchWarning
from workbench.models import load_model


def test_a_site_can_be_parsed_without_torch():
    code = "import sys; from workbench.models import Site; Site('embed'); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["minilmm", "no-such/model", "../etc", "/nowhere/at/all", "a b"])
def test_a_name_that_leads_nowhere_is_said_so(name):
    with pytest.raises(UnknownNameError, match="neither a bundled model nor a folder"):
        load_model(name)


def test_a_bundled_name_is_suggested():
    with pytest.raises(UnknownNameError, match="Did you mean 'minilm'"):
        load_model("minlm")


def test_a_hub_that_cannot_be_reached_is_asked_once(tmp_path):
    # Nothing listens there.
    offline = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path)}
    code = "import workbench; workbench.load_model('minlm')"
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | offline, capture_output=True, text=True, check=False)
    assert "Did you mean 'minilm'?" in done.stderr
    assert "Retrying" not in done.stderr


def test_unknown_options_are_refused():
    with pytest.raises(ConfigError, match="no such option: lenght"):
        load_model("minilm", lenght=3)


def test_a_folder_must_be_whole(tiny, tmp_path):
    def copy(name, *without):
        folder = shutil.copytree(tiny("gpt2"), tmp_path / name)
        for pattern in without:
            for path in folder.glob(pattern):
                path.unlink()
        return folder

    with pytest.raises(ConfigError, match="no tokenizer"):
        load_model(copy("a", "tokenizer*", "special*"))
    with pytest.raises(ConfigError, match=r"no config\.json"):
        load_model(copy("b", "config.json"))
    with pytest.raises(ConfigError, match="no weights"):
        load_model(copy("c", "*.safetensors"))
    pickled = copy("d", "*.safetensors")
    (pickled / "pytorch_model.bin").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(ConfigError, match="pickle, which is never opened"):
        load_model(pickled)
    odd = copy("e")
    (odd / "config.json").write_text(json.dumps({"model_type": "no-such-thing"}))
    with pytest.raises(ConfigError, match="could not be loaded"):
        load_model(odd)


@pytest.mark.parametrize("length", [0, 3, 65])
def test_a_maximum_length_that_the_model_lacks_is_refused(tiny, length):
    with pytest.raises(ConfigError, match="4 to 64"):
        load_model(tiny("gpt2"), max_length=length)


def test_the_hash_is_that_of_the_weights(tiny, tmp_path, minilm):
    for kind in ("gpt2", "bert"):
        folder = tiny(kind)
        first = load_model(folder).weights_hash
        assert first == load_model(folder, max_length=8).weights_hash
        changed = shutil.copytree(folder, tmp_path / kind)
        state = load_file(changed / "model.safetensors")
        name = next(n for n in state if n.endswith("weight") and "pooler" not in n)
        state[name].view(-1)[0] += 1
        save_file(state, changed / "model.safetensors", metadata={"format": "pt"})
        assert load_model(changed).weights_hash != first
    assert len(minilm.weights_hash) == 64


def test_hashing_is_fast(minilm):
    from workbench.models.weights import module_hash

    start = time.perf_counter()
    module_hash(minilm.bridge.original_model)
    assert time.perf_counter() - start < 5


def test_an_encoder_has_one_hash_whichever_head_it_was_saved_with(tiny, tmp_path):
    from transformers import AutoModelForMaskedLM

    folder = shutil.copytree(tiny("bert"), tmp_path / "masked")
    AutoModelForMaskedLM.from_pretrained(folder).save_pretrained(folder)
    bare, masked = load_model(tiny("bert")), load_model(folder)
    batch = bare.batch(["a text"])
    assert torch.equal(bare.forward(batch)[0].pooled, masked.forward(batch)[0].pooled)
    assert "pooler.dense.weight" not in load_file(folder / "model.safetensors")


def test_loading_is_silent(capfd, tiny):
    load_model(tiny("bert"))
    out, err = capfd.readouterr()
    assert out + err == ""


def test_a_model_says_how_to_load_it_again(tiny, minilm):
    model = load_model(tiny("gpt2"), max_length=9)
    again = load_model(**json.loads(json.dumps(model.describe()))["source"])
    assert again.describe() == model.describe()
    assert load_model(**minilm.source).weights_hash == minilm.weights_hash
    assert "minilm" in repr(minilm)
    assert minilm.describe()["widths"]["final"] == 384


def test_an_architecture_without_a_bridge_has_its_modules_as_sites(tiny):
    model = load_model(tiny("distilbert"))
    assert model.kind == "encoder"
    site = model.site("layer:transformer.layer.0")
    batch = model.batch(["some text", "more of it here"])
    seen = model.activations(batch, [site])[site]
    assert seen.shape == (*batch.attention.shape, 32)
    from transformers import AutoModel

    with torch.no_grad():
        hidden = AutoModel.from_pretrained(tiny("distilbert"))(**batch.inputs, output_hidden_states=True).hidden_states
    torch.testing.assert_close(seen[batch.attention], hidden[1][batch.attention], atol=1e-4, rtol=1e-4)
    assert model.embed(["one", "two"]).shape == (2, 32)


def test_only_text_encoders_embed(tiny, efficientnet):
    for model in (load_model(tiny("gpt2")), efficientnet):
        with pytest.raises(ConfigError, match="no text encoder"):
            model.embed(["a"])


def test_a_decoder_without_its_output_layer_has_no_logits(tmp_path):
    from transformers import AutoConfig, AutoModel

    for kind in ("llama", "gpt2"):
        net = AutoModel.from_config(AutoConfig.for_model(kind, **CAUSAL[kind]))
        scatter(net)
        net.save_pretrained(tmp_path / kind)
        save_tokenizer(tmp_path / kind)
    with pytest.warns(WorkbenchWarning, match="no output layer"):
        model = load_model(tmp_path / "llama")
    assert model.kind == "encoder"
    with pytest.raises(ConfigError, match="no causal language model"):
        model.generate("a")
    # Its output layer is its embedding.
    assert load_model(tmp_path / "gpt2").kind == "decoder"


def test_missing_weights_are_not_made_up(tmp_path, tiny):
    folder = shutil.copytree(tiny("llama"), tmp_path / "llama")
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ConfigError, match=r"lack 1 of its weights, such as model\.layers\.1\.mlp\.up_proj"):
        load_model(folder)


def test_a_model_that_cannot_be_wrapped_is_used_as_it_is(tiny, tmp_path, monkeypatch):
    from transformer_lens.model_bridge import TransformerBridge

    def boot(*_args, **_options):
        # What transformer-lens 3.9 does with CodeGen and transformers 5.24.
        raise AttributeError("'CodeGenAttention' object has no attribute 'embed_positions'")

    # Checked, since with a cache that the check refuses the text would be another one.
    wanted = load_model(tiny("gpt2")).generate("The people", max_new_tokens=4)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(TransformerBridge, "boot_transformers", boot)
    for _ in range(2):  # Also where it is remembered.
        with pytest.warns(WorkbenchWarning, match="off beyond comparison"):
            model = load_model(tiny("gpt2"))
        assert str(model.sites[0]).startswith("layer:")
        assert model.generate("The people", max_new_tokens=4).tokens == wanted.tokens


def copied(tiny, tmp_path, name: str = "gpt2"):
    return shutil.copytree(tiny(name), tmp_path / name)


def test_weights_that_are_not_numbers_are_refused_each_time_in_the_same_words(tiny, tmp_path):
    folder = copied(tiny, tmp_path)
    kept = load_file(folder / "model.safetensors")
    largest = max(kept, key=lambda key: kept[key].numel())
    kept[largest].fill_(float("nan"))
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    said = []
    for _ in range(3):
        with pytest.raises(ConfigError, match="numbers that are not finite in float32: its weights are damaged") as found:
            load_model(str(folder))
        said.append(str(found.value))
    assert len(set(said)) == 1


def test_a_model_that_is_refused_is_refused_again(tiny, tmp_path, monkeypatch):
    """What was found of it is remembered, and no other model stands in for it."""
    from workbench.models import checks

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(checks, "compare", lambda *_, **__: {"layers": 1.0, "logits": 1.0, "padding": 1.0})
    folder = copied(tiny, tmp_path)
    for _ in range(3):
        with pytest.raises(ConfigError, match="with the padding that a longer text"):
            load_model(str(folder))


def test_files_that_are_cut_short_or_of_other_sizes_are_a_sentence(tiny, tmp_path):
    folder = copied(tiny, tmp_path)
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(ConfigError, match="cannot be read, as of a file that is cut short or damaged"):
        load_model(str(folder))
    (folder / "model.safetensors").write_bytes(weights)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"n_embd": 2 * config["n_embd"]}))
    with pytest.raises(ConfigError, match="does not fit its weights"):
        load_model(str(folder))


def test_generation_settings_that_are_not_followed_are_named(tiny, tmp_path):
    folder = copied(tiny, tmp_path)
    file = folder / "generation_config.json"
    kept = json.loads(file.read_text())
    file.write_text(json.dumps(kept | {"repetition_penalty": 3.0, "suppress_tokens": [32], "temperature": 0.5}))
    with pytest.warns(WorkbenchWarning, match="hold repetition_penalty, suppress_tokens, which are not followed"):
        load_model(str(folder))
