"""Capturing the residual stream at three quarters of the depth, beside the bare pass and sae-lens's CacheActivationsRunner.

Run with `make bench NAME=capture`. All sides run the same weights in float32 on the same texts and device, stop after the layer,
and are given a model that is loaded already. A token counts when its row is stored; of the bare pass, when ours
would be. The model is scribe; on a GPU, to which so small a model is nothing, two more lines are about models of the sizes of
GPT-2, 12 layers of 768 numbers, and of GPT-2 medium, 24 of 1,024. They have random weights and scribe's tokenizer, and read all
texts, the smaller one eight times over and the larger one twice.

Batch sizes are the best of three for each side, by processor time or, on a GPU, by the clock and with all texts once; ours is 32
on a processor.

- Ours tokenises, runs each text by itself (batches of texts of like length, padded), and leaves on the disk float16 rows with
  checksums, and which text, position, token and characters each row is. Chunk by chunk (256 texts, or more where batches are
  large) it waits for the disk, so that what is killed goes on. The order is that of the texts.
- `forward` is the same model on the same batches, which are ready in memory, with nothing kept.
- sae-lens tokenises, joins texts to contexts of 256 tokens without padding, and leaves float16 rows with their token ids in Arrow
  files. It cannot go on when killed, has no checksums, and does not flush. It is not asked to shuffle. `sae-lens` runs the
  Hugging Face model, the faster of its routes; `sae-lens, HookedTransformer` is the one that it takes unless told otherwise.
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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks._sides import Side, report, turn_about
from workbench.activations import ActivationSet, capture
from workbench.datasets import Dataset, load_dataset
from workbench.datasets.paths import data_dir
from workbench.models import load_model
from workbench.models.batch import Batch
from workbench.models.devices import choose_device
from workbench.models.hooks import StopPassError, hooked

CONTEXT, ROUNDS = 256, 3
DEVICE = choose_device()
ON_GPU = DEVICE.startswith("cuda")
# A GPU is idle between short batches.
OUR_BATCHES = (256, 512, 1024) if ON_GPU else (32,)

Fresh = Callable[[], Path]


def best(batches: tuple[int, ...], work: Callable[[int], Callable[[], int]]) -> int:
    """The batch size that costs a side the least: processor time, where that does the work, and time by the clock on a GPU.

    ``work`` makes ready what does all of it with a batch size.
    """
    if len(batches) == 1:
        return batches[0]
    costs, clock = {}, time.perf_counter if ON_GPU else time.process_time
    for batch in batches:
        do = work(batch)
        start = clock()
        do()
        costs[batch] = clock() - start
    return min(costs, key=lambda batch: costs[batch])


@dataclass(frozen=True)
class Subject:
    """What is captured.

    Attributes:
        name: What it is called.
        folder: Where the model lies.
        layers: How many it has.
        width: Numbers a row.
        texts: What is read.
        contexts: As many full contexts as the texts fill.
        batches: Batch sizes of contexts, which divide their number.
        times: How often the texts are read; batch sizes are chosen on one time.
    """

    name: str
    folder: Path
    layers: int
    width: int
    texts: Dataset
    contexts: int
    batches: tuple[int, ...]
    times: int = 1

    @property
    def whole(self) -> Subject:
        """With its texts as often as they are read."""
        texts = self.texts.subset([*range(len(self.texts))] * self.times)
        return replace(self, texts=texts, contexts=self.contexts * self.times, times=1)

    @property
    def layer(self) -> int:
        """The one at three quarters of the depth."""
        return self.layers * 3 // 4 - 1

    @property
    def site(self) -> str:
        """Our name of it."""
        return f"resid_post.{self.layer}"


def main() -> None:
    """Measure and print."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    warnings.simplefilter("ignore")
    texts = load_dataset("topics")
    measure(Subject("scribe", data_dir() / "scribe", 8, 256, texts.subset(range(1024)), 112, (4, 16, 56)))
    if ON_GPU:
        for name, layers, width, times in (("GPT-2", 12, 768, 8), ("GPT-2 medium", 24, 1024, 2)):
            with tempfile.TemporaryDirectory() as place:
                made = random_model(Path(place), layers, width)
                measure(Subject(f"a model of the size of {name}", made, layers, width, texts, 532, (14, 38, 133), times))


def random_model(folder: Path, layers: int, width: int) -> Path:
    """A model with random weights, in a folder, with scribe's tokenizer."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(data_dir() / "scribe")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=width * 8 // 3 // 64 * 64, num_hidden_layers=layers,
        num_attention_heads=width // 64, max_position_embeddings=CONTEXT, tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def measure(subject: Subject) -> None:
    """All sides on one subject, turn and turn about, and the line that tells how they compare."""
    model, whole = load_model(str(subject.folder), device=DEVICE), subject.whole
    count = itertools.count()
    with tempfile.TemporaryDirectory() as place:

        def fresh() -> Path:
            return Path(place) / str(next(count))

        def ours(of: Subject, batch: int) -> ActivationSet:
            return capture(model, of.texts, sites=of.site, folder=fresh(), batch_size=batch)

        for batch in OUR_BATCHES:
            ours(subject, batch)
        batch = best(OUR_BATCHES, lambda batch: lambda: ours(subject, batch).n_rows)
        batches, first = noted(model, lambda: ours(whole, batch))
        peers = {
            "sae-lens": Runner(subject, hooked_transformer=False),
            "sae-lens, HookedTransformer": Runner(subject, hooked_transformer=True),
        }
        for peer in peers.values():
            peer.choose(fresh)
            peer.read(whole)
        sides: dict[str, Side] = {
            "ours": lambda: lambda: ours(whole, batch).n_rows,
            "forward": lambda: lambda: bare(model, subject.layer, batches, first.n_rows),
            **{name: (lambda peer=peer: peer.ready(fresh())) for name, peer in peers.items()},
        }
        equal = checked(model, whole, batches, first, peers)
        speeds = turn_about(sides, ROUNDS)
        sizes = ", ".join(f"{name}: batches of {peer.batch}" for name, peer in peers.items())
        setting = (
            f"{subject.site} of {subject.name} on {DEVICE}, float16 on disk, {len(whole.texts):,} texts of {whole.texts.name}"
            f" ({first.n_rows:,} tokens), median of {ROUNDS} interleaved rounds; ours: batches of {batch}; {sizes} contexts of"
            f" {CONTEXT}"
        )
        taken = size(first, subject.width)
        print(report("capture", setting, "tokens/s", "ours", ["forward", *peers], speeds, bytes=taken, equal=equal), flush=True)


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


def bare(model: Any, layer: int, batches: list[Batch], tokens: int) -> int:
    """The pass alone, stopped after the layer."""

    def stop(*_: Any) -> None:
        raise StopPassError

    with hooked({model.bridge.blocks[layer]: stop}), torch.no_grad():
        for batch in batches:
            with contextlib.suppress(StopPassError):
                model.bridge(batch.inputs["input_ids"], attention_mask=batch.inputs["attention_mask"])
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return tokens


class Runner:
    """sae-lens's runner on some texts.

    Args:
        subject: The model, and what it reads.
        hooked_transformer: Whether the model is transformer_lens's own, and not that of Hugging Face.
    """

    def __init__(self, subject: Subject, hooked_transformer: bool) -> None:
        self.read(subject)
        self.hook = f"blocks.{subject.layer}.hook_resid_post" if hooked_transformer else f"model.layers.{subject.layer}"
        self.model = transformer(subject.folder) if hooked_transformer else None
        self.batch, self.made = subject.batches[0], None

    def read(self, subject: Subject) -> None:
        """Read these texts from now on."""
        import datasets

        datasets.disable_progress_bars()
        self.subject, self.texts = subject, datasets.Dataset.from_dict({"text": list(subject.texts.inputs())})

    def choose(self, fresh: Fresh) -> None:
        """Take the best batch size."""

        def work(batch: int) -> Callable[[], int]:
            self.batch = batch
            return self.ready(fresh())

        self.batch = best(self.subject.batches, work)

    def ready(self, folder: Path) -> Callable[[], int]:
        """What captures into a folder and tells how many tokens it stored."""
        from sae_lens import CacheActivationsRunner, CacheActivationsRunnerConfig

        tokens = self.subject.contexts * CONTEXT
        config = CacheActivationsRunnerConfig(
            dataset_path="texts",
            model_name=str(self.subject.folder),
            model_class_name="AutoModelForCausalLM",
            model_from_pretrained_kwargs={"dtype": torch.float32},
            model_batch_size=self.batch,
            hook_name=self.hook,
            d_in=self.subject.width,
            context_size=CONTEXT,
            training_tokens=tokens,
            # One shard, for it repeats the texts to fill the last one.
            buffer_size_gb=(tokens + 1) * self.subject.width * 2 / 1e9,
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


def transformer(folder: Path) -> Any:
    """The model of a folder as transformer_lens's HookedTransformer."""
    from transformer_lens import HookedTransformer, HookedTransformerConfig
    from transformer_lens.pretrained.weight_conversions import convert_llama_weights
    from transformers import AutoModelForCausalLM, AutoTokenizer

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


def size(acts: ActivationSet, width: int) -> str:
    """What lies on the disk, beside rows x width x two bytes."""
    least = acts.n_rows * width * 2
    files = {path.name: path.stat().st_size for path in acts.folder.iterdir()}
    taken, index = sum(files.values()), files["index.parquet"]
    return f"{taken:,}, {taken / least - 1:.2%} more than the least, {least:,} (the index alone {index / least:.2%})"


def checked(model: Any, subject: Subject, batches: list[Batch], acts: ActivationSet, peers: dict[str, Runner]) -> str:
    """Hold every side to be the same layer of the same model; says how near they are."""
    site = model.site(subject.site)
    longest = max(batches, key=lambda batch: batch.attention.shape[1])
    found, stored = model.activations(longest, [site])[site][longest.keep], torch.from_numpy(acts.read()).to(DEVICE)
    shares = [max(float((stored - row).abs().amax(1).min() / row.abs().max()) for row in found[:50])]
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
