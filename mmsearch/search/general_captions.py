"""General captions: texts of every kind that ask where a gallery has none of its own."""

import contextlib
import hashlib
import warnings
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch import encoders
from mmsearch.cache import cache_dir
from mmsearch.encoders import Encoder
from mmsearch.gallery import Gallery
from mmsearch.whole_files import whole_file

__all__ = ["GENERAL", "general_captions", "general_vectors"]

GENERAL = "general captions"


def general_captions() -> list[str]:
    """About a thousand captions of pictures of every kind, written for measuring with."""
    text = files("mmsearch.search").joinpath("general_captions.txt").read_text("utf-8")
    return [line for line in text.splitlines() if line]


def general_vectors(gallery: Gallery, encoder: str | Encoder | None) -> NDArray[np.float32]:
    """The general captions as the gallery's own text tower sees them, kept in the cache. Raises MmsearchError."""
    captions = general_captions()
    encoder_identity = gallery.manifest.encoder
    digest = hashlib.blake2b("\n".join([encoder_identity.fingerprint, *captions]).encode(), digest_size=16).hexdigest()
    cache_file = cache_dir() / "general_captions" / f"{digest}.npy"
    try:
        vectors: NDArray[np.float32] = np.load(cache_file, allow_pickle=False)
        if vectors.shape == (len(captions), encoder_identity.dim) and vectors.dtype == np.float32:
            return vectors
    except (OSError, ValueError):
        pass
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        opened = encoders.open(encoder, ["text"], device="cpu", precision="fp32", for_gallery=gallery)
        vectors = opened.text.encode(captions).vectors
    _cache_vectors(vectors, cache_file)
    return vectors


def _cache_vectors(vectors: NDArray[np.float32], file: Path) -> None:
    """Put vectors into the cache; a cache that cannot be written is no reason to stop."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(file) as partial:
            np.save(partial, vectors)
