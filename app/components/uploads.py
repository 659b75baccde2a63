"""Uploaded files, and help texts for paths on the server."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from app.components.text import literal
from workbench.errors import ConfigError, WorkbenchError, disk_errors
from workbench.paths import is_name
from workbench.serving import roots


def saved(files: Sequence[IO[bytes]], folder: Path) -> list[Path]:
    """Write uploaded files into a new folder, under the last part of their names.

    Raises:
        ConfigError: Two have one name, or one has none.
    """
    folder.mkdir()
    paths = []
    for file in files:
        name = file.name.replace("\\", "/").rpartition("/")[2]
        path = folder / name
        # The name of a file has at most 255 bytes on most systems.
        if not is_name(name) or len(name.encode(errors="replace")) > 255 or path in paths:
            raise ConfigError(f"'{name[:80]}' cannot be the name of a file, or two files have it: rename it.")
        with disk_errors(name):
            path.write_bytes(file.read())
        paths.append(path)
    return paths


@contextmanager
def called_as_uploaded(folder: Path) -> Iterator[None]:
    """Errors about files below a folder for uploads name them as whoever uploaded them does."""
    try:
        yield
    except WorkbenchError as error:
        if str(folder) not in str(error):
            raise
        raise ConfigError(re.sub(rf"{re.escape(str(folder))}/\w+/", "", str(error))) from error


def reached() -> str:
    """Which folders the app reaches, as the help of a field."""
    return literal(f"The app reaches only {', '.join(map(str, roots()))}; `workbench app --root FOLDER` says which.", 900)
