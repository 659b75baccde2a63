"""What is measured of the language model "scribe": loss by kind of text, and the statistics in training.parquet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

CONTEXT = 256
BATCH = 128
PROBE_WINDOWS = 24
RIDGE = 1e-2


def windows(stream: np.ndarray, bos: int, context: int = CONTEXT) -> Tensor:
    """The stream in full windows that each begin with BOS and do not overlap; what is left at the end is dropped."""
    step = context - 1
    count = (len(stream) - 1) // step
    body = stream[: count * step].astype(np.int64).reshape(count, step)
    return torch.from_numpy(np.concatenate([np.full((count, 1), bos), body], 1))


def held_out(folder: Path, split: str, bos: int, context: int = CONTEXT) -> dict[str, Tensor]:
    """The windows of each kind of text in this split."""
    found = {path.stem.split("-", 1)[1]: np.load(path) for path in sorted(folder.glob(f"{split}-*.npy"))}
    return {kind: windows(stream, bos, context) for kind, stream in found.items()}


@torch.no_grad()
def losses(model: Any, parts: dict[str, Tensor]) -> dict[str, float]:
    """Nats per token of each kind, and of all tokens together under "all"."""
    device = next(model.parameters()).device
    sums, counts = {}, {}
    for kind, ids in parts.items():
        total = 0.0
        for part in ids.split(BATCH):
            batch = part.to(device)
            logits = model(input_ids=batch, use_cache=False).logits[:, :-1].float()
            total += float(cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten(), reduction="sum"))
        sums[kind], counts[kind] = total, ids[:, 1:].numel()
    found = {kind: sums[kind] / counts[kind] for kind in parts if counts[kind]}
    return {"all": sum(sums.values()) / sum(counts.values()), **found}


def unigram_entropy(train: np.ndarray, parts: dict[str, Tensor], vocabulary: int) -> float:
    """Nats per token of the held-out tokens under the frequencies of the training tokens (one added to each)."""
    counts = np.bincount(train, minlength=vocabulary) + 1.0
    log_share = np.log(counts / counts.sum())
    targets = np.concatenate([ids[:, 1:].numpy().ravel() for ids in parts.values()])
    return float(-log_share[targets].mean())


def starts_with_capital(tokenizer: Any) -> Tensor:
    """For each token whether it begins a word with a capital letter."""
    pieces = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    return torch.tensor([piece[:1] == "Ġ" and piece[1:2].isupper() for piece in pieces])


class Statistics:
    """Rows of (step, tokens, measure, layer, kind, value), taken on the same held-out windows at each checkpoint."""

    def __init__(self, parts: dict[str, Tensor], capital: Tensor, device: str) -> None:
        # Windows evenly over each kind, so that the probe of the kind is at chance at one in the number of kinds.
        chosen = [ids[torch.linspace(0, len(ids) - 1, PROBE_WINDOWS).long()] for ids in parts.values()]
        self.ids = torch.cat(chosen).to(device)
        kind = torch.arange(len(chosen)).repeat_interleave(PROBE_WINDOWS)
        self.kinds = len(chosen)
        self.kind = kind[:, None].expand(-1, CONTEXT - 2).to(device)
        self.capital = capital.to(device)[self.ids[:, 2:]].float()
        self.parts = parts
        self.rows: list[dict[str, Any]] = []

    def add(self, model: Any, step: int, tokens: int, train_loss: float) -> float:
        """Measure; the validation loss."""
        found = losses(model, self.parts)
        made = [("train loss", None, None, train_loss)]
        made += [("validation loss", None, kind, value) for kind, value in found.items()]
        made += [("weight norm", layer, None, value) for layer, value in enumerate(weight_norms(model))]
        for layer, acts in enumerate(self._residuals(model)):
            made += [(name, layer, None, value) for name, value in self._of_layer(acts).items()]
        names = ("measure", "layer", "kind", "value")
        self.rows += [{"step": step, "tokens": tokens, **dict(zip(names, row, strict=True))} for row in made]
        return found["all"]

    @torch.no_grad()
    def _residuals(self, model: Any) -> list[Tensor]:
        """The residual stream after each block, without the first token and the last, which has no next token here."""
        kept: list[Tensor] = []
        hooks = [
            block.register_forward_hook(lambda _, __, out: kept.append((out[0] if isinstance(out, tuple) else out).float()))
            for block in model.model.layers
        ]
        model(input_ids=self.ids, use_cache=False)
        for hook in hooks:
            hook.remove()
        return [acts[:, 1:-1] for acts in kept]

    def _of_layer(self, acts: Tensor) -> dict[str, float]:
        flat = acts.flatten(0, 1)
        capital = ridge_scores(acts, self.capital[..., None])
        kind = ridge_scores(acts, one_hot(self.kind, self.kinds).float())
        return {
            "effective rank": effective_rank(flat),
            "capital next AUC": auc(capital.flatten(), self.capital[1::2].flatten()),
            "kind accuracy": float((kind.argmax(-1) == self.kind[1::2]).float().mean()),
        }


def ridge_scores(acts: Tensor, wanted: Tensor) -> Tensor:
    """What a linear map fitted on the even windows says of the odd ones."""
    x, y = acts[::2].flatten(0, 1).double(), wanted[::2].flatten(0, 1).double()
    mean, spread = x.mean(0), x.std(0) + 1e-6
    x = (x - mean) / spread
    gram = x.T @ x / len(x) + RIDGE * torch.eye(x.shape[1], device=x.device, dtype=x.dtype)
    map_ = torch.linalg.solve(gram, x.T @ (y - y.mean(0)) / len(x))
    return ((acts[1::2].double() - mean) / spread) @ map_ + y.mean(0)


def auc(score: Tensor, truth: Tensor) -> float:
    """Area under the ROC curve, from ranks."""
    order = score.argsort()
    ranks = torch.empty_like(order, dtype=torch.double)
    ranks[order] = torch.arange(1, len(order) + 1, device=order.device, dtype=torch.double)
    positive = truth.bool()
    many, others = int(positive.sum()), int((~positive).sum())
    return float((ranks[positive].sum() - many * (many + 1) / 2) / (many * others))


def effective_rank(flat: Tensor) -> float:
    """The exponential of the entropy of the shares of variance along the principal directions."""
    values = torch.linalg.eigvalsh(torch.cov(flat.double().T)).clamp(min=0)
    share = values / values.sum()
    return float(torch.exp(-(share * share.clamp(min=1e-12).log()).sum()))


@torch.no_grad()
def weight_norms(model: Any) -> list[float]:
    """The Frobenius norm of all weights of each block."""
    return [float(sum(p.float().square().sum() for p in block.parameters()).sqrt()) for block in model.model.layers]
