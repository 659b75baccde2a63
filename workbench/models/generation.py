"""Text from a causal language model, token by token, with a key-value cache and several edits side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.edits import Edit, Edits, side_by_side
from workbench.errors import ConfigError
from workbench.models.chat import at_tokens
from workbench.seeds import check_seed

if TYPE_CHECKING:
    from workbench.models.base import Model
    from workbench.models.text import Tokens


@dataclass(frozen=True)
class Step:
    """One more token of each alternative.

    Attributes:
        tokens: Token ids, one an alternative; None where the text had ended before.
        pieces: What each adds to its text; empty while a character is not whole.
        logits: What the tokens were chosen from, ``[a, v]``, in main memory.
    """

    tokens: list[int | None]
    pieces: list[str]
    logits: Float[Tensor, "a v"]


@dataclass(frozen=True)
class Generation:
    """Generated texts.

    Attributes:
        prompt: What they continue.
        texts: The continuations, one an alternative.
        tokens: Their token ids.
        log_probs: Natural logarithm of each token's probability under the (edited) model at temperature 1.
    """

    prompt: str
    texts: list[str]
    tokens: list[list[int]]
    log_probs: list[list[float]] = field(repr=False)

    @property
    def text(self) -> str:
        """The first continuation."""
        return self.texts[0]


def stream(
    model: Model,
    tokens: Tokens,
    prompt: str | Sequence[Mapping[str, str]],
    alternatives: Sequence[Edit | Edits] = (Edits(),),
    *,
    max_new_tokens: int = 40,
    temperature: float = 0.0,
    top_k: int | None = None,
    seed: int = 0,
) -> Iterator[Step]:
    """Continue a prompt once for each alternative, all in one pass a token; ends when every text has.

    The prompt is a text, or a conversation (a `Conversation` or a list of ``{"role", "content"}``) that the assistant answers. A
    text ends at the tokenizer's end token and at each of those in the model's generation config.

    Edits of contexts around come first. Special tokens, such as the one that the prompt begins with, and those of a chat template
    stay as they are unless an edit takes them in (see `Edit.at`). Above temperature 0 tokens are drawn by Gumbel noise that the
    alternatives share,
    so that they differ where their probabilities do and not by luck. No hook is in the model between two steps.

    Raises:
        ConfigError: The prompt leaves no room, or an option does not fit.
    """
    _check(max_new_tokens, temperature, top_k)
    check_seed(seed)
    ids, kinds = tokens.opening(prompt)
    groups = [Edits(at_tokens(Edits((model.active_edits, alternative)), kinds, True)) for alternative in alternatives]
    for edit in Edits(groups):
        for site in (edit.site, *edit.reads):
            model.site(site)
    edits = Edits(groups[0]) if len(groups) == 1 else side_by_side(groups)
    if ids.shape[1] >= model.max_length:
        raise ConfigError(
            f"The prompt has {ids.shape[1]} tokens and {model.name} reads {model.max_length}: shorten it to leave room for more."
        )
    rng = torch.Generator().manual_seed(seed)
    texts = [_Text(tokens) for _ in groups]
    feed, past, cache = ids.repeat(len(groups), 1), 0, None
    for _ in range(min(max_new_tokens, model.max_length - ids.shape[1])):
        keep = tokens.kept(feed, kinds.expand_as(feed) if past == 0 else None)
        logits, cache = model.next_logits(feed, past, cache, edits, keep)
        past += feed.shape[1]
        logits = logits.float().cpu()
        chosen = _choose(logits, temperature, top_k, rng)
        before = [text.ended for text in texts]
        pieces = [text.add(token) for text, token in zip(texts, chosen.tolist(), strict=True)]
        new = [None if ended else token for ended, token in zip(before, chosen.tolist(), strict=True)]
        yield Step(new, pieces, logits)
        if all(text.ended for text in texts):
            return
        feed = chosen[:, None].to(ids.device)


def collect(prompt: str, steps: Iterator[Step]) -> Generation:
    """All the steps, as texts."""
    texts: list[str] = []
    tokens: list[list[int]] = []
    log_probs: list[list[float]] = []
    for step in steps:
        if not texts:
            count = len(step.tokens)
            texts, tokens, log_probs = [""] * count, [[] for _ in range(count)], [[] for _ in range(count)]
        scores = step.logits.log_softmax(-1)
        for number, (token, piece) in enumerate(zip(step.tokens, step.pieces, strict=True)):
            texts[number] += piece
            if token is not None:
                tokens[number].append(token)
                log_probs[number].append(float(scores[number, token]))
    return Generation(prompt, texts, tokens, log_probs)


class _Text:
    """A text that grows by tokens."""

    def __init__(self, tokens: Tokens) -> None:
        self.tokens, self.ids, self.shown, self.ended = tokens, [], 0, False  # type: ignore[var-annotated]

    def add(self, token: int) -> str:
        if self.ended or token in self.tokens.ends:
            self.ended = True
            return ""
        self.ids.append(token)
        text = self.tokens.text(self.ids)
        if text.endswith("\ufffd"):
            # A character of several bytes that is not whole yet.
            return ""
        piece = text[self.shown :]
        self.shown = len(text)
        return piece


def _choose(logits: Float[Tensor, "a v"], temperature: float, top_k: int | None, rng: torch.Generator) -> Int[Tensor, "a"]:
    if temperature == 0:
        return logits.argmax(-1)
    scores = logits / temperature
    if top_k is not None and top_k < scores.shape[-1]:
        least = scores.topk(top_k, dim=-1).values[:, -1:]
        scores = scores.masked_fill(scores < least, -torch.inf)
    uniform = torch.rand(scores.shape[-1], generator=rng).clamp_(1e-20, 1 - 1e-7)
    return (scores - (-uniform.log()).log()).argmax(-1)


def _check(max_new_tokens: int, temperature: float, top_k: int | None) -> None:
    faults: list[Any] = []
    if max_new_tokens < 1:
        faults.append(f"max_new_tokens is 1 or more, not {max_new_tokens}")
    if not 0 <= temperature <= 10:
        faults.append(f"temperature is 0 (greedy) to 10, not {temperature}")
    if top_k is not None and top_k < 1:
        faults.append(f"top_k is 1 or more, not {top_k}")
    if faults:
        raise ConfigError(f"Text cannot be generated: {'; '.join(faults)}.")
