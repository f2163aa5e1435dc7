"""Extended positives of COCO: files cut by hand, figures by hand, by an evaluation that shares no code with ours, and
by ir_measures."""

import json
from pathlib import Path

import ir_measures
import numpy as np
import pytest
from PIL import Image

from mmsearch.benchmarks import find_positives, image_number
from mmsearch.errors import BenchmarkError
from mmsearch.evaluation import EvaluateOptions, FigureReport, FigureRow, evaluate_positives
from mmsearch.locations import located
from mmsearch.metrics import Relevance, average_precision_at_r, r_precisions
from tests.conftest import Command
from tests.fakes import FakeEncoder, provide, write_picture

COLOURS = ("red", "green", "blue", "white", "red", "green")
NUMBERS = (31, 7, 100, 55, 60, 61)
"""Of images; captions have ids that hold them: 1000 * number + a digit."""


def caption_ids(number: int) -> list[int]:
    return [1000 * number, 1000 * number + 1]


@pytest.fixture
def coco(tmp_path: Path) -> tuple[Path, Path]:
    """Six pictures, two each of red and green, with two captions each; COCO's own file."""
    images, annotations = [], []
    for number, colour in zip(NUMBERS, COLOURS, strict=True):
        name = f"COCO_val2014_{number:012d}.jpg"
        write_picture(tmp_path / "val2014" / name, colour, seed=number)
        images.append({"id": number, "file_name": name})
        for place, text in zip(caption_ids(number), (f"it is {colour}", f"noise {number}"), strict=True):
            annotations.append({"id": place, "image_id": number, "caption": text})
    file = tmp_path / "captions.json"
    file.write_text(json.dumps({"images": images, "annotations": annotations}))
    return tmp_path / "val2014", file


def write_set(folder: Path, name: str, pairs: dict[int, list[int]]) -> Path:
    """caption -> images, and turned round, as eccv_caption ships them."""
    folder.mkdir(exist_ok=True)
    captions: dict[int, list[int]] = {}
    for caption, images in pairs.items():
        for image in images:
            captions.setdefault(image, []).append(caption)
    (folder / f"{name}_caption_to_image.json").write_text(json.dumps(pairs))
    (folder / f"{name}_image_to_caption.json").write_text(json.dumps(captions))
    return folder


def run(coco: tuple[Path, Path], positives: Path) -> FigureReport:
    images, annotations = coco
    return evaluate_positives(
        images=images,
        annotations=annotations,
        positives=positives,
        encoder=FakeEncoder(),
        options=EvaluateOptions(split="all"),
    )


def row_of(report: FigureReport, name: str) -> FigureRow:
    return next(row for row in report.tables[0].rows if row.name == name)


def rankings(coco: tuple[Path, Path]) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    """caption -> images and image -> captions, best first, by full sorting."""
    images, annotations = coco
    fake, data = FakeEncoder(), json.loads(annotations.read_text())
    files = [images / entry["file_name"] for entry in data["images"]]
    vectors = fake.encode_images(np.stack([fake.preprocess(Image.open(file).convert("RGB")) for file in files]))
    texts = fake.encode_texts([entry["caption"] for entry in data["annotations"]]).vectors.astype(np.float64)
    scores, keys = texts @ vectors.T, [entry["id"] for entry in data["annotations"]]
    forward = {key: [NUMBERS[n] for n in np.argsort(-scores[row], kind="stable")] for row, key in enumerate(keys)}
    backward = {
        number: [keys[n] for n in np.argsort(-scores[:, column], kind="stable")]
        for column, number in enumerate(NUMBERS)
    }
    return forward, backward


def independently(ranked: dict[int, list[int]], positives: dict[int, list[int]]) -> dict[str, float]:
    """As the authors of ECCV Caption describe it: precision at each r up to R, counted where the r-th hit is right."""
    recall, precision, mean = list[float](), list[float](), list[float]()
    figures = {"R@1": recall, "R-precision": precision, "mAP@R": mean}
    for query, right in positives.items():
        hits = ranked[query]
        at_each = [len(set(hits[:r]) & set(right)) / r for r in range(1, len(right) + 1)]
        recall.append(float(hits[0] in right))
        precision.append(at_each[-1])
        mean.append(sum(p for r, p in enumerate(at_each) if hits[r] in right) / len(right))
    return {name: float(np.mean(values)) for name, values in figures.items()}


EXTENDED = {
    31000: [31, 60],  # both red pictures for "it is red"
    60000: [60, 31],
    7000: [7, 61],
    7001: [7],
    100000: [100],
}


def test_figures_are_those_of_the_authors_definitions(tmp_path: Path, coco: tuple[Path, Path]) -> None:
    report = run(coco, write_set(tmp_path / "data", "eccv", EXTENDED))
    row, (forward, backward) = row_of(report, "ECCV Caption"), rankings(coco)
    turned: dict[int, list[int]] = {}
    for caption, images in EXTENDED.items():
        for image in images:
            turned.setdefault(image, []).append(caption)
    for direction, ranked, positives in (
        ("text_to_image", forward, EXTENDED),
        ("image_to_text", backward, turned),
    ):
        for figure, value in independently(ranked, positives).items():
            assert row.figures[direction, figure] == pytest.approx(value, abs=1e-12), (direction, figure)
        qrels = [ir_measures.Qrel(str(q), str(item), 1) for q, right in positives.items() for item in right]
        scored = [
            ir_measures.ScoredDoc(str(q), str(item), -float(rank))
            for q in positives
            for rank, item in enumerate(ranked[q])
        ]
        measured = ir_measures.calc_aggregate([ir_measures.Rprec], qrels, scored)
        assert row.figures[direction, "R-precision"] == pytest.approx(measured[ir_measures.Rprec], abs=1e-12)
    assert row.counts == {"captions asking": 5, "images asking": 5}
    # Words of a colour bring its two pictures first and second; by the pairs as annotated one of them is wrong.
    assert row_of(report, "as annotated").counts == {"captions asking": 12, "images asking": 6}
    own = {key: [number] for number in NUMBERS for key in caption_ids(number)}
    expected = independently(forward, own)
    assert row_of(report, "as annotated").figures["text_to_image", "R@1"] == pytest.approx(expected["R@1"])


def test_by_hand() -> None:
    """Two of three are relevant and R is 2: hits 1 and 3 are right, so that 1 of the 2 best is (R-precision 1/2), and
    only the first counts for mAP@R: (1/1 + 0) / 2. The second query finds both: 1 and (1 + 1) / 2."""
    relevant = Relevance.lists([[0, 2], [0, 2]])
    hits = np.array([[0, 1, 2], [2, 0, 1]])
    assert r_precisions(hits, relevant).tolist() == [0.5, 1.0]
    assert average_precision_at_r(hits, relevant).tolist() == [0.5, 1.0]
    swapped = np.array([[1, 0, 2], [1, 2, 0]])
    assert average_precision_at_r(swapped, relevant).tolist() == [0.25, 0.25]


def test_ratings_of_cxc_change_the_pairs_as_annotated(tmp_path: Path, coco: tuple[Path, Path]) -> None:
    """3 and more belong together; a pair of the annotations that is rated less does not any more."""
    file = tmp_path / "sits_test.csv"
    file.write_text(
        "caption,image,agg_score,sampling_method\n"
        "COCO_val2014:sentid:31000,COCO_val2014_000000000060.jpg,3.0,c2i_intrasim\n"
        "COCO_val2014:sentid:31000,COCO_val2014_000000000007.jpg,2.99,c2i_intrasim\n"
        "COCO_val2014:sentid:100001,COCO_val2014_000000000100.jpg,1.4,c2i_original\n"
        "COCO_val2014:sentid:55000,COCO_val2014_000000999999.jpg,5,c2i_intrasim\n"
    )
    report = run(coco, file)
    row, (forward, _) = row_of(report, "CxC, by sits_test.csv"), rankings(coco)
    pairs = {key: [number] for number in NUMBERS for key in caption_ids(number)}
    pairs[31000] = [31, 60]
    del pairs[100001]
    assert row.counts == {"captions asking": 11, "images asking": 6}
    for figure, value in independently(forward, pairs).items():
        assert row.figures["text_to_image", figure] == pytest.approx(value, abs=1e-12)
    assert any("1 positives are not in the benchmark" in problem for problem in report.problems)
    file.write_text("caption,image,agg_score,sampling_method\nx,y,high,z\n")
    with pytest.raises(BenchmarkError, match=r"sits_test\.csv, line 2: not caption, image, rating"):
        find_positives(located(file))


def test_several_sets_are_rows_and_what_is_not_there_is_said(tmp_path: Path, coco: tuple[Path, Path]) -> None:
    folder = write_set(tmp_path / "data", "eccv", {**EXTENDED, 31001: [31, 999]})
    write_set(folder, "cxc", {31000: [31]})
    write_set(folder, "pm", {1: [2]})
    report = run(coco, folder)
    assert [row.name for row in report.tables[0].rows] == ["as annotated", "CxC", "ECCV Caption"]
    assert "Plausible Match: none of its pairs is in the benchmark, left out" in report.problems
    lost = "ECCV Caption, text_to_image: 0 queries and 1 positives are not in the benchmark, left out"
    assert lost in report.problems


def test_what_cannot_be_used_is_said(tmp_path: Path, coco: tuple[Path, Path]) -> None:
    images, _ = coco
    folder = write_set(tmp_path / "data", "eccv", EXTENDED)
    table = tmp_path / "captions.csv"
    table.write_text("image,caption\n" + "\n".join(f"{file.name},x" for file in images.iterdir()))
    with pytest.raises(BenchmarkError, match="no ids of captions"):
        evaluate_positives("custom", images=images, annotations=table, positives=folder, encoder=FakeEncoder())
    with pytest.raises(BenchmarkError, match="no positives in it"):
        run(coco, images)
    (folder / "eccv_image_to_caption.json").unlink()
    with pytest.raises(BenchmarkError, match=r"no file .*eccv_image_to_caption\.json; both directions"):
        run(coco, folder)
    for content, message in (("{", "not JSON"), ("[1]", "not an object"), ('{"1": ["x"]}', "no number")):
        (folder / "eccv_image_to_caption.json").write_text(content)
        with pytest.raises(BenchmarkError, match=message):
            run(coco, folder)
    assert (image_number("x/12.jpg"), image_number("cat.jpg"), image_number("COCO_000007")) == ("12", "", "7")


def test_the_command_prints_a_row_a_set(
    tmp_path: Path, coco: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, mmsearch: Command
) -> None:
    provide(monkeypatch)
    folder = write_set(tmp_path / "data", "eccv", EXTENDED)
    images, annotations = coco
    places = ("--images", images, "--annotations", annotations, "--positives", folder, "--split", "all")
    done = mmsearch("eval", "positives", *places, "--model", "fake", "-k", 1, "--report", tmp_path / "p.csv")
    assert done.code == 0, done.err
    assert "R@1  R-precision" in done.out
    assert [line.split("  ")[0] for line in done.out.splitlines() if line.startswith(("as annot", "ECCV"))] == [
        "as annotated",
        "ECCV Caption",
    ]
    assert (tmp_path / "p.csv").read_text().startswith("benchmark,model,positives,text_to_image R@1,")
