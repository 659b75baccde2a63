"""Small models that a method trained: a registered builder, its validated configuration, and weights as safetensors.

A file names a builder, never a class or a module. A package offers one by an entry point in the group
``concept_workbench.model_builders``, so that every process can open the models that it made.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import BaseModel, ConfigDict
from safetensors.torch import save_file
from torch import Tensor, nn

from workbench.errors import StudyError
from workbench.kinds import Kinds
from workbench.numbers import counted
from workbench.paths import is_file, shown
from workbench.shapes import ShapeError, read_shaped, read_tensors, reading, validated

BUILDERS = Kinds("concept_workbench.model_builders", "builder of models", "Models")
MODEL_FILE, WEIGHTS_FILE = "model.json", "weights.safetensors"
AGAIN = "Run the analysis again."


class ModelBuilder(BaseModel, ABC):
    """The configuration of a small model, which builds it: a frozen pydantic model.

    A configuration may come from somebody else's study. Give every number that decides a size or a count of layers a bound
    (``Field(ge=1, le=4096)``): weights of other shapes than those of the stored file are refused before they are made.

    Attributes:
        kind: What a stored model is known by.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ClassVar[str]

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if not inspect.isabstract(cls):
            BUILDERS.define(cls.kind, cls)

    @abstractmethod
    def build(self) -> nn.Module:
        """The model with weights of any values."""


class SmallModel:
    """A model that a method trained.

    Args:
        builder: What built it.
        module: The module with its weights; built anew, with random ones, when left out.
    """

    def __init__(self, builder: ModelBuilder, module: nn.Module | None = None) -> None:
        self.builder = builder
        self.module = builder.build() if module is None else module

    def save(self, folder: Path) -> None:
        """Write the model into ``folder``, which is made."""
        folder.mkdir(parents=True, exist_ok=True)
        kind = self.builder.kind
        stored = StoredModel(kind=kind, package=BUILDERS.package_of(kind), config=self.builder.model_dump(mode="json"))
        (folder / MODEL_FILE).write_text(stored.model_dump_json(indent=1))
        # Clones: tied weights share their memory, which the format does not allow.
        state = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in self.module.state_dict().items()}
        save_file(state, folder / WEIGHTS_FILE)

    @staticmethod
    def load(folder: Path) -> SmallModel:
        """Open a model that :meth:`save` wrote, on the processor and ready to be asked.

        Raises:
            StudyError: The folder holds none.
            NotInstalledError: Its builder is not installed here.
        """
        stored = read_model(folder)
        cls: type[ModelBuilder] = BUILDERS.find(stored.kind, stored.package)
        with reading(f"The model {shown(folder.name)}", AGAIN, BUILDERS.error(stored.kind)):
            builder: ModelBuilder = validated(stored.config, cls)
            state = read_tensors(folder / WEIGHTS_FILE)
            # Shapes are compared before any memory is taken: the configuration may ask for more than the file holds.
            with torch.device("meta"):
                _require_shapes(builder.build().state_dict(), state)
            module = builder.build()
            module.load_state_dict(state)
        return SmallModel(builder, module.eval())

    def __repr__(self) -> str:
        size = sum(parameter.numel() for parameter in self.module.parameters())
        return f"<SmallModel '{self.builder.kind}': {counted(size, 'parameter')}>"


class StoredModel(BaseModel):
    """What says which model is in a folder; ``package`` is what offered its builder, empty where it is not known."""

    kind: str
    package: str = ""
    config: dict[str, Any]


def read_model(folder: Path) -> StoredModel:
    """What a stored model says of itself; its builder need not be installed.

    Raises:
        StudyError: The folder holds no model.
    """
    if not is_file(folder / MODEL_FILE):
        raise StudyError(f"{shown(folder.name)} holds no readable model. {AGAIN}")
    return read_shaped(folder / MODEL_FILE, StoredModel, AGAIN)


def _require_shapes(wanted: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    if lost := sorted(set(wanted) ^ set(found)):
        raise ShapeError(f"the tensor {shown(lost[0])} is in its file or in what its builder makes, and not in both")
    for name, tensor in wanted.items():
        if tensor.shape != found[name].shape:
            raise ShapeError(f"the tensor {shown(name)} is {list(found[name].shape)}, and its builder makes {list(tensor.shape)}")
