"""Fitted edits on disk: what an edit is as JSON, its tensors as safetensors. No function, class or module is named."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import save_file
from torch import Tensor

from workbench.edits.edit import Edit, positions_from_json, positions_to_json
from workbench.edits.kinds import make_edit, package_of, require_kind
from workbench.errors import NotInstalledError, UnknownNameError
from workbench.paths import child, named, printable, shown
from workbench.shapes import ShapeError, read_shaped, read_tensors, reading
from workbench.sites import Site

AGAIN = "Run the analysis again."
Name = Annotated[str, Field(max_length=200)]


class Header(BaseModel):
    """What says which edit is stored; ``package`` is what offered its kind, empty where it is not known.

    Attributes:
        arguments: Those that are no tensors.
        positions: As `workbench.edits.edit.positions_to_json` writes them.
    """

    model_config = ConfigDict(extra="forbid")

    kind: Name
    package: str = Field(default="", max_length=200)
    site: str = Field(max_length=1000)
    arguments: dict[Name, bool | int | float | str | None]
    positions: Any = None
    special: bool = False


def save_edit(edit: Edit, folder: Path, name: str) -> None:
    """Write ``name.json`` and ``name.safetensors`` into ``folder``, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {key: value for key, value in edit.arguments.items() if isinstance(value, Tensor)}
    header = Header(
        kind=edit.kind, package=package_of(edit.kind), site=str(edit.site), special=edit.special,
        arguments={key: value for key, value in edit.arguments.items() if key not in tensors},
        positions=positions_to_json(edit.positions),
    )  # fmt: skip
    child(folder, f"{name}.json").write_text(json.dumps(header.model_dump(), indent=1))
    save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, child(folder, f"{name}.safetensors"))


def load_edit(folder: Path, name: str) -> Edit:
    """The edit that `save_edit` wrote.

    Raises:
        StudyError: It cannot be read.
        NotInstalledError: It is of a kind that is not installed here.
    """
    header = read_header(folder, name)
    require_kind(header.kind, header.package)
    with reading(f"The edit '{name}' in {folder}", AGAIN):
        tensors = read_tensors(child(folder, f"{name}.safetensors"), AGAIN)
        if twice := tensors.keys() & header.arguments.keys():
            raise ShapeError(f"its argument {shown(min(twice))} is there twice")
        made = make_edit(header.kind, Site.parse(header.site), {**header.arguments, **tensors})
        return made.at(positions_from_json(header.positions), header.special)


def read_header(folder: Path, name: str) -> Header:
    """What a stored edit says of itself; its kind need not be installed. `StudyError` where it cannot be read."""
    return read_shaped(child(folder, f"{name}.json"), Header, AGAIN)


class FittedEdits(Mapping[str, Edit]):
    """The fitted edits of a run, by name; each is read when it is asked for.

    Args:
        folder: Where they lie.
        run: The id of the run, which they are recorded by when activations are captured under them.
    """

    def __init__(self, folder: Path, run: str) -> None:
        self.folder, self._run = folder, run
        self._read: dict[str, Edit] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(named(path.with_suffix(""), self.folder) for path in self.folder.glob("*.json")))

    def __contains__(self, name: object) -> bool:
        return name in set(self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, name: str) -> Edit:
        if name not in self:
            raise UnknownNameError("fitted edit", name, self)
        if name not in self._read:
            self._read[name] = load_edit(self.folder, name).sourced(run=self._run, edit=name)
        return self._read[name]

    def header(self, name: str) -> Header:
        """What an edit says of itself, whether its kind is installed here or not."""
        return read_header(self.folder, name)

    @property
    def not_installed(self) -> str:
        """Why some can be listed here and not used: they are of a kind that is not installed; empty where all can."""
        for name in self:
            header = self.header(name)
            try:
                require_kind(header.kind, header.package)
            except NotInstalledError as error:
                return str(error)
        return ""

    @property
    def sentence(self) -> str:
        """Which there are, of which kind and where; empty where there are none."""
        headers = {name: self.header(name) for name in self}
        told = ", ".join(
            f"{printable(name)} ({printable(header.kind)} at {printable(header.site)})" for name, header in headers.items()
        )
        return f"Fitted edits: {told}." if told else ""

    def __repr__(self) -> str:
        return f"<FittedEdits: {', '.join(f'{name} ({self.header(name).kind})' for name in self) or 'none'}>"
