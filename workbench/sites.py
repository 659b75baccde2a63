"""Addresses of activations inside a model."""

from __future__ import annotations

import re
from dataclasses import dataclass

from workbench.errors import ConfigError

_PLAIN = ("embed", "final", "logits")
_LAYERED = ("resid_pre", "resid_post", "q", "k", "v", "attn_pattern", "mlp_in", "mlp_act", "mlp_out", "attn_out")
_NUMBER = r"(0|[1-9][0-9]*)"
_LAYERED_PATTERN = re.compile(rf"({'|'.join(_LAYERED)})\.{_NUMBER}", re.ASCII)
_HEAD_PATTERN = re.compile(rf"head_out\.{_NUMBER}\.{_NUMBER}", re.ASCII)
_FORMS = (
    "embed, final, logits, resid_pre.L, resid_post.L, q.L, k.L, v.L, attn_pattern.L, mlp_in.L, mlp_act.L, mlp_out.L, attn_out.L,"
    " head_out.L.H or layer:<module path>"
)


@dataclass(frozen=True, order=True)
class Site:
    """One place in a model whose activations can be read and edited.

    ``str(site)`` and ``Site.parse`` are inverses. The kinds: ``embed``, the residual stream that enters block 0;
    ``resid_pre.L`` and ``resid_post.L``, the stream before and after block L; ``mlp_out.L`` and ``attn_out.L``, what that part
    writes to the stream; ``mlp_in.L``, what the MLP reads, after its norm, and ``mlp_act.L``, what its last matrix reads;
    ``q.L``, ``k.L`` and ``v.L``, what the query, key and value matrices of attention give, all heads side by side, before
    rotary positions and norms of a head; ``attn_pattern.L``, the weights by which each position reads the others, as rows of
    ``h * s`` for ``h`` heads and ``s`` positions that are read; ``head_out.L.H``, what the output projection of attention reads
    from head H; ``final``, the stream after the last norm; ``logits``, what the unembedding of a decoder gives, before an
    architecture scales or caps it; ``layer:<path>``, the output of a module by its path.
    """

    kind: str
    layer: int | None = None
    head: int | None = None
    path: str | None = None

    def __post_init__(self) -> None:
        if not self._is_whole():
            raise ConfigError(f"A site is one of {_FORMS}, not {self._shown()}.")

    @classmethod
    def parse(cls, text: str | Site) -> Site:
        """The site that ``text`` spells; a `ConfigError` names the forms when it spells none."""
        if isinstance(text, Site):
            return text
        if text in _PLAIN:
            return cls(text)
        if text.startswith("layer:") and len(text) > len("layer:"):
            return cls("layer", path=text.removeprefix("layer:"))
        if match := _LAYERED_PATTERN.fullmatch(text):
            return cls(match[1], int(match[2]))
        if match := _HEAD_PATTERN.fullmatch(text):
            return cls("head_out", int(match[1]), int(match[2]))
        raise ConfigError(f"A site is one of {_FORMS}, not {text[:60]!r}.")

    def __str__(self) -> str:
        return f"layer:{self.path}" if self.kind == "layer" else self._shown()

    def _shown(self) -> str:
        return ".".join(str(part) for part in (self.kind, self.layer, self.head) if part is not None)

    def _is_whole(self) -> bool:
        numbers = (self.layer is not None, self.head is not None, bool(self.path))
        wanted = {
            **dict.fromkeys(_PLAIN, (False, False, False)),
            **dict.fromkeys(_LAYERED, (True, False, False)),
            "head_out": (True, True, False),
            "layer": (False, False, True),
        }
        return wanted.get(self.kind) == numbers and min(self.layer or 0, self.head or 0) >= 0
