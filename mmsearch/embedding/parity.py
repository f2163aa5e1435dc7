"""How well the quick way to a vector agrees with the exact one: sampled in every run, recorded, and a condition."""

import io
import threading
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import PIL.ExifTags
import PIL.Image
from numpy.typing import NDArray

from mmsearch.encoders import Encoder, ImageSide
from mmsearch.errors import ParityError
from mmsearch.loader import MARGIN, NVJPEG, Kind, both_ways
from mmsearch.names import shown
from mmsearch.versions import Agreement, Disagreement, Parity

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
PSNR_GATES = {"pillow": 60.0, "turbo": 50.0, "turbo/2": 45.0, "turbo/4": 45.0, "turbo/8": 45.0, NVJPEG: 45.0}
"""By route: dB, the median of a kind. Photographs have 54 to 75 where the size is full and 52 to 57 where it is scaled.
Another interpolation leaves 34 to 47 of that. A GPU's decoder widens colour planes otherwise than libjpeg; its gate is
that of scaled pictures and was not tried on one."""
COSINE_GATES = {"fp32": 0.999, "fp16": 0.999, "bf16": 0.99, "int8": 0.97}
"""By precision: the mean of a kind's cosines, the sample's mean subtracted. fp32 has .9998 and more."""

# Generated pictures that join a sample in which there is too little to tell apart.
_ANCHORS = 8
_FEW = 8
_FULL = 32  # samples, whose pixels are held until they are measured
_EXAMPLES = 5
_CONTROLS = 2
_NARROW = 0.1  # root mean square distance of unit vectors from their mean


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture, both ways. error: see `FastPreprocessing.error`. vector: (dim,), the quick way.
    reference: (3, H, W), what `ImageSide.prepare` gave."""

    kind: Kind
    error: float
    vector: NDArray[np.float32]
    reference: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Compared:
    """Pictures that went both ways: kinds, errors as in `Sample`, vectors and references (n, dim).

    anchors: (m, dim), of generated pictures, where those alone would say little. disagreements: what of them went the
    exact way.
    """

    kinds: tuple[Kind, ...]
    errors: tuple[float, ...]
    vectors: NDArray[np.float32]
    references: NDArray[np.float32]
    anchors: NDArray[np.float32] | None
    disagreements: tuple[Disagreement, ...] = ()


class ParityCheck:
    """Collects samples while a run goes on, and holds them against the exact route whenever it is asked to."""

    def __init__(self) -> None:
        self._counting = threading.Lock()
        self._seen: Counter[Kind] = Counter()
        self._chosen: set[tuple[Kind, bytes]] = set()
        self._waiting: list[Sample] = []
        self._kinds: list[Kind] = []
        self._errors: list[float] = []
        self._vectors: list[NDArray[np.float32]] = []
        self._references: list[NDArray[np.float32]] = []
        self._anchors: NDArray[np.float32] | None = None
        self._told = 0
        self._apart: dict[Kind, Disagreement] = {}
        self._joined: dict[Kind, Disagreement] = {}

    def wanted(self, kind: Kind, content_hash: bytes) -> bool:
        """Whether the next picture of a kind goes the exact way too.

        Of a kind that agrees the sample does: the first eight, the 16th, the 32nd, and so on. Of others all do. Content
        that was chosen is chosen again without being counted again: of a file that is read twice (since the encoder was
        not ready, or since another holds the same) one picture is kept, and only that one joins the sample.
        """
        if kind in self._apart:
            return True
        with self._counting:
            if (kind, content_hash) in self._chosen:
                return True
            self._seen[kind] += 1
            count = self._seen[kind]
            chosen = count <= SAMPLE or count & (count - 1) == 0
            if chosen:
                self._chosen.add((kind, content_hash))
        return chosen

    def agrees(self, kind: Kind) -> bool:
        """Whether the fast way may be taken for a kind, by all that was measured."""
        return kind not in self._apart

    @property
    def disagrees(self) -> bool:
        """Whether some kind does not agree."""
        return bool(self._apart)

    def add(self, sample: Sample) -> None:
        """Hold a sample until the next `measure`."""
        self._waiting.append(sample)

    @property
    def full(self) -> bool:
        """Whether so many samples wait that it is time to `measure`."""
        return len(self._waiting) >= _FULL

    def went_exactly(self, kind: Kind, file: str) -> None:
        """Count a picture that took the exact way, since its kind does not agree."""
        known = self._apart[kind]
        examples = known.examples if len(known.examples) >= _EXAMPLES else (*known.examples, shown(file))
        self._apart[kind] = replace(known, images=known.images + 1, examples=examples)

    def measure(self, encoder: Encoder) -> None:
        """Encode what waits by the exact route and compare all of the run's samples.

        Kinds below the gate do not agree from now on (see `agrees`): detail or an odd file may be the reason. Raises
        ParityError where generated pictures, with which nothing is wrong, do not agree either.
        """
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        self._references.extend(encoder.image.encode_reference(np.stack([sample.reference for sample in waiting])))
        self._vectors += [sample.vector for sample in waiting]
        self._errors += [sample.error for sample in waiting]
        self._kinds += [sample.kind for sample in waiting]
        if self._anchors is None and _little_to_tell(np.stack(self._references)):
            self._anchors = encoder.image.encode_reference(
                np.stack([encoder.image.prepare(each) for each in _generated()])
            )
        for kind, found in self._agreements().items():
            if not _agrees(found, encoder.precision):
                if not _control_agrees(encoder, kind):
                    raise ParityError(_reason(found, encoder.precision))
                lowest = found.psnr_lowest, found.cosine_lowest
                self._apart[kind] = Disagreement(kind.format, kind.orientation, kind.route, 0, *lowest, ())

    def compared(self) -> Compared:
        """What was measured since this was asked for the last time, and agrees; and all that does not."""
        new = [place for place in range(self._told, len(self._kinds)) if self.agrees(self._kinds[place])]
        self._told = len(self._kinds)
        size = len(self._references[0]) if self._references else 0
        vectors, references = (
            np.array([rows[place] for place in new], np.float32).reshape(len(new), size)
            for rows in (self._vectors, self._references)
        )
        kinds, errors = tuple(self._kinds[place] for place in new), tuple(self._errors[place] for place in new)
        apart = tuple(self._apart.values())
        self._apart = {kind: replace(each, images=0, examples=()) for kind, each in self._apart.items()}
        return Compared(kinds, errors, vectors, references, self._anchors, apart)

    def join(self, others: Compared) -> None:
        """Take in what another check of the same run has measured."""
        self._kinds += others.kinds
        self._errors += others.errors
        self._vectors += list(others.vectors)
        self._references += list(others.references)
        self._anchors = self._anchors if others.anchors is None else others.anchors
        for each in others.disagreements:
            kind = Kind(each.format, each.orientation, each.route)
            known = self._joined.get(kind)
            self._joined[kind] = each if known is None else _joined(known, each)

    def verdict(self, device: str, precision: str) -> Parity | None:
        """All that was measured, in one; None where nothing was."""
        apart = {**self._joined, **self._apart}
        if not self._kinds and not apart:
            return None
        now = datetime.now(UTC).isoformat(timespec="seconds")
        kept = [place for place, kind in enumerate(self._kinds) if self.agrees(kind)]
        overlap = None
        if kept:
            overlap = top10_overlap(*(np.stack([rows[place] for place in kept]) for rows in self._both))
        agreements, disagreements = self._agreements(), (apart[kind] for kind in sorted(apart))
        return Parity(now, device, precision, len(kept), overlap, tuple(agreements.values()), tuple(disagreements))

    @property
    def _both(self) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]:
        return self._vectors, self._references

    def _agreements(self) -> dict[Kind, Agreement]:
        """How the sample of each kind agrees, but of those that are known not to."""
        if not self._kinds:
            return {}
        vectors, references = map(np.stack, self._both)
        cosines = centred_cosines(vectors, references, self._centre(references))
        members: dict[Kind, list[int]] = defaultdict(list)
        for place, kind in enumerate(self._kinds):
            if self.agrees(kind):
                members[kind].append(place)
        return {kind: self._agreement(kind, np.array(members[kind]), cosines) for kind in sorted(members)}

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


def _agrees(found: Agreement, precision: str) -> bool:
    decibels, cosine = PSNR_GATES[found.route], COSINE_GATES[precision]
    return found.cosine_mean >= cosine and (found.psnr_median is None or found.psnr_median >= decibels)


def _reason(found: Agreement, precision: str) -> str:
    decibels, cosine = PSNR_GATES[found.route], COSINE_GATES[precision]
    pixels = "equal" if found.psnr_median is None else f"{found.psnr_median:.1f} dB"
    return (
        f"{found.format} pictures of EXIF orientation {found.orientation}, decoded by {found.route} and encoded in "
        f"{precision}, do not agree with the exact route: pixels {pixels} (at least {decibels:.0f}), centred cosine of "
        f"the embeddings {found.cosine_mean:.4f} (at least {cosine}), over {found.images} pictures, and generated ones "
        "do not either. Nothing of them was written. --exact takes the exact route for all; please report this, with a "
        "picture that shows it"
    )


def _joined(known: Disagreement, other: Disagreement) -> Disagreement:
    """What two workers say of one kind, in one."""
    decibels = [each for each in (known.psnr_lowest, other.psnr_lowest) if each is not None]
    return replace(
        known,
        images=known.images + other.images,
        psnr_lowest=min(decibels) if decibels else None,
        cosine_lowest=min(known.cosine_lowest, other.cosine_lowest),
        examples=(*known.examples, *other.examples)[:_EXAMPLES],
    )


def _control_agrees(encoder: Encoder, kind: Kind) -> bool:
    """Whether generated pictures agree: by the pixels of this kind, and by the vectors of pixels that are equal.

    They are like photographs: what is wrong with the program or the model shows on them, and what is odd about some
    file does not.
    """
    images, fast = encoder.image, encoder.image.fast
    if fast is None:
        return True
    plain = [both_ways(_control(seed, "pillow", 1, fast.size), images, fast) for seed in range(_CONTROLS)]
    references = images.encode_reference(np.stack([each.reference for each in plain]))
    anchors = _anchors_of(images)
    vectors = images.encode(np.stack([each.pixels for each in plain]))
    centre = np.concatenate([references, anchors]).mean(axis=0, dtype=np.float64)
    if centred_cosines(vectors, references, centre).mean() < COSINE_GATES[encoder.precision]:
        return False
    if kind.route == NVJPEG:
        return True  # somebody else's decoder: what it does not do alike goes by the exact route, and the run goes on
    like = [
        both_ways(_control(seed, kind.route, kind.orientation, fast.size), images, fast) for seed in range(_CONTROLS)
    ]
    decibels = psnr(np.array([each.pixel_error for each in like]))
    return all(each.kind.route == kind.route for each in like) and bool(np.median(decibels) >= PSNR_GATES[kind.route])


def _control(seed: int, route: str, orientation: int, size: tuple[int, int]) -> bytes:
    """A file with a generated picture that takes a route: structure at every scale, as in a photograph."""
    random, side = np.random.default_rng(seed), MARGIN * max(size)
    shape = (side + side // 3, side)
    pixels = np.full((*shape[::-1], 3), 128, np.float32)
    for cells in (3, 6, 12, 24, 48, 96):
        grid = PIL.Image.fromarray(random.integers(0, 256, size=(cells, cells, 3), dtype=np.uint8))
        pixels += (np.asarray(grid.resize(shape, PIL.Image.Resampling.BICUBIC), np.float32) - 128) / cells**0.5
    picture, stream = PIL.Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)), io.BytesIO()
    if route == "pillow":
        picture.save(stream, "PNG")
        return stream.getvalue()
    scale, exif = int(route.partition("/")[2] or 1), PIL.Image.Exif()
    exif[PIL.ExifTags.Base.Orientation] = orientation
    if scale > 1:
        picture = picture.resize((shape[0] * scale, shape[1] * scale), PIL.Image.Resampling.BICUBIC)
    picture.save(stream, "JPEG", quality=92, exif=exif)
    return stream.getvalue()


def _anchors_of(images: ImageSide) -> NDArray[np.float32]:
    """(m, dim): generated pictures by the exact route."""
    return images.encode_reference(np.stack([images.prepare(each) for each in _generated()]))


def _generated() -> list[PIL.Image.Image]:
    """Pictures as different from each other as smooth noise can be."""
    random = np.random.default_rng(0)
    small = random.integers(0, 256, size=(_ANCHORS, 6, 8, 3), dtype=np.uint8)
    return [PIL.Image.fromarray(pixels).resize((320, 240), PIL.Image.Resampling.BICUBIC) for pixels in small]
