"""The hash of a data set: the same for the same examples and labels on every machine and in every process."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from workbench.conversations import Conversation


def fingerprint(
    modality: str,
    table: pd.DataFrame,
    columns: Sequence[str],
    spans: pd.DataFrame,
    span_scope: np.ndarray,
) -> str:
    """sha256 (hexadecimal) over the examples in order, their split and group, the named label columns, and
    the spans.

    The order of the columns and of the spans does not count; the order of the examples does, because every
    other table refers to examples by their number. The name of the data set and columns that are no labels do
    not count.
    """
    digest = _of_content(modality, table)
    for name in ("split", "group", *sorted(columns)):
        _add_strings(digest, name, map(_as_text, table[name]))
    places = [name for name in spans.columns if name != "label"]
    order = spans.sort_values([*places, "label"], kind="stable")
    for name in places:
        digest.update(f"span {name}".encode())
        digest.update(order[name].to_numpy().astype("<i8").tobytes())
    _add_strings(digest, "span label", order["label"])
    digest.update(np.packbits(np.asarray(span_scope, bool)).tobytes())
    return digest.hexdigest()


def content_fingerprint(modality: str, table: pd.DataFrame) -> str:
    """sha256 (hexadecimal) over the examples in order and nothing else: what a model reads of a data set."""
    return _of_content(modality, table).hexdigest()


def _of_content(modality: str, table: pd.DataFrame) -> hashlib._Hash:
    digest = hashlib.sha256(f"concept-workbench dataset 1 {modality} {len(table)}".encode())
    if modality == "image":
        for image in table["image"]:
            digest.update(f"image {image.shape}".encode())
            digest.update(np.ascontiguousarray(image).tobytes())
    else:
        _add_strings(digest, "text", table["text"])
        messages = [text.to_json() if isinstance(text, Conversation) else None for text in table["text"]]
        if any(message is not None for message in messages):
            # Other messages may read the same: one of the user that holds the words "assistant:", for instance.
            _add_strings(digest, "messages", messages)
    return digest


def _as_text(value: object) -> str | None:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return None
    return repr(float(value)) if isinstance(value, float) else str(value)


def _add_strings(digest: hashlib._Hash, name: str, values: Iterable[str | None]) -> None:
    # Lengths go first, so that no two lists of strings can run together into the same bytes; -1 is a missing
    # value.
    encoded = [None if value is None else value.encode("utf-8", "surrogatepass") for value in values]
    digest.update(f"strings {len(name)} {name} {len(encoded)}".encode())
    digest.update(np.array([-1 if raw is None else len(raw) for raw in encoded], "<i8").tobytes())
    digest.update(b"".join(raw for raw in encoded if raw is not None))
