"""Pictures to pixels exactly as open_clip's own transform gives them, by Pillow and numpy alone.

What a model's pictures go through is written down by whoever lays out its tower (`PixelsRecord`).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["ImagePixels", "PixelsRecord"]

# A ribbon of 1 x 20,000 pixels would be resized to 224 x 4,480,000 before its middle is cut out. Of what is longer than
# this many times its width only the middle is resized, so much of it that no pixel of the result sees the cut.
_RIBBON = 64
_MIDDLE = 8


@dataclass(frozen=True, slots=True)
class PixelsRecord:
    """The validation transform of a checkpoint.

    height, width: of what the model takes. resize_mode: "shortest", "longest" or "squash". bilinear: instead of
    bicubic. fill: the colour of what is added around a picture of another shape, 0 to 255. mean, std: of each channel,
    of values between 0 and 1.
    """

    height: int
    width: int
    resize_mode: str
    bilinear: bool
    fill: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]


class ImagePixels:
    """The pixels that a model takes of a picture."""

    def __init__(self, record: PixelsRecord) -> None:
        self.record = record
        self._float_mean = np.array(record.mean, np.float32).reshape(3, 1, 1)
        self._float_std = np.array(record.std, np.float32).reshape(3, 1, 1)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of what the model takes."""
        return self.record.height, self.record.width

    def prepare(self, image: "PIL.Image.Image") -> NDArray[np.float32]:
        """An RGB image -> (3, H, W), normalised. Raises ValueError where nothing is left of a side."""
        pixels: NDArray[np.float32] = self.normalise_array(self.fit(image)[None])[0]
        return pixels

    def normalise_array(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n, H, W, 3) -> (n, 3, H, W), normalised."""
        shares: NDArray[np.float32] = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).astype(np.float32)
        shares /= np.float32(255)
        shares -= self._float_mean
        shares /= self._float_std
        return shares

    def fit(self, image: "PIL.Image.Image") -> NDArray[np.uint8]:
        """An RGB image -> (H, W, 3). Raises ValueError where nothing is left of a side."""
        import PIL.Image  # late: a text needs no Pillow

        image = self._middle(image)
        height, width = self.resized(*image.size)
        if image.size != (width, height):
            ways = PIL.Image.Resampling
            image = image.resize((width, height), ways.BILINEAR if self.record.bilinear else ways.BICUBIC)
        return np.array(self._padded_or_cropped(image))

    def resized(self, width: int, height: int) -> tuple[int, int]:
        """(height, width) before the crop: the arithmetic of torchvision's Resize and open_clip's ResizeKeepRatio.

        A side may come out as 0, to which Pillow resizes nothing: as in open_clip such a picture is an error.
        """
        tall, wide = self.size
        if self.record.resize_mode == "squash":
            return tall, wide
        if self.record.resize_mode == "shortest" and tall == wide:
            long = int(tall * max(width, height) / min(width, height))
            return (tall, long) if height <= width else (long, tall)
        ratios = height / tall, width / wide
        ratio = max(ratios) if self.record.resize_mode == "longest" else min(ratios)
        return round(height / ratio), round(width / ratio)

    def _padded_or_cropped(self, image: "PIL.Image.Image") -> "PIL.Image.Image":
        """The middle (H, W), as open_clip's center_crop_or_pad takes it."""
        wide, tall = self.record.width, self.record.height
        if image.width < wide or image.height < tall:
            import PIL.ImageOps

            across, down = max(0, wide - image.width), max(0, tall - image.height)
            border = (across // 2, down // 2, (across + 1) // 2, (down + 1) // 2)
            image = PIL.ImageOps.expand(image, border, self.record.fill)
        if image.size == (wide, tall):
            return image
        left, upper = round((image.width - wide) / 2), round((image.height - tall) / 2)
        return image.crop((left, upper, left + wide, upper + tall))

    def _middle(self, image: "PIL.Image.Image") -> "PIL.Image.Image":
        width, height = image.size
        if self.record.resize_mode != "shortest" or max(width, height) <= _RIBBON * min(width, height):
            return image
        left, upper = _surplus(width, height), _surplus(height, width)
        return image.crop((left, upper, width - left, height - upper))


def _surplus(side: int, other: int) -> int:
    """What to cut off at both ends of a side, the middle staying in the middle."""
    return max(0, side - _MIDDLE * other) // 2 if side > _RIBBON * other else 0
