"""Pictures to vectors without torch: the image tower of an encoder as it lies in the cache."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmsearch.encoders.encoder import Encoder
from mmsearch.encoders.laid_out import read_side, unit_vectors
from mmsearch.encoders.protocols import HidesPlaces, Pixels
from mmsearch.errors import EncoderError
from mmsearch.identity import EncoderIdentity
from mmsearch.towers.image_pixels import ImagePixels
from mmsearch.towers.image_tower import ImageTower
from mmsearch.towers.sides import IMAGE
from mmsearch.towers.tower_files import NoTower

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["TowerImages", "open_image_side", "side_that_hides"]


def open_image_side(identity: EncoderIdentity) -> "TowerImages":
    """The image side of an encoder, from the cache. Raises NoTower, whose message says why there is none."""
    stored = read_side(IMAGE, identity)
    try:
        tower, pixels = ImageTower(stored.design, stored.weights), ImagePixels(stored.input)
    except (ValueError, TypeError, KeyError) as error:
        raise NoTower(f"its image side in the cache cannot be used ({type(error).__name__}: {error})") from error
    return TowerImages(identity, tower, pixels)


def side_that_hides(encoder: Encoder) -> HidesPlaces:
    """The image side of an encoder as one that can hide places from its last blocks: its own, or that in the cache.
    Raises EncoderError where neither can."""
    side = encoder.image
    if isinstance(side, HidesPlaces):
        return side
    try:
        return open_image_side(encoder.identity)
    except NoTower as error:
        raise EncoderError(f"{encoder.identity.spec} has no quick preview: {error}") from error


class TowerImages(HidesPlaces):
    """The image side of an encoder in numpy, for the few pictures that are asked for. It has no quick way to pixels."""

    def __init__(self, identity: EncoderIdentity, tower: ImageTower, pixels: ImagePixels) -> None:
        self._identity, self._tower, self._pixels = identity, tower, pixels

    @property
    def size(self) -> tuple[int, int]:
        return self._pixels.size

    def prepare(self, image: "PIL.Image.Image") -> NDArray[np.float32]:
        return self._pixels.prepare(image)

    def encode(self, pixels: Pixels) -> NDArray[np.float32]:
        if len(pixels) == 0:
            return np.empty((0, self._identity.dim), dtype=np.float32)
        if pixels.dtype == np.uint8:
            pixels = self._pixels.normalise_array(pixels.astype(np.uint8, copy=False))
        return unit_vectors(self._tower.encode(pixels.astype(np.float32, copy=False)), self._identity)

    def encode_hidden(
        self, pixels: NDArray[np.float32], masks_of: Callable[[int, int], NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        return unit_vectors(self._tower.encode_hidden(pixels, masks_of), self._identity)
