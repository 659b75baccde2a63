"""Texts as tokens, with where in the text each token stands."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from workbench.errors import ConfigError, DataError
from workbench.models.base import Batch, EmptyInputError

if TYPE_CHECKING:
    from tokenizers import Encoding

DEFAULT_LENGTH = 128
# A text is cut before it is tokenised, or a file of a megabyte would take seconds for its first 128 tokens.
_CHARACTERS_PER_TOKEN = 200
# All that `str.isspace` knows.
_SPACES = np.array([code for code in range(0x3001) if chr(code).isspace()], np.uint32)


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
        size = max(tokenizer.get_vocab().values()) + 1
        # By id, as they are come upon: how a token is shown, and whether that is known (1), or what stands in the text is (2).
        self._pieces, self._state = np.full(size, "", object), np.zeros(size, np.int8)
        self.bos = bos and tokenizer.bos_token_id is not None and not self._starts_with_bos()

    def settle(self) -> None:
        """Pad and cut on the right: positions then count from the start of the text."""
        self.tokenizer.padding_side = self.tokenizer.truncation_side = "right"

    def batch(self, texts: Sequence[str], device: str | None = None) -> Batch:
        """The texts as right-padded ids. A text without a token of its own is an `EmptyInputError`."""
        clean = [self._clean(text, row) for row, text in enumerate(texts)]
        if not clean:
            raise DataError("There is no text to read: give at least one.")
        ids, attention, spans = self._padded(self._coded(clean))
        keep = attention & ~np.isin(ids, self._special)
        empty = np.flatnonzero(~keep.any(1))
        if len(empty):
            raise EmptyInputError(int(empty[0]))
        spans[attention & ~keep] = 0
        _trim(spans, clean)
        mask = torch.from_numpy(attention)
        inputs = {"input_ids": torch.from_numpy(ids), "attention_mask": mask.long()}
        made = Batch(inputs, mask, torch.from_numpy(keep), self._shown(ids, spans, clean), spans)
        return made.to(device or self.device)

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
        shown = np.array([f"<{number}>" for number in range(size)], object)
        known = np.array([number for number in self.tokenizer.get_vocab().values() if number < size], np.int64)
        shown[known] = self._known(known)[0]
        pieces: list[str] = shown.tolist()
        return pieces

    def ids(self, word: str) -> list[int]:
        """The ids of the single tokens that spell a word, with and without a space before it."""
        found = []
        for spelled in (" " + word.strip(), word.strip(), word):
            ids: list[int] = self.tokenizer(spelled, add_special_tokens=False)["input_ids"]
            found += ids if len(ids) == 1 else []
        return list(dict.fromkeys(found))

    def options(self) -> dict[str, Any]:
        """JSON: the tokenizer, by its hash, and how it is used."""
        return {"tokenizer": self._hash, "max_length": self.max_length, "bos": self.bos}

    @cached_property
    def _hash(self) -> str:
        state = self.tokenizer.backend_tokenizer.to_str().encode()
        # The backend's padding and truncation change as it is used; what it knows of words does not.
        known = {k: v for k, v in json.loads(state).items() if k not in {"padding", "truncation"}}
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()

    def _starts_with_bos(self) -> bool:
        ids = self.tokenizer("a")["input_ids"]
        return bool(ids) and ids[0] == self.tokenizer.bos_token_id

    def _clean(self, text: str, row: int) -> str:
        if not isinstance(text, str):
            raise DataError(f"Row {row} is {type(text).__name__}, not text: give a string.")
        text = text[: self.max_length * _CHARACTERS_PER_TOKEN]
        # A lone surrogate cannot be tokenised; a mark of the same length keeps the spans right.
        return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")

    def _coded(self, texts: list[str]) -> list[Encoding]:
        """What the backend makes of the texts. Calling the tokenizer itself would make a list of tuples of every text's spans."""
        backend = self.tokenizer.backend_tokenizer
        cut = {"max_length": self.max_length - int(self.bos), "stride": 0, "strategy": "longest_first", "direction": "right"}
        # A change has to wait until no other thread tokenises.
        if backend.truncation != cut:
            backend.enable_truncation(**cut)
        if backend.padding is not None:
            backend.no_padding()
        coded: list[Encoding] = backend.encode_batch(texts)
        return coded

    def _padded(self, coded: list[Encoding]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        first = int(self.bos)
        lengths = first + np.fromiter(map(len, coded), np.int64, len(coded))
        attention = np.arange(max(lengths.max(), 1)) < lengths[:, None]
        own = attention.copy()
        own[:, :first] = False
        ids = np.full(attention.shape, self.tokenizer.pad_token_id, np.int64)
        ids[:, :first] = self.tokenizer.bos_token_id if first else 0
        ids[own] = np.fromiter(chain.from_iterable(text.ids for text in coded), np.int64)
        spans = np.zeros((*attention.shape, 2), np.int64)
        ends = chain.from_iterable(chain.from_iterable(text.offsets for text in coded))
        spans[own] = np.fromiter(ends, np.int64).reshape(-1, 2)
        return ids, attention, spans

    def _shown(self, ids: np.ndarray, spans: np.ndarray, texts: Sequence[str]) -> np.ndarray:
        pieces, state = self._known(ids)
        # A byte of a longer character, or a word that the vocabulary lacks: show what stands in the text.
        rows, columns = np.nonzero((state == 2) & (spans[..., 1] > spans[..., 0]))
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            start, end = spans[row, column].tolist()
            pieces[row, column] = texts[row][start:end]
        return pieces

    def _known(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How the tokens are shown, and the state of each."""
        for token in np.unique(ids[self._state[ids] == 0]).tolist():
            piece = self._piece(token)
            self._pieces[token] = piece
            self._state[token] = 2 if token == self.tokenizer.unk_token_id or "\ufffd" in piece else 1
        return self._pieces[ids], self._state[ids]

    def _piece(self, token: int) -> str:
        raw = self.tokenizer.convert_ids_to_tokens(token) or ""
        plain = raw.startswith("##") or token in self._special
        shown: str = raw if plain else self.tokenizer.decode([token], clean_up_tokenization_spaces=False)
        # SentencePiece decoders drop the space before a word.
        return " " + shown if raw.startswith("▁") and not shown.startswith(" ") else shown


def _trim(spans: np.ndarray, texts: Sequence[str]) -> None:
    """A span starts at the word, also where the tokenizer counts the space before it to its token."""
    read = [text[:end] for text, end in zip(texts, spans[..., 1].max(1).tolist(), strict=True)]
    lengths = np.fromiter(map(len, read), np.int64, len(read))
    # Characters by their place in all texts joined.
    joined = spans + (np.cumsum(lengths) - lengths)[:, None, None]
    blank = np.isin(np.frombuffer("".join(read).encode("utf-32-le"), np.uint32), _SPACES)
    words = np.append(np.flatnonzero(~blank), len(blank))
    rows, columns = np.nonzero((spans[..., 0] < spans[..., 1]) & np.append(blank, False)[joined[..., 0]])
    start, end = joined[rows, columns].T
    word = words[np.searchsorted(words, start)]
    # A span of nothing but spaces stays as it is.
    spans[rows, columns, 0] += np.where(word < end, word - start, 0)
