"""The bundled language model is what its card says: small, whole, and as good as it claims."""

import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from workbench.concepts.dictionary import DictionaryConcepts
from workbench.datasets import data_dir
from workbench.models import load_model

TEXTS = ["The President sent a message to Congress in 1861.", '"You must not go," she said, and shut the door.']
SITE = "resid_post.4"


@pytest.fixture(scope="module")
def scribe():
    return load_model("scribe")


@pytest.fixture(scope="module")
def plain():
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(data_dir() / "scribe", dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def passages():
    return pq.ParquetFile(data_dir() / "scribe-heldout.parquet").read()["text"].to_pylist()


def on_card(folder, row):
    """The first number in the row of this name in a table of the card."""
    card = (data_dir() / folder / "README.md").read_text(encoding="utf-8")
    line = next(line for line in card.split("\n") if line.startswith(f"| {row} |"))
    return float(re.findall(r"\| \**(-?[\d.]+)", line)[0])


def token_losses(model, batch):
    """The loss at each token that a text has, and how many there are."""
    with torch.no_grad():
        logits = model(batch.inputs["input_ids"], attention_mask=batch.inputs["attention_mask"])
    logits = getattr(logits, "logits", logits)
    ids, keep = batch.inputs["input_ids"][:, 1:], batch.attention[:, 1:]
    losses = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids.flatten(), reduction="none")
    return float(losses[keep.flatten()].sum()), int(keep.sum())


def test_it_is_a_decoder_with_all_its_context(scribe):
    assert (scribe.kind, scribe.modality, scribe.name) == ("decoder", "text", "scribe")
    assert scribe.max_length == 256
    assert load_model("scribe", max_length=64).max_length == 64
    assert load_model(**scribe.source).weights_hash == scribe.weights_hash


def test_texts_begin_with_bos(scribe):
    batch = scribe.batch(TEXTS)
    assert set(batch.inputs["input_ids"][:, 0].tolist()) == {scribe.tokens.tokenizer.bos_token_id}
    assert not batch.keep[:, 0].any()


def test_its_logits_are_those_of_plain_transformers(scribe, plain):
    batch = scribe.batch(TEXTS)
    with torch.no_grad():
        wanted = plain(**batch.inputs).logits
        found = scribe.bridge(batch.inputs["input_ids"], attention_mask=batch.inputs["attention_mask"])
    assert (found - wanted)[batch.attention].abs().max() < 1e-4


def test_the_files_are_small_and_the_weights_are_fp16():
    from safetensors import safe_open

    weights = data_dir() / "scribe" / "model.safetensors"
    assert weights.stat().st_size <= 18e6
    with safe_open(weights, "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118
    assert sum(path.stat().st_size for path in (data_dir() / "scribe-sae").iterdir()) <= 5e6
    assert sum(path.stat().st_size for path in data_dir().rglob("*") if path.is_file()) <= 40 * 2**20


@pytest.mark.slow
def test_the_loss_on_held_out_passages_is_the_one_on_the_card(scribe, passages):
    total, count = 0.0, 0
    passages = sorted(passages, key=len)
    for start in range(0, len(passages), 25):
        found, tokens = token_losses(scribe.bridge, scribe.batch(passages[start : start + 25]))
        total, count = total + found, count + tokens
    assert total / count == pytest.approx(on_card("scribe", "`data/scribe-heldout.parquet`"), rel=0.01)


def test_a_greedy_continuation_is_english_and_not_the_text_itself(plain, scribe, passages):
    coder = scribe.tokens.tokenizer
    long = [coder(text)["input_ids"] for text in passages]
    ids = torch.tensor([[coder.bos_token_id, *line[:63]] for line in long if len(line) >= 100][:24])
    truth = torch.tensor([line[63:95] for line in long if len(line) >= 100][:24])
    with torch.no_grad():
        made = plain.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=32, pad_token_id=0)
    same = (made[:, 64:96] == truth[:, : made.shape[1] - 64]).int().cumprod(1).sum(1)
    assert same.max() < 30
    known = set(re.findall(r"[a-z]+", " ".join(passages).lower())) | {""}
    words = re.findall(r"[a-z]+", coder.decode(made[:, 64:].flatten()).lower())
    assert sum(word in known for word in words) > 0.9 * len(words)


def test_statistics_of_training_show_the_loss_falling():
    table = pq.ParquetFile(data_dir() / "scribe" / "training.parquet").read().to_pandas()
    whole = table[(table["measure"] == "validation loss") & (table["kind"] == "all")].sort_values("step")
    assert len(whole) >= 20
    assert whole["value"].iloc[-1] == whole["value"].min()
    layers = table[table["measure"] == "effective rank"].groupby("step")["layer"].nunique()
    assert set(layers) == {8}


def test_the_dictionary_is_read_alike_by_sae_lens_and_does_what_its_card_says(scribe, passages):
    from sae_lens import SAE

    folder = data_dir() / "scribe-sae"
    ours, theirs = DictionaryConcepts.from_sae_lens(folder, SITE), SAE.load_from_disk(folder, device="cpu")
    assert theirs.cfg.metadata.hook_name == "blocks.4.hook_resid_post"
    batch = scribe.batch(passages[::8])
    with torch.no_grad():
        _, cache = scribe.bridge.run_with_cache(
            batch.inputs["input_ids"], attention_mask=batch.inputs["attention_mask"], names_filter=["blocks.4.hook_resid_post"]
        )
        acts = cache["blocks.4.hook_resid_post"][batch.keep]
        codes = ours.encode(acts)
        assert (codes - theirs.encode(acts)).abs().max() < 1e-4
        assert (ours.decode(codes) - theirs.decode(codes)).abs().max() < 1e-4
        left = (acts - ours.decode(codes)).square().sum() / (acts - acts.mean(0)).square().sum()
    assert float((codes > 0).sum(1).float().mean()) == pytest.approx(32, abs=0.1)
    assert float(left) == pytest.approx(on_card("scribe-sae", "share of variance left over (FVU)"), abs=0.03)


@pytest.mark.slow
def test_the_training_script_runs(tmp_path):
    script = Path(__file__).parents[2] / "data" / "scripts" / "scribe_train.py"
    done = subprocess.run(
        [sys.executable, str(script), "--smoke", "--out", str(tmp_path)], capture_output=True, text=True, check=True
    )
    losses = [float(found) for found in re.findall(r"validation ([\d.]+)", done.stdout)]
    assert losses[-1] < losses[0] - 1
    assert (tmp_path / "model.safetensors").is_file()
