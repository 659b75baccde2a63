"""Capturing scribe's residual stream at three quarters of its depth, beside the bare pass and sae-lens's CacheActivationsRunner.

Run with `make bench NAME=capture`. All sides run the same weights in float32 on the same texts and device, stop after the sixth
of eight layers, and are given a model that is loaded already. A token counts when its row is stored; of the bare pass, when ours
would be.

- Ours tokenises, runs each text by itself (batches of texts of like length, padded), and leaves on the disk float16 rows with
  checksums, and which text, position, token and characters each row is. Every 256 texts it waits for the disk, so that what is
  killed goes on. The order is that of the texts.
- `forward` is the same model on the same batches, which are ready in memory, with nothing kept.
- sae-lens tokenises, joins texts to contexts of 256 tokens without padding, and leaves float16 rows with their token ids in Arrow
  files. It cannot go on when killed, has no checksums, and does not flush. It is not asked to shuffle. Its batch size is the one
  of three that takes it the least processor time. `sae-lens` runs the Hugging Face model, the faster of its routes;
  `sae-lens, HookedTransformer` is the one that it takes unless told otherwise.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks._sides import Side, report, turn_about
from workbench.activations import ActivationSet, capture
from workbench.datasets import load_dataset
from workbench.datasets.paths import data_dir
from workbench.models import load_model
from workbench.models.base import Batch
from workbench.models.devices import choose_device
from workbench.models.taps import StopPassError, hooked

SITE, LAYER, WIDTH = "resid_post.5", 5, 256
TEXTS, CONTEXT, ROUNDS = 1024, 256, 3
# As many full contexts as the texts fill, and batch sizes that divide that.
CONTEXTS, BATCHES = 112, (4, 16, 56)

DEVICE = choose_device()
# A GPU is idle between short batches.
BATCH = 256 if DEVICE.startswith("cuda") else 32

Fresh = Callable[[], Path]


def main() -> None:
    """Measure and print."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    warnings.simplefilter("ignore")
    model, dataset = load_model("scribe", device=DEVICE), load_dataset("topics")
    count = itertools.count()
    with tempfile.TemporaryDirectory() as place:

        def fresh() -> Path:
            return Path(place) / str(next(count))

        def ours() -> ActivationSet:
            return capture(model, dataset, sites=SITE, folder=fresh(), limit=TEXTS, batch_size=BATCH)

        batches, first = noted(model, ours)
        texts = list(dataset.inputs(range(TEXTS)))
        peers = {"sae-lens": Runner(texts, hooked_transformer=False), "sae-lens, HookedTransformer": Runner(texts, True)}
        for peer in peers.values():
            peer.choose(fresh)
        sides: dict[str, Side] = {
            "ours": lambda: lambda: ours().n_rows,
            "forward": lambda: lambda: bare(model, batches, first.n_rows),
            **{name: (lambda peer=peer: peer.ready(fresh())) for name, peer in peers.items()},
        }
        equal = checked(model, batches, first, peers)
        speeds = turn_about(sides, ROUNDS)
        sizes = ", ".join(f"{name}: batches of {peer.batch}" for name, peer in peers.items())
        setting = (
            f"{SITE} of scribe on {DEVICE}, float16 on disk, {TEXTS:,} texts of {dataset.name} ({first.n_rows:,} tokens), median"
            f" of {ROUNDS} interleaved rounds; ours: batches of {BATCH}; {sizes} contexts of {CONTEXT}"
        )
        print(report("capture", setting, "tokens/s", "ours", ["forward", *peers], speeds, bytes=size(first), equal=equal))


def noted(model: Any, ours: Any) -> tuple[list[Batch], ActivationSet]:
    """The batches of a capture, as it made them, and what it captured."""
    batches: list[Batch] = []
    run = model.activations

    def activations(batch: Batch, sites: Any) -> Any:
        batches.append(batch)
        return run(batch, sites)

    model.activations = activations
    try:
        return batches, ours()
    finally:
        del model.activations


def bare(model: Any, batches: list[Batch], tokens: int) -> int:
    """The pass alone, stopped after the layer."""

    def stop(*_: Any) -> None:
        raise StopPassError

    with hooked({model.bridge.blocks[LAYER]: stop}), torch.no_grad():
        for batch in batches:
            with contextlib.suppress(StopPassError):
                model.bridge(batch.inputs["input_ids"], attention_mask=batch.inputs["attention_mask"])
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return tokens


class Runner:
    """sae-lens's runner on some texts.

    Args:
        texts: The texts.
        hooked_transformer: Whether the model is transformer_lens's own, and not that of Hugging Face.
    """

    def __init__(self, texts: list[str], hooked_transformer: bool) -> None:
        from datasets import Dataset, disable_progress_bars

        disable_progress_bars()
        self.texts = Dataset.from_dict({"text": texts})
        self.hook = f"blocks.{LAYER}.hook_resid_post" if hooked_transformer else f"model.layers.{LAYER}"
        self.model = transformer() if hooked_transformer else None
        self.batch, self.made = BATCHES[0], None

    def choose(self, fresh: Fresh) -> None:
        """Take the batch size that costs the least processor time."""
        costs = {}
        for self.batch in BATCHES:
            work = self.ready(fresh())
            start = time.process_time()
            work()
            costs[self.batch] = time.process_time() - start
        self.batch = min(costs, key=lambda batch: costs[batch])

    def ready(self, folder: Path) -> Callable[[], int]:
        """What captures into a folder and tells how many tokens it stored."""
        from sae_lens import CacheActivationsRunner, CacheActivationsRunnerConfig

        tokens = CONTEXTS * CONTEXT
        config = CacheActivationsRunnerConfig(
            dataset_path="texts",
            model_name=str(data_dir() / "scribe"),
            model_class_name="AutoModelForCausalLM",
            model_from_pretrained_kwargs={"dtype": torch.float32},
            model_batch_size=self.batch,
            hook_name=self.hook,
            d_in=WIDTH,
            context_size=CONTEXT,
            training_tokens=tokens,
            # One shard, for it repeats the texts to fill the last one.
            buffer_size_gb=(tokens + 1) * WIDTH * 2 / 1e9,
            new_cached_activations_path=str(folder),
            dtype="float16",
            device=DEVICE,
            shuffle=False,
            streaming=False,
        )
        with contextlib.redirect_stderr(io.StringIO()):
            runner = CacheActivationsRunner(config, override_dataset=self.texts)
        runner.model = runner.activations_store.model = self.model or runner.model

        def work() -> int:
            with contextlib.redirect_stderr(io.StringIO()):
                self.made = runner.run()
            return len(self.made) * CONTEXT

        return work


def transformer() -> Any:
    """Scribe as transformer_lens's HookedTransformer."""
    from transformer_lens import HookedTransformer, HookedTransformerConfig
    from transformer_lens.pretrained.weight_conversions import convert_llama_weights
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = data_dir() / "scribe"
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(DEVICE)
    its = plain.config
    config = HookedTransformerConfig(
        n_layers=its.num_hidden_layers,
        d_model=its.hidden_size,
        n_ctx=its.max_position_embeddings,
        d_head=its.head_dim,
        n_heads=its.num_attention_heads,
        d_mlp=its.intermediate_size,
        d_vocab=its.vocab_size,
        act_fn="silu",
        eps=its.rms_norm_eps,
        normalization_type="RMS",
        positional_embedding_type="rotary",
        rotary_dim=its.head_dim,
        rotary_adjacent_pairs=False,
        rotary_base=int(its.rope_parameters["rope_theta"]),
        final_rms=True,
        gated_mlp=True,
        original_architecture="LlamaForCausalLM",
        device=DEVICE,
    )
    model = HookedTransformer(config, AutoTokenizer.from_pretrained(folder))
    model.load_and_process_state_dict(
        convert_llama_weights(plain, config),
        fold_ln=False,
        center_writing_weights=False,
        center_unembed=False,
        fold_value_biases=False,
    )
    return model.eval()


def size(acts: ActivationSet) -> str:
    """What lies on the disk, beside rows x width x two bytes."""
    least = acts.n_rows * WIDTH * 2
    files = {path.name: path.stat().st_size for path in acts.folder.iterdir()}
    taken, index = sum(files.values()), files["index.parquet"]
    return f"{taken:,}, {taken / least - 1:.2%} more than the least, {least:,} (the index alone {index / least:.2%})"


def checked(model: Any, batches: list[Batch], acts: ActivationSet, peers: dict[str, Runner]) -> str:
    """Hold every side to be the same layer of the same model; says how near they are."""
    site = model.site(SITE)
    longest = max(batches, key=lambda batch: batch.attention.shape[1])
    found = model.activations(longest, [site])[site][longest.keep].cpu().numpy()
    stored = acts.read()
    shares = [max(float(np.abs(stored - row).max(axis=1).min() / np.abs(row).max()) for row in found[:50])]
    for peer in peers.values():
        context = peer.made.with_format("numpy")[0]
        ids = torch.from_numpy(context["token_ids"].astype(np.int64))[None].to(DEVICE)
        mask = torch.ones_like(ids, dtype=torch.bool)
        batch = Batch({"input_ids": ids, "attention_mask": mask.long()}, mask, mask)
        rows = model.activations(batch, [site])[site][0].cpu().numpy()
        shares.append(float(np.abs(rows - context[peer.hook]).max() / np.abs(rows).max()))
    # Float16 rounds to one part in 2,048.
    assert max(shares) < 1e-3, shares
    return f"rows of all sides agree to {max(shares):.0e} of their largest number"


if __name__ == "__main__":
    main()
