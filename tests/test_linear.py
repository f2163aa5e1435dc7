"""Zero-shot classification beside what learns from pictures."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mmsearch.errors import BenchmarkError
from mmsearch.evaluation import LinearOptions, LinearReport, ZeroShotOptions, evaluate_linear
from mmsearch.evaluation.classifiers import (
    ONLY_PENALTY,
    PENALTIES,
    cache_scores,
    choose_penalty,
    fit_linear_probe,
    nearest_mean_scores,
)
from mmsearch.evaluation.linear import _hold_out
from tests.conftest import Command
from tests.fakes import COLOURS, FakeEncoder, write_picture
from tests.vectors import unit_vectors


def _clouds(n: int, spread: float, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Unit vectors around three means, as classes."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 3, n)
    classes[:3] = range(3)
    means = np.random.default_rng(9).normal(size=(3, 8))
    return unit_vectors(means[classes] + spread * rng.normal(size=(n, 8))).astype(np.float64), classes


@pytest.mark.parametrize("penalty", [1e-1, 1e-3, 1e-4])
def test_the_linear_probe_is_scikit_learns_logistic_regression(penalty: float) -> None:
    from sklearn.linear_model import LogisticRegression

    vectors, classes = _clouds(120, 1.0)
    ours = fit_linear_probe(vectors, classes, 3, penalty)
    theirs = LogisticRegression(C=1 / (penalty * 120), tol=1e-10, max_iter=10_000).fit(vectors, classes)
    asked, _ = _clouds(200, 1.0, seed=1)
    scores = ours.scores(asked)
    chances = np.exp(scores - scores.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(chances, theirs.predict_proba(asked), atol=2e-3)
    np.testing.assert_allclose(ours.weights.T - ours.weights.T.mean(axis=0), theirs.coef_, rtol=0.02, atol=0.02)


def test_a_probe_that_begins_where_another_ended_ends_where_it_should() -> None:
    vectors, classes = _clouds(60, 0.8)
    cold = fit_linear_probe(vectors, classes, 3, 1e-3)
    warm = fit_linear_probe(vectors, classes, 3, 1e-3, start=fit_linear_probe(vectors, classes, 3, 1e-1))
    np.testing.assert_allclose(warm.scores(vectors), cold.scores(vectors), atol=1e-2)


def test_the_penalty_is_chosen_on_what_is_held_out() -> None:
    """Labels that are noise ask for the strongest; of one picture a class nothing can be held out."""
    vectors, _ = _clouds(90, 1.0)
    noise = np.random.default_rng(5).integers(0, 3, 90)
    separable, classes = _clouds(90, 0.05)
    assert choose_penalty(separable, classes, 3) == PENALTIES[0]  # all are right: the strongest of equal ones
    assert choose_penalty(separable[:3], classes[:3], 3) == ONLY_PENALTY
    assert choose_penalty(vectors, noise, 3) in PENALTIES


def test_nearest_means_and_caches_by_hand() -> None:
    learned, classes = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]), np.array([0, 0, 1])
    asked = np.array([[0.8, 0.6]])
    scores = nearest_mean_scores(learned, classes, 2, asked)
    mean = np.array([0.8, 0.4]) / np.linalg.norm([0.8, 0.4])
    np.testing.assert_allclose(scores, [[mean @ asked[0], 0.6]])
    texts = np.eye(2)
    scores = cache_scores(texts, learned, classes, asked, 10.0, weight=2.0, sharpness=3.0)
    near = [np.exp(-3 * (1 - each)) for each in (0.8, 0.96, 0.6)]
    np.testing.assert_allclose(scores, [[8 + 2 * (near[0] + near[1]), 6 + 2 * near[2]]])


def test_equal_pictures_stand_on_one_side() -> None:
    """Else what is asked would be known. Of each class some are asked and some are not; a single one is never asked."""
    rng = np.random.default_rng(0)
    distinct = unit_vectors(rng.normal(size=(12, 4))).astype(np.float64)
    vectors = np.concatenate([distinct[:11], distinct[:5], distinct[11:]])
    classes = np.array([0] * 6 + [1] * 5 + [0] * 5 + [2])
    is_asked = _hold_out(vectors, classes, 0.5)
    assert np.array_equal(is_asked[:5], is_asked[11:16])
    for number in (0, 1):
        assert 0 < np.count_nonzero(is_asked[classes == number]) < np.count_nonzero(classes == number)
    assert not is_asked[-1]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Eight pictures of each of six colours; the folders are called so that the encoder's texts are noise."""
    for number, colour in enumerate(COLOURS):
        for place in range(8):
            write_picture(tmp_path / "classes" / f"kind{number}" / f"{place}.png", colour, seed=10 * number + place)
    return tmp_path / "classes"


def _top1(report: LinearReport, method: str, shots: int | None) -> float:
    return next(b.top1.value for b in report.systems[0].baselines if (b.method, b.shots) == (method, shots))


OPTIONS = LinearOptions(read=ZeroShotOptions(templates=("{}",)), shots=(1, 2), seeds=3)


def test_pictures_teach_where_names_say_nothing(pictures: Path) -> None:
    report = evaluate_linear(pictures, encoder=FakeEncoder(), options=OPTIONS)
    assert (report.asked, report.learned, report.classes, report.seeds) == (24, 24, 6, 3)
    methods = [(b.method, b.shots) for b in report.systems[0].baselines]
    assert methods == [
        ("zero-shot, 1 template", 0),
        *((method, shots) for shots in (1, 2, None) for method in ("nearest mean", "cache", "linear probe")),
    ]
    assert _top1(report, "zero-shot, 1 template", 0) < 0.6
    for method in ("nearest mean", "linear probe"):
        assert _top1(report, method, 1) == 1.0
        assert _top1(report, method, None) == 1.0
    probe = report.systems[0].baselines[-1]
    assert probe.against is not None
    assert probe.against.value == pytest.approx(1 - _top1(report, "zero-shot, 1 template", 0))
    assert probe.against.p < 0.05
    assert "is reached by a linear probe with 1 shot of each class (100.0 %)" in report.systems[0].verdict
    again = evaluate_linear(pictures, encoder=FakeEncoder(), options=OPTIONS)
    assert again.systems == report.systems


def test_names_that_say_all_are_not_reached_from_noise(tmp_path: Path) -> None:
    """The classes are the colours, and the encoder knows them; each folder to learn from holds any colour."""
    rng = np.random.default_rng(1)
    for number, colour in enumerate(("red", "green", "white")):
        for place in range(6):
            write_picture(tmp_path / "asked" / colour / f"{place}.png", colour, seed=10 * number + place)
            other = ("red", "green", "white")[rng.integers(3)]
            write_picture(tmp_path / "noise" / colour / f"{place}.png", other, seed=100 + 10 * number + place)
    options = LinearOptions(
        read=ZeroShotOptions(templates=("{}", "all {}")), test=str(tmp_path / "asked"), shots=(1,), seeds=2
    )
    report = evaluate_linear(tmp_path / "noise", encoder=FakeEncoder(), options=options)
    assert (report.asked, report.learned) == (18, 18)
    assert _top1(report, "zero-shot, 2 templates", 0) == 1.0
    assert "is not reached by a linear probe with 1 shots" in report.systems[0].verdict
    write_picture(tmp_path / "asked" / "violet" / "0.png", "red")
    with pytest.raises(BenchmarkError, match="test: violet: no class of"):
        evaluate_linear(tmp_path / "noise", encoder=FakeEncoder(), options=options)


def test_what_is_asked_and_learned_is_said(pictures: Path) -> None:
    options = LinearOptions(read=ZeroShotOptions(templates=("{}",)), test=str(pictures), shots=(16,), seeds=1)
    problems = evaluate_linear(pictures, encoder=FakeEncoder(), options=options).problems
    assert any("48 pictures that are asked are among those that are learned from" in each for each in problems)
    assert any("6 classes have fewer than 16 pictures to learn from, and give all" in each for each in problems)


def test_the_command_prints_and_writes(pictures: Path, tmp_path: Path, mmsearch: Command) -> None:
    done = mmsearch(
        *("eval", "linear", "--images", pictures, "--template", "{}", "--shots", 1, "--seeds", 2),
        *("--model", "one", "--model", "two", "--report", tmp_path / "out"),
    )
    assert done.code == 0, done.err
    assert "baselines: 24 images asked, 24 to learn from, 6 classes" in done.out
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        *("report.csv", "report.html", "report.json", "report.md", "report.tex", "shots.svg")
    ]
    document = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [system["name"] for system in document["systems"]] == ["one", "two"]
    with (tmp_path / "out" / "report.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 2 * 7
    assert {row["shots"] for row in rows} == {"0", "1", "all"}
    assert r"linear probe & all & 100.0 & 100.0 \\" in (tmp_path / "out" / "report.tex").read_text()
    assert "linear probe" in (tmp_path / "out" / "shots.svg").read_text()
    assert "<svg" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test_share": 1.0}, "cannot be held out"),
        ({"shots": ()}, "at least 1"),
        ({"seeds": 0}, "at least 1"),
    ],
)
def test_bad_input_is_one_line(pictures: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(BenchmarkError, match=message):
        evaluate_linear(pictures, encoder=FakeEncoder(), options=LinearOptions(**options))


def test_pictures_of_several_classes_are_refused(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "l.tsv").write_text("kind0/0.png\ta\nkind0/0.png\tb\nkind1/0.png\tb\n")
    with pytest.raises(BenchmarkError, match="several classes"):
        evaluate_linear(
            pictures, encoder=FakeEncoder(), options=LinearOptions(read=ZeroShotOptions(labels=tmp_path / "l.tsv"))
        )
    for number in range(2):
        write_picture(tmp_path / "single" / f"k{number}" / "0.png", "red", seed=number)
    with pytest.raises(BenchmarkError, match="each class has one only"):
        evaluate_linear(tmp_path / "single", encoder=FakeEncoder(), options=OPTIONS)


def test_places_are_looked_at_before_what_takes_seconds(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The templates of open_clip come with all of torch: a misspelt folder is not told after that."""

    def load(_: object) -> None:
        raise AssertionError("loaded before the places were looked at")

    monkeypatch.setattr("mmsearch.evaluation.linear.templates_named", load)
    with pytest.raises(BenchmarkError, match=r"^test: .*absent does not exist"):
        evaluate_linear(pictures, encoder=FakeEncoder(), options=LinearOptions(test=str(tmp_path / "absent")))
    (tmp_path / "empty").mkdir()
    with pytest.raises(BenchmarkError, match=r"^test: .*empty has 0 folders with pictures"):
        evaluate_linear(pictures, encoder=FakeEncoder(), options=LinearOptions(test=str(tmp_path / "empty")))
    with pytest.raises(BenchmarkError, match=r"^images: .*empty has 0 folders with pictures"):
        evaluate_linear(tmp_path / "empty", encoder=FakeEncoder())
