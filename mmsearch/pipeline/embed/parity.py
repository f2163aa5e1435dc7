"""How well the quick way to a vector agrees with the exact one: sampled in every run, recorded, and a condition."""

import threading
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from mmsearch.encoders import Encoder
from mmsearch.errors import ParityError
from mmsearch.loader import Kind
from mmsearch.records import Agreement, Parity

__all__ = [
    "COSINE_GATES",
    "PSNR_GATES",
    "Compared",
    "ParityCheck",
    "Sample",
    "centred_cosines",
    "psnr",
    "top10_overlap",
]

SAMPLE = 8  # of each kind, before anything of it is committed

# Found with scripts/parity_faults.py, which shows what is right and what is wrong on both sides of them.
PSNR_GATES = {"pillow": 60.0, "turbo": 50.0, "turbo/2": 45.0, "turbo/4": 45.0, "turbo/8": 45.0}
"""By route: dB, the median of a kind. Photographs have 54 to 75 where the size is full and 52 to 57 where it is scaled.
Another interpolation leaves 34 to 47 of that."""
COSINE_GATES = {"fp32": 0.999, "fp16": 0.999, "bf16": 0.99, "int8": 0.97}
"""By precision: the mean of a kind's cosines, the sample's mean subtracted. fp32 has .9998 and more."""

# Generated pictures that join a sample in which there is too little to tell apart.
_ANCHORS = 8
_FEW = 8
_NARROW = 0.1  # root mean square distance of unit vectors from their mean


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture, both ways. error: see `FastPreprocessing.error`. vector: (dim,), the quick way.
    reference: (3, H, W), what `Encoder.preprocess` gave."""

    kind: Kind
    error: float
    vector: NDArray[np.float32]
    reference: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Compared:
    """Pictures that went both ways: kinds, errors as in `Sample`, vectors and references (n, dim).

    anchors: (m, dim), of generated pictures, where those alone would say little.
    """

    kinds: tuple[Kind, ...]
    errors: tuple[float, ...]
    vectors: NDArray[np.float32]
    references: NDArray[np.float32]
    anchors: NDArray[np.float32] | None


class ParityCheck:
    """Collects samples while a run goes on, and holds them against the exact route whenever it is asked to."""

    def __init__(self) -> None:
        self._counting = threading.Lock()
        self._seen: Counter[Kind] = Counter()
        self._waiting: list[Sample] = []
        self._kinds: list[Kind] = []
        self._errors: list[float] = []
        self._vectors: list[NDArray[np.float32]] = []
        self._references: list[NDArray[np.float32]] = []
        self._anchors: NDArray[np.float32] | None = None
        self._told = 0

    def wanted(self, kind: Kind) -> bool:
        """Whether the next picture of a kind belongs to the sample: the first eight, the 16th, the 32nd, and so on."""
        with self._counting:
            self._seen[kind] += 1
            count = self._seen[kind]
        return count <= SAMPLE or count & (count - 1) == 0

    def add(self, sample: Sample) -> None:
        """Hold a sample until the next `measure`."""
        self._waiting.append(sample)

    def measure(self, encoder: Encoder) -> Parity | None:
        """Encode what waits by the exact route and compare all of the run's samples; None where there are none.

        Raises ParityError below the gate.
        """
        waiting, self._waiting = self._waiting, []
        if waiting:
            self._references.extend(encoder.encode_reference(np.stack([sample.reference for sample in waiting])))
            self._vectors += [sample.vector for sample in waiting]
            self._errors += [sample.error for sample in waiting]
            self._kinds += [sample.kind for sample in waiting]
        if self._anchors is None and self._kinds and _little_to_tell(np.stack(self._references)):
            self._anchors = encoder.encode_reference(np.stack([encoder.preprocess(each) for each in _generated()]))
        return self.verdict(encoder.device, encoder.precision)

    def compared(self) -> Compared:
        """What was measured since this was asked for the last time."""
        new, self._told = slice(self._told, None), len(self._kinds)
        vectors, references = (np.array(rows[new], np.float32) for rows in (self._vectors, self._references))
        return Compared(tuple(self._kinds[new]), tuple(self._errors[new]), vectors, references, self._anchors)

    def join(self, others: Compared) -> None:
        """Take in what another check of the same run has measured."""
        self._kinds += others.kinds
        self._errors += others.errors
        self._vectors += list(others.vectors)
        self._references += list(others.references)
        self._anchors = self._anchors if others.anchors is None else others.anchors

    def verdict(self, device: str, precision: str) -> Parity | None:
        """All that was measured, in one; None where nothing was. Raises ParityError below the gate."""
        if not self._kinds:
            return None
        vectors, references = np.stack(self._vectors), np.stack(self._references)
        cosines = centred_cosines(vectors, references, self._centre(references))
        members: dict[Kind, list[int]] = defaultdict(list)
        for place, kind in enumerate(self._kinds):
            members[kind].append(place)
        agreements = tuple(self._agreement(kind, np.array(members[kind]), cosines) for kind in sorted(members))
        for agreement in agreements:
            _require(agreement, precision)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        overlap = top10_overlap(vectors, references)
        return Parity(now, device, precision, len(references), overlap, agreements)

    def _agreement(self, kind: Kind, places: NDArray[np.int64], cosines: NDArray[np.float64]) -> Agreement:
        decibels = psnr(np.array(self._errors)[places])
        median, lowest = float(np.median(decibels)), float(decibels.min())
        return Agreement(
            format=kind.format,
            orientation=kind.orientation,
            route=kind.route,
            images=len(places),
            psnr_median=median if np.isfinite(median) else None,
            psnr_lowest=lowest if np.isfinite(lowest) else None,
            cosine_mean=float(cosines[places].mean()),
            cosine_lowest=float(cosines[places].min()),
        )

    def _centre(self, references: NDArray[np.float32]) -> NDArray[np.float64]:
        """(dim,): the mean of the sample, and of generated pictures too where it alone would say little."""
        together = [references]
        if self._anchors is not None and _little_to_tell(references):
            together.append(self._anchors)
        centre: NDArray[np.float64] = np.concatenate(together).mean(axis=0, dtype=np.float64)
        return centre


def _little_to_tell(references: NDArray[np.float32]) -> bool:
    """Of a handful of pictures, or of pictures that are all alike, little is left after subtracting the mean but
    rounding."""
    if len(references) < _FEW:
        return True
    mean = references.mean(axis=0, dtype=np.float64)
    return bool(np.sqrt(np.square(references - mean).sum(axis=1).mean()) < _NARROW)


def psnr(error: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean squared errors (n,) of 8-bit pixels -> peak signal-to-noise ratios (n,) in dB; infinite where equal.

    >>> psnr(np.array([255.0**2, 1.0])).round(2).tolist()
    [0.0, 48.13]
    """
    with np.errstate(divide="ignore"):
        decibels: NDArray[np.float64] = 10 * np.log10(255.0**2 / error)
    return decibels


def centred_cosines(
    vectors: NDArray[np.float32], references: NDArray[np.float32], centre: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Cosine (n,) of each row of `vectors` (n, dim) with its row of `references`, both as seen from `centre` (dim,).

    Vectors of one model lie in a narrow cone: from the origin any two pictures are alike, and a fault that moves a
    vector half the way to its neighbour keeps a cosine of .99.
    """
    a, b = vectors - centre, references - centre
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines: NDArray[np.float64] = (a * b).sum(axis=1) / np.maximum(lengths, np.finfo(np.float64).tiny)
    return cosines


def top10_overlap(vectors: NDArray[np.float32], references: NDArray[np.float32]) -> float | None:
    """Of the ten nearest others of each row by `references`, the share that are among its ten nearest by `vectors`.

    Both (n, dim). None for fewer than 12 rows, of which ten are nearly all.
    """
    if len(references) < 12:
        return None
    nearest = []
    for rows in (vectors, references):
        scores = rows @ rows.T
        np.fill_diagonal(scores, -np.inf)
        nearest.append(np.argsort(-scores, axis=1, kind="stable")[:, :10])
    return float(np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(*nearest, strict=True)]))


def _require(found: Agreement, precision: str) -> None:
    decibels, cosine = PSNR_GATES[found.route], COSINE_GATES[precision]
    if found.cosine_mean >= cosine and (found.psnr_median is None or found.psnr_median >= decibels):
        return
    pixels = "equal" if found.psnr_median is None else f"{found.psnr_median:.1f} dB"
    raise ParityError(
        f"{found.format} pictures of EXIF orientation {found.orientation}, decoded by {found.route} and encoded in "
        f"{precision}, do not agree with the exact route: pixels {pixels} (at least {decibels:.0f}), centred cosine of "
        f"the embeddings {found.cosine_mean:.4f} (at least {cosine}), over {found.images} pictures. Nothing of "
        "them was written. --exact takes the exact route for all; please report this, with a picture that shows it"
    )


def _generated() -> list[PIL.Image.Image]:
    """Pictures as different from each other as smooth noise can be."""
    random = np.random.default_rng(0)
    small = random.integers(0, 256, size=(_ANCHORS, 6, 8, 3), dtype=np.uint8)
    return [PIL.Image.fromarray(pixels).resize((320, 240), PIL.Image.Resampling.BICUBIC) for pixels in small]
