"""When a picture was taken, by whatever says it best."""

import io
import struct
import zlib
from datetime import datetime
from typing import Any

import pytest
from PIL import ExifTags, Image, PngImagePlugin

from mmsearch.images import decode, decode_fast
from mmsearch.images.xmp import xmp_properties

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_SPACES = (
    'xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
    'xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/"'
)
EDITED = {"DateTime": "2020:05:15 10:25:45"}
TAKEN = datetime(2011, 7, 19, 11, 36, 38)


def packet(attributes: str = "", inside: str = "", before: str = "") -> bytes:
    return (
        f'{before}<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{_RDF}">'
        f'<rdf:Description rdf:about="" {_SPACES} {attributes}>{inside}</rdf:Description></rdf:RDF></x:xmpmeta>'
    ).encode()


def exif_with(dates: dict[str, str], ifd0: dict[int, Any] | None = None) -> Image.Exif:
    exif = Image.Exif()
    photo_ifd = exif.get_ifd(ExifTags.IFD.Exif)
    for name, text in dates.items():
        (exif if name == "DateTime" else photo_ifd)[getattr(ExifTags.Base, name)] = text
    for tag, value in (ifd0 or {}).items():
        exif[tag] = value
    return exif


def saved(kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 12), "red").save(file, kind, **options)
    return file.getvalue()


def date_of(data: bytes) -> datetime | None:
    """By both ways in, which have to agree."""
    taken = decode(data).facts.taken_at
    assert decode_fast(data, 8).facts.taken_at == taken
    return taken


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize(
    "said",
    [
        packet('xmp:CreateDate="2011-07-19T11:36:38-07:00" xmp:ModifyDate="2020-05-15T10:25:45+02:00"'),
        packet(inside="<photoshop:DateCreated>2011-07-19T11:36:38.5</photoshop:DateCreated>"),
        packet('xmp:CreateDate="2015-01-01T00:00:00" exif:DateTimeOriginal="2011-07-19T11:36:38Z"'),
    ],
)
def test_xmp_knows_better_than_the_date_of_editing(kind: str, said: bytes) -> None:
    options: dict[str, Any] = {"xmp": said}
    if kind == "PNG":
        options = {"pnginfo": PngImagePlugin.PngInfo()}
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", said.decode())
    if kind == "TIFF":
        options = {"tiffinfo": {700: said, 306: EDITED["DateTime"]}}
    else:
        options["exif"] = exif_with(EDITED)
    assert date_of(saved(kind, **options)) == TAKEN


def test_the_order_of_what_says_it() -> None:
    """Taken by Exif, XMP, IPTC; digitised; edited."""
    steps: list[tuple[dict[str, str], bytes, datetime]] = [
        (
            {"DateTimeOriginal": "2001:01:01 01:01:01"},
            packet('xmp:CreateDate="2002-02-02"'),
            datetime(2001, 1, 1, 1, 1, 1),
        ),
        ({"DateTimeDigitized": "2003:03:03 03:03:03"}, packet('xmp:CreateDate="2002-02-02"'), datetime(2002, 2, 2)),
        (
            {"DateTimeDigitized": "2003:03:03 03:03:03"},
            packet('xmp:ModifyDate="2002-02-02"'),
            datetime(2003, 3, 3, 3, 3, 3),
        ),
        (EDITED, packet('xmp:ModifyDate="2002-02-02"'), datetime(2020, 5, 15, 10, 25, 45)),
        ({}, packet('xmp:ModifyDate="2002-02-02"'), datetime(2002, 2, 2)),
    ]
    for dates, said, expected in steps:
        assert date_of(saved("JPEG", exif=exif_with(dates), xmp=said)) == expected


def test_dates_in_the_wrong_part_of_exif_count() -> None:
    """Some programs write those of the Exif IFD into the first."""
    for tag in (ExifTags.Base.DateTimeOriginal, ExifTags.Base.DateTimeDigitized):
        exif = exif_with(EDITED, {tag: "2011:07:19 11:36:38"})
        assert date_of(saved("JPEG", exif=exif)) == TAKEN


def test_a_day_is_completed_by_a_time_of_that_day() -> None:
    day = packet('photoshop:DateCreated="2011-07-19"')
    assert date_of(saved("JPEG", exif=exif_with({"DateTimeDigitized": "2011:07:19 11:36:38"}), xmp=day)) == TAKEN
    other = exif_with({"DateTimeDigitized": "2012:07:19 11:36:38"})
    assert date_of(saved("JPEG", exif=other, xmp=day)) == datetime(2011, 7, 19)
    assert date_of(saved("JPEG", exif=other, xmp=packet('photoshop:DateCreated="1911"'))) == datetime(1911, 1, 1)


def test_iptc_says_day_and_time() -> None:
    records = b"\x1c\x02\x37\x00\x0820110719\x1c\x02\x3c\x00\x0b113638+0200"
    resource = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(records)) + records + bytes(len(records) % 2)
    segment = b"Photoshop 3.0\0" + resource
    jpeg = saved("JPEG", exif=exif_with(EDITED))
    jpeg = jpeg[:2] + b"\xff\xed" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]
    assert date_of(jpeg) == TAKEN
    assert date_of(saved("TIFF", tiffinfo={33723: records, 306: EDITED["DateTime"]})) == TAKEN


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_with(*chunks: bytes) -> bytes:
    plain = saved("PNG")
    return plain[:33] + b"".join(chunks) + plain[33:]


def test_png_says_it_in_many_ways() -> None:
    exif = exif_with({"DateTimeOriginal": "2011:07:19 11:36:38"}).tobytes()
    profile = f"\nexif\n{len(exif):8}\n{exif.hex()}\n".encode()
    changed = chunk(b"tIME", struct.pack(">H5B", 2020, 5, 15, 10, 25, 45))
    assert date_of(png_with(changed)) == datetime(2020, 5, 15, 10, 25, 45)
    ways = [
        chunk(b"eXIf", exif.removeprefix(b"Exif\0\0")),
        chunk(b"tEXt", b"Raw profile type exif\0" + profile),
        chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(profile + b"\0 no hexadecimal")),
        chunk(b"tEXt", b"Raw profile type APP1\0" + profile),
        chunk(b"tEXt", b"Creation Time\0Tue, 19 Jul 2011 11:36:38 +0200"),
        chunk(b"tEXt", b"creation time\x002011:07:19 11:36:38"),
        chunk(b"tEXt", b"exif:DateTimeOriginal\x002011:07:19 11:36:38"),
    ]
    for way in ways:
        assert date_of(png_with(changed, way)) == TAKEN, way
    # The age of the file that ImageMagick read says nothing of the picture.
    assert date_of(png_with(chunk(b"tEXt", b"date:create\x002020-05-15T10:25:45+00:00"))) is None


def test_a_damaged_block_does_not_cost_the_date() -> None:
    """A GPS block that Pillow cannot read, and an Exif IFD that points nowhere."""
    entries = [(306, 2, 20, 8 + 2 + 3 * 12 + 4), (34665, 4, 1, 0x7FFFFFFF), (34853, 7, 8, 0)]
    ifd = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    exif = b"Exif\0\0II*\0\x08\0\0\0\x03\0" + ifd + bytes(4) + EDITED["DateTime"].encode() + b"\0"
    said = packet('exif:DateTimeOriginal="2011-07-19T11:36:38+02:00"')
    assert date_of(saved("JPEG", exif=exif, xmp=said)) == TAKEN
    assert date_of(saved("JPEG", exif=exif)) == datetime(2020, 5, 15, 10, 25, 45)


def test_xmp_of_other_pictures_does_not_count() -> None:
    """A packet tells of its history and of the pictures that went into this one."""
    other = '<rdf:Description xmp:CreateDate="1999-01-01"/>'
    other = f"<xmpMM:Pantry><rdf:Bag><rdf:li>{other}</rdf:li></rdf:Bag></xmpMM:Pantry>"
    assert xmp_properties(packet(inside=other)) == {}
    assert xmp_properties(packet('xmp:CreateDate="2011-07-19"', other)) == {"CreateDate": ["2011-07-19"]}


def test_hostile_xmp_costs_nothing() -> None:
    """Entities are not expanded, nesting and length are bounded, and what was said before stands."""
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
    bomb = packet('xmp:CreateDate="&l11;"', before=f'<!DOCTYPE x [<!ENTITY l0 "ha">{laughs}]>')
    outside = packet('xmp:CreateDate="2011-07-19"', "&f;", '<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]>')
    assert xmp_properties(bomb) == xmp_properties(outside) == {}
    assert xmp_properties(packet('xmp:CreateDate="2011-07-19"')[:-30]) == {"CreateDate": ["2011-07-19"]}
    assert xmp_properties(packet('xmp:CreateDate="2011-07-19"', "<a>" * 400_000)) == {"CreateDate": ["2011-07-19"]}
    for junk in (b"", b"\0" * 100, b"\xff\xfe<", b"<?xml version='1.0' encoding='utf-99'?><a/>", b"no XML"):
        assert xmp_properties(junk) == {}
    assert xmp_properties(packet('xmp:CreateDate="2011-07-19"').decode().encode("utf-16")) == {
        "CreateDate": ["2011-07-19"]
    }
