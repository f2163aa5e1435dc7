"""How far a gallery lies from a reference gallery of the same model: figures measured there may not hold here."""

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch.blas import one_thread
from mmsearch.errors import BenchmarkError, EncoderMismatch
from mmsearch.evaluation.measuring import describe_hardware, find_versions
from mmsearch.gallery import Gallery
from mmsearch.identity import EncoderIdentity
from mmsearch.items import IMAGES
from mmsearch.metrics import (
    Estimate,
    Interval,
    frechet_distance,
    gaussian_kernel,
    median_distance,
    mmd_squared,
    neighbour_distance,
    wilson_interval,
)
from mmsearch.progress import Progress, ProgressCallback, quiet

__all__ = ["Outlier", "ShiftOptions", "ShiftReport", "evaluate_shift"]

LEAST = 20
"""Of fewer pictures nothing is said."""
_COMPARED = 1_500  # of each: a kernel of twice as many rows takes 72 MB
_LOOKED_AT = 10_000
_NEIGHBOURS = 5
_USUAL = 0.01  # of the reference's own pictures are that far from its others
_LEAST_USUAL = 10  # pictures at least: a threshold that fewer set is a matter of luck
_DRAWS, _SPLITS, _PERMUTATIONS = 60, 10, 500
_SHOWN = 24
_LEAST_WIDTH = 1e-6  # of a kernel, where all pictures are one
_PROTOCOL = (
    "Fréchet: the squared Fréchet distance of the normal distributions of the vectors of both, for equal numbers of "
    "pictures drawn by lot (seed); 'within the reference' is the mean of the same between two disjoint halves of the "
    "reference as large. MMD²: the unbiased squared maximum mean discrepancy with a Gaussian kernel as wide as the "
    "median distance (Gretton et al. 2012); p of 500 permutations. Intervals: 1.96 standard errors to each side, of 60 "
    "bootstrap samples of both. Outliers: pictures whose mean distance (1 - cosine) to their 5 nearest pictures of the "
    "reference is larger than that of 99 % of the reference's own pictures to their 5 nearest others (of a small "
    "reference so many fewer that ten pictures lie beyond). Intervals of shares are Wilson's; a share is called larger "
    "than the usual one where both intervals lie apart."
)


@dataclass(frozen=True, slots=True)
class ShiftOptions:
    """How to measure. seed: of all that is drawn by lot."""

    seed: int = 0


@dataclass(frozen=True, slots=True)
class Outlier:
    """A picture that is far from all of the reference.

    Attributes:
        distance: The mean of 1 - cosine to its nearest pictures there.
        nearest: The nearest of them.
        file, nearest_file: Where they are; None where that is not known.
    """

    name: str
    file: str | None
    distance: float
    nearest: str
    nearest_file: str | None


@dataclass(frozen=True, slots=True)
class ShiftReport:
    """How far a gallery lies from a reference.

    Attributes:
        pictures: Of each gallery.
        compared: So many of each were compared by both distances.
        frechet_within: What the Fréchet distance is within the reference.
        p: How often chance alone makes MMD² as large.
        threshold: The distance from which on a picture is an outlier.
        usual: The share of outliers that the reference has of itself, with the interval of so few.
        looked_at: How many pictures of the gallery were looked at for outliers.
        shown: The farthest ones.
    """

    title: str
    gallery: str
    reference: str
    encoder: EncoderIdentity
    pictures: tuple[int, int]
    compared: int
    frechet: Estimate
    frechet_within: float
    mmd: Estimate
    p: float
    outliers: Estimate
    threshold: float
    usual: Estimate
    looked_at: int
    shown: tuple[Outlier, ...]
    verdict: str
    problems: tuple[str, ...]
    protocol: str
    versions: dict[str, str]
    hardware: dict[str, str]


def evaluate_shift(
    gallery: str | os.PathLike[str] | None = None,
    *,
    reference: str | os.PathLike[str],
    options: ShiftOptions | None = None,
    progress: ProgressCallback = quiet,
) -> ShiftReport:
    """Measure how far the pictures of a gallery lie from those of a reference; nothing is encoded.

    Raises EncoderMismatch where the two are of different models, BenchmarkError where one has fewer than 20 pictures,
    GalleryError.
    """
    rng = np.random.default_rng((options or ShiftOptions()).seed)
    own, other = Gallery.open(gallery), Gallery.open(reference)
    _require_one_model(own, other)
    ours, theirs = (_Pictures(each) for each in (own, other))
    for each in (ours, theirs):
        if len(each.row_ids) < LEAST:
            raise BenchmarkError(
                f"{each.gallery.path} holds {len(each.row_ids):,} pictures; at least {LEAST} are compared"
            )
    compared = min(_COMPARED, len(ours.row_ids), len(theirs.row_ids) // 2)
    sample = ours.vectors(rng.choice(len(ours.row_ids), compared, replace=False))
    drawn = rng.permutation(len(theirs.row_ids))[: max(compared, min(2 * _COMPARED, len(theirs.row_ids)))]
    of_reference = theirs.vectors(drawn)
    with one_thread():  # hundreds of small products: threads that share one wait for each other
        frechet, within = _frechet(sample, of_reference, rng, progress)
        mmd, p = _mmd(sample, of_reference[:compared], rng)
    outliers, usual, threshold, looked_at, shown = _outliers(ours, theirs, rng, progress)
    return ShiftReport(
        title=f"shift of {own.path} from {other.path}: {len(ours.row_ids):,} and {len(theirs.row_ids):,} pictures",
        gallery=str(own.path),
        reference=str(other.path),
        encoder=own.manifest.encoder,
        pictures=(len(ours.row_ids), len(theirs.row_ids)),
        compared=compared,
        frechet=frechet,
        frechet_within=within,
        mmd=mmd,
        p=p,
        outliers=outliers,
        threshold=threshold,
        usual=usual,
        looked_at=looked_at,
        shown=shown,
        verdict=_verdict(frechet, within, mmd, p, outliers, usual),
        problems=(),
        protocol=_PROTOCOL,
        versions=find_versions(),
        hardware=describe_hardware(),
    )


def _require_one_model(own: Gallery, other: Gallery) -> None:
    """Vectors of two models cannot be compared."""
    first, second = own.manifest.encoder, other.manifest.encoder
    if first.of_side("image") != second.of_side("image"):
        raise EncoderMismatch(
            f"{own.path} holds vectors of {first.spec} ({first.fingerprint[:19]}…) and {other.path} of {second.spec} "
            f"({second.fingerprint[:19]}…): vectors of two models cannot be compared. Embed the same pictures with one "
            "model: mmsearch embed PICTURES --model MODEL --gallery DIR"
        )


class _Pictures:
    """The pictures of a gallery, by place in the order of their row ids."""

    def __init__(self, gallery: Gallery) -> None:
        self.gallery = gallery
        named = sorted(gallery.image_names())
        self._names = [(root_id, name) for _, root_id, name in named]
        self.row_ids = np.array([row_id for row_id, _, _ in named], np.int64)

    def vectors(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.asarray(self.gallery.vectors(IMAGES.name, self.row_ids[places]), np.float32)

    def name(self, place: int) -> str:
        return self._names[place][1]

    def file(self, place: int) -> str | None:
        root_id, name = self._names[place]
        root = self.gallery.root_path(root_id)
        return None if root is None else str(root / name)


def _around(value: float, draws: list[float]) -> Estimate:
    error = 1.96 * float(np.std(draws, ddof=1))
    return Estimate(value, Interval(value - error, value + error))


def _frechet(
    sample: NDArray[np.float32],
    of_reference: NDArray[np.float32],
    rng: np.random.Generator,
    progress: ProgressCallback,
) -> tuple[Estimate, float]:
    """The distance with its interval, and the mean within the reference."""
    count = len(sample)
    value = frechet_distance(sample, of_reference[:count])
    draws = []
    for done in range(_DRAWS):
        progress(Progress("distances", done, _DRAWS + _SPLITS))
        ours, theirs = (each[rng.integers(count, size=count)] for each in (sample, of_reference[:count]))
        draws.append(frechet_distance(ours, theirs))
    halves = []
    for done in range(_SPLITS):
        progress(Progress("distances", _DRAWS + done, _DRAWS + _SPLITS))
        order = rng.permutation(len(of_reference))
        halves.append(frechet_distance(of_reference[order[:count]], of_reference[order[count : 2 * count]]))
    estimate = _around(value, draws)
    return Estimate(value, Interval(max(0.0, estimate.interval.low), estimate.interval.high)), float(np.mean(halves))


def _mmd(
    sample: NDArray[np.float32], of_reference: NDArray[np.float32], rng: np.random.Generator
) -> tuple[Estimate, float]:
    """MMD² with its interval, and p."""
    pooled = np.concatenate([sample, of_reference])
    kernel = gaussian_kernel(pooled, max(median_distance(pooled), _LEAST_WIDTH))
    n, total = len(sample), len(pooled)
    first = (np.arange(total) < n).astype(np.float64)
    value = mmd_squared(kernel, first, 1 - first)
    draws = []
    for _ in range(_DRAWS):
        ours = np.bincount(rng.integers(n, size=n), minlength=total).astype(np.float64)
        theirs = np.bincount(n + rng.integers(total - n, size=total - n), minlength=total).astype(np.float64)
        draws.append(mmd_squared(kernel, ours, theirs))
    as_large = 0
    for _ in range(_PERMUTATIONS):
        shuffled = rng.permutation(first)
        as_large += mmd_squared(kernel, shuffled, 1 - shuffled) >= value
    return _around(value, draws), (1 + as_large) / (1 + _PERMUTATIONS)


def _outliers(
    ours: _Pictures, theirs: _Pictures, rng: np.random.Generator, progress: ProgressCallback
) -> tuple[Estimate, Estimate, float, int, tuple[Outlier, ...]]:
    """The share of outliers, the usual one, the distance that makes one, how many were looked at, and the farthest."""
    progress(Progress("outliers", 0, None))
    places, reference_places = (
        np.sort(rng.choice(len(each.row_ids), min(_LOOKED_AT, len(each.row_ids)), replace=False))
        for each in (ours, theirs)
    )
    reference = theirs.vectors(reference_places)
    own, _ = neighbour_distance(reference, reference, _NEIGHBOURS, own=np.arange(len(reference)))
    usual = max(_USUAL, min(0.5, _LEAST_USUAL / len(reference)))
    threshold = float(np.quantile(own, 1 - usual))
    distances, nearest = neighbour_distance(ours.vectors(places), reference, _NEIGHBOURS)
    share = float(np.mean(distances > threshold))
    farthest = [
        place for place in np.argsort(-distances, kind="stable")[:_SHOWN].tolist() if distances[place] > threshold
    ]
    shown = tuple(
        Outlier(
            name=ours.name(int(places[place])),
            file=ours.file(int(places[place])),
            distance=float(distances[place]),
            nearest=theirs.name(int(reference_places[nearest[place]])),
            nearest_file=theirs.file(int(reference_places[nearest[place]])),
        )
        for place in farthest
    )
    of_reference = Estimate(usual, wilson_interval(usual, len(reference)))
    return Estimate(share, wilson_interval(share, len(places))), of_reference, threshold, len(places), shown


def _verdict(frechet: Estimate, within: float, mmd: Estimate, p: float, outliers: Estimate, usual: Estimate) -> str:
    seen = (
        f"MMD² {mmd.value:.4f} [{mmd.interval.low:.4f}, {mmd.interval.high:.4f}], p {p:.3f}; Fréchet "
        f"{frechet.value:.4f}, within the reference {within:.4f}; outliers {100 * outliers.value:.1f} % "
        f"[{100 * outliers.interval.low:.1f}, {100 * outliers.interval.high:.1f}], usual {100 * usual.value:.1f} %"
    )
    if p >= 0.05 and outliers.interval.low <= usual.interval.high:
        return f"No shift was seen: {seen}. What was measured on the reference may be taken to hold here."
    return f"Shifted: {seen}. What was measured on the reference may not hold here: measure it on this gallery."
