"""The image tower of a model, of whatever design: pixels to vectors, in numpy."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np

from mmsearch.blas import each_on_one_thread
from mmsearch.towers.resnet_tower import ResNetDesign, ResNetTower
from mmsearch.towers.transformer import Floats
from mmsearch.towers.vit_tower import ViTDesign, ViTTower

__all__ = ["ImageDesign", "ImageTower"]

ImageDesign: TypeAlias = ViTDesign | ResNetDesign


class ImageTower:
    """An image tower over its weights, which are those of its design. Raises ValueError where a tensor is missing."""

    def __init__(self, design: ImageDesign, weights: Mapping[str, Floats]) -> None:
        self._tower: ResNetTower | ViTTower
        if isinstance(design, ResNetDesign):
            self._tower = ResNetTower(design, weights)
        else:
            self._tower = ViTTower(design, weights)

    def encode(self, pixels: Floats) -> Floats:
        """(n, 3, H, W), normalised -> (n, dim) vectors, not normalised. n is at least 1."""
        vectors: list[Floats] = [np.empty(0, np.float32)] * len(pixels)

        def encode(row: int) -> None:
            with np.errstate(all="ignore"):  # in each thread; whoever asked finds what is no number
                (vectors[row],) = self._tower(pixels[row : row + 1])

        each_on_one_thread(encode, range(len(pixels)))
        return np.stack(vectors)

    def encode_hidden(self, pixels: Floats, masks_of: Callable[[int, int], Floats]) -> Floats:
        """A picture (3, H, W), normalised -> (n, dim) vectors, not normalised: of each mask that of the picture of
        which the last blocks do not see what is hidden. What those before them have carried elsewhere is seen still.

        masks_of: rows and columns of places -> (n, rows, columns), 1 where a place is hidden.
        """
        inner = self._tower.inner(pixels[None])
        masks, of_mask = np.unique(masks_of(*inner.grid), axis=0, return_inverse=True)
        vectors: list[Floats] = [np.empty(0, np.float32)] * len(masks)

        def encode(row: int) -> None:
            with np.errstate(all="ignore"):
                (vectors[row],) = self._tower.rest(inner, masks[row])

        each_on_one_thread(encode, range(len(masks)))
        return np.stack(vectors)[of_mask.ravel()]
