"""Tiles of large pictures: rows beside the whole, cut of its own pixels, kept in step, found where they are."""

import base64
import io
import json
import re
import threading
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmsearch.boxes import Box
from mmsearch.cutting.tiles import TILES
from mmsearch.embedding import EmbedOptions, Selection, embed, preview
from mmsearch.errors import ImageError, SourceError
from mmsearch.file_ranges import FileRange
from mmsearch.gallery import Gallery
from mmsearch.images import CutOptions, MadePicture
from mmsearch.render import contact_sheet, html_page
from mmsearch.search.open_gallery import open_gallery
from mmsearch.search.query import Query, TextPart
from mmsearch.tiles import Tiling
from tests.conftest import Command
from tests.fakes import COLOURS, FakeEncoder, provide, write_picture
from tests.galleries import contents, skipped

SIZE = (1200, 900)
WITH = Selection(cuts=CutOptions(tiles="2"))
WITHOUT = Selection(cuts=CutOptions(tiles="none"))


def write_scene(file: Path, colour: str, box: tuple[int, int, int, int], orientation: int = 1) -> Path:
    """A white picture with a coloured box; stored so that it has to be turned."""
    picture = Image.new("RGB", SIZE, COLOURS["white"])
    picture.paste(COLOURS[colour], box)
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x0132] = "2021:03:04 05:06:07"
    if orientation == 6:
        picture = picture.transpose(Image.Transpose.ROTATE_90)
    file.parent.mkdir(parents=True, exist_ok=True)
    picture.save(file, quality=95, exif=exif)
    return file


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    write_scene(tmp_path / "photos" / "red.jpg", "red", (0, 0, 500, 400), orientation=6)
    write_scene(tmp_path / "photos" / "blue.png", "blue", (700, 500, 1200, 900))
    write_picture(tmp_path / "photos" / "small.png", "green", size=(300, 200))
    return tmp_path / "photos"


def run(photos: Path, selection: Selection | None = None, encoder: FakeEncoder | None = None) -> FakeEncoder:
    encoder = encoder or FakeEncoder()
    before = encoder.images_encoded
    embed([photos], gallery=photos.parent / "g", encoder=encoder, selection=selection or Selection())
    encoder.images_encoded -= before
    return encoder


def paths(photos: Path) -> list[str]:
    return sorted(path for _, path in contents(photos.parent / "g"))


def test_large_pictures_have_tiles_beside_them_and_small_ones_none(photos: Path) -> None:
    run(photos, WITH)
    boxes = [str(box) for box in Tiling((2,)).boxes(*SIZE, 224)]
    assert len(boxes) == 4
    tiled = [f"{name}!/box={box}" for name in ("blue.png", "red.jpg") for box in boxes]
    assert paths(photos) == sorted([*tiled, "blue.png", "red.jpg", "small.png"])
    rows = {path: row for (_, path), (row, _) in contents(photos.parent / "g").items()}
    for box in boxes:
        row = rows[f"red.jpg!/box={box}"]
        assert ",".join(f"{side:g}" for side in row["box"]) == ",".join(f"{float(side):g}" for side in box.split(","))
        left, top, right, bottom = Box.read(box).pixels(*SIZE)
        assert (row["width"], row["height"]) == (right - left, bottom - top)
        assert row["taken_at"].year == 2021
    assert rows["red.jpg"]["box"] is None


def test_the_vectors_are_those_of_the_pixels_in_the_box_and_the_whole_keeps_its_own(photos: Path) -> None:
    run(photos)
    before = contents(photos.parent / "g")
    encoder = run(photos, WITH)
    assert encoder.images_encoded == 8  # the tiles, and nothing else
    after = contents(photos.parent / "g")
    for key, (_, vector) in before.items():
        np.testing.assert_array_equal(vector, after[key][1])
    for name in ("red.jpg", "blue.png"):
        whole = Image.open(photos / name)
        upright = whole.transpose(Image.Transpose.ROTATE_270) if name == "red.jpg" else whole
        for (_, path), (_, vector) in after.items():
            if path.startswith(f"{name}!/"):
                part = upright.convert("RGB").crop(Box.read(path.partition("=")[2]).pixels(*SIZE))
                exact = encoder.encode_images(encoder.preprocess(part)[None])[0]
                np.testing.assert_allclose(vector, exact, atol=2e-3)


def test_a_run_that_says_nothing_keeps_tiles_and_cuts_what_came_since(photos: Path) -> None:
    run(photos, WITH)
    held = paths(photos)
    assert run(photos).images_encoded == 0
    assert paths(photos) == held
    write_scene(photos / "yellow.jpg", "yellow", (0, 500, 500, 900))
    assert run(photos).images_encoded == 5
    assert len([path for path in paths(photos) if path.startswith("yellow.jpg")]) == 5
    write_scene(photos / "yellow.jpg", "red", (0, 500, 600, 900))
    assert run(photos).images_encoded == 5


def test_tiles_go_when_none_are_wanted_and_with_their_file(photos: Path) -> None:
    run(photos, WITH)
    (photos / "blue.png").unlink()
    run(photos)
    assert not [path for path in paths(photos) if path.startswith("blue.png")]
    assert run(photos, WITHOUT).images_encoded == 0
    assert paths(photos) == ["red.jpg", "small.png"]
    run(photos)
    assert paths(photos) == ["red.jpg", "small.png"]  # nor do they come back
    assert run(photos, WITH).images_encoded == 4


def test_other_grids_encode_only_what_is_new(photos: Path) -> None:
    run(photos, WITH)
    assert run(photos, Selection(cuts=CutOptions(tiles="2,3"))).images_encoded == 18
    assert run(photos, Selection(cuts=CutOptions(tiles="3"))).images_encoded == 0
    assert len(paths(photos)) == 3 + 18


def test_a_thing_is_found_where_it_is(photos: Path) -> None:
    run(photos, WITH)
    opened = open_gallery(photos.parent / "g", encoder=FakeEncoder())
    hit = opened.query("blue", k=1)[0]
    assert hit.path == "blue.png!/box=0.428571,0.428571,1,1"
    assert hit.row.box == pytest.approx([0.428571, 0.428571, 1, 1])
    again = opened.query(image=f"{photos / 'blue.png'}!/box=0.428571,0.428571,1,1", k=1)[0]
    assert (again.row_id, round(again.score, 3)) == (hit.row_id, 1.0)
    like = opened.query(image=f"{photos / 'blue.png'}#box=0.428571,0.428571,1,1", k=1)[0]
    assert (like.row_id, round(like.score, 3)) == (hit.row_id, 1.0)


def test_programs_are_told_the_box(photos: Path, mmsearch: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    provide(monkeypatch)
    where = ("-g", photos.parent / "g")
    dry = mmsearch("embed", photos, "--model", "fake", "--tiles", "2", "--dry-run", *where)
    assert "pieces    8 of these are parts of files" in dry.out, dry.err
    assert "disk      about 0.0 MB for these 11" in dry.out
    done = mmsearch("embed", photos, "--model", "fake", "--tiles", "2", *where)
    assert "tiles     8 of these are tiles of large pictures" in done.out, done.err
    hit = json.loads(mmsearch("query", "blue", "-k", "1", "--format", "jsonl", *where).out)
    assert hit["box"] == pytest.approx([0.428571, 0.428571, 1, 1])
    lower_right = "box[1] > 0.4 and box[2] > 0.4"
    few = mmsearch("query", "blue", "--where", lower_right, "--each", "--format", "jsonl", *where)
    found = {json.loads(line)["path"] for line in few.out.splitlines()}
    assert found == {f"{name}!/box=0.428571,0.428571,1,1" for name in ("red.jpg", "blue.png")}
    wrong = mmsearch("embed", photos, "--tiles", "2x2", *where)
    assert (wrong.code, "no tiles '2x2'" in wrong.err) == (1, True)


def test_pages_and_sheets_show_the_whole_picture_with_the_box(photos: Path) -> None:
    run(photos, WITH)
    answer = open_gallery(photos.parent / "g", encoder=FakeEncoder()).ask(Query([TextPart("blue")], k=1))
    page = html_page([answer], photos.parent / "a.html").read_text()
    drawn = re.findall(r"data:image/jpeg;base64,([^\"]+)", page)
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(drawn[0]))).convert("RGB"), int)
    assert picture.shape[:2] == (384, 512)
    left, top, right, bottom = Box(*answer.hits[0].box or ()).pixels(512, 384)

    def is_drawn(y: int, x: int) -> bool:
        """Whether the line of a box is seen near a point of its edge: neither the picture's white nor its blue."""
        near = picture[max(0, y - 3) : y + 4, max(0, x - 3) : x + 4].reshape(-1, 3)
        return bool(min(np.abs(near - COLOURS[colour]).sum(1).max() for colour in ("white", "blue")) > 150)

    middle = (top + bottom) // 2, (left + right) // 2
    assert is_drawn(middle[0], left)
    assert is_drawn(top, middle[1])
    assert not is_drawn(middle[0] // 3, left)
    assert not is_drawn(*middle)
    sheet = Image.open(contact_sheet([answer], photos.parent / "a.png")).convert("RGB")
    assert [*COLOURS["white"]] == pytest.approx(sheet.getpixel((40, 75)), abs=8)  # of the tile nothing is white there


def test_a_dry_run_counts_and_times_what_a_run_does(photos: Path) -> None:
    before = preview([photos], gallery=photos.parent / "g", encoder=FakeEncoder(), selection=WITH)
    assert (before.new, before.pieces) == (11, 8)
    assert before.timing is not None
    assert before.timing.sample == 11
    assert before.bytes == 11 * (49 * 2 + 150)
    run(photos, WITH)
    assert len(paths(photos)) == before.new
    after = preview([photos], gallery=photos.parent / "g", encoder=FakeEncoder(), selection=WITH)
    assert (after.new, after.pieces, after.unchanged, after.bytes) == (0, 0, 11, None)


def test_broken_and_odd_pictures_cost_themselves_alone(photos: Path) -> None:
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    whole = (photos / "blue.png").read_bytes()
    (photos / "cut.png").write_bytes(whole[: len(whole) // 2])
    run(photos, WITH)
    names = {path for path, _, _ in skipped(photos.parent / "g")}
    assert {name.partition("!")[0] for name in names} == {"broken.jpg", "cut.png"}
    assert len([path for path in paths(photos) if "!/" in path]) == 8
    assert run(photos).images_encoded == 0


def test_a_picture_is_decoded_once_for_all_its_tiles(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    decode = TILES.make.__globals__["decode_fast"]

    def counted(data: bytes, *arguments: object, **more: object) -> object:
        decoded.append(threading.get_ident())
        return decode(data, *arguments, **more)

    monkeypatch.setitem(TILES.make.__globals__, "decode_fast", counted)
    run(photos, Selection(cuts=CutOptions(tiles="2,3,4")))
    assert len(decoded) <= 4  # once each, and once more where the exact way is looked at: not 58 times
    assert len([path for path in paths(photos) if "!/" in path]) == 2 * (4 + 9 + 16)


def test_large_pictures_are_held_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scope = TILES.make.__globals__
    monkeypatch.setitem(scope, "_LARGE_PIXELS", 1000)
    file = write_scene(tmp_path / "a.png", "red", (0, 0, 10, 10))
    first = TILES.make(FileRange(str(file)), ["box=0,0,1,1", "box=0,0,0.5,0.5"], 10**9)
    assert isinstance(next(first), MadePicture)
    assert scope["_large"].locked()
    assert isinstance(next(first), MadePicture)
    assert next(first, None) is None
    assert not scope["_large"].locked()
    started = TILES.make(FileRange(str(file)), ["box=0,0,1,1"], 10**9)
    assert isinstance(started, Generator)
    next(started)
    started.close()  # whoever asks no more lets go
    assert not scope["_large"].locked()


def test_what_people_type_for_a_span_is_a_picture_or_a_reason(photos: Path) -> None:
    spans = ["box=0,0,2,2", "box=", "box=a", "box=0.5,0.5,1,1"]
    made = list(TILES.make(FileRange(str(photos / "red.jpg")), spans, 10**9))
    assert [isinstance(each, ImageError) for each in made] == [True, True, True, False]
    with pytest.raises(ImageError, match="pixels"):
        list(TILES.make(FileRange(str(photos / "red.jpg")), spans, 1000))


def test_only_what_is_larger_than_the_models_input_is_cut(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = CutOptions(tiles="auto", input_side=lambda: 700)
    assert [span.name for span in TILES.list_spans(FileRange(str(photos / "red.jpg")), options)] == [""]
    options = CutOptions(tiles="auto", input_side=lambda: 64)
    names = [span.name for span in TILES.list_spans(FileRange(str(photos / "red.jpg")), options)]
    assert names == ["", *(f"box={box}" for box in Tiling().boxes(*SIZE, 64))]
    with pytest.raises(SourceError, match="no tiles 'x'"):
        run(photos, Selection(cuts=CutOptions(tiles="x")))


def test_tiles_work_on_the_fast_route_of_a_real_model(photos: Path, tmp_path: Path) -> None:
    from mmsearch import encoders
    from mmsearch.encoders.specs import CONFIG_NAME, demo_folder

    if not (demo_folder() / CONFIG_NAME).is_file():
        pytest.skip("the demo model is not part of this checkout")
    demo = encoders.open("demo", device="cpu", precision="fp32", announce=lambda _: None)
    with pytest.warns(UserWarning, match="the demo model"):
        embed([photos], gallery=tmp_path / "d", encoder=demo, selection=WITH, options=EmbedOptions(device="cpu"))
    gallery = Gallery.open(tmp_path / "d")
    assert gallery.live_rows("images") == 3 + 12  # for a model of 64 pixels the small one is large too
    row = next(
        row for (_, path), row in contents(tmp_path / "d").items() if path == "blue.png!/box=0,0,0.571429,0.571429"
    )
    part = Image.open(io.BytesIO((photos / "blue.png").read_bytes())).crop((0, 0, 686, 514))
    exact = demo.image.encode(demo.image.prepare(part)[None])[0]
    assert float(row[1] @ exact) > 0.999
