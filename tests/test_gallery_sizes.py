"""R@k among fewer items, and the laws that are fitted to it."""

import csv
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mmsearch.errors import BenchmarkError
from mmsearch.evaluation import EvaluationReport, evaluate_vectors, to_json, with_gallery_sizes
from mmsearch.metrics import SizeLaw, fit_size_laws
from mmsearch.reports import markdown, page, write_report
from mmsearch.reports.size_curves import size_plots
from tests.conftest import Command
from tests.vectors import random_unit_vectors

SIZES = np.array([30, 60, 125, 250, 500, 1000])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A hundred images with two captions of each, but that two images have none and two captions no image."""
    folder = tmp_path_factory.mktemp("sizes")
    rng = np.random.default_rng(5)
    images = random_unit_vectors(rng, 100, 16)
    captions = images[np.arange(200) // 2] + 1.1 * random_unit_vectors(rng, 200, 16)
    for name, vectors in (("images", images), ("captions", captions)):
        np.save(folder / f"{name}.npy", vectors.astype(np.float32))
    lines = [f"{caption} 0 {caption // 2} 1\n" for caption in range(196)] + ["196 0 3 1\n", "197 0 4 1\n"]
    (folder / "qrels").write_text("".join(lines))
    return {name: str(folder / f"{name}.npy") for name in ("images", "captions")} | {"qrels": str(folder / "qrels")}


@pytest.fixture(scope="module")
def report(files: dict[str, str]) -> EvaluationReport:
    plain = evaluate_vectors([(files["images"], files["captions"])], qrels=Path(files["qrels"]))
    return with_gallery_sizes(plain)


def test_the_beta_law_is_the_beta_binomial_distribution() -> None:
    """By its definition with whole factorials; and where every share of items is as likely, k of n."""
    law = SizeLaw("beta", 3, 0.7, 12.0)

    def beta(a: float, b: float) -> float:
        return math.exp(math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b))

    for n in (2, 3, 4, 50, 1000):
        chances = [
            math.comb(n - 1, above) * beta(above + 0.7, n - 1 - above + 12) / beta(0.7, 12)
            for above in range(min(3, n))
        ]
        assert law.recall([n])[0] == pytest.approx(sum(chances), rel=1e-8)
    assert SizeLaw("beta", 5, 1.0, 1.0).recall(SIZES) == pytest.approx(5 / SIZES)


@pytest.mark.parametrize(
    "law",
    [
        SizeLaw("beta", 5, 0.25, 30.0),
        SizeLaw("power", 1, 0.3, -0.2),
        SizeLaw("logarithmic", 1, 1.2, -0.1),
    ],
)
def test_what_follows_a_law_is_found_to(law: SizeLaw) -> None:
    best = fit_size_laws(SIZES, law.recall(SIZES), law.k, 5000)[0]
    assert best.law.name == law.name
    assert best.error < 2e-3
    assert best.ahead is not None
    assert best.ahead < 2e-3
    assert best.law.recall([10_000]) == pytest.approx(law.recall([10_000]), abs=0.01)


def test_a_law_takes_three_sizes_and_four_times_the_range_to_be_judged() -> None:
    with pytest.raises(ValueError, match="2 sizes"):
        fit_size_laws([10, 10, 20], [0.9, 0.8, 0.7], 1, 100)
    assert {each.ahead for each in fit_size_laws([10, 20, 30], [0.9, 0.8, 0.7], 1, 100)} == {None}
    # Where all or none is answered nothing is infinite.
    for shares in ([1.0, 1.0, 1.0], [0.0, 0.0, 0.0]):
        for fitted in fit_size_laws([10, 20, 40], shares, 1, 100):
            assert fitted.law.recall([1000])[0] == pytest.approx(shares[0], abs=0.02)


def expected(report: EvaluationReport, direction: str, k: int, size: int, seed: int) -> float:
    """R@k among the images that a seed draws, of a whole matrix of scores."""
    items, evidence = report.items, report.systems[0].evidence
    scores: NDArray[np.float64] = evidence.captions.astype(np.float64) @ evidence.images.T.astype(np.float64)
    image_of = dict(zip(items.query_captions.tolist(), items.images_of_caption.positions.tolist(), strict=True))
    chosen = set(np.random.default_rng(seed).permutation(100)[:size].tolist())
    right = []
    if direction == "text_to_image":
        columns = sorted(chosen)
        for caption, image in image_of.items():
            if image in chosen:
                above = np.count_nonzero(scores[caption, columns] > scores[caption, image])
                right.append(above < k)
    else:
        rows = [caption for caption, image in image_of.items() if image in chosen]
        for image in chosen & set(image_of.values()):
            own = max(scores[caption, image] for caption in rows if image_of[caption] == image)
            others = [scores[caption, image] for caption in rows if image_of[caption] != image]
            right.append(np.count_nonzero(np.array(others) > own) < k)
    return float(np.mean(right))


def test_each_draw_is_an_evaluation_of_its_own(report: EvaluationReport) -> None:
    """Equal to counting in a whole matrix; among all images to the report's own figure. Of the two captions without an
    image as large a share comes along as of images, which may move R@k of image_to_text by what they score."""
    (system,) = report.systems
    assert system.sizes is not None
    assert {(curve.direction, curve.k) for curve in system.sizes.curves} == {
        (direction, k) for direction in ("text_to_image", "image_to_text") for k in (1, 5, 10)
    }
    for curve in system.sizes.curves:
        whole = getattr(system, curve.direction)
        assert curve.points[-1].draws == (whole.recall[curve.k],)
        assert (curve.points[-1].gallery, curve.points[-1].queries) == (whole.gallery, whole.queries)
        assert [point.gallery for point in curve.points] == sorted(point.gallery for point in curve.points)
        if curve.direction == "text_to_image":
            assert [point.gallery for point in curve.points] == [25, 35, 50, 71, 100]
        for point, size in zip(curve.points[:-1], (25, 35, 50, 71), strict=False):
            close = 0 if curve.direction == "text_to_image" else 1.5 / point.queries
            for seed, share in enumerate(point.draws):
                assert share == pytest.approx(expected(report, curve.direction, curve.k, size, seed), abs=close + 1e-12)
            assert point.recall == pytest.approx(np.mean(point.draws))


def test_draws_agree_with_all_galleries_of_their_size(report: EvaluationReport) -> None:
    """R@k over all of them follows from the ranks alone: of the r - 1 items above, fewer than k are drawn
    (hypergeometric)."""
    (system,) = report.systems
    ranks = system.evidence.text_to_image.bounds.ranks
    assert system.sizes is not None
    for curve in system.sizes.curves:
        if curve.direction == "image_to_text":
            continue
        for point in curve.points:
            others, drawn = 99, point.gallery - 1
            chances = [
                sum(math.comb(r - 1, n) * math.comb(others - r + 1, drawn - n) for n in range(min(curve.k, drawn + 1)))
                / math.comb(others, drawn)
                for r in ranks.tolist()
            ]
            assert point.recall == pytest.approx(np.mean(chances), abs=0.06)


def test_reports_say_what_was_measured_and_what_was_not(report: EvaluationReport, tmp_path: Path) -> None:
    (system,) = report.systems
    assert system.sizes is not None
    curve = next(each for each in system.sizes.curves if each.direction == "text_to_image")
    assert [each.gallery for each in curve.extrapolated] == [200, 1_000, 10_000]
    for each in curve.extrapolated:
        assert each.low <= each.recall <= each.high
    document = to_json(report)["systems"][0]["sizes"]
    assert document["seeds"] == (0, 1, 2, 3, 4)
    assert json.loads(json.dumps(document))["curves"][0]["fitted"][0]["law"]["name"] == curve.fitted[0].law.name
    text = markdown(report)
    assert "## R@k against the size of the gallery" in text
    assert "items: R@k, extrapolated, not measured" in text
    assert "5 draws, seeds 0, 1, 2, 3, 4" in text
    html = page(report, size_plots(report))
    assert "<h2>R@k against the size of the gallery</h2>" in html
    assert html.count(">extrapolated<") == 2
    names = {file.name: file for file in write_report(report, tmp_path / "out")}
    assert "gallery_sizes.svg" in names
    rows = list(csv.DictReader(io.StringIO(names["gallery_sizes.csv"].read_text())))
    measured = [row for row in rows if row["kind"] == "measured"]
    assert len(measured) == sum(len(point.draws) for each in system.sizes.curves for point in each.points)
    assert len(rows) - len(measured) == 6 * 3
    assert all(row["law"] and row["low"] and not row["seed"] for row in rows if row["kind"] == "extrapolated")


def test_the_command_measures_sizes_where_asked(
    files: dict[str, str], tmp_path: Path, mmsearch: Command, report: EvaluationReport
) -> None:
    asked = "eval", "vectors", "--images", files["images"], "--captions", files["captions"], "--qrels", files["qrels"]
    plain = mmsearch(*asked, "--report", tmp_path / "plain.json")
    assert "R@k among fewer images" not in plain.out
    assert json.loads((tmp_path / "plain.json").read_text())["systems"][0]["sizes"] is None
    done = mmsearch(*asked, "--gallery-sizes", "-k", 1)
    assert done.code == 0, done.err
    assert "the mean of 5 draws (seeds 0, 1, 2, 3, 4)" in done.out
    assert "EXTRAPOLATED  200: " in done.out
    assert "law, a = " in done.out
    few = tmp_path / "few.npy"
    np.save(few, np.eye(40, dtype=np.float32))
    of_few = "eval", "vectors", "--images", few, "--captions", few
    plain = mmsearch(*of_few)
    refused = mmsearch(*of_few, "--gallery-sizes", "--report", tmp_path / "few.json")
    assert (refused.code, "40 images are too few" in refused.err) == (1, True)
    assert (refused.out, (tmp_path / "few.json").exists()) == (plain.out, True)  # what was measured is not lost


def test_more_than_is_there_is_not_told(tmp_path: Path) -> None:
    """Among twice k items nearly everything is found: such sizes are left out, and a k that leaves two has no curve."""
    rng = np.random.default_rng(0)
    images = random_unit_vectors(rng, 60, 8).astype(np.float32)
    np.save(tmp_path / "i.npy", images)
    np.save(tmp_path / "c.npy", (images + random_unit_vectors(rng, 60, 8)).astype(np.float32))
    report = evaluate_vectors([(str(tmp_path / "i.npy"), str(tmp_path / "c.npy"))], ks=(1, 20))
    sizes = with_gallery_sizes(report).systems[0].sizes
    assert sizes is not None
    assert {(curve.direction, curve.k) for curve in sizes.curves} == {("text_to_image", 1), ("image_to_text", 1)}
    np.save(tmp_path / "few.npy", images[:49])
    few = evaluate_vectors([(str(tmp_path / "few.npy"), str(tmp_path / "few.npy"))])
    with pytest.raises(BenchmarkError, match="at least 50 are needed"):
        with_gallery_sizes(few)
