"""Conversations: what was said in turn, each message with its role, and the words that choose positions in them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from workbench.errors import ConfigError, DataError
from workbench.shapes import ShapeError, parse_json

ROLES = ("system", "developer", "user", "assistant", "tool")
POSITIONS = {
    "content": "what texts and messages say: every token but special and template ones",
    **{role: f"the messages of the role {role}" for role in ROLES},
    "last_instruction": "the last token of the last message of the user",
    "template": "the tokens that the chat template puts around messages",
    "all": "every token that the model reads, special ones too",
}
"""What positions can be asked for. All but `content` and `all` are of conversations only."""
DEFAULT_POSITIONS = "content"
# The keys and roles of messages in other common forms: ShareGPT's.
_KEYS = (("role", "content"), ("from", "value"))
_ROLES_ELSEWHERE = {"human": "user", "gpt": "assistant"}
POSITIONS_HELP = "Which tokens: content, or of conversations " + ", ".join([*ROLES, "last_instruction", "template or all."])
_BETWEEN = "\n\n"


class Message(NamedTuple):
    """What one side said.

    Attributes:
        role: One of `ROLES`.
        content: Its text.
    """

    role: str
    content: str


class Conversation(str):
    """Messages in order. As a string it is what a person reads: ``role: content`` of each, with blank lines between.

    A model reads the messages through its own chat template; characters of tokens and of labels are counted in the string, so
    that they do not depend on the model.

    Example:
        >>> Conversation([("user", "Hello"), ("assistant", "Hi.")])
        'user: Hello\\n\\nassistant: Hi.'
    """

    messages: tuple[Message, ...]
    starts: tuple[int, ...]
    """Where the content of each message starts in the string."""

    def __new__(cls, messages: Sequence[tuple[str, str]]) -> Conversation:
        """`DataError` where there is no message or a role is unknown."""
        given = tuple(Message(role, content) for role, content in messages)
        if not given:
            raise DataError("A conversation has at least one message.")
        for message in given:
            if message.role not in ROLES:
                raise DataError(f"The role of a message is one of {', '.join(ROLES)}, not '{message.role[:40]}'.")
        parts, starts, place = [], [], 0
        for role, content in given:
            starts.append(place + len(role) + 2)
            parts.append(f"{role}: {content}")
            place += len(parts[-1]) + len(_BETWEEN)
        found = super().__new__(cls, _BETWEEN.join(parts))
        found.messages, found.starts = given, tuple(starts)
        return found

    def __getnewargs__(self) -> Any:
        return (self.messages,)

    def to_list(self) -> list[dict[str, str]]:
        """``[{"role": …, "content": …}, …]``, as chat templates and JSON have it."""
        return [message._asdict() for message in self.messages]

    def to_json(self) -> str:
        """`to_list` as JSON."""
        return json.dumps(self.to_list(), ensure_ascii=False)

    def shortened(self, characters: int) -> Conversation:
        """The first messages, cut where their contents have so many characters together."""
        kept: list[Message] = []
        for role, content in self.messages:
            if characters <= 0 and kept:
                break
            kept.append(Message(role, content[: max(characters, 0)]))
            characters -= len(content)
        return Conversation(kept)


def shortened(text: str, characters: int) -> str:
    """The start of a text or of a conversation."""
    return text.shortened(characters) if isinstance(text, Conversation) else text[:characters]


def is_conversation(cell: Any) -> bool:
    """Whether a value is a list of messages, or JSON text of one. It may still be faulty."""
    if isinstance(cell, Conversation):
        return True
    if isinstance(cell, str):
        if not cell.lstrip().startswith("[") or not any(f'"{role}"' in cell for role, _ in _KEYS):
            return False
        try:
            cell = parse_json(cell, numbers=False)
        except ShapeError:
            return False
    if hasattr(cell, "tolist"):
        cell = cell.tolist()
    if not isinstance(cell, list | tuple) or not cell or not all(isinstance(item, Mapping) for item in cell):
        return False
    return all("role" in item for item in cell) or all("from" in item and "value" in item for item in cell)


def conversation(cell: Any) -> Conversation:
    """The conversation in a list of ``{"role", "content"}`` or of ShareGPT's ``{"from", "value"}``, or in JSON text of one.

    Raises:
        DataError: It is none, a role is unknown, or a content is not text.
    """
    if isinstance(cell, Conversation):
        return cell
    if not is_conversation(cell):
        raise DataError('A conversation is a list of {"role": …, "content": …}, or JSON text of such a list.')
    items = parse_json(cell, numbers=False) if isinstance(cell, str) else cell
    role, content = _KEYS[0] if "role" in items[0] else _KEYS[1]
    return Conversation([(_role(item[role]), _content(item.get(content))) for item in items])


def check_positions(positions: str) -> str:
    """The word, if it is one of `POSITIONS`. `ConfigError` otherwise."""
    if positions not in POSITIONS:
        raise ConfigError(f"The positions are {', '.join(POSITIONS)}, not '{positions}'.")
    return positions


def _role(role: Any) -> str:
    if not isinstance(role, str):
        raise DataError(f"The role of a message is one of {', '.join(ROLES)}, not {role!r}.")
    return _ROLES_ELSEWHERE.get(role, role)


def _content(content: Any) -> str:
    if isinstance(content, str):
        return content
    # The form in which several providers write text: a list of parts.
    if isinstance(content, list | tuple) and all(isinstance(p, Mapping) and isinstance(p.get("text"), str) for p in content):
        return "".join(part["text"] for part in content)
    raise DataError("The content of a message is text: messages with tool calls, images or nothing in them cannot be read.")
