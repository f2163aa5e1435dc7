"""Pictures of the same place: a ground truth cut by hand as Revisited Oxford's is described, figures by hand and by an
evaluation that shares no code with ours."""

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmsearch.benchmarks import load_instances
from mmsearch.errors import BenchmarkError
from mmsearch.evaluation import FigureReport, FigureRow, evaluate_instances
from mmsearch.metrics import precisions_without_junk, ranks_without_junk, trapezoid_average_precision
from tests.conftest import Command
from tests.fakes import COLOURS, FakeEncoder, provide, write_picture

SEARCHED = ("red", "red", "green", "red", "blue", "yellow", "red", "white")


def make_truth() -> dict[str, Any]:
    """Two queries of which only the box says what is asked for. For the second nothing is easy."""
    return {
        "imlist": [f"oxford_{number}" for number in range(len(SEARCHED))],
        "qimlist": ["asking_0", "asking_1"],
        "gnd": [
            {"bbx": [0.0, 0.0, 32.0, 24.0], "easy": np.array([0, 3]), "hard": [5], "junk": np.array([1])},
            {"bbx": [32, 0, 64, 24], "easy": [], "hard": np.array([2, 7]), "junk": []},
        ],
    }


@pytest.fixture
def oxford(tmp_path: Path) -> tuple[Path, Path]:
    folder = tmp_path / "jpg"
    for number, colour in enumerate(SEARCHED):
        write_picture(folder / f"oxford_{number}.jpg", colour, seed=number)
    for number in range(2):  # red on the left, green on the right
        both = Image.new("RGB", (64, 24), COLOURS["red"])
        both.paste(COLOURS["green"], (32, 0, 64, 24))
        both.save(folder / f"asking_{number}.jpg", quality=95)
    file = tmp_path / "gnd_roxford5k.pkl"
    file.write_bytes(pickle.dumps(make_truth(), protocol=2))
    return folder, file


def row_of(report: FigureReport, name: str) -> FigureRow:
    return next(row for row in report.tables[0].rows if row.name == name)


def independently(ranking: list[int], right: set[int], junk: set[int]) -> tuple[float, list[float]]:
    """Item by item, as the authors' description says: junk is passed over and does not count as a rank."""
    area, found, rank, ranks = 0.0, 0, 0, []
    for item in ranking:
        if item in junk:
            continue
        if item in right:
            before = 1.0 if rank == 0 else found / rank
            found += 1
            area += (before + found / (rank + 1)) / 2 / len(right)
            ranks.append(rank + 1)
        rank += 1
    return area, [sum(r <= min(k, ranks[-1]) for r in ranks) / min(k, ranks[-1]) for k in (1, 5, 10)]


def rankings(folder: Path) -> list[list[int]]:
    fake = FakeEncoder()
    files = [folder / f"oxford_{number}.jpg" for number in range(len(SEARCHED))]
    vectors = fake.encode_images(np.stack([fake.preprocess(Image.open(file).convert("RGB")) for file in files]))
    ranked = []
    for number, left in enumerate((0, 32)):
        asking = Image.open(folder / f"asking_{number}.jpg").convert("RGB").crop((left, 0, left + 32, 24))
        vector = fake.encode_images(fake.preprocess(asking)[np.newaxis])[0]
        ranked.append(np.argsort(-(vectors.astype(float) @ vector.astype(float)), kind="stable").tolist())
    return ranked


def test_three_grades_by_an_independent_evaluation(oxford: tuple[Path, Path]) -> None:
    folder, file = oxford
    report = evaluate_instances("roxford5k", images=folder, annotations=file, encoder=FakeEncoder())
    first, second = rankings(folder)
    assert SEARCHED[first[0]] == "red", "the box of the first query is its red half"
    assert SEARCHED[second[0]] == "green"
    expected = {
        "easy": [independently(first, {0, 3}, {1, 5})],  # of the second query nothing is easy: it is left out
        "medium": [independently(first, {0, 3, 5}, {1}), independently(second, {2, 7}, set())],
        "hard": [independently(first, {5}, {1, 0, 3}), independently(second, {2, 7}, set())],
    }
    assert [row.name for row in report.tables[0].rows] == list(expected)
    for name, queries in expected.items():
        figures = row_of(report, name).figures
        assert figures["", "mAP"] == pytest.approx(np.mean([area for area, _ in queries]), abs=1e-12)
        for place, k in enumerate((1, 5, 10)):
            assert figures["", f"mP@{k}"] == pytest.approx(np.mean([at[place] for _, at in queries]), abs=1e-12)
        assert row_of(report, name).counts == {"queries": len(queries)}
    assert "NOT THE DATA SET, which has 4,993 images and 70 queries" in report.title


def test_by_hand() -> None:
    """Right are the first and the fourth of what is no junk. The first adds (1 + 1) / 2, the second (1/3 + 2/4) / 2:
    their mean is 17/24. Of the four best, at most which count, two are right."""
    ranks = ranks_without_junk(np.array([7, 9, 1, 2, 8, 3]), np.array([7, 8]), np.array([9]))
    assert ranks.tolist() == [0, 3]
    assert trapezoid_average_precision(ranks) == pytest.approx(17 / 24)
    assert precisions_without_junk(ranks, (1, 5, 10)) == [1.0, 0.5, 0.5]
    assert trapezoid_average_precision(np.arange(5)) == 1.0
    with pytest.raises(ValueError, match="nothing is right"):
        trapezoid_average_precision(np.array([], np.int64))


def test_junk_never_counts_against_a_query() -> None:
    """Random rankings: what is junk may stand anywhere."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        ranking = rng.permutation(30)
        right, junk = ranking[rng.choice(30, 4, replace=False)], ranking[rng.choice(30, 6, replace=False)]
        junk = np.setdiff1d(junk, right)
        area, at = independently(ranking.tolist(), set(right.tolist()), set(junk.tolist()))
        ranks = ranks_without_junk(ranking, right, junk)
        assert trapezoid_average_precision(ranks) == pytest.approx(area)
        assert precisions_without_junk(ranks, (1, 5, 10)) == at


def test_a_pickle_is_read_without_running_what_it_names(oxford: tuple[Path, Path], tmp_path: Path) -> None:
    folder, file = oxford

    class Trap:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path / 'sprung'}",)

    file.write_bytes(pickle.dumps({**make_truth(), "extra": Trap()}))
    with pytest.raises(BenchmarkError, match=r"it names \w+\.system, which annotations have no need of"):
        load_instances("roxford5k", images=folder, annotations=file)
    assert not (tmp_path / "sprung").exists()
    for protocol in (0, 2, 5):
        file.write_bytes(pickle.dumps(make_truth(), protocol=protocol))
        assert load_instances("roxford5k", images=folder, annotations=file).queries[0].easy.tolist() == [0, 3]
    plain = json.loads(json.dumps(make_truth(), default=lambda array: array.tolist()))
    file.write_text(json.dumps(plain))
    assert load_instances("roxford5k", images=folder, annotations=file).queries[1].box == (32, 0, 64, 24)


def test_what_is_no_ground_truth_is_said(oxford: tuple[Path, Path]) -> None:
    folder, file = oxford
    truth = make_truth()
    gnd = truth["gnd"]
    for content, message in (
        (b"\x80\x02no pickle", "neither JSON nor a pickle"),
        (pickle.dumps([1]), "not a ground truth"),
        (pickle.dumps({"imlist": ["x"]}), "it has the keys imlist"),
        (pickle.dumps({**truth, "gnd": gnd[:1]}), "1 records for 2 pictures"),
        (pickle.dumps({**truth, "gnd": [gnd[0], 3]}), r"gnd\[1\]: not a record"),
        (pickle.dumps({**truth, "gnd": [gnd[0], {**gnd[1], "hard": [8]}]}), "beyond the 8 of imlist"),
        (pickle.dumps({**truth, "gnd": [gnd[0], {**gnd[1], "bbx": [1, 2]}]}), "not four numbers"),
        (pickle.dumps({**truth, "gnd": [gnd[0], {**gnd[1], "bbx": [9, 0, 9, 5]}]}), "an empty box"),
    ):
        file.write_bytes(content)
        with pytest.raises(BenchmarkError, match=message):
            load_instances("roxford5k", images=folder, annotations=file)
    file.write_bytes(pickle.dumps(truth))
    (folder / "oxford_3.jpg").unlink()
    with pytest.raises(BenchmarkError, match=r"1 of 8 are not in .*\(oxford_3\)"):
        load_instances("roxford5k", images=folder, annotations=file)
    with pytest.raises(BenchmarkError, match="choose one of roxford5k, rparis6k"):
        evaluate_instances("oxford5k", images=folder, annotations=file, encoder=FakeEncoder())


def test_the_command(oxford: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, mmsearch: Command) -> None:
    provide(monkeypatch)
    folder, file = oxford
    done = mmsearch("eval", "instances", "roxford5k", "--images", folder, "--annotations", file, "--model", "fake")
    assert done.code == 0, done.err
    rows = [line.split() for line in done.out.splitlines() if line.startswith(("difficulty", "easy", "medium", "hard"))]
    assert [row[0] for row in rows] == ["difficulty", "easy", "medium", "hard"]
    assert rows[0][1:] == ["mAP", "mP@1", "mP@5", "mP@10", "queries"]
