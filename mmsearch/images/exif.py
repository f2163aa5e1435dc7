"""What a camera noted: which way is up, and when."""

import re
from datetime import datetime
from typing import Any

from PIL import ExifTags, Image

__all__ = ["TURNS", "orientation", "read_exif", "taken_at"]

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
    found = tags.get(ExifTags.Base.Orientation)
    return found if isinstance(found, int) and found in TURNS else 1


_DATE = re.compile(r"\s*(\d{4})[:/.-](\d\d?)[:/.-](\d\d?)[ T]+(\d\d?):(\d\d?)(?::(\d\d?))?")
_FIRST_PHOTOGRAPH = 1826


def read_exif(image: Image.Image) -> dict[int, Any]:
    """The tags of orientation and dates; whatever of them can be read. Damaged EXIF does not spoil a good
    picture."""
    found: dict[int, Any] = {}
    try:
        exif = image.getexif()
        found.update({tag: exif.get(tag) for tag in (ExifTags.Base.Orientation, ExifTags.Base.DateTime)})
        photo = exif.get_ifd(ExifTags.IFD.Exif)
        found.update({tag: photo.get(tag) for tag in _PHOTO_DATES})
    except Exception:  # noqa: BLE001  Pillow parses EXIF late, and damaged EXIF raises anything
        return found
    return found


_PHOTO_DATES = (ExifTags.Base.DateTimeOriginal, ExifTags.Base.DateTimeDigitized)


def taken_at(exif: dict[int, Any]) -> datetime | None:
    """The first plausible of the dates: taken, digitised, changed."""
    for tag in (*_PHOTO_DATES, ExifTags.Base.DateTime):
        text = exif.get(tag)
        if isinstance(text, bytes):
            text = text.decode("ascii", "replace")
        match = _DATE.match(text) if isinstance(text, str) else None
        if match is None:
            continue
        try:
            taken = datetime(*(int(part or 0) for part in match.groups()))  # type: ignore[arg-type]
        except ValueError:  # month 0, hour 25: cameras write them
            continue
        if taken.year >= _FIRST_PHOTOGRAPH:
            return taken
    return None
