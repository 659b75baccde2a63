"""Models from a local Hugging Face folder or from the hub, by safetensors only."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from workbench.errors import ConfigError, MissingExtraError, UnknownNameError, WorkbenchError
from workbench.models.base import Kind, Model
from workbench.models.checkpoint import CONFIG, check_folder, check_tokenizer
from workbench.models.devices import AUTO, VARIABLE, choose_device
from workbench.models.hugging_face import Loader, NoHeadError, Placed, has_decoder_too, weights
from workbench.models.reading import reads
from workbench.models.text import DEFAULT_LENGTH, Tokens
from workbench.models.weights import quiet

# The libraries below have circular imports: two threads that import them at once would deadlock.
_LOADING = threading.RLock()
_LONGEST = ("max_position_embeddings", "max_encoder_position_embeddings", "max_seq_len")
DTYPES = ("float32", "bfloat16", "float16")


def load_pretrained(
    path: str,
    *,
    name: str,
    source: dict[str, Any],
    max_length: int | None = None,
    bos: bool = True,
    special: bool = False,
    device: str | None = None,
    dtype: str = "float32",
    device_map: str | dict[str, Any] | None = None,
    check: bool = True,
) -> Model:
    """The text encoder or decoder, or the image model, in a folder or of this name on the hub.

    ``max_length`` is in tokens, by default the model's own and at most 128: attention on longer texts costs more time a token,
    and a capture of them more disk. ``bos`` starts a decoder's texts
    with its beginning-of-sequence token even where the tokenizer does not: the first position of a decoder
    serves as an attention sink and is like no other. With ``special``, special tokens ([CLS] and [SEP], or the first one of a
    decoder) count as tokens: they have rows, and evidence is about them too. ``dtype`` is that of the weights:
    float32, bfloat16 or float16. ``device`` as for `choose_device`; ``device_map`` spreads the weights over several GPUs
    instead, as transformers takes it (``"auto"``), and so does ``WORKBENCH_DEVICE=auto``. ``check`` compares a text model with
    the Hugging Face model that it wraps, by a short batch, see `workbench.models.checks`: what disagrees is done in a slower way
    that is right, with a warning, or refused.
    """
    if dtype not in DTYPES:
        raise ConfigError(f"The dtype of a model is {', '.join(DTYPES[:-1])} or {DTYPES[-1]}, not '{dtype}'.")
    if device is None and device_map is None and os.environ.get(VARIABLE) == AUTO:
        device_map = AUTO
    device = _mapped(device, device_map)
    placed = Placed(device, dtype, device_map)
    if Path(path).is_dir():
        check_folder(Path(path))
    with _LOADING, quiet(), _clear_errors(path):
        from transformers import AutoConfig, AutoTokenizer

        _check_reachable(path)
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
        if reads(config, name) == "images":
            return _vision(path, config, special, placed, name, source)
        if Path(path).is_dir():
            check_tokenizer(Path(path))
        kind = _kind(config)
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
        length = _length(config, tokenizer, max_length)
        tokens = Tokens(tokenizer, length, bos=bos and kind == "decoder", special=special, device=device)
        tokens.asked, tokens.multiple = max_length is not None, _padded_to(config)
        known = {"name": name, "kind": kind, "source": source}
        try:
            loader = Loader(path, config, tokens, placed, check, known)
            return loader.bridged() if _has_bridge(config, kind) else loader.plain()
        except NoHeadError as error:
            warning = f"The files of {name} have no output layer ({error}), so it is read as an encoder and cannot generate text."
            return Loader(path, config, tokens, placed, check, known | {"kind": "encoder"}).plain(warning)


def import_libraries() -> None:
    """Import what loading a text model needs, which takes seconds; safe beside a thread that loads one."""
    with _LOADING, quiet():
        for library in ("transformers", "transformer_lens.model_bridge"):
            import_module(library)


def _vision(path: str, config: Any, special: bool, placed: Placed, name: str, source: dict[str, Any]) -> Model:
    from transformers import AutoModel, AutoModelForImageClassification

    from workbench.models.vision import VisionModel, class_names, noise, vision_reader

    classifies = any("ForImageClassification" in architecture for architecture in config.architectures or [])
    reader = vision_reader(path, name, placed.device)
    model, digest, _ = weights(AutoModelForImageClassification if classifies else AutoModel, path, name, False, placed)
    return VisionModel(
        model, reader, reader.batch([noise(), noise()]), special=special, name=name, source=source,
        weights_hash=digest, classes=class_names(config) if classifies else None,
    )  # fmt: skip


def _mapped(device: str | None, device_map: str | dict[str, Any] | None) -> str:
    """The device that inputs go to."""
    if device_map is None:
        return choose_device(device)
    if device is not None:
        raise ConfigError("Give either device=, one device, or device_map=, several.")
    if find_spec("accelerate") is None:
        raise MissingExtraError("accelerate", "gpus", "A model on several devices (device_map)")
    first = next(iter(device_map.values()), None) if isinstance(device_map, dict) else None
    return choose_device(None if first is None else f"cuda:{first}" if isinstance(first, int) else str(first))


def _kind(config: Any) -> Kind:
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    if any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in config.architectures or []):
        return "decoder"
    if has_decoder_too(config):
        return "encoder"
    masked = config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    return "decoder" if config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and not masked else "encoder"


def _has_bridge(config: Any, kind: Kind) -> bool:
    from transformer_lens.factories.architecture_adapter_factory import SUPPORTED_ARCHITECTURES
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    if kind == "encoder":
        return config.model_type == "bert"
    # The bridges of multimodal models need image or audio processors, which text does not.
    if any(hasattr(config, part) for part in ("vision_config", "audio_config")):
        return False
    return MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.model_type) in SUPPORTED_ARCHITECTURES


def _padded_to(config: Any) -> int:
    """The multiple to which a model pads its input inside, such as Longformer: its activations have those positions too."""
    window = getattr(config, "attention_window", None)
    return window if isinstance(window, int) else max(window or [1])


def _steady_length(config: Any) -> int | None:
    """Up to how many tokens a model computes the same, where a longer text in a batch changes how all of the batch is computed.

    The rotary frequencies of longrope (Phi-3) are other ones for a whole batch beyond a length, and BigBird's attention is sparse
    beyond one, and for good full once it has read a shorter text. None of other models.
    """
    if getattr(config, "attention_type", None) == "block_sparse":
        return int((5 + 2 * config.num_random_blocks) * config.block_size)
    text = config.get_text_config()
    rope = getattr(text, "rope_parameters", None) or {}
    # One for all layers, or one for each type of layer.
    each = [rope, *(part for part in rope.values() if isinstance(part, dict))]
    own = getattr(text, "original_max_position_embeddings", None)
    found = [part.get("original_max_position_embeddings") or own for part in each if part.get("rope_type") == "longrope"]
    return min((int(length) for length in found if length), default=None)


def _length(config: Any, tokenizer: Any, wanted: int | None) -> int:
    own = [
        value
        for value in (
            *(getattr(config.get_text_config(), name, None) for name in _LONGEST),
            tokenizer.model_max_length,
        )
        if isinstance(value, int) and value > 0
    ]
    steady = _steady_length(config)
    most = min([*own, *([] if steady is None else [steady])], default=DEFAULT_LENGTH)
    if wanted is None:
        return min(most, DEFAULT_LENGTH)
    if not 4 <= wanted <= most:
        why = " (a longer one would change what it computes for the texts beside it)" if most == steady else ""
        raise ConfigError(f"The maximum length is 4 to {most} tokens for this model{why}, not {wanted}.")
    return wanted


def _check_reachable(path: str) -> None:
    """See that a name is on the hub: one request in place of the half minute for which the library tries again.

    Raises:
        UnknownNameError: It is neither a folder, nor in the library's cache, nor on the hub, or that cannot be reached.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError

    if Path(path).is_dir() or isinstance(try_to_load_from_cache(path, CONFIG), str):
        return
    try:
        get_hf_file_metadata(hf_hub_url(path, CONFIG), timeout=10)
    except Exception as error:
        # A hub that is busy is asked again, by the library.
        if not isinstance(error, HfHubHTTPError) or error.response.status_code < 429:
            raise unknown_model(path) from error


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
    except SafetensorError as error:
        raise ConfigError(
            f"The weights of {path} cannot be read, as of a file that is cut short or damaged ({_sentence(error)}): fetch or save"
            " the model again."
        ) from error
    except (ValueError, KeyError, RuntimeError, ImportError) as error:
        if "trust_remote_code" in str(error):
            raise ConfigError(
                f"{path} needs Python code of its own, which is never run: take a model of an architecture that transformers has."
            ) from error
        if "ignore_mismatched_sizes" in str(error):
            raise ConfigError(
                f"The config.json of {path} does not fit its weights, whose sizes are others: fetch or save the model again."
            ) from error
        raise ConfigError(f"The model {path} could not be loaded: {_sentence(error)}") from error


def unknown_model(name: str) -> UnknownNameError:
    """The error for an unknown name."""
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
