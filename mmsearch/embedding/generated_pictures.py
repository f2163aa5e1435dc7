"""Pictures that a run makes to check itself with: they have nothing odd about them."""

import io

import numpy as np
import PIL.ExifTags
import PIL.Image
from numpy.typing import NDArray

from mmsearch.encoders import ImageSide
from mmsearch.loading import MARGIN

__all__ = ["ANCHORS", "encode_anchors", "make_control_file"]

ANCHORS = 2
"""Generated pictures that join a sample in which there is too little to tell apart."""


def make_control_file(seed: int, route: str, orientation: int, size: tuple[int, int]) -> bytes:
    """A file with a generated picture that takes a route: structure at every scale, as in a photograph."""
    random, side = np.random.default_rng(seed), MARGIN * max(size)
    shape = (side + side // 3, side)
    pixels = np.full((*shape[::-1], 3), 128, np.float32)
    for cells in (3, 6, 12, 24, 48, 96):
        grid = PIL.Image.fromarray(random.integers(0, 256, size=(cells, cells, 3), dtype=np.uint8))
        pixels += (np.asarray(grid.resize(shape, PIL.Image.Resampling.BICUBIC), np.float32) - 128) / cells**0.5
    picture, stream = PIL.Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)), io.BytesIO()
    if route == "pillow":
        picture.save(stream, "PNG")
        return stream.getvalue()
    scale, exif = int(route.partition("/")[2] or 1), PIL.Image.Exif()
    exif[PIL.ExifTags.Base.Orientation] = orientation
    if scale > 1:
        picture = picture.resize((shape[0] * scale, shape[1] * scale), PIL.Image.Resampling.BICUBIC)
    picture.save(stream, "JPEG", quality=92, exif=exif)
    return stream.getvalue()


def encode_anchors(images: ImageSide) -> NDArray[np.float32]:
    """(m, dim): generated pictures by the exact route."""
    return images.encode_reference(np.stack([images.prepare(image) for image in _generate_images()]))


def _generate_images() -> list[PIL.Image.Image]:
    """Pictures as different from each other as smooth noise can be."""
    random = np.random.default_rng(0)
    small = random.integers(0, 256, size=(ANCHORS, 6, 8, 3), dtype=np.uint8)
    return [PIL.Image.fromarray(pixels).resize((320, 240), PIL.Image.Resampling.BICUBIC) for pixels in small]
