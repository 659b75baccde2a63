"""The manifest of an activation set: what was captured, and which files hold it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from workbench.activations.dtypes import Dtype, disk_dtype
from workbench.conversations import DEFAULT_POSITIONS
from workbench.errors import StudyError
from workbench.paths import child, is_file, listed, named, oddities, printable, read_bytes, shown
from workbench.shapes import ShapeError, shaped, whole_number

if TYPE_CHECKING:
    from workbench.activations.source import Examples

Size = Annotated[int, Field(ge=1, le=2**40)]
HASH = "^[0-9a-f]{0,64}$"
MOST_SHARDS, MOST_BYTES = 99_999, 2**50
"""Upper bound on the number of shards, by the digits of their names."""
MANIFEST = "manifest.json"
INDEX = "index.parquet"

# The fields of a request of format 1: its hash covers these alone.
FORMAT_1 = frozenset({
    "model", "model_kind", "weights_hash", "inputs", "edits", "dataset", "dataset_hash", "limit", "sites", "widths", "pool",
    "dtype", "format",
})  # fmt: skip

Pool = Literal["token", "mean", "max", "last", "spatial"]


class Request(BaseModel):
    """Everything that decides what is captured; its hash names the folder."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model: str
    model_kind: str
    weights_hash: str
    inputs: dict[str, Any]
    """How inputs become tensors: tokenizer, maximum length, or image preparation."""
    edits: list[dict[str, Any]] = Field(default_factory=list)
    """The edits that the model ran under, as `workbench.edits.Edit.record` writes them."""
    dataset: str
    """Name of the data set; not part of the identity of a set since format 2."""
    dataset_hash: str = Field(pattern=HASH)
    """Of the examples alone (``Dataset.content_hash``), so that labels, groups and splits can change without another capture; in
    format 1, of the data set with all of these (``Dataset.hash``)."""
    limit: int | None = None
    sites: tuple[str, ...] = Field(min_length=1, max_length=999)
    widths: tuple[Size, ...]
    pool: Pool
    dtype: Dtype
    """Type of the numbers on disk."""
    format: Annotated[Literal[1, 2], BeforeValidator(whole_number)] = 2
    positions: str = DEFAULT_POSITIONS
    """Which tokens have rows; see `workbench.conversations.POSITIONS`."""
    chat_template: str | None = None
    """SHA-256 of the chat template, where the texts are conversations."""
    drawn: str | None = None
    """What identifies the examples, of a capture that drew some by a seed; see `workbench.activations.drawing`. Without it, and
    with a limit, they are the first ones."""
    model_dtype: str | None = None
    """The type of the model's weights, where it is not float32."""

    @property
    def id(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of the request."""
        facts = self.model_dump(mode="json", include=set(FORMAT_1) if self.format == 1 else None)
        if self.format > 1:
            del facts["dataset"]
        text = json.dumps(facts, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def row_bytes(self) -> int:
        """Bytes of one row at all sites."""
        return sum(self.widths) * disk_dtype(self.dtype).itemsize


class Stored(BaseModel):
    """A file of a set as it was written: its length and the SHA-256 of its content, in hexadecimal digits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: int = Field(ge=0)
    sha256: str


class Manifest(BaseModel):
    """A whole set: the request, where its parts came from, and how many rows each shard has."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    request: Request
    model: dict[str, Any]
    """The model's own description, with how to load it again."""
    dataset_source: dict[str, Any]
    labels_hash: str = Field(default="", pattern=HASH)
    """``Dataset.hash`` at the time of the capture: of the examples with their labels, groups and splits. Empty in format 1."""
    n_examples: int = Field(ge=0, le=2**40)
    sample: dict[str, Any] | None = None
    """How the examples were drawn, ``{"seed": …, "by": …}``, where not all were captured."""
    grid: tuple[Size, Size] | None = None
    """Height and width of the grid of positions, of a spatial set."""
    shards: tuple[Size, ...] = Field(min_length=1, max_length=MOST_SHARDS)
    """Rows of each shard; the same for every site."""
    cut_texts: int = Field(default=0, ge=0)
    """How many texts were longer than the model reads, and were cut."""
    lost_tokens: int = Field(default=0, ge=0)
    """How many tokens of them were cut off; estimated, of the end of very long texts."""
    files: dict[str, Stored] = Field(default_factory=dict)
    """The shards and the index, by name; empty in a set that was captured before there were checksums."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if len(self.request.widths) != len(self.request.sites):
            raise ValueError("every site has a width")
        if sum(self.shards) * self.request.row_bytes > MOST_BYTES:
            raise ValueError("no disk has room for it")
        return self

    @property
    def n_rows(self) -> int:
        """Rows of the set."""
        return sum(self.shards)

    @property
    def dataset_record(self) -> dict[str, Any]:
        """The data set as it was captured: its name, its hash with labels, and how to load it again."""
        whole = self.labels_hash or self.request.dataset_hash
        return {"name": self.request.dataset, "hash": whole, "source": self.dataset_source}

    def is_of(self, dataset: Examples) -> bool:
        """Whether a data set has the examples that were captured, whatever their labels are."""
        if self.request.format > 1:
            return dataset.content_hash == self.request.dataset_hash
        return self.request.dataset_hash in {dataset.hash, *dataset.earlier}

    def cut(self) -> str:
        """A sentence about the texts that were cut; empty where none was."""
        from workbench.models.coded import cut_sentence

        return cut_sentence(self.cut_texts, self.n_examples, self.request.inputs.get("max_length", 0), self.lost_tokens)

    def lengths(self) -> dict[str, int | None]:
        """Length of every file beside the manifest; None where an old manifest lacks it."""
        size = disk_dtype(self.request.dtype).itemsize
        found: dict[str, int | None] = {
            shard_name(number, shard): rows * width * size
            for number, width in enumerate(self.request.widths)
            for shard, rows in enumerate(self.shards)
        }
        return found | {INDEX: self.files[INDEX].bytes if INDEX in self.files else None}


def edit_text(record: Mapping[str, Any]) -> str:
    """An edit that activations were captured under, in words: what a capture calls it, and the site."""
    source, strength = record.get("source"), record.get("strength")
    name = _plain(record, "kind")
    if isinstance(source, Mapping):
        amount = f"{strength:g}" if isinstance(strength, int | float) else ""
        if source.get("concept"):
            name = f"{_plain(source, 'concept')}={_plain(source, 'action')}:{amount}"
        else:
            name = f"{_plain(source, 'run')}/{_plain(source, 'edit')}" + (f"={amount}" if amount not in {"", "1"} else "")
    return f"{name} at {_plain(record, 'site')}"


def _plain(record: Mapping[str, Any], key: str) -> str:
    """A text of a record, which may hold anything."""
    return printable(str(record.get(key, "")), 200)


def shard_name(site_number: int, shard: int) -> str:
    """The file of one site and one shard. Sites go by number: a site's text never becomes part of a path."""
    return f"site{site_number:03d}-{shard:05d}.bin"


def left_out(folder: Path) -> bool:
    """Whether only the manifest of a set is here, as in a study that was packed without its activations."""
    return [path.name for path in folder.iterdir()] == [MANIFEST]


def set_folders(study: Path) -> list[Path]:
    """The folders of the sets of a study, whole or damaged, oldest first; not those that are still being written."""
    found = [path for folder in listed(study, "activations", partial=False) if is_file(path := folder / MANIFEST)]
    return [path.parent for path in sorted(found, key=lambda path: path.stat().st_mtime)]


def known_request(folder: Path, request: Request, dataset: Examples) -> Request:
    """The request of an existing set of format 1 that equals this one, or this one."""
    later = [name for name in Request.model_fields if name not in FORMAT_1]
    if any(getattr(request, name) != Request.model_fields[name].default for name in later):
        return request
    for digest in (dataset.hash, *dataset.earlier):
        old = request.model_copy(update={"format": 1, "dataset_hash": digest})
        if is_file(child(folder, old.id) / MANIFEST):
            return old
    return request


def parse_manifest(folder: Path) -> Manifest:
    """Read the manifest without checking the other files. `StudyError` when it is missing or damaged."""
    try:
        text = read_bytes(folder / MANIFEST)
    except OSError:
        raise StudyError(f"{folder} holds no whole set of activations: capture it again.") from None
    try:
        return shaped(text, Manifest)
    except ShapeError as error:
        raise StudyError(f"The manifest of {folder} is damaged ({error}): remove the folder and capture again.") from None


def wrong_length(path: Path, length: int | None) -> str | None:
    """What is wrong with a file that should have ``length`` bytes (None: any), or None."""
    found = path.stat().st_size if is_file(path) else -1
    if found < 0:
        return "missing"
    return None if length in {None, found} else f"{found} bytes long instead of {length}"


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a set. `StudyError` when the folder is no set, or a file of it is not as long as it should
    be."""
    manifest = parse_manifest(folder)
    for path, problem in oddities(folder):
        raise StudyError(f"{folder} holds {shown(named(path, folder))}, which is {problem}: remove the folder and capture again.")
    if left_out(folder):
        return manifest
    for name, length in manifest.lengths().items():
        if state := wrong_length(child(folder, name), length):
            what = "row index" if name == INDEX else "shard"
            raise StudyError(f"The {what} {child(folder, name)} is {state}: remove its folder and capture again.")
    return manifest
