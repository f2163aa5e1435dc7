"""Scores on drawn postcards, where it is known exactly what is there: what is absent is told from what is, and the set
that is to keep nine in ten of what is relevant does."""

from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import pytest
from numpy.typing import NDArray

from mmsearch import encoders
from mmsearch.embedding import embed
from mmsearch.encoders.specs import CONFIG_NAME, demo_folder
from mmsearch.errors import MmsearchWarning
from mmsearch.gallery import Gallery
from mmsearch.metrics import Relevance, auroc, calibration_error
from mmsearch.scoring import bank_means, fit_chances, keep_threshold, sample_presence, try_settings
from mmsearch.search.general_captions import general_captions
from scripts.postcards.captions import Caption, describe
from scripts.postcards.dataset import load_test
from scripts.postcards.oracle import claim_rows, consistency
from scripts.postcards.scene import facts, neighbour

POSTCARDS = Path(__file__).resolve().parents[1] / "data" / "postcards"
FULLNESS = 0.4  # of a caption that leaves out some of what there is

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(
        not (demo_folder() / CONFIG_NAME).is_file(), reason="the demo model is not part of this checkout"
    ),
]


@dataclass(frozen=True)
class Postcards:
    """Scores of texts with the 1,000 pictures, and which pictures each text is true of.

    asked: a full caption of each picture. near: the caption of a picture that differs from one in a single attribute,
    and is true of none. far: texts of photos.
    """

    images: NDArray[np.float32]
    asked: NDArray[np.float32]
    true_of: NDArray[np.bool_]
    near: NDArray[np.float32]
    far: NDArray[np.float32]


@pytest.fixture(scope="module")
def postcards(tmp_path_factory: pytest.TempPathFactory) -> Postcards:
    folder = tmp_path_factory.mktemp("postcards") / "g"
    with pytest.warns(MmsearchWarning, match="drawn postcards"):
        embed([POSTCARDS / "images"], gallery=folder, encoder="demo")
    gallery = Gallery.open(folder)
    rows = {name: row_id for row_id, _, name in gallery.image_names()}
    test = load_test(POSTCARDS)
    row_ids = np.array([rows[postcard.filename] for postcard in test])
    images = np.asarray(gallery.vectors("images", row_ids), np.float32)
    there = claim_rows([frozenset(facts(postcard.scene)) for postcard in test])
    rng = Random(0)
    asked = [describe(rng, postcard.scene, FULLNESS) for postcard in test]
    near: list[Caption] = []
    for postcard in test:
        caption = describe(rng, neighbour(rng, postcard.scene), FULLNESS)
        if not consistency(claim_rows([caption.claims]), there).any():
            near.append(caption)
    text = encoders.open("demo", ["text"], device="cpu", precision="fp32").text
    vectors = text.encode([*(each.text for each in (*asked, *near)), *general_captions()]).vectors
    first, second = len(asked), len(asked) + len(near)
    true_of = consistency(claim_rows([each.claims for each in asked]), there)
    return Postcards(images, vectors[:first], true_of, vectors[first:second], vectors[second:])


def test_what_is_absent_is_told_from_what_is_there(postcards: Postcards) -> None:
    """Far absence: texts of photos. Near absence: one attribute is another."""
    best = (postcards.asked @ postcards.images.T).max(axis=1)
    figures = {}
    for name, absent in (("far", postcards.far), ("near", postcards.near)):
        without = (absent @ postcards.images.T).max(axis=1)
        relevant = np.repeat([True, False], [len(best), len(without)])
        scores = np.concatenate([best, without]).astype(np.float64)
        figures[name] = auroc(scores, relevant, np.arange(len(scores)), len(scores)).value
    assert figures["far"] > 0.93
    assert figures["near"] > 0.95


def test_chances_come_true(postcards: Postcards) -> None:
    """Fitted on half of the texts, judged on the others, half of whose pictures are taken away."""
    relevant = Relevance.lists(np.flatnonzero(row) for row in postcards.true_of)
    halves = np.arange(0, 1000, 2), np.arange(1, 1000, 2)
    scores = (postcards.asked @ postcards.images.T).astype(np.float64)
    fitting, judging = (sample_presence(scores[half], relevant.take(half), np.random.default_rng(0)) for half in halves)
    chances = fit_chances([fitting], np.arange(500))
    _, best = judging
    errors = calibration_error(chances.of_any(best.scores, best.searched), best.relevant, best.queries, 500)
    assert errors.value < 0.03


def test_nine_in_ten_are_kept_over_many_splits(postcards: Postcards) -> None:
    """Split conformal prediction promises 90 % on average over splits: not less, and not much more."""
    own = np.einsum("nd,nd->n", postcards.asked, postcards.images).astype(np.float64)
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(200):
        order = rng.permutation(len(own))
        threshold = keep_threshold(own[order[:300]], 0.9)
        shares.append((own[order[300:]] >= threshold).mean())
    error = np.std(shares) / np.sqrt(len(shares))
    assert 0.9 - 4 * error < np.mean(shares) < 0.9 + 1 / 301 + 4 * error


def test_a_foreign_bank_does_no_harm(postcards: Postcards) -> None:
    """Texts of photos know nothing of postcards: they are refused, or what they do on other queries is no loss."""
    scores = postcards.asked @ postcards.images.T
    relevant = Relevance.lists(np.flatnonzero(row) for row in postcards.true_of)
    means = bank_means(postcards.images, postcards.far)
    folds = np.arange(1000) % 2
    trial = try_settings(scores, relevant, [means, means], folds, np.arange(1000))
    plain, corrected = (1 / ranks for ranks in (trial.plain_ranks, trial.corrected_ranks))
    assert trial.setting.alpha == 0 or corrected.mean() > plain.mean()
