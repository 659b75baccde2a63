"""The common interface of all models."""

from __future__ import annotations

import fnmatch
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.conversations import Conversation
from workbench.edits import Edit, Edits
from workbench.errors import ConfigError, UnknownNameError, WorkbenchWarning
from workbench.models.batch import Batch, InputError, Output
from workbench.models.chat import at_tokens
from workbench.models.hooks import HookPoint, appended, ending_before, reading_last, recording
from workbench.models.logits import TokenLogits
from workbench.sites import Site

if TYPE_CHECKING:
    from workbench.models.coded import Coded
    from workbench.models.generation import Generation, Step
    from workbench.models.targets import Target
    from workbench.models.text import Tokens

Modality = Literal["text", "image"]
Kind = Literal["encoder", "decoder", "vision", "module"]


class Model(ABC):
    """A model whose sites can be read and edited. Made by `load_model`."""

    name: str
    modality: Modality
    kind: Kind
    weights_hash: str
    max_length: int
    device: str
    """The device of its weights and of the tensors that it returns."""
    source: Mapping[str, Any]
    classes: tuple[str, ...] | None = None
    """Names of the classes, for a classifier that has them."""
    differences: Mapping[str, float] | None = None
    """Largest differences from the Hugging Face model that it wraps, see `workbench.models.checks`; None if not checked."""
    notes: tuple[str, ...] = ()
    """Sentences on what is done in a slower way, or not at all, because the check found a difference."""
    uses_cache = True
    """Whether text is generated with a key-value cache."""

    _hook_points: dict[Site, HookPoint]
    _may_work_in_place = False
    _unembedding: torch.nn.Module | None = None
    """The module that makes a decoder's logits; None where `unembed` does not give what the model does."""
    _sites_are_enough = False
    """Whether `_output` needs nothing but `_output_sites`."""

    def __init__(self) -> None:
        self._edits: list[Edit] = []

    @abstractmethod
    def batch(self, inputs: Sequence[Any], device: str | None = None, positions: str = "content") -> Batch:
        """Inputs as tensors, on the model's device unless another is named. `DataError` names the row that cannot be used.

        ``positions`` says which tokens the batch keeps; see `workbench.conversations.POSITIONS`.
        """

    def coded(self, texts: Sequence[Any], positions: str = "content") -> Coded:
        """Texts as tokens, to make batches of some of them. `DataError` names the row that cannot be used."""
        raise ConfigError(f"{self.name} reads {self.modality}s and not texts.")

    def warn_if_cut(self, texts: Sequence[Any]) -> None:
        """Warn with one sentence where the model does not read some of the texts to their end."""
        from workbench.models.coded import cut_sentence

        cut, tokens = self.coded(texts).cut
        if cut:
            warnings.warn(cut_sentence(cut, len(texts), self.max_length, tokens), WorkbenchWarning, stacklevel=3)

    def chat_template_hash(self) -> str:
        """SHA-256 of the chat template by which conversations are read. `ConfigError` where the model has none."""
        raise ConfigError(f"{self.name} reads {self.modality}s and no conversations.")

    @abstractmethod
    def input_options(self) -> dict[str, Any]:
        """JSON: how inputs become tensors; part of what identifies a capture."""

    @abstractmethod
    def _run(self, batch: Batch) -> Any:
        """One raw pass."""

    @abstractmethod
    def _output(self, raw: Any, batch: Batch, seen: Mapping[Site, Tensor]) -> Output:
        """The output of a raw pass; ``seen`` holds at least `_output_sites`."""

    def _output_sites(self) -> Sequence[Site]:
        return ()

    @property
    def logit_scale(self) -> float:
        """What a decoder multiplies the logits of its unembedding by."""
        return 1.0

    @property
    def dtype(self) -> str:
        """The type of the weights: ``float32``, ``bfloat16`` or ``float16``."""
        return "float32"

    @property
    @abstractmethod
    def torch_module(self) -> torch.nn.Module:
        """The torch module that a pass runs."""

    @property
    def sites(self) -> tuple[Site, ...]:
        """Every site, in the order in which a pass reaches them."""
        return tuple(self._hook_points)

    def site(self, spec: str | Site) -> Site:
        """The site that ``spec`` names; an unknown one lists those there are."""
        if isinstance(spec, Site) and spec in self._hook_points:
            return spec
        known = {str(site): site for site in self._hook_points}
        if str(spec) not in known:
            raise UnknownNameError("site", str(spec), known, f"({self.name} has {len(known)} sites.)")
        return known[str(spec)]

    def match(self, spec: str | Site | Sequence[str | Site]) -> list[Site]:
        """The sites of one or several names or globs, such as ``resid_post.*``, in execution order."""
        specs = [spec] if isinstance(spec, str | Site) else list(spec)
        found: set[Site] = set()
        for text in map(str, specs):
            hits = {site for site in self._hook_points if fnmatch.fnmatchcase(str(site), text)}
            found |= hits or {self.site(text)}
        if not found:
            raise ConfigError("No site was asked for: give at least one, such as 'resid_post.*'.")
        return [site for site in self._hook_points if site in found]

    @property
    def last_hidden(self) -> Site:
        """The last site before the logits."""
        return next(site for site in reversed(self.sites) if site.kind != "logits")

    def width(self, site: str | Site) -> int:
        """How many numbers a row of the site has; 0 where that depends on the text, as of ``attn_pattern.L``."""
        return self._hook_points[self.site(site)].width

    def grid(self, site: str | Site) -> tuple[int, int]:
        """Height and width of the grid of an image's rows at this site."""
        shape = self._hook_points[self.site(site)].shape
        if self.modality != "image":
            raise ConfigError(f"{self.name} reads text: its sites have no grid.")
        if len(shape) == 4:
            return shape[2], shape[3]
        return (1, shape[1]) if len(shape) == 3 else (1, 1)

    def activations(self, batch: Batch, sites: Sequence[str | Site], grad: bool = False) -> dict[Site, Float[Tensor, "b t d"]]:
        """The rows of some sites. The pass ends at the deepest of them."""
        wanted = [self.site(site) for site in sites]
        if not wanted:
            return {}
        with self._recording(wanted, grad, stop=True, batch=batch) as seen:
            self._run(batch)
        return {site: self._found(site, seen) for site in wanted}

    def forward(
        self, batch: Batch, sites: Sequence[str | Site] = (), grad: bool = False, logits: bool = True
    ) -> tuple[Output, dict[Site, Float[Tensor, "b t d"]]]:
        """A whole pass, with the rows of some sites.

        Without ``logits`` the pass of a decoder ends before its unembedding: ``output.tokens`` makes logits of the positions
        that are asked for, and an array ``[b, t, v]``, which grows with the vocabulary, is never there.

        With ``grad``, ``torch.autograd.grad(output.pooled.sum(), rows)`` works for the rows of every site:
        those that nothing before them makes differentiable are leaves.
        """
        wanted = [self.site(site) for site in sites]
        # A pass that ends before the unembedding has no logits to read or edit.
        whole = logits or any(site.kind == "logits" for site in (*wanted, *(edit.site for edit in self._edits)))
        ending = None if whole else self._unembedding
        stop, raw = not whole and self._sites_are_enough, None
        with (
            self._recording([*wanted, *self._output_sites()], grad, stop=stop, batch=batch) as seen,
            ending_before(ending) as read,
        ):
            raw = self._run(batch)
        if ending is not None:
            hidden = read[-1]
            tokens = TokenLogits(hidden.detach().flatten(0, 1), self.unembed)
            output = Output(self._pooled_before(hidden, batch, seen), tokens=tokens)
        else:
            output = self._output(raw, batch, seen)
            if output.logits is not None and output.logits.dim() == 3:
                output = replace(output, tokens=TokenLogits.known(output.logits.detach().flatten(0, 1)))
        return output, {site: self._found(site, seen) for site in wanted}

    def gradients(self, batch: Batch, sites: Sequence[str | Site], target: Target) -> dict[Site, Float[Tensor, "b t d"]]:
        """The gradients of a scalar of each input in the rows of some sites; see `workbench.models.targets`.

        Inside `frozen` they are those of the model with attention and norms as constants.

        Raises:
            ConfigError: The target does not depend on a site, or is none that this model has.
        """
        wanted = [self.site(site) for site in sites]
        read = [*wanted, *(self.site(site) for site in target.sites)]
        output, seen = self.forward(batch, read, grad=True, logits=target.logits)
        values = target.of(output, seen, batch)
        found = torch.autograd.grad(values.sum(), [seen[site] for site in wanted], allow_unused=True)
        for site, gradient in zip(wanted, found, strict=True):
            if gradient is None:
                raise ConfigError(f"The target '{target.kind}' does not depend on {site}: take an earlier site.")
        return dict(zip(wanted, found, strict=True))

    @contextmanager
    def edited(self, *edits: Edit | Edits) -> Iterator[Model]:
        """Every pass inside is edited, in the order given; inner contexts come after outer ones.

        Special tokens and padding, which a capture leaves out, stay as they are unless an edit takes them in: see `Edit.at`.
        """
        flat = Edits(edits)
        for edit in flat:
            for site in (edit.site, *edit.reads):
                self.site(site)
        with appended(self._edits, flat):
            yield self

    def frozen(self, batch: Batch, attention: bool = True, norms: bool = True) -> AbstractContextManager[Model]:
        """A context in which attention patterns and the scales of norms are those of a batch's pass without edits, as constants.

        No gradient passes them, and no edit changes them; edits inside change all else. Passes inside read this batch, or this
        batch several times over. With both frozen, what lies between two places of a transformer is linear but for its MLPs.

        Args:
            batch: The texts.
            attention: Whether patterns are frozen.
            norms: Whether the scales of norms are frozen: what they divide by. LayerNorm still takes the mean out.

        Raises:
            ConfigError: The model has no places of its own for them, or is more than they can be frozen in.
        """
        raise ConfigError(
            f"{self.name} is run as it is, and has no places of its own for attention patterns and norms: freeze those of a model"
            " that transformer-lens runs."
        )

    @property
    def active_edits(self) -> Edits:
        """The edits of the contexts around."""
        return Edits(self._edits)

    def next_logits(
        self,
        ids: Int[Tensor, "b t"],
        past: int,
        cache: Any,
        edits: Sequence[Edit] = (),
        keep: Bool[Tensor, "b t"] | None = None,
    ) -> tuple[Float[Tensor, "b v"], Any]:
        """Logits of the token after ``ids``, which follow ``past`` tokens that ``cache`` knows, and the new cache.

        Only ``edits`` apply: the contexts around are the caller's to include. ``keep`` is false on special tokens, which edits
        leave as they are. `ConfigError` unless a decoder. Where a cache would change the logits (``uses_cache`` is False),
        ``cache`` is the ids so far and their ``keep``, and every step is a whole pass.
        """
        if self.kind != "decoder":
            raise self._no_text()
        if not self.uses_cache and cache is not None:
            ids, past = torch.cat([cache[0], ids], 1), 0
            keep = None if keep is None else torch.cat([cache[1], keep], 1)
        attended = torch.ones(len(ids), past + ids.shape[1], dtype=torch.long, device=ids.device)
        copy = self._may_work_in_place
        with (
            recording(self._hook_points, [], edits, grad=False, copy=copy, stop=False, first=past, keep=keep),
            # An edit of the logits is at positions, and is given all of them.
            reading_last(None if any(edit.site.kind == "logits" for edit in edits) else self._unembedding),
        ):
            logits, kept = self._step(ids, attended, cache if self.uses_cache else None)
        return logits[:, -1], kept if self.uses_cache else (ids, keep)

    def _step(self, ids: Int[Tensor, "b t"], attended: Int[Tensor, "b p"], cache: Any) -> tuple[Float[Tensor, "b t v"], Any]:
        """Logits of a raw pass over ``ids``, which end the ``p`` attended positions, and the cache with them in it."""
        raise self._no_text()

    def stream(self, prompt: str, alternatives: Sequence[Edit | Edits] = (Edits(),), **options: Any) -> Iterator[Step]:
        """Continue a prompt token by token, once for each alternative; see `workbench.models.generation.stream`."""
        from workbench.models.generation import stream

        if self.kind != "decoder":
            raise self._no_text()
        return stream(self, self._tokens(), prompt, alternatives, **options)

    def _tokens(self) -> Tokens:
        """The tokenizer of a text model."""
        raise self._no_text()

    def generate(self, prompt: str, alternatives: Sequence[Edit | Edits] = (Edits(),), **options: Any) -> Generation:
        """Continue a prompt, once for each alternative; options as for `stream`: ``max_new_tokens``, ``temperature``,
        ``top_k``, ``seed``. Works inside `edited` too.
        """
        from workbench.models.generation import collect

        return collect(prompt, self.stream(prompt, alternatives, **options))

    def lens(self, rows: Float[Tensor, "n d"]) -> Float[Tensor, "n v"]:
        """Logits that rows of the residual stream would give if the model ended there (the logit lens)."""
        raise self._no_text()

    def unembed(self, rows: Float[Tensor, "n d"]) -> Float[Tensor, "n v"]:
        """A decoder's logits for rows that its unembedding reads: behind the final norm, with whatever scales or caps them."""
        raise self._no_text()

    def unembedding(self) -> Float[Tensor, "v d"]:
        """A decoder's unembedding matrix, not a copy: without a bias, and without what scales or caps the logits."""
        raise self._no_text()

    def norm_jacobian(self, rows: Float[Tensor, "n d"]) -> Float[Tensor, "d d"]:
        """The Jacobian of a decoder's final norm, ``[out, in]``, averaged over rows of the last residual stream."""
        raise self._no_text()

    def vocabulary(self) -> list[str]:
        """The text of every token id, as tokens are shown."""
        raise ConfigError(f"{self.name} reads no text: it has no vocabulary.")

    def token_ids(self, word: str) -> list[int]:
        """The ids of the single tokens that spell a word, with and without a space before it; none where there is no such."""
        raise ConfigError(f"{self.name} reads no text: it has no vocabulary.")

    def _no_text(self) -> ConfigError:
        return ConfigError(f"{self.name} is no causal language model: load a decoder, such as 'scribe', to generate text.")

    def embed(self, texts: Sequence[str], batch_size: int = 64) -> Float[np.ndarray, "n d"]:
        """Unit-norm sentence vectors, float32. `ConfigError` when the model is no text encoder."""
        if self.modality != "text" or self.kind != "encoder":
            raise ConfigError(f"{self.name} is no text encoder: load one, such as 'minilm', to embed texts.")
        # A sentence encoder reads the text of a conversation, without a chat template.
        texts = [str(text) if isinstance(text, Conversation) else text for text in texts]
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        vectors = np.zeros((len(texts), self._embedding_width()), np.float32)
        for start in range(0, len(order), batch_size):
            part = order[start : start + batch_size]
            pooled = self._pooled(self._readable([texts[i] for i in part], part))
            vectors[part] = torch.nn.functional.normalize(pooled, dim=1).float().cpu().numpy()
        return vectors

    def describe(self) -> dict[str, Any]:
        """What this model is, as JSON."""
        noted = {"notes": list(self.notes)} if self.notes else {}
        return noted | {
            "name": self.name,
            "kind": self.kind,
            "modality": self.modality,
            "sites": [str(site) for site in self.sites],
            "widths": {str(site): point.width for site, point in self._hook_points.items()},
            "weights_hash": self.weights_hash,
            "inputs": self.input_options(),
            "source": dict(self.source),
        }

    def __repr__(self) -> str:
        names = [str(site) for site in self.sites]
        shown = ", ".join(names[:3]) + (f", … {names[-1]}" if len(names) > 3 else "")
        return f"<{type(self).__name__} {self.name!r}: {self.kind}, {len(names)} sites ({shown})>"

    def _recording(
        self, wanted: Sequence[Site], grad: bool, *, stop: bool, batch: Batch
    ) -> AbstractContextManager[dict[Site, Tensor]]:
        edits = at_tokens(self._edits, batch.kinds)
        return recording(self._hook_points, wanted, edits, grad=grad, copy=self._may_work_in_place, stop=stop, keep=batch.keep)

    def _pooled(self, batch: Batch) -> Float[Tensor, "b o"]:
        return self.forward(batch, logits=False)[0].pooled

    def _pooled_before(self, hidden: Tensor, batch: Batch, seen: Mapping[Site, Tensor]) -> Float[Tensor, "b o"]:
        """`Output.pooled` of a decoder's pass that ended before its unembedding, which would have read ``hidden``."""
        raise NotImplementedError

    def _embedding_width(self) -> int:
        return self._hook_points[self.last_hidden].width

    def _readable(self, texts: Sequence[str], numbers: Sequence[int]) -> Batch:
        try:
            return self.batch(texts)
        except InputError as error:
            raise error.at(numbers[error.row]) from None

    def _found(self, site: Site, seen: Mapping[Site, Tensor]) -> Tensor:
        if site not in seen:
            raise ConfigError(f"A pass of {self.name} did not reach {site} with this input: leave that site out.")
        return seen[site]
