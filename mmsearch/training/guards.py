"""Whether training helped: before against after on the same pairs, weights between both, and what went wrong."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from mmsearch.metrics import Relevance, differences, mean_difference, rank_both
from mmsearch.training.records import AlphaPoint, Comparison, LossLog, PairVectors, TrainingPairs, Verdict

__all__ = [
    "ALPHAS",
    "NOT_SURELY_BETTER",
    "choose_alpha",
    "compare",
    "deciding_figure",
    "judge",
    "neighbours_kept",
    "notice_problems",
]

ALPHAS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Where between before and after weights are tried (WiSE-FT: Wortsman et al. 2022)."""

NOT_SURELY_BETTER: Verdict = "not surely better"

_KS = (1, 5, 10)
_NEIGHBOURS = 10
_NOTHING_LEARNT = 0.02  # of the loss of a model that tells nothing apart, below it, that a loss has to fall
_MOST_SCALE = 99.9  # of logits; open_clip holds it to 100
_ALIKE = 0.95  # mean cosine of two vectors of one side

_Figures = dict[str, NDArray[np.float64]]


def deciding_figure(vectors: PairVectors, pairs: TrainingPairs) -> float:
    """What models are chosen by, 0 to 1: the mean of R@1, R@5 and R@10 of both directions, of which only the pictures
    of `pairs` are searched; where these have classes, zero-shot accuracy."""
    if pairs.classes is not None:
        return float(_rightly_classified(vectors, pairs).mean())
    by_text, by_image = _figures(vectors, pairs)
    return float(np.mean([np.mean(values) for values in (*by_text.values(), *by_image.values())]))


def compare(what: str, before: PairVectors, after: PairVectors, pairs: TrainingPairs) -> Comparison:
    """Before against after, with the 95 % intervals of the changes: pictures are resampled, each with its texts."""
    firsts, seconds = _figures(before, pairs), _figures(after, pairs)
    of_query = (pairs.image_of_text, np.arange(pairs.images))
    changes = {}
    for direction, first, second, images in zip(
        ("text_to_image", "image_to_text"), firsts, seconds, of_query, strict=True
    ):
        for name, change in differences(first, second, images, pairs.images).items():
            changes[f"{direction} {name}"] = change
    mean = mean_difference(list(zip(firsts, seconds, of_query, strict=True)), pairs.images)
    accuracy = None
    if pairs.classes is not None:
        first, second = ({"accuracy": _rightly_classified(each, pairs)} for each in (before, after))
        accuracy = differences(first, second, np.arange(pairs.images), pairs.images)["accuracy"]
    return Comparison(what, pairs.images, len(pairs.texts), changes, mean, accuracy)


def judge(comparison: Comparison) -> Verdict:
    """Whether the interval of the change of what decides lies above 0, below it, or holds it."""
    interval = comparison.deciding.interval
    if interval.low > 0:
        return "better"
    return "worse" if interval.high < 0 else NOT_SURELY_BETTER


def choose_alpha(
    new: Callable[[float], float],
    kept: Callable[[float], float | None],
    alphas: Sequence[float] = ALPHAS,
    *,
    most_lost: float = 0.02,
) -> tuple[float, tuple[AlphaPoint, ...]]:
    """How much of the training to keep: the share that is best on validation pairs among those that lose little of
    what the model knew, no more than `most_lost` (see `AlphaPoint`); of equals the smallest. Returns it, and what all
    of them gave.

    >>> choose_alpha(lambda alpha: 0.5 + alpha / 10, lambda alpha: 1 - alpha / 20, (0.0, 0.4, 1.0))[0]
    0.4
    """
    curve = tuple(AlphaPoint(alpha, new(alpha), kept(alpha)) for alpha in alphas)
    known = curve[0].kept
    loses_little = [point for point in curve if point.kept is None or known is None or point.kept >= known - most_lost]
    best = max(loses_little, key=lambda point: (round(point.new, 9), -point.alpha))
    return best.alpha, curve


def neighbours_kept(before: NDArray[np.float32], after: NDArray[np.float32]) -> float:
    """How much of what texts mean to each other is left: the share of the ten nearest neighbours of each text that
    still are, 0 to 1. before, after: float32 (n, dim), of length 1, of the same texts.

    >>> texts = np.eye(12, dtype=np.float32) + 0.1
    >>> neighbours_kept(texts, texts)
    1.0
    """
    return float(np.mean(neighbours_kept_of_each(before, after)))


def neighbours_kept_of_each(before: NDArray[np.float32], after: NDArray[np.float32]) -> NDArray[np.float64]:
    """As `neighbours_kept`, of each text."""
    k = min(_NEIGHBOURS, len(before) - 1)
    nearest = []
    for vectors in (before, after):
        scores = vectors @ vectors.T
        np.fill_diagonal(scores, -np.inf)
        nearest.append(np.argsort(-scores, axis=1, kind="stable")[:, :k])
    shares: NDArray[np.float64] = (nearest[0][:, :, None] == nearest[1][:, None, :]).any(axis=2).mean(axis=1)
    return shares


def notice_problems(log: LossLog, before: PairVectors, after: PairVectors) -> tuple[str, ...]:
    """What went wrong in training, each by its name and in words.

    before, after: the vectors of validation pairs by the model before, and by all of what was learnt. Names of classes
    that are much alike begin near to each other: collapsed is a side whose vectors came closer.
    """
    problems = []
    if not all(map(math.isfinite, log.losses)):
        problems.append("broken: the loss became no number; try a lower --rate")
    elif log.losses and log.untrained_loss and log.losses[-1] > (1 - _NOTHING_LEARNT) * log.untrained_loss:
        problems.append(
            f"nothing learnt: the loss is {log.losses[-1]:.2f}, and that of a model that tells no pair from another is "
            f"{log.untrained_loss:.2f}; are the captions those of their pictures?"
        )
    if log.logit_scale >= _MOST_SCALE:
        problems.append(
            f"runaway temperature: cosines are multiplied with {log.logit_scale:.0f}, the most that is allowed; too "
            "few pairs are learnt by heart"
        )
    sides = (("pictures", before.images, after.images), ("texts", before.texts, after.texts))
    for side, were, vectors in sides:
        alike = _mean_cosine(vectors)
        if alike > _ALIKE and 1 - alike < (1 - _mean_cosine(were)) / 2:
            problems.append(f"collapse: the vectors of all {side} are nearly one (mean cosine {alike:.3f})")
    return tuple(problems)


def _mean_cosine(vectors: NDArray[np.float32]) -> float:
    """Of each vector of length 1 with each other one."""
    n, total = len(vectors), vectors.sum(axis=0, dtype=np.float64)
    return float((total @ total - n) / (n * (n - 1))) if n > 1 else 0.0


def _figures(vectors: PairVectors, pairs: TrainingPairs) -> tuple[_Figures, _Figures]:
    """(text_to_image, image_to_text): "R@k" -> of each query whether it is answered."""
    ranks = _ranks_of_classes(vectors, pairs) if pairs.classes is not None else _ranks(vectors, pairs)
    by_text, by_image = ({f"R@{k}": (each <= k).astype(np.float64) for k in _KS} for each in ranks)
    return by_text, by_image


def _ranks(vectors: PairVectors, pairs: TrainingPairs) -> list[NDArray[np.int64]]:
    """Of the first right answer, from 1: (n_texts,) and (n_images,)."""
    both = rank_both(
        vectors.texts,
        vectors.images,
        Relevance.one_each(pairs.image_of_text),
        Relevance.inverse(pairs.image_of_text, pairs.images),
        depth=0,
    )
    return [ranking.bounds.ranks for ranking in both if ranking is not None]


def _ranks_of_classes(vectors: PairVectors, pairs: TrainingPairs) -> list[NDArray[np.int64]]:
    """Likewise where a text is right for all pictures of its class: the text asks among all pictures, the picture among
    the different texts. Of equal scores a wrong answer stands first."""
    texts, rows, classes_of_images = _class_texts(vectors, pairs)
    count, each, dim = texts.shape
    scores = texts.reshape(-1, dim) @ vectors.images.T
    is_right = np.repeat(np.arange(count), each)[:, None] == classes_of_images[None, :]
    best = np.where(is_right, scores, -np.inf)
    wrong = np.where(is_right, -np.inf, scores)
    by_text = 1 + (wrong >= best.max(axis=1, keepdims=True)).sum(axis=1)
    by_image = 1 + (wrong >= best.max(axis=0, keepdims=True)).sum(axis=0)
    return [by_text[rows], by_image]


def _rightly_classified(vectors: PairVectors, pairs: TrainingPairs) -> NDArray[np.float64]:
    """(n_images,), 1 where the class whose texts' normalised mean is nearest is the picture's own."""
    texts, _, classes_of_images = _class_texts(vectors, pairs)
    means = texts.mean(axis=1)
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    is_right: NDArray[np.bool_] = (vectors.images @ means.T).argmax(axis=1) == classes_of_images
    return is_right.astype(np.float64)


def _class_texts(
    vectors: PairVectors, pairs: TrainingPairs
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """What is said of the classes that some pictures have, (n_classes, n_templates, dim); of each text of the pairs
    which it is, of all in one row, (n_texts,); and of each picture which class, (n_images,)."""
    assert pairs.classes is not None
    _, first, of_images = np.unique(pairs.classes, return_index=True, return_inverse=True)
    each = len(pairs.texts) // pairs.images
    texts = vectors.texts.reshape(pairs.images, each, -1)[first]
    rows = (of_images[:, None] * each + np.arange(each)[None, :]).reshape(-1)
    return texts, rows, of_images
