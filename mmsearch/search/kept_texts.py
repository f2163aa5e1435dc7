"""Vectors of texts that do not change, as a gallery's own text side makes them, kept in the cache."""

import contextlib
import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch import encoders
from mmsearch.cache import cache_dir
from mmsearch.encoders import Encoder
from mmsearch.gallery import Gallery
from mmsearch.progress import Progress, ProgressCallback, quiet
from mmsearch.whole_files import whole_file

__all__ = ["kept_text_vectors"]

_TEXTS_AT_A_TIME = 256  # between two of which it is said how far the work is


def kept_text_vectors(
    gallery: Gallery,
    encoder: str | Encoder | None,
    texts: Sequence[str],
    kind: str,
    progress: ProgressCallback = quiet,
) -> NDArray[np.float32]:
    """The vector of each text, float32 (n, dim), L2-normalised. kind: a folder of the cache. Raises MmsearchError."""
    encoder_identity = gallery.manifest.encoder
    digest = hashlib.blake2b("\n".join([encoder_identity.fingerprint, *texts]).encode(), digest_size=16).hexdigest()
    cache_file = cache_dir() / kind / f"{digest}.npy"
    try:
        vectors: NDArray[np.float32] = np.load(cache_file, allow_pickle=False)
        if vectors.shape == (len(texts), encoder_identity.dim) and vectors.dtype == np.float32:
            return vectors
    except (OSError, ValueError):
        pass
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        opened = encoders.open(encoder, ["text"], device="cpu", precision="fp32", for_gallery=gallery)
        pieces = []
        for start in range(0, len(texts), _TEXTS_AT_A_TIME):
            progress(Progress("encoding words", start, len(texts)))
            pieces.append(opened.text.encode(texts[start : start + _TEXTS_AT_A_TIME]).vectors)
    progress(Progress("encoding words", len(texts), len(texts)))
    vectors = np.concatenate(pieces)
    _cache_vectors(vectors, cache_file)
    return vectors


def _cache_vectors(vectors: NDArray[np.float32], file: Path) -> None:
    """Put vectors into the cache; a cache that cannot be written is no reason to stop."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(file) as partial:
            np.save(partial, vectors)
