"""What a file says of its picture beside the pixels: Exif, XMP, IPTC and PNG's texts, each read once."""

import math
import struct
from collections.abc import Iterator, Mapping
from typing import Any

from PIL import ExifTags, Image

from mmsearch.images.photo_facts import (
    NOTHING_SAID,
    PhotoFacts,
    Position,
    SaidDate,
    clean_keywords,
    clean_rating,
    clean_text,
    join_make,
    merge_facts,
    parse_date,
    position_at,
)
from mmsearch.images.raw_profiles import raw_profile
from mmsearch.images.xmp import xmp_facts

__all__ = ["read_facts", "says_more_behind_pixels"]

_IPTC_RESOURCE, _XMP_RESOURCE = 1028, 1060  # of Photoshop
_IPTC_TAG, _PHOTOSHOP_TAG, _XMP_TAG = 33723, 34377, 700  # of TIFF
_TITLE, _KEYWORDS, _TAKEN, _DIGITISED, _CAPTION = (2, 5), (2, 25), (55, 60), (62, 63), (2, 120)  # of IPTC
_IPTC_WANTED = {_TITLE, _KEYWORDS, _CAPTION, *((2, number) for number in (*_TAKEN, *_DIGITISED))}
_PNG_TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt", b"eXIf"})
_MOST_RECORDS, _MOST_CHUNKS = 4096, 4096
_CAMERAS_OWN = ("digital camera", "sony dsc", "dcim", "exif_jpeg", "samsung", "minolta", "<", "jpeg", "created with")
"""How descriptions begin or end, in small letters, that nobody wrote: by cameras and programs."""


def read_facts(image: Image.Image, exif: Mapping[int, Any], data: bytes = b"", *, places: bool = False) -> PhotoFacts:
    """What an opened image says of itself. Its pixels are not needed.

    ImageMagick's date:create is the age of some file and not looked at. exif: as `read_exif`. data: the file, for the
    edit date that PNG keeps apart. places: where it was taken, too; then `exif` holds the GPS block.
    """
    return merge_facts(
        _exif_facts(exif),
        xmp_facts(_read_xmp(image), places=places),
        _iptc_facts(_read_iptc(image)),
        _png_facts(image.info, data),
    )


def _exif_facts(tags: Mapping[int, Any]) -> PhotoFacts:
    base = ExifTags.Base
    dates = (
        *parse_date(tags.get(base.DateTimeOriginal), "exif", tags.get(base.OffsetTimeOriginal)),
        *parse_date(tags.get(base.DateTimeDigitized), "created", tags.get(base.OffsetTimeDigitized)),
        *parse_date(tags.get(base.DateTime), "edited", tags.get(base.OffsetTime)),
    )
    return PhotoFacts(
        dates,
        camera=join_make(tags.get(base.Make), tags.get(base.Model)),
        lens=_lens(tags.get(base.LensMake), tags.get(base.LensModel)),
        position=_exif_position(tags.get(ExifTags.IFD.GPSInfo)),
        title=clean_text(_wide_text(tags.get(base.XPTitle))),
        description=_description(tags.get(base.ImageDescription)),
        keywords=clean_keywords((_wide_text(tags.get(base.XPKeywords)) or "").split(";")),
        rating=clean_rating(tags.get(base.Rating)),
    )


def _lens(make: Any, model: Any) -> str | None:
    """The lens; its maker alone is none."""
    return join_make(make, model) if join_make(None, model) else None


def _description(value: Any) -> str | None:
    text = clean_text(value)
    if text is None or text.casefold().startswith(_CAMERAS_OWN) or text.casefold().endswith(_CAMERAS_OWN):
        return None
    return text


def _wide_text(value: Any) -> str | None:
    """A text of Windows: UTF-16, in bytes."""
    return value.decode("utf-16-le", "replace") if isinstance(value, bytes) else None


def _exif_position(block: Any) -> Position | None:
    if not isinstance(block, Mapping):
        return None
    gps = ExifTags.GPS
    return position_at(
        _angle(block.get(gps.GPSLatitude), block.get(gps.GPSLatitudeRef), "NS"),
        _angle(block.get(gps.GPSLongitude), block.get(gps.GPSLongitudeRef), "EW"),
    )


def _angle(value: Any, direction: Any, directions: str) -> float | None:
    """Degrees; None where it is not said on which side of the equator, or of Greenwich."""
    side = (clean_text(direction) or "").upper()[:1]
    numbers = value if isinstance(value, tuple) else (value,)
    if not side or side not in directions or not 1 <= len(numbers) <= 3:
        return None
    try:
        degrees, minutes, seconds = (*map(float, numbers), 0.0, 0.0)[:3]
    except (TypeError, ValueError, ArithmeticError):
        return None
    if len(numbers) > 1 and math.isnan(seconds):  # seconds of 0/0 beside minutes with a fraction
        seconds = 0.0
    if not (0 <= minutes < 60 and 0 <= seconds < 60 and degrees >= 0):
        return None
    angle = degrees + minutes / 60 + seconds / 3600
    return angle if side == directions[0] else -angle


def _iptc_facts(records: bytes) -> PhotoFacts:
    said = _iptc_records(records)
    if not said:
        return NOTHING_SAID
    return PhotoFacts(
        (*_iptc_date(said, _TAKEN, "iptc"), *_iptc_date(said, _DIGITISED, "created")),
        title=clean_text(said.get(_TITLE, [None])[0]),
        description=_description(said.get(_CAPTION, [None])[0]),
        keywords=clean_keywords(said.get(_KEYWORDS, ())),
    )


def _iptc_records(data: bytes) -> dict[tuple[int, int], list[bytes]]:
    """The values of the records that are wanted, by (record, number)."""
    said: dict[tuple[int, int], list[bytes]] = {}
    position = 0
    for _ in range(_MOST_RECORDS):
        position = data.find(b"\x1c\x02", position)
        if position < 0 or position + 5 > len(data):
            break
        key, length = (2, data[position + 2]), int.from_bytes(data[position + 3 : position + 5], "big")
        if length >= 1 << 15:  # what follows is no length but its size
            position += 2
            continue
        if key in _IPTC_WANTED:
            said.setdefault(key, []).append(data[position + 5 : position + 5 + length])
        position += 5 + length
    return said


def _iptc_date(
    said: Mapping[tuple[int, int], list[bytes]], numbers: tuple[int, int], source: Any
) -> tuple[SaidDate, ...]:
    """IPTC's date and time, 20110719 and 113638+0200."""
    day, clock = (said.get((2, number), [b""])[0].decode("ascii", "replace") for number in numbers)
    if not (len(day) == 8 and day.isdigit()):
        return ()
    year, month, date = day[:4], day[4:6], day[6:]
    if month == "00" or date == "00":  # what is not known is written as zeros
        return parse_date(year if month == "00" else f"{year}-{month}", source)
    if clock[:6].isdigit() and len(clock) >= 6:
        return parse_date(f"{year}-{month}-{date} {clock[:2]}:{clock[2:4]}:{clock[4:6]}{clock[6:]}", source)
    return parse_date(f"{year}-{month}-{date}", source)


def _png_facts(info: Mapping[Any, Any], data: bytes) -> PhotoFacts:
    texts = {str(name).lower(): value for name, value in info.items() if isinstance(value, str)}
    dates = (
        *parse_date(texts.get("exif:datetimeoriginal"), "exif"),  # ImageMagick's copy of Exif
        *parse_date(texts.get("creation time"), "png"),
        *parse_date(texts.get("exif:datetimedigitized"), "created"),
        *parse_date(texts.get("exif:datetime"), "edited"),
        *parse_date(_read_png_time(data), "edited"),
    )
    title, description = clean_text(texts.get("title")), _description(texts.get("description"))
    return PhotoFacts(dates, title=title, description=description) if dates or title or description else NOTHING_SAID


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


def _read_png_time(data: bytes) -> str | None:
    """When a PNG was last changed, by its tIME chunk."""
    for name, start, length in _png_chunks(data):
        if name == b"tIME" and length == 7 and start + 7 <= len(data):
            year, *rest = struct.unpack_from(">H5B", data, start)
            return "{:04}-{:02}-{:02} {:02}:{:02}:{:02}".format(year, *rest)
    return None


def says_more_behind_pixels(data: bytes) -> bool:
    """Whether texts of a PNG stand behind its pixels, so that they are known only when these are decoded."""
    names = [name for name, _, _ in _png_chunks(data)]
    return b"IDAT" in names and not _PNG_TEXTS.isdisjoint(names[names.index(b"IDAT") :])


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
