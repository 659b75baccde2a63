"""Train the tokenizer of the language model "scribe" and turn the corpus into arrays of tokens.

    --corpus      corpus.parquet, of scribe_corpus.py
    --out         where train.npy, validation-<kind>.npy, test-<kind>.npy and counts.json go
    --tokenizer   where the tokenizer goes (default: data/scribe)

Byte-level BPE of 8,192 pieces, digits one by one. A document begins with <|endoftext|>, which ends the one before it.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from common import DATA

VOCABULARY = 8192
CONTEXT = 256
BOS = "<|endoftext|>"
SEED = 5


def train_tokenizer(texts: list[str]) -> Any:
    """A fast tokenizer, trained on these texts."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[BOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=BOS,
        eos_token=BOS,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )


def encoded(tokenizer: Any, texts: list[str], step: int = 200) -> Iterator[np.ndarray]:
    """The tokens of each text, after the token that begins a document."""
    backend, bos = tokenizer.backend_tokenizer, tokenizer.bos_token_id
    for start in range(0, len(texts), step):
        for found in backend.encode_batch_fast(texts[start : start + step], add_special_tokens=False):
            yield np.array([bos, *found.ids], np.uint16)


def save(path: Path, tokens: list[np.ndarray]) -> int:
    """One stream of tokens; how many."""
    stream = np.concatenate(tokens)
    np.save(path, stream)
    return len(stream)


def main() -> None:
    """Tokenizer, then the streams of each split."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, default=DATA / "scribe")
    args = parser.parse_args()
    rows = pq.read_table(args.corpus, columns=["text", "kind", "split"]).to_pylist()
    random.Random(SEED).shuffle(rows)
    training = [row["text"] for row in rows if row["split"] == "train"]
    tokenizer = train_tokenizer(training)
    tokenizer.save_pretrained(args.tokenizer)
    args.out.mkdir(parents=True, exist_ok=True)
    counts = {"train": {"tokens": save(args.out / "train.npy", list(encoded(tokenizer, training)))}}
    for split in ("validation", "test"):
        for kind in sorted({row["kind"] for row in rows}):
            texts = [row["text"] for row in rows if row["split"] == split and row["kind"] == kind]
            size = save(args.out / f"{split}-{kind}.npy", list(encoded(tokenizer, texts)))
            counts[f"{split}-{kind}"] = {"tokens": size, "characters": sum(map(len, texts)), "documents": len(texts)}
    (args.out / "counts.json").write_text(json.dumps(counts, indent=1))
    print(json.dumps(counts, indent=1))


if __name__ == "__main__":
    main()
