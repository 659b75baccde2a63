"""Several texts as tokens: which of them are kept, and where in its text each one stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Int

from workbench.models.batch import Batch
from workbench.models.chat import EARLIER, NAMES, OF_ROLE, SPECIAL, TEMPLATE, TEXT, Part, Rendered, at_positions

if TYPE_CHECKING:
    from tokenizers import Encoding

    from workbench.models.text import Tokens

# Whether a character is one that `str.isspace` knows; after the last of those all are none.
_SPACE = np.array([chr(code).isspace() for code in range(0x3002)])


@dataclass(frozen=True)
class Marks:
    """Where the kept tokens of some texts stand, text by text.

    Attributes:
        position: ``[m]``: of each, its number among the tokens of its text, special ones too.
        pieces: ``[m]``: its text.
        spans: ``[m, 2]``: its first and last-plus-one character in the text that it is of.
        kinds: ``[m]``: what it is; see `workbench.models.chat`.
    """

    position: Int[np.ndarray, "m"]
    pieces: np.ndarray
    spans: Int[np.ndarray, "m 2"]
    kinds: Int[np.ndarray, "m"]

    def roles(self) -> np.ndarray:
        """``[m]``: the role of the message that each token of a conversation is of, or ``template``."""
        names = np.array([NAMES.get(kind, "") for kind in range(max(NAMES) + 1)], object)
        found: np.ndarray = names[self.kinds]
        return found


class Coded:
    """Texts as tokens, one text after another: what batches of some of them are made from.

    Where the tokens of plain texts stand is found out when it is asked for: a model can begin without it.

    Args:
        tokens: The tokenizer.
        texts: What was tokenised: the texts, or the rendered conversations.
        encoded: What its backend makes of them.
        chats: Where the messages of each conversation are; None for a plain text.
        positions: Which tokens are kept.
        unread: How many characters each text has behind what was tokenised.

    Attributes:
        lengths: ``[n]``: how many tokens each text has, special ones too.
        kept: ``[n]``: how many of them are kept.
        ids: ``[m]``: the tokens of all texts.
        kinds: ``[m]``: what each token is; see `workbench.models.chat`.
        own: ``[m]``: true where somebody wrote it; false for special and for template tokens.
        keep: ``[m]``: false for those that are not kept.
    """

    def __init__(
        self,
        tokens: Tokens,
        texts: list[str],
        encoded: list[Encoding],
        chats: list[Rendered | None],
        positions: str,
        unread: list[int],
    ) -> None:
        self._unread = unread
        self._tokens, self._texts, self._encoded, self._chats = tokens, texts, encoded, chats
        begun = np.array([tokens.bos and chat is None for chat in chats], np.int64)
        self.lengths = begun + np.fromiter(map(len, encoded), np.int64, len(encoded))
        self._firsts = np.cumsum(self.lengths) - self.lengths
        self._texts_of = np.repeat(np.arange(len(texts)), self.lengths)
        # The limit, less the token that the workbench itself puts first.
        self._coded = np.ones(len(self._texts_of), bool)
        self.ids = np.empty(len(self._texts_of), np.int64)
        if tokens.bos:
            first = self._firsts[begun > 0]
            self._coded[first], self.ids[first] = False, tokens.tokenizer.bos_token_id
        self.ids[self._coded] = np.fromiter(chain.from_iterable(text.ids for text in encoded), np.int64)
        self._special = tokens.special(self.ids)
        # Whether a token is of a conversation.
        self._of_chat = np.repeat([chat is not None for chat in chats], self.lengths)
        self.kinds = self._kinds()
        self.own = self.kinds >= TEXT
        self.keep = self._at(positions)
        if positions == "content" and tokens.keeps_special:
            self.keep |= self._special
        self.kept = self.count(self.keep)

    def count(self, chosen: Bool[np.ndarray, "m"]) -> Int[np.ndarray, "n"]:
        """How many chosen tokens each text has."""
        return np.bincount(self._texts_of[chosen], minlength=len(self._texts))

    def _kinds(self) -> Int[np.ndarray, "m"]:
        kinds = np.where(self._special, SPECIAL, TEXT).astype(np.int8)
        for number, chat in self._conversations():
            here, spans = self._tokens_of(number), self._read_spans[self._tokens_of(number)]
            kinds[here] = TEMPLATE
            for part in chat.parts:
                role = OF_ROLE[chat.conversation.messages[part.message].role]
                if role == OF_ROLE["user"] and not self._is_instruction(number, chat, part):
                    role = EARLIER
                kinds[here][_inside(spans, part) & ~self._special[here]] = role
        return kinds

    def _at(self, positions: str) -> Bool[np.ndarray, "m"]:
        if positions == "content":
            return self.own.copy()
        every = np.arange(len(self._texts))
        kinds = torch.from_numpy(self.padded(self.kinds, every, 0))
        return at_positions(positions, kinds).numpy()[self._cells(every)]

    def _is_instruction(self, number: int, chat: Rendered, part: Part) -> bool:
        """Whether a message is the last one of the user, and is read to its end."""
        last = max(place for place, message in enumerate(chat.conversation.messages) if message.role == "user")
        read = int(self._read_spans[self._tokens_of(number), 1].max())
        return part.message == last and not chat.text[read : part.end].strip()

    def _conversations(self) -> Iterator[tuple[int, Rendered]]:
        return ((number, chat) for number, chat in enumerate(self._chats) if chat is not None)

    def _tokens_of(self, number: int) -> slice:
        return slice(self._firsts[number], self._firsts[number] + self.lengths[number])

    @cached_property
    def lost(self) -> Int[np.ndarray, "n"]:
        """How many tokens of each text were cut off because the model reads no longer ones.

        Of a text so long that its end was not even tokenised, that end is estimated by the tokens of what was.
        """
        lost = np.zeros(len(self._encoded), np.int64)
        for number in np.flatnonzero(self.lengths >= self._tokens.max_length).tolist():
            over = self._encoded[number].overflowing
            found = sum(len(part) - sum(part.special_tokens_mask) for part in over)
            a_character = (int(self.lengths[number]) + found) / max(len(self._texts[number]), 1)
            lost[number] = found + round(self._unread[number] * a_character)
        return lost

    @property
    def cut(self) -> tuple[int, int]:
        """How many texts were cut, and how many tokens they lost."""
        return int((self.lost > 0).sum()), int(self.lost.sum())

    @cached_property
    def _read_spans(self) -> Int[np.ndarray, "m 2"]:
        """First and last-plus-one character of each token in what was tokenised; 0, 0 for special ones of plain texts."""
        spans = np.zeros((len(self.ids), 2), np.int64)
        ends = chain.from_iterable(chain.from_iterable(text.offsets for text in self._encoded))
        spans[self._coded] = np.fromiter(ends, np.int64).reshape(-1, 2)
        spans[self._special & ~self._of_chat] = 0
        _trim(spans, self._texts_of, self._texts)
        return spans

    @cached_property
    def spans(self) -> Int[np.ndarray, "m 2"]:
        """First and last-plus-one character of each token in its text, or in the string of its conversation.

        0, 0 for special tokens; where they are kept, and for the template tokens of a conversation, twice the end of what stands
        before them.
        """
        spans = self._read_spans.copy()
        blank = ~self.own
        for number, chat in self._conversations():
            here = self._tokens_of(number)
            read, placed = self._read_spans[here], spans[here]
            for part in chat.parts:
                inside = _inside(read, part)
                placed[inside] = read[inside].clip(part.start, part.end) - part.start + part.offset
        spans[blank] = 0
        if not self._tokens.keeps_special:
            blank &= self._of_chat
        if blank.any():
            # Offsets are shifted text after text, so that the running maximum never crosses from one text into the next.
            behind = self._texts_of * (int(spans.max(initial=0)) + 1)
            furthest = np.maximum.accumulate(spans[:, 1] + behind) - behind
            spans[blank] = furthest[blank, None]
        return spans

    @cached_property
    def pieces(self) -> np.ndarray:
        """``[m]``: the text of each token."""
        pieces, state = self._tokens.known(self.ids)
        spans = self._read_spans
        # A byte of a longer character, or a word that the vocabulary lacks: show what stands in the text.
        for number in np.flatnonzero((state == 2) & (spans[:, 1] > spans[:, 0])).tolist():
            start, end = spans[number].tolist()
            pieces[number] = self._texts[self._texts_of[number]][start:end]
        return pieces

    def select(self, rows: Sequence[int] | np.ndarray) -> Batch:
        """Some texts as a batch in main memory, padded on the right to the longest of them, without pieces and spans."""
        mask = torch.from_numpy(self._cells(rows))
        inputs = {
            "input_ids": torch.from_numpy(self.padded(self.ids, rows, self._tokens.padding[0])),
            "attention_mask": mask.long(),
        }
        kinds = torch.from_numpy(self.padded(self.kinds, rows, 0))
        return Batch(inputs, mask, torch.from_numpy(self.padded(self.keep, rows, False)), kinds)

    def padded(self, of_all: np.ndarray, rows: Sequence[int] | np.ndarray, fill: Any) -> np.ndarray:
        """Values of the tokens of some texts as a padded array, one row a text."""
        cells = self._cells(rows)
        padded = np.full((*cells.shape, *of_all.shape[1:]), fill, of_all.dtype)
        padded[cells] = of_all[(self._firsts[rows][:, None] + np.arange(cells.shape[1]))[cells]]
        return padded

    def marks(self) -> Marks:
        """Where the kept tokens stand."""
        position = np.arange(len(self.ids)) - self._firsts[self._texts_of]
        return Marks(position[self.keep], self.pieces[self.keep], self.spans[self.keep], self.kinds[self.keep])

    def _cells(self, rows: Sequence[int] | np.ndarray) -> Bool[np.ndarray, "b t"]:
        lengths = self.lengths[rows]
        width = -(-lengths.max(initial=0) // self._tokens.multiple) * self._tokens.multiple
        return np.arange(width) < lengths[:, None]


def cut_sentence(cut: int, texts: int, length: int, tokens: int) -> str:
    """How many of some texts were cut at so many tokens, and how many tokens they lost; empty where none was."""
    if not cut:
        return ""
    return (
        f"{cut:,} of {texts:,} texts {'is' if cut == 1 else 'are'} longer than the {length:,} tokens that were read of each:"
        f" {tokens:,} tokens were cut off. Load the model with a larger max_length to read more, where it can."
    )


def _inside(spans: Int[np.ndarray, "t 2"], part: Part) -> Bool[np.ndarray, "t"]:
    """Which tokens have a character of a message's content."""
    return (spans[:, 0] < part.end) & (spans[:, 1] > part.start) & (spans[:, 0] < spans[:, 1])


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
