"""Views that are parts of a page: tables, tokens, images, the editor of a head. Pages and reports draw each in their own way."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from workbench.views.view import Parts, View, lacks, lacks_tensor

MOST_IMAGES, MOST_PIXELS = 64, 1024
COLOURED = 4


class TableView(View):
    """A table, or some of its columns; the first rows of it.

    Attributes:
        table: The table.
        columns: The columns, in this order; all when left out.
    """

    kind: ClassVar[str] = "table"
    table: str
    columns: tuple[str, ...] = Field(default=(), max_length=100)

    def problem(self, parts: Parts) -> str:
        """Which column is not there."""
        return lacks(parts, self.table, self.columns)


class TokensView(View):
    """Texts with their tokens shaded by a number.

    Attributes:
        table: A row a token, in the order of the text.
        token: The column of the tokens' characters.
        value: The column of the numbers; those at or below 0 are not shaded.
        by: A column whose every value is a text of its own.
    """

    kind: ClassVar[str] = "tokens"
    table: str
    token: str = "token"
    value: str = "value"
    by: str = ""

    def problem(self, parts: Parts) -> str:
        """Which column is not there."""
        return lacks(parts, self.table, [self.token, self.by], [self.value])


class ImagesView(View):
    """A grid of images, or of maps over images; at most 64 are drawn.

    Attributes:
        tensor: Maps ``[n, h, w]``, drawn in shades, or images ``[n, h, w, 3]`` of numbers from 0 to 255.
        under: Images ``[n, h, w, 3]`` that the maps lie over, of any size.
        captions: A text an image.
        scale: Whether maps are shaded ``each`` between its own ends, or ``all`` between those of all.
    """

    kind: ClassVar[str] = "images"
    tensor: str
    under: str = ""
    captions: tuple[str, ...] = Field(default=(), max_length=10_000)
    scale: Literal["each", "all"] = "all"

    def problem(self, parts: Parts) -> str:
        """Which tensor is not there, or is none of images."""
        wanted = [(self.tensor, [3] if self.under else [3, COLOURED]), *([(self.under, [COLOURED])] if self.under else [])]
        for name, dimensions in wanted:
            if found := lacks_tensor(parts, name, dimensions):
                return found
            shape = tuple(parts.tensors[name].shape)
            if max(shape[1:3]) > MOST_PIXELS or (len(shape) == COLOURED and shape[3] != 3):
                return f"the tensor '{name}' is {list(shape)}: images have 3 colours and at most {MOST_PIXELS:,} pixels a side"
        counts = {len(parts.tensors[name]) for name, _ in wanted} | ({len(self.captions)} if self.captions else set())
        return "there are not as many images as maps or captions" if len(counts) > 1 else ""


class HeadView(View):
    """What the concepts count for the outputs of a head, with an editor in the app.

    Attributes:
        head: The head.
    """

    kind: ClassVar[str] = "head"
    head: str

    def problem(self, parts: Parts) -> str:
        """Whether the head is not there."""
        return "" if self.head in parts.heads else f"the head '{self.head}' is not there"
