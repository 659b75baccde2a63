"""Conversations rendered by a model's chat template, with the place of each message in the rendered text."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from workbench.conversations import ROLES, Conversation
from workbench.edits.edit import Edit, masked
from workbench.errors import ConfigError

# Some templates insert today's date, so that tokens would change from day to day.
_DATE = (
    "{%- macro strftime_now(format) -%}"
    "{%- if format == '%Y-%m-%d' -%}2024-07-26{%- else -%}26 Jul 2024{%- endif -%}"
    "{%- endmacro -%}"
)
_PLACE = re.compile("\ue000(\\d+)\ue001")

# What a token is: 0 on padding.
SPECIAL, TEMPLATE, TEXT = 1, 2, 3
"""Of a plain text, or of no message of a conversation; anything from `TEXT` on is what somebody wrote."""
OF_ROLE = {role: number for number, role in enumerate(ROLES, start=TEXT + 1)}
# Of a message of the user that is not the last instruction: another one follows, or its end is not read.
EARLIER = TEXT + len(ROLES) + 1
NAMES = {SPECIAL: "special", TEMPLATE: "template", TEXT: "text", EARLIER: "user"}
NAMES |= {number: role for role, number in OF_ROLE.items()}


class RenderingError(Exception):
    """A conversation that a template cannot render. The message continues a sentence that begins with "Row 3 "."""


@dataclass(frozen=True)
class Part:
    """The content of a message in a rendered conversation.

    Attributes:
        start, end: Its characters in the rendered text.
        offset: Where they start in the conversation's string.
        message: The number of the message.
    """

    start: int
    end: int
    offset: int
    message: int


@dataclass(frozen=True)
class Rendered:
    """A conversation as a model reads it.

    Attributes:
        text: All of it, with the template's tokens spelled out.
        parts: The contents of messages in it, in the order of the text.
        conversation: What was rendered.
    """

    text: str
    parts: tuple[Part, ...]
    conversation: Conversation


class ChatTemplate:
    """The chat template of a tokenizer.

    A conversation that does not end with the assistant is rendered with the header of the assistant's answer behind it, as it
    is when a model is to answer. Where a template states the date, it is always 26 July 2024.

    Raises:
        ConfigError: The tokenizer has none.
    """

    def __init__(self, tokenizer: Any) -> None:
        if not getattr(tokenizer, "chat_template", None):
            raise ConfigError(
                "This model has no chat template, so it cannot read conversations: load a chat model, or save a tokenizer with a"
                " `chat_template` in the model's folder."
            )
        self._tokenizer = tokenizer
        self._template: str = tokenizer.get_chat_template()
        self._skeletons: dict[tuple[str, ...], list[str]] = {}

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the template."""
        return hashlib.sha256(self._template.encode()).hexdigest()

    def render(self, conversation: Conversation) -> Rendered:
        """The conversation as the model reads it.

        Raises:
            RenderingError: The template refuses it, or changes what a message says.
        """
        roles = tuple(message.role for message in conversation.messages)
        text = self._applied(conversation.to_list())
        if roles not in self._skeletons:
            # Placeholders of private-use characters, which can be located whatever the template adds around them.
            held = [{"role": role, "content": f"\ue000{number}\ue001"} for number, role in enumerate(roles)]
            self._skeletons[roles] = _PLACE.split(self._applied(held))
        return Rendered(text, tuple(_parts(text, self._skeletons[roles], conversation)), conversation)

    def _applied(self, messages: list[dict[str, str]]) -> str:
        from jinja2 import TemplateError

        try:
            rendered: str = self._tokenizer.apply_chat_template(
                messages,
                tokenize=False,
                chat_template=_DATE + self._template,
                add_generation_prompt=messages[-1]["role"] != "assistant",
            )
        except (TemplateError, TypeError, ValueError) as error:
            raise RenderingError(f"is refused by the model's chat template: {' '.join(str(error).split())[:200]}") from error
        return rendered


def _parts(text: str, skeleton: list[str], conversation: Conversation) -> Iterator[Part]:
    """The contents in a rendered text, by the literal text that stands around them."""
    between, numbers = skeleton[::2], [int(number) for number in skeleton[1::2]]
    place = len(between[0])
    known = text.startswith(between[0])
    for number, behind in zip(numbers, between[1:], strict=True):
        content = conversation.messages[number].content
        found = _found(text, place, content, behind) if known else None
        if found is None:
            raise RenderingError(
                f"has a message {number + 1} that the model's chat template changes, so that its tokens cannot be told from those"
                " of the template: remove or reword it."
            )
        inside, end = found
        yield Part(place, end, conversation.starts[number] + inside, number)
        place = end + len(behind)
    if not known or place != len(text):
        raise RenderingError(
            "is rendered by the model's chat template in a way that depends on its content: remove or reword it."
        )


def _found(text: str, place: int, content: str, behind: str) -> tuple[int, int] | None:
    """Where what is at ``place`` starts in the content, and where it ends in the text, with ``behind`` after it."""
    for variant in (content, content.strip(), content.lstrip(), content.rstrip()):
        if text.startswith(variant + behind, place):
            return content.find(variant), place + len(variant)
    # A template may show a part only, such as an answer without the reasoning before it.
    end = text.find(behind, place) if behind else len(text)
    inside = content.find(text[place:end]) if end > place else -1
    return None if inside < 0 else (inside, end)


def at_positions(positions: str, kinds: Int[Tensor, "b t"]) -> Bool[Tensor, "b t"]:
    """Where the tokens of some inputs are at the positions that a word of `workbench.conversations.POSITIONS` names.

    Args:
        positions: The word.
        kinds: What each token is: `SPECIAL`, `TEMPLATE`, `TEXT`, `EARLIER` or one of `OF_ROLE`; 0 on padding.

    Raises:
        ConfigError: The word is of conversations, and an input is none.
    """
    if positions == "all":
        return kinds > 0
    if positions == "content":
        return kinds >= TEXT
    if bool((kinds == TEXT).any()):
        raise ConfigError(f"The positions '{positions}' are of conversations, and this is a plain text: use 'content'.")
    if positions == "user":
        return (kinds == OF_ROLE["user"]) | (kinds == EARLIER)
    if positions != "last_instruction":
        return kinds == (TEMPLATE if positions == "template" else OF_ROLE[positions])
    places = torch.arange(kinds.shape[1], device=kinds.device)
    users = torch.where(kinds == OF_ROLE["user"], places, -1).max(1, keepdim=True).values
    return (places == users) & (users >= 0)


def at_tokens(edits: Sequence[Edit], kinds: Int[Tensor, "b t"] | None, generating: bool = False) -> Sequence[Edit]:
    """Edits for one input, with words for their positions replaced by the tokens that they mean there.

    Args:
        edits: The edits.
        kinds: As for `at_positions`; None where the input has no tokens.
        generating: Whether the input is continued: what comes then is written by the assistant.
    """
    if not any(isinstance(edit.positions, str) for edit in edits):
        return edits
    if kinds is None:
        raise ConfigError("An edit is at positions of a text, and this model reads none: give them by number.")
    return [
        masked(edit, at_positions(edit.positions, kinds), generating and edit.positions in {"content", "assistant", "all"})
        if isinstance(edit.positions, str)
        else edit
        for edit in edits
    ]
