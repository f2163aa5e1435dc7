"""General captions: texts of every kind that ask where a gallery has none of its own."""

from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from mmsearch.encoders import Encoder
from mmsearch.gallery import Gallery
from mmsearch.search.kept_texts import kept_text_vectors

__all__ = ["GENERAL", "general_captions", "general_vectors"]

GENERAL = "general captions"


def general_captions() -> list[str]:
    """About a thousand captions of pictures of every kind, written for measuring with."""
    text = files("mmsearch.search").joinpath("general_captions.txt").read_text("utf-8")
    return [line for line in text.splitlines() if line]


def general_vectors(gallery: Gallery, encoder: str | Encoder | None) -> NDArray[np.float32]:
    """The general captions as the gallery's own text tower sees them, kept in the cache. Raises MmsearchError."""
    return kept_text_vectors(gallery, encoder, general_captions(), "general_captions")
