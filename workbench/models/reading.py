"""Whether a Hugging Face model reads texts or images, by its config alone."""

from __future__ import annotations

from typing import Any, Literal

from workbench.errors import ConfigError

_TEXT = ("CAUSAL_LM", "MASKED_LM", "TEXT_ENCODING", "SEQ_TO_SEQ_CAUSAL_LM")
_OTHER = {
    "sound": ("AUDIO_CLASSIFICATION", "CTC", "SPEECH_SEQ_2_SEQ", "AUDIO_XVECTOR", "TEXT_TO_WAVEFORM", "TEXT_TO_SPECTROGRAM"),
    "images together with texts": ("IMAGE_TEXT_TO_TEXT", "ZERO_SHOT_IMAGE_CLASSIFICATION", "VISUAL_QUESTION_ANSWERING"),
    "video": ("VIDEO_CLASSIFICATION",),
    "time series": ("TIME_SERIES_PREDICTION",),
    "images to find objects, masks or depth in": (
        "OBJECT_DETECTION", "ZERO_SHOT_OBJECT_DETECTION", "MASK_GENERATION", "UNIVERSAL_SEGMENTATION", "DEPTH_ESTIMATION",
        "KEYPOINT_DETECTION",
    ),
}  # fmt: skip


def reads(config: Any, name: str) -> Literal["text", "images"]:
    """Whether a model reads texts or images.

    Raises:
        ConfigError: It reads something else, which is named.
    """
    architectures = [str(architecture) for architecture in config.architectures or []]
    parts = {part for part in ("text_config", "vision_config", "audio_config") if hasattr(config, part)}
    if any("ForImageClassification" in architecture for architecture in architectures):
        return "images"
    if "audio_config" in parts or _is(config, _OTHER["sound"]):
        raise _refused(name, config, "sound")
    if _is(config, _TEXT):
        return "text"
    if {"text_config", "vision_config"} <= parts:
        raise _refused(name, config, "images together with texts", " Save its vision or its text part alone, and load that.")
    if config.model_type.endswith("vision_model") or _is(config, ("IMAGE_CLASSIFICATION", "MASKED_IMAGE_MODELING", "BACKBONE")):
        return "images"
    for what, tasks in _OTHER.items():
        if _is(config, tasks):
            raise _refused(name, config, what)
    return "images" if hasattr(config, "num_channels") and not hasattr(config, "vocab_size") else "text"


def _is(config: Any, tasks: tuple[str, ...]) -> bool:
    from transformers.models.auto import modeling_auto

    tables = (f"MODEL_FOR_{task}_MAPPING_NAMES" for task in tasks)
    # Which tasks there are differs between versions of transformers.
    return any(config.model_type in getattr(modeling_auto, table, {}) for table in tables)


def _refused(name: str, config: Any, what: str, hint: str = "") -> ConfigError:
    return ConfigError(
        f"{name} ({config.model_type}) reads {what}: only models of texts and of images alone can be loaded.{hint}"
    )
