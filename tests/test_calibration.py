"""Chances: their two forms, what they refuse, the threshold that keeps a share, and how all that is judged."""

import doctest
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mmsearch.metrics import (
    auroc,
    brier_score,
    calibration_error,
    reliability,
    risk_coverage,
    risk_coverage_area,
)
from mmsearch.scoring import (
    Probability,
    correction,
    fit_probability,
    keep_threshold,
    pool_adjacent_violators,
    probability,
)

Floats = NDArray[np.float64]
SCORES = st.lists(st.integers(-20, 20), min_size=2, max_size=40)
quick = settings(max_examples=25, deadline=None)


def test_docstrings_tell_the_truth() -> None:
    tried = [doctest.testmod(part) for part in (correction, probability)]
    assert all(one.attempted and not one.failed for one in tried)


def samples(seed: int, n: int, searched: int = 100) -> tuple[Floats, Floats, NDArray[np.bool_], NDArray[np.int64]]:
    """Scores, numbers of items searched, answers and images, from a logistic truth."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(0.25, 0.05, n)
    sizes = searched * rng.choice([1, 10, 100], n).astype(np.float64)
    return scores, sizes, rng.random(n) < truth(scores, sizes), np.arange(n) // 2


def truth(scores: Floats, searched: Floats) -> Floats:
    chances: Floats = 1 / (1 + np.exp(-(40 * (scores - 0.25) - np.log(searched / 1000))))
    return chances


def test_a_logistic_truth_is_found_again_with_the_size_of_what_was_searched() -> None:
    scores, searched, relevant, clusters = samples(0, 20_000)
    fitted = fit_probability(scores, searched, relevant, clusters)
    assert fitted.slope == pytest.approx(40, rel=0.06)
    assert fitted.searched_slope == pytest.approx(-1, rel=0.06)
    new_scores, new_searched, _, _ = samples(1, 1000)
    assert np.abs(fitted(new_scores, new_searched) - truth(new_scores, new_searched)).mean() < 0.02


def test_the_smoothing_of_platt_is_that_of_the_definition() -> None:
    """Two groups of scores: the chances of a fit with two coefficients are the groups' mean targets."""
    scores, relevant = np.repeat([0.0, 1.0], [4, 6]), np.array([1, 0, 0, 0, 1, 1, 1, 1, 0, 0])
    fitted = fit_probability(scores, 10, relevant, np.zeros(10))
    assert fitted.form == "platt"
    high, low = (5 + 1) / (5 + 2), 1 / (5 + 2)
    assert fitted([0, 1], 10) == pytest.approx([(high + 3 * low) / 4, (4 * high + 2 * low) / 6], abs=1e-6)


def test_the_form_with_the_lower_loss_held_out_is_taken() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(4000)
    steps = np.where(scores < 0.45, 0.4, np.where(scores < 0.55, 0.5, 0.95))
    fitted = fit_probability(scores, 50, rng.random(4000) < steps, np.arange(4000))
    assert fitted.form == "isotonic"
    assert fitted([0.2, 0.8], 50) == pytest.approx([0.4, 0.95], abs=0.03)
    for seed in range(3):
        assert fit_probability(*samples(seed, 2000)).form == "platt"


@quick
@given(SCORES, st.integers(0, 9), st.floats(-3, 3), st.floats(0, 1e-2))
def test_chances_rise_with_the_score_and_are_never_certain(
    scores: list[int], random: object, low: float, by: float
) -> None:
    rng = np.random.default_rng(abs(hash(tuple(scores))))
    values = np.array(scores) / 20
    relevant = rng.random(len(values)) < 0.3 + 0.5 * values
    fitted = fit_probability(values, rng.integers(1, 1000, len(values)), relevant, rng.integers(0, 5, len(values)))
    chances = fitted(np.linspace(-5, 5, 201), 100)
    assert (np.diff(chances) >= 0).all()
    assert ((chances > 0) & (chances < 1)).all()
    assert fitted(low + by, 7) >= fitted(low, 7)
    again = Probability.from_json(json.loads(json.dumps(fitted.to_json())))
    assert again == fitted


def test_what_cannot_be_fitted_is_the_same_for_every_score() -> None:
    scores = np.linspace(0, 1, 8)
    for relevant, chance in ((np.ones(8), 9 / 10), (np.zeros(8), 1 / 10)):
        assert fit_probability(scores, 5, relevant, np.arange(8))([-1, 0.5, 9], 5) == pytest.approx([chance] * 3)
    answers = np.array([1, 0] * 4)
    assert np.ptp(fit_probability(np.full(8, 0.3), 5, answers, np.arange(8))([0, 1], 5)) == 0
    # Higher scores that are worse are no reason to trust lower ones.
    assert np.ptp(fit_probability(scores, 5, scores < 0.5, np.zeros(8))([0, 1], 5)) < 1e-9
    assert fit_probability([0.3], 5, [True], [0])(0.3, 5) == pytest.approx(2 / 3)
    # What separates them wholly does not run away.
    apart = fit_probability(scores, 5, scores > 0.5, np.arange(8))
    assert apart([0, 1], 5) == pytest.approx([1 / 6, 5 / 6], abs=0.02)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_no_numbers_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        fit_probability([0.1, bad], 5, [0, 1], [0, 1])
    fitted = fit_probability([0.1, 0.2], 5, [0, 1], [0, 1])
    with pytest.raises(ValueError, match="finite"):
        fitted(bad, 5)
    with pytest.raises(ValueError, match="at least 1"):
        fitted(0.1, 0)
    with pytest.raises(ValueError, match="0 answers"):
        fit_probability([], 5, [], [])
    with pytest.raises(ValueError, match="not known"):
        Probability.from_json({**fitted.to_json(), "form": "beta"})


@quick
@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(1, 5)), min_size=1, max_size=30))
def test_pooled_values_rise_and_keep_their_mean(pairs: list[tuple[int, int]]) -> None:
    values, weights = np.array(pairs, np.float64).T
    pooled = pool_adjacent_violators(values, weights)
    assert (np.diff(pooled) >= 0).all()
    assert pooled @ weights == pytest.approx(values @ weights)
    if (np.diff(values) >= 0).all():
        assert pooled == pytest.approx(values)


def test_the_threshold_keeps_what_it_says_over_many_draws() -> None:
    rng = np.random.default_rng(0)
    kept = [(rng.normal(size=200) >= keep_threshold(rng.normal(size=49))).mean() for _ in range(500)]
    assert np.mean(kept) == pytest.approx(0.9, abs=0.006)  # of 49 the fifth smallest: exactly 45 of 50
    assert keep_threshold(np.arange(1.0, 10.0)) == 1
    assert keep_threshold([], 0.9) == -np.inf
    assert keep_threshold([1.0, 2.0], keep=0.0) == 2
    with pytest.raises(ValueError, match="share"):
        keep_threshold([np.nan, 1.0])


def test_auroc_is_the_share_of_pairs() -> None:
    rng = np.random.default_rng(0)
    scores, relevant = rng.integers(0, 6, 60).astype(np.float64), rng.random(60) < 0.4
    pairs = scores[relevant][:, None] - scores[~relevant]
    by_hand = ((pairs > 0) + (pairs == 0) / 2).mean()
    found = auroc(scores, relevant, np.arange(60) // 2, 30)
    assert found.value == pytest.approx(by_hand)
    assert found.value in found.interval
    assert np.isnan(auroc(scores, np.ones(60, bool), np.arange(60), 60).value)


@quick
@given(SCORES)
def test_auroc_knows_the_order_alone(scores: list[int]) -> None:
    values = np.array(scores, np.float64)
    relevant = np.arange(len(values)) % 2 == 0
    images = np.arange(len(values))
    plain, bent = (auroc(v, relevant, images, len(images)).value for v in (values, np.exp(values / 5) + 3))
    assert plain == pytest.approx(bent)
    assert auroc(-values, relevant, images, len(images)).value == pytest.approx(1 - plain)


def test_intervals_are_those_of_weighted_samples() -> None:
    """What is computed from weights of images equals the same of samples repeated so often."""
    rng = np.random.default_rng(0)
    scores, relevant, images = rng.random(40).round(1), rng.random(40) < 0.5, np.arange(40) // 4
    doubled = np.concatenate([np.arange(40), np.arange(8)])  # images 0 and 1 twice
    for figure in (auroc, risk_coverage_area, brier_score, calibration_error):
        first = figure(scores, relevant, images, 10)
        assert first.interval.low < first.interval.high
        both = figure(scores[doubled], relevant[doubled], images[doubled], 10)
        assert both.value != first.value
    one_image = brier_score(scores, relevant, np.zeros(40, np.int64), 1)
    assert one_image.interval.low == pytest.approx(one_image.value) == one_image.interval.high


def test_calibration_error_and_reliability_by_hand() -> None:
    chances = np.array([0.1, 0.2, 0.2, 0.5, 0.6, 0.9])
    relevant = np.array([False, False, True, True, False, True])
    low, middle, high = reliability(chances, relevant, np.arange(6), 6, bins=3)
    # The middle of the two equal chances lies in the second third.
    assert [b.count for b in (low, middle, high)] == [1, 3, 2]
    assert middle.predicted == pytest.approx(0.3)
    assert middle.relevant.value == pytest.approx(2 / 3)
    error = calibration_error(chances, relevant, np.arange(6), 6, bins=3)
    assert error.value == pytest.approx((1 * 0.1 + 3 * (2 / 3 - 0.3) + 2 * 0.25) / 6)
    assert brier_score(chances, relevant, np.arange(6), 6).value == pytest.approx(
        (0.01 + 0.04 + 0.64 + 0.25 + 0.36 + 0.01) / 6
    )


def test_risk_ends_at_the_share_of_wrong_answers() -> None:
    confidence = np.array([0.5, 0.5, 0.5, 0.5])
    right = np.array([True, False, False, False])
    curve = risk_coverage(confidence, right)
    assert (curve.coverage.tolist(), curve.risk.tolist()) == ([1.0], [0.75])
    # Where confidence says nothing, the area is the share of wrong answers.
    assert risk_coverage_area(confidence, right, np.arange(4), 4).value == 0.75
    assert risk_coverage_area(np.array([4.0, 1, 2, 3]), right, np.arange(4), 4).value == pytest.approx(
        (0 + 1 / 2 + 2 / 3 + 3 / 4) / 4
    )
    with pytest.raises(ValueError, match="finite"):
        risk_coverage(np.array([np.nan]), np.array([True]))
