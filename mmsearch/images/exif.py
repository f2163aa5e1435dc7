"""The tags of Exif that count: which way is up, when, by what and where it was taken, what people wrote."""

from collections.abc import Sequence
from typing import Any

from PIL import ExifTags, Image

from mmsearch.images.raw_profiles import raw_profile

__all__ = ["TURNS", "orientation", "read_exif"]

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what makes the picture upright. 1 and anything unknown: nothing."""


def orientation(tags: dict[int, Any]) -> int:
    """EXIF orientation, 1 to 8; 1, so upright, where there is none or nonsense."""
    value = tags.get(ExifTags.Base.Orientation)
    return value if isinstance(value, int) and value in TURNS else 1


_BASE = ExifTags.Base
_DATES = (_BASE.DateTimeOriginal, _BASE.DateTimeDigitized)
_FIRST_TAGS = (
    *(_BASE.Orientation, _BASE.DateTime, *_DATES),
    *(_BASE.Make, _BASE.Model, _BASE.ImageDescription, _BASE.Rating, _BASE.XPTitle, _BASE.XPKeywords),
)
_PHOTO_TAGS = (
    *(*_DATES, _BASE.OffsetTime, _BASE.OffsetTimeOriginal, _BASE.OffsetTimeDigitized),
    *(_BASE.LensMake, _BASE.LensModel),
)


def read_exif(image: Image.Image, *, places: bool = False) -> dict[int, Any]:
    """The tags that count, of those that can be read. Damaged EXIF does not spoil a good picture.

    places: the GPS block too, a dict under `ExifTags.IFD.GPSInfo`. Some programs write the dates of the Exif IFD beside
    the others: those count where that IFD has none."""
    exif = _load_exif(image)
    tags = _read_tags(exif, _FIRST_TAGS)
    photo = _read_block(exif, ExifTags.IFD.Exif)
    tags |= {tag: value for tag in _PHOTO_TAGS if (value := photo.get(tag)) is not None}
    if places:
        tags[ExifTags.IFD.GPSInfo] = _read_block(exif, ExifTags.IFD.GPSInfo)
    return tags


def _read_block(exif: Image.Exif, block: ExifTags.IFD) -> dict[int, Any]:
    try:
        return exif.get_ifd(block)
    except Exception:  # noqa: BLE001  see _load_exif
        return {}


def _load_exif(image: Image.Image) -> Image.Exif:
    """Pillow parses EXIF late, and damaged EXIF raises anything."""
    try:
        exif = image.getexif()
    except Exception:  # noqa: BLE001
        exif = Image.Exif()
    # Of the raw profiles in PNG Pillow knows only one name, and reads it only where nothing stands behind the digits.
    block = raw_profile(image.info, "exif") or raw_profile(image.info, "APP1")
    if block is None or len(exif):
        return exif
    try:
        exif.load(block)
    except Exception:  # noqa: BLE001
        return Image.Exif()
    return exif


def _read_tags(exif: Image.Exif, tags: Sequence[int]) -> dict[int, Any]:
    values: dict[int, Any] = {}
    for tag in tags:
        try:
            values[tag] = exif.get(tag)
        except Exception:  # noqa: BLE001  one damaged value does not cost the others
            continue
    return values
