"""Train the language model "scribe" on the arrays of scribe_tokens.py: plain PyTorch and transformers, on one GPU.

    python data/scripts/scribe_train.py --tokens FOLDER --out FOLDER
    python data/scripts/scribe_train.py --smoke          on a CPU, in under a minute, on data/scribe-heldout.parquet

--out receives the model (fp16), training.parquet (statistics of about twenty checkpoints) and result.json.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scribe_measure import CONTEXT, Statistics, held_out, losses, starts_with_capital, unigram_entropy
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, dropout

DATA = Path(__file__).resolve().parents[1]
LOOK_BACK = 128


@dataclass
class Settings:
    """Everything that a run depends on."""

    tokens: str = ""
    tokenizer: str = str(DATA / "scribe")
    out: str = ""
    layers: int = 8
    width: int = 256
    heads: int = 8
    hidden: int = 672
    batch: int = 128
    steps: int = 12000
    warmup: int = 200
    cooldown: float = 0.6
    optimizer: str = "muon"
    rate: float = 0.02
    other_rate: float = 0.004
    decay: float = 0.1
    dropout: float = 0.0
    seed: int = 1
    checkpoints: int = 20
    compile: bool = True
    smoke: bool = False


class Muon(torch.optim.Optimizer):
    """Momentum whose step is made orthogonal (Jordan et al., 2024), for weight matrices; equal shapes go together."""

    def __init__(self, matrices: list[nn.Parameter], lr: float, weight_decay: float, momentum: float = 0.95) -> None:
        by_shape: dict[torch.Size, list[nn.Parameter]] = {}
        for matrix in matrices:
            by_shape.setdefault(matrix.shape, []).append(matrix)
        super().__init__([{"params": group} for group in by_shape.values()], {"lr": lr, "decay": weight_decay})
        self.momentum = momentum

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """One step for all matrices."""
        for group in self.param_groups:
            matrices = group["params"]
            grads = torch.stack([matrix.grad for matrix in matrices])
            state = self.state[matrices[0]]
            held = state.setdefault("momentum", torch.zeros_like(grads))
            held.lerp_(grads, 1 - self.momentum)
            step = orthogonal(grads.lerp(held, self.momentum))
            step = step * max(1.0, step.shape[-2] / step.shape[-1]) ** 0.5
            torch._foreach_mul_(matrices, 1 - group["lr"] * group["decay"])
            torch._foreach_add_(matrices, list(step.to(grads.dtype).unbind()), alpha=-group["lr"])


def orthogonal(matrices: Tensor, rounds: int = 5) -> Tensor:
    """The nearest semi-orthogonal matrices, roughly, by a Newton-Schulz iteration of the fifth degree."""
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = (matrices.mT if tall else matrices).bfloat16()
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(rounds):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.mT if tall else x


def build(settings: Settings, tokenizer: Any) -> Any:
    """A Llama of this size, with random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.width,
        intermediate_size=settings.hidden,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.heads,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(settings.seed)
    model = LlamaForCausalLM(config)
    if settings.dropout:
        drop_out(model, settings.dropout)
    return model


def drop_out(model: Any, share: float) -> None:
    """Dropout on the embeddings and on what each block adds to the residual stream, while training."""

    def hook(module: nn.Module, _: Any, out: Any) -> Any:
        if isinstance(out, tuple):
            return (dropout(out[0], share, module.training), *out[1:])
        return dropout(out, share, module.training)

    model.model.embed_tokens.register_forward_hook(hook)
    for block in model.model.layers:
        block.self_attn.register_forward_hook(hook)
        block.mlp.register_forward_hook(hook)


def batches(stream: np.ndarray, bos: int, newline: int, size: int, device: str, seed: int) -> Iterator[Tensor]:
    """Windows that begin with BOS, without end. Each pass covers the stream from another offset; half of the windows are
    moved back to the start of their paragraph, so that after BOS mostly comes what begins a text.
    """
    random = np.random.default_rng(seed)
    places = np.arange(len(stream))
    breaks = (stream == newline) | (stream == bos)
    begin = np.maximum.accumulate(np.where(np.concatenate([[True], breaks[:-1]]), places, 0))
    begin = torch.from_numpy(np.where(places - begin < LOOK_BACK, begin, places)).to(device)
    tokens = torch.from_numpy(stream.astype(np.int64)).to(device)
    step = CONTEXT - 1
    span = torch.arange(step, device=device)
    first = torch.full((size, 1), bos, device=device)
    starts = torch.empty(0, dtype=torch.long, device=device)
    while True:
        while len(starts) < size:
            count = (len(stream) - 2 * step) // step
            offsets = torch.from_numpy(random.permutation(count) * step + random.integers(step))
            starts = torch.cat([starts, offsets.to(device)])
        taken, starts = starts[:size], starts[size:]
        moved = torch.from_numpy(random.random(size) < 0.5).to(device)
        where = torch.where(moved, begin[taken], taken)
        yield torch.cat([first, tokens[where[:, None] + span]], 1)


def optimizers(model: Any, settings: Settings) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks (or AdamW for everything); AdamW for embeddings and norms."""
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if not any(p is m for m in matrices)]
    fused = {"betas": (0.9, 0.95), "fused": next(model.parameters()).is_cuda}
    wide = [p for p in others if p.ndim == 2]
    rest: list[dict[str, Any]] = [
        {"params": wide, "lr": settings.other_rate, "weight_decay": settings.decay},
        {"params": [p for p in others if p.ndim < 2], "lr": settings.other_rate, "weight_decay": 0.0},
    ]
    if settings.optimizer == "muon":
        return [Muon(matrices, settings.rate, settings.decay), torch.optim.AdamW(rest, **fused)]
    group = {"params": matrices, "lr": settings.rate, "weight_decay": settings.decay}
    return [torch.optim.AdamW([group, *rest], **fused)]


def scale(step: int, settings: Settings) -> float:
    """The learning rate as a share of its highest: a rise, a level, a straight fall to zero."""
    return min(1.0, (step + 1) / settings.warmup, (settings.steps - step) / (settings.cooldown * settings.steps))


class Run:
    """One training run: the model, its data, and the best weights so far."""

    def __init__(self, settings: Settings) -> None:
        from transformers import AutoTokenizer

        self.settings = settings
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.tokenizer = AutoTokenizer.from_pretrained(settings.tokenizer)
        self.bos = self.tokenizer.bos_token_id
        self.stream = np.load(Path(settings.tokens) / "train.npy")
        self.held = held_out(Path(settings.tokens), "validation", self.bos)
        self.model = build(settings, self.tokenizer).to(self.device)
        self.statistics = Statistics(self.held, starts_with_capital(self.tokenizer), self.device)
        self.best = math.inf
        self.weights: dict[str, Tensor] = {}

    def loss(self, ids: Tensor) -> Tensor:
        """Nats per token of a batch."""
        with torch.autocast(self.device, torch.bfloat16, enabled=self.device == "cuda"):
            logits = self.model(input_ids=ids, use_cache=False).logits
        return cross_entropy(logits[:, :-1].float().flatten(0, 1), ids[:, 1:].flatten())

    def train(self) -> None:
        """All steps; statistics at each checkpoint, closer together at the start."""
        settings = self.settings
        loss_of = torch.compile(self.loss, dynamic=False) if settings.compile and self.device == "cuda" else self.loss
        steppers = optimizers(self.model, settings)
        highest = [[group["lr"] for group in stepper.param_groups] for stepper in steppers]
        (newline,) = self.tokenizer.convert_tokens_to_ids(["Ċ"])
        source = batches(self.stream, self.bos, newline, settings.batch, self.device, settings.seed)
        marks = {round(settings.steps * (i / settings.checkpoints) ** 1.5) for i in range(1, settings.checkpoints + 1)}
        recent: list[Tensor] = []
        self.checkpoint(0, math.log(len(self.tokenizer)))
        self.model.train()
        for step in range(settings.steps):
            for stepper, rates in zip(steppers, highest, strict=True):
                for group, rate in zip(stepper.param_groups, rates, strict=True):
                    group["lr"] = rate * scale(step, settings)
            loss = loss_of(next(source))
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            for stepper in steppers:
                stepper.step()
                stepper.zero_grad()
            recent.append(loss.detach())
            if step + 1 in marks:
                self.checkpoint(step + 1, float(torch.stack(recent[-100:]).mean()))
                recent.clear()

    def checkpoint(self, step: int, train_loss: float) -> None:
        """Statistics, and the weights where they are the best yet."""
        self.model.eval()
        found = self.statistics.add(self.model, step, step * self.settings.batch * (CONTEXT - 1), train_loss)
        self.model.train()
        print(f"step {step:6} train {train_loss:.4f} validation {found:.4f}", flush=True)
        if found < self.best:
            self.best = found
            self.weights = {name: p.detach().clone() for name, p in self.model.state_dict().items()}

    def save(self, seconds: float) -> None:
        """The best weights in fp16, the statistics, and what the run came to with the weights so rounded."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        folder = Path(self.settings.out)
        self.model.load_state_dict({name: p.half().float() for name, p in self.weights.items()})
        self.model.eval()
        result = {
            "settings": asdict(self.settings),
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "best": self.best,
            "validation": losses(self.model, self.held),
            "unigram": unigram_entropy(self.stream, self.held, len(self.tokenizer)),
            "seconds": seconds,
        }
        self.model.half().save_pretrained(folder)
        pq.write_table(pa.Table.from_pylist(self.statistics.rows), folder / "training.parquet", compression="zstd")
        (folder / "result.json").write_text(json.dumps(result, indent=1))
        print(json.dumps({name: value for name, value in result.items() if name != "settings"}))


def smoke_tokens(tokenizer: str, folder: Path) -> None:
    """Arrays out of data/scribe-heldout.parquet: a tiny corpus, of which the loss means nothing."""
    import pyarrow.parquet as pq
    from transformers import AutoTokenizer

    coder = AutoTokenizer.from_pretrained(tokenizer)
    for split, name in (("validation", "train"), ("test", "validation-all")):
        rows = pq.read_table(DATA / "scribe-heldout.parquet").to_pylist()
        coded = [[coder.bos_token_id, *coder(row["text"])["input_ids"]] for row in rows if row["split"] == split]
        stream = np.array([token for line in coded for token in line], np.uint16)
        np.save(folder / f"{name}.npy", stream if name == "train" else stream[: 16 * CONTEXT])


def main() -> None:
    """Read the settings from the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for field in fields(Settings):
        if isinstance(field.default, bool):
            parser.add_argument(f"--{field.name}", action=argparse.BooleanOptionalAction, default=field.default)
        else:
            parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default)
    settings = Settings(**vars(parser.parse_args()))
    torch.set_float32_matmul_precision("high")
    with tempfile.TemporaryDirectory() as place:
        if settings.smoke:
            tiny = {"layers": 2, "width": 64, "heads": 2, "hidden": 128, "batch": 4, "steps": 30, "warmup": 3, "checkpoints": 3}
            out = settings.out or str(Path(place) / "model")
            settings = Settings(tokens=place, tokenizer=settings.tokenizer, out=out, dropout=0.1, smoke=True, **tiny)
            smoke_tokens(settings.tokenizer, Path(place))
        start = time.perf_counter()
        run = Run(settings)
        run.train()
        run.save(time.perf_counter() - start)


if __name__ == "__main__":
    main()
