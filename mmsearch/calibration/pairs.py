"""Which captions of a gallery ask for which of its images: what is known of right answers without anybody's labels."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.gallery import Gallery
from mmsearch.names import real_name

__all__ = ["Pairs", "read_pairs"]


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Captions and the image of each, by row id.

    captions: int64 (n,), ascending. images: int64 (n,); -1 for a caption of no image of the gallery.
    """

    captions: NDArray[np.int64]
    images: NDArray[np.int64]

    def linked(self) -> "Pairs":
        """Those that have an image."""
        return self.take(np.flatnonzero(self.images >= 0))

    def with_images(self, named: Callable[[NDArray[np.int64]], NDArray[np.int64]]) -> "Pairs":
        """The same, with other ids for the images. named: row ids (m,) -> such an id each."""
        return Pairs(self.captions, np.where(self.images < 0, -1, named(self.images)))

    def take(self, rows: NDArray[np.integer[Any]]) -> "Pairs":
        """Some of them, in ascending order."""
        chosen = np.sort(rows)
        return Pairs(self.captions[chosen], self.images[chosen])


def read_pairs(gallery: Gallery) -> Pairs:
    """All captions of a gallery that people have written, in one pass over the names of its images."""
    captions: list[int] = []
    names: list[tuple[int, str] | None] = []
    for row_id, row in gallery.people_captions():
        captions.append(row_id)
        if row.path is None or row.root_id is None:
            names.append(None)
        else:
            names.append((row.root_id, real_name(row.path, row.path_bytes)))
    wanted = set(names)
    images = {(root_id, name): row_id for row_id, root_id, name in gallery.image_names() if (root_id, name) in wanted}
    row_ids = np.array(captions, np.int64)
    order = np.argsort(row_ids)
    of_caption = np.array([-1 if name is None else images.get(name, -1) for name in names], np.int64)
    return Pairs(row_ids[order], of_caption[order])
