"""Pictures that are asked with: sent once, asked with by the hash of their content."""

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch import images
from mmsearch.errors import ImageError, QueryError
from mmsearch.pipeline.items import vector_of
from mmsearch.pipeline.query import OpenGallery

__all__ = ["Pictures", "Sent", "UnknownPicture"]

_MOST_PIXELS = 100_000_000
_KEPT = 1_024


class UnknownPicture(QueryError):
    """A content hash of which neither the gallery nor the server has a vector."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A picture that was sent. in_gallery: whether the gallery holds it."""

    picture: str
    width: int
    height: int
    in_gallery: bool


class Pictures:
    """The vectors of the pictures that were sent last."""

    def __init__(self) -> None:
        self._vectors: OrderedDict[tuple[str, bytes], NDArray[np.float32]] = OrderedDict()
        self._keeping = threading.Lock()

    def take(self, opened: OpenGallery, data: bytes) -> Sent:
        """Encode a picture and keep its vector. Raises QueryError, EncoderError."""
        content_hash = hashlib.blake2b(data, digest_size=16).digest()
        try:
            picture = images.decode(data, max_pixels=_MOST_PIXELS)
        except ImageError as error:
            raise QueryError(f"this is no picture that can be read: {error.reason}") from error
        held = vector_of(opened.gallery, content_hash) is not None
        if not held:
            encoder = opened.encoder()
            vector: NDArray[np.float32] = encoder.encode_images(encoder.preprocess(picture.image)[None])[0]
            with self._keeping:
                self._vectors[encoder.identity.fingerprint, content_hash] = vector
                while len(self._vectors) > _KEPT:
                    self._vectors.popitem(last=False)
        return Sent(content_hash.hex(), picture.width, picture.height, held)

    def vector(self, opened: OpenGallery, picture: str) -> NDArray[np.float32]:
        """The vector of a picture. Raises UnknownPicture."""
        content_hash = bytes.fromhex(picture)
        with self._keeping:
            for (fingerprint, known), vector in self._vectors.items():
                if known == content_hash:
                    self._vectors.move_to_end((fingerprint, known))
                    return vector
        held = vector_of(opened.gallery, content_hash)
        if held is None:
            raise UnknownPicture(f"the picture {picture} is not known here any more; send it again: POST /api/pictures")
        return held
