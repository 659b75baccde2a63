"""Recipes: an intervention written down, so that the app, the command line and Python replay the same one.

A recipe names concepts of a study, what is done to each, and how text is generated. It holds no vectors: a concept's direction
is read from the study, and the model's weights are checked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from workbench.conversations import Conversation
from workbench.edits.actions import Action
from workbench.errors import ConfigError, StudyError, disk_errors
from workbench.shapes import ShapeError, faults, is_version, read_shaped, shaped, whole_number
from workbench.writing import write_beside

if TYPE_CHECKING:
    from workbench.edits import Edits
    from workbench.models.generation import Generation, Step
    from workbench.study import Study

MOST_PROMPT = 20_000


class RecipeStep(BaseModel):
    """One change: what is done to which concept, how strongly, and where.

    Attributes:
        concept: The concept's id in the study.
        action: One of ``add, clamp, ablate, set, scale``; the last two are for latents of a dictionary.
        amount: The strength; see `ACTIONS`.
        start: The first position changed, counted from 0, special tokens included.
        stop: The first position that is not changed any more; None for no end.
        positions: A word in place of them, such as ``user``; see `workbench.conversations.POSITIONS`. Empty for none.
        keep_error: For ``set`` and ``scale``: what the dictionary does not reconstruct stays as it is.
        special: Also change special tokens, such as the one that begins every prompt.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    concept: str = Field(max_length=200)
    action: Action = "add"
    amount: float = Field(allow_inf_nan=False)
    start: int = Field(default=0, ge=0)
    stop: int | None = Field(default=None, ge=0)
    positions: str = ""
    keep_error: bool = True
    special: bool = False


class RecipeMessage(BaseModel):
    """A message of a conversation: its role and its text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str = Field(max_length=MOST_PROMPT)


class Recipe(BaseModel):
    """An intervention on a causal language model.

    Attributes:
        steps: What is changed, in this order.
        prompt: What is continued.
        messages: A conversation that is answered, in place of a prompt; it ends with the user.
        max_new_tokens, temperature, top_k, seed: As for `Model.generate`.
        model: Name of the study's model.
        weights_hash: Of its weights; another model is refused. Empty to take the study's as it is.
        name: What a person calls it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: tuple[RecipeStep, ...] = ()
    prompt: str = Field(default="", max_length=MOST_PROMPT)
    messages: tuple[RecipeMessage, ...] = ()
    max_new_tokens: int = Field(default=40, ge=1, le=4096)
    temperature: float = Field(default=0.0, ge=0, le=10)
    top_k: int | None = Field(default=None, ge=1)
    seed: int = 0
    model: str = ""
    weights_hash: str = ""
    name: str = Field(default="", max_length=200)
    format: Annotated[Literal[2], BeforeValidator(whole_number)] = 2

    @model_validator(mode="before")
    @classmethod
    def _migrated(cls, data: Any) -> Any:
        """Steps of format 1 changed special tokens as well, and give the same text as they did then."""
        if not isinstance(data, dict) or not is_version(data.get("format"), 1):
            return data
        steps = data.get("steps", ())
        if isinstance(steps, list | tuple):
            steps = [{"special": True} | step if isinstance(step, dict) else step for step in steps]
        return data | {"steps": steps, "format": 2}

    @classmethod
    def parse(cls, text: str) -> Self:
        """A recipe from JSON. `ConfigError` says what does not fit."""
        try:
            return shaped(text, cls)
        except ShapeError as error:
            raise ConfigError(f"This is no recipe: {error}.") from error

    @classmethod
    def made(cls, **fields: Any) -> Self:
        """A recipe from fields. `ConfigError` says what does not fit."""
        try:
            return cls(**fields)
        except ValidationError as error:
            raise ConfigError(f"The recipe cannot be made: {faults(error)}.") from error

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """A recipe from a JSON file."""
        return read_shaped(Path(path), cls, error=ConfigError)

    def save(self, path: str | Path) -> Path:
        """Write it as JSON."""
        with disk_errors("the recipe"):
            write_beside(Path(path), self.to_json())
        return Path(path)

    def to_json(self) -> str:
        """JSON for a person to read and edit."""
        return json.dumps(self.model_dump(), indent=1, ensure_ascii=False) + "\n"

    @property
    def opening(self) -> str:
        """What is continued: the prompt, or the messages as a `Conversation`."""
        if not self.messages:
            return self.prompt
        if self.prompt:
            raise ConfigError("A recipe has a prompt or messages, not both: leave one of them out.")
        return Conversation([(message.role, message.content) for message in self.messages])

    def bound(self, study: Study) -> Self:
        """The same recipe, tied to the study's model."""
        record = study.model_record()
        return self.model_copy(update={"model": record["name"], "weights_hash": record["weights_hash"]})

    def edits(self, study: Study) -> Edits:
        """The edits of its steps.

        Raises:
            UnknownNameError: The study has no such concept.
            StudyError: The recipe was made with other weights.
            ConfigError: A step does not fit its concept.
        """
        from workbench.edits import Edits
        from workbench.store.model_record import weights_text

        record = study.model_record()
        if self.weights_hash and self.weights_hash != record["weights_hash"]:
            raise StudyError(
                f"The recipe was made with the model '{self.model}' (weights {self.weights_hash[:8]}), and this study holds"
                f" {weights_text(record)}: open the study it was made in."
            )
        edits = [study.concept(step.concept).edit(step.action, step.amount, keep_error=step.keep_error) for step in self.steps]
        return Edits(edit.at(_where(step), step.special) for edit, step in zip(edits, self.steps, strict=True))

    def stream(self, study: Study) -> Iterator[Step]:
        """Base text (first) and edited text (second), token by token."""
        from workbench.edits import Edits

        return study.model.stream(self.opening, [Edits(), self.edits(study)], **self.options())

    def run(self, study: Study) -> Generation:
        """Base text (first) and edited text (second)."""
        from workbench.models.generation import collect

        return collect(self.opening, self.stream(study))

    def options(self) -> dict[str, Any]:
        """How text is generated."""
        return {k: getattr(self, k) for k in ("max_new_tokens", "temperature", "top_k", "seed")}


def _where(step: RecipeStep) -> slice | str | None:
    if step.positions:
        if step.start or step.stop is not None:
            raise ConfigError("A step is at positions by a word or from a start to a stop, not both: leave one of them out.")
        return step.positions
    return None if step.start == 0 and step.stop is None else slice(step.start, step.stop)
