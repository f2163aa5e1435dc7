"""What an XMP packet says of its picture. It is XML that strangers wrote; it stands in the file or beside it."""

import re
from xml.parsers import expat

from mmsearch.images.photo_facts import (
    NOTHING_SAID,
    PhotoFacts,
    clean_keywords,
    clean_rating,
    clean_text,
    join_make,
    parse_date,
    position_at,
)

__all__ = ["xmp_facts", "xmp_properties"]

_MOST_BYTES = 1 << 20  # a packet with what counts; some go on for megabytes about brush strokes
_MOST_ITEMS = 512  # of a list
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_EXIF, _TIFF = "http://ns.adobe.com/exif/1.0/", "http://ns.adobe.com/tiff/1.0/"
_PHOTOSHOP, _XMP = "http://ns.adobe.com/photoshop/1.0/", "http://ns.adobe.com/xap/1.0/"
_DUBLIN_CORE, _AUX = "http://purl.org/dc/elements/1.1/", "http://ns.adobe.com/exif/1.0/aux/"
_EXIF_EX = "http://cipa.jp/exif/1.0/"
_PROPERTIES = {
    f"{_EXIF} DateTimeOriginal": "DateTimeOriginal",
    f"{_PHOTOSHOP} DateCreated": "DateCreated",
    f"{_XMP} CreateDate": "CreateDate",
    f"{_EXIF} DateTimeDigitized": "DateTimeDigitized",
    f"{_XMP} ModifyDate": "ModifyDate",
    f"{_TIFF} DateTime": "ModifyDate",
    f"{_EXIF} GPSLatitude": "GPSLatitude",
    f"{_EXIF} GPSLongitude": "GPSLongitude",
    f"{_TIFF} Make": "Make",
    f"{_TIFF} Model": "Model",
    f"{_EXIF_EX} LensMake": "LensMake",
    f"{_EXIF_EX} LensModel": "LensModel",
    f"{_AUX} Lens": "Lens",
    f"{_XMP} Rating": "Rating",
    f"{_DUBLIN_CORE} title": "title",
    f"{_DUBLIN_CORE} description": "description",
    f"{_DUBLIN_CORE} subject": "subject",
}
_ANGLE = re.compile(r"\s*(\d{1,3}(?:\.\d*)?)(?:,(\d{1,2}(?:\.\d*)?))?(?:,(\d{1,2}(?:\.\d*)?))?\s*([NSEWnsew])\s*$")


class _Refused(Exception):
    """The packet declares entities."""


def xmp_properties(packet: bytes) -> dict[str, list[str]]:
    """What a packet says of the picture itself: dates, position, camera, lens, rating, title, description, subject.

    Each has its values, of which only those of a subject all count.

    Only direct properties and the items of their lists count, since a packet also tells of the pictures that went into
    this one. Entities are never expanded; what was read before a packet breaks off, or after so many bytes, stands.

    >>> xmp_properties(b'<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><r:Description '
    ...     b'xmlns:x="http://ns.adobe.com/xap/1.0/" x:CreateDate="2011-07-19"/></r:RDF>')
    {'CreateDate': ['2011-07-19']}
    """
    found: dict[str, list[str]] = {}
    path: list[str] = []
    text: list[str] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        path.append(name)
        text.clear()
        if name == f"{_RDF} Description" and path[-2:-1] == [f"{_RDF} RDF"]:
            for key, value in attributes.items():
                if key in _PROPERTIES:
                    found.setdefault(_PROPERTIES[key], [value])

    def end(name: str) -> None:
        if name in _PROPERTIES:
            if path[-3:-1] == [f"{_RDF} RDF", f"{_RDF} Description"] and "".join(text).strip():
                found.setdefault(_PROPERTIES[name], ["".join(text)])
        elif name == f"{_RDF} li" and path[-5:-3] == [f"{_RDF} RDF", f"{_RDF} Description"] and path[-3] in _PROPERTIES:
            values = found.setdefault(_PROPERTIES[path[-3]], [])
            if len(values) < _MOST_ITEMS:
                values.append("".join(text))
        text.clear()
        path.pop()

    def refuse(*_: object) -> None:
        raise _Refused

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = text.append
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(packet[:_MOST_BYTES].strip(b"\0 \r\n\t"), True)
    except (expat.ExpatError, _Refused, ValueError, LookupError):
        return found
    return found


def xmp_facts(packet: bytes, *, places: bool = False) -> PhotoFacts:
    """What a packet says of its picture. places: its position too."""
    properties = xmp_properties(packet) if packet else {}
    if not properties:
        return NOTHING_SAID
    said = {name: values[0] for name, values in properties.items() if values}
    dates = [
        *(parse_date(said.get(name), "xmp") for name in ("DateTimeOriginal", "DateCreated", "CreateDate")),
        parse_date(said.get("DateTimeDigitized"), "created"),
        parse_date(said.get("ModifyDate"), "edited"),
    ]
    return PhotoFacts(
        tuple(date for found in dates for date in found),
        camera=join_make(said.get("Make"), said.get("Model")),
        lens=join_make(said.get("LensMake"), said.get("LensModel")) or join_make(None, said.get("Lens")),
        position=position_at(_angle(said.get("GPSLatitude")), _angle(said.get("GPSLongitude"))) if places else None,
        title=clean_text(said.get("title")),
        description=clean_text(said.get("description")),
        keywords=clean_keywords(properties.get("subject", ())),
        rating=clean_rating(said.get("Rating")),
    )


def _angle(text: str | None) -> float | None:
    """Degrees, of "38,42.5N" or "38,42,30N"; None for all else."""
    match = None if text is None else _ANGLE.match(text[:64])
    if match is None:
        return None
    *numbers, direction = match.groups()
    degrees, minutes, seconds = (float(number or 0) for number in numbers)
    if minutes >= 60 or seconds >= 60:
        return None
    angle = degrees + minutes / 60 + seconds / 3600
    return -angle if direction in "SWsw" else angle
