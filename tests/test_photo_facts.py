"""What a file says of its picture beside the pixels: camera, lens, place, title, keywords, rating; and who says it."""

import itertools
import json
import struct
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

from mmsearch.images import NOTHING_SAID, PhotoFacts, decode, decode_fast, merge_facts
from mmsearch.images.photo_facts import (
    DATE_SOURCES,
    Position,
    SaidDate,
    clean_keywords,
    clean_rating,
    clean_text,
    date_of_timestamp,
    join_make,
    parse_date,
    position_at,
)
from mmsearch.images.xmp import xmp_facts
from tests.conftest import Command
from tests.test_dates import chunk, packet, png_with, saved

_MORE_SPACES = (
    'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:aux="http://ns.adobe.com/exif/1.0/aux/" '
    'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:exifEX="http://cipa.jp/exif/1.0/" '
)
GPS = ExifTags.GPS
LISBON: dict[int, Any] = {
    GPS.GPSLatitudeRef: "N",
    GPS.GPSLatitude: (38.0, 42.0, 30.0),
    GPS.GPSLongitudeRef: "W",
    GPS.GPSLongitude: (9.0, 8.0, 24.0),
}


def facts_of(data: bytes, *, places: bool = True) -> PhotoFacts:
    """By both ways in, which have to agree."""
    facts = decode(data, places=places).facts
    assert decode_fast(data, 8, places=places).facts == facts
    return facts


def with_exif(first: dict[int, Any] | None = None, photo: dict[int, Any] | None = None, gps: Any = None) -> bytes:
    exif = Image.Exif()
    for tag, value in (first or {}).items():
        exif[tag] = value
    exif.get_ifd(ExifTags.IFD.Exif).update(photo or {})
    exif.get_ifd(ExifTags.IFD.GPSInfo).update(gps or {})
    return saved("JPEG", exif=exif)


@pytest.mark.parametrize(
    ("make", "model", "camera"),
    [
        ("Canon", "Canon EOS 40D", "Canon EOS 40D"),
        ("NIKON CORPORATION", "NIKON D70", "NIKON D70"),
        ("EASTMAN KODAK COMPANY", "KODAK DX4530 ZOOM", "KODAK DX4530 ZOOM"),
        ("OLYMPUS IMAGING CORP.  ", "E-M1", "OLYMPUS E-M1"),
        ("CASIO COMPUTER CO.,LTD.", "EX-Z850", "CASIO EX-Z850"),
        ("Apple", "iPhone 12", "Apple iPhone 12"),
        ("SONY", "DSC-W55\0\0\0junk", "SONY DSC-W55"),
        (None, "SM-G960F", "SM-G960F"),
        ("Panasonic", None, "Panasonic"),
        ("\0\0\0", "", None),
        ("unknown", "----", None),
        ("Zei\xc3\x9f", "Ikon", "Zeiß Ikon"),
        (b"Canon\0", b"EOS\x07 R\n5", "Canon EOS R 5"),
        (7, (1, 2), None),
    ],
)
def test_a_camera_is_its_maker_once_and_its_model(make: Any, model: Any, camera: str | None) -> None:
    assert join_make(make, model) == camera


def test_exif_says_camera_lens_title_keywords_and_rating() -> None:
    base = ExifTags.Base
    data = with_exif(
        {
            base.Make: "Canon",
            base.Model: "Canon EOS 5D Mark III",
            base.ImageDescription: "OLYMPUS DIGITAL CAMERA",
            base.Rating: 4,
            base.XPTitle: "Der Baum\0".encode("utf-16-le"),
            base.XPKeywords: "Baum; Früchte;Baum\0".encode("utf-16-le"),
        },
        {base.LensMake: "SIGMA", base.LensModel: "35mm F1.4 DG HSM"},
    )
    facts = facts_of(data)
    assert (facts.camera, facts.lens) == ("Canon EOS 5D Mark III", "SIGMA 35mm F1.4 DG HSM")
    assert (facts.title, facts.description, facts.keywords, facts.rating) == ("Der Baum", None, ("Baum", "Früchte"), 4)
    for unseen in ("0.0 mm f/0.0", "----", "0 mm", "\0"):
        assert facts_of(with_exif(photo={base.LensMake: "Canon", base.LensModel: unseen})).lens is None
    described = facts_of(with_exif({base.ImageDescription: "A tree  in\nblossom"}))
    assert (described.title, described.columns()["title"]) == (None, "A tree in blossom")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_xmp_says_the_same(kind: str) -> None:
    said = packet(
        f'{_MORE_SPACES} tiff:Make="Canon" tiff:Model="Canon EOS 40D" aux:Lens="EF24-105mm f/4L IS USM" xmp:Rating="3" '
        'exif:GPSLatitude="38,42.5N" exif:GPSLongitude="9,8,24W"',
        "<dc:title><rdf:Alt><rdf:li xml:lang='x-default'>Alfama</rdf:li><rdf:li xml:lang='de'>Anders</rdf:li></rdf:Alt>"
        "</dc:title><dc:subject><rdf:Bag><rdf:li>tram</rdf:li><rdf:li>stairs</rdf:li><rdf:li>tram</rdf:li></rdf:Bag>"
        "</dc:subject>",
    )
    options: dict[str, Any] = {"xmp": said}
    if kind == "PNG":
        from PIL import PngImagePlugin

        options = {"pnginfo": PngImagePlugin.PngInfo()}
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", said.decode())
    if kind == "TIFF":
        options = {"tiffinfo": {700: said}}
    facts = facts_of(saved(kind, **options))
    assert facts == PhotoFacts(
        camera="Canon EOS 40D",
        lens="EF24-105mm f/4L IS USM",
        position=Position(38.7083333, -9.14),
        title="Alfama",
        keywords=("tram", "stairs"),
        rating=3,
    )
    assert facts_of(saved(kind, **options), places=False).position is None


def test_iptc_says_title_and_keywords_in_any_letters() -> None:
    def record(number: int, text: str, coding: str) -> bytes:
        content = text.encode(coding)
        return bytes([0x1C, 2, number]) + struct.pack(">H", len(content)) + content

    for coding in ("utf-8", "latin-1"):
        texts = [(5, "Café"), (25, "Früchte"), (25, "Baum"), (120, "Ein Baum")]
        records = b"".join(record(number, text, coding) for number, text in texts)
        facts = facts_of(saved("TIFF", tiffinfo={33723: records}))
        assert (facts.title, facts.description, facts.keywords) == ("Café", "Ein Baum", ("Früchte", "Baum"))
    assert facts_of(saved("TIFF", tiffinfo={33723: records[:-3] + b"\x1c\x02\x19\xff\xff"})).title == "Café"


def test_png_says_a_title() -> None:
    facts = facts_of(png_with(chunk(b"tEXt", b"Title\0Red"), chunk(b"tEXt", b"Description\0A red one")))
    assert (facts.title, facts.description) == ("Red", "A red one")


def test_a_position_is_read_only_where_it_was_asked_for() -> None:
    data = with_exif(gps=LISBON)
    assert facts_of(data, places=False) == NOTHING_SAID
    assert facts_of(data).position == Position(38.7083333, -9.14)
    assert decode(data).facts.columns()["lat"] is None


@pytest.mark.parametrize(
    "wrong",
    [
        {GPS.GPSLatitudeRef: "\0"},
        {GPS.GPSLatitudeRef: "E"},
        {GPS.GPSLatitude: (IFDRational(0, 0), IFDRational(0, 0), IFDRational(0, 0))},
        {GPS.GPSLatitude: (IFDRational(1, 0), 0.0, 0.0)},
        {GPS.GPSLatitude: (91.0, 0.0, 0.0)},
        {GPS.GPSLatitude: (38.0, 75.0, 0.0)},
        {GPS.GPSLongitude: (181.0, 0.0, 0.0)},
        {GPS.GPSLatitude: (0.0, 0.0, 0.0), GPS.GPSLongitude: (0.0, 0.0, 0.0)},
    ],
)
def test_an_absurd_position_is_none(wrong: dict[int, Any]) -> None:
    assert facts_of(with_exif(gps=LISBON | wrong)).position is None


def test_absurd_values_are_none() -> None:
    for said in ("38,42.5", "38;42N", "999,0N", "-38,4N", "38,99N", "NaN,0N", "", "N", "38,42.5X"):
        assert xmp_facts(packet(f'exif:GPSLatitude="{said}" exif:GPSLongitude="9,8W"'), places=True).position is None
    infinite = float("inf")
    assert position_at(float("nan"), 1.0) is position_at(1.0, infinite) is position_at(None, 1.0) is None
    assert [clean_rating(value) for value in (0, "3.0", -1, 6, "nan", "inf", b"4", None, "five", (3,))] == [
        *(None, 3, -1, None, None, None, 4, None, None, None)
    ]
    assert clean_text("x" * 5000) == "x" * 1000
    assert clean_text("Cafe\u0301") == "Café"
    assert len(clean_keywords(map(str, range(1000)))) == 256
    assert date_of_timestamp(1e30, "takeout") == date_of_timestamp(float("nan"), "takeout") == ()


def test_a_date_has_its_source_and_its_offset() -> None:
    base = ExifTags.Base
    data = with_exif(
        {base.DateTime: "2020:05:15 10:25:45"},
        {base.DateTimeOriginal: "2011:07:19 11:36:38", base.OffsetTimeOriginal: "-07:00"},
    )
    columns = facts_of(data).columns()
    assert (columns["taken_at"], columns["taken_from"], columns["utc_offset"]) == (
        *(datetime(2011, 7, 19, 11, 36, 38), "exif", -420),
    )
    edited = facts_of(with_exif({base.DateTime: "2020:05:15 10:25:45"})).columns()
    assert (edited["taken_from"], edited["utc_offset"]) == ("edited", None)
    offsets = {"+05:30": 330, "Z": 0, "+0200": 120, "+99:00": None, "west": None, " ": None}
    for said, minutes in offsets.items():
        (date,) = parse_date("2011:07:19 11:36:38", "exif", said)
        assert date.utc_offset == minutes
    assert parse_date("2011-07-19T11:36:38.25+02:00", "xmp") == (SaidDate((2011, 7, 19, 11, 36, 38), "xmp", 120),)
    assert parse_date("Tue, 19 Jul 2011 11:36:38 -0130", "png") == (SaidDate((2011, 7, 19, 11, 36, 38), "png", -90),)


def test_the_first_second_of_a_clock_is_no_date() -> None:
    """Films of tools that know no date say 1904 or 1970: they stood at the end of the timeline."""
    for unset in ("1970-01-01T00:00:00.000000Z", "1904-01-01 00:00:00", "1970:01:01 00:00:00"):
        assert parse_date(unset, "created") == ()
    assert date_of_timestamp(0, "takeout") == ()
    assert [date.parts for date in parse_date("1970-01-01", "xmp")] == [(1970, 1, 1)]  # of a scan, by a person
    assert parse_date("1970-01-01 00:00:01", "exif")[0].parts[0] == 1970


def test_what_several_say_is_merged_by_the_order_of_sources() -> None:
    """Dates by their sources, wherever they stand; of all else what comes first, and all keywords."""
    for better, worse in itertools.pairwise(DATE_SOURCES):
        said = [PhotoFacts((SaidDate((2000 + number, 1, 1), source),)) for number, source in enumerate((better, worse))]
        for order in (said, said[::-1]):
            taken = merge_facts(*order).taken
            assert taken is not None
            assert (taken.parts[0], taken.source) == (2000, better)
    sidecar = PhotoFacts(title="Alfama", keywords=("tram",), rating=5)
    own = PhotoFacts(camera="Canon EOS 40D", title="IMG_1", keywords=("stairs", "tram"), position=Position(1.0, 2.0))
    assert merge_facts(sidecar, own) == PhotoFacts(
        camera="Canon EOS 40D", title="Alfama", keywords=("tram", "stairs"), rating=5, position=Position(1.0, 2.0)
    )
    assert merge_facts(own, NOTHING_SAID) is own


def test_a_day_is_completed_but_not_by_what_is_in_utc_or_edited() -> None:
    day = PhotoFacts(parse_date("2011-07-19", "xmp"))
    moment = datetime(2011, 7, 19, 11, 36, 38)
    for source, completed in (("created", True), ("takeout", False), ("edited", False)):
        other = PhotoFacts(parse_date("2011-07-19 11:36:38", source))  # type: ignore[arg-type]
        assert merge_facts(day, other).taken_at == (moment if completed else datetime(2011, 7, 19))
    in_utc = PhotoFacts(date_of_timestamp(1311075398, "takeout")).columns()
    assert (in_utc["taken_at"], in_utc["utc_offset"]) == (moment, 0)


def test_real_photos_say_it(shared_data: Path) -> None:
    """Of phones, cameras and programs of twenty years; wherever it stands: Exif, XMP, IPTC; in JPEG, WebP, PNG, MPO."""
    known: dict[str, dict[str, Any]] = {
        "awkward_images/iptc.jpg": {
            "camera": "Nokia N70-1",
            "keywords": ["HvK", "2006", "summer", "July", "holiday", "Hungary", "Budapest"],
        },
        "awkward_images/frozenpond.mpo": {"camera": "Nintendo 3DS", "taken_from": "exif"},
        "awkward_images/invalid-exif-without-x-resolution.jpg": {"lens": "E 10-18mm F4 OSS", "utc_offset": 0},
        "found/paris_icc_exif_xmp.png": {
            "camera": "Google Pixel 4a",
            "lens": "Google Pixel 4a back camera 4.38mm f/1.73",
            "utc_offset": 120,
        },
        "found/phone_glasses_13mp.jpg": {"camera": "SAMSUNG GT-I9505", "lat": None},
        "found/pp_image-2011.jpg": {"camera": "SAMSUNG GT-I9000", "taken_from": "xmp"},
        "found/pillow_exif_gps_typeerror.jpg": {"lens": "70.0-300.0 mm f/4.5-5.6", "lat": None, "taken_from": "xmp"},
    }
    for name, said in known.items():
        columns = facts_of((shared_data / name).read_bytes()).columns()
        assert {column: columns[column] for column in said} == said, name
    (tree,) = (shared_data / "awkward_images").rglob("tree.webp")
    columns = facts_of(tree.read_bytes()).columns()
    assert (columns["lat"], columns["lon"], columns["camera"]) == (44.0710833, 40.0139308, "SONY ILCE-7M3")


def test_hits_and_filters_know_it(tmp_path: Path, mmsearch: Command) -> None:
    """As JSON lines, as CSV, in a filter; of a copy of the file too; without a position that nobody asked for."""
    base = ExifTags.Base
    (tmp_path / "photos").mkdir()
    data = with_exif(
        {base.Make: "Canon", base.Model: "Canon EOS 40D", base.XPKeywords: "tram;stairs\0".encode("utf-16-le")},
        {base.DateTimeOriginal: "2011:07:19 11:36:38"},
        LISBON,
    )
    for name in ("one.jpg", "two.jpg"):
        (tmp_path / "photos" / name).write_bytes(data)
    (tmp_path / "photos" / "plain.png").write_bytes(saved("PNG"))
    gallery = tmp_path / "gallery"
    assert mmsearch("embed", tmp_path / "photos", "-g", gallery, "--model", "fake").code == 0
    for where in ("camera like '%Canon%'", "list_contains(keywords, 'tram')", "taken_from = 'exif'"):
        lines = mmsearch("query", "red", "-g", gallery, "--where", where, "--format", "jsonl").out.splitlines()
        hits = [json.loads(line) for line in lines]
        assert sorted(hit["path"] for hit in hits) == ["one.jpg", "two.jpg"], where
    assert {key: hits[0][key] for key in ("taken_from", "camera", "keywords", "lat", "rating", "files")} == {
        "taken_from": "exif",
        "camera": "Canon EOS 40D",
        "keywords": ["tram", "stairs"],
        "lat": None,
        "rating": None,
        "files": None,
    }
    csv = mmsearch("query", "red", "-g", gallery, "--where", "camera is not null", "--format", "csv").out
    assert '"[""tram"", ""stairs""]"' in csv
