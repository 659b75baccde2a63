"""Sentence and word vectors from a text encoder, kept on disk so that no text is embedded twice in a study."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from safetensors.numpy import save_file

from workbench.errors import StudyError, disk_errors
from workbench.paths import inside
from workbench.progress import text_work
from workbench.shapes import ShapeError, read_tensors, reading
from workbench.writing import file_beside

if TYPE_CHECKING:
    from workbench.models import Model
    from workbench.study import Study

MAX_CHARACTERS = 2000


_DIGEST = 16
"""Bytes of the hash by which a text is known."""


class Embedder:
    """Embeds texts with the study's model when that is a text encoder, and with MiniLM otherwise.

    Args:
        study: Its folder holds the cache.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        record = study.model_record()
        self._own = record["kind"] == "encoder"
        self._key = record["weights_hash"][:16] if self._own else "minilm"
        self._file = inside(study.folder, "cache", "embeddings", f"{self._key}.safetensors")
        self._known: dict[bytes, int] = {}
        self._vectors: Float[np.ndarray, "n d"] | None = None
        self._load()

    def embed(self, texts: Sequence[str], progress: Callable[[int, int, str], None] | None = None) -> Float[np.ndarray, "n d"]:
        """Unit vectors ``[n, d]``, in the order of the texts; each is read up to its first 2,000 characters."""
        short = [text[:MAX_CHARACTERS] or " " for text in texts]
        digests = [hashlib.sha256(t.encode("utf-8", "surrogatepass")).digest()[:_DIGEST] for t in short]
        missing = {d: t for d, t in zip(digests, short, strict=True) if d not in self._known}
        if missing:
            self._add(missing, progress)
        assert self._vectors is not None
        return self._vectors[[self._known[d] for d in digests]].astype(np.float32)

    def _add(self, missing: dict[bytes, str], progress: Callable[[int, int, str], None] | None) -> None:
        model = self._model()
        # Texts of like length go together, so that little of a batch is padding.
        order = sorted(missing, key=lambda d: len(missing[d]))
        work, done, parts = text_work([missing[d] for d in order]), 0, []
        for begin in range(0, len(order), 512):
            if progress:
                progress(done, sum(work), "embedding texts")
            done += sum(work[begin : begin + 512])
            part = [missing[d] for d in order[begin : begin + 512]]
            parts.append(_embedded(model, part))
        fresh = np.concatenate(parts).astype(np.float16)
        first = 0 if self._vectors is None else len(self._vectors)
        self._known |= {d: first + i for i, d in enumerate(order)}
        self._vectors = fresh if self._vectors is None else np.concatenate([self._vectors, fresh])
        self._save()

    def _model(self) -> Model:
        if self._own:
            return self.study.model
        from workbench.models import load_model

        return load_model("minilm")

    def _load(self) -> None:
        # An unreadable cache is rebuilt.
        with suppress(StudyError), reading(str(self._file)):
            kept = {name: tensor.numpy() for name, tensor in read_tensors(self._file).items()}
            keys, vectors = kept["keys"], kept["vectors"]
            if (
                keys.dtype != np.uint8
                or keys.shape != (len(vectors), _DIGEST)
                or vectors.ndim != 2
                or vectors.dtype != np.float16
            ):
                raise ShapeError("it is no cache of embeddings")
            self._known, self._vectors = {row.tobytes(): i for i, row in enumerate(keys)}, vectors

    def _save(self) -> None:
        assert self._vectors is not None
        if self.study.read_only:
            return
        keys = np.frombuffer(b"".join(self._known), dtype=np.uint8).reshape(-1, _DIGEST)
        # Written to a temporary file and renamed, so that two writers leave one complete cache.
        with disk_errors("the cache of embeddings"), file_beside(self._file) as partial:
            save_file({"keys": keys, "vectors": self._vectors}, partial)


def _embedded(model: Model, texts: list[str]) -> Float[np.ndarray, "n d"]:
    """Vectors of texts; zero, which is near nothing, for a text in which the encoder finds no token."""
    from workbench.models.batch import InputError

    readable = list(range(len(texts)))
    while readable:
        try:
            # Words are short: many fit into one pass.
            found = model.embed([texts[i] for i in readable], batch_size=256 if len(texts[-1]) < 40 else 32)
        except InputError as error:
            del readable[error.row]
            continue
        vectors = np.zeros((len(texts), found.shape[1]), dtype=np.float32)
        vectors[readable] = found
        return vectors
    return np.zeros((len(texts), model.embed(["word"]).shape[1]), dtype=np.float32)
