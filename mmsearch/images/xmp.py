"""The dates in an XMP packet, which is XML that strangers wrote."""

from xml.parsers import expat

__all__ = ["xmp_dates"]

_MOST_BYTES = 1 << 20  # a packet with its dates; some go on for megabytes about brush strokes
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_EXIF, _TIFF = "http://ns.adobe.com/exif/1.0/", "http://ns.adobe.com/tiff/1.0/"
_PHOTOSHOP, _XMP = "http://ns.adobe.com/photoshop/1.0/", "http://ns.adobe.com/xap/1.0/"
_DATES = {
    f"{_EXIF} DateTimeOriginal": "DateTimeOriginal",
    f"{_PHOTOSHOP} DateCreated": "DateCreated",
    f"{_XMP} CreateDate": "CreateDate",
    f"{_EXIF} DateTimeDigitized": "DateTimeDigitized",
    f"{_XMP} ModifyDate": "ModifyDate",
    f"{_TIFF} DateTime": "ModifyDate",
}


class _Refused(Exception):
    """The packet declares entities."""


def xmp_dates(packet: bytes) -> dict[str, str]:
    """The dates of the picture itself: DateTimeOriginal, DateCreated, CreateDate, DateTimeDigitized, ModifyDate.

    Only direct properties count, since a packet also tells of the pictures that went into this one. Entities are never
    expanded; what was read before a packet breaks off, or after so many bytes, stands.

    >>> xmp_dates(b'<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><r:Description '
    ...     b'xmlns:x="http://ns.adobe.com/xap/1.0/" x:CreateDate="2011-07-19"/></r:RDF>')
    {'CreateDate': '2011-07-19'}
    """
    dates: dict[str, str] = {}
    path: list[str] = []
    text: list[str] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        path.append(name)
        text.clear()
        if name == f"{_RDF} Description" and path[-2:-1] == [f"{_RDF} RDF"]:
            for key, value in attributes.items():
                if key in _DATES:
                    dates.setdefault(_DATES[key], value)

    def end(name: str) -> None:
        if name in _DATES and path[-3:-1] == [f"{_RDF} RDF", f"{_RDF} Description"]:
            dates.setdefault(_DATES[name], "".join(text))
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
        return dates
    return dates
