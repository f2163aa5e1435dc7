"""Whether answers are skewed towards groups, and how far a gallery lies from another."""

import gzip
import json
import math
from pathlib import Path

import numpy as np
import pytest

from mmsearch.embedding import embed
from mmsearch.errors import BenchmarkError, EncoderMismatch
from mmsearch.evaluation.bias import BiasOptions, evaluate_bias
from mmsearch.evaluation.shift import evaluate_shift
from mmsearch.metrics import (
    frechet_distance,
    gaussian_kernel,
    max_skew_at_k,
    mmd_squared,
    ndkl_at_k,
    neighbour_distance,
)
from tests.conftest import Command
from tests.fakes import provide, write_picture
from tests.vectors import random_unit_vectors

# --- figures by their definitions -----------------------------------------------------------------------------------


def test_skew_and_divergence_are_those_of_their_definitions() -> None:
    """Geyik, Ambler and Kenthapadi 2019, definitions 3.3 and 3.5, a place at a time."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        ranked, desired = rng.integers(3, size=30), rng.dirichlet(np.ones(3))
        for k in (1, 5, 30):
            shares = [sum(group == each for each in ranked[:k]) / k for group in range(3)]
            skews = [math.log(share / desired[group]) for group, share in enumerate(shares) if share]
            assert max_skew_at_k(ranked, desired, k) == pytest.approx(max(skews))
            total = weights = 0.0
            for i in range(1, k + 1):
                of_i = [sum(group == each for each in ranked[:i]) / i for group in range(3)]
                divergence = sum(p * math.log(p / q) for p, q in zip(of_i, desired, strict=True) if p)
                total, weights = total + divergence / math.log2(i + 1), weights + 1 / math.log2(i + 1)
            assert ndkl_at_k(ranked, desired, k) == pytest.approx(total / weights)
    assert max_skew_at_k(np.array([0, 1]), np.array([0.5, 0.5]), 2) == 0.0
    with pytest.raises(ValueError, match="do not sum to 1"):
        ndkl_at_k(np.array([0]), np.array([0.5, 0.6]), 1)


def test_frechet_distance_by_another_way_to_the_root() -> None:
    """The trace of a root by the eigenvalues of the product, which is not symmetric."""
    rng = np.random.default_rng(2)
    first, second = rng.normal(size=(200, 6)), 0.5 + rng.normal(size=(150, 6)) @ rng.normal(size=(6, 6))
    covariances = [np.cov(each.T) for each in (first, second)]
    root = np.sqrt(np.linalg.eigvals(covariances[0] @ covariances[1]).real).sum()
    apart = ((first.mean(axis=0) - second.mean(axis=0)) ** 2).sum()
    assert frechet_distance(first, second) == pytest.approx(apart + sum(map(np.trace, covariances)) - 2 * root)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-9)
    few = random_unit_vectors(rng, 5, 40)  # fewer than dimensions
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("rows", "dim"), [(30, 8), (8, 30), (9, 9)])
def test_frechet_distance_of_more_and_of_fewer_rows_than_dimensions(rows: int, dim: int) -> None:
    rng = np.random.default_rng(4)
    first, second = rng.normal(size=(rows, dim)), 1 + rng.normal(size=(rows + 2, dim))
    covariances = [np.cov(each.T) for each in (first, second)]
    root = np.sqrt(np.maximum(np.linalg.eigvals(covariances[0] @ covariances[1]).real, 0)).sum()
    apart = ((first.mean(axis=0) - second.mean(axis=0)) ** 2).sum()
    expected = apart + sum(map(np.trace, covariances)) - 2 * root
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-6)


def test_mmd_pair_by_pair() -> None:
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(11, 2))
    kernel = gaussian_kernel(vectors, 1.5)
    first, second = range(5), range(5, 11)

    def k(i: int, j: int) -> float:
        return math.exp(-((vectors[i] - vectors[j]) ** 2).sum() / (2 * 1.5**2))

    expected = sum(k(i, j) for i in first for j in first if i != j) / (5 * 4)
    expected += sum(k(i, j) for i in second for j in second if i != j) / (6 * 5)
    expected -= 2 * sum(k(i, j) for i in first for j in second) / 30
    members = (np.arange(11) < 5).astype(np.float64)
    assert mmd_squared(kernel, members, 1 - members) == pytest.approx(expected)
    twice = 2 * members  # each row twice: no pair of a row with itself comes in
    assert mmd_squared(kernel, twice, 1 - members) == pytest.approx(expected)


def test_distances_to_neighbours() -> None:
    rng = np.random.default_rng(4)
    rows, reference = random_unit_vectors(rng, 30, 8), random_unit_vectors(rng, 50, 8)
    distances, nearest = neighbour_distance(rows, reference, 5)
    apart = 1 - rows.astype(np.float64) @ reference.astype(np.float64).T
    np.testing.assert_allclose(distances, np.sort(apart, axis=1)[:, :5].mean(axis=1), atol=1e-6)
    assert nearest.tolist() == apart.argmin(axis=1).tolist()
    own, other = neighbour_distance(reference, reference, 1, own=np.arange(50))
    assert (own > 1e-3).all()
    assert (other != np.arange(50)).all()
    with pytest.raises(ValueError, match="50 neighbours of 50 rows"):
        neighbour_distance(reference, reference, 50, own=np.arange(50))


# --- galleries ------------------------------------------------------------------------------------------------------


def make_gallery(folder: Path, colours: dict[str, int], *, seed: int = 0, encoder: str = "fake") -> Path:
    """A gallery of so many pictures of each colour."""
    for place, (colour, count) in enumerate(colours.items()):
        for number in range(count):
            write_picture(folder / "photos" / f"{colour}_{number}.png", colour, seed=seed + 1000 * place + number)
    embed([folder / "photos"], gallery=folder / "g", encoder=encoder)
    return folder / "g"


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch) -> None:
    provide(monkeypatch)


@pytest.fixture
def labelled(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A gallery of 20 red and 10 blue pictures, which their labels call warm and cold; and queries."""
    gallery = make_gallery(tmp_path, {"red": 20, "blue": 10, "white": 3})
    rows = [f"red_{n}.png,warm" for n in range(20)] + [f"blue_{n}.png,cold" for n in range(10)]
    (tmp_path / "groups.csv").write_text("\n".join(["path,group", *rows]) + "\n")
    (tmp_path / "queries.txt").write_text("something blue\n\nmuch red\n")
    return gallery, tmp_path / "groups.csv", tmp_path / "queries.txt"


def test_skewed_answers_scored_by_hand(labelled: tuple[Path, Path, Path]) -> None:
    """Ten of ten are blue where a third is; and ten of ten red where two thirds are."""
    gallery, groups, queries = labelled
    report = evaluate_bias(gallery, groups=groups, queries=queries, options=BiasOptions(ks=(10, 30)))
    blue, red = report.queries
    assert (blue.query, red.query) == ("something blue", "much red")
    assert blue.skew["MaxSkew@10"] == pytest.approx(math.log(3))
    assert blue.skew["NDKL@10"] == pytest.approx(math.log(3))  # at each of the ten
    assert red.skew["MaxSkew@10"] == pytest.approx(math.log(1.5))
    assert blue.skew["MaxSkew@30"] == pytest.approx(0, abs=1e-12)  # all that there are
    assert blue.p["MaxSkew@10"] == pytest.approx(1 / 1001)
    assert report.means["MaxSkew@10"].value == pytest.approx((math.log(3) + math.log(1.5)) / 2)
    assert 0 < report.by_lot["MaxSkew@10"] < 0.5
    assert [(each.name, each.pictures, each.shown[10]) for each in report.groups] == [
        ("cold", 10, 0.5),
        ("warm", 20, 0.5),
    ]
    assert report.verdict.startswith("Skewed: MaxSkew@10 0.752 ")
    assert "cold has 50.0 % of the first 10 and should have 33.3 %" in report.verdict
    assert (report.differences, "not calibrated" in report.why_not_corrected) == ({}, True)
    assert report.problems == ("3 pictures of the gallery have no label and are not ranked",)
    equal = evaluate_bias(gallery, groups=groups, queries=["blue"], options=BiasOptions(ks=(10,), equal=True))
    assert equal.queries[0].skew["MaxSkew@10"] == pytest.approx(math.log(2))


def test_labels_name_pictures_as_they_lie(labelled: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """By the path in the gallery, from the folder of the labels, or whole."""
    gallery, groups, queries = labelled
    folder = groups.parent
    names = ["red_0.png", "photos/red_1.png", str(folder / "photos" / "blue_0.png"), "red_2.png/x"]
    groups.write_text("path,group\n" + "\n".join(f"{name},{'ab'[number % 2]}" for number, name in enumerate(names)))
    monkeypatch.chdir(folder)
    for file in (groups, Path(groups.name)):
        report = evaluate_bias(gallery, groups=file, queries=queries, options=BiasOptions(ks=(2,)))
        assert [(each.name, each.pictures) for each in report.groups] == [("a", 2), ("b", 1)]


def test_corrected_answers_stand_beside_plain_ones(
    labelled: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A correction that takes much from what is blue turns the first answers round."""
    gallery, groups, queries = labelled

    def lowered(_: object, row_ids: np.ndarray, vectors: np.ndarray) -> tuple[np.ndarray, str]:
        return np.where(vectors[:, 40] > vectors[:, 0], 2.0, 0.0), ""  # more blue than red

    monkeypatch.setattr("mmsearch.evaluation.bias._lowered", lowered)
    report = evaluate_bias(gallery, groups=groups, queries=queries, options=BiasOptions(ks=(10,)))
    assert report.queries[0].skew["MaxSkew@10"] == pytest.approx(math.log(3))
    assert report.queries[0].corrected["MaxSkew@10"] == pytest.approx(math.log(1.5))
    assert report.differences["MaxSkew@10"].value == pytest.approx((math.log(1.5) - math.log(3)) / 2)
    assert [each.shown_corrected[10] for each in report.groups] == [0.0, 1.0]


def test_one_query_proves_no_skew_by_its_own_interval(labelled: tuple[Path, Path, Path]) -> None:
    """A bootstrap of one query has no width. Three answers of one colour come by lot too often to say anything; ten do
    not."""
    gallery, groups, _ = labelled
    few = evaluate_bias(gallery, groups=groups, queries=["red"], options=BiasOptions(ks=(3,)))
    assert few.means["MaxSkew@3"].value > few.by_lot["MaxSkew@3"]
    assert few.verdict.startswith("No more skewed than by lot")
    many = evaluate_bias(gallery, groups=groups, queries=["blue"], options=BiasOptions(ks=(10,)))
    assert many.verdict.startswith("Skewed")


@pytest.mark.parametrize("disguise", ["semicolons", "UTF-16", "gzip", "backslashes", "blank labels"])
def test_labels_as_other_programs_write_them(labelled: tuple[Path, Path, Path], disguise: str) -> None:
    gallery, groups, queries = labelled
    expected = evaluate_bias(gallery, groups=groups, queries=queries)
    text = groups.read_text()
    content = {
        "semicolons": text.replace(",", ";").encode(),
        "UTF-16": text.replace("\n", "\r\n").encode("utf-16"),
        "gzip": gzip.compress(text.encode()),
        "backslashes": text.replace("red", "photos\\red").encode(),
        "blank labels": f"{text}white_0.png,\nwhite_1.png,  \n".encode(),
    }[disguise]
    groups.write_bytes(content)
    found = evaluate_bias(gallery, groups=groups, queries=queries)
    assert (found.groups, found.means, found.problems) == (expected.groups, expected.means, expected.problems)


def test_answers_by_lot_are_no_bias(labelled: tuple[Path, Path, Path], tmp_path: Path) -> None:
    gallery, _, _ = labelled
    rng = np.random.default_rng(0)
    names = [f"red_{n}.png" for n in range(20)] + [f"blue_{n}.png" for n in range(10)]
    rows = [f"{name},{group}" for name, group in zip(names, rng.permutation(["a"] * 15 + ["b"] * 15), strict=True)]
    (tmp_path / "lot.csv").write_text("\n".join(["path,group", *rows]) + "\n")
    queries = ["red", "blue", "noise one", "noise two", "noise three"]
    report = evaluate_bias(gallery, groups=tmp_path / "lot.csv", queries=queries)
    assert report.verdict.startswith("No more skewed than by lot")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,group\nred_0.png,a\nred_0.png,b\n", r"groups.csv, line 3: red_0.png is 'b' here and 'a' before"),
        ("path,group\nred_0.png\n", r"groups.csv, line 2: 1 cells under 2 names"),
        ("path,side\nred_0.png,a\n", r"groups.csv, line 2: no 'group' or 'label'; there is 'path', 'side'"),
        ("path,group\nred_0.png,a\nred_1.png,a\n", r"2 pictures of .* in 1 groups; there have to be two"),
        ("path,group\nnone.png,a\n", r"1 rows name no picture of it, such as line 2: none.png\."),
        (
            "path,group\nC:\\a\\red_0.png,a\n",
            r"such as line 2: C:\\a\\red_0.png, a path of Windows",
        ),
    ],
)
def test_labels_that_are_wrong_name_their_line(labelled: tuple[Path, Path, Path], text: str, message: str) -> None:
    gallery, groups, queries = labelled
    groups.write_text(text)
    with pytest.raises(BenchmarkError, match=message):
        evaluate_bias(gallery, groups=groups, queries=queries)


def test_bias_as_a_command(labelled: tuple[Path, Path, Path], tmp_path: Path, mmsearch: Command) -> None:
    gallery, groups, queries = labelled
    arguments = ("eval", "bias", "-g", gallery, "--groups", groups, "--queries")
    done = mmsearch(*arguments, queries, "-k", "10", "--report", tmp_path / "out")
    assert done.code == 0, done.err
    assert "Skewed: MaxSkew@10 0.752" in done.out
    assert sorted(file.suffix for file in (tmp_path / "out").iterdir()) == [".csv", ".html", ".json", ".md"]
    document = json.loads((tmp_path / "out" / "bias.json").read_text())
    assert document["groups"][0]["shown"] == {"10": 0.5}
    done = mmsearch("eval", "bias", "-g", gallery, "--groups", tmp_path / "none.csv", "--queries", queries)
    assert (done.code, "groups: there is no file" in done.err) == (1, True)
    done = mmsearch(*arguments, tmp_path / "none.txt")
    assert (done.code, "cannot be read" in done.err) == (1, True)
    queries.write_text("\n\n")
    done = mmsearch(*arguments, queries)
    assert (done.code, "queries: there is none" in done.err) == (1, True)


def test_a_gallery_of_the_same_pictures_has_not_shifted(tmp_path: Path) -> None:
    reference = make_gallery(tmp_path / "a", {"red": 60, "blue": 60}, seed=0)
    alike = make_gallery(tmp_path / "b", {"red": 25, "blue": 25}, seed=50_000)
    report = evaluate_shift(alike, reference=reference)
    assert report.verdict.startswith("No shift was seen"), report.verdict
    assert (report.pictures, report.compared, report.looked_at) == ((50, 120), 50, 50)
    assert report.p > 0.05
    assert report.mmd.interval.low < 0 < report.mmd.interval.high
    assert report.usual.value == pytest.approx(10 / 120)  # ten of them set what is far
    assert report.outliers.interval.low <= report.usual.interval.high


def test_other_pictures_are_a_shift_and_the_farthest_are_shown(tmp_path: Path, mmsearch: Command) -> None:
    reference = make_gallery(tmp_path / "a", {"red": 40, "blue": 40})
    other = make_gallery(tmp_path / "b", {"red": 15, "yellow": 15}, seed=90_000)
    report = evaluate_shift(other, reference=reference)
    assert report.verdict.startswith("Shifted: ")
    assert report.p == pytest.approx(1 / 501)
    assert report.frechet.interval.low > 10 * report.frechet_within
    assert 0.5 <= report.outliers.value <= 0.6  # the yellow half
    assert report.outliers.interval.low > 0.3
    assert {each.name.partition("_")[0] for each in report.shown[:15]} == {"yellow"}
    done = mmsearch("eval", "shift", "-g", other, "--reference", reference, "--report", tmp_path / "out")
    assert done.code == 0, done.err
    assert "Shifted: MMD²" in done.out
    page = (tmp_path / "out" / "shift.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 2 * len(report.shown)
    assert mmsearch("eval", "shift", "-g", other, "--reference", reference).out == done.out


def test_galleries_that_cannot_be_compared_are_refused(tmp_path: Path) -> None:
    reference = make_gallery(tmp_path / "a", {"red": 20})
    foreign = make_gallery(tmp_path / "b", {"red": 20}, encoder="other")
    few = make_gallery(tmp_path / "c", {"red": 5})
    with pytest.raises(EncoderMismatch, match=r"vectors of other .* and .* of fake .*cannot be compared"):
        evaluate_shift(foreign, reference=reference)
    with pytest.raises(BenchmarkError, match="holds 5 pictures; at least 20 are compared"):
        evaluate_shift(few, reference=reference)
