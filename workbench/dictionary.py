"""Sparse dictionaries as concept sets, on disk in the format of sae-lens.

Reading a dictionary needs no sae-lens import (that takes ten seconds): the encoders of the architectures whose codes are a
function of one pre-activation (standard, TopK, JumpReLU, and those exported as one of them) are a few lines each.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

import pandas as pd
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from workbench.concepts import ConceptSet
from workbench.errors import ConfigError

CONFIG_FILE = "cfg.json"
ARCHITECTURES = ("standard", "topk", "jumprelu")


class DictionaryConcepts(ConceptSet):
    """The latents of a sparse autoencoder.

    Args:
        site: Where its input is read.
        tensors: ``W_enc [d, c]``, ``W_dec [c, d]``, ``b_enc [c]``, ``b_dec [d]``, and ``threshold [c]`` for JumpReLU, under
            the names of sae-lens.
        config: The sae-lens configuration (``cfg.json``); ``architecture`` is one of ``standard``, ``topk``, ``jumprelu``.
        table: One row a latent.

    Raises:
        ConfigError: The architecture or the input normalisation is not one that is read here.
    """

    kind = "dictionary"
    sparse = True

    def __init__(
        self,
        site: str,
        tensors: dict[str, Tensor],
        config: dict[str, Any],
        table: pd.DataFrame | None = None,
        level: str = "token",
    ) -> None:
        architecture = config.get("architecture")
        if architecture not in ARCHITECTURES:
            raise ConfigError(
                f"A dictionary of architecture {architecture!r} cannot be read; those that can: {', '.join(ARCHITECTURES)}."
            )
        scaling = config.get("normalize_activations", "none")
        if scaling not in {"none", "expected_average_only_in"}:
            raise ConfigError(
                f"A dictionary with normalize_activations={scaling!r} cannot be read; fold the scaling into its weights"
                " with sae-lens and save it again."
            )
        self.config = config
        self._stored = tensors["W_dec"].dtype
        self.W_enc, self.W_dec = tensors["W_enc"].float(), tensors["W_dec"].float()
        self.b_dec = tensors["b_dec"].float()
        self.b_enc = tensors.get("b_enc", torch.zeros(self.W_dec.shape[0])).float()
        self.threshold = tensors.get("threshold")
        self._input_bias = self.b_dec * float(bool(config.get("apply_b_dec_to_input", True)))
        self._rescale = bool(config.get("rescale_acts_by_decoder_norm", False))
        super().__init__(site, pd.DataFrame(index=range(len(self.W_dec))) if table is None else table, level)

    def __len__(self) -> int:
        return len(self.W_dec)

    @property
    def width(self) -> int:
        """Width d of the activations at the site."""
        return int(self.W_dec.shape[1])

    def pre_activations(self, acts_nd: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """What the sparsifying step of the encoder is given."""
        here = self.on(acts_nd.device)
        pre = (acts_nd.float() - here._input_bias) @ here.W_enc + here.b_enc
        return pre * here.W_dec.norm(dim=-1) if self._rescale else pre

    def encode(self, acts_nd: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """Codes, zero where a latent does not fire."""
        pre = self.pre_activations(acts_nd)
        architecture = self.config["architecture"]
        if architecture == "standard":
            return pre.relu()
        if architecture == "jumprelu":
            threshold = self.on(pre.device).threshold
            assert threshold is not None
            return pre.relu() * (pre > threshold)
        top, where = torch.topk(pre, k=min(int(self.config["k"]), pre.shape[-1]), dim=-1, sorted=False)
        return torch.zeros_like(pre).scatter_(-1, where, top.relu())

    def decode(self, codes_nc: Float[Tensor, "n c"]) -> Float[Tensor, "n d"]:
        """The activations that the codes stand for."""
        here = self.on(codes_nc.device)
        if self._rescale:
            codes_nc = codes_nc / here.W_dec.norm(dim=-1)
        return codes_nc @ here.W_dec + here.b_dec

    def written(self, latent: int) -> Float[Tensor, d]:
        """What one unit of a latent's code adds to the reconstruction."""
        row = self.W_dec[latent]
        return row / row.norm() if self._rescale else row

    def directions(self) -> Float[Tensor, "c d"]:
        """Unit-norm decoder rows."""
        return torch.nn.functional.normalize(self.W_dec, dim=-1)

    def subset(self, indices: list[int]) -> ConceptSet:
        """The latents at ``indices``, read as they fire within the whole dictionary."""
        return DictionarySlice(self, indices)

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {"W_enc": self.W_enc, "W_dec": self.W_dec, "b_enc": self.b_enc, "b_dec": self.b_dec}
        if self.threshold is not None:
            tensors["threshold"] = self.threshold
        # In the precision in which they came: a dictionary in half precision is not made twice as large by being kept.
        return {name: tensor.to(self._stored) for name, tensor in tensors.items()}

    def save(self, folder: Path | str) -> None:
        """Write the folder that sae-lens' ``SAE.load_from_disk`` reads, with our table beside it."""
        super().save(folder)
        (Path(folder) / CONFIG_FILE).write_text(json.dumps(self.config, indent=1))

    @classmethod
    def _load(cls, folder: Path, site: str, table: pd.DataFrame, level: str) -> Self:
        config = json.loads((folder / CONFIG_FILE).read_text())
        return cls(site, load_file(folder / cls._weights_file()), config, table, level)

    @classmethod
    def from_sae_lens(cls, folder: Path | str, site: str) -> Self:
        """Read a dictionary that sae-lens saved, from any trainer that writes its format.

        Raises:
            ConfigError: The folder holds none, or one that cannot be read.
        """
        folder = Path(folder)
        try:
            config = json.loads((folder / CONFIG_FILE).read_text())
            tensors = load_file(folder / cls._weights_file())
            return cls(site, tensors, config)
        except (OSError, KeyError, ValueError, SafetensorError) as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(
                f"{folder} holds no dictionary in the format of sae-lens ({CONFIG_FILE} and {cls._weights_file()}): {error}."
            ) from error

    @classmethod
    def _weights_file(cls) -> str:
        return "sae_weights.safetensors"


class DictionarySlice(ConceptSet):
    """Some latents of a dictionary. TopK latents compete, so the whole dictionary is kept to read them."""

    kind = "dictionary-slice"
    sparse = True

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
        return self.whole.encode(acts_nd)[:, self.indices]

    def directions(self) -> Float[Tensor, "c d"]:
        """Unit-norm decoder rows."""
        return self.whole.directions()[self.indices]

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
        tensors = load_file(folder / cls._weights_file())
        indices = [int(i) for i in tensors.pop("indices")]
        config = json.loads((folder / CONFIG_FILE).read_text())
        part = cls(DictionaryConcepts(site, tensors, config, level=level), indices)
        part.table = table
        return part
