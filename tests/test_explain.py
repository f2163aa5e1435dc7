"""Where in a picture a text is seen: masks, phrases, views, regions, the command."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mmsearch as mm
from mmsearch.encoders import Encoder, ImageSide
from mmsearch.errors import EncoderError, QueryError
from mmsearch.explaining.explain import want_text
from mmsearch.explaining.masking import box_masks, fill_masked, heat_maps, windows
from mmsearch.explaining.phrases import Phrase, phrases_in, text_without
from mmsearch.explaining.records import Region, region_record
from mmsearch.explaining.regions import find_regions
from mmsearch.explaining.view import view_of
from mmsearch.towers.image_pixels import ImagePixels, PixelsRecord
from tests.conftest import Command
from tests.fakes import provide
from tests.hues import BLUE_SQUARE, RED_SQUARE, SIDE, HueEncoder, two_squares


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    return two_squares(tmp_path / "squares.png")


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("A red boat near two tents", ["A red boat", "two tents"]),
        ("There is a little violet lighthouse on the left in a storm by the ocean",
         ["a little violet lighthouse on the left", "a storm", "the ocean"]),
        ("a picture of a pair of dogs running on a beach.", ["a pair of dogs running", "a beach"]),
        ("sunset over mountains", ["sunset", "mountains"]),
        ("dog", ["dog"]),
        ("with", ["with"]),
        (" on the left ", ["the left"]),
        ("un bateau rouge", ["un bateau rouge"]),
    ],
)  # fmt: skip
def test_a_text_is_cut_into_what_can_be_seen_apart(text: str, phrases: list[str]) -> None:
    found = phrases_in(text)
    assert [phrase.text for phrase in found] == phrases
    assert all(text[phrase.start : phrase.end] == phrase.text for phrase in found)


@pytest.mark.parametrize(
    ("text", "phrase", "rest"),
    [
        ("a red boat and a kite at sunset", "a kite", "a red boat at sunset"),
        ("a red boat and a kite at sunset", "a red boat", "a kite at sunset"),
        ("a kite, a boat and a tent", "a tent", "a kite, a boat"),
        ("a kite", "a kite", ""),
    ],
)
def test_a_text_without_a_phrase_leaves_nothing_hanging(text: str, phrase: str, rest: str) -> None:
    start = text.index(phrase)
    assert text_without(text, Phrase(phrase, start, start + len(phrase))) == rest


def test_what_is_hidden_leaves_no_trace_and_what_is_seen_stays() -> None:
    rng = np.random.default_rng(0)
    pixels, other = rng.random((2, 3, 13, 22), np.float32)
    masks = box_masks(windows(3, 0.4), 13, 22)
    other = np.where(masks[4] == 1, other, pixels)
    filled = fill_masked(pixels, masks)
    assert filled.shape == (9, 3, 13, 22)
    for mask, each in zip(masks, filled, strict=True):
        np.testing.assert_allclose(each[:, mask == 0], pixels[:, mask == 0], atol=1e-6)
    np.testing.assert_array_equal(fill_masked(other, masks[4:5])[0], filled[4])
    assert filled.min() >= 0
    assert filled.max() <= 1 + 1e-5


def test_a_fill_continues_a_slope() -> None:
    """A grey patch in the middle of a sky would be a thing of its own."""
    slope = np.broadcast_to(np.linspace(0, 1, 64, dtype=np.float32)[:, None], (3, 64, 64)).copy()
    filled = fill_masked(slope, box_masks([(0.4, 0.4, 0.6, 0.6)], 64, 64))[0]
    assert np.abs(filled - slope).max() < 0.12


def test_a_map_is_highest_in_the_middle_of_the_window_with_the_greatest_fall() -> None:
    falls = np.zeros((1, 25))
    falls[0, 7] = 1.0
    heat = heat_maps(falls, 5, 0.2, 20)[0]
    left, top, right, bottom = windows(5, 0.2)[7]
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    assert left < (column + 0.5) / 20 < right
    assert top < (row + 0.5) / 20 < bottom


@pytest.mark.parametrize(
    ("mode", "size", "seen"),
    [
        ("squash", (300, 100), (0, 0, 1, 1)),
        ("shortest", (300, 100), (1 / 3, 0, 2 / 3, 1)),
        ("shortest", (100, 400), (0, 3 / 8, 1, 5 / 8)),
        ("longest", (300, 100), (0, 0, 1, 1)),
        ("shortest", (5000, 2500), (1 / 4, 0, 3 / 4, 1)),
    ],
)
def test_what_a_model_sees_of_a_picture_is_found_out(
    mode: str, size: tuple[int, int], seen: tuple[float, float, float, float]
) -> None:
    record = PixelsRecord(64, 64, mode, False, (0, 0, 0), (0.48, 0.45, 0.4), (0.27, 0.26, 0.28))
    side = HueEncoder().image
    pixels = ImagePixels(record)
    side.prepare = pixels.prepare  # type: ignore[method-assign]
    assert view_of(side, *size).box((0, 0, 1, 1)) == pytest.approx(seen, abs=0.02)


def test_of_a_border_around_a_picture_the_place_is_no_place_in_it() -> None:
    record = PixelsRecord(64, 64, "longest", False, (0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    side = HueEncoder().image
    side.prepare = ImagePixels(record).prepare  # type: ignore[method-assign]
    view = view_of(side, 300, 100)
    assert view.point(0.5, 0.5) == pytest.approx((0.5, 11 / 21), abs=0.01)  # 21 borders above, 22 below
    assert view.point(0.25, 1 / 3) == pytest.approx((0.25, 0.0), abs=0.04)
    heat = view.over_picture(np.eye(64, dtype=np.float32), 64)
    assert heat.sum(1).min() == 1  # the picture lies in the middle third, and each row of it is seen


def test_each_phrase_has_the_region_that_speaks_for_it(picture: Path) -> None:
    encoder = HueEncoder()
    found = mm.explain(picture, "a red square and a blue square", encoder=encoder)
    red, blue = found.regions
    assert (red.phrase, blue.phrase) == ("a red square", "a blue square")
    for region, (left, top, right, bottom) in ((red, (0.1, 0.125, 0.3, 0.375)), (blue, (0.7, 0.625, 0.9, 0.875))):
        assert region.points
        assert left < region.peak[0] < right
        assert top < region.peak[1] < bottom
        assert region.box == pytest.approx((left, top, right, bottom), abs=0.15)
        assert region.fall > 0.03
        assert region.phrase_fall > 0.3
        assert region.text_fall is not None
        row, column = np.unravel_index(int(region.heat.argmax()), region.heat.shape)
        assert left - 0.05 < (column + 0.5) / region.heat.shape[1] < right + 0.05
        assert top - 0.05 < (row + 0.5) / region.heat.shape[0] < bottom + 0.05


def test_falls_are_those_of_the_picture_without_the_box(picture: Path) -> None:
    encoder = HueEncoder()
    text = "a red square and a blue square"
    found = mm.explain(picture, text, encoder=encoder)
    with Image.open(picture) as image:
        pixels = encoder.image.prepare(image)
    whole = encoder.image.encode(pixels[None])[0]
    vectors = encoder.text.encode([text, "a red square", "a blue square"]).vectors
    assert found.score == pytest.approx(float(vectors[0] @ whole), abs=1e-6)
    red = found.regions[0]
    hidden = fill_masked(pixels, box_masks([red.box], SIDE, SIDE))
    fallen = vectors @ (whole - encoder.image.encode(hidden)[0])
    assert red.fall == pytest.approx(float(fallen[0]), abs=0.01)
    assert red.phrase_fall == pytest.approx(float(fallen[1]), abs=0.02)
    assert red.text_fall == pytest.approx(float((vectors[0] - vectors[2]) @ whole), abs=1e-6)


def test_a_preview_says_where_by_a_guess_and_what_is_lost_by_measure(picture: Path) -> None:
    encoder = HueEncoder()
    text = "a red square and a blue square"
    found = mm.explain(picture, text, encoder=encoder, quick=True)
    assert encoder.encoded == found.encoded == 3  # the whole, and without the box of each phrase
    with Image.open(picture) as image:
        pixels = encoder.image.prepare(image)
    whole = encoder.image.encode(pixels[None])[0]
    for region, (left, top, right, bottom) in zip(found.regions, (RED_SQUARE, BLUE_SQUARE), strict=True):
        assert region.preview
        assert region.points
        assert left < region.peak[0] < right
        assert top < region.peak[1] < bottom
        hidden = encoder.image.encode(fill_masked(pixels, box_masks([region.box], SIDE, SIDE)))[0]
        vectors = encoder.text.encode([text, region.phrase]).vectors
        assert (region.fall, region.phrase_fall) == pytest.approx([*(vectors @ (whole - hidden))], abs=0.02)
    assert not any(region.preview for region in mm.explain(picture, text, encoder=encoder).regions)
    assert not mm.explain(picture, "something else", encoder=encoder, quick=True).regions[0].points


def test_a_model_without_a_quick_way_says_so(picture: Path) -> None:
    hues = HueEncoder()

    class Plain(ImageSide):
        prepare, encode = hues.image.prepare, hues.image.encode

    plain = Encoder(hues.identity, {"image": Plain(), "text": hues.text})
    assert mm.explain(picture, "a red square", encoder=plain).regions[0].points
    with pytest.raises(EncoderError, match="hues has no quick preview: "):
        mm.explain(picture, "a red square", encoder=plain, quick=True)


def test_hidden_pictures_serve_all_phrases(picture: Path) -> None:
    encoder = HueEncoder()
    one = mm.explain(picture, "a red square", encoder=encoder).encoded
    assert encoder.encoded == one
    encoder.encoded = 0
    many = mm.explain(picture, "all", phrases=["red", "blue", "green", "square"], encoder=encoder)
    assert encoder.encoded == many.encoded
    assert many.encoded - one < 40  # and not four times as many
    assert [region.phrase for region in many.regions] == ["red", "blue", "green", "square"]
    assert many.regions[0].text_fall is None  # it is no piece of "all"


def test_what_is_nowhere_has_no_box(picture: Path) -> None:
    found = mm.explain(picture, "something else", encoder=HueEncoder())
    assert not found.regions[0].points


@pytest.mark.parametrize(("text", "phrases"), [("", []), ("  ", []), ("red", [" "]), ("red", ["x"] * 33)])
def test_what_cannot_be_looked_for_is_said(picture: Path, text: str, phrases: list[str]) -> None:
    with pytest.raises(QueryError):
        mm.explain(picture, text, phrases=phrases, encoder=HueEncoder())


def test_the_command_prints_and_draws(
    picture: Path, tmp_path: Path, mmsearch: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    provide(monkeypatch, HueEncoder)
    drawn = tmp_path / "out.png"
    done = mmsearch("explain", picture, "a red square, a dog", "--model", "hues", "-o", drawn)
    assert done.code == 0, done.err
    lines = [line.split("\t") for line in done.out.splitlines()]
    assert [line[0] for line in lines] == ["a red square", "a dog"]
    assert len(lines[0][2].split(",")) == 4
    assert lines[1][2] == ""
    with Image.open(drawn) as sheet:
        colours = np.asarray(sheet.convert("RGB")).reshape(-1, 3)
    assert (np.abs(colours - np.array([232, 89, 12])).sum(1) < 12).sum() > 100  # the outline of the box
    done = mmsearch("explain", picture, "a red square, a dog", "--model", "hues", "--format", "jsonl")
    red, dog = map(json.loads, done.out.splitlines())
    assert red["box"][0] < 0.2 < red["box"][2]
    assert red["fall"] > 0
    assert dog["box"] is None
    assert not red["preview"]
    done = mmsearch("explain", picture, "a red square", "--model", "hues", "--format", "jsonl", "--quick")
    assert "a preview: where to look is guessed" in done.err
    preview = json.loads(done.out)
    assert preview["preview"]
    assert preview["box"][0] < 0.2 < preview["box"][2]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["absent.png", "red"], 1, "cannot read the picture"),
        (["words.png", "red"], 1, "no picture that can be read"),
        (["squares.png", ""], 1, "the text is empty"),
        (["squares.png", "red", "-o", "squares.png"], 1, "is the picture itself"),
        (["squares.png", "red", "-o", "out.txt"], 1, "name a file that ends in"),
        (["-", "red", "-o", "out.png"], 2, "save it first"),
        (["squares.png", "red", "--find", "hf:org/name", "--quick"], 2, "a detector has no preview"),
    ],
)
def test_bad_input_is_said_in_a_line(
    arguments: list[str],
    code: int,
    said: str,
    picture: Path,
    mmsearch: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    provide(monkeypatch, HueEncoder)
    monkeypatch.chdir(picture.parent)
    Path("words.png").write_text("no picture")
    model = [] if "--find" in arguments else ["--model", "hues"]
    done = mmsearch("explain", *arguments, *model)
    assert done.code == code
    assert said in " ".join(done.err.split()), done.err
    with Image.open(picture) as image:
        assert image.size == (160, 80)


@pytest.fixture
def squares(picture: Path, mmsearch: Command, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A gallery of the picture and of one of nothing but green; the encoder takes the place of that of `mmsearch`."""
    provide(monkeypatch, HueEncoder)
    folder = picture.parent / "photos"
    folder.mkdir()
    picture.rename(folder / "squares.png")
    Image.new("RGB", (60, 60), (90, 200, 90)).save(folder / "green.png")
    mm.embed([folder], gallery=folder.parent / "g", encoder="hues")
    return folder.parent / "g"


def test_hits_are_told_with_their_regions(squares: Path, mmsearch: Command) -> None:
    done = mmsearch("query", "a red square and a blue square", "--explain", "--format", "jsonl", "-g", squares)
    assert done.code == 0, done.err
    best, other = map(json.loads, done.out.splitlines())
    assert best["path"] == "squares.png"
    red, blue = best["regions"]
    assert red["phrase"] == "a red square"
    assert red["box"][0] < 0.2 < red["box"][2]
    assert blue["box"][0] < 0.8 < blue["box"][2]
    assert [region["box"] for region in other["regions"]] == [None, None]
    plain = mmsearch("query", "a red square and a blue square", "--format", "jsonl", "-g", squares)
    assert "regions" not in plain.out


def test_hits_are_looked_at_quickly_where_a_preview_is_enough(
    squares: Path, mmsearch: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def regions(*_: object, quick: bool) -> tuple[float, list[Region], int]:
        asked.append(quick)
        return 0.0, [], 0

    monkeypatch.setattr("mmsearch.search.explained.regions_by", regions)
    done = mmsearch("query", "a red square", "--explain", "--quick", "--format", "jsonl", "-g", squares)
    assert (done.code, "a preview" in done.err, asked) == (0, True, [True, True])


def test_a_page_shows_boxes_and_falls(squares: Path, mmsearch: Command, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = mmsearch("query", "a red square", "--explain", "--html", page, "-g", squares)
    assert done.code == 0, done.err
    text = page.read_text()
    assert text.count("no place stands out") == 1
    assert text.count('class="fall"') == 2
    plain = tmp_path / "plain.html"
    assert mmsearch("query", "a red square", "--html", plain, "-g", squares).code == 0
    assert 'class="explained"' not in plain.read_text()


def test_what_was_asked_with_a_picture_has_one_region(squares: Path) -> None:
    opened = mm.open_gallery(squares)
    answer = opened.explain(opened.ask(mm.Query([mm.ItemPart("squares.png"), mm.TextPart("red"), mm.TextPart("blue")])))
    assert [region.phrase for region in answer.hits[0].regions] == ["red", "blue"]
    alone = opened.explain(opened.ask(mm.Query([mm.ItemPart("squares.png")])))
    assert [region.phrase for region in alone.hits[0].regions] == [alone.query.title]


def test_a_hit_whose_file_changed_is_told_as_that(squares: Path) -> None:
    opened = mm.open_gallery(squares)
    answer = opened.ask(mm.Query.of("red"))
    Image.new("RGB", (30, 30), "red").save(squares.parent / "photos" / "green.png")
    with pytest.warns(mm.MmsearchWarning, match="green.png was not explained"):
        explained = opened.explain(answer)
    assert [bool(hit.regions) for hit in explained.hits] == [True, False]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--explain"], "name one"),
        (["--explain", "--format", "csv"], "name one"),
        (["--quick", "--format", "jsonl"], "says how --explain looks"),
        (["--explain", "--format", "jsonl", "--server", "http://127.0.0.1:1"], "not by a server"),
    ],
)
def test_where_nothing_can_be_shown_nothing_is_explained(options: list[str], said: str, mmsearch: Command) -> None:
    done = mmsearch("query", "red", *options)
    assert done.code == 2
    assert said in " ".join(done.err.split())


def test_a_phrase_that_fits_no_better_than_everyday_ones_has_no_box(picture: Path) -> None:
    """However much its place stands out: hiding what is most like a thing that is not there costs score too."""
    encoder, image = HueEncoder(), Image.open(picture).convert("RGB")
    wanted = want_text(encoder.text, "a red square")
    (there,) = find_regions(encoder.image, image, wanted)[1]
    assert there.points
    assert there.fits is not None
    assert there.fits > 0
    everyday = np.stack([wanted.whole] * 2)
    (absent,) = find_regions(encoder.image, image, replace(wanted, everyday=everyday))[1]
    assert (absent.stands_out, absent.phrase_fall) == (there.stands_out, there.phrase_fall)
    assert absent.fits == 0
    assert region_record(absent)["box"] is None
    (no_text,) = find_regions(encoder.image, image, replace(wanted, everyday=None))[1]
    assert (no_text.fits, no_text.points) == (None, True)
