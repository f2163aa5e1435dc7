"""Names for groups of pictures: the words that fit a group better than they fit the rest of the gallery.

    gain(word, album) = mean score of the word with the album's pictures - mean score with all other pictures

Texts lie far from images (the modality gap), and some words are near to every picture (hubs). Both are the same for
the album and for the rest, and so drop out of the difference. For a model whose scores, times its logit scale, are
logarithms of chances (as CLIP's are trained to be), it is how much likelier the word is for a picture of the album than
for one of the rest: the pointwise mutual information of word and album ("Word association norms, mutual information,
and lexicography", Church and Hanks 1990). Of words whose gains are nearly the best the shortest is taken: "forest", not
"birch forest". Where an album has to share its word with another one, it is called by two: "forest, fog".

How well a word tells an album from the rest is said by its fit, the area under the ROC curve of its scores, which is
the share of pairs of a picture of each in which that of the album scores higher ("A common language effect size
statistic", McGraw and Wong 1992).
"""

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from mmsearch.albums.records import AlbumWord

__all__ = ["fit_of", "name_albums"]

_NEARLY = 0.95  # of the best gain
_HALF = 0.5  # of the best gain: a word that fits less is no name
_WORDS = 3  # that an album is told with
_LOOKED_AT = 20  # words, of which two are taken together


def name_albums(
    scores: NDArray[np.float32], labels: NDArray[np.int64], k: int, words: Sequence[str], reserved: Collection[str] = ()
) -> list[tuple[AlbumWord, ...]]:
    """For each of k albums the words that fit it best, its name first; none where all that fit are taken.

    scores: (n_pictures, n_words). labels: (n_pictures,), the album of each picture, -1 of one that is in none. words:
    all different. No word is the name of two albums, and none of `reserved` is one.

    >>> scores = np.array([[0.9, 0.5, 0.1], [0.8, 0.5, 0.2], [0.1, 0.5, 0.7]], np.float32)
    >>> [[each.word for each in words] for words in name_albums(scores, np.array([0, 0, 1]), 2, ["sea", "hub", "dog"])]
    [['sea'], ['dog']]
    """
    gains = np.stack([_gains(scores, labels == album) for album in range(k)])
    names: dict[int, tuple[int, ...]] = {}
    taken: set[tuple[int, ...]] = {(number,) for number, word in enumerate(words) if word in reserved}
    for album in np.argsort(-gains.max(axis=1), kind="stable").tolist():
        name = _choose(gains[album], words, taken)
        if name is not None:
            names[album] = name
            taken.add(tuple(sorted(name)))
    return [_told(scores, labels == album, gains[album], words, names.get(album)) for album in range(k)]


def _told(
    scores: NDArray[np.float32],
    is_in: NDArray[np.bool_],
    gains: NDArray[np.float64],
    words: Sequence[str],
    name: tuple[int, ...] | None,
) -> tuple[AlbumWord, ...]:
    """The name of an album and the next best words, each with its fit."""
    if name is None:
        return ()
    best = [word for word in np.argsort(-gains, kind="stable")[: _WORDS + len(name)].tolist() if word not in name]
    chosen = [name, *((word,) for word in best if gains[word] > 0)][:_WORDS]
    return tuple(
        AlbumWord(", ".join(words[word] for word in each), fit_of(scores[:, list(each)].sum(axis=1), is_in))
        for each in chosen
    )


def fit_of(scores: NDArray[np.float32], is_in: NDArray[np.bool_]) -> float:
    """In what share of the pairs of one score inside and one outside the first is higher; ties count half.

    scores, is_in: (n,). 0.5 where there is no pair.

    >>> fit_of(np.array([3.0, 2.0, 2.0, 1.0]), np.array([True, True, False, False]))
    0.875
    """
    inside, outside = np.sort(scores[is_in]), np.sort(scores[~is_in])
    pairs = len(inside) * len(outside)
    if not pairs:
        return 0.5
    lower = np.searchsorted(outside, inside, "left").sum() + np.searchsorted(outside, inside, "right").sum()
    return float(lower / (2 * pairs))


def _gains(scores: NDArray[np.float32], is_in: NDArray[np.bool_]) -> NDArray[np.float64]:
    if is_in.all() or not is_in.any():
        return np.zeros(scores.shape[1])
    gains: NDArray[np.float64] = scores[is_in].mean(axis=0, dtype=np.float64) - scores[~is_in].mean(
        axis=0, dtype=np.float64
    )
    return gains


def _choose(
    gains: NDArray[np.float64], words: Sequence[str], taken: Collection[tuple[int, ...]]
) -> tuple[int, ...] | None:
    """The shortest of the words that fit nearly best, or where such are taken, two of them; None where none fits."""
    best = gains.max(initial=-np.inf)
    if not best > 0:
        return None
    free = np.array([(word,) not in taken for word in range(len(words))])
    if best_free := gains[free & (gains >= _HALF * best)].tolist():
        nearly = np.flatnonzero(free & (gains >= _NEARLY * max(best_free))).tolist()
        return (min(nearly, key=lambda word: (len(words[word]), -gains[word])),)
    good = [word for word in np.argsort(-gains, kind="stable")[:_LOOKED_AT].tolist() if gains[word] > 0]
    pairs = ((one, other) for number, other in enumerate(good) for one in good[:number])
    return next((pair for pair in pairs if tuple(sorted(pair)) not in taken), None)
