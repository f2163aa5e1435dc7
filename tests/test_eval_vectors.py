"""Vectors that somebody else made: figures of an independent evaluation and of ir_measures, and every bad input."""

import json
import os
from pathlib import Path

import ir_measures
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmsearch.benchmarks.annotation_files import read_annotations
from mmsearch.errors import BenchmarkError
from mmsearch.evaluation import evaluate_vectors, to_json
from mmsearch.reports import write_report
from mmsearch.runs import read_qrels, run_lines, strictly_descending, write_qrels, write_run
from mmsearch.sources import ColumnNames
from tests.conftest import Command
from tests.independent import figures_of, trec_qrels, trec_run
from tests.vectors import random_unit_vectors


@pytest.fixture
def clip(shared_data: Path) -> str:
    return str(shared_data / "modality_gap_clip_vitb16_coco500" / "features_clip.npy")


@pytest.fixture
def judged(tmp_path: Path) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Vectors with ids in Parquet, and qrels: captions of one or two images, one caption and one image of nothing.

    Some vectors are copies, so that there are ties."""
    rng = np.random.default_rng(0)
    images, captions = random_unit_vectors(rng, 12, 8), random_unit_vectors(rng, 40, 8)
    images[3] = images[2]
    captions[10:20] = captions[20:30]
    for name, vectors in (("images", images), ("captions", captions)):
        ids = [f"{name} {n}%" for n in range(len(vectors))]
        pq.write_table(pa.table({"id": ids, "embedding": list(vectors)}), tmp_path / f"{name}.parquet")
    pairs = [(f"captions {n}%", f"images {n % 11}%") for n in range(39)] + [("captions 0%", "images 5%")]
    write_qrels(tmp_path / "qrels", pairs)
    return [(str(tmp_path / "images.parquet"), str(tmp_path / "captions.parquet"))], pairs


def test_real_vectors_agree_with_the_independent_evaluation(clip: str) -> None:
    images, captions = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in np.load(clip).astype(np.float64))
    document = to_json(evaluate_vectors([(f"{clip}[0]", f"{clip}[1]")]))
    for direction, figures in figures_of(images, captions, np.eye(500, dtype=bool)).items():
        for name, value in figures.items():
            assert document[direction][name] == pytest.approx(value, abs=1e-12), (direction, name)


def test_intervals_of_real_vectors_are_those_of_the_known_counts(clip: str) -> None:
    """253 of 500 hits: the binomial's standard error is 2.2 points, and the interval 1.96 of it to both sides."""
    interval = evaluate_vectors([(f"{clip}[0]", f"{clip}[1]")]).text_to_image.intervals["R@1"]
    assert (interval.low + interval.high) / 2 == pytest.approx(0.506, abs=0.004)
    assert (interval.high - interval.low) / 2 == pytest.approx(1.96 * np.sqrt(0.506 * 0.494 / 500), rel=0.05)


def test_qrels_with_several_relevant_and_none_agree_with_ir_measures_through_the_files(
    judged: tuple[list[tuple[str, str]], list[tuple[str, str]]], tmp_path: Path
) -> None:
    """The run and the qrels that a report leaves give trec_eval's measures, ties and odd names and all."""
    systems, pairs = judged
    report = evaluate_vectors(systems, qrels=str(tmp_path / "qrels"))
    assert report.problems == (
        "1 captions have nothing relevant: returned as hits, not asked as queries",
        "1 images have nothing relevant: returned as hits, not asked as queries",
    )
    assert (report.text_to_image.queries, report.text_to_image.gallery) == (39, 12)
    assert (report.image_to_text.queries, report.image_to_text.gallery) == (11, 40)
    assert report.image_to_text.tied_queries > 0
    write_report(report, tmp_path / "out")
    assert sorted(read_qrels(tmp_path / "out" / "text_to_image.qrels")) == sorted(pairs)
    names = {"R@1": "Success@1", "R@5": "Success@5", "R@10": "Success@10", "relevant_recall@5": "R@5"}
    names |= {"mAP@10": "AP@10", "nDCG@10": "nDCG@10"}
    document = to_json(report)
    for direction in ("text_to_image", "image_to_text"):
        theirs = ir_measures.calc_aggregate(
            [ir_measures.parse_measure(name) for name in names.values()],
            trec_qrels(tmp_path / "out" / f"{direction}.qrels"),
            trec_run(next((tmp_path / "out").glob(f"{direction}.*.run"))),
        )
        for ours, name in names.items():
            expected = theirs[ir_measures.parse_measure(name)]
            assert document[direction][ours] == pytest.approx(expected, abs=1e-12), (direction, name)


def test_qrels_agree_with_the_independent_evaluation(
    judged: tuple[list[tuple[str, str]], list[tuple[str, str]]], tmp_path: Path
) -> None:
    systems, pairs = judged
    document = to_json(evaluate_vectors(systems, qrels=tmp_path / "qrels"))
    images, captions = (np.array(pq.read_table(file)["embedding"].to_pylist(), np.float64) for file in systems[0])
    truth = np.zeros((40, 12), bool)
    for caption, image in pairs:
        truth[int(caption.split()[1].rstrip("%")), int(image.split()[1].rstrip("%"))] = True
    for direction, figures in figures_of(images, captions, truth).items():
        for name, value in figures.items():
            assert document[direction][name] == pytest.approx(value, abs=1e-12), (direction, name)


def test_systems_are_compared_with_the_first_on_the_same_queries(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    images = random_unit_vectors(rng, 300, 16)
    near, far = (images + spread * random_unit_vectors(rng, 300, 16) for spread in (0.9, 1.6))
    for name, vectors in {"images": images, "near": near, "far": far}.items():
        np.save(tmp_path / f"{name}.npy", vectors)
    files = [(str(tmp_path / "images.npy"), str(tmp_path / f"{name}.npy")) for name in ("near", "far")]
    report = evaluate_vectors(files)
    assert [system.name for system in report.systems] == ["images.npy, near.npy", "images.npy, far.npy"]
    assert [comparison.direction for comparison in report.comparisons] == ["text_to_image", "image_to_text"]
    found = report.comparisons[0].differences["R@1"]
    values = [system.text_to_image.recall[1] for system in report.systems]
    assert (found.first, found.second) == tuple(values)
    assert found.value == pytest.approx(values[1] - values[0], abs=1e-12)
    assert found.interval.high < 0
    assert found.p < 0.001
    # Vectors that are not normalised are, and it is said.
    assert [problem.split(" have lengths")[0] for problem in report.problems] == [
        f"the vectors in {tmp_path / name}.npy" for name in ("near", "far")
    ]


def test_a_file_with_a_name_that_is_no_text_is_read(tmp_path: Path) -> None:
    vectors = random_unit_vectors(np.random.default_rng(1), 5, 4)
    odd = tmp_path / os.fsdecode(b"caf\xe9.parquet")
    pq.write_table(pa.table({"embedding": list(vectors)}), tmp_path / "good.parquet")
    (tmp_path / "good.parquet").rename(odd)
    assert evaluate_vectors([(str(odd), str(odd))]).systems[0].text_to_image.recall[1] == 1


def test_the_command_takes_parts_of_files_and_writes_json(clip: str, tmp_path: Path, mmsearch: Command) -> None:
    out = tmp_path / "out.json"
    done = mmsearch(
        *("eval", "vectors", "--images", f"{clip}[0]", "--captions", f"{clip}[1]"),
        *("-k", 1, "-k", 20, "--report", out, "--per-query"),
    )
    assert done.code == 0
    assert "vectors: 500 images, 500 captions" in done.out
    assert "modality gap 0.851" in done.out
    document = json.loads(out.read_text())
    assert document["systems"][0]["text_to_image"]["R@20"] == document["text_to_image"]["R@20"]
    ranks = np.array(document["text_to_image"]["ranks"])
    assert float(np.mean(ranks <= 20)) == document["text_to_image"]["R@20"]
    assert document["systems"][0]["health"]["modality_gap"] == pytest.approx(0.851, abs=5e-4)
    uneven = mmsearch("eval", "vectors", "--images", f"{clip}[0]", "--images", "x", "--captions", f"{clip}[1]")
    assert uneven.code == 2


def test_bad_vectors_are_one_line_each(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    good = random_unit_vectors(rng, 4, 3)
    nan, zero = good.copy(), good.copy()
    nan[2, 1], zero[1] = np.nan, 0
    files = {
        "good": good,
        "nan": nan,
        "zero": zero,
        "few": good[:3],
        "wide": random_unit_vectors(rng, 4, 5),
        "whole": np.eye(4, 3, dtype=int),
    }
    files |= {"cube": np.stack([good, good]), "flat": good[0], "none": good[:0]}
    for name, vectors in files.items():
        np.save(tmp_path / f"{name}.npy", vectors)
    (tmp_path / "text.npy").write_text("hello")
    (tmp_path / "text.parquet").write_text("hello")
    pq.write_table(pa.table({"vector": [[1.0]]}), tmp_path / "other.parquet")
    pq.write_table(
        pa.table({"embedding": [[1.0, 2.0], [1.0], [1.0, 2.0, 3.0]]}), tmp_path / "ragged.parquet"
    )  # 6 = 3 * 2
    pq.write_table(pa.table({"embedding": [[1.0, None], [1.0, 2.0]]}), tmp_path / "holes.parquet")
    pq.write_table(pa.table({"embedding": [[1.0], None]}), tmp_path / "missing.parquet")
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    for name, message in {
        "absent.npy": "there is no file",
        "text.npy": "no NumPy file of numbers",
        "objects.npy": "no NumPy file of numbers",
        "text.parquet": "no Parquet file",
        "other.parquet": "no column embedding, but vector",
        "ragged.parquet": r"different lengths \(1, 2, 3\)",
        "holes.parquet": "numbers left out",
        "missing.parquet": r"different lengths \(none, 1\)",
        "nan.npy": r"1 in .* have NaN, infinity or no length, e\.g\. row 2",
        "zero.npy": r"e\.g\. row 1",
        "few.npy": "4 images and 3 captions: say with --qrels",
        "wide.npy": "of 3 dimensions, .* of 5",
        "whole.npy": "not floats",
        "flat.npy": r"not floats of \(n, dim\)",
        "none.npy": "not floats",
        "cube.npy": r"name a part: .*cube\.npy\[0\]",
        "cube.npy[2]": "no part 2",
        "good.npy[0]": "no part 0",
    }.items():
        with pytest.raises(BenchmarkError, match=message):
            evaluate_vectors([(str(tmp_path / "good.npy"), str(tmp_path / name))])
    with pytest.raises(BenchmarkError, match="no vectors"):
        evaluate_vectors([])


def test_bad_qrels_and_ids_are_one_line_each(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", random_unit_vectors(np.random.default_rng(3), 3, 4))
    both = [(str(tmp_path / "v.npy"), str(tmp_path / "v.npy"))]
    for content, message in {
        "0 0 0\n": "line 1: not 'query 0 item relevance'",
        "0 0 0 1\n\n0 0 1 x\n": "line 3",
        "0 0 0 0\n": "calls nothing relevant",
        "0 0 7 1\n": r"1 of 1 lines name .* e\.g\. 0 7\. Captions are called 0, …",
    }.items():
        (tmp_path / "qrels").write_text(content)
        with pytest.raises(BenchmarkError, match=message):
            evaluate_vectors(both, qrels=tmp_path / "qrels")
    with pytest.raises(BenchmarkError, match="cannot be read"):
        evaluate_vectors(both, qrels=tmp_path / "absent")
    for content, message in {"a\nb\n": "2 ids for the 3 vectors", "a\nb\na\n": "'a' stands twice"}.items():
        (tmp_path / "ids").write_text(content)
        with pytest.raises(BenchmarkError, match=message):
            evaluate_vectors(both, image_ids=tmp_path / "ids")


def test_a_graded_judgement_counts_above_zero(tmp_path: Path) -> None:
    (tmp_path / "qrels").write_text("a 0 x 2\na 0 y 0\nb%20c 0 y -1\nb%20c 0 x 1\n")
    assert read_qrels(tmp_path / "qrels") == [("a", "x"), ("b c", "x")]


def test_a_run_keeps_the_order_of_record_for_readers_that_sort_by_score(tmp_path: Path) -> None:
    scores = np.array([[0.5, 0.5, 0.5, 0.1], [1.0, 1.0 - 1e-9, 0.2, 0.2]])
    lowered = strictly_descending(scores)
    assert (np.diff(lowered, axis=1) < 0).all()
    assert np.abs(lowered - scores).max() < 1e-6
    write_run(tmp_path / "run", run_lines(["q"], ["zyxw"], scores[:1], tag="a tag"))
    read = sorted(trec_run(tmp_path / "run"), key=lambda doc: -np.float32(doc.score))
    assert [doc.doc_id for doc in read] == list("zyxw")
    assert len({np.float32(doc.score) for doc in read}) == 4


def test_scores_are_cosines_however_long_the_vectors_are(tmp_path: Path) -> None:
    """The right image is the shorter by half a per cent, and would lose by dot product."""
    images = np.array([[1, 0.05], [1, -0.05]], np.float64)
    images *= np.array([[0.997], [1.004]]) / np.linalg.norm(images, axis=1, keepdims=True)
    np.save(tmp_path / "images.npy", images.astype(np.float32))
    np.save(tmp_path / "captions.npy", np.array([[1, 0.001], [1, -0.5]], np.float32))
    report = evaluate_vectors([(str(tmp_path / "images.npy"), str(tmp_path / "captions.npy"))])
    assert report.text_to_image.recall[1] == 1.0
    float16 = (images * 1e-4).astype(np.float32)  # tiny vectors are as good as any
    np.save(tmp_path / "images.npy", float16)
    assert (
        evaluate_vectors([(str(tmp_path / "images.npy"), str(tmp_path / "captions.npy"))]).text_to_image.recall[1] == 1
    )


def test_equal_texts_are_captions_of_their_own(tmp_path: Path) -> None:
    """24,837 of COCO's 25,010 captions are distinct. In qrels a text speaks for all captions that are it."""
    np.save(tmp_path / "v.npy", np.eye(3, dtype=np.float32))
    (tmp_path / "texts").write_text("a dog\na dog\na cat\n")
    files = [(str(tmp_path / "v.npy"), str(tmp_path / "v.npy"))]
    report = evaluate_vectors(files, caption_ids=tmp_path / "texts")
    assert report.text_to_image.recall[1] == report.image_to_text.recall[1] == 1.0
    assert report.items.captions == ("a dog", "a dog", "a cat")
    assert report.items.caption_ids == ("a dog", "a dog#2", "a cat")
    (tmp_path / "qrels").write_text("a%20dog 0 0 1\na%20cat 0 2 1\n")
    report = evaluate_vectors(files, caption_ids=tmp_path / "texts", qrels=tmp_path / "qrels")
    assert report.text_to_image.recall[1] == pytest.approx(2 / 3)
    assert report.captions == 3
    with pytest.raises(BenchmarkError, match="stands twice"):
        evaluate_vectors(files, image_ids=tmp_path / "texts")


def test_a_few_vectors_are_not_called_collapsed(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    for count in (2, 3, 4, 5, 6, 8):
        np.save(tmp_path / "v.npy", random_unit_vectors(rng, count, 64))
        health = evaluate_vectors([(str(tmp_path / "v.npy"), str(tmp_path / "v.npy"))]).systems[0].health
        assert health.collapsed == (), count
    flat = np.zeros((50, 64), np.float32)
    flat[:, :2] = random_unit_vectors(rng, 50, 2)
    np.save(tmp_path / "v.npy", flat)
    health = evaluate_vectors([(str(tmp_path / "v.npy"), str(tmp_path / "v.npy"))]).systems[0].health
    assert health.collapsed == ("images", "texts")


def test_a_report_is_json_for_every_reader(tmp_path: Path) -> None:
    """One image and one caption have no pairs to average over: null, and not Python's NaN."""
    np.save(tmp_path / "v.npy", np.ones((1, 4), np.float32))
    report = evaluate_vectors([(str(tmp_path / "v.npy"), str(tmp_path / "v.npy"))])
    (file,) = write_report(report, tmp_path / "report.json")

    def refuse(word: str) -> None:
        raise AssertionError(word)

    document = json.loads(file.read_text(), parse_constant=refuse)
    assert document["systems"][0]["health"]["within_images"] is None


def test_mean_recall_does_not_depend_on_k_and_certainty_has_a_width(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    np.save(tmp_path / "a.npy", random_unit_vectors(rng, 60, 4))
    np.save(tmp_path / "b.npy", random_unit_vectors(rng, 60, 4))
    files = [(str(tmp_path / "a.npy"), str(tmp_path / "b.npy"))]
    asked = [evaluate_vectors(files, ks=ks) for ks in ((1, 5, 10), (1,), (3, 20))]
    means = {(report.systems[0].mean_recall, report.systems[0].mean_recall_interval) for report in asked}
    assert len(means) == 1
    both = (asked[0].text_to_image, asked[0].image_to_text)
    assert asked[0].systems[0].mean_recall == pytest.approx(np.mean([r for each in both for r in each.recall.values()]))
    assert set(asked[1].text_to_image.intervals) >= {"R@1", "MRR"}
    assert "R@5" not in asked[1].text_to_image.intervals
    same = to_json(evaluate_vectors([(str(tmp_path / "a.npy"), str(tmp_path / "a.npy"))]))["text_to_image"]
    assert same["intervals"]["R@1"] == [1.0, 1.0]
    assert same["wilson"]["R@1"] == [pytest.approx(60 / (60 + 1.959964**2)), 1.0]


def test_tables_are_read_under_any_name(tmp_path: Path) -> None:
    """Names on disk can be any bytes."""
    vectors, annotations = tmp_path / "v\udcff.parquet", tmp_path / "a\udcff.parquet"
    with vectors.open("wb") as stream:
        pq.write_table(pa.table({"embedding": [[1.0, 0.0], [0.0, 1.0]]}), stream)
    report = evaluate_vectors([(str(vectors), str(vectors))])
    assert report.text_to_image.recall[1] == 1.0
    with annotations.open("wb") as stream:
        pq.write_table(pa.table({"image": ["a.jpg"], "caption": ["one"]}), stream)
    assert read_annotations(annotations, ColumnNames()).captions == [(0, "one")]
