"""Who is consistent with whom, the ceiling that ambiguity leaves, and R@k.

A caption is consistent with an image when its claims are a subset of the image's facts. Captions are ambiguous ("the
woods at dusk" fits two dozen images), so no model can reach R@1 = 1; the ceiling says what can be reached.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import comb

import numpy as np
from numpy.typing import NDArray

from scripts.postcards.scene import FACTS, claims_to_bits

__all__ = [
    "ceiling_image_to_text",
    "ceiling_text_to_image",
    "chance_image_to_text",
    "chance_text_to_image",
    "claim_rows",
    "consistency",
    "informed_image_to_text",
    "recall_image_to_text",
    "recall_text_to_image",
]

Bools = NDArray[np.bool_]
Floats = NDArray[np.floating]
Ints = NDArray[np.integer]


def claim_rows(rows: Iterable[Iterable[str]]) -> Bools:
    """The claims of n captions, or the facts of n scenes, as `consistency` takes them: (n, len(FACTS)).

    Raises KeyError for a claim that no scene can have."""
    bits = [claims_to_bits(row) for row in rows]
    out = np.zeros((len(bits), len(FACTS)), bool)
    for row, own in zip(out, bits, strict=True):
        row[own] = True
    return out


def consistency(claims: Bools, facts: Bools) -> Bools:
    """(captions, facts) and (images, facts) -> (captions, images): every claim of the caption holds in the image.

    >>> consistency(np.array([[1, 0], [1, 1]], bool), np.array([[1, 0], [1, 1]], bool)).astype(int).tolist()
    [[1, 1], [0, 1]]
    """
    missing = claims.astype(np.float32) @ (~facts).astype(np.float32).T
    return np.asarray(missing < 0.5)


def ceiling_text_to_image(consistent: Bools, k: int) -> float:
    """R@k of an oracle that ranks the images consistent with each caption first, in random order: mean of min(1, k / m)
    over captions, where m images are consistent with the caption.

    Two captions, one that fits one image and one that fits two: at k = 1 the oracle finds 1 and 1/2.

    >>> ceiling_text_to_image(np.array([[1, 0], [1, 1]], bool), 1)
    0.75
    """
    fits = consistent.sum(axis=1)
    return float(np.minimum(1.0, k / fits).mean())


def ceiling_image_to_text(consistent: Bools, owner: Ints, k: int) -> float:
    """R@k of the oracle in the other direction: of the m captions consistent with an image, n are its own; the chance
    that a random k of the m hold none of them is C(m - n, k) / C(m, k).

    `owner` (captions,) is the image of each caption.

    >>> ceiling_image_to_text(np.array([[1, 0], [1, 1]], bool), np.array([0, 1]), 1)
    0.75
    """
    fits = consistent.sum(axis=0)
    own = np.bincount(owner, minlength=consistent.shape[1])
    return float(
        np.mean([1 - comb(int(m - n), k) / comb(int(m), k) if m > k else 1.0 for m, n in zip(fits, own, strict=True)])
    )


def informed_image_to_text(consistent: Bools, owner: Ints, k: int) -> float:
    """R@k of an oracle that ranks an image's consistent captions by how much they say: those that fit fewest images
    come first, equals in random order. A trained model learns this too, so in this direction it passes the ceiling of
    the random order, and this is the bar that it should be held against.

    >>> informed_image_to_text(np.array([[1, 0], [1, 1]], bool), np.array([0, 1]), 1)
    1.0
    """
    fits = consistent.sum(axis=1)
    total = 0.0
    for image in range(consistent.shape[1]):
        captions = np.flatnonzero(consistent[:, image])
        room = k
        for breadth in np.unique(fits[captions]):
            group = captions[fits[captions] == breadth]
            own = int((owner[group] == image).sum())
            drawn = min(room, len(group))
            # Groups before this one were taken whole and held none of the image's own, or the loop had ended.
            hit = 1 - comb(len(group) - own, drawn) / comb(len(group), drawn)
            total += hit
            room -= drawn
            if own or room == 0:
                break
    return float(total / consistent.shape[1])


def chance_text_to_image(images: int, k: int) -> float:
    """R@k of a random order of the images."""
    return min(1.0, k / images)


def chance_image_to_text(captions: int, own: int, k: int) -> float:
    """R@k of a random order of all captions, `own` of which belong to each image."""
    return 1 - comb(captions - own, k) / comb(captions, k)


def recall_text_to_image(scores: Floats, owner: Ints, k: int) -> float:
    """(captions, images) scores -> the share of captions whose image is among the first k; ties: lower id first."""
    own = scores[np.arange(len(owner)), owner][:, None]
    ids = np.arange(scores.shape[1])[None, :]
    ahead = (scores > own) | ((scores == own) & (ids < owner[:, None]))
    return float((ahead.sum(axis=1) < k).mean())


def recall_image_to_text(scores: Floats, owner: Ints, k: int) -> float:
    """(captions, images) scores -> the share of images with any of their captions among the first k captions."""
    order = np.argsort(-scores, axis=0, kind="stable")[:k]
    found = (owner[order] == np.arange(scores.shape[1])[None, :]).any(axis=0)
    return float(found.mean())
