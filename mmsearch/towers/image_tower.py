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
        self._forward: Callable[[Floats], Floats]
        if isinstance(design, ResNetDesign):
            self._forward = ResNetTower(design, weights)
        else:
            self._forward = ViTTower(design, weights)

    def encode(self, pixels: Floats) -> Floats:
        """(n, 3, H, W), normalised -> (n, dim) vectors, not normalised. n is at least 1."""
        vectors: list[Floats] = [np.empty(0, np.float32)] * len(pixels)

        def encode(row: int) -> None:
            with np.errstate(all="ignore"):  # in each thread; whoever asked finds what is no number
                (vectors[row],) = self._forward(pixels[row : row + 1])

        each_on_one_thread(encode, range(len(pixels)))
        return np.stack(vectors)
