"""Pictures to vectors without torch: the image tower of an encoder as it lies in the cache."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmsearch.encoders.laid_out import read_side, unit_vectors
from mmsearch.encoders.protocols import ImageSide, Pixels
from mmsearch.identity import EncoderIdentity
from mmsearch.towers.image_pixels import ImagePixels
from mmsearch.towers.image_tower import ImageTower
from mmsearch.towers.sides import IMAGE
from mmsearch.towers.tower_files import NoTower

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["TowerImages", "open_image_side"]


def open_image_side(identity: EncoderIdentity) -> "TowerImages":
    """The image side of an encoder, from the cache. Raises NoTower, whose message says why there is none."""
    stored = read_side(IMAGE, identity)
    try:
        tower, pixels = ImageTower(stored.design, stored.weights), ImagePixels(stored.input)
    except (ValueError, TypeError, KeyError) as error:
        raise NoTower(f"its image side in the cache cannot be used ({type(error).__name__}: {error})") from error
    return TowerImages(identity, tower, pixels)


class TowerImages(ImageSide):
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
