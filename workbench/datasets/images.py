"""One image as an array of bytes."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.datasets.columns import quote
from workbench.errors import DataError

if TYPE_CHECKING:
    from PIL import Image


class UnreadableError(DataError):
    """A file of a data set that is missing or damaged."""


def read_image(value: Any, folder: Path | None, row: int) -> np.ndarray:
    """uint8 [height, width] (grey) or [height, width, 3] of a path, encoded bytes, a PIL image or an array.

    Integers of a type that does not say how bright the brightest is are left as they are, up to 65,535: whether 255 is, the other
    images of the data set tell (see :func:`on_one_scale`). A picture that a camera took on its side is turned upright, as its
    EXIF data say, so that boxes count in the upright picture.
    Transparent pixels are laid over white. A path is taken from ``folder`` and must stay inside it: a table from a stranger must
    not read other files.

    Raises:
        UnreadableError: The file is missing or damaged.
        DataError: The cell holds no image.
    """
    from PIL import Image

    if isinstance(value, Mapping):  # how Hugging Face and Parquet keep an image
        value = value.get("bytes") or value.get("path")
    try:
        if isinstance(value, np.ndarray):
            return _from_array(value)
        if isinstance(value, Image.Image):
            return _from_pil(value)
        if isinstance(value, (bytes, bytearray)):
            with Image.open(io.BytesIO(value)) as opened:
                return _from_pil(opened)
        if isinstance(value, str):
            with Image.open(_inside(value, folder, row)) as opened:
                return _from_pil(opened)
    except DataError:
        raise
    except FileNotFoundError as error:
        raise UnreadableError(
            f"The image {quote(value)} of row {row} (the first is 0) is not there: paths count from {quote(folder)}; pass"
            " image_folder= where the images are elsewhere, or drop_unreadable=True (--drop-unreadable) to leave out what is"
            " missing."
        ) from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        shown = f" {quote(value)}" if isinstance(value, str) else ""
        reason = str(error).rstrip(".")
        raise UnreadableError(
            f"The image{shown} of row {row} (the first is 0) cannot be read: {reason}. Mend it, or pass drop_unreadable=True"
            " (--drop-unreadable) to leave it out."
        ) from error
    raise DataError(f"Row {row} (the first is 0) holds no image: give a path, the bytes of a file, or an array.")


def on_one_scale(images: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The images as uint8: those of wider integers all from 0 to 255, or, where one of them goes beyond, all from 0 to 65,535."""
    wide = [image for image in images if image.dtype != np.uint8]
    shift = 8 if any(image.max() > 255 for image in wide) else 0
    return [image if image.dtype == np.uint8 else (image >> shift).astype(np.uint8) for image in images]


def _inside(path: str, folder: Path | None, row: int) -> Path:
    base = (folder or Path()).resolve()
    full = (base / path).resolve()
    if not full.is_relative_to(base):
        raise DataError(
            f"The image {quote(path)} of row {row} (the first is 0) lies outside {quote(base)}:"
            " pass image_folder= with the folder that holds the images."
        )
    if full.exists() and not full.is_file():
        raise UnreadableError(f"The image {quote(path)} of row {row} (the first is 0) is no file.")
    return full


def _from_pil(image: Image.Image) -> np.ndarray:
    from PIL import Image, ImageOps

    width, height = image.size
    # What a file says of itself, before it is unpacked: Pillow's own limit, which it only warns of.
    if width * height > (Image.MAX_IMAGE_PIXELS or math.inf):
        raise ValueError(f"it has {width:,} by {height:,} pixels, and no more than {Image.MAX_IMAGE_PIXELS:,} are read")
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image)
        found, clear = _from_array(values), image.info.get("transparency")
        return found if clear is None else np.where(values == clear, np.iinfo(found.dtype).max, found)
    if image.has_transparency_data:
        over = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", over.size, "white"), over).convert("RGB")
    return np.array(image.convert("L" if image.mode in {"1", "L"} else "RGB"), dtype=np.uint8)


def _from_array(values: np.ndarray) -> np.ndarray:
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    if values.ndim == 3 and values.shape[2] == 4 and values.dtype == np.uint8:
        from PIL import Image

        return _from_pil(Image.fromarray(values))
    if not (values.ndim == 2 or (values.ndim == 3 and values.shape[2] == 3)) or values.size == 0:
        raise ValueError(f"its shape is {values.shape}, not (height, width) or (height, width, 3)")
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.uint16:
        return (values >> 8).astype(np.uint8)
    if values.dtype.kind == "f" and values.min() >= 0 and values.max() <= 1:
        return np.round(values * 255).astype(np.uint8)
    if values.dtype.kind in "iu" and values.min() >= 0 and values.max() < 65536:
        return values.astype(np.int32)
    raise ValueError("its values are neither integers (0 to 255, or to 65,535) nor numbers from 0 to 1")
