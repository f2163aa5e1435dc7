"""Which files of a folder are one picture, by names as cameras, phones, programs and Takeout write them."""

import time
import unicodedata

import pytest

from mmsearch.sources.companions import NOTHING_JOINED, Beside, join_names


def joined(*names: str) -> dict[str, dict[str, str]]:
    """Best file -> the others, each with its role."""
    beside = join_names(names).beside
    return {best: {each.name: each.role for each in others} for best, others in beside.items()}


@pytest.mark.parametrize("raw", ["CR2", "CR3", "nef", "ARW", "DNG", "RAF", "RW2", "ORF", "PEF", "X3F"])
@pytest.mark.parametrize("rendered", ["JPG", "jpeg", "HEIC", "HIF", "avif"])
def test_raw_data_join_what_the_camera_rendered_of_them(raw: str, rendered: str) -> None:
    assert joined(f"IMG_1.{raw}", f"IMG_1.{rendered}") == {f"IMG_1.{rendered}": {f"IMG_1.{raw}": "raw"}}


def test_a_live_photo_is_its_still_with_its_film() -> None:
    assert joined("IMG_1.HEIC", "IMG_1.MOV", "IMG_2.JPG", "IMG_2.mov", "IMG_3.HEIC", "IMG_3.MP4") == {
        "IMG_1.HEIC": {"IMG_1.MOV": "film"},
        "IMG_2.JPG": {"IMG_2.mov": "film"},
        "IMG_3.HEIC": {"IMG_3.MP4": "film"},
    }
    assert joined("IMG_1.HEIC", "IMG_1_HEVC.MOV") == {"IMG_1.HEIC": {"IMG_1_HEVC.MOV": "film"}}
    assert joined("PXL_20.MP.jpg", "PXL_20.MP") == {"PXL_20.MP.jpg": {"PXL_20.MP": "film"}}
    assert joined("MVI_1.MOV", "IMG_2.JPG") == {}


def test_a_film_with_its_cover_is_no_live_photo() -> None:
    assert joined("trip.webp", "trip.mp4", "walk.png", "walk.mov") == {}
    names, sizes = (
        ("trip.jpg", "trip.mp4", "IMG_1.HEIC", "IMG_1.MOV"),
        {"trip.mp4": (1 << 25) + 1, "IMG_1.MOV": 1 << 25},
    )
    beside = join_names(names, size_of=sizes.get).beside
    assert {best: [other.name for other in others] for best, others in beside.items()} == {"IMG_1.HEIC": ["IMG_1.MOV"]}


def test_an_edited_copy_of_apple_stands_before_the_original() -> None:
    assert joined(
        "IMG_1234.HEIC", "IMG_E1234.JPG", "IMG_1234.AAE", "IMG_O1234.AAE", "IMG_1234.MOV", "IMG_E1234.MOV"
    ) == {
        "IMG_E1234.JPG": {
            "IMG_1234.HEIC": "original",
            "IMG_1234.MOV": "film",
            "IMG_E1234.MOV": "film",
            "IMG_1234.AAE": "edits",
            "IMG_O1234.AAE": "edits",
        }
    }
    assert joined("IMG_E1234.JPG", "IMG_1235.HEIC") == {}  # its original is not here
    assert joined("IMG_1234.HEIC", "IMG_1234.DNG", "IMG_E1234.HEIC") == {
        "IMG_E1234.HEIC": {"IMG_1234.HEIC": "original", "IMG_1234.DNG": "raw"}
    }


@pytest.mark.parametrize("word", ["edited", "bearbeitet", "modifié", "ha editado", "編集済み", "EDITED"])
def test_an_edited_copy_of_google_stands_before_the_original(word: str) -> None:
    names = ("IMG_1.jpg", f"IMG_1-{word}.jpg", "IMG_1.jpg.json")
    assert joined(*names) == {f"IMG_1-{word}.jpg": {"IMG_1.jpg": "original", "IMG_1.jpg.json": "facts"}}


def test_numbers_stay_with_edited_copies() -> None:
    assert joined("a.jpg", "a(1).jpg", "a-edited(1).jpg", "a.jpg.json", "a.jpg(1).json") == {
        "a-edited(1).jpg": {"a(1).jpg": "original", "a.jpg(1).json": "facts"},
        "a.jpg": {"a.jpg.json": "facts"},
    }


def test_an_edited_copy_whose_name_takeout_cut() -> None:
    base = "123456789123456789123456789123456789_DSCN0095"
    assert joined(f"{base}.JPG", f"{base}-ha.JPG") == {f"{base}-ha.JPG": {f"{base}.JPG": "original"}}
    assert joined("a.jpg", "a-ha.jpg") == {}
    assert joined(f"{base}.JPG", f"{base}-zoo.JPG") == {}


def test_a_pixels_cover_stands_before_its_original() -> None:
    names = ("PXL_20.RAW-01.COVER.jpg", "PXL_20.RAW-02.ORIGINAL.dng")
    assert joined(*names) == {names[0]: {names[1]: "raw"}}
    names = ("PXL_20.PORTRAIT-01.COVER.jpg", "PXL_20.PORTRAIT-02.ORIGINAL.jpg")
    assert joined(*names) == {names[0]: {names[1]: "original"}}


@pytest.mark.parametrize(
    ("picture", "file"),
    [
        ("IMG_1.jpg", "IMG_1.jpg.json"),
        ("IMG_1.jpg", "IMG_1.jpg.supplemental-metadata.json"),
        ("IMG_1(1).jpg", "IMG_1.jpg(1).json"),
        ("IMG_1(1).jpg", "IMG_1.jpg.supplemental-metadata(1).json"),
        ("IMG_1(1).jpg", "IMG_1(1).jpg.json"),
        ("IMG_20200101_123456789.PORTRAIT.jpg", "IMG_20200101_123456789.PORTRAIT.jpg.supplementa.json"),
        ("PXL_20210905_162402351.MP.jpg", "PXL_20210905_162402351.MP.jpg.supplemental-met.json"),
        ("Screenshot_20221204_142516_Google Play.jpg", "Screenshot_20221204_142516_Google Play.jpg.s.json"),
        ("Screenshot_20221204_142516_Google Play .jpg", "Screenshot_20221204_142516_Google Play .jpg..json"),
        ("PXL_20230809_203449253.LONG_EXPOSURE-02.ORIGINAL.jpg", "PXL_20230809_203449253.LONG_EXPOSURE-02.ORIGIN.json"),
        ("05yqt21kruxwwlhhgrwrdyb6chhwszi9bqmzu16w0 2.jpg", "05yqt21kruxwwlhhgrwrdyb6chhwszi9bqmzu16w0 2.jp.json"),
        (
            "Backyard_ceremony_wedding_photography_xxxxxxx_(4).jpg",
            "Backyard_ceremony_wedding_photography_xxxxxxx_(4).json",
        ),
        ("original_1d4caa6f-16c6-4c3d-901b-9387de10e528_P.jpg", "original_1d4caa6f-16c6-4c3d-901b-9387de10e528_.json"),
        ("1234567891234567891234567891234_DSCN0091.JPG", "1234567891234567891234567891234_DSCN0091.JP.supple.json"),
        ("Peanut Butter Balls.jpg", "Peanut Butter Balls.supplemental-metadata.json"),
        ("Ferienwohnung Dübendorf Küche.jpg", "Ferienwohnung Dübendorf Küche.jpg.json"),
    ],
)
def test_what_takeout_says_of_a_picture(picture: str, file: str) -> None:
    others = ("IMG_1.jpg", "IMG_10.jpg", "a.jpg", "a(1).jpg", "zz.jpg")
    assert joined(picture, file, *(name for name in others if name != picture)) == {picture: {file: "facts"}}


def test_a_film_of_takeout_goes_with_its_still_and_what_is_said_of_it() -> None:
    assert joined("IMG_4573.HEIC", "IMG_4573.MP4", "IMG_4573.HEIC.json") == {
        "IMG_4573.HEIC": {"IMG_4573.MP4": "film", "IMG_4573.HEIC.json": "facts"}
    }


def test_sidecars_of_lightroom_and_darktable() -> None:
    assert joined("a.CR2", "a.xmp") == {"a.CR2": {"a.xmp": "facts"}}
    assert joined("a.CR2", "a.CR2.xmp", "a_01.CR2.xmp") == {"a.CR2": {"a.CR2.xmp": "facts", "a_01.CR2.xmp": "edits"}}
    assert joined("a.CR2", "a.JPG", "a.xmp", "a.CR2.pp3") == {
        "a.JPG": {"a.CR2": "raw", "a.CR2.pp3": "edits", "a.xmp": "facts"}
    }


def test_pictures_that_share_a_stem_are_two_pictures() -> None:
    assert join_names(["a.png", "a.jpg"]) is NOTHING_JOINED
    assert joined("a.png", "a.jpg", "a.CR2") == {"a.jpg": {"a.CR2": "raw"}}  # raw data join one of them
    assert joined("a.CR2", "a.NEF") == {}
    for suffix in (".jpg", ".png"):
        assert joined("a.png", "a.jpg", f"a-edited{suffix}") == {f"a-edited{suffix}": {f"a{suffix}": "original"}}


def test_texts_beside_pictures_are_no_part_of_them() -> None:
    names = ["a.jpg", "a.txt", "a.json", "b.left.jpg", "b.json", "c.txt", "album.json", "b.cls"]
    found = join_names(names)
    assert found.beside == {}
    assert found.captions == {"a.txt", "a.json", "b.json", "b.cls"}


def test_names_match_in_either_form_of_unicode() -> None:
    decomposed = unicodedata.normalize("NFD", "Küche")
    assert joined("Küche.JPG", f"{decomposed}.CR2") == {"Küche.JPG": {f"{decomposed}.CR2": "raw"}}


def test_every_name_is_in_one_place_at_most() -> None:
    names = [
        f"{stem}{suffix}"
        for stem in ("IMG_1234", "IMG_E1234", "a", "a(1)", "a-edited", "a.b", "x" * 60, "x" * 47)
        for suffix in (".jpg", ".HEIC", ".dng", ".MOV", ".AAE", ".xmp", ".json", ".jpg.json", ".jpg(1).json", ".txt")
    ]
    found = join_names(names)
    others = [each.name for beside in found.beside.values() for each in beside]
    assert len(others) == len(set(others))
    assert not set(others) & (found.beside.keys() | found.captions)


def test_the_order_of_the_names_does_not_matter() -> None:
    names = ["b.jpg", "b.CR2", "b.png", "IMG_1234.HEIC", "IMG_E1234.HEIC", "IMG_1234.MOV", "b.jpg.json", "b.xmp"]
    assert join_names(names).beside == join_names(names[::-1]).beside
    assert join_names(names).beside["b.jpg"][0] == Beside("b.CR2", "raw")


def test_a_folder_of_long_names_takes_no_square_of_time() -> None:
    names = [f"{'x' * 46}{number}.jpg" for number in range(3_000)]
    names += [f"{'x' * 46}({number}).json" for number in range(3_000)]
    started = time.process_time()
    join_names(names)
    assert time.process_time() - started < 2
