"""The correction for hubs: its formula, the choice of its settings, and that it is left out where it does not help."""

import numpy as np
import pytest
from numpy.typing import NDArray

from mmsearch.metrics import Relevance
from mmsearch.scoring import ALPHAS, KS, NO_CORRECTION, Setting, average_trials, bank_means, try_settings
from tests.vectors import unit_vectors

DIM = 16


def hubby(seed: int, n: int = 300) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Images (n, DIM) and the caption of each; every tenth image lies close to where all captions are."""
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(n, DIM))
    captions = images + rng.normal(size=(n, DIM))
    captions[:, 0] += 2
    images[::10, 0] += 2.5
    return unit_vectors(images).astype(np.float32), unit_vectors(captions).astype(np.float32)


def test_means_are_those_of_the_definition() -> None:
    images, captions = hubby(0, 50)
    owners, bank_owners = np.arange(50), np.repeat(np.arange(25), 2)
    bank = np.concatenate([captions[:25], captions[25:]])
    means = bank_means(images, bank, (1, 3, 64), owners=owners, bank_owners=bank_owners)
    for item in range(50):
        others = np.sort((images[item].astype(np.float64) @ bank.T)[bank_owners != item])[::-1]
        for k in (1, 3, 64):
            assert means[k][item] == pytest.approx(others[:k].mean(), abs=1e-12)
    in_float16 = bank_means(images.astype(np.float16), bank, (3,))[3]
    assert in_float16 == pytest.approx(bank_means(images, bank, (3,))[3], abs=1e-3)


def test_hubs_are_seen_and_the_choice_is_not_judged_by_its_own_queries() -> None:
    images, captions = hubby(1)
    folds = np.arange(300) % 2
    means = [
        bank_means(images, captions[folds != fold], owners=np.arange(300), bank_owners=np.flatnonzero(folds != fold))
        for fold in (0, 1)
    ]
    scores = captions @ images.T
    relevant = Relevance.one_each(np.arange(300))
    trial = try_settings(scores, relevant, means, folds, np.arange(300))
    assert trial.helps
    assert trial.setting == trial.chosen
    assert trial.setting.alpha in ALPHAS
    assert trial.setting.k in KS
    assert trial.gain.first == pytest.approx((1 / trial.plain_ranks).mean())
    assert trial.gain.second == pytest.approx((1 / trial.corrected_ranks).mean())
    # By hand, of a query of each fold, with the setting that the other fold chose.
    for query in (0, 1, 2, 3):
        fold = int(folds[query])
        setting = trial.fold_settings[1 - fold]
        lowered = np.asarray(scores[query] - setting.alpha * means[fold][setting.k])
        assert trial.corrected_ranks[query] == 1 + np.count_nonzero(lowered > lowered[query])

    # What one fold chose follows from its queries alone: others may ask what they like.
    shuffled = scores.copy()
    shuffled[folds == 1] = np.random.default_rng(0).permuted(shuffled[folds == 1], axis=1)
    again = try_settings(shuffled, relevant, means, folds, np.arange(300))
    assert again.fold_settings[0] == trial.fold_settings[0]


def test_what_is_not_seen_to_help_is_not_done() -> None:
    images, captions = hubby(2)
    folds, relevant, scores = np.arange(300) % 2, Relevance.one_each(np.arange(300)), captions @ images.T
    noise = np.random.default_rng(0).normal(size=300)
    harmful = dict.fromkeys(KS, noise)
    trial = try_settings(scores, relevant, [harmful, harmful], folds, np.arange(300))
    assert not trial.helps
    assert trial.setting == NO_CORRECTION
    assert (trial.corrected_ranks == trial.plain_ranks).all()


def test_of_several_relevant_items_the_best_counts_and_ties_go_to_the_lower_position() -> None:
    scores = np.array([[0.5, 0.9, 0.9, 0.1], [0.2, 0.2, 0.2, 0.2]])
    relevant = Relevance.lists([[0, 2], [1, 3]])
    nothing = {1: np.zeros(4)}
    trial = try_settings(scores, relevant, [nothing, nothing], np.array([0, 1]), np.arange(2))
    assert trial.plain_ranks.tolist() == [2, 2]
    assert trial.chosen == NO_CORRECTION
    lower = {1: np.array([0.0, 1.0, 0.0, 0.0])}
    trial = try_settings(scores, relevant, [lower, lower], np.array([0, 1]), np.arange(2))
    assert trial.fold_settings == (Setting(0.25, 1), NO_CORRECTION)


def test_a_fold_without_queries_is_refused() -> None:
    with pytest.raises(ValueError, match="both folds"):
        try_settings(
            np.eye(2), Relevance.one_each(np.arange(2)), [{1: np.zeros(2)}] * 2, np.zeros(2, int), np.arange(2)
        )


def test_several_splits_are_averaged_so_that_no_lot_decides() -> None:
    images, captions = hubby(3)
    scores, relevant, clusters = captions @ images.T, Relevance.one_each(np.arange(300)), np.arange(300) // 2
    rng = np.random.default_rng(0)
    trials = []
    for _ in range(3):
        folds = rng.permutation(150).repeat(2) % 2
        means = [
            bank_means(
                images, captions[folds != fold], owners=np.arange(300), bank_owners=np.flatnonzero(folds != fold)
            )
            for fold in (0, 1)
        ]
        trials.append(try_settings(scores, relevant, means, folds, clusters))
    averaged = average_trials(trials, clusters)
    assert averaged.gain.value == pytest.approx(np.mean([trial.gain.value for trial in trials]))
    assert averaged.gain.first == trials[0].gain.first
    widths = [trial.gain.interval.high - trial.gain.interval.low for trial in trials]
    assert averaged.gain.interval.high - averaged.gain.interval.low < np.mean(widths)
    assert averaged.corrected_ranks.tolist() == [trial.corrected_ranks.tolist() for trial in trials]
    mrr = {setting: sum(trial.mrr[setting] for trial in trials) for setting in trials[0].mrr}
    assert averaged.chosen == max(mrr, key=lambda setting: mrr[setting])
    alone = average_trials(trials[:1], clusters)
    assert (alone.chosen, alone.gain) == (trials[0].chosen, trials[0].gain)
