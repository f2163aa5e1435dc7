"""Expressions that refer to parts of pictures: files cut by hand as RefCOCO's and their kin are described, figures by
hand and by an evaluation that shares no code with ours."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmsearch.benchmarks import load_regions
from mmsearch.boxes import Box
from mmsearch.errors import BenchmarkError, SourceError
from mmsearch.evaluation import RegionOptions, evaluate_regions
from mmsearch.tiles import OVERLAP, Tiling
from tests.conftest import Command
from tests.fakes import COLOURS, FakeEncoder, provide

SIZE = (200, 100)
PICTURES: dict[int, list[tuple[str, tuple[int, int, int, int]]]] = {  # left, top, width, height
    1: [("red", (0, 0, 40, 40)), ("green", (60, 0, 40, 40)), ("blue", (120, 20, 60, 60))],
    2: [("yellow", (10, 10, 50, 80)), ("blue", (100, 10, 50, 80))],
    7: [("green", (0, 0, 100, 100))],
}
SAID = [  # picture, which of its things is meant, words, split
    (1, 0, "red", "testA"),
    (1, 2, "blue", "testA"),
    (1, 1, "red", "testA"),  # which nobody can answer
    (2, 0, "yellow", "testA"),
    (2, 1, "blue", "testB"),
    (7, 0, "a green thing", "testB"),
    (7, 0, "green", "train"),
]


def file_name(image: int) -> str:
    return f"COCO_train2014_{image:012d}.jpg"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "train2014"
    folder.mkdir()
    for image, things in PICTURES.items():
        picture = Image.new("RGB", SIZE, COLOURS["white"])
        for colour, (left, top, width, height) in things:
            picture.paste(COLOURS[colour], (left, top, left + width, top + height))
        picture.save(folder / file_name(image), quality=95)
    return folder


def instances() -> dict[str, Any]:
    annotations = [
        {"id": 100 * image + place, "image_id": image, "bbox": [*map(float, box)], "category_id": 1}
        for image, things in PICTURES.items()
        for place, (_, box) in enumerate(things)
    ]
    return {"images": [{"id": each, "file_name": file_name(each)} for each in PICTURES], "annotations": annotations}


def refs() -> list[dict[str, Any]]:
    return [
        {
            "ref_id": number,
            "ann_id": 100 * image + place,
            "image_id": image,
            "file_name": file_name(image).replace(".jpg", f"_{number}.jpg"),
            "split": split,
            "sentences": [{"sent": words, "raw": f"  {words.upper()}!", "tokens": words.split(), "sent_id": number}],
        }
        for number, (image, place, words, split) in enumerate(SAID)
    ]


@pytest.fixture
def refcoco(tmp_path: Path) -> Path:
    folder = tmp_path / "refcoco"
    folder.mkdir()
    (folder / "instances.json").write_text(json.dumps(instances()))
    (folder / "refs(unc).p").write_bytes(pickle.dumps(refs(), protocol=2))
    return folder / "refs(unc).p"


def corners(box: tuple[float, ...]) -> tuple[float, ...]:
    return box[0], box[1], box[0] + box[2], box[1] + box[3]


def overlap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """By counting pixels."""
    grids = np.zeros((2, SIZE[1], SIZE[0]), bool)
    for grid, (left, top, right, bottom) in zip(grids, (one, other), strict=True):
        grid[round(top) : round(bottom), round(left) : round(right)] = True
    return float((grids[0] & grids[1]).sum() / (grids[0] | grids[1]).sum())


def independently(photos: Path, split: str, boxes: dict[int, list[tuple[float, ...]]]) -> tuple[float, float, float]:
    """Accuracy, chance and what can be reached, expression by expression."""
    encoder = FakeEncoder()
    right, chance, reachable = [], [], []
    for image, place, words, of_split in SAID:
        if of_split != split:
            continue
        picture = Image.open(photos / file_name(image)).convert("RGB")
        text = np.asarray(encoder.encode_texts([words]).vectors[0], np.float64)
        crops = [picture.crop(tuple(map(round, box))) for box in boxes[image]]  # type: ignore[arg-type]
        scores = [float(text @ encoder.encode_images(encoder.preprocess(crop)[None])[0]) for crop in crops]
        agree = [overlap(box, corners(PICTURES[image][place][1])) >= 0.5 for box in boxes[image]]
        right.append(agree[scores.index(max(scores))])
        chance.append(sum(agree) / len(agree))
        reachable.append(any(agree))
    return float(np.mean(right)), float(np.mean(chance)), float(np.mean(reachable))


def test_figures_are_those_counted_by_hand_and_by_another_program(photos: Path, refcoco: Path) -> None:
    report = evaluate_regions(images=photos, annotations=refcoco, encoder=FakeEncoder())
    rows = {row.name: row for row in report.tables[0].rows}
    assert list(rows) == ["testA", "testB"]
    given = {image: [corners(box) for _, box in things] for image, things in PICTURES.items()}
    for split, row in rows.items():
        figures = [row.figures["given", name] for name in ("accuracy", "chance", "reachable")]
        assert figures == pytest.approx(independently(photos, split, given))
        around = row.intervals["given", "accuracy"]
        assert around.low <= row.figures["given", "accuracy"] <= around.high
    # By hand: red, blue and yellow are found, the second "red" is not; one of three boxes, three times, and one of two.
    assert rows["testA"].figures["given", "accuracy"] == 0.75
    assert rows["testA"].figures["given", "chance"] == pytest.approx((1 / 3 + 1 / 3 + 1 / 3 + 1 / 2) / 4)
    assert rows["testA"].counts == {"expressions": 4, "images": 2}
    assert rows["testB"].figures["given", "accuracy"] == 1  # a picture with one box is answered with it
    assert report.title == "6 expressions, 3 images, 6 given boxes"


def test_boxes_of_a_detector_and_tiles_stand_beside_the_given_ones(photos: Path, refcoco: Path, tmp_path: Path) -> None:
    found: dict[int, list[tuple[float, ...]]] = {
        1: [(2, 2, 40, 42), (110, 30, 60, 60)],  # the red one well, the blue one just
        2: [(10, 10, 20, 20), (100, 0, 60, 90)],
        7: [],
    }
    listed = [{"image_id": image, "box": box, "score": 0.5} for image, boxes in found.items() for box in boxes]
    by_id = {str(image): boxes for image, boxes in found.items()}
    figures = []
    for written in (listed, {"dets": listed}, by_id, {file_name(image): boxes for image, boxes in found.items()}):
        (tmp_path / "dets.json").write_text(json.dumps(written))
        options = RegionOptions(detections=tmp_path / "dets.json", splits=["testA"])
        report = evaluate_regions(images=photos, annotations=refcoco, encoder=FakeEncoder(), options=options)
        row = report.tables[0].rows[0]
        figures.append([row.figures["detections", name] for name in ("accuracy", "chance", "reachable")])
        expected = independently(photos, "testA", {image: [*map(corners, boxes)] for image, boxes in found.items()})
        assert figures[-1] == pytest.approx(expected)
    assert figures[0] == [0.5, pytest.approx(0.25), 0.5]
    assert len({tuple(each) for each in figures}) == 1


def test_tiles_are_cut_as_embed_cuts_them(tmp_path: Path) -> None:
    picture = Image.new("RGB", (900, 600), COLOURS["white"])
    picture.paste(COLOURS["red"], (520, 350, 900, 600))  # about the last tile of four
    picture.save(tmp_path / "a.png")
    said = {"image": "a.png", "sent": "red", "bbox": [520, 350, 380, 250], "width": 900, "height": 600}
    (tmp_path / "said.json").write_text(json.dumps([said]))
    options = RegionOptions(tiles=Tiling((2,)))
    report = evaluate_regions(
        images=tmp_path, annotations=tmp_path / "said.json", encoder=FakeEncoder(), options=options
    )
    row = report.tables[0].rows[0]
    assert row.name == "all"
    assert [row.figures["tiles", name] for name in ("accuracy", "chance", "reachable")] == [1, 0.2, 1]


@pytest.mark.parametrize("layout", ["refs.json", "pictures.jsonl", "coco.json", "xyxy.jsonl", "xywh.json"])
def test_every_layout_says_the_same(layout: str, photos: Path, refcoco: Path, tmp_path: Path) -> None:
    file = tmp_path / layout
    if layout == "refs.json":
        file.write_text(json.dumps(refs()))
        (tmp_path / "instances.json").write_text(json.dumps(instances()))
    if layout == "pictures.jsonl":
        lines = [
            each | {"anns": [one for one in instances()["annotations"] if one["image_id"] == each["image_id"]]}
            for each in refs()
        ]
        file.write_text("\n".join(map(json.dumps, lines)))
    records = [
        {"img_path": file_name(image), "expression": words, "bbox": PICTURES[image][place][1], "split": split}
        for image, place, words, split in SAID
    ]
    if layout == "coco.json":
        images = [
            {"id": number, "file_name": each["img_path"], "caption": each["expression"], "split": each["split"]}
            for number, each in enumerate(records)
        ]
        boxes = [{"image_id": number, "bbox": each["bbox"]} for number, each in enumerate(records)]
        file.write_text(json.dumps({"images": images, "annotations": boxes}))
    if layout == "xyxy.jsonl":
        sized = {"width": SIZE[0], "height": SIZE[1]}
        lines = [each | {"bbox": corners(each["bbox"])} | sized for each in records]  # type: ignore[arg-type]
        file.write_text("\n".join(map(json.dumps, lines)))
    if layout == "xywh.json":
        file.write_text(json.dumps(records))
    reference, read = (load_regions(images=photos, annotations=each) for each in (refcoco, file))
    words = "sent" if layout != "pictures.jsonl" else "raw"
    expected = [
        (each.text, reference.images[each.image].path, each.boxes, each.split) for each in reference.expressions
    ]
    if words == "raw":
        expected = [(f"{text.upper()}!", *others) for text, *others in expected]  # type: ignore[misc]
    assert [(each.text, read.images[each.image].path, each.boxes, each.split) for each in read.expressions] == expected
    assert read.splits == ("testA", "testB")


def test_bad_files_are_named_with_their_line(photos: Path, refcoco: Path, tmp_path: Path) -> None:
    class Runs:
        def __reduce__(self) -> tuple[Any, ...]:
            return print, ("ran",)

    def refused(content: bytes, said: str, **more: Any) -> None:
        file = tmp_path / "bad"
        file.write_bytes(content)
        with pytest.raises(BenchmarkError, match=said):
            load_regions(images=photos, annotations=file, **more)

    refused(pickle.dumps([Runs()]), r"it names builtins\.print, which annotations have no need of: not read")
    refused(b"\x80\x02]", "neither JSON nor a pickle")
    refused(b"[]", "no file of expressions")
    refused(b'{"a": 1}', "it has the keys a")
    refused(pickle.dumps(refs(), protocol=2), "there is no file .*instances.json")
    plain = {"image": file_name(1), "text": "red", "bbox": [10, 10, 20, 20]}

    def lines(**more: Any) -> bytes:
        return json.dumps([plain, plain | more]).encode()

    refused(lines(), "could be either. Say which: --box-form")
    refused(lines(bbox=[1, 2, 3]), r"record 1: a box is not four numbers: \[1, 2, 3\]")
    refused(lines(bbox=[5, 5, 1, 1]), "record 1: an empty box", box_form="xyxy")
    refused(lines(text=" "), "record 1: its expression is no text")
    refused(lines(image="COCO_train2014_000000000009.jpg"), "1 of 2 are not in", box_form="xywh")
    refused(lines(bbox=None), "record 1: it names no box")
    refused(lines(), "there is no split 'test'; it has none", box_form="xywh", splits=["test"])
    wrong = refs()
    wrong[3]["ann_id"] = 5
    refused(json.dumps(wrong).encode(), "record 3: .* has no annotation 5", instances=refcoco.parent / "instances.json")


def test_the_command_prints_and_writes_the_table(
    photos: Path, refcoco: Path, tmp_path: Path, mmsearch: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    provide(monkeypatch)
    arguments = ("--images", photos, "--annotations", refcoco, "--model", "fake", "--split", "testA")
    result = mmsearch("eval", "regions", *arguments, "--template", "{}", "--report", tmp_path / "out.json")
    assert result.code == 0, result.err
    assert "annotations read as refs and their instances.json" in result.out
    row = json.loads((tmp_path / "out.json").read_text())["tables"][0]["rows"][0]
    assert (row["name"], row["figures"]["given"]["accuracy"]) == ("testA", 0.75)
    assert "75.00" in result.out
    wrong = mmsearch("eval", "regions", *arguments, "--tiles", "1,x")
    assert (wrong.code, "no tiles '1,x'" in wrong.err) == (1, True)


def test_tiles_overlap_cover_the_picture_and_are_never_enlarged() -> None:
    for width, height, side in [
        (4000, 3000, 224),
        (640, 480, 224),
        (3000, 9000, 336),
        (20_000, 1_000, 224),
        (451, 90, 224),
    ]:
        for tiling in (Tiling(), Tiling((2,)), Tiling((2, 3))):
            boxes = tiling.boxes(width, height, side)
            assert 2 <= len(boxes) <= 64
            assert len(set(boxes)) == len(boxes)
            covered = np.zeros((60, 60), int)
            for box in boxes:
                left, top, right, bottom = box.pixels(60, 60)
                covered[top:bottom, left:right] += 1
            assert covered.min() >= 1
            if tiling.grids is None:
                shares = [((box.right - box.left) * width, (box.bottom - box.top) * height) for box in boxes]
                assert all(0.6 <= wide / high <= 1.7 for wide, high in shares)
                assert all(min(each) >= min(side, height, width) * 0.99 for each in shares)
    two = Tiling((2,)).boxes(4000, 3000, 224)
    assert (two[0].right - two[1].left) / (two[0].right - two[0].left) == pytest.approx(OVERLAP, abs=1e-4)
    assert (two[0].left, two[0].top, two[-1].right, two[-1].bottom) == (0, 0, 1, 1)
    assert len(Tiling((2, 3)).boxes(4000, 3000, 224)) == 13
    for tiling in (Tiling(), Tiling((2,))):
        assert tiling.boxes(448, 448, 224) == ()
        assert tiling.boxes(449, 20, 224)
    assert Tiling((2,)).boxes(100_000, 300, 224)[0] == Box(0, 0, 4 / 7, 4 / 7)
    assert len(Tiling().boxes(100_000, 30, 224)) == 64


def test_what_is_no_tiling_is_refused() -> None:
    assert (Tiling.read(" AUTO "), Tiling.read("3,2,3"), str(Tiling((2, 3)))) == (Tiling(), Tiling((2, 3)), "2,3")
    for wrong in ("", "1", "17", "2x2", "2;3", "0,2", "-2"):
        with pytest.raises(SourceError, match="no tiles"):
            Tiling.read(wrong)
