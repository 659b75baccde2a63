"""Reading JSON and tensors from elsewhere: validated against a declared shape, with errors as one sentence."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from workbench.errors import StudyError, WorkbenchError, full_disk_number
from workbench.paths import is_file, printable, read_bytes, shown

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError
    from torch import Tensor

T = TypeVar("T")
DEEPEST = 100
"""Limit on the nesting of lists and objects; what the workbench writes is less than half as deep."""
_LARGEST = 2**63
_FAULTS_SHOWN = 4


class ShapeError(ValueError):
    """A text is not JSON, or not of the shape that was asked for; its message is a part of a sentence."""


def parse_json(text: bytes | str, numbers: bool = True, halves: bool = False) -> Any:
    """The value of a JSON text, restricted to what all JSON parsers agree on.

    Args:
        text: In UTF-8, with or without a byte order mark.
        numbers: Refuse what is no finite number, or a whole number of more than 64 bits.
        halves: Let texts have half of a surrogate pair, as data of other people do.

    Raises:
        ShapeError: It is not JSON, names a key of an object twice, is nested deeper than :data:`DEEPEST`, or has half of a
            surrogate pair in a text where that is not allowed.
    """
    try:
        decoded = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        value = json.loads(decoded, object_pairs_hook=_object)
        _check(value, numbers, halves)
    except ShapeError:
        raise
    except RecursionError:
        raise ShapeError("it is nested too deeply") from None
    except UnicodeEncodeError:
        raise ShapeError("a text in it has a lone surrogate, which is half of a character") from None
    except UnicodeDecodeError as error:
        raise ShapeError(f"it is not in UTF-8 (byte {error.start})") from None
    except json.JSONDecodeError as error:
        # Callers that read line by line add the line number.
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        raise ShapeError(f"it is not JSON ({error.msg}: {line}column {error.colno})") from None
    except ValueError as error:
        raise ShapeError(f"it is not JSON ({error})") from None
    return value


def shaped(text: bytes | str, shape: type[T], numbers: bool = True) -> T:
    """The value of a JSON text in a declared shape.

    Args:
        text: See :func:`parse_json`.
        shape: A type that pydantic knows: a model, or a type such as ``dict[str, str]``.
        numbers: See :func:`parse_json`.

    Raises:
        ShapeError: It is not JSON or not of that shape; the fields that are wrong are named.
    """
    return validated(parse_json(text, numbers), shape)


def validated(value: Any, shape: type[T]) -> T:
    """A value from JSON in a declared shape.

    Raises:
        ShapeError: It is not of that shape; the fields that are wrong are named.
    """
    from pydantic import ValidationError

    try:
        return cast(T, _adapter(cast(Any, shape)).validate_python(value))
    except ValidationError as error:
        raise ShapeError(faults(error)) from None


def read_shaped(
    path: Path,
    shape: type[T],
    advice: str = "",
    error: type[WorkbenchError] = StudyError,
    numbers: bool = True,
    most: int = 2**26,
) -> T:
    """The content of a small JSON file in a declared shape; arguments are those of :func:`shaped`.

    Args:
        path: The file.
        shape: See :func:`shaped`.
        advice: The sentence that says what to do.
        error: What is raised.
        numbers: See :func:`parse_json`.
        most: Longer files are not read.

    Raises:
        error: The file is not there, no regular file or too long, or what it holds is not of that shape.
    """
    with reading(str(path), advice, error):
        return shaped(read_bytes(path, most), shape, numbers)


def is_version(value: object, *known: int) -> bool:
    """Whether a value from JSON is one of the numbers of versions that are known; ``true`` and ``1.0`` are none."""
    return type(value) is int and value in known


def whole_number(value: object) -> object:
    """A pydantic validator for whole numbers. `ValueError` for anything else, also ``true``, which Python treats as 1."""
    if type(value) is not int:
        raise ValueError("it is no whole number")
    return value


def faults(error: ValidationError) -> str:
    """What does not fit, as a part of a sentence: each field with what is wrong with it."""
    parts = []
    for item in error.errors(include_url=False, include_input=False)[:_FAULTS_SHOWN]:
        where = ".".join(map(str, item["loc"])) or "the whole"
        parts.append(f"{shown(where)}: {item['msg'].removeprefix('Value error, ')}")
    more = error.error_count() - len(parts)
    return "; ".join(parts) + (f"; and {more} more" if more > 0 else "")


@contextmanager
def reading(what: str, advice: str = "", error: type[WorkbenchError] = StudyError) -> Iterator[None]:
    """Turn whatever a library raises about a file into one sentence; a full disk and our own errors stay what they are.

    Args:
        what: The file or folder that is read.
        advice: The sentence that says what to do.
        error: What is raised.
    """
    try:
        yield
    except WorkbenchError:
        raise
    except Exception as problem:
        if full_disk_number(problem):
            raise
        # A message may be of many lines, hold the whole input, or be the key alone.
        message = str(problem).strip().split("\n")[0]
        if isinstance(problem, KeyError | FileNotFoundError):
            message = f"{message} is not there" if isinstance(problem, KeyError) else "it is not there"
        message = printable(message or type(problem).__name__).rstrip(".")
        raise error(f"{what} cannot be read: {message}. {advice}".strip()) from problem


def read_tensors(path: Path, advice: str = "", error: type[WorkbenchError] = StudyError) -> dict[str, Tensor]:
    """The tensors of a safetensors file, by name.

    Raises:
        error: It is no regular file, or not a whole one.
    """
    from safetensors.torch import load_file

    with reading(str(path), advice, error):
        if not is_file(path):
            raise ShapeError("it is not there, or is a link")
        return load_file(path)


@cache
def _adapter(shape: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(shape)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ShapeError(f"the key {shown(twice)} stands twice in one object")
    return found


def _check(value: Any, numbers: bool, halves: bool) -> None:
    """Hold a value to what is allowed, level by level, so that depth costs no stack. `UnicodeEncodeError` for half a pair."""
    level, depth = [value], 0
    while level:
        nested: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                nested += [*one, *one.values()]
            elif isinstance(one, list):
                nested += one
            elif isinstance(one, str) and not halves:
                one.encode()
            elif numbers and isinstance(one, float) and not math.isfinite(one):
                raise ShapeError("a number in it is not finite")
            elif numbers and isinstance(one, int) and not -_LARGEST <= one < _LARGEST:
                raise ShapeError("a whole number in it has more than 64 bits")
        depth += any(isinstance(one, dict | list) for one in level)
        if depth > DEEPEST:
            raise ShapeError("it is nested too deeply")
        level = nested
