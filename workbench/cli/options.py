"""Options that several commands share: where a study is, and every option of :func:`workbench.load_dataset`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from workbench.cli.console import progress

if TYPE_CHECKING:
    from workbench.datasets import Dataset
    from workbench.models import Model

StudyPath = Annotated[Path, typer.Argument(help="The study's folder.")]
CatalogUrl = Annotated[
    str | None,
    typer.Option(
        help="Where a new study has its catalog, such as postgresql+psycopg://user@host/database; in its folder otherwise."
    ),
]
RemoteUrl = Annotated[
    str | None, typer.Option(help="Where runs and activations are kept as well, such as s3://bucket/prefix; the study keeps it.")
]
Check = Annotated[bool, typer.Option(help="Compare the model with the Hugging Face model that it wraps.")]
Dtype = Annotated[str, typer.Option(help="Of the model's weights: float32, bfloat16 or float16.")]
SEVERAL = "several by commas, or by giving the option again"
Raw = Annotated[
    bool, typer.Option("--raw", help="Texts in CSV as they are, also those that a spreadsheet would run as formulas.")
]
Sites = Annotated[list[str] | None, typer.Option(help=f"Only these sites; {SEVERAL}.")]
Labels = Annotated[
    list[str] | None, typer.Option(help=f"Columns with labels; {SEVERAL}. Guessed when left out; an empty text means none.")
]

# Former names of options, and their present ones.
RENAMED = {"--at": "--sites", "--family": "--families", "--label": "--labels", "--section": "--sections"}

Text = Annotated[str | None, typer.Option(help="The column with the texts; guessed when left out.")]
Image = Annotated[str | None, typer.Option(help="The column with the images or their paths; guessed when left out.")]
Split = Annotated[
    str | None, typer.Option(help="The column with train, validation or test; otherwise whole groups are dealt out.")
]
Group = Annotated[
    str | None, typer.Option(help="The column of what belongs together, such as the author: no split cuts a group.")
]
Spans = Annotated[str | None, typer.Option(help="The column with labelled parts of texts: lists of start, end, label.")]
Regions = Annotated[str | None, typer.Option(help="The column with labelled boxes in images: lists of x0, y0, x1, y1, label.")]
Encoding = Annotated[str | None, typer.Option(help="Of a text file, such as cp1252; UTF-8, UTF-16 and UTF-32 are found out.")]
Missing = Annotated[
    list[str] | None,
    typer.Option(help=f"Words that stand for no value in label and group columns, besides blanks; {SEVERAL}. nan, None, NULL, NA"
                 " and the like when left out; an empty text means none."),
]  # fmt: skip
DropBlank = Annotated[bool, typer.Option("--drop-blank", help="Leave out rows without a text or image.")]
DropDuplicates = Annotated[bool, typer.Option("--drop-duplicates", help="Leave out all copies of a text or image but the first.")]
DropUnreadable = Annotated[bool, typer.Option("--drop-unreadable", help="Leave out files that are missing or damaged.")]
ImageFolder = Annotated[Path | None, typer.Option(help="Where the paths of images start; beside the table when left out.")]


def _shared(
    text: Text = None,
    image: Image = None,
    labels: Labels = None,
    group: Group = None,
    split: Split = None,
    spans: Spans = None,
    regions: Regions = None,
    missing: Missing = None,
    encoding: Encoding = None,
    drop_blank: DropBlank = False,
    drop_duplicates: DropDuplicates = False,
    drop_unreadable: DropUnreadable = False,
    image_folder: ImageFolder = None,
) -> None:
    """The options of :func:`workbench.load_dataset`, by the same names."""


def with_data_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command every option of :func:`workbench.load_dataset`; it receives those that were used as ``data_options``."""
    shared = inspect.signature(_shared, eval_str=True).parameters
    signature = inspect.signature(command, eval_str=True)
    own = [parameter for name, parameter in signature.parameters.items() if name != "data_options"]

    @wraps(command)
    def called(**given: Any) -> Any:
        chosen = {name: given.pop(name) for name in shared}
        for name in ("labels", "missing"):
            chosen[name] = many(chosen[name])
        used = {name: value for name, value in chosen.items() if value is not None and value is not False}
        return command(**given, data_options=used)

    called.__signature__ = signature.replace(parameters=[*own, *shared.values()])  # type: ignore[attr-defined]
    hints = get_type_hints(command, include_extras=True) | get_type_hints(_shared, include_extras=True)
    called.__annotations__ = {name: hint for name, hint in hints.items() if name not in {"data_options", "return"}}
    return called


def loaded_model(name: str, check: bool = True, dtype: str = "float32", **options: Any) -> Model:
    """The model that a command names, with those of the options of :func:`workbench.load_model` that were used."""
    from workbench.models import load_model

    # 0 counts as given.
    used = {key: value for key, value in options.items() if value is not None and value is not False}
    # Bundled models lack some options, so only those that were given are passed.
    options = used | ({} if check else {"check": False}) | ({} if dtype == "float32" else {"dtype": dtype})
    with progress() as show:
        # Loading a large model takes long.
        show(0, 1, f"loading the model {name}")
        found = load_model(name, **options)
        show(1, 1, f"loading the model {name}")
    return found


def loaded(data: str, data_options: dict[str, Any]) -> Dataset:
    """The data set of ``--data`` with the options of :func:`with_data_options`."""
    from workbench.datasets import load_dataset

    return load_dataset(data, **data_options)


def many(values: list[str] | None) -> list[str] | None:
    """The values of an option that may be repeated, or name several by commas; ``\\\\,`` is a comma in a name."""
    if values is None:
        return None
    parts = [part.replace("\\,", ",").strip() for value in values for part in re.split(r"(?<!\\),", value)]
    return [part for part in parts if part]
