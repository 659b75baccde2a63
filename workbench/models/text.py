"""Tokenising texts, with the characters that each token covers."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from workbench.conversations import Conversation, check_positions, conversation
from workbench.errors import ConfigError, DataError
from workbench.models.batch import Batch, InputError
from workbench.models.chat import SPECIAL, TEXT, ChatTemplate, Rendered, RenderingError
from workbench.models.coded import Coded
from workbench.shapes import parse_json

if TYPE_CHECKING:
    from tokenizers import Encoding

DEFAULT_LENGTH = 128
# Long texts are cut before they are tokenised: a megabyte would take seconds for its first 128 tokens.
_CHARACTERS_PER_TOKEN = 200


class Tokens:
    """A fast Hugging Face tokenizer, set up for right padding."""

    def __init__(self, tokenizer: Any, max_length: int, *, bos: bool, special: bool = False, device: str = "cpu") -> None:
        """``bos`` puts the beginning-of-sequence token first where the tokenizer itself puts nothing there; with ``special``,
        special tokens are kept as others are."""
        if not getattr(tokenizer, "is_fast", False):
            raise ConfigError("The model's tokenizer has no fast version, so tokens cannot be found in the text.")
        if tokenizer.pad_token is None:
            if tokenizer.eos_token is None:
                raise ConfigError("The model's tokenizer has neither a padding nor an end token: set one and save it.")
            tokenizer.pad_token = tokenizer.eos_token
        self.tokenizer = tokenizer
        self.settle()
        # The backend stores how it truncates and pads, so one thread at a time sets and uses it.
        self._lock = threading.Lock()
        # Whether the length was asked for by name, or is a default that may be made smaller.
        self.max_length, self.asked = max_length, False
        # Batches are padded to a multiple of so many tokens, for models that otherwise do so themselves inside.
        self.multiple = 1
        # How many ids the model has an embedding for, where that is known: its tokenizer may have more.
        self.embedded: int | None = None
        self.keeps_special = special
        self.device = device
        size = max(tokenizer.get_vocab().values()) + 1
        self._special = np.zeros(size, bool)
        self._special[sorted(special_ids(tokenizer))] = True
        whole = self._encode(["a"], special=True)[0]
        own = np.array(whole.special_tokens_mask, bool)
        # Tokens that the tokenizer adds around a text stand for nothing in it.
        self._special[np.array(whole.ids)[own]] = True
        # What it puts before every text: one that texts begin with, or a prefix of its own.
        self._first: list[int] = whole.ids[: int(np.argmin(own))]
        self.ends: frozenset[int] = frozenset({tokenizer.eos_token_id} - {None})
        # By id, as they are come upon: how a token is shown, and whether that is known (1), or what stands in the text is (2).
        self._pieces, self._state = np.full(size, "", object), np.zeros(size, np.int8)
        self.bos = bos and tokenizer.bos_token_id is not None and not self._first

    def limit(self, longest: int | None) -> None:
        """Read no more tokens than a model can number. `ConfigError` where more were asked for by name."""
        if longest is None or self.max_length <= longest:
            return
        if self.asked:
            raise ConfigError(f"The maximum length is 4 to {longest} tokens for this model, not {self.max_length}.")
        self.max_length = longest

    def stop_at(self, generation_config: Any) -> None:
        """Take the end tokens of a model's generation config, one or several, beside the tokenizer's own."""
        ends = getattr(generation_config, "eos_token_id", None)
        self.ends |= set(ends if isinstance(ends, list | tuple) else [ends]) - {None}

    def settle(self) -> None:
        """Pad and cut on the right: positions then count from the start of the text."""
        self.tokenizer.padding_side = self.tokenizer.truncation_side = "right"

    def batch(self, texts: Sequence[Any], device: str | None = None, positions: str = "content") -> Batch:
        """The texts, or conversations, as right-padded ids; as for `coded`."""
        coded = self.coded(texts, positions)
        rows = np.arange(len(texts))
        pieces, spans = coded.padded(coded.pieces, rows, self.padding[1]), coded.padded(coded.spans, rows, 0)
        return replace(coded.select(rows), pieces=pieces, spans=spans).to(device or self.device)

    def coded(self, texts: Sequence[Any], positions: str = "content") -> Coded:
        """The texts as tokens, without padding.

        Args:
            texts: Texts, or conversations: `Conversation` or lists of ``{"role", "content"}``.
            positions: Which tokens are kept; see `workbench.conversations.POSITIONS`.

        Raises:
            InputError: One of them has no token to keep, or cannot be rendered by the chat template.
            ConfigError: The model has no chat template for a conversation, or the positions are unknown.
        """
        check_positions(positions)
        if not len(texts):
            raise DataError("There is no text to read: give at least one.")
        read = [self._read(text, row) for row, text in enumerate(texts)]
        clean = [self._clean(text.text if isinstance(text, Rendered) else text) for text in read]
        chats = [text if isinstance(text, Rendered) else None for text in read]
        unread = [
            len(text.text if isinstance(text, Rendered) else text) - len(part) for text, part in zip(read, clean, strict=True)
        ]
        coded = Coded(self, clean, self._encoded(clean, chats), chats, positions, unread)
        for faulty, fault in (
            (coded.count(self._unknown(coded.ids)) > 0, self._beyond(coded.ids)),
            (coded.count(coded.own) == 0, "has no text that the model can read: remove the row or fill it in."),
            (
                coded.kept == 0,
                f"has no token at the positions '{positions}' among the {self.max_length} that are read: remove it.",
            ),
        ):
            if faulty.any():
                raise InputError(int(np.flatnonzero(faulty)[0]), fault)
        return coded

    @cached_property
    def chat(self) -> ChatTemplate:
        """The chat template. `ConfigError` where there is none."""
        return ChatTemplate(self.tokenizer)

    @cached_property
    def padding(self) -> tuple[int, str]:
        """Id and text of the token that shorter texts of a batch are filled up with."""
        number: int = self.tokenizer.pad_token_id
        return number, str(self.known(np.array([number]))[0][0])

    def special(self, ids: Int[np.ndarray, "m"]) -> Bool[np.ndarray, "m"]:
        """Mask of the ids that stand for nothing in the text."""
        found: np.ndarray = self._special[ids]
        return found

    def prompt(self, text: Any) -> Int[Tensor, "1 t"]:
        """The ids of `opening` alone."""
        return self.opening(text)[0]

    def opening(self, text: Any) -> tuple[Int[Tensor, "1 t"], Int[Tensor, "1 t"]]:
        """A text to be continued, as ids that begin as every input does and do not end, and what each token is (see `chat`).

        A conversation is as its template has it, with the header of the assistant's answer at the end. `DataError` when there is
        nothing to begin from: no text, and no token that texts begin with.
        """
        read = self._read(text, 0)
        if isinstance(read, Rendered):
            if read.conversation.messages[-1].role == "assistant":
                raise DataError("The conversation ends with the assistant: end it with a message of the user, to be answered.")
            return self._answered(read)
        begun = [self.tokenizer.bos_token_id] if self.bos else self._first
        ids = [*begun, *self._plain_ids(self._clean(read))]
        if not ids:
            raise DataError("The prompt is empty, and this model has no token that texts begin with: write a few words.")
        if self._unknown(np.array(ids)).any():
            raise DataError(f"The prompt {self._beyond(np.array(ids))}")
        kinds = np.where(self.special(np.array(ids)), SPECIAL, TEXT)
        return torch.tensor([ids], device=self.device), torch.from_numpy(kinds)[None].to(self.device)

    def kept(self, ids: Int[Tensor, "b t"], kinds: Int[Tensor, "b t"] | None = None) -> Bool[Tensor, "b t"]:
        """Which tokens a capture would take, and edits change unless they say otherwise; see `Batch.keep`.

        ``kinds`` is what the tokens of a prompt are (see `opening`); what is generated is text, or special.
        """
        if kinds is None:
            known = ids.cpu().numpy()
            # A model may have more ids than its tokenizer: those stand for no special token.
            special = (known < len(self._special)) & self.special(np.minimum(known, len(self._special) - 1))
            kinds = torch.from_numpy(np.where(special, SPECIAL, TEXT)).to(ids.device)
        return (kinds >= TEXT) | (kinds == SPECIAL) & self.keeps_special

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
            ids = self._plain_ids(spelled)
            found += ids if len(ids) == 1 else []
        return list(dict.fromkeys(found))

    def text(self, ids: Sequence[int]) -> str:
        """What generated ids say, without special tokens."""
        # A model may have more ids than its tokenizer has tokens.
        own = [token for token in ids if token >= len(self._special) or not self._special[token]]
        return str(self.tokenizer.decode(own, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def options(self) -> dict[str, Any]:
        """JSON: the tokenizer, by its hash, and how it is used."""
        known = {"tokenizer": self._hash, "max_length": self.max_length, "bos": self.bos}
        # Only where it is so: sets that were captured before there was a choice, or the same special tokens, are still found.
        special = np.flatnonzero(self._special)
        if set(special.tolist()) != set(self.tokenizer.all_special_ids) - {self.tokenizer.unk_token_id}:
            known["special_ids"] = hashlib.sha256(special.astype("<i8").tobytes()).hexdigest()[:16]
        return known | ({"special": True} if self.keeps_special else {})

    @cached_property
    def _hash(self) -> str:
        state = self.tokenizer.backend_tokenizer.to_str().encode()
        # The backend's padding and truncation change as it is used; what it knows of words does not.
        known = {k: v for k, v in parse_json(state, numbers=False, halves=True).items() if k not in {"padding", "truncation"}}
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()

    def _unknown(self, ids: Int[np.ndarray, "m"]) -> Bool[np.ndarray, "m"]:
        """The ids that the model has no embedding for."""
        return ids >= (np.iinfo(np.int64).max if self.embedded is None else self.embedded)

    def _beyond(self, ids: Int[np.ndarray, "m"]) -> str:
        """What is wrong with a text that has such an id, or an empty text."""
        unknown = ids[self._unknown(ids)]
        if not len(unknown):
            return ""
        token = self.tokenizer.convert_ids_to_tokens(int(unknown[0]))
        return (
            f"has the token {token!r}, number {unknown[0]} of the tokenizer, and the model has {self.embedded:,} only: remove it,"
            " or save the model with the tokenizer that it was trained with."
        )

    def _read(self, text: Any, row: int) -> str | Rendered:
        """A text as it is, or a conversation as the chat template renders it."""
        if isinstance(text, list | tuple):
            text = conversation(text)
        if isinstance(text, Conversation):
            try:
                return self.chat.render(text)
            except RenderingError as error:
                raise InputError(row, str(error)) from error
        if not isinstance(text, str):
            raise DataError(f"Row {row} is {type(text).__name__}, not text: give a string.")
        return text

    def _answered(self, chat: Rendered) -> tuple[Int[Tensor, "1 t"], Int[Tensor, "1 t"]]:
        coded = Coded(self, [chat.text], self._encode([chat.text]), [chat], "all", [0])
        return tuple(torch.from_numpy(found.astype(np.int64))[None].to(self.device) for found in (coded.ids, coded.kinds))  # type: ignore[return-value]

    def _plain_ids(self, text: str) -> list[int]:
        return list(self._encode([text])[0].ids)

    def _clean(self, text: str) -> str:
        text = text[: self.max_length * _CHARACTERS_PER_TOKEN]
        # A lone surrogate cannot be tokenised; it is replaced by a character of the same length, so that spans stay right.
        return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")

    def _encoded(self, texts: list[str], chats: list[Rendered | None]) -> list[Encoding]:
        """What the backend makes of the texts, cut to what the model reads.

        A rendered conversation has its special tokens in its text, the first one too.
        """
        coded: list[Encoding] = [None] * len(texts)  # type: ignore[list-item]
        for rendered in (False, True):
            rows = [row for row, chat in enumerate(chats) if (chat is not None) == rendered]
            longest = self.max_length - int(self.bos and not rendered)
            found = self._encode([texts[row] for row in rows], special=not rendered, longest=longest) if rows else []
            for row, encoding in zip(rows, found, strict=True):
                coded[row] = encoding
        return coded

    def _encode(self, texts: list[str], *, special: bool = False, longest: int | None = None) -> list[Encoding]:
        """What the backend makes of texts. Calling the tokenizer itself would make a list of tuples of every text's spans.

        Args:
            texts: The texts.
            special: Whether the tokens that the tokenizer puts around each text are added.
            longest: How many tokens are kept of each, those counted; all when left out.
        """
        backend = self.tokenizer.backend_tokenizer
        cut = {"max_length": longest, "stride": 0, "strategy": "longest_first", "direction": "right"}
        with self._lock:
            if longest is None:
                backend.no_truncation()
            elif backend.truncation != cut:
                backend.enable_truncation(**cut)
            if backend.padding is not None:
                backend.no_padding()
            found: list[Encoding] = backend.encode_batch(texts, add_special_tokens=special)
            return found

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


def special_ids(tokenizer: Any) -> set[int]:
    """The ids that stand for nothing in a text: those with a role (beginning, end, padding, …) and those added as special.

    The token for unknown words stands for a word, so it is none of them unless it has another role too.
    """
    others = {getattr(tokenizer, f"{role}_id") for role in tokenizer.SPECIAL_TOKENS_ATTRIBUTES if role != "unk_token"}
    added = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    return (set(tokenizer.all_special_ids) | added | others) - ({tokenizer.unk_token_id} - others) - {None}
