"""Which column is which, and what a label column holds."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

import numpy as np
import pandas as pd

from workbench.errors import DataError

TEXT_NAMES = (
    "text",
    "sentence",
    "content",
    "body",
    "document",
    "review",
    "comment",
    "message",
    "tweet",
    "prompt",
    "messages",
    "conversation",
    "conversations",
    "chat",
)
IMAGE_NAMES = ("image", "img", "image_path", "file", "filename", "file_name", "path")
LABEL_NAMES = ("label", "labels", "class", "category", "topic", "genre", "sentiment", "target")
SPLIT_NAMES = ("split", "fold")
GROUP_NAMES = ("group", "document_id", "doc_id")
_NUMBERING = {"id", "index", "idx", "unnamed: 0", ""}
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".jpe", ".bmp", ".gif", ".tif", ".tiff", ".webp")

MOST_GUESSED = 50  # a column of more different values is a label only when asked for; a guessed numeric one is then a quantity
MOST_CLASSES = 1000
# Floats from here on stand for several integers each, so an identifier stored as one may be wrong.
EXACT_INTEGERS = 2**53
# Spreadsheets write integers of 12 digits and more as 1.23457E+11, with the last digits gone.
_SHORTENED = Decimal(10**11)
# Cells of label and group columns that stand for "no value" when they are spelled exactly like this, besides blank cells.
MISSING_WORDS = ("nan", "NaN", "NAN", "None", "null", "NULL", "Null", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaT")
_NUMBER = re.compile(r"[+-]?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d{1,4})?")
# Integers that went through a float: with an exponent, or with a fraction of zeros. Either mark may stand before the fraction.
_SCIENTIFIC = re.compile(r"[+-]?\d(?:[.,](\d+)[eE]\+?|[eE]\+)(\d{1,3})")
_WITH_ZEROS = re.compile(r"[+-]?\d{16,}[.,]0*")


@dataclass(frozen=True)
class Label:
    """One label of a data set.

    ``level`` says what carries it: a whole example, a token (a run of characters) or a region of an image.
    ``values`` are its classes in order and ``n`` how many examples (or spans) carry each. A label of ``kind``
    "numeric" is a quantity: its column holds numbers, ``values`` is empty, and it becomes no target.
    """

    name: str
    level: Literal["example", "token", "region"]
    values: tuple[str, ...]
    n: dict[str, int] = field(default_factory=dict)
    kind: Literal["class", "numeric"] = "class"


def find_column(frame: pd.DataFrame, asked: str | None, usual: Sequence[str], what: str) -> str | None:
    """The column that was asked for, or else the first usual name that is there, or None."""
    if asked is not None:
        return require_column(frame.columns, asked, what)
    by_name = {str(name).lower(): str(name) for name in reversed(list(frame.columns))}
    return next((by_name[name] for name in usual if name in by_name), None)


def require_column(columns: Iterable[object], name: str, what: str) -> str:
    """``name``, if there is such a column; else a DataError with the columns there are."""
    there = [str(column) for column in columns]
    if name in there:
        return name
    close = difflib.get_close_matches(name, there, n=3, cutoff=0.5)
    meant = f" Did you mean {' or '.join(map(quote, close))}?" if close else ""
    raise DataError(f"There is no {what} column {quote(name)}.{meant} The columns are {listing(there)}.")


def guess_content(frame: pd.DataFrame) -> tuple[str, str]:
    """("text" or "image", column) of a table for which neither was named."""
    text = find_column(frame, None, TEXT_NAMES, "text")
    image = find_column(frame, None, IMAGE_NAMES, "image")
    if image is not None and (text is None or str(image).lower() in {"image", "img", "image_path"}):
        return "image", image
    if text is not None:
        return "text", text
    text_like = [str(name) for name in frame.columns if _reads_as_text(frame[name])]
    if len(text_like) == 1:
        return "text", text_like[0]
    raise DataError(f"Say which column holds the examples, with text= or image=: the columns are {listing(frame.columns)}.")


def _reads_as_text(column: pd.Series) -> bool:
    values = [value for value in column if isinstance(value, str) and value.strip()]
    return len(values) == len(column) > 0 and sum(" " in value.strip() for value in values) > len(values) / 2


def guess_labels(frame: pd.DataFrame, taken: Collection[str], words: Collection[str] = MISSING_WORDS) -> list[str]:
    """The columns that look like labels: few different values, or quantities. Identifiers and empty columns do not."""
    found = []
    for name in map(str, frame.columns):
        # Labels of spans are called like the last of these.
        if name in taken or name.lower() in _NUMBERING or name.startswith(("token:", "region:")):
            continue
        present = [value for value in cells(frame[name]) if not missing(value, words)]
        if not present or any(isinstance(value, (list, dict, tuple, np.ndarray, bytes)) for value in present[:100]):
            continue
        distinct = len({class_text(value) for value in present})
        named = name.lower() in LABEL_NAMES
        if named or (distinct > 1 and (distinct <= _most_classes(len(frame)) or _reads_as_quantity(name, present))):
            found.append(name)
    return found


def _most_classes(rows: int) -> int:
    """Up to how many different values look like the classes of a table of so many rows."""
    return min(MOST_GUESSED, max(2, rows // 2))


def _reads_as_quantity(name: str, present: Sequence[object]) -> bool:
    numbers = _numbers(present)
    if numbers is None or re.search(r"(^|[_\W])id$|[a-z]I[dD]$", name):
        return False
    return all(abs(number) < EXACT_INTEGERS for number in numbers)


def read_label(
    column: pd.Series, name: str, named: bool = True, words: Collection[str] = MISSING_WORDS
) -> tuple[pd.Series, Label]:
    """The values of a label column, made uniform, and the label they are.

    Classes become strings, with None for missing (see :func:`missing`); a quantity becomes float64 with nan. Numbers are a
    quantity where they take more than 50 different values and either have fractions or were not ``named`` as a label by the
    person who loads them; with fractions and not named, also where most rows have a value of their own. Integers are never
    converted to float on the way to a class.
    """
    values = [None if missing(value, words) else value for value in cells(column)]
    present = [value for value in values if value is not None]
    if not present:
        raise DataError(f"The label column {quote(name)} is empty in every row: choose another, or fill it in.")
    if any(isinstance(value, (list, dict, tuple, np.ndarray)) for value in present):
        raise DataError(f"The label column {quote(name)} holds lists: give each label a column of its own with one value a row.")
    numbers = _numbers(present)
    whole = numbers is not None and all(isinstance(number, int) for number in numbers)
    most = MOST_GUESSED if named or whole else _most_classes(len(column))
    if numbers is not None and len(set(numbers)) > most and not (named and whole):
        each = iter(numbers)
        quantity = [math.nan if value is None else float(next(each)) for value in values]
        return pd.Series(quantity, dtype="float64"), Label(name, "example", (), {}, "numeric")
    require_exact(present, name, "label")
    found = [class_text(value) for value in (present if numbers is None else numbers)]
    if {word.lower() for word in found} <= {"true", "false"}:
        found = [word.lower() for word in found]
    require_whole(found, name, "label")
    each_word = iter(found)
    classes: list[str | None] = [None if value is None else next(each_word) for value in values]
    return pd.Series(classes, dtype=object), class_label(name, found, numeric=numbers is not None)


def class_label(name: str, words: Sequence[str], numeric: bool = False) -> Label:
    """The label with these classes, after checking that there are at least two and not too many."""
    counts = pd.Series(words, dtype=object).value_counts()
    if len(counts) == 1:
        raise DataError(
            f"The label {quote(name)} has one class only, {quote(words[0])}: a label needs at least two to tell"
            " apart. Name others with labels= (--labels), or none: labels=[] (--labels '')."
        )
    if len(counts) > MOST_CLASSES:
        raise DataError(
            f"The label {quote(name)} has {len(counts):,} different values; a label has at most {MOST_CLASSES:,} classes."
        )
    ordered = sorted(counts.index, key=Decimal) if numeric else sorted(counts.index)
    return Label(name, "example", tuple(ordered), {value: int(counts[value]) for value in ordered})


def missing(value: Any, words: Collection[str] = ()) -> bool:
    """Whether a cell holds nothing: None, nan, NaT, blanks, or one of ``words`` spelled exactly so."""
    if value is None or value is pd.NA or value is pd.NaT:
        return True
    if isinstance(value, str):
        text = value.strip()
        return not text or text in words
    if isinstance(value, Decimal):
        return value.is_nan()
    return isinstance(value, (float, np.floating)) and math.isnan(value)


def cells(column: pd.Series) -> list[Any]:
    """The values of a column; floats of fewer than 64 bits keep their type, which says how exact they are."""
    kind = getattr(column.dtype, "numpy_dtype", column.dtype)
    if kind not in (np.float16, np.float32):
        return list(column)
    return [value if missing(value) else kind.type(value) for value in column]


def says_missing(column: pd.Series, words: Collection[str]) -> list[str]:
    """The cells of a column that hold a word for a missing value, in order."""
    return [value.strip() for value in column if isinstance(value, str) and value.strip() in words]


def kept_name(name: str, columns: Iterable[object]) -> str:
    """The name under which a column is kept if its own name is taken by the split, the group or the texts."""
    there = set(map(str, columns))
    found = f"{name} column"
    while found in there:
        found += " (kept)"
    return found


def class_text(value: Any) -> str:
    """A class or an identifier as a string: 1.0 and 1 are one class "1", True is "true". Integers keep every digit."""
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    if isinstance(value, (float, np.floating)):
        number = _plain(value)
        return str(int(number)) if number.is_integer() else repr(number)
    if isinstance(value, Decimal):
        return str(_exact(value))
    return str(value).strip()


def identifiers(present: Sequence[Any]) -> list[str]:
    """The identifiers of a column as strings. In a column of whole numbers 12 and 12.0 are one, whether numbers or text."""
    numbers = None if any(isinstance(value, str) and "e" in value.lower() for value in present) else _numbers(present)
    whole = numbers is not None and all(isinstance(number, int) for number in numbers)
    return [class_text(value) for value in (numbers if numbers is not None and whole else present)]


def half_character(text: str) -> bool:
    """Whether a text holds half of a character, a lone surrogate, which no file and no database takes."""
    return not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text)


def require_whole(words: Iterable[str], name: str, what: str) -> None:
    """DataError where a class or an identifier holds half of a character."""
    half = next((word for word in words if half_character(word)), None)
    if half is not None:
        shown = quote(half.encode("ascii", "backslashreplace").decode())
        raise DataError(f"The {what} column {quote(name)} holds {shown}, with half of a character (a lone surrogate): mend it.")


def require_exact(present: Iterable[Any], name: str, what: str) -> None:
    """Refuse identifiers that may have been rounded by being stored as floats.

    Raises:
        DataError: A value is a float so large that different integers become one (2^53 for those of 64 bits, 2^24 for those of
            32), or is written as such a number is, or as spreadsheets shorten long integers.
    """
    for value in present:
        if _rounded(value):
            raise DataError(
                f"The {what} column {quote(name)} holds {quote(value)}, an integer that was rounded when it was stored as a"
                " floating point number, so that different ones may have become one: store the column as integers or as text."
            )


def _rounded(value: Any) -> bool:
    if isinstance(value, (float, np.floating)):
        exact = 2 ** (np.finfo(type(value)).nmant + 1) if isinstance(value, (np.float16, np.float32)) else EXACT_INTEGERS
        return math.isfinite(value) and abs(float(value)) >= exact
    if not isinstance(value, str):
        return False
    text = value.strip()
    if found := _SCIENTIFIC.fullmatch(text):
        size = abs(Decimal(text.replace(",", ".")))
        return size >= EXACT_INTEGERS or (size >= _SHORTENED and len(found[1] or "") < int(found[2]))
    return bool(_WITH_ZEROS.fullmatch(text)) and abs(int(re.split("[.,]", text)[0])) >= EXACT_INTEGERS


def _numbers(present: Sequence[object]) -> list[int | float] | None:
    """The values as numbers, where all of them are (or are written as numbers, as in a CSV file); whole ones as int."""
    numbers: list[int | float] = []
    for value in present:
        if isinstance(value, (bool, np.bool_)):
            return None
        if isinstance(value, (int, np.integer)):
            number: int | float = int(value) if abs(int(value)) < 2**63 else _exact(Decimal(int(value)))
        elif isinstance(value, (float, np.floating)):
            plain = _plain(value)
            number = int(plain) if plain.is_integer() else plain
        elif isinstance(value, Decimal) and value.is_finite():
            number = _exact(value)
        elif isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
            number = _exact(Decimal(value.strip()))
        else:
            return None
        # Larger than the largest float, such as the code 12e4567: kept as text.
        if isinstance(number, float) and math.isinf(number):
            return None
        numbers.append(number)
    return numbers


def _plain(value: float | np.floating[Any]) -> float:
    """A float of 64 bits; shorter floats are converted by their decimal digits, so that 0.1 of 32 bits becomes 0.1."""
    return float(str(value)) if isinstance(value, (np.float16, np.float32)) else float(value)


def _exact(number: Decimal) -> int | float:
    # Larger numbers do not fit a float, and no identifier has so many digits.
    if number.adjusted() >= 308 or number != number.to_integral_value():
        return float(number)
    return int(number)


def quote(name: object) -> str:
    """A name for a message: quoted, and cut where it is long."""
    shown = str(name)
    return f"'{shown if len(shown) <= 60 else shown[:57] + '…'}'"


def listing(names: Iterable[object]) -> str:
    """The first twelve names, for a message."""
    shown = [quote(name) for name in names]
    return ", ".join(shown[:12]) + (f" and {len(shown) - 12} more" if len(shown) > 12 else "") if shown else "none"


def check_columns(names: Sequence[Any] | pd.Index) -> None:
    """DataError where two columns have one name."""
    seen: set[str] = set()
    for name in map(str, names):
        if name in seen:
            raise DataError(f"There are two columns called {quote(name)}: rename one of them.")
        seen.add(name)
