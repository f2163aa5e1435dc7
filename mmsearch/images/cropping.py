"""Parts of decoded pictures."""

from PIL import Image

from mmsearch.boxes import Box, PixelBox
from mmsearch.errors import QueryError
from mmsearch.images.decoding import DecodedImage

__all__ = ["crop", "crop_pixels"]


def crop(decoded: DecodedImage, box: Box) -> Image.Image:
    """The part of a picture that a box cuts out, at the pixels that were decoded."""
    return decoded.image.crop(box.pixels(*decoded.image.size))


def crop_pixels(decoded: DecodedImage, box: PixelBox) -> Image.Image:
    """A part of a picture; enlarged, where fewer pixels were decoded than it has. What lies outside of the picture is
    left out. Raises QueryError (nothing of it)."""
    right, bottom = min(decoded.width, box.left + box.width), min(decoded.height, box.top + box.height)
    if right <= box.left or bottom <= box.top:
        size = f"{decoded.width} x {decoded.height}"
        raise QueryError(f"the picture has {size} pixels, and none of them in this part")
    across, down = decoded.image.width / decoded.width, decoded.image.height / decoded.height
    part = (box.left * across, box.top * down, right * across, bottom * down)
    if (across, down) == (1, 1):
        return decoded.image.crop((box.left, box.top, right, bottom))
    return decoded.image.resize((right - box.left, bottom - box.top), Image.Resampling.BICUBIC, box=part)
