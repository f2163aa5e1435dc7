"""From what is asked to the vectors of a query: texts and pictures are encoded, items of the gallery have theirs.

A query has one vector, or several where a film or document asks: a row's score is then the highest with any of them.
"""

import io
import os
import threading
from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from mmsearch import encoders
from mmsearch.boxes import Box
from mmsearch.encoders import Encoder
from mmsearch.errors import ImageError, QueryError
from mmsearch.gallery import Gallery
from mmsearch.search.encodes_queries import EncodesQueries
from mmsearch.search.own_items import MOST_VECTORS, mean_vector, vector_of
from mmsearch.search.query import SLOT, Query, TextPart

__all__ = [
    "QueryEncoders",
    "combinations",
    "combined",
    "image_vectors",
    "part_vector",
    "text_vectors",
    "texts_of",
    "vectors_of_length",
]

_Path = str | os.PathLike[str]


class QueryEncoders:
    """`EncodesQueries` of one gallery, for any number of threads."""

    def __init__(
        self,
        gallery: Gallery,
        wanted: str | Encoder | None = None,
        device: str = "cpu",
        announce: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._gallery = Gallery(gallery.store, gallery.manifest)  # which holds nothing in memory
        self._wanted, self._device, self._announce = wanted, device, announce
        self._opened: dict[str, Encoder] = {}
        self._opening = threading.RLock()
        self._has_own_texts: bool | None = None

    def for_version(self, gallery: Gallery) -> "QueryEncoders":
        """For another version of the gallery: the same, as long as that is of the same encoder."""
        if gallery.manifest.encoder.fingerprint == self._gallery.manifest.encoder.fingerprint:
            return self
        return QueryEncoders(gallery, self._wanted, self._device, self._announce)

    @property
    def chosen(self) -> bool:
        return self._wanted is not None

    def encoder(self, side: str) -> Encoder:
        with self._opening:
            if side not in self._opened:
                encoder = encoders.open(
                    self._wanted,
                    [side],
                    device=self._device,
                    precision="fp32",
                    for_gallery=self._gallery,
                    any_text_side=True,
                    announce=self._announce,
                )
                self._opened = dict.fromkeys(encoder.sides, encoder) | self._opened
            return self._opened[side]

    @property
    def has_own_texts(self) -> bool:
        if self._has_own_texts is None:
            self._has_own_texts = self._compare_texts()
        return self._has_own_texts

    def _compare_texts(self) -> bool:
        own = self._gallery.manifest.encoder
        if self._wanted is None or self._wanted == own.spec or own.declared:
            return False
        if not isinstance(self._wanted, Encoder) and encoders.canonical_spec(self._wanted) == own.spec:
            return False
        return self.encoder("text").identity.fingerprint != own.fingerprint


def texts_of(query: Query) -> list[str]:
    """All that has to be encoded of a query's texts: each in each template."""
    forms = query.templates or [SLOT]
    return [form.replace(SLOT, part.text) for part in query.parts if isinstance(part, TextPart) for form in forms]


def text_vectors(query: Query, vectors: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """The vector of each text part. vectors: of `texts_of` the query; of several templates the mean counts."""
    forms = max(1, len(query.templates))
    per_part = [vectors[first : first + forms] for first in range(0, len(vectors), forms)]
    return [some[0] if forms == 1 else combined([*some], [1 / forms] * forms) for some in per_part]


def image_vectors(file: _Path, gallery: Gallery, by: EncodesQueries, box: Box | None = None) -> NDArray[np.float32]:
    """The unit vector (1, dim) of a picture in a file, or of a part of it; of a film or document see `file_vectors`.

    Raises QueryError, EncoderError."""
    # Late: a text needs neither files nor Pillow.
    from mmsearch.search.asked_files import file_vectors
    from mmsearch.sources import hash_location, read_picture

    file = os.fspath(file)
    if box is None and (vectors := file_vectors(file, gallery, by)) is not None:
        return vectors
    try:
        data = read_picture(file)
    except OSError as error:
        raise QueryError(f"cannot read the picture {file}: {(error.strerror or str(error)).lower()}") from error
    except ImageError as error:
        raise QueryError(f"cannot read the picture {file}: {error.reason}") from error
    if box is None:
        # A picture that the gallery holds has its vector there: no model has to be loaded for it.
        held = vector_of(gallery, hash_location(file, data, gallery.manifest.content_hash))
        if held is not None and not by.chosen:
            return held[None]
    return _encode_image(file, data, box, by)[None]


def part_vector(gallery: Gallery, row_id: int, box: Box, by: EncodesQueries) -> NDArray[np.float32]:
    """The unit vector (dim,) of a part of a picture of the gallery. Raises QueryError, EncoderError."""
    from mmsearch.search.gallery_files import FileGone, image_row, read_content

    row = image_row(gallery, row_id)
    try:
        data = read_content(gallery, row).data
    except FileGone as error:
        raise QueryError(f"a part of {row.path} cannot be asked with: {error}") from error
    return _encode_image(str(row.path), data, box, by)


def _encode_image(name: str, data: bytes, box: Box | None, by: EncodesQueries) -> NDArray[np.float32]:
    from mmsearch import images
    from mmsearch.loading import apply_transform, decode_to_ask
    from mmsearch.sources import no_picture

    try:
        images.probe(io.BytesIO(data))  # of what is no picture it is said before a model is loaded
        side = by.encoder("image").image
        image = decode_to_ask(data, side, box).image
        pixels = apply_transform(lambda: side.prepare(image))
    except ImageError as error:
        raise no_picture(name, error) from error
    vector: NDArray[np.float32] = side.encode(pixels[None])[0]
    return vector


def vectors_of_length(vectors: NDArray[np.float32], dim: int, name: str) -> NDArray[np.float32]:
    """A vector (dim,) that a query brings, or those of a film (n, dim), as (n, dim). name: what they are of. Raises
    QueryError unless they have `dim` values."""
    if vectors.ndim not in (1, 2) or vectors.shape[-1] != dim or not vectors.size:
        raise QueryError(f"{name} has a vector of shape {vectors.shape}; those of the gallery have {dim} values")
    return vectors.reshape(-1, dim)


def combinations(parts: Sequence[NDArray[np.float32]], weights: Sequence[float]) -> NDArray[np.float32]:
    """The vectors (m, dim) of a query, `MOST_VECTORS` at most: each choice of one vector of each part, combined.

    parts: the vectors (n, dim) of each. Of a part that leads away the mean counts: what is least like one frame of a
    film may well be like another. Where several parts have several vectors, as many of each are taken, the first ones.

    >>> two = np.array([[1, 0], [0, 1]], np.float32)
    >>> combinations([two, two[:1]], [1, 1]).round(1).tolist()
    [[1.0, 0.0], [0.699999988079071, 0.699999988079071]]
    """
    single = [
        mean_vector(vectors)[None] if weight < 0 and len(vectors) > 1 else vectors
        for vectors, weight in zip(parts, weights, strict=True)
    ]
    several = sum(len(vectors) > 1 for vectors in single)
    most = int(MOST_VECTORS ** (1 / several) + 1e-9) if several else 1
    chosen = product(*(vectors[:most] for vectors in single))
    return np.stack([combined(vectors, weights) for vectors in chosen])


def combined(vectors: Sequence[NDArray[np.float32]], weights: Sequence[float]) -> NDArray[np.float32]:
    """Unit vectors (dim,) added up by their weights, as a unit vector. One alone with weight 1 stays as it is.

    Raises QueryError where they cancel out.

    >>> combined([np.array([1, 0], np.float32), np.array([0, 1], np.float32)], [3, -4]).round(3).tolist()
    [0.6000000238418579, -0.800000011920929]
    """
    if len(vectors) == 1 and weights[0] == 1:
        return vectors[0]
    total = np.einsum("n,nd->d", np.asarray(weights, np.float64), np.asarray(vectors, np.float64))
    length = float(np.linalg.norm(total))
    if length < 1e-3 * max(map(abs, weights)):
        raise QueryError("the parts of the query cancel out: nothing is left to look for")
    direction: NDArray[np.float32] = (total / length).astype(np.float32)
    return direction
