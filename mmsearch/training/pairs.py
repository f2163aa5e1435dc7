"""Pairs from a gallery's captions, with the vectors that it holds."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch.calibration.pairs import read_pairs
from mmsearch.errors import TrainingError
from mmsearch.exact import Vectors
from mmsearch.gallery import Gallery
from mmsearch.items import CAPTIONS, IMAGES
from mmsearch.names import real_name
from mmsearch.training.records import TrainingPairs
from mmsearch.training.splitting import group_images

__all__ = ["GalleryPictures", "gallery_pairs", "gallery_pictures"]


@dataclass(frozen=True, slots=True, eq=False)
class GalleryPictures:
    """Attributes:
    files: where each is; None where that is not known.
    groups: int64 (n,), equal for those that show the same.
    vectors: float32 (n, dim), of length 1.
    """

    files: tuple[str | None, ...]
    groups: NDArray[np.int64]
    vectors: NDArray[np.float32]


def gallery_pictures(gallery: Gallery, rows: NDArray[np.int64]) -> GalleryPictures:
    """Some pictures of a gallery, by row id, in the order asked."""
    vectors = _unit(gallery.vectors(IMAGES.name, rows))
    hashes = gallery.rows(IMAGES.name, rows, ["content_hash"]).column("content_hash").to_pylist()
    number_of = {content: number for number, content in enumerate(dict.fromkeys(hashes))}
    contents = np.array([number_of[content] for content in hashes], np.int64)
    roots = {root.id: gallery.root_path(root.id) for root in gallery.manifest.roots}
    files = []
    for row in gallery.image_rows(rows):
        root = roots.get(row.root_id)
        files.append(None if root is None else str(root / real_name(row.path, row.path_bytes)))
    return GalleryPictures(tuple(files), group_images(vectors, contents), vectors)


def gallery_pairs(gallery: Gallery) -> TrainingPairs:
    """The pictures of a gallery that have captions, with these; in the order in which they were embedded.

    Raises TrainingError where no caption names a picture.
    """
    pairs = read_pairs(gallery)
    linked = pairs.linked()
    if not len(linked.captions):
        raise TrainingError(
            f"{gallery.path} has {_has(len(pairs.captions), gallery.live_rows(CAPTIONS.name))}: there is nothing to "
            "learn from. Add some: mmsearch embed --captions FILE"
        )
    image_rows, image_of_text = np.unique(linked.images, return_inverse=True)
    order = np.argsort(image_of_text, kind="stable")
    caption_rows = linked.captions[order]
    pictures = gallery_pictures(gallery, image_rows)
    return TrainingPairs(
        texts=tuple(row.caption for row in gallery.records(CAPTIONS, caption_rows)),
        image_of_text=image_of_text[order].astype(np.int64),
        files=pictures.files,
        groups=pictures.groups,
        image_vectors=pictures.vectors,
        text_vectors=_unit(gallery.vectors(CAPTIONS.name, caption_rows)),
        rows=image_rows,
    )


def _has(by_people: int, captions: int) -> str:
    """What there is, in the place of captions that name a picture."""
    if by_people:
        return f"{by_people:,} captions by people, none of which names a picture"
    return f"{captions:,} captions, all guessed by models, of which none is taught" if captions else "no captions"


def _unit(vectors: Vectors) -> NDArray[np.float32]:
    """float32, each of length 1: those that are stored were rounded."""
    exact = vectors.astype(np.float32)
    exact /= np.maximum(np.linalg.norm(exact, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return exact
