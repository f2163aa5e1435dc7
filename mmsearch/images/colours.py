"""Any mode of Pillow as 8-bit RGB, as a person would see it on white paper."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["scale_to_8_bits", "to_rgb", "choose_range"]

_BITS, _SAMPLE_FORMAT = 258, 339  # tags of TIFF
_UNSIGNED = 1


def to_rgb(image: Image.Image) -> Image.Image:
    """Any mode to RGB: transparency over white, more than 8 bits scaled."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _scale_grey(image).convert("RGB")
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
        if alpha.getextrema() != (255, 255):
            white = Image.new("RGB", image.size, "white")
            white.paste(image, mask=alpha)
            return white
    return image if image.mode == "RGB" else image.convert("RGB")


def _scale_grey(image: Image.Image) -> Image.Image:
    """A grey image of more than 8 bits (I;16*, I, F) as 8 bits, its range scaled (Pillow's convert clips at
    255)."""
    values = _read_numbers(image).astype(np.float32)
    finite = np.isfinite(values)
    values = np.where(finite, values, 0)
    low, high = _find_range(image, float(values.min()), float(values.max()))
    grey = scale_to_8_bits(values, low, high)
    key = image.info.get("transparency")
    if isinstance(key, int):  # a PNG may declare one grey value transparent
        grey[np.asarray(image) == key] = 255
    return Image.fromarray(grey)


def _read_numbers(image: Image.Image) -> NDArray[np.generic]:
    """The numbers of a grey image (h, w). Of a TIFF of unsigned 32 bits Pillow has the upper half as negative ones."""
    tags = getattr(image, "tag_v2", {})
    unsigned = (tags.get(_BITS), tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))) == ((32,), (_UNSIGNED,))
    return np.asarray(image).view(np.uint32) if image.mode == "I" and unsigned else np.asarray(image)


def _find_range(image: Image.Image, lowest: float, highest: float) -> tuple[float, float]:
    """The values that stand for black and white.

    The range that the format implies, where the values lie in it; else (satellite, medical and depth
    images) their own."""
    if image.mode.startswith("I;16"):
        bits = getattr(image, "tag_v2", {}).get(_BITS, (16,))  # 12-bit scans come unscaled
        return 0.0, float(2 ** min(16, int(bits[0])) - 1)
    usual_tops = (65535.0,) if image.mode == "I" else (1.0, 255.0, 65535.0)
    return choose_range(lowest, highest, usual_tops)


def choose_range(lowest: float, highest: float, tops: tuple[float, ...]) -> tuple[float, float]:
    """0 and the first of `tops` where all values lie between them, else the values' own range."""
    for top in tops:
        if lowest >= 0 and highest <= top:
            return 0.0, top
    return lowest, highest if highest > lowest else lowest + 1


def scale_to_8_bits(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.uint8]:
    """Values of any shape, `low` as 0 and `high` as 255."""
    shades: NDArray[np.float32] = (np.clip(values, low, high) - low) * (255 / (high - low))
    return np.rint(shades).astype(np.uint8)
