"""When a picture was taken: the best of all that its file says."""

import re
import struct
from collections.abc import Iterator
from datetime import datetime
from email.utils import parsedate
from typing import Any

from PIL import ExifTags, Image

from mmsearch.images.raw_profiles import raw_profile
from mmsearch.images.xmp import xmp_dates

__all__ = ["taken_at"]

_FIRST_PHOTOGRAPH = 1826
_DATE = re.compile(
    r"\s*(\d{4})(?!\d)(?:[:/.-](\d\d?)(?!\d)(?:[:/.-](\d\d?)(?!\d)(?:[ T]+(\d\d?):(\d\d?)(?::(\d\d?))?)?)?)?"
)
_LONGEST = 100  # characters of a date; a text chunk may hold a book
_IPTC_RECORDS = {"taken": (55, 60), "digitised": (62, 63)}  # datasets of record 2: date, time
_IPTC_RESOURCE, _XMP_RESOURCE = 1028, 1060  # of Photoshop
_IPTC_TAG, _PHOTOSHOP_TAG, _XMP_TAG = 33723, 34377, 700  # of TIFF
_MOST_CHUNKS = 4096


def taken_at(image: Image.Image, exif: dict[int, Any], data: bytes = b"") -> datetime | None:
    """When an opened image was taken, without a time zone: local where the camera was. Its pixels are not needed.

    In this order: taken by Exif, by XMP (exif:DateTimeOriginal, photoshop:DateCreated, xmp:CreateDate), by IPTC, by
    PNG's "Creation Time"; digitised; and the date of editing only where nothing else is said. A date without a time is
    completed by another of the same day. ImageMagick's date:create is the age of some file and not looked at.
    exif: as `read_exif`. data: the file, for the edit date that PNG keeps apart.
    """
    xmp, iptc, info = xmp_dates(_read_xmp(image)), _read_iptc(image), image.info
    made = [
        exif.get(ExifTags.Base.DateTimeOriginal),
        _find_text(info, "exif:DateTimeOriginal"),  # ImageMagick's copy of Exif in PNG
        *(xmp.get(name) for name in ("DateTimeOriginal", "DateCreated", "CreateDate")),
        _read_iptc_date(iptc, "taken"),
        _find_text(info, "Creation Time"),
        exif.get(ExifTags.Base.DateTimeDigitized),
        xmp.get("DateTimeDigitized"),
        _read_iptc_date(iptc, "digitised"),
        _find_text(info, "exif:DateTimeDigitized"),
    ]
    edited = [
        exif.get(ExifTags.Base.DateTime),
        xmp.get("ModifyDate"),
        _find_text(info, "exif:DateTime"),
        _read_png_time(data),
    ]
    return _choose_date(made) or _choose_date(edited)


def _choose_date(text: list[Any]) -> datetime | None:
    """The first plausible date, completed by the next that says the same and more."""
    dates = [date for date in map(_parse_date, text) if date]
    if not dates:
        return None
    best = dates[0]
    for date in dates[1:]:
        if len(date) > len(best) and date[: len(best)] == best:
            best = date
    return datetime(*(*best, 1, 1)[: max(3, len(best))])  # type: ignore[arg-type]  # the first of the month, of January


def _parse_date(text: Any) -> tuple[int, ...] | None:
    """Year to seconds, or as much of these as is said (year; month; day; the time whole); None where implausible."""
    if isinstance(text, bytes):
        text = text.decode("ascii", "replace")
    if not isinstance(text, str):
        return None
    match = _DATE.match(text[:_LONGEST])
    if match is not None:
        groups = match.groups()
        known = groups if groups[3] is not None else groups[:3]
        parts = tuple(int(part or 0) for part in known if part is not None or len(known) > 3)
    else:
        named = parsedate(text[:_LONGEST])  # Tue, 19 Jul 2011 11:36:38 +0200, as PNG recommends
        parts = named[:6] if named and str(named[0]) in text else ()
    try:
        moment = datetime(*(*parts, 1, 1)[: max(3, len(parts))])  # type: ignore[arg-type]
    except (ValueError, TypeError):  # month 0, hour 25: cameras write them
        return None
    return parts if moment.year >= _FIRST_PHOTOGRAPH and parts else None


def _find_text(info: dict[Any, Any], name: str) -> str | None:
    """A text of a PNG, whatever the case of its name."""
    if name in info:
        return str(info[name])
    return next((str(value) for key, value in info.items() if str(key).lower() == name.lower()), None)


def _read_xmp(image: Image.Image) -> bytes:
    packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or _read_tiff_bytes(image, _XMP_TAG)
    packet = packet or _read_resources(image).get(_XMP_RESOURCE) or raw_profile(image.info, "xmp")
    return packet.encode() if isinstance(packet, str) else packet if isinstance(packet, bytes) else b""


def _read_iptc(image: Image.Image) -> bytes:
    records = (
        _read_resources(image).get(_IPTC_RESOURCE)
        or _read_tiff_bytes(image, _IPTC_TAG)
        or _read_tiff_bytes(image, _PHOTOSHOP_TAG)
    )
    records = records or raw_profile(image.info, "iptc")
    return records if isinstance(records, bytes) else b""


def _read_resources(image: Image.Image) -> dict[int, Any]:
    """Photoshop's resources in JPEG and PSD, by number."""
    by_name = image.info.get("photoshop")
    if isinstance(by_name, dict):
        return by_name
    resources = getattr(image, "resources", ())
    return {resource[0]: resource[-1] for resource in resources} if isinstance(resources, list) else {}


def _read_tiff_bytes(image: Image.Image, tag: int) -> bytes | None:
    tags = getattr(image, "tag_v2", None)
    if tags is None or tag not in tags:
        return None
    value = tags[tag]
    if isinstance(value, tuple) and all(isinstance(number, int) and 0 <= number < 1 << 32 for number in value):
        # Photoshop writes IPTC's bytes as if they were numbers of 32 bits.
        return struct.pack(f"{'<' if tags.prefix == b'II' else '>'}{len(value)}I", *value)
    return value if isinstance(value, bytes) else None


def _read_iptc_date(records: bytes, name: str) -> str | None:
    """IPTC's date and time, 20110719 and 113638+0200, as one text."""
    day, clock = (bytes([0x1C, 2, number]) for number in _IPTC_RECORDS[name])
    match = re.search(re.escape(day) + rb"\0\x08(\d{4})(\d\d)(\d\d)", records)
    if match is None:
        return None
    year, month, date = (part.decode() for part in match.groups())
    if month == "00" or date == "00":  # what is not known is written as zeros
        return year if month == "00" else f"{year}-{month}"
    time = re.search(re.escape(clock) + rb"\0[\x06-\x0b](\d\d)(\d\d)(\d\d)", records)
    return f"{year}-{month}-{date}" + ("" if time is None else " " + ":".join(part.decode() for part in time.groups()))


def _read_png_time(data: bytes) -> str | None:
    """When a PNG was last changed, by its tIME chunk."""
    for name, start, length in _png_chunks(data):
        if name == b"tIME" and length == 7 and start + 7 <= len(data):
            year, *rest = struct.unpack_from(">H5B", data, start)
            return "{:04}-{:02}-{:02} {:02}:{:02}:{:02}".format(year, *rest)
    return None


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(name, where its content starts, its length) of each."""
    position = 8
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return
    for _ in range(_MOST_CHUNKS):
        if position + 8 > len(data):
            return
        length, name = struct.unpack_from(">I4s", data, position)
        yield name, position + 8, length
        position += length + 12
