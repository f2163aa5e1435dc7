"""Pictures that are asked with: sent once, asked with by the hash of their content."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch import images
from mmsearch.boxes import Box
from mmsearch.budget import REQUEST
from mmsearch.encoders import ImageSide
from mmsearch.errors import ImageError, QueryError
from mmsearch.loading import apply_transform, decode_to_ask
from mmsearch.search.open_gallery import OpenGallery
from mmsearch.search.own_items import vector_of
from mmsearch.serve.pools import Pool
from mmsearch.serve.thumbnails import Edge

__all__ = ["SentImages", "SentImage", "UnknownImage"]

_KEPT = 1_024
_DECODE_SECONDS = 20.0
_LOAD_SECONDS = 600.0  # a model may have to be loaded first


class UnknownImage(QueryError):
    """A content hash of which neither the gallery nor the server has a vector."""

    def __init__(self, picture: str) -> None:
        super().__init__(f"the picture {picture} is not known here any more; send it again: POST /api/pictures")
        self.picture = picture


@dataclass(frozen=True, slots=True)
class SentImage:
    """A picture that was sent. picture: its content hash. width, height: upright. in_gallery: whether that holds it."""

    picture: str
    width: int
    height: int
    in_gallery: bool


class SentImages:
    """The vectors of the pictures that were sent last, by what encoded them."""

    def __init__(self) -> None:
        self._vectors: OrderedDict[tuple[str, bytes], NDArray[np.float32]] = OrderedDict()
        self._thumbnails: OrderedDict[bytes, bytes] = OrderedDict()
        self._keeping = threading.Lock()
        self._decoding = Pool(1, "decoding", seconds=_DECODE_SECONDS, most_waiting=32)
        self._encoding = Pool(1, "encoding", seconds=_LOAD_SECONDS, most_waiting=32)

    async def take(self, opened: OpenGallery, data: bytes, box: Box | None = None) -> SentImage:
        """Encode a picture, or the part of it in a box, and keep its vector. Raises QueryError, EncoderError, TooBusy,
        TooSlow."""
        content_hash = opened.gallery.hash_content(data)
        if box is not None:
            content_hash = _hash_of_part(opened, content_hash, box)
        elif await self._encoding.run(vector_of, opened.gallery, content_hash) is not None:
            width, height = await self._decoding.run(_size, data)
            return SentImage(content_hash.hex(), width, height, in_gallery=True)
        side = (await self._encoding.run(opened.encoders.encoder, "image")).image
        width, height, pixels = await self._decoding.run(_pixels, data, side, box)
        thumbnail = await self._decoding.run(_draw, data, box)
        vector = (await self._encoding.run(side.encode, pixels))[0]
        self._keep(opened, content_hash, vector, thumbnail)
        return SentImage(content_hash.hex(), width, height, in_gallery=False)

    async def part_vector(
        self, opened: OpenGallery, content_hash: bytes, box: Box, read: Callable[[], bytes]
    ) -> NDArray[np.float32]:
        """The vector (dim,) of a part of a picture of the gallery. read: gives its file, where the vector is not
        remembered. Raises QueryError, EncoderError, TooBusy, TooSlow, and what `read` raises."""
        content_hash = _hash_of_part(opened, content_hash, box)
        with self._keeping:
            if (known := self._vectors.get((opened.gallery.manifest.encoder.fingerprint, content_hash))) is not None:
                return known
        side = (await self._encoding.run(opened.encoders.encoder, "image")).image
        _, _, pixels = await self._decoding.run(lambda: _pixels(read(), side, box))
        vector: NDArray[np.float32] = (await self._encoding.run(side.encode, pixels))[0]
        self._keep(opened, content_hash, vector)
        return vector

    def _keep(
        self, opened: OpenGallery, content_hash: bytes, vector: NDArray[np.float32], thumbnail: bytes | None = None
    ) -> None:
        with self._keeping:
            self._vectors[opened.gallery.manifest.encoder.fingerprint, content_hash] = vector
            if thumbnail is not None:
                self._thumbnails[content_hash] = thumbnail
            for kept in (self._vectors, self._thumbnails):
                while len(kept) > _KEPT:
                    kept.popitem(last=False)

    def vector(self, opened: OpenGallery, picture: str) -> NDArray[np.float32]:
        """The vector (dim,) of a picture by its content hash. Raises UnknownImage."""
        key = (opened.gallery.manifest.encoder.fingerprint, bytes.fromhex(picture))
        with self._keeping:
            if (sent := self._vectors.get(key)) is not None:
                self._vectors.move_to_end(key)
                return sent
        held = vector_of(opened.gallery, key[1])
        if held is None:
            raise UnknownImage(picture)
        return held

    def thumbnail(self, picture: str) -> bytes | None:
        """A small JPEG of a picture that was sent and is none of the gallery's; None for one that is not remembered."""
        with self._keeping:
            return self._thumbnails.get(bytes.fromhex(picture))

    @property
    def pools(self) -> tuple[Pool, Pool]:
        """The threads that do the work."""
        return self._decoding, self._encoding

    def close(self) -> None:
        for pool in self.pools:
            pool.close()


def _hash_of_part(opened: OpenGallery, content_hash: bytes, box: Box) -> bytes:
    """What a part of a picture is known by."""
    return opened.gallery.hash_content(content_hash + f"#box={box}".encode())


def _size(data: bytes) -> tuple[int, int]:
    """Width and height of a picture that decodes. Raises QueryError."""
    with _readable():
        picture = images.decode(data, max_pixels=REQUEST.pixels, raw_side=1)
    return picture.width, picture.height


def _pixels(data: bytes, side: ImageSide, box: Box | None) -> tuple[int, int, NDArray[np.float32]]:
    """Width, height and what a side takes, (1, 3, H, W), of a picture or a part of it. Raises QueryError."""
    with _readable():
        picture = decode_to_ask(data, side, box, max_pixels=REQUEST.pixels)  # one is decoded at a time
        pixels = apply_transform(lambda: side.prepare(picture.image))[None]
    return picture.width, picture.height, pixels


def _draw(data: bytes, box: Box | None) -> bytes:
    """A small JPEG of a picture, or of a part of it."""
    if box is None:
        return images.draw_jpeg(data, Edge.SMALL)
    return images.draw_part(images.decode(data, max_pixels=REQUEST.pixels, raw_side=1), box, Edge.SMALL)


@contextmanager
def _readable() -> Iterator[None]:
    """What is no picture is an error in what was asked."""
    try:
        yield
    except ImageError as error:
        reason = error.reason.replace(images.RAISES_LIMIT, "")  # there is no such option here
        raise QueryError(f"this is no picture that can be read: {reason}") from error
