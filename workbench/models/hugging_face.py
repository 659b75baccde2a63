"""A text model of Hugging Face, wrapped by transformer_lens where that knows it, and checked against what it wraps."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from workbench.errors import ConfigError, WorkbenchWarning
from workbench.models import checks
from workbench.models.base import Model
from workbench.models.text import Tokens
from workbench.models.weights import module_hash, pretrained_hash, remembered_hash, weight_files

if TYPE_CHECKING:
    from workbench.models.transformer import TransformerModel

M = TypeVar("M", bound=Model)
# How a model is run: wrapped by transformer_lens, or as Hugging Face has it.
_WRAPPED, _PLAIN = "bridge", "plain"


# Settings of generation that act on the most likely token as well, with the value that changes nothing.
_CHANGING: dict[str, Any] = {
    "repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "suppress_tokens": None, "begin_suppress_tokens": None,
    "bad_words_ids": None, "sequence_bias": None, "min_length": 0, "min_new_tokens": 0, "forced_bos_token_id": None,
    "forced_eos_token_id": None, "exponential_decay_length_penalty": None, "guidance_scale": 1.0, "num_beams": 1,
    "penalty_alpha": 0.0,
}  # fmt: skip


@dataclass(frozen=True)
class Placed:
    """Where the weights of a model go, and their type.

    Attributes:
        device: Where inputs go, and all weights where there is no ``device_map``.
        dtype: ``float32``, ``bfloat16`` or ``float16``.
        device_map: Which parts go to which device, as transformers takes it.
    """

    device: str
    dtype: str = "float32"
    device_map: str | dict[str, Any] | None = None


class NoHeadError(Exception):
    """The files of a decoder have no output layer: a random one would stand in for it."""


class Loader:
    """Builds a model, and changes what it does where it disagrees with the Hugging Face model.

    Args:
        path: A folder, or a name on the hub.
        config: The model's configuration.
        tokens: Its tokenizer.
        placed: Where its weights go, and their type.
        check: Whether the model is compared at all.
        known: Name, kind and source of the model.
    """

    def __init__(self, path: str, config: Any, tokens: Tokens, placed: Placed, check: bool, known: dict[str, Any]) -> None:
        self.path, self.config, self.tokens, self.placed, self.check, self.known = path, config, tokens, placed, check, known
        self.encoder = known["kind"] == "encoder"
        self.unfollowed: list[str] = []

    def bridged(self) -> Model:
        """A model that transformer_lens wraps, or, where it then computes something else, the Hugging Face model itself."""
        from transformers import AutoModelForCausalLM, BertForNextSentencePrediction

        net, digest = self._weights(BertForNextSentencePrediction if self.encoder else AutoModelForCausalLM)
        dtype = net.dtype
        model, found = self._checked(_WRAPPED, net, digest, self._wrapped)
        if model is None or not _same(found, dtype):
            return self.plain(self._wrong(found))
        model.has_lens = checks.agrees(found, "lens", dtype)
        notes = []
        if not model.has_lens:
            off = checks.shown(found, "lens")
            notes.append(f"The logit lens of {model.name} is off {off} at the last layer and is not available.")
        return self._settled(model, found, dtype, notes)

    def _checked(self, how: str, net: Any, digest: str, wrap: Callable[[Any, str], M]) -> tuple[M | None, checks.Differences]:
        """A wrapped model, and how far it is from the model itself, measured or remembered; nothing measured without a check.

        None where it cannot be wrapped, or not run.
        """
        generation = getattr(net, "generation_config", None)
        self.tokens.stop_at(generation)
        self.unfollowed = unfollowed(generation)
        memory = checks.Memory(net, digest, f"{how}, {self.tokens.max_length} tokens")
        found = memory.read() if self.check else {}
        # Of a wrapped model that is wrong nothing is needed; the model as it is has no other to stand in for it.
        if found is not None and how != _PLAIN and not _same(found, net.dtype):
            return None, found
        if found is not None:
            model, fault = self._tried(how, net, digest, wrap)
            return model, fault or found
        half = net.dtype != torch.float32
        exact = checks.exact_copy(net) if half else None
        found = {} if exact is None else self._tried(how, exact, digest, wrap, self._reference(exact))[1]
        del exact
        # Rounding may send a token to another expert: rows that are far off then say nothing, if none is in float32.
        model, own = self._tried(how, net, digest, wrap, self._reference(net), typical=bool(found))
        found = checks.joined(own, found)
        if checks.is_joined(found) or not half:
            memory.write(found)
        return model, found

    def _reference(self, net: Any) -> checks.Reference:
        found = checks.reference(net, self.tokens, decoder=not self.encoder)
        if not checks.is_finite(found):
            raise ConfigError(
                f"{self.known['name']} computes numbers that are not finite in {self.placed.dtype}: its weights are damaged, or"
                " its numbers too large for the type. Fetch or save it again, load it with dtype='float32' (--dtype float32), or"
                " pass check=False (--no-check) to load it all the same."
            )
        return found

    def _tried(
        self,
        how: str,
        net: Any,
        digest: str,
        wrap: Callable[[Any, str], M],
        expected: checks.Reference | None = None,
        *,
        typical: bool = False,
    ) -> tuple[M | None, checks.Differences]:
        """A wrapped model, and how far it is from what is expected of it; None where it cannot be wrapped, or not run."""
        try:
            model = wrap(net, digest)
            return model, {} if expected is None else checks.compare(model, expected, typical=typical)
        except torch.OutOfMemoryError:
            raise
        except Exception:
            if how == _PLAIN:
                raise
            # The libraries, in these versions, do not fit together for this architecture, and say so in any way there is.
            return None, {"layers": float("inf")}

    def _wrapped(self, net: Any, digest: str) -> TransformerModel:
        from transformer_lens.model_bridge import TransformerBridge

        from workbench.models.transformer import TransformerModel

        device = None if self.placed.device_map else self.placed.device
        bridge = TransformerBridge.boot_transformers(
            self.path, hf_model=net, tokenizer=self.tokens.tokenizer, dtype=net.dtype, device=device
        )
        self.tokens.settle()
        return TransformerModel(bridge, self.tokens, weights_hash=digest, **self.known)

    def plain(self, warning: str | None = None) -> Model:
        """The Hugging Face model as it is: its modules are the sites. ``said`` is why, where transformer_lens knows it."""
        from transformers import AutoModel, AutoModelForCausalLM

        net, digest = (
            self._encoder_alone()
            if has_decoder_too(self.config)
            else self._weights(AutoModel if self.encoder else AutoModelForCausalLM)
        )
        self.tokens.limit(longest_text(net))
        model, found = self._checked(_PLAIN, net, digest, self._as_it_is)
        assert model is not None
        return self._settled(model, found, net.dtype, [warning] if warning else [])

    def _as_it_is(self, net: Any, digest: str) -> Model:
        from workbench.models.module import ModuleModel

        trial = self.tokens.batch(["a b", "c d"])
        return ModuleModel(
            net, self.tokens, trial, modality="text", weights_hash=digest, max_length=self.tokens.max_length, **self.known
        )

    def _weights(self, maker: Any) -> tuple[Any, str]:
        """The model with its weights on the device, and their hash. `NoHeadError` of a decoder without its output layer."""
        net, digest, missing = weights(maker, self.path, self.known["name"], self.encoder, self.placed)
        self.tokens.embedded = checks.embedded(net)
        if missing and not self.encoder:
            raise NoHeadError(min(missing))
        return net, digest

    def _encoder_alone(self) -> tuple[Any, str]:
        """The encoder of a model that has a decoder too, such as T5 or BART, and its hash."""
        from transformers import AutoModel, AutoModelForTextEncoding
        from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES

        own = self.config.model_type in MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES
        net, _ = self._weights(AutoModelForTextEncoding if own else AutoModel)
        if not any(architecture.endswith("EncoderModel") for architecture in self.config.architectures or []):
            warning = f"{self.known['name']} has an encoder and a decoder: only its encoder is loaded."
            warnings.warn(warning, WorkbenchWarning, stacklevel=2)
        encoder = net.get_encoder()
        kind = json.dumps(["encoder alone", type(encoder).__name__, self.placed.dtype, version("transformers")])
        return encoder, remembered_hash(weight_files(self.path), kind, lambda: module_hash(encoder))

    def _wrong(self, found: checks.Differences) -> str:
        """A sentence for a wrapped model that computes other activations or logits, or none."""
        libraries = f"transformer-lens {version('transformer-lens')} with transformers {version('transformers')}"
        off, name = checks.shown(found, "layers", "logits"), self.known["name"]
        return (
            f"{libraries} computes other activations or logits for {name} than the model itself (off {off}), so the Hugging Face"
            " model is used as it is: its sites are called layer:<module path>, and it has no logit lens."
        )

    def _settled(self, model: Model, found: checks.Differences, dtype: Any, notes: list[str]) -> Model:
        """The model, told what it cannot do, with a warning for each."""
        if not checks.agrees(found, "output", dtype):
            raise ConfigError(
                f"What {model.name} computes for a text changes {checks.shown(found, 'output')} with the texts that it read"
                " before: use another model, or pass check=False (--no-check) to load it all the same."
            )
        if not checks.agrees(found, "padding", dtype):
            raise ConfigError(
                f"What {model.name} computes for a text changes {checks.shown(found, 'padding')} with the padding that a longer"
                " text beside it makes necessary, so its activations would depend on the batch: use another model, or pass"
                " check=False (--no-check) to load it all the same."
            )
        if not checks.agrees(found, "cache", dtype):
            model.uses_cache = False
            notes.append(
                f"With a key-value cache the logits of {model.name} are off {checks.shown(found, 'cache')} (transformers"
                f" {version('transformers')}, transformer-lens {version('transformer-lens')}), so text is generated without one:"
                " right, and slower."
            )
        if self.unfollowed and not self.encoder:
            notes.append(
                f"The generation settings of {model.name} hold {', '.join(self.unfollowed)}, which are not followed here: what it"
                " generates is what its logits say, and may differ from transformers' own generate."
            )
        if self.check and dtype != torch.float32 and not checks.is_joined(found):
            notes.append(
                f"{model.name} was compared with the model that it wraps in {model.dtype} only, as there is no memory for a copy"
                f" in float32: differences up to {checks.TOLERANCE[dtype]:.0%} are not seen. Load it once where more is free."
            )
        model.differences, model.notes = found if self.check else None, tuple(notes)
        for note in notes:
            warnings.warn(note, WorkbenchWarning, stacklevel=2)
        return model


def unfollowed(generation: Any) -> list[str]:
    """The settings of a generation config that change greedy text and that only transformers' own ``generate`` follows."""
    if generation is None:
        return []
    found = {name: getattr(generation, name, None) for name in _CHANGING}
    return [name for name, value in found.items() if value is not None and value != _CHANGING[name]]


def _same(found: checks.Differences, dtype: Any) -> bool:
    """Whether a wrapped model computes the activations and logits of the model itself."""
    return all(checks.agrees(found, what, dtype) for what in ("layers", "logits"))


def weights(maker: Any, path: str, name: str, encoder: bool, placed: Placed) -> tuple[Any, str, set[str]]:
    """A model, the hash of its weights, and the names of those of its heads that its files do not have.

    Raises:
        ConfigError: The files lack weights that activations depend on.
    """
    files = weight_files(path)
    net, info = maker.from_pretrained(
        path, dtype=getattr(torch, placed.dtype), device_map=placed.device_map, use_safetensors=True, trust_remote_code=False,
        output_loading_info=True,
    )  # fmt: skip
    missing = set(info["missing_keys"])
    missing -= _computed(net, missing)
    body, prefix = set(net.base_model.state_dict()), f"{net.base_model_prefix}."
    inside = sorted(key for key in missing if key.removeprefix(prefix) in body and "pooler" not in key)
    if inside:
        raise ConfigError(
            f"The files of {name} lack {len(inside):,} of its weights, such as {inside[0]}, which would be random: save the whole"
            " model again."
        )
    # A head that is not in the file is random, differs from load to load and identifies nothing.
    kind = [type(net).__name__, placed.dtype, encoder, sorted(missing), version("transformers")]
    digest = remembered_hash(files, json.dumps(kind), lambda: pretrained_hash(net, base_only=encoder, missing=missing))
    if not placed.device_map:
        net = net.to(placed.device)
    return net.eval(), digest, missing


def _computed(net: Any, missing: set[str]) -> set[str]:
    """The names of weights that are computed and not learned, such as Marian's sinusoids, which its files leave out.

    A table that is made a second time has the same numbers if they are computed.
    """
    found = set()
    for name in missing:
        table = net.get_submodule(name.rpartition(".")[0])
        if isinstance(table, torch.nn.Embedding):
            again = copy.deepcopy(table)
            with torch.no_grad(), torch.random.fork_rng():
                again.weight.fill_(torch.nan)
                net._init_weights(again)
            if torch.equal(again.weight, table.weight):
                found.add(name)
    return found


def has_decoder_too(config: Any) -> bool:
    """Whether the class of a model has an encoder and a decoder. The folder of an encoder alone does not say so itself."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES

    own = MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES.get(config.model_type, "")
    return bool(getattr(config, "is_encoder_decoder", False)) or own.endswith("EncoderModel")


def longest_text(model: Any) -> int | None:
    """How many tokens a model can number, where its positions begin after the padding index, as RoBERTa's and MPNet's do.

    None where they begin at 0: the config then says how many there are.
    """
    for name, module in model.named_modules():
        table, padding = getattr(module, "weight", None), getattr(module, "padding_idx", None)
        if "position" in name.rpartition(".")[2] and table is not None and padding is not None:
            return len(table) - padding - 1
    return None
