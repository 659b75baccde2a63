"""Measure the model "scribe" as it is shipped, for its card: losses, samples, and what it has by heart. On a GPU in a minute.

    python data/scripts/scribe_report.py --tokens FOLDER

--tokens is the folder of scribe_tokens.py.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from common import DATA
from scribe_measure import CONTEXT, held_out, losses, unigram_entropy
from torch import Tensor
from torch.nn.functional import cross_entropy

PROMPTS = ("", "The President of the United States", '"You must not go,"')
SAMPLES, SAMPLE_LENGTH, TEMPERATURE, TOP = 64, 200, 0.8, 40
CONTINUED, PROMPT_LENGTH = 384, 64
RUNS = (6, 8, 10, 12, 14, 16, 20, 24, 30, 40, 60)


def passages_loss(model: Any, tokenizer: Any, texts: list[str]) -> float:
    """Nats per token of short texts, each after BOS and cut to the window."""
    total, count = 0.0, 0
    with torch.no_grad():
        for text in texts:
            ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer(text)["input_ids"]][:CONTEXT]], device=model.device)
            logits = model(input_ids=ids, use_cache=False).logits[0, :-1]
            total += float(cross_entropy(logits, ids[0, 1:], reduction="sum"))
            count += ids.shape[1] - 1
    return total / count


def brown_texts() -> list[str]:
    """The beginning of each document of the Brown corpus, which no training text comes from."""
    table = pq.ParquetFile(DATA / "brown.parquet").read(columns=["group", "text"]).to_pydict()
    begun: dict[str, str] = {}
    for group, text in zip(table["group"], table["text"], strict=True):
        if len(begun.get(group, "")) < 8 * CONTEXT:
            begun[group] = f"{begun.get(group, '')} {text}".strip()
    return list(begun.values())


def generated(model: Any, tokenizer: Any, prompt: str, count: int, seed: int) -> Tensor:
    """Samples, with their prompt."""
    torch.manual_seed(seed)
    ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer(prompt)["input_ids"]]], device=model.device)
    ids = ids.expand(count, -1)
    options = {"do_sample": True, "temperature": TEMPERATURE, "top_k": TOP, "max_new_tokens": SAMPLE_LENGTH}
    with torch.no_grad():
        return model.generate(ids, attention_mask=torch.ones_like(ids), pad_token_id=0, **options).cpu()


def recited(model: Any, ids: Tensor) -> np.ndarray:
    """For each window how many tokens of a greedy continuation of its first part are the window's own, from the first on."""
    begun = ids[:, :PROMPT_LENGTH].to(model.device)
    options = {"do_sample": False, "max_new_tokens": PROMPT_LENGTH, "pad_token_id": 0}
    with torch.no_grad():
        made = model.generate(begun, attention_mask=torch.ones_like(begun), **options).cpu()
    truth = ids[:, PROMPT_LENGTH : made.shape[1]]
    return (made[:, PROMPT_LENGTH:] == truth).int().cumprod(1).sum(1).numpy()


def longest_copies(stream: np.ndarray, lines: np.ndarray) -> list[int]:
    """For each line the most tokens in a row, of the lengths below, that stand somewhere in the stream: by hashes."""
    found = np.zeros(len(lines), int)
    for length in RUNS:
        alive = np.flatnonzero(found == found.max())
        wanted = hashes(lines[alive], length)
        known = np.unique(wanted)
        made = hashes(stream[None], length)[0]
        at = np.searchsorted(known, made).clip(max=len(known) - 1)
        met = np.isin(wanted, known[at[known[at] == made]]).any(1)
        if not met.any():
            break
        found[alive[met]] = length
    return found.tolist()


def hashes(lines: np.ndarray, length: int) -> np.ndarray:
    """A hash of every run of this length."""
    count = lines.shape[1] - length + 1
    made = np.zeros((len(lines), count), np.uint64)
    for i in range(length):
        made = made * np.uint64(6364136223846793005) + lines[:, i : i + count].astype(np.uint64) + np.uint64(1442695040888963407)
    return made


def split_report(model: Any, folder: Path, split: str, stream: np.ndarray, bos: int, size: int) -> dict[str, Any]:
    """Losses of one split beside the unigram entropy, also in bits, and in bits per character."""
    counts = json.loads((folder / "counts.json").read_text())
    parts = held_out(folder, split, bos)
    found = losses(model, parts)
    entropy = unigram_entropy(stream, parts, size)
    of_split = [counts[f"{split}-{kind}"] for kind in parts]
    per_character = sum(x["tokens"] for x in of_split) / sum(x["characters"] for x in of_split)
    return {
        "nats per token": {kind: round(value, 4) for kind, value in found.items()},
        "bits per token": round(found["all"] / math.log(2), 4),
        "bits per character": round(found["all"] / math.log(2) * per_character, 4),
        "unigram": round(entropy, 4),
        "ratio": round(found["all"] / entropy, 4),
        "tokens": {kind: ids[:, 1:].numel() for kind, ids in parts.items()},
    }


def main() -> None:
    """Print everything that the card says."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=Path, required=True)
    folder = parser.parse_args().tokens
    tokenizer = AutoTokenizer.from_pretrained(DATA / "scribe")
    model = AutoModelForCausalLM.from_pretrained(DATA / "scribe", dtype=torch.float32).eval()
    model = model.to("cuda" if torch.cuda.is_available() else "cpu")
    stream, bos = np.load(folder / "train.npy"), tokenizer.bos_token_id
    for split in ("validation", "test"):
        print(split, json.dumps(split_report(model, folder, split, stream, bos, len(tokenizer)), indent=1), flush=True)
    texts = pq.ParquetFile(DATA / "scribe-heldout.parquet").read()["text"].to_pylist()
    print("scribe-heldout.parquet", round(passages_loss(model, tokenizer, texts), 4))
    print("brown, beginnings", round(passages_loss(model, tokenizer, brown_texts()), 4), flush=True)

    for seed, prompt in enumerate(PROMPTS):
        print(
            "---", repr(prompt), "\n", tokenizer.decode(generated(model, tokenizer, prompt, 1, seed)[0], skip_special_tokens=True)
        )
    windows = torch.cat(list(held_out(folder, "test", bos).values()))
    chosen = windows[torch.linspace(0, len(windows) - 1, CONTINUED).long()]
    runs = recited(model, chosen)
    print("greedy continuations: longest run of test text", int(runs.max()), "30 or more:", int((runs >= 30).sum()))
    samples = generated(model, tokenizer, "", SAMPLES, 9)[:, 1:].numpy()
    for name, lines in (("samples", samples), ("test text", chosen[:SAMPLES, 1 : SAMPLE_LENGTH + 1].numpy())):
        copies = longest_copies(stream, lines)
        print(f"longest run of training tokens in {name}: median {np.median(copies)}, most {max(copies)}")
        print(repr(tokenizer.decode(lines[int(np.argmax(copies))])))


if __name__ == "__main__":
    main()
