"""Train a TopK sparse autoencoder on the residual stream of "scribe": plain PyTorch, on one GPU; sae-lens' format.

    python data/scripts/scribe_dictionary.py --model data/scribe --tokens FOLDER --layer 4 --out FOLDER

--out receives sae_weights.safetensors (fp16), cfg.json and result.json. The first token of a window, BOS, is left out: its
norm is like no other. Latents that do not fire are taught by what the others leave over (Gao et al., 2024).
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scribe_measure import CONTEXT, held_out
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize


@dataclass
class Settings:
    """Everything that a run depends on."""

    model: str = ""
    tokens: str = ""
    out: str = ""
    layer: int = 4
    latents: int = 4096
    k: int = 32
    passes: float = 4.0
    batch: int = 8192
    chunk: int = 2048
    rate: float = 1e-3
    warmup: int = 500
    cooldown: float = 0.3
    dead_after: int = 1_000_000
    spare: int = 128
    spare_weight: float = 1 / 32
    # Random directions that are not trained: how well the encoder alone can do.
    frozen: bool = False
    seed: int = 1


class Autoencoder(torch.nn.Module):
    """A TopK autoencoder with a decoder of unit norm."""

    def __init__(self, width: int, latents: int, k: int, mean: Tensor, seed: int) -> None:
        super().__init__()
        self.k = k
        made = torch.randn(latents, width, generator=torch.Generator().manual_seed(seed)).to(mean.device)
        self.W_dec = torch.nn.Parameter(normalize(made, dim=-1))
        self.W_enc = torch.nn.Parameter(self.W_dec.detach().T.clone())
        self.b_enc = torch.nn.Parameter(torch.zeros(latents, device=mean.device))
        self.b_dec = torch.nn.Parameter(mean.clone())

    def pre(self, x: Tensor) -> Tensor:
        """What TopK chooses from."""
        return (x - self.b_dec) @ self.W_enc + self.b_enc

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The reconstruction, the codes, and what they were chosen from."""
        pre = self.pre(x)
        codes = keep_top(pre, self.k)
        return codes @ self.W_dec + self.b_dec, codes, pre


def keep_top(pre: Tensor, k: int) -> Tensor:
    """The k largest of each row, where positive; zero elsewhere."""
    top, where = pre.topk(k, dim=-1, sorted=False)
    return torch.zeros_like(pre).scatter_(-1, where, top.relu())


class Reader:
    """The residual stream after one block of the language model."""

    def __init__(self, folder: str, layer: int, device: str) -> None:
        from transformers import AutoModelForCausalLM

        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(device).eval()
        self.block, self.device = self.model.model.layers[layer], device

    @torch.no_grad()
    def acts(self, ids: Tensor) -> Tensor:
        """One row a token, BOS left out."""
        kept: list[Tensor] = []
        hook = self.block.register_forward_hook(lambda _, __, out: kept.append(first_of(out)))
        self.model.model(input_ids=ids.to(self.device), use_cache=False)
        hook.remove()
        return kept[0][:, 1:].flatten(0, 1)

    @torch.no_grad()
    def loss(self, ids: Tensor, change: Any = None) -> float:
        """Summed nats over the targets after the first, with the stream after the block replaced by ``change`` of it,
        but not at BOS.
        """

        def hook(_: Any, __: Any, out: Any) -> Any:
            acts = first_of(out).clone()
            acts[:, 1:] = change(acts[:, 1:])
            return (acts, *out[1:]) if isinstance(out, tuple) else acts

        handle = self.block.register_forward_hook(hook) if change else None
        ids = ids.to(self.device)
        logits = self.model(input_ids=ids, use_cache=False).logits[:, 1:-1].float()
        if handle:
            handle.remove()
        return float(cross_entropy(logits.flatten(0, 1), ids[:, 2:].flatten(), reduction="sum"))


def first_of(out: Any) -> Tensor:
    """A block's output, also where a tuple holds it."""
    return out[0] if isinstance(out, tuple) else out


def chunks(reader: Reader, stream: np.ndarray, bos: int, size: int, seed: int) -> Iterator[Tensor]:
    """Shuffled activations of many windows at a time, without end; each pass from another offset."""
    random, step = np.random.default_rng(seed), CONTEXT - 1
    count = (len(stream) - step) // step
    while True:
        starts = random.permutation(count) * step + random.integers(step)
        for part in np.array_split(starts, math.ceil(count / size)):
            body = torch.from_numpy(stream[part[:, None] + np.arange(step)].astype(np.int64))
            ids = torch.cat([torch.full((len(part), 1), bos), body], 1)
            acts = torch.cat([reader.acts(batch) for batch in ids.split(256)])
            yield acts[torch.randperm(len(acts), device=acts.device)]


class Trainer:
    """One run."""

    def __init__(self, settings: Settings) -> None:
        torch.manual_seed(settings.seed)
        self.settings = settings
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.reader = Reader(settings.model, settings.layer, self.device)
        self.bos = self.reader.model.config.bos_token_id
        self.stream = np.load(Path(settings.tokens) / "train.npy")
        self.source = chunks(self.reader, self.stream, self.bos, settings.chunk, settings.seed)
        sample = next(self.source)
        # Inputs are scaled to a mean square of one a dimension; the weights are folded back when they are saved.
        self.scale = float(1 / (sample - sample.mean(0)).square().mean().sqrt())
        width = sample.shape[1]
        self.net = Autoencoder(width, settings.latents, settings.k, sample.mean(0) * self.scale, settings.seed).to(self.device)
        self.idle = torch.zeros(settings.latents, device=self.device)

    def train(self) -> None:
        """All steps."""
        settings, net = self.settings, self.net
        net.W_dec.requires_grad_(not settings.frozen)
        trained = [p for p in net.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(trained, lr=settings.rate, betas=(0.9, 0.999), fused=self.device == "cuda")
        steps = int(settings.passes * len(self.stream) / settings.batch)
        step = 0
        while step < steps:
            for batch in next(self.source).split(settings.batch):
                if len(batch) < settings.batch or step >= steps:
                    break
                rate = min(1.0, (step + 1) / settings.warmup, (steps - step) / (settings.cooldown * steps))
                optimizer.param_groups[0]["lr"] = settings.rate * rate
                loss = self.loss(batch * self.scale)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                with torch.no_grad():
                    net.W_dec.copy_(normalize(net.W_dec, dim=-1))
                step += 1
                if step % 1000 == 0:
                    dead = int((self.idle > settings.dead_after).sum())
                    print(f"step {step} of {steps}: loss {float(loss):.4f}, {dead} latents idle", flush=True)

    def loss(self, x: Tensor) -> Tensor:
        """Mean squared error a dimension, and a small part for what idle latents could explain of the rest."""
        made, codes, pre = self.net(x)
        error = x - made
        fired = (codes.detach() > 0).any(0)
        self.idle = torch.where(fired, 0.0, self.idle + len(x))
        loss = error.square().mean()
        if self.settings.frozen:
            return loss
        idle = self.idle > self.settings.dead_after
        spare = keep_top(torch.where(idle, pre, -torch.inf), self.settings.spare) @ self.net.W_dec
        return loss + self.settings.spare_weight * idle.any() * (error.detach() - spare).square().mean()

    def tensors(self) -> dict[str, Tensor]:
        """The weights for activations as they come, under sae-lens' names. With a decoder of unit norm the scale is in the
        codes, so only the biases change.
        """
        net = self.net
        folded = {"W_enc": net.W_enc, "W_dec": net.W_dec, "b_enc": net.b_enc / self.scale, "b_dec": net.b_dec / self.scale}
        return {name: p.detach().half().contiguous().cpu() for name, p in folded.items()}

    def save(self, seconds: float) -> None:
        """Weights, configuration, and what they come to on the validation text."""
        from safetensors.torch import save_file

        settings, folder = self.settings, Path(self.settings.out)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = self.tensors()
        save_file(tensors, folder / "sae_weights.safetensors")
        (folder / "cfg.json").write_text(json.dumps(config(settings, tensors["b_dec"].shape[0]), indent=1) + "\n")
        parts = held_out(Path(settings.tokens), "validation", self.bos)
        result = measure(self.reader, tensors, settings.k, torch.cat(list(parts.values())))
        result["idle over the last training tokens"] = float((self.idle > settings.dead_after).float().mean())
        result |= {"settings": asdict(settings), "seconds": seconds}
        (folder / "result.json").write_text(json.dumps(result, indent=1))
        print(json.dumps({name: value for name, value in result.items() if name != "settings"}))


def config(settings: Settings, width: int) -> dict[str, Any]:
    """cfg.json as sae-lens writes it."""
    return {
        "architecture": "topk",
        "d_in": width,
        "d_sae": settings.latents,
        "k": settings.k,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "rescale_acts_by_decoder_norm": False,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {
            # Without a version sae-lens takes the file for one of before 6.0 and drops the rest of this.
            "sae_lens_version": "6.54.12",
            "model_name": "scribe",
            "hook_name": f"blocks.{settings.layer}.hook_resid_post",
            "context_size": CONTEXT,
            "prepend_bos": True,
            "dataset_path": "scribe corpus (data/scribe/README.md)",
        },
    }


@torch.no_grad()
def measure(reader: Reader, tensors: dict[str, Tensor], k: int, ids: Tensor) -> dict[str, float]:
    """Share of variance left over, codes a token, latents that never fire, and the model's loss with the reconstruction in
    place of the stream, as it is, with the error added back, and with zeros or the mean in its place.
    """
    w_enc, w_dec, b_enc, b_dec = (tensors[x].float().to(reader.device) for x in ("W_enc", "W_dec", "b_enc", "b_dec"))

    def codes_of(x: Tensor) -> Tensor:
        return keep_top((x - b_dec) @ w_enc + b_enc, k)

    def decoded(x: Tensor) -> Tensor:
        return codes_of(x) @ w_dec + b_dec

    parts = ids.split(64)
    mean = torch.stack([reader.acts(part).mean(0) for part in parts]).mean(0)
    left = whole = active = 0.0
    fired = torch.zeros(len(w_dec), dtype=torch.bool, device=reader.device)
    for part in parts:
        acts = reader.acts(part)
        codes = codes_of(acts)
        left += float((acts - codes @ w_dec - b_dec).square().sum())
        whole += float((acts - mean).square().sum())
        active += float((codes > 0).sum())
        fired |= (codes > 0).any(0)
    tokens = ids.shape[0] * (ids.shape[1] - 1)
    changes: dict[str, Any] = {
        "loss": None,
        "loss spliced": decoded,
        "loss spliced with error": lambda x: decoded(x) + (x - decoded(x)),
        "loss with zeros": torch.zeros_like,
        "loss with the mean": mean.expand_as,
    }
    predicted = ids.shape[0] * (ids.shape[1] - 2)
    found = {name: sum(reader.loss(part, change) for part in parts) / predicted for name, change in changes.items()}
    clean, spliced = found["loss"], found["loss spliced"]
    return {
        "fvu": left / whole,
        "l0": active / tokens,
        "never fires": float((~fired).float().mean()),
        **found,
        "recovered against zeros": (found["loss with zeros"] - spliced) / (found["loss with zeros"] - clean),
        "recovered against the mean": (found["loss with the mean"] - spliced) / (found["loss with the mean"] - clean),
    }


def main() -> None:
    """Read the settings from the command line, train, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for field in fields(Settings):
        if isinstance(field.default, bool):
            parser.add_argument(f"--{field.name}", action="store_true")
        else:
            parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default)
    settings = Settings(**vars(parser.parse_args()))
    torch.set_float32_matmul_precision("high")
    start = time.perf_counter()
    trainer = Trainer(settings)
    trainer.train()
    trainer.save(time.perf_counter() - start)


if __name__ == "__main__":
    main()
