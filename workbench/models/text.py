"""Texts as tokens, with where in the text each token stands."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from workbench.errors import ConfigError, DataError
from workbench.models.base import Batch, EmptyInputError

if TYPE_CHECKING:
    from tokenizers import Encoding

DEFAULT_LENGTH = 128
# A text is cut before it is tokenised, or a file of a megabyte would take seconds for its first 128 tokens.
_CHARACTERS_PER_TOKEN = 200
# Whether a character is one that `str.isspace` knows; after the last of those all are none.
_SPACE = np.array([chr(code).isspace() for code in range(0x3002)])


class Tokens:
    """A fast Hugging Face tokenizer, set up for right padding."""

    def __init__(self, tokenizer: Any, max_length: int, *, bos: bool, special: bool = False, device: str = "cpu") -> None:
        """``bos`` puts the beginning-of-sequence token first where the tokenizer itself does not; with ``special``, special
        tokens are kept as others are."""
        if not getattr(tokenizer, "is_fast", False):
            raise ConfigError("The model's tokenizer has no fast version, so tokens cannot be found in the text.")
        if tokenizer.pad_token is None:
            if tokenizer.eos_token is None:
                raise ConfigError("The model's tokenizer has neither a padding nor an end token: set one and save it.")
            tokenizer.pad_token = tokenizer.eos_token
        self.tokenizer = tokenizer
        self.settle()
        self.max_length = max_length
        self.keeps_special = special
        self.device = device
        size = max(tokenizer.get_vocab().values()) + 1
        self._special = np.zeros(size, bool)
        self._special[sorted(set(tokenizer.all_special_ids) - {tokenizer.unk_token_id})] = True
        # By id, as they are come upon: how a token is shown, and whether that is known (1), or what stands in the text is (2).
        self._pieces, self._state = np.full(size, "", object), np.zeros(size, np.int8)
        self.bos = bos and tokenizer.bos_token_id is not None and not self._starts_with_bos()

    def settle(self) -> None:
        """Pad and cut on the right: positions then count from the start of the text."""
        self.tokenizer.padding_side = self.tokenizer.truncation_side = "right"

    def batch(self, texts: Sequence[str], device: str | None = None) -> Batch:
        """The texts as right-padded ids. A text without a token of its own is an `EmptyInputError`."""
        coded = self.coded(texts)
        rows = np.arange(len(texts))
        pieces, spans = coded.padded(coded.pieces, rows, self.padding[1]), coded.padded(coded.spans, rows, 0)
        return replace(coded.select(rows), pieces=pieces, spans=spans).to(device or self.device)

    def coded(self, texts: Sequence[str]) -> Coded:
        """The texts as tokens, without padding. A text without a token of its own is an `EmptyInputError`."""
        clean = [self._clean(text, row) for row, text in enumerate(texts)]
        if not clean:
            raise DataError("There is no text to read: give at least one.")
        coded = Coded(self, clean, self._encoded(clean))
        empty = np.flatnonzero(coded.count(coded.own) == 0)
        if len(empty):
            raise EmptyInputError(int(empty[0]))
        return coded

    @cached_property
    def padding(self) -> tuple[int, str]:
        """Id and text of the token that shorter texts of a batch are filled up with."""
        number: int = self.tokenizer.pad_token_id
        return number, str(self.known(np.array([number]))[0][0])

    def special(self, ids: Int[np.ndarray, "m"]) -> Bool[np.ndarray, "m"]:
        """Which of them stand for nothing in the text."""
        found: np.ndarray = self._special[ids]
        return found

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

    def kept(self, ids: Int[Tensor, "b t"], past: int = 0) -> Bool[Tensor, "b t"]:
        """Which tokens of a prompt, or of what follows its first ``past`` tokens, a capture would take; see `Batch.keep`."""
        # A model may have more ids than its tokenizer: those stand for no special token.
        known = ids.cpu().numpy()
        special = (known < len(self._special)) & self.special(np.minimum(known, len(self._special) - 1))
        keep = torch.from_numpy(~special | self.keeps_special).to(ids.device)
        if past == 0 and not self.keeps_special and (self.bos or self._starts_with_bos()):
            keep[:, 0] = False
        return keep

    def vocabulary(self, size: int) -> list[str]:
        """The text of each of the first ``size`` ids; models pad their vocabulary, and an id without a token is shown as one."""
        shown = np.array([f"<{number}>" for number in range(size)], object)
        known = np.array([number for number in self.tokenizer.get_vocab().values() if number < size], np.int64)
        shown[known] = self.known(known)[0]
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
        known = {"tokenizer": self._hash, "max_length": self.max_length, "bos": self.bos}
        # Only where it is so: sets that were captured before there was a choice are still found.
        return known | ({"special": True} if self.keeps_special else {})

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

    def _encoded(self, texts: list[str]) -> list[Encoding]:
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

    def known(self, ids: Int[np.ndarray, "m"]) -> tuple[np.ndarray, np.ndarray]:
        """How tokens are shown, and whether that is all there is to it (1), or what stands in the text is to be shown (2)."""
        for token in np.unique(ids[self._state[ids] == 0]).tolist():
            piece = self._piece(token)
            self._pieces[token] = piece
            self._state[token] = 2 if token == self.tokenizer.unk_token_id or "\ufffd" in piece else 1
        return self._pieces[ids], self._state[ids]

    def _piece(self, token: int) -> str:
        raw = self.tokenizer.convert_ids_to_tokens(token) or ""
        plain = raw.startswith("##") or bool(self._special[token])
        shown: str = raw if plain else self.tokenizer.decode([token], clean_up_tokenization_spaces=False)
        # SentencePiece decoders drop the space before a word.
        return " " + shown if raw.startswith("▁") and not shown.startswith(" ") else shown


@dataclass(frozen=True)
class Marks:
    """Where the kept tokens of some texts stand, text by text.

    Attributes:
        position: ``[m]``: of each, its number among the tokens of its text, special ones too.
        pieces: ``[m]``: its text.
        spans: ``[m, 2]``: its first and last-plus-one character in the text that it is of.
    """

    position: Int[np.ndarray, "m"]
    pieces: np.ndarray
    spans: Int[np.ndarray, "m 2"]


class Coded:
    """Texts as tokens, one text after another: what batches of some of them are made from.

    Where the tokens stand is found out when it is asked for: a model can begin without it.

    Args:
        tokens: The tokenizer.
        texts: The texts.
        encoded: What its backend makes of them.

    Attributes:
        lengths: ``[n]``: how many tokens each text has, special ones too.
        kept: ``[n]``: how many of them are kept.
        ids: ``[m]``: the tokens of all texts.
        own: ``[m]``: false for special ones.
        keep: ``[m]``: false for those that are not kept.
    """

    def __init__(self, tokens: Tokens, texts: list[str], encoded: list[Encoding]) -> None:
        self._tokens, self._texts, self._encoded = tokens, texts, encoded
        self.lengths = int(tokens.bos) + np.fromiter(map(len, encoded), np.int64, len(encoded))
        self._firsts = np.cumsum(self.lengths) - self.lengths
        self._texts_of = np.repeat(np.arange(len(texts)), self.lengths)
        # All but the token that the workbench puts first.
        self._coded = np.ones(len(self._texts_of), bool)
        self.ids = np.empty(len(self._texts_of), np.int64)
        if tokens.bos:
            self._coded[self._firsts], self.ids[self._firsts] = False, tokens.tokenizer.bos_token_id
        self.ids[self._coded] = np.fromiter(chain.from_iterable(text.ids for text in encoded), np.int64)
        self.own = ~tokens.special(self.ids)
        self.keep = self.own | tokens.keeps_special
        self.kept = self.count(self.keep)

    def count(self, chosen: Bool[np.ndarray, "m"]) -> Int[np.ndarray, "n"]:
        """How many chosen tokens each text has."""
        return np.bincount(self._texts_of[chosen], minlength=len(self._texts))

    @cached_property
    def spans(self) -> Int[np.ndarray, "m 2"]:
        """First and last-plus-one character of each token in its text; 0, 0 for special ones, or, if they are kept, twice the end
        of what stands before them."""
        spans = np.zeros((len(self.ids), 2), np.int64)
        ends = chain.from_iterable(chain.from_iterable(text.offsets for text in self._encoded))
        spans[self._coded] = np.fromiter(ends, np.int64).reshape(-1, 2)
        spans[~self.own] = 0
        _trim(spans, self._texts_of, self._texts)
        if self._tokens.keeps_special:
            # Each text is put behind the last: the furthest end so far is then one in the same text.
            behind = self._texts_of * (int(spans.max(initial=0)) + 1)
            furthest = np.maximum.accumulate(spans[:, 1] + behind) - behind
            spans[~self.own] = furthest[~self.own, None]
        return spans

    @cached_property
    def pieces(self) -> np.ndarray:
        """``[m]``: the text of each token."""
        pieces, state = self._tokens.known(self.ids)
        # A byte of a longer character, or a word that the vocabulary lacks: show what stands in the text.
        for number in np.flatnonzero((state == 2) & (self.spans[:, 1] > self.spans[:, 0])).tolist():
            start, end = self.spans[number].tolist()
            pieces[number] = self._texts[self._texts_of[number]][start:end]
        return pieces

    def select(self, rows: Sequence[int] | np.ndarray) -> Batch:
        """Some texts as a batch in main memory, padded on the right to the longest of them, without pieces and spans."""
        mask = torch.from_numpy(self._cells(rows))
        inputs = {
            "input_ids": torch.from_numpy(self.padded(self.ids, rows, self._tokens.padding[0])),
            "attention_mask": mask.long(),
        }
        return Batch(inputs, mask, torch.from_numpy(self.padded(self.keep, rows, False)))

    def padded(self, of_all: np.ndarray, rows: Sequence[int] | np.ndarray, fill: Any) -> np.ndarray:
        """What each token of some texts has, as a row each."""
        cells = self._cells(rows)
        made = np.full((*cells.shape, *of_all.shape[1:]), fill, of_all.dtype)
        made[cells] = of_all[(self._firsts[rows][:, None] + np.arange(cells.shape[1]))[cells]]
        return made

    def marks(self) -> Marks:
        """Where the kept tokens stand."""
        position = np.arange(len(self.ids)) - self._firsts[self._texts_of]
        return Marks(position[self.keep], self.pieces[self.keep], self.spans[self.keep])

    def _cells(self, rows: Sequence[int] | np.ndarray) -> Bool[np.ndarray, "b t"]:
        lengths = self.lengths[rows]
        return np.arange(lengths.max(initial=0)) < lengths[:, None]


def _trim(spans: np.ndarray, texts_of: np.ndarray, texts: Sequence[str]) -> None:
    """A span starts at the word, also where the tokenizer counts the space before it to its token.

    ``spans`` ``[m, 2]`` are changed in place; ``texts_of`` says of which text each is.
    """
    ends = np.zeros(len(texts), np.int64)
    np.maximum.at(ends, texts_of, spans[:, 1])
    read = [text[:end] for text, end in zip(texts, ends.tolist(), strict=True)]
    lengths = np.fromiter(map(len, read), np.int64, len(read))
    # Characters by their place in all texts joined.
    joined = spans + (np.cumsum(lengths) - lengths)[texts_of, None]
    characters = np.frombuffer("".join(read).encode("utf-32-le"), np.uint32)
    blank = np.append(_SPACE[np.minimum(characters, len(_SPACE) - 1)], False)
    words = np.flatnonzero(~blank)
    found = np.flatnonzero((spans[:, 0] < spans[:, 1]) & blank[joined[:, 0]])
    start, end = joined[found].T
    word = words[np.searchsorted(words, start)]
    # A span of nothing but spaces stays as it is.
    spans[found, 0] += np.where(word < end, word - start, 0)
