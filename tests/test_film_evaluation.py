"""eval msrvtt and eval moments: fixtures scored by hand, and an independent evaluation beside them."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mmsearch.benchmarks import load_film_captions, load_film_moments
from mmsearch.embedding import embed
from mmsearch.errors import BenchmarkError
from mmsearch.evaluation import evaluate_films, evaluate_moments
from mmsearch.gallery import open_writer
from mmsearch.items import ImageRow
from mmsearch.metrics import AP_OVERLAPS, window_average_precision, window_overlaps
from tests.conftest import Command
from tests.fakes import FakeEncoder, write_picture
from tests.films import frame


def film_gallery(folder: Path, films: Mapping[str, Sequence[str]], encoder: FakeEncoder) -> Path:
    """Films whose frames show one colour each, a frame every two seconds."""
    rows: list[ImageRow] = []
    colours: list[str] = []
    for name, shots in films.items():
        rows += [frame(f"videos/{name}.mp4", 2.0 * at, 2.0 * at + 2.0) for at in range(len(shots))]
        colours += shots
    with open_writer(folder, command="tests") as writer:
        writer.set_encoder(encoder.identity, "float32")
        writer.append("images", rows, encoder.encode_texts(colours).vectors)
        writer.commit()
    return folder


FILMS = {
    "video7020": ["red", "red", "red", "blue"],
    "video7021": ["blue", "blue", "green"],
    "video7022": ["green", "white", "white", "white"],
    "video7023": ["black"],
}
CAPTIONS = [("video7020", "red"), ("video7021", "blue"), ("video7022", "green"), ("video7023", "yellow")]


def annotated(folder: Path, kind: str) -> Path:
    """The captions as people have them."""
    if kind == "csv":
        file = folder / "MSRVTT_JSFUSION_test.csv"
        rows = [f"ret{n},msr{n},{film},{text}" for n, (film, text) in enumerate(CAPTIONS)]
        file.write_text("\n".join(["key,vid_key,video_id,sentence", *rows]) + "\n")
    elif kind == "list":
        file = folder / "msrvtt_test_1k.json"
        file.write_text(json.dumps([{"video": f"{film}.mp4", "caption": text} for film, text in CAPTIONS]))
    else:
        file = folder / "videodatainfo.json"
        videos = [{"video_id": film, "split": "test"} for film, _ in CAPTIONS]
        sentences = [{"video_id": film, "caption": text, "sen_id": 0} for film, text in CAPTIONS]
        others = {"video_id": "video1", "caption": "of another split"}
        document = {
            "videos": [*videos, {"video_id": "video1", "split": "train"}],
            "sentences": [others, *sentences],
        }
        file.write_text(json.dumps(document))
    return file


def test_films_of_one_name_are_told_where_they_are_asked_for(tmp_path: Path, fake: FakeEncoder) -> None:
    captions = annotated(tmp_path, "csv")
    folder = film_gallery(tmp_path / "g", {**FILMS, "one/clip": ["red"], "two/clip": ["red"]}, fake)
    assert evaluate_films([folder], annotations=captions, encoder=fake).tables
    folder = film_gallery(tmp_path / "other", {**FILMS, "again/video7020": ["red"]}, fake)
    with pytest.raises(BenchmarkError, match="several films called video7020"):
        evaluate_films([folder], annotations=captions, encoder=fake)


@pytest.mark.parametrize("kind", ["csv", "list", "videodatainfo"])
def test_films_are_found_as_loops_find_them(tmp_path: Path, fake: FakeEncoder, kind: str) -> None:
    """By hand: "red" is in one film; "blue" in two, of which the first comes first by max and the second by mean."""
    gallery = film_gallery(tmp_path / "g", FILMS, fake)
    report = evaluate_films([gallery], annotations=annotated(tmp_path, kind), encoder=fake, ks=(1, 2))
    (table,) = report.tables
    rows = {row.name: row.figures for row in table.rows}
    assert dict(table.rows[0].counts) == {"films": 4, "captions": 4, "frames": 12}
    texts = fake.encode_texts([text for _, text in CAPTIONS]).vectors.astype(np.float64)
    films = [fake.encode_texts(shots).vectors.astype(np.float64) for shots in FILMS.values()]
    for name, pool in POOLING.items():
        scores = [[pool(vectors, text) for vectors in films] for text in texts]
        right = [sorted(range(4), key=lambda film: (-row[film], film)).index(n) for n, row in enumerate(scores)]
        back = [sorted(range(4), key=lambda n: (-scores[n][film], n)).index(film) for film in range(4)]
        for k in (1, 2):
            assert rows[name]["text_to_image", f"R@{k}"] == np.mean([place < k for place in right])
            assert rows[name]["image_to_text", f"R@{k}"] == np.mean([place < k for place in back])
    assert rows["max"]["text_to_image", "R@1"] < rows["mean"]["text_to_image", "R@1"]
    assert any("1k-A" in problem for problem in report.problems)


POOLING: dict[str, Callable[[NDArray[np.float64], NDArray[np.float64]], float]] = {
    "max": lambda frames, text: max(float(vector @ text) for vector in frames),
    "mean": lambda frames, text: float(np.mean([vector @ text for vector in frames])),
    "mean vector": lambda frames, text: float(text @ frames.sum(0) / np.linalg.norm(frames.sum(0))),
}


def test_galleries_stand_side_by_side(tmp_path: Path, fake: FakeEncoder) -> None:
    ours = film_gallery(tmp_path / "ours", FILMS, fake)
    fewer = film_gallery(tmp_path / "fewer", {name: shots[:1] for name, shots in FILMS.items()}, fake)
    (table,) = evaluate_films([ours, fewer], annotations=annotated(tmp_path, "csv"), encoder=fake).tables
    assert [(Path(row.name.partition(":")[0]).name, row.counts["frames"]) for row in table.rows][::3] == [
        ("ours", 12),
        ("fewer", 4),
    ]
    of_one_frame = [row.figures for row in table.rows[3:]]
    assert of_one_frame[0] == of_one_frame[1] == of_one_frame[2]


def test_films_that_are_not_there_are_named(tmp_path: Path, fake: FakeEncoder) -> None:
    gallery = film_gallery(tmp_path / "g", {"video7020": ["red"], "video7021": ["blue"]}, fake)
    with pytest.raises(BenchmarkError, match=r"2 of 4 films .*: video7022, video7023"):
        evaluate_films([gallery], annotations=annotated(tmp_path, "csv"), encoder=fake)
    report = evaluate_films([gallery], annotations=annotated(tmp_path, "csv"), encoder=fake, allow_missing=True)
    assert report.title == "2 films, 2 captions"
    assert any("not comparable" in problem for problem in report.problems)
    photos = tmp_path / "photos"
    photos.mkdir()
    write_picture(photos / "a.png", "red", seed=0)
    embed([photos], gallery=tmp_path / "p", encoder=fake)
    with pytest.raises(BenchmarkError, match="holds no films"):
        evaluate_films([tmp_path / "p"], annotations=annotated(tmp_path, "csv"), encoder=fake)


def test_what_is_wrong_in_annotations_is_said(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("video_id,sentence\nv1,a dog\n,no film\nv2,\n")
    read = load_film_captions(file)
    assert read.pairs == (("v1", "a dog"),)
    assert "2 records" in read.problems[0]
    assert "line 3, line 4" in read.problems[0]
    for content, said in (
        ("a,b\n1,2\n", "video_id and sentence"),
        ("[]", "no caption"),
        ("{}", "videos"),
        ("[1", "no JSON"),
        ('{"videos": [{"video_id": "a", "split": "x"}], "sentences": []}', "no split 'test'; it has x"),
    ):
        file.write_text(content)
        with pytest.raises(BenchmarkError, match=said):
            load_film_captions(file)
    file.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(BenchmarkError, match="not UTF-8"):
        load_film_captions(file)
    lines = [
        {"qid": 1, "query": "a dog", "vid": "v1", "relevant_windows": [[0, 4]]},
        {"qid": 2, "query": "a dog", "vid": "v1", "relevant_windows": [[4, 0]]},
        {"qid": 3, "query": "a dog", "vid": "v1", "relevant_windows": []},
    ]
    file.write_text("\n".join([*map(json.dumps, lines), "not json", "[]"]))
    moments = load_film_moments(file)
    assert [query.windows for query in moments.queries] == [((0.0, 4.0),)]
    assert "4 records" in moments.problems[0]
    file.write_text(json.dumps({"qid": 1, "query": "a dog", "vid": "v1"}))
    with pytest.raises(BenchmarkError, match="val has them"):
        load_film_moments(file)


def reference(found: Sequence[Sequence[float]], meant: Sequence[Sequence[float]]) -> tuple[float, list[float]]:
    """One query, by the words of the definition: (the overlap of the first, the average precision at each overlap)."""

    def overlap(one: Sequence[float], other: Sequence[float]) -> float:
        shared = max(0.0, min(one[1], other[1]) - max(one[0], other[0]))
        union = (one[1] - one[0]) + (other[1] - other[0]) - shared
        return shared / union if union else 0.0

    precisions = []
    for least in AP_OVERLAPS:
        taken: set[int] = set()
        outcome = []
        for window in found:
            by_overlap = sorted(range(len(meant)), key=lambda n: -overlap(window, meant[n]))
            free = [n for n in by_overlap if n not in taken and overlap(window, meant[n]) >= least]
            taken.update(free[:1])
            outcome.append(bool(free))
        points = [(sum(outcome[: n + 1]) / len(meant), sum(outcome[: n + 1]) / (n + 1)) for n in range(len(outcome))]
        area = reached = 0.0
        for recall in sorted({recall for recall, _ in points if recall > 0}):
            area += (recall - reached) * max(precision for at, precision in points if at >= recall)
            reached = recall
        precisions.append(area)
    return max(overlap(found[0], other) for other in meant), precisions


def test_average_precision_is_that_of_the_definition() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        edges = np.sort(rng.integers(0, 30, (rng.integers(1, 11), 2)), axis=1).astype(np.float64)
        meant = np.sort(rng.integers(0, 30, (rng.integers(1, 5), 2)), axis=1).astype(np.float64)
        first, precisions = reference(edges.tolist(), meant.tolist())
        assert window_overlaps(edges[:1], meant).max() == pytest.approx(first)
        np.testing.assert_allclose(window_average_precision(edges, meant), precisions)


def moment_file(folder: Path) -> Path:
    """Three queries: one found whole, one half, one in another place."""
    lines = [
        {"qid": 1, "query": "blue", "vid": "a_0.0_150.0", "duration": 16, "relevant_windows": [[4, 8]]},
        {"qid": 2, "query": "red", "vid": "a_0.0_150.0", "duration": 16, "relevant_windows": [[0, 10], [12, 16]]},
        {"qid": 3, "query": "green", "vid": "b_0.0_150.0", "duration": 6, "relevant_windows": [[0, 2]]},
    ]
    file = folder / "highlight_val_release.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    return file


SHOTS = {
    "a_0.0_150.0": ["red", "red", "blue", "blue", "yellow", "yellow", "red", "red"],
    "b_0.0_150.0": ["white", "green", "green"],
}


def test_moments_are_measured_as_by_hand(tmp_path: Path, fake: FakeEncoder) -> None:
    """blue: 4-8 is found whole. red: 0-4 and 12-16 are found; the first overlaps 0-10 by .4, the second is whole.
    green: 2-6 is found where 0-2 is meant."""
    gallery = film_gallery(tmp_path / "g", SHOTS, fake)
    report = evaluate_moments([gallery], annotations=moment_file(tmp_path), encoder=fake)
    rows = {row.name: row for row in report.tables[0].rows}
    whole = rows["all"]
    assert dict(whole.counts) == {"queries": 3, "films": 2}
    assert whole.figures["", "R1@.5"] == pytest.approx(1 / 3)
    # red: 0-4 is wrong at .5, 12-16 right: precision 1/2 at a recall of 1/2.
    assert whole.figures["", "mAP@.5"] == pytest.approx((1 + 0.25 + 0) / 3)
    assert whole.figures["", "mAP"] == pytest.approx((1 + 0.25 + 0) / 3)
    assert set(rows) == {"all", "short"}
    assert rows["short"].counts["queries"] == 3


def test_the_commands_print_tables(tmp_path: Path, mmsearch: Command, fake: FakeEncoder) -> None:
    gallery = film_gallery(tmp_path / "g", {**FILMS, **SHOTS}, fake)
    done = mmsearch("eval", "msrvtt", gallery, "--annotations", annotated(tmp_path, "csv"), "--model", "fake", "-k", 1)
    assert (done.code, "mean vector" in done.out, "4 films, 4 captions" in done.out) == (0, True, True)
    report = tmp_path / "m.json"
    done = mmsearch("eval", "moments", gallery, "--annotations", moment_file(tmp_path), "--report", report)
    assert (done.code, "R1@.5" in done.out) == (0, True)
    assert json.loads(report.read_text())["benchmark"] == "moments"
