"""Text models from a local Hugging Face folder or from the hub, by safetensors only."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from workbench.errors import ConfigError, UnknownNameError, WorkbenchError, WorkbenchWarning
from workbench.models import checks
from workbench.models.base import Kind, Model
from workbench.models.devices import choose_device
from workbench.models.text import DEFAULT_LENGTH, Tokens
from workbench.models.weights import pretrained_hash, quiet

# The libraries below import each other in circles: two threads that import them at once lock each other out.
_LOADING = threading.RLock()
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.txt", "vocab.json", "spiece.model")


def load_pretrained(
    path: str,
    *,
    name: str,
    source: dict[str, Any],
    max_length: int | None = None,
    bos: bool = True,
    special: bool = False,
    device: str | None = None,
    check: bool = True,
) -> Model:
    """The text encoder or decoder in a folder, or of this name on the hub.

    ``max_length`` is in tokens, by default the model's own and at most 128. ``bos`` starts a decoder's texts
    with its beginning-of-sequence token even where the tokenizer does not: the first position of a decoder
    serves as an attention sink and is like no other. With ``special``, special tokens ([CLS] and [SEP], or the first one of a
    decoder) count as tokens: they have rows, and evidence is about them too. Weights are float32. ``device`` as for
    `choose_device`. ``check`` compares the model with the Hugging Face model that it wraps, by a short batch, see
    `workbench.models.checks`: what disagrees is done in a slower way that is right, with a warning, or refused.
    """
    device = choose_device(device)
    if Path(path).is_dir():
        _check_folder(Path(path))
    with _LOADING, quiet(), _clear_errors(path):
        from transformers import AutoConfig, AutoTokenizer

        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
        if getattr(config, "is_encoder_decoder", False):
            raise ConfigError(f"{name} has an encoder and a decoder: only models of one of them can be loaded.")
        kind = _kind(config)
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
        length = _length(config, tokenizer, max_length)
        tokens = Tokens(tokenizer, length, bos=bos and kind == "decoder", special=special, device=device)
        known = {"name": name, "kind": kind, "source": source}
        try:
            made = _Checked(path, tokens, device, check, known)
            return made.bridged() if _has_bridge(config, kind) else made.plain()
        except _NoHeadError as error:
            said = f"The files of {name} have no output layer ({error}), so it is read as an encoder and cannot generate text."
            return _Checked(path, tokens, device, check, known | {"kind": "encoder"}).plain(said)


def import_libraries() -> None:
    """Import what loading a text model needs, which takes seconds; safe beside a thread that loads one."""
    with _LOADING, quiet():
        for library in ("transformers", "transformer_lens.model_bridge"):
            import_module(library)


class _NoHeadError(Exception):
    """The files of a decoder have no output layer: a random one would stand in for it."""


class _Checked:
    """Builds a model, and changes what it does where it disagrees with the Hugging Face model.

    Attributes:
        check: Whether the model is compared at all.
        known: Name, kind and source of the model.
    """

    def __init__(self, path: str, tokens: Tokens, device: str, check: bool, known: dict[str, Any]) -> None:
        self.path, self.tokens, self.device, self.check, self.known = path, tokens, device, check, known
        self.encoder = known["kind"] == "encoder"

    def bridged(self) -> Model:
        """A model that transformer_lens wraps, or, where it then computes something else, the Hugging Face model itself."""
        from transformer_lens.model_bridge import TransformerBridge
        from transformers import AutoModelForCausalLM, BertForNextSentencePrediction

        from workbench.models.transformer import TransformerModel

        net, digest = self._weights(BertForNextSentencePrediction if self.encoder else AutoModelForCausalLM)
        memory = checks.Memory(net, digest, "bridge")
        found = memory.read() if self.check else {}
        expected = checks.reference(net, self.tokens, decoder=not self.encoder) if found is None else None
        if found is not None and (said := self._wrong(found, net.dtype)):
            return self.plain(said)
        bridge = TransformerBridge.boot_transformers(self.path, hf_model=net, tokenizer=self.tokens.tokenizer, device=self.device)
        self.tokens.settle()
        model = TransformerModel(bridge, self.tokens, weights_hash=digest, **self.known)
        if expected is not None:
            found = checks.compare(model, expected)
            memory.write(found)
            if said := self._wrong(found, net.dtype):
                return self.plain(said)
        model.has_lens = checks.agrees(found or {}, "lens", net.dtype)
        lens = (
            []
            if model.has_lens
            else [f"The logit lens of {model.name} is off {checks.shown(found['lens'])} at the last layer and is not available."]
        )
        return self._settled(model, found or {}, net.dtype, lens)

    def plain(self, said: str | None = None) -> Model:
        """The Hugging Face model as it is: its modules are the sites. ``said`` is why, where transformer_lens knows it."""
        from transformers import AutoModel, AutoModelForCausalLM

        from workbench.models.module import ModuleModel

        net, digest = self._weights(AutoModel if self.encoder else AutoModelForCausalLM)
        trial = self.tokens.batch(["a b", "c d"])
        memory = checks.Memory(net, digest, "plain")
        model = ModuleModel(
            net, self.tokens, trial, modality="text", weights_hash=digest, max_length=self.tokens.max_length, **self.known
        )
        found = memory.read() if self.check else {}
        if found is None:
            found = checks.compare(model, checks.reference(net, self.tokens, decoder=not self.encoder))
            memory.write(found)
        return self._settled(model, found, net.dtype, [said] if said else [])

    def _weights(self, maker: Any) -> tuple[Any, str]:
        """The model with its weights on the device, and their hash.

        Raises:
            _NoHeadError: It is a decoder whose files have no output layer.
            ConfigError: The files lack weights that activations depend on.
        """
        net, digest, missing = _weights(maker, self.path, self.encoder)
        body = set(net.base_model.state_dict())
        prefix = f"{net.base_model_prefix}."
        inside = sorted(name for name in missing if name.removeprefix(prefix) in body and "pooler" not in name)
        if inside:
            raise ConfigError(
                f"The files of {self.known['name']} lack {len(inside):,} of its weights, such as {inside[0]}, which would be"
                " random: save the whole model again."
            )
        if missing and not self.encoder:
            raise _NoHeadError(min(missing))
        return net.to(self.device), digest

    def _wrong(self, found: checks.Differences, dtype: Any) -> str | None:
        """A sentence, where a wrapped model computes other activations or logits."""
        wrong = [what for what in ("layers", "logits") if not checks.agrees(found, what, dtype)]
        if not wrong:
            return None
        largest = max(found[what] for what in wrong)
        return (
            f"transformer-lens {version('transformer-lens')} with transformers {version('transformers')} computes other"
            f" {' and '.join(wrong)} for {self.known['name']} than the model itself (off {checks.shown(largest)}), so the"
            " Hugging Face model is used as it is: its sites are called layer:<module path>, and it has no logit lens."
        )

    def _settled(self, model: Model, found: checks.Differences, dtype: Any, notes: list[str]) -> Model:
        """The model, told what it cannot do, with a warning for each."""
        if not checks.agrees(found, "padding", dtype):
            raise ConfigError(
                f"What {model.name} computes for a text changes {checks.shown(found['padding'])} with the padding that a longer"
                " text beside it makes necessary, so its activations would depend on the batch: use another model, or pass"
                " check=False (--no-check) to load it all the same."
            )
        if not checks.agrees(found, "cache", dtype):
            model.uses_cache = False
            notes.append(
                f"With a key-value cache the logits of {model.name} are off {checks.shown(found['cache'])} (transformers"
                f" {version('transformers')}, transformer-lens {version('transformer-lens')}), so text is generated without one:"
                " right, and slower."
            )
        model.differences, model.notes = found if self.check else None, tuple(notes)
        for note in notes:
            warnings.warn(note, WorkbenchWarning, stacklevel=2)
        return model


def _weights(maker: Any, path: str, encoder: bool) -> tuple[Any, str, set[str]]:
    """A model, the hash of its weights, and the names of those that its files do not have."""
    import torch

    model, info = maker.from_pretrained(
        path,
        dtype=torch.float32,
        use_safetensors=True,
        trust_remote_code=False,
        output_loading_info=True,
    )
    # A head that is not in the file is random, differs from load to load and identifies nothing.
    missing = set(info["missing_keys"])
    return model.eval(), pretrained_hash(model, base_only=encoder, missing=missing), missing


def _kind(config: Any) -> Kind:
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    if any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in config.architectures or []):
        return "decoder"
    masked = config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    return "decoder" if config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and not masked else "encoder"


def _has_bridge(config: Any, kind: Kind) -> bool:
    from transformer_lens.factories.architecture_adapter_factory import SUPPORTED_ARCHITECTURES
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    if kind == "encoder":
        return config.model_type == "bert"
    # The bridge of a model that also sees or hears wants its processors, which text has no need of.
    if any(hasattr(config, part) for part in ("vision_config", "audio_config")):
        return False
    return MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.model_type) in SUPPORTED_ARCHITECTURES


def _length(config: Any, tokenizer: Any, wanted: int | None) -> int:
    own = [
        value
        for value in (
            getattr(config.get_text_config(), "max_position_embeddings", None),
            tokenizer.model_max_length,
        )
        if isinstance(value, int) and value > 0
    ]
    most = min(own, default=DEFAULT_LENGTH)
    if wanted is None:
        return min(most, DEFAULT_LENGTH)
    if not 4 <= wanted <= most:
        raise ConfigError(f"The maximum length is 4 to {most} tokens for this model, not {wanted}.")
    return wanted


def _check_folder(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    if "config.json" not in names:
        raise ConfigError(f"{folder} has no config.json: give the folder of a saved Hugging Face model.")
    if not any(name.endswith(".safetensors") for name in names):
        if any(name.endswith((".bin", ".pt", ".pth")) for name in names):
            raise ConfigError(
                f"{folder} has its weights as a pickle, which is never opened:"
                " save it again with save_pretrained, as safetensors."
            )
        raise ConfigError(f"{folder} has no weights: add its .safetensors file.")
    if not names & set(_TOKENIZER_FILES):
        raise ConfigError(f"{folder} has no tokenizer: save the model's tokenizer there, with save_pretrained.")


@contextmanager
def _clear_errors(path: str) -> Iterator[None]:
    try:
        yield
    except WorkbenchError:
        raise
    except OSError as error:
        if Path(path).is_dir():
            raise ConfigError(f"The model in {path} could not be loaded: {_sentence(error)}") from error
        if "safetensors" in str(error):
            raise ConfigError(
                f"{path} has no safetensors on the hub, and a pickle is never opened: take another model."
            ) from error
        raise unknown_model(path) from error
    except (ValueError, KeyError, RuntimeError, ImportError) as error:
        raise ConfigError(f"The model {path} could not be loaded: {_sentence(error)}") from error


def unknown_model(name: str) -> UnknownNameError:
    """The error for a name that leads nowhere."""
    from workbench.models.packaged import PACKAGED

    return UnknownNameError(
        "model",
        name,
        PACKAGED,
        "It is neither a bundled model nor a folder, and the Hugging Face hub could not be reached or has no such model.",
    )


def _sentence(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text[:200] + ("…" if len(text) > 200 else "")
