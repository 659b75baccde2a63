"""Texts as tokens, with where in the text each token stands."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from workbench.errors import ConfigError, DataError
from workbench.models.base import Batch, EmptyInputError

DEFAULT_LENGTH = 128
# A text is cut before it is tokenised, or a file of a megabyte would take seconds for its first 128 tokens.
_CHARACTERS_PER_TOKEN = 200


class Tokens:
    """A fast Hugging Face tokenizer, set up for right padding."""

    def __init__(self, tokenizer: Any, max_length: int, *, bos: bool, device: str = "cpu") -> None:
        """``bos`` puts the beginning-of-sequence token first where the tokenizer itself does not."""
        if not getattr(tokenizer, "is_fast", False):
            raise ConfigError("The model's tokenizer has no fast version, so tokens cannot be found in the text.")
        if tokenizer.pad_token is None:
            if tokenizer.eos_token is None:
                raise ConfigError("The model's tokenizer has neither a padding nor an end token: set one and save it.")
            tokenizer.pad_token = tokenizer.eos_token
        self.tokenizer = tokenizer
        self.settle()
        self.max_length = max_length
        self.device = device
        self._special = np.array(sorted(set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}), np.int64)
        self._pieces: dict[int, str] = {}
        self.bos = bos and tokenizer.bos_token_id is not None and not self._starts_with_bos()

    def settle(self) -> None:
        """Pad and cut on the right: positions then count from the start of the text."""
        self.tokenizer.padding_side = self.tokenizer.truncation_side = "right"

    def batch(self, texts: Sequence[str]) -> Batch:
        """The texts as right-padded ids. A text without a token of its own is an `EmptyInputError`."""
        clean = [self._clean(text, row) for row, text in enumerate(texts)]
        if not clean:
            raise DataError("There is no text to read: give at least one.")
        coded = self.tokenizer(
            clean,
            truncation=True,
            max_length=self.max_length - int(self.bos),
            return_offsets_mapping=True,
            return_attention_mask=False,
            return_token_type_ids=False,
        )
        ids, attention, spans = self._padded(coded["input_ids"], coded["offset_mapping"])
        keep = attention & ~np.isin(ids, self._special)
        empty = np.flatnonzero(~keep.any(1))
        if len(empty):
            raise EmptyInputError(int(empty[0]))
        spans[~keep] = 0
        _trim(spans, clean)
        mask = torch.from_numpy(attention).to(self.device)
        return Batch(
            {"input_ids": torch.from_numpy(ids).to(self.device), "attention_mask": mask.long()},
            mask,
            torch.from_numpy(keep).to(self.device),
            self._shown(ids, spans, clean),
            spans,
        )

    def prompt(self, text: str) -> Int[Tensor, "1 t"]:
        """A text to be continued, as ids that begin as every input does and do not end.

        `DataError` when there is nothing to begin from: no text, and no token that texts begin with.
        """
        clean = self._clean(text, 0)
        ids: list[int] = self.tokenizer(clean, add_special_tokens=False)["input_ids"]
        if self.bos or self._starts_with_bos():
            ids = [self.tokenizer.bos_token_id, *ids]
        if not ids:
            raise DataError("The prompt is empty, and this model has no token that texts begin with: write a few words.")
        return torch.tensor([ids], device=self.device)

    def vocabulary(self, size: int) -> list[str]:
        """The text of each of the first ``size`` ids; models pad their vocabulary, and an id without a token is shown as one."""
        known = set(self.tokenizer.get_vocab().values())
        return [self._piece(number) if number in known else f"<{number}>" for number in range(size)]

    def ids(self, word: str) -> list[int]:
        """The ids of the single tokens that spell a word, with and without a space before it."""
        found = []
        for spelled in (" " + word.strip(), word.strip(), word):
            ids: list[int] = self.tokenizer(spelled, add_special_tokens=False)["input_ids"]
            found += ids if len(ids) == 1 else []
        return list(dict.fromkeys(found))

    def options(self) -> dict[str, Any]:
        """JSON: the tokenizer, by its hash, and how it is used."""
        state = self.tokenizer.backend_tokenizer.to_str().encode()
        # The backend's padding and truncation change as it is used; what it knows of words does not.
        known = {k: v for k, v in json.loads(state).items() if k not in {"padding", "truncation"}}
        digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
        return {"tokenizer": digest, "max_length": self.max_length, "bos": self.bos}

    def _starts_with_bos(self) -> bool:
        ids = self.tokenizer("a")["input_ids"]
        return bool(ids) and ids[0] == self.tokenizer.bos_token_id

    def _clean(self, text: str, row: int) -> str:
        if not isinstance(text, str):
            raise DataError(f"Row {row} is {type(text).__name__}, not text: give a string.")
        # A lone surrogate cannot be tokenised; a mark of the same length keeps the spans right.
        return text[: self.max_length * _CHARACTERS_PER_TOKEN].encode("utf-8", "replace").decode("utf-8")

    def _padded(self, ids: list[list[int]], offsets: list[list[tuple[int, int]]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        first = int(self.bos)
        longest = max(max(map(len, ids)) + first, 1)
        padded = np.full((len(ids), longest), self.tokenizer.pad_token_id, np.int64)
        attention = np.zeros((len(ids), longest), bool)
        spans = np.zeros((len(ids), longest, 2), np.int64)
        for row, (line, span) in enumerate(zip(ids, offsets, strict=True)):
            if first:
                padded[row, 0] = self.tokenizer.bos_token_id
            padded[row, first : first + len(line)] = line
            attention[row, : first + len(line)] = True
            if line:
                spans[row, first : first + len(line)] = span
        return padded, attention, spans

    def _shown(self, ids: np.ndarray, spans: np.ndarray, texts: Sequence[str]) -> list[list[str]]:
        known = {token: self._piece(token) for token in np.unique(ids).tolist()}
        pieces = [[known[token] for token in line] for line in ids.tolist()]
        # A byte of a longer character, or a word that the vocabulary lacks: show what stands in the text.
        unknown = self.tokenizer.unk_token_id
        odd = np.array([token for token, piece in known.items() if token == unknown or "\ufffd" in piece], np.int64)
        rows, columns = np.nonzero(np.isin(ids, odd) & (spans[..., 1] > spans[..., 0]))
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            start, end = spans[row, column].tolist()
            pieces[row][column] = texts[row][start:end]
        return pieces

    def _piece(self, token: int) -> str:
        if token not in self._pieces:
            raw = self.tokenizer.convert_ids_to_tokens(token) or ""
            plain = raw.startswith("##") or token in self._special
            shown = raw if plain else self.tokenizer.decode([token], clean_up_tokenization_spaces=False)
            # SentencePiece decoders drop the space before a word.
            self._pieces[token] = " " + shown if raw.startswith("▁") and not shown.startswith(" ") else shown
        return self._pieces[token]


def _trim(spans: np.ndarray, texts: Sequence[str]) -> None:
    """A span starts at the word, also where the tokenizer counts the space before it to its token."""
    for row, text in enumerate(texts):
        for column, (start, end) in enumerate(spans[row].tolist()):
            if start < end and text[start : start + 1].isspace() and not (word := text[start:end]).isspace():
                spans[row, column, 0] = end - len(word.lstrip())
