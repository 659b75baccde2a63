"""Sparse dictionaries as concept sets, on disk in the format of sae-lens.

A dictionary that a run holds is read without sae-lens, whose import takes ten seconds: the encoders are a few lines each
(`workbench.concepts.sparse_codes`). What other trainers saved is read by `workbench.concepts.sae_lens_format`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple, Self

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.concepts import sparse_codes
from workbench.concepts.concept_set import ConceptSet, NullKind
from workbench.concepts.sae_lens_format import (
    CONFIG_FILE,
    TENSORS,
    WEIGHTS_FILE,
    check_config,
    check_tensors,
    read_folder,
    stored,
)
from workbench.errors import ConfigError
from workbench.shapes import read_shaped, read_tensors

ROW_SCALED = ("layer_norm", "constant_norm_rescale")


class _Scaled(NamedTuple):
    """Rows as the encoder takes them, and what undoes that for a reconstruction: ``reconstruction * spread + centre``."""

    rows: Float[Tensor, "n d"]
    spread: Float[Tensor, "n 1"] | float
    centre: Float[Tensor, "n 1"] | float


class DictionaryConcepts(ConceptSet):
    """The latents of a sparse autoencoder.

    Args:
        site: Where its input is read.
        tensors: Those of its architecture under the names of sae-lens: ``W_enc [d, c]``, ``W_dec [c, d]``, ``b_enc [c]``,
            which is zero when left out, and ``b_dec [d]``; ``threshold [c]`` for jumprelu; ``b_gate``, ``b_mag`` and ``r_mag``,
            each ``[c]``, in place of ``b_enc`` for gated; ``W_dec`` and ``b_dec`` alone for matching_pursuit.
        config: The configuration in the layout of sae-lens 6 (``cfg.json``); ``architecture`` is one of ``standard``,
            ``topk``, ``abstopk``, ``jumprelu``, ``gated``, ``matching_pursuit``.
        table: One row a latent.

    Raises:
        ConfigError: The architecture or the input normalisation is not one that is read here, or a tensor is missing.
    """

    kind = "dictionary"
    sparse = True
    actions = ("add", "clamp", "ablate", "set", "scale")

    def __init__(
        self,
        site: str,
        tensors: dict[str, Tensor],
        config: dict[str, Any],
        table: pd.DataFrame | None = None,
        level: str = "token",
    ) -> None:
        check_config(config)
        if "b_enc" in TENSORS[config["architecture"]] and "W_dec" in tensors:
            tensors = {"b_enc": torch.zeros(len(tensors["W_dec"]))} | tensors
        check_tensors(config["architecture"], tensors, extra=True)
        self.config, self.architecture = config, str(config["architecture"])
        self._stored = tensors["W_dec"].dtype
        self._names = tuple(sorted(TENSORS[self.architecture]))
        for name in self._names:
            setattr(self, name, tensors[name].float())
        self._input_bias = self.b_dec * float(bool(config.get("apply_b_dec_to_input", True)))
        # Matching pursuit puts back what it took off; all others always add the bias.
        self._output_bias = self._input_bias if self.architecture == "matching_pursuit" else self.b_dec
        self._rescale = bool(config.get("rescale_acts_by_decoder_norm", False)) and self.architecture in {"topk", "abstopk"}
        self._scaling = config.get("normalize_activations", "none")
        super().__init__(site, pd.DataFrame(index=range(len(self.W_dec))) if table is None else table, level)

    W_enc: Tensor
    W_dec: Tensor
    b_enc: Tensor
    b_dec: Tensor
    b_gate: Tensor
    b_mag: Tensor
    r_mag: Tensor
    threshold: Tensor

    def __len__(self) -> int:
        return len(self.W_dec)

    @property
    def width(self) -> int:
        """Width d of the activations at the site."""
        return int(self.W_dec.shape[1])

    def encode(self, acts_nd: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """Codes, zero where a latent does not fire."""
        here = self.on(acts_nd.device)
        x = here._scaled(acts_nd).rows - here._input_bias
        if self.architecture == "matching_pursuit":
            options = ("residual_threshold", "max_iterations", "stop_on_duplicate_support")
            return sparse_codes.matching_pursuit(
                x, here.W_dec, **{key: self.config[key] for key in options if key in self.config}
            )
        if self.architecture == "gated":
            return sparse_codes.gated(x, here.W_enc, here.b_gate, here.r_mag, here.b_mag)
        pre = here._before_activation(x, slice(None))
        if self.architecture == "standard":
            return pre.relu()
        if self.architecture == "jumprelu":
            return sparse_codes.jump_relu(pre, here.threshold)
        keep = sparse_codes.topk if self.architecture == "topk" else sparse_codes.abs_topk
        return keep(pre, int(self.config["k"]))

    def _before_activation(self, x: Float[Tensor, "n d"], latents: slice | list[int]) -> Float[Tensor, "n c"]:
        pre = x @ self.W_enc[:, latents] + self.b_enc[latents]
        return pre * self.W_dec[latents].norm(dim=-1) if self._rescale else pre

    def encode_some(self, acts_nd: Float[Tensor, "n d"], latents: list[int]) -> Float[Tensor, "n c"]:
        """Codes of some latents, without the work for the others where they do not need it.

        Latents of TopK compete: a row is encoded as a whole where one of these may be among its k largest, which is where it
        exceeds the k-th largest of a part of the others.
        """
        here = self.on(acts_nd.device)
        if self.architecture in ("standard", "jumprelu", "gated"):
            tensors = {n: _of_latents(n, getattr(here, n), latents) for n in self._names}
            return type(self)(self.site, tensors, self.config).encode(acts_nd)
        every = range(0, len(self), 8)
        k = int(self.config.get("k", 0))
        if self.architecture != "topk" or len(latents) > len(every) or k > len(every):
            return here.encode(acts_nd)[:, latents]
        x = here._scaled(acts_nd).rows - here._input_bias
        own = here._before_activation(x, latents)
        least = here._before_activation(x, list(every)).topk(k, dim=-1, sorted=False).values.amin(-1, keepdim=True)
        # Products of other shapes differ in the last bits.
        near = ((own > 0) & (own >= least - 1e-3 * least.abs())).any(-1)
        codes = own.new_zeros(own.shape)
        codes[near] = here.encode(acts_nd[near])[:, latents]
        return codes

    def decode(self, codes_nc: Float[Tensor, "n c"], acts_nd: Float[Tensor, "n d"] | None = None) -> Float[Tensor, "n d"]:
        """The activations that the codes stand for.

        Args:
            codes_nc: Codes.
            acts_nd: The activations that they are the codes of. Needed where every row is scaled by its own numbers before it is
                encoded (``normalize_activations`` is ``layer_norm`` or ``constant_norm_rescale``).

        Raises:
            ConfigError: The activations are needed and were not given.
        """
        here = self.on(codes_nc.device)
        if self._rescale:
            codes_nc = codes_nc / here.W_dec.norm(dim=-1)
        back = codes_nc @ here.W_dec + here._output_bias
        if self._scaling not in ROW_SCALED:
            return back
        scaled = self._scaled(self._needed(acts_nd))
        return back * scaled.spread + scaled.centre

    def reconstruct(self, acts_nd: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """The activations as the dictionary reconstructs them."""
        return self.decode(self.encode(acts_nd), acts_nd)

    def written(self, number: int, acts_nd: Float[Tensor, "n d"] | None = None) -> Float[Tensor, "#n d"]:
        """What one unit of a latent's code adds to the reconstruction; ``acts_nd`` as for `decode`."""
        row = self.W_dec[number]
        row = (row / row.norm() if self._rescale else row)[None]
        return row * self._scaled(self._needed(acts_nd)).spread if self._scaling in ROW_SCALED else row

    def _needed(self, acts_nd: Float[Tensor, "n d"] | None) -> Float[Tensor, "n d"]:
        if acts_nd is None:
            raise ConfigError(
                f"This dictionary scales every row by itself ({self._scaling}): give the activations that the codes are of."
            )
        return acts_nd

    def _scaled(self, acts_nd: Float[Tensor, "n d"]) -> _Scaled:
        rows = acts_nd.float()
        if self._scaling == "layer_norm":
            centre = rows.mean(-1, keepdim=True)
            spread = (rows - centre).std(-1, keepdim=True)
            return _Scaled((rows - centre) / (spread + 1e-5), spread, centre)
        if self._scaling == "constant_norm_rescale":
            spread = rows.norm(dim=-1, keepdim=True) / self.width**0.5
            return _Scaled(rows / spread, spread, 0.0)
        return _Scaled(rows, 1.0, 0.0)

    def directions(self) -> Float[Tensor, "c d"]:
        """Unit-norm decoder rows."""
        return torch.nn.functional.normalize(self.W_dec, dim=-1)

    def subset(self, indices: list[int]) -> ConceptSet:
        """The latents at ``indices``, read as they fire within the whole dictionary."""
        return DictionarySlice(self, indices)

    def _with(self, directions: Float[Tensor, "k d"], rows_nd: Float[Tensor, "n d"]) -> ConceptSet:
        """A TopK dictionary with these directions that keeps the share of active codes."""
        count = len(directions)
        mean = rows_nd.float().mean(0)
        tensors = {"W_enc": directions.T, "W_dec": directions, "b_enc": torch.zeros(count), "b_dec": mean}
        active = max(1, round(self.config.get("k", 32) * count / len(self)))
        config = {"architecture": "topk", "k": active, "apply_b_dec_to_input": True}
        return DictionaryConcepts(self.site, tensors, config, level=self.level)

    def _tensors(self) -> dict[str, Tensor]:
        # In the precision in which they came: a dictionary in half precision is not made twice as large by being kept.
        return {name: getattr(self, name).to(self._stored) for name in self._names}

    def save(self, folder: Path | str) -> None:
        """Write the folder that sae-lens' ``SAE.load_from_disk`` reads, with our table beside it."""
        super().save(folder)
        (Path(folder) / CONFIG_FILE).write_text(json.dumps(self.config, indent=1))

    @classmethod
    def _load(cls, folder: Path, site: str, table: pd.DataFrame, level: str) -> Self:
        config = stored(read_shaped(folder / CONFIG_FILE, dict[str, Any]))
        return cls(site, read_tensors(folder / cls._weights_file()), config, table, level)

    @classmethod
    def from_sae_lens(cls, folder: Path | str, site: str) -> Self:
        """Read a dictionary that sae-lens saved, from any trainer that writes its format (`sae_lens_format`).

        Raises:
            ConfigError: The folder holds none, or one with a key or tensor that is not understood, which is named.
        """
        config, tensors = read_folder(Path(folder))
        return cls(site, tensors, config)

    @classmethod
    def _weights_file(cls) -> str:
        return WEIGHTS_FILE


def _of_latents(name: str, tensor: Tensor, latents: list[int]) -> Tensor:
    """The part of a tensor of a dictionary that belongs to some latents."""
    if name == "b_dec":
        return tensor
    return tensor[:, latents] if name == "W_enc" else tensor[latents]


class DictionarySlice(ConceptSet):
    """Some latents of a dictionary. TopK latents compete, so the whole dictionary is kept to read them."""

    kind = "dictionary-slice"
    sparse = True
    actions = DictionaryConcepts.actions

    def __init__(self, whole: DictionaryConcepts, indices: list[int]) -> None:
        self.whole, self.indices = whole, indices
        super().__init__(whole.site, whole.table.iloc[indices], whole.level)

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def width(self) -> int:
        """Width d of the activations at the site."""
        return self.whole.width

    def encode(self, acts_nd: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """Codes of the chosen latents."""
        return self.whole.encode_some(acts_nd, self.indices)

    def directions(self) -> Float[Tensor, "c d"]:
        """Unit-norm decoder rows."""
        return self.whole.directions()[self.indices]

    def located(self, number: int) -> tuple[ConceptSet, int]:
        """The whole dictionary, and the latent's number there."""
        return self.whole, self.indices[number]

    def null_like(self, kind: NullKind, seed: int, rows_nd: Float[Tensor, "n d"], most: int | None = None) -> ConceptSet:
        """A whole dictionary that means nothing: latents compete with all the others."""
        return self.whole.null_like(kind, seed, rows_nd, most)

    def subset(self, indices: list[int]) -> ConceptSet:
        """A part of the part."""
        return DictionarySlice(self.whole, [self.indices[i] for i in indices])

    def _tensors(self) -> dict[str, Tensor]:
        return self.whole._tensors() | {"indices": torch.tensor(self.indices)}

    def save(self, folder: Path | str) -> None:
        """Write the slice with its dictionary."""
        super().save(folder)
        (Path(folder) / CONFIG_FILE).write_text(json.dumps(self.whole.config, indent=1))

    @classmethod
    def _load(cls, folder: Path, site: str, table: pd.DataFrame, level: str) -> Self:
        tensors = read_tensors(folder / cls._weights_file())
        indices = [int(i) for i in tensors.pop("indices")]
        config = stored(read_shaped(folder / CONFIG_FILE, dict[str, Any]))
        part = cls(DictionaryConcepts(site, tensors, config, level=level), indices)
        part.table = table
        return part
