"""Pictures as they are shown: small, upright, and in the colours of their profile."""

import io
import threading

import numpy as np
from PIL import Image

from mmsearch.boxes import Box
from mmsearch.errors import ImageError
from mmsearch.images.cropping import crop
from mmsearch.images.decoding import DecodedImage, decode_fast, probe
from mmsearch.images.image_files import MAX_PIXELS

__all__ = ["draw_jpeg", "draw_part", "make_thumbnail", "to_srgb"]

_QUALITY = 82
# Decoding takes so much memory that one is done at a time: of pictures of so many pixels, or to be drawn so large.
_LARGE_PIXELS, _LARGE_EDGE = 40_000_000, 1280

_MOST_PROFILE_BYTES = 1 << 22  # that of a press is 2 MB
_MODES = {"RGB ": "RGB", "GRAY": "L"}  # what of a decoded picture a profile of this colour space speaks of
_ALIKE = 2  # of 255: profiles of sRGB differ by so much from each other
_CUBE = (np.indices((6, 6, 6)) * 51).astype(np.uint8).reshape(3, 36, 6).transpose(1, 2, 0)  # colours of all kinds


_one_large = threading.Lock()


def make_thumbnail(data: bytes, edge: int, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """A file's picture for a screen: RGB in sRGB, no side longer than `edge`. For any number of threads. Raises
    ImageError as `decode`."""
    header = probe(io.BytesIO(data))
    if edge > _LARGE_EDGE or header.width * header.height > _LARGE_PIXELS:
        with _one_large:
            return _make_thumbnail(data, edge, max_pixels)
    return _make_thumbnail(data, edge, max_pixels)


def _make_thumbnail(data: bytes, edge: int, max_pixels: int) -> Image.Image:
    decoded = decode_fast(data, edge, max_pixels=max_pixels, raw_side=1)
    image = decoded.image if isinstance(decoded, DecodedImage) else decoded.upright()
    image.thumbnail((edge, edge), Image.Resampling.LANCZOS, reducing_gap=3)
    return to_srgb(image, decoded.icc_profile)


def draw_jpeg(data: bytes, edge: int) -> bytes:
    """A file's picture as a JPEG that fits into a square of `edge` pixels: upright, in sRGB and without EXIF. Raises
    ImageError."""
    image = make_thumbnail(data, edge)
    file = io.BytesIO()
    try:
        image.save(file, "JPEG", quality=_QUALITY)
    except (OSError, ValueError) as error:
        raise ImageError("resize", f"no thumbnail can be drawn: {error}") from error
    return file.getvalue()


def draw_part(decoded: DecodedImage, box: Box, edge: int) -> bytes:
    """The part of a decoded picture in a box as `draw_jpeg` draws a whole one. Raises ImageError."""
    part = crop(decoded, box)
    part.thumbnail((edge, edge), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    try:
        to_srgb(part, decoded.icc_profile).save(file, "JPEG", quality=_QUALITY)
    except (OSError, ValueError) as error:
        raise ImageError("resize", f"the part cannot be drawn: {error}") from error
    return file.getvalue()


def to_srgb(image: Image.Image, icc_profile: bytes | None) -> Image.Image:
    """An RGB picture whose numbers mean what a profile says, as sRGB.

    It is returned as it is where the profile is one of sRGB, is damaged, or speaks of ink (CMYK) or of another space
    that the picture has already left."""
    if not icc_profile or len(icc_profile) > _MOST_PROFILE_BYTES:
        return image
    from PIL import ImageCms  # late: most pictures have no profile

    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc_profile))
        mode = _MODES[profile.profile.xcolor_space]
        transform = ImageCms.buildTransform(
            profile,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        cube = Image.fromarray(np.ascontiguousarray(_CUBE)).convert(mode)
        if _differ(cube.convert("RGB"), transform.apply(cube)):
            return transform.apply(image.convert(mode))
    except Exception:  # noqa: BLE001  a profile is bytes of a stranger; without it the picture is still a picture
        return image
    return image


def _differ(one: Image.Image, other: Image.Image) -> bool:
    return bool(np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16)).max() > _ALIKE)
