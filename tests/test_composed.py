"""A picture and words that change it: files cut by hand as CIRR's and FashionIQ's are described, figures by hand and by
an evaluation that shares no code with ours."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmsearch.benchmarks import load_composed
from mmsearch.errors import BenchmarkError
from mmsearch.evaluation import EvaluateOptions, FigureReport, FigureRow, evaluate_composed
from tests.conftest import Command
from tests.fakes import FakeEncoder, provide, write_picture

COLOURS = ("red", "green", "yellow", "blue", "white", "black")


def write_json(file: Path, content: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


@pytest.fixture
def cirr(tmp_path: Path) -> tuple[Path, Path]:
    """Six pictures and three queries. Red with the word green lies at yellow; what asks is left out."""
    names = [f"dev-{number}-0-img0" for number in range(6)]
    for name, colour in zip(names, COLOURS, strict=True):
        write_picture(tmp_path / "pictures" / "dev" / f"{name}.png", colour, seed=len(colour))
    queries = [(0, "green", 2), (1, "red", 2), (4, "make it black", 5)]
    records = [
        {
            "pairid": number,
            "reference": names[reference],
            "target_hard": names[target],
            "target_soft": {names[target]: 1.0},
            "caption": words,
            "img_set": {"id": number, "members": names, "reference_rank": 0, "target_rank": 1},
        }
        for number, (reference, words, target) in enumerate(queries)
    ]
    write_json(tmp_path / "cirr" / "captions" / "cap.rc2.val.json", records)
    splits = {name: f"./dev/{name}.png" for name in names}
    write_json(tmp_path / "cirr" / "image_splits" / "split.rc2.val.json", splits)
    without = [{key: value for key, value in record.items() if not key.startswith("target")} for record in records]
    write_json(tmp_path / "cirr" / "captions" / "cap.rc2.test1.json", without)
    write_json(tmp_path / "cirr" / "image_splits" / "split.rc2.test1.json", splits)
    return tmp_path / "pictures", tmp_path / "cirr"


@pytest.fixture
def fashioniq(tmp_path: Path) -> tuple[Path, Path]:
    """Three categories of four clothes; two sayings a query. Pictures are .png or .jpg."""
    for category in ("dress", "shirt", "toptee"):
        names = [f"B00{category[:2]}{number}" for number in range(4)]
        for number, name in enumerate(names):
            ending = "jpg" if category == "shirt" else "png"
            write_picture(tmp_path / "images" / f"{name}.{ending}", COLOURS[number], seed=number)
        write_json(tmp_path / "fiq" / "image_splits" / f"split.{category}.val.json", names)
        records = [{"target": names[2], "candidate": names[0], "captions": ["is green.", "is brighter"]}]
        write_json(tmp_path / "fiq" / "captions" / f"cap.{category}.val.json", records)
    return tmp_path / "images", tmp_path / "fiq"


def row_of(report: FigureReport, name: str) -> FigureRow:
    return next(row for row in report.tables[0].rows if row.name == name)


def ranks_of_targets(
    files: list[Path], queries: list[tuple[int, str, int]], weights: tuple[float, float], *, leave_out: bool
) -> list[int]:
    """The rank of each target by full sorting; without the picture that asks."""
    fake = FakeEncoder()
    vectors = fake.encode_images(np.stack([fake.preprocess(Image.open(file).convert("RGB")) for file in files]))
    ranks = []
    for reference, words, target in queries:
        asked = weights[0] * vectors[reference].astype(float)
        asked += weights[1] * fake.encode_texts([words]).vectors[0].astype(float)
        order = [int(n) for n in np.argsort(-(vectors.astype(float) @ asked), kind="stable")]
        order = [n for n in order if not (leave_out and n == reference)]
        ranks.append(1 + order.index(target))
    return ranks


def test_cirr_by_hand_and_independently(cirr: tuple[Path, Path]) -> None:
    images, annotations = cirr
    report = evaluate_composed("cirr", images=images, annotations=annotations, encoder=FakeEncoder())
    assert [row.name for row in report.tables[0].rows] == ["picture and words", "words alone", "picture alone"]
    files = [images / "dev" / f"dev-{number}-0-img0.png" for number in range(6)]
    queries = [(0, "green", 2), (1, "red", 2), (4, "make it black", 5)]
    for name, weights in (("picture and words", (1, 1)), ("words alone", (0, 1)), ("picture alone", (1, 0))):
        ranks = ranks_of_targets(files, queries, weights, leave_out=True)
        figures = row_of(report, name).figures
        for k in (1, 5, 10, 50):
            assert figures["", f"R@{k}"] == pytest.approx(np.mean([rank <= k for rank in ranks])), (name, k)
        for k in (1, 2, 3):  # all six are shown together here, so that the few are those searched
            assert figures["subset", f"R@{k}"] == pytest.approx(np.mean([rank <= k for rank in ranks])), (name, k)
        assert figures["", "mean of R@5 and subset R@1"] == (figures["", "R@5"] + figures["subset", "R@1"]) / 2
    # By hand: black is found by its word alone, and yellow by no word: it is neither red nor green.
    assert row_of(report, "words alone").figures["", "R@1"] == pytest.approx(1 / 3)
    assert row_of(report, "picture alone").counts == {"queries": 3, "gallery": 6}


def test_words_that_weigh_more_move_the_answer(cirr: tuple[Path, Path]) -> None:
    images, annotations = cirr
    report = evaluate_composed("cirr", images=images, annotations=annotations, weight=1000, encoder=FakeEncoder())
    alone, together = row_of(report, "words alone"), row_of(report, "picture and words")
    assert together.figures == alone.figures
    assert report.title.endswith("words weigh 1000")
    with pytest.raises(BenchmarkError, match="above 0"):
        evaluate_composed("cirr", images=images, annotations=annotations, weight=0, encoder=FakeEncoder())


def test_the_few_images_shown_together_are_searched_by_themselves(cirr: tuple[Path, Path]) -> None:
    """Only white and the target are shown with red: the target comes first among them, whatever else there is."""
    images, annotations = cirr
    file = annotations / "captions" / "cap.rc2.val.json"
    records = json.loads(file.read_text())[:1]
    records[0]["img_set"]["members"] = [f"dev-{number}-0-img0" for number in (0, 4, 2)]
    records[0]["caption"] = "white"
    write_json(file, records)
    report = evaluate_composed("cirr", images=images, annotations=annotations, encoder=FakeEncoder())
    assert row_of(report, "words alone").figures["subset", "R@1"] == 0.0  # the word is of the other one
    assert row_of(report, "words alone").figures["subset", "R@2"] == 1.0
    assert row_of(report, "words alone").figures["", "R@1"] == 0.0


def test_fashioniq_by_category_and_on_average(fashioniq: tuple[Path, Path]) -> None:
    images, annotations = fashioniq
    loaded = load_composed("fashioniq", images=images, annotations=annotations)
    assert {query.words for group in loaded.groups for query in group.queries} == {"is green and is brighter"}
    report = evaluate_composed("fashioniq", images=images, annotations=annotations, encoder=FakeEncoder())
    names = [row.name for row in report.tables[0].rows]
    assert names[:4] == [
        *(f"{each}, picture and words" for each in ("dress", "shirt", "toptee")),
        "mean, picture and words",
    ]
    assert len(names) == 12
    assert row_of(report, "mean, picture and words").figures == {("", "R@10"): 1.0, ("", "R@50"): 1.0}
    for category, ending in (("dress", "png"), ("shirt", "jpg")):
        files = [images / f"B00{category[:2]}{number}.{ending}" for number in range(4)]
        ranks = ranks_of_targets(files, [(0, "is green and is brighter", 2)], (1, 0), leave_out=False)
        assert ranks[0] > 1, "the picture that asks stays, and comes first"


def test_what_is_missing_is_said(cirr: tuple[Path, Path], tmp_path: Path) -> None:
    images, annotations = cirr
    with pytest.raises(BenchmarkError, match="answers of the split test1 are not given out"):
        evaluate_composed("cirr", images=images, annotations=annotations, split="test1", encoder=FakeEncoder())
    with pytest.raises(BenchmarkError, match=r"no split\.rc2\.train\.json in it"):
        evaluate_composed("cirr", images=images, annotations=annotations, split="train", encoder=FakeEncoder())
    with pytest.raises(BenchmarkError, match="choose one of cirr, fashioniq"):
        evaluate_composed("circo", images=images, annotations=annotations, encoder=FakeEncoder())
    (images / "dev" / "dev-5-0-img0.png").unlink()
    with pytest.raises(BenchmarkError, match=r"1 of 6 are not in .*\(dev-5-0-img0\)"):
        evaluate_composed("cirr", images=images, annotations=annotations, encoder=FakeEncoder())
    options = EvaluateOptions(allow_missing=True)
    with pytest.raises(BenchmarkError, match="1 of 6"):  # it is shown with every query
        evaluate_composed("cirr", images=images, annotations=annotations, encoder=FakeEncoder(), options=options)
    records = json.loads((annotations / "captions" / "cap.rc2.val.json").read_text())
    for record in records[:2]:
        record["img_set"]["members"] = record["img_set"]["members"][:5]
    write_json(annotations / "captions" / "cap.rc2.val.json", records)
    report = evaluate_composed("cirr", images=images, annotations=annotations, encoder=FakeEncoder(), options=options)
    assert "1 MISSING IMAGES LEFT OUT, with 1 queries" in report.title
    assert row_of(report, "picture and words").counts == {"queries": 2, "gallery": 5}
    write_json(annotations / "captions" / "cap.rc2.val.json", [{"reference": "x", "target_hard": "y"}])
    with pytest.raises(BenchmarkError, match=r"cap\.rc2\.val\.json\[0\] is not a query"):
        evaluate_composed("cirr", images=images, annotations=annotations, encoder=FakeEncoder())


def test_the_command(cirr: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, mmsearch: Command) -> None:
    provide(monkeypatch)
    images, annotations = cirr
    done = mmsearch("eval", "composed", "cirr", "--images", images, "--annotations", annotations, "--model", "fake")
    assert done.code == 0, done.err
    assert "cirr, split val: 6 images, 3 queries" in done.out
    assert [line.split("  ")[0] for line in done.out.splitlines() if "alone  " in line] == [
        "words alone",
        "picture alone",
    ]
