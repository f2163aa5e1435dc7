"""The health of a space that images and texts share: how far apart the two lie, and whether a few items answer all."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch.exact import scores_of_record
from mmsearch.metrics.relevance import Ids, Vectors

__all__ = ["Hubness", "SpaceHealth", "hubness", "space_health"]

SAMPLE = 3_000
"""Vectors of each kind that uniformity is computed from; more are sampled, with a fixed seed."""
COLLAPSED_COSINE = 0.95
"""Vectors of one kind with a larger mean cosine than this all but agree. Real CLIP images have 0.5."""
COLLAPSED_RANK = 4.0
"""Vectors with a smaller effective rank use next to none of their dimensions. A few vectors cannot have a larger one:
n of them, centred, span n - 1 directions."""
_BLOCK = 2_048


@dataclass(frozen=True, slots=True)
class Hubness:
    """How evenly the items of a gallery are returned, over the top lists of its queries.

    Attributes:
        k: The length of the lists.
        skewness: The skewness of the number of lists that an item is in (Radovanović et al. 2010); 0 where all are in
            as many, above some 1 there are hubs.
        top_percent_share: The share of queries whose best hit is one of the 1 % of items that are most often a best
            hit.
        never: The share of items in no list.
    """

    k: int
    skewness: float
    top_percent_share: float
    never: float


@dataclass(frozen=True, slots=True)
class SpaceHealth:
    """Figures of L2-normalised vectors. Cosines are means.

    Attributes:
        modality_gap: Distance between the centroids of images and of texts (Liang et al. 2022).
        within_images: Cosine over all pairs of different images.
        within_texts: Cosine over all pairs of different texts.
        across: Cosine over all pairs of an image and a text.
        matched: Cosine over pairs that belong together.
        unmatched: Cosine over all other pairs.
        alignment: Mean squared distance of matched pairs.
        uniformity_images: The log of the mean of exp(-2 * squared distance) over pairs of images; lower is more even
            (Wang and Isola 2020).
        uniformity_texts: The same over pairs of texts.
        effective_rank_images: exp of the entropy of the normalised singular values of the centred vectors (Roy and
            Vetterli 2007): between 1 and the dimension, how many directions are in use.
        effective_rank_texts: The same of texts.
        collapsed: Kinds whose vectors all but agree, so that ranks within them are noise.
    """

    modality_gap: float
    within_images: float
    within_texts: float
    across: float
    matched: float
    unmatched: float
    alignment: float
    uniformity_images: float
    uniformity_texts: float
    effective_rank_images: float
    effective_rank_texts: float
    collapsed: tuple[str, ...]


def hubness(top: Ids, gallery: int, k: int = 10) -> Hubness:
    """Of the top lists of all queries, (n_queries, at least min(k, gallery)), best first; -1 for no hit.

    >>> hub = hubness(np.array([[0, 1], [0, 2], [0, 3]]), gallery=4, k=2)
    >>> round(hub.skewness, 4), hub.top_percent_share, hub.never
    (1.1547, 1.0, 0.0)
    """
    lists = top[:, :k]
    counts = np.bincount(lists[lists >= 0], minlength=gallery).astype(np.float64)
    spread = counts.std()
    best = np.sort(np.bincount(top[:, 0], minlength=gallery))[::-1]
    top_percent = max(1, round(gallery / 100))
    return Hubness(
        k=k,
        skewness=float(np.mean((counts - counts.mean()) ** 3) / spread**3) if spread else 0.0,
        top_percent_share=float(best[:top_percent].sum() / len(top)),
        never=float(np.mean(counts == 0)),
    )


def space_health(
    images: Vectors, texts: Vectors, matched_text: Ids, matched_image: Ids, *, seed: int = 0
) -> SpaceHealth:
    """images: (n, dim), texts: (m, dim), both L2-normalised. matched_text[i] belongs to matched_image[i].

    >>> square = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]], np.float32)
    >>> found = space_health(square, square, np.arange(4), np.arange(4))
    >>> found.modality_gap, round(found.matched, 3), round(found.across, 3), round(found.effective_rank_images, 3)
    (0.0, 1.0, 0.0, 2.0)
    """
    of_images, of_texts = _Moments(images), _Moments(texts)
    matched = scores_of_record(texts, matched_text, images, matched_image)
    across = float(of_images.mean @ of_texts.mean)
    pairs = len(images) * len(texts)
    others = pairs - len(matched)
    rng = np.random.default_rng(seed)
    within = {"images": of_images.within, "texts": of_texts.within}
    ranks = {"images": of_images.effective_rank, "texts": of_texts.effective_rank}
    possible_ranks = {"images": min(len(images) - 1, images.shape[1]), "texts": min(len(texts) - 1, texts.shape[1])}
    return SpaceHealth(
        modality_gap=float(np.linalg.norm(of_images.mean - of_texts.mean)),
        within_images=within["images"],
        within_texts=within["texts"],
        across=across,
        matched=float(np.mean(matched)),
        unmatched=float((across * pairs - matched.sum()) / others) if others else float("nan"),
        alignment=float(np.mean(2 - 2 * matched)),
        uniformity_images=_uniformity(images, rng),
        uniformity_texts=_uniformity(texts, rng),
        effective_rank_images=ranks["images"],
        effective_rank_texts=ranks["texts"],
        collapsed=tuple(
            kind
            for kind in within
            if within[kind] > COLLAPSED_COSINE
            or (ranks[kind] < COLLAPSED_RANK and possible_ranks[kind] >= 2 * COLLAPSED_RANK)
        ),
    )


class _Moments:
    """Mean and covariance of vectors, in one pass of bounded memory."""

    def __init__(self, vectors: Vectors) -> None:
        n, dim = vectors.shape
        total, products = np.zeros(dim), np.zeros((dim, dim))
        for start in range(0, n, _BLOCK):
            wide = vectors[start : start + _BLOCK].astype(np.float64)
            total += wide.sum(axis=0)
            products += wide.T @ wide
        self.mean: NDArray[np.float64] = total / n
        pairs = n * (n - 1)
        self.within = float((total @ total - np.trace(products)) / pairs) if pairs else float("nan")
        singular = np.sqrt(np.maximum(np.linalg.eigvalsh(products - n * np.outer(self.mean, self.mean)), 0))
        # What rounding leaves of directions that are not there is no direction.
        shares = singular[singular > 1e-6 * max(singular.max(), 1e-300)]
        shares = shares / shares.sum() if len(shares) else np.ones(1)
        self.effective_rank = float(np.exp(-np.sum(shares * np.log(shares))))


def _uniformity(vectors: Vectors, rng: "np.random.Generator") -> float:
    sample = vectors if len(vectors) <= SAMPLE else vectors[np.sort(rng.choice(len(vectors), SAMPLE, replace=False))]
    wide = sample.astype(np.float32)
    if len(wide) < 2:
        return float("nan")
    total = 0.0
    for start in range(0, len(wide), _BLOCK):
        cosines = wide[start : start + _BLOCK] @ wide.T
        total += float(np.exp(4 * cosines - 4).sum(dtype=np.float64))  # |x - y|^2 = 2 - 2 cos
    lengths = np.einsum("nd,nd->n", wide, wide)
    total -= float(np.exp(4 * lengths - 4).sum(dtype=np.float64))  # pairs of an item with itself
    return float(np.log(total / (len(wide) * (len(wide) - 1))))
