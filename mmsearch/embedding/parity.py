"""Measures on samples of every run how well vectors by the fast way agree with those by the exact one.

The result is recorded. What does not agree is encoded by the exact way.
"""

import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from mmsearch.embedding.generated_pictures import ANCHORS, encode_anchors, make_control_file
from mmsearch.embedding.sample_budget import SampleBudget
from mmsearch.encoders import EncodedImages, Encoder
from mmsearch.errors import ParityError
from mmsearch.loading import NVJPEG, DecodeGroup, LoadedFile, load_fast_and_exact
from mmsearch.names import shown
from mmsearch.versions import Agreement, Disagreement, Parity

__all__ = [
    "COSINE_GATES",
    "PSNR_GATES",
    "ComparedImages",
    "ParityCheck",
    "Sample",
    "centred_cosines",
    "psnr",
    "top10_overlap",
]

SAMPLE = 8  # of each group, as far as the run can afford them
_SMALL_RUN = 100  # files: so few are soon done, whatever their sample costs

# Found with scripts/parity_faults.py, which shows what is right and what is wrong on both sides of them.
PSNR_GATES = {"pillow": 60.0, "turbo": 50.0, "turbo/2": 45.0, "turbo/4": 45.0, "turbo/8": 45.0, NVJPEG: 45.0}
"""By route: dB, the median of a group. Photographs have 54 to 75 where the size is full and 52 to 57 where scaled.
Another interpolation leaves 34 to 47 of that. A GPU's decoder widens colour planes otherwise than libjpeg; its gate is
that of scaled pictures and was not tried on one."""
COSINE_GATES = {"fp32": 0.999, "fp16": 0.999, "bf16": 0.99, "int8": 0.97}
"""By precision: the mean of a group's cosines, the sample's mean subtracted. fp32 has .9998 and more."""

_FEW = 8
_MOST_SAMPLES = 32  # samples, whose pixels are held until they are measured
_EXAMPLES = 5
_CONTROL_FILES = 2
_NARROW = 0.1  # root mean square distance of unit vectors from their mean


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture, both ways.

    Attributes:
        error: of the pixels, see `FastPreprocessing.error`.
        vector: (dim,), by the fast way.
        reference: (3, H, W), from `ImageSide.prepare`.
    """

    group: DecodeGroup
    error: float
    vector: NDArray[np.float32]
    reference: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ComparedImages:
    """Pictures that were encoded both ways.

    Attributes:
        groups, errors: as in `Sample`.
        vectors, references: (n, dim).
        anchors: (m, dim), vectors of generated pictures, where the pictures alone would say little.
        disagreements: groups that do not agree.
    """

    groups: tuple[DecodeGroup, ...]
    errors: tuple[float, ...]
    vectors: NDArray[np.float32]
    references: NDArray[np.float32]
    anchors: NDArray[np.float32] | None
    disagreements: tuple[Disagreement, ...] = ()


class ParityCheck:
    """Collects samples during a run, and compares them with the exact route when `measure` is called."""

    def __init__(self) -> None:
        self._counting = threading.Lock()
        self._image_counts: Counter[DecodeGroup] = Counter()
        self._sample_counts: Counter[DecodeGroup] = Counter()
        self._suspected: set[DecodeGroup] = set()
        self._budget, self._is_budgeted = SampleBudget(ANCHORS), False
        self._seconds = 0.0
        self._chosen: set[tuple[DecodeGroup, bytes]] = set()
        self._waiting: list[Sample] = []
        self._groups: list[DecodeGroup] = []
        self._errors: list[float] = []
        self._vectors: list[NDArray[np.float32]] = []
        self._references: list[NDArray[np.float32]] = []
        self._anchors: NDArray[np.float32] | None = None
        self._compared_count = 0
        self._disagreements: dict[DecodeGroup, Disagreement] = {}
        self._joined_disagreements: dict[DecodeGroup, Disagreement] = {}

    def expect(self, files: int) -> None:
        """Say how many files the whole run has: more than a hundred, and what its sample costs is limited."""
        self._is_budgeted = files > _SMALL_RUN

    def should_sample(self, group: DecodeGroup, content_hash: bytes) -> bool:
        """Whether the next picture of a group is encoded by the exact way too.

        Of a group that agrees: the first eight pictures, the 16th, the 32nd, and so on. Of others: all. Where what a
        sample costs is limited (see `expect`), the first of a group is chosen at once, and each further one as soon as
        the run can afford it; but a group whose pixels look wrong gets its eight at once, so that no odd file alone
        decides about it. Content that was chosen before is chosen again and not counted again: of a file that is read
        twice (the encoder was not ready, or another file has the same content) one picture is kept, and only that one
        joins the sample.
        """
        if group in self._disagreements:
            return True
        with self._counting:
            if (group, content_hash) in self._chosen:
                return True
            self._image_counts[group] += 1
            chosen = self._sample_counts[group] < _count_owed(self._image_counts[group]) and self._can_afford(group)
            if chosen:
                self._chosen.add((group, content_hash))
                self._sample_counts[group] += 1
                self._budget.choose()
        return chosen

    def _can_afford(self, group: DecodeGroup) -> bool:
        sampled = self._sample_counts[group]
        needed = not sampled or (group in self._suspected and sampled < SAMPLE)
        return needed or not self._is_budgeted or self._budget.admits_another()

    def count_loaded(self, loaded: LoadedFile) -> None:
        """Count what loading a picture took, by the fast way and, where it is sampled, by the exact one."""
        group, seconds = loaded.group, loaded.seconds
        if group is None:
            return
        with self._counting:
            self._budget.add_loading(seconds.read + seconds.decode + seconds.resize)
            if loaded.reference is not None and self.agrees(group):
                self._budget.add_sample_loading(seconds.exact)
                self._seconds += seconds.exact
                if psnr(np.array([loaded.pixel_error]))[0] < PSNR_GATES[group.route]:
                    self._suspected.add(group)

    def count_encoded(self, images: EncodedImages) -> None:
        """Count what encoding pictures by the fast way took."""
        with self._counting:
            self._budget.add_encoding(len(images.vectors), images.transfer_seconds + images.encode_seconds)

    def take_seconds(self) -> float:
        """What the sample has cost since the last call, summed over all threads."""
        with self._counting:
            seconds, self._seconds = self._seconds, 0.0
        return seconds

    def agrees(self, group: DecodeGroup) -> bool:
        """Whether the fast way may be taken for a group, by all measurements so far."""
        return group not in self._disagreements

    @property
    def has_disagreements(self) -> bool:
        """Whether some group does not agree."""
        return bool(self._disagreements)

    def add(self, sample: Sample) -> None:
        """Keep a sample until the next `measure`."""
        self._waiting.append(sample)

    @property
    def is_full(self) -> bool:
        """Whether enough samples wait that it is time to `measure`."""
        return len(self._waiting) >= _MOST_SAMPLES

    def count_exact(self, group: DecodeGroup, file: str) -> None:
        """Count a picture that was encoded by the exact way, since its group does not agree."""
        known = self._disagreements[group]
        examples = known.examples if len(known.examples) >= _EXAMPLES else (*known.examples, shown(file))
        self._disagreements[group] = replace(known, images=known.images + 1, examples=examples)

    def measure(self, encoder: Encoder) -> None:
        """Encode the waiting samples by the exact route and compare all samples of the run.

        Groups below the gate do not agree from now on (see `agrees`): fine detail or an odd file may be the reason.
        Raises ParityError where generated pictures, which have nothing odd, do not agree either.
        """
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        started, encoded_count = time.perf_counter(), len(waiting)
        self._references.extend(encoder.image.encode_reference(np.stack([sample.reference for sample in waiting])))
        self._vectors += [sample.vector for sample in waiting]
        self._errors += [sample.error for sample in waiting]
        self._groups += [sample.group for sample in waiting]
        if self._anchors is None and _are_too_alike(np.stack(self._references)):
            self._anchors = encode_anchors(encoder.image)
            encoded_count += len(self._anchors)
        seconds = time.perf_counter() - started
        with self._counting:
            self._budget.add_sample_encoding(encoded_count, seconds)
            self._seconds += seconds
        for group, agreement in self._agreements().items():
            if not _passes_gates(agreement, encoder.precision):
                if not _controls_agree(encoder, group):
                    raise ParityError(_explain_failure(agreement, encoder.precision))
                lowest = agreement.psnr_lowest, agreement.cosine_lowest
                self._disagreements[group] = Disagreement(group.format, group.orientation, group.route, 0, *lowest, ())

    def take_compared(self) -> ComparedImages:
        """The pictures that agree of those measured since the last call, and all groups that do not agree."""
        new_indices = [
            index for index in range(self._compared_count, len(self._groups)) if self.agrees(self._groups[index])
        ]
        self._compared_count = len(self._groups)
        size = len(self._references[0]) if self._references else 0
        vectors, references = (
            np.array([vectors_held[index] for index in new_indices], np.float32).reshape(len(new_indices), size)
            for vectors_held in (self._vectors, self._references)
        )
        groups, errors = (
            tuple(self._groups[index] for index in new_indices),
            tuple(self._errors[index] for index in new_indices),
        )
        disagreements = tuple(self._disagreements.values())
        self._disagreements = {
            group: replace(disagreement, images=0, examples=()) for group, disagreement in self._disagreements.items()
        }
        return ComparedImages(groups, errors, vectors, references, self._anchors, disagreements)

    def join(self, others: ComparedImages) -> None:
        """Add the measurements of another check of the same run."""
        self._groups += others.groups
        self._errors += others.errors
        self._vectors += list(others.vectors)
        self._references += list(others.references)
        self._anchors = self._anchors if others.anchors is None else others.anchors
        for disagreement in others.disagreements:
            group = DecodeGroup(disagreement.format, disagreement.orientation, disagreement.route)
            known = self._joined_disagreements.get(group)
            self._joined_disagreements[group] = (
                disagreement if known is None else _merge_disagreements(known, disagreement)
            )

    def verdict(self, device: str, precision: str) -> Parity | None:
        """One record of all measurements; None where there were none."""
        disagreements = {**self._joined_disagreements, **self._disagreements}
        if not self._groups and not disagreements:
            return None
        now = datetime.now(UTC).isoformat(timespec="seconds")
        agreeing = [index for index, group in enumerate(self._groups) if self.agrees(group)]
        overlap = None
        if agreeing:
            overlap = top10_overlap(
                *(np.stack([rows[index] for index in agreeing]) for rows in self._vectors_and_references)
            )
        agreements, sorted_disagreements = self._agreements(), (disagreements[group] for group in sorted(disagreements))
        return Parity(
            now, device, precision, len(agreeing), overlap, tuple(agreements.values()), tuple(sorted_disagreements)
        )

    @property
    def _vectors_and_references(self) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]:
        return self._vectors, self._references

    def _agreements(self) -> dict[DecodeGroup, Agreement]:
        """How the sample of each group agrees, leaving out groups that are known not to agree."""
        if not self._groups:
            return {}
        vectors, references = map(np.stack, self._vectors_and_references)
        cosines = centred_cosines(vectors, references, self._find_centre(references))
        indices_by_group: dict[DecodeGroup, list[int]] = defaultdict(list)
        for index, group in enumerate(self._groups):
            if self.agrees(group):
                indices_by_group[group].append(index)
        return {
            group: self._agreement(group, np.array(indices_by_group[group]), cosines)
            for group in sorted(indices_by_group)
        }

    def _agreement(self, group: DecodeGroup, indices: NDArray[np.int64], cosines: NDArray[np.float64]) -> Agreement:
        decibels = psnr(np.array(self._errors)[indices])
        median, lowest = float(np.median(decibels)), float(decibels.min())
        return Agreement(
            format=group.format,
            orientation=group.orientation,
            route=group.route,
            images=len(indices),
            psnr_median=median if np.isfinite(median) else None,
            psnr_lowest=lowest if np.isfinite(lowest) else None,
            cosine_mean=float(cosines[indices].mean()),
            cosine_lowest=float(cosines[indices].min()),
        )

    def _find_centre(self, references: NDArray[np.float32]) -> NDArray[np.float64]:
        """(dim,): the mean of the sample; where the sample alone would say little, of generated pictures too."""
        return _find_middle(references, self._anchors if _are_too_alike(references) else None)


def _count_owed(images: int) -> int:
    """How many of so many pictures of a group the sample should have: the first eight, the 16th, the 32nd, and so on.

    >>> [_count_owed(images) for images in (1, 8, 15, 16, 31, 32)]
    [1, 8, 8, 9, 9, 10]
    """
    return min(images, SAMPLE + max(0, images.bit_length() - SAMPLE.bit_length()))


def _find_middle(references: NDArray[np.float32], anchors: NDArray[np.float32] | None) -> NDArray[np.float64]:
    """(dim,): the mean of `references` (n, dim), or the point halfway from there to the mean of `anchors` (m, dim), as
    far from the one as from the other however many there are of each."""
    middle: NDArray[np.float64] = references.mean(axis=0, dtype=np.float64)
    return middle if anchors is None else (middle + anchors.mean(axis=0, dtype=np.float64)) / 2


def _are_too_alike(references: NDArray[np.float32]) -> bool:
    """Whether there are too few pictures, or the pictures are too similar: subtracting the mean would leave little but
    rounding errors."""
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


def _passes_gates(agreement: Agreement, precision: str) -> bool:
    least_decibels, least_cosine = PSNR_GATES[agreement.route], COSINE_GATES[precision]
    return agreement.cosine_mean >= least_cosine and (
        agreement.psnr_median is None or agreement.psnr_median >= least_decibels
    )


def _explain_failure(agreement: Agreement, precision: str) -> str:
    least_decibels, least_cosine = PSNR_GATES[agreement.route], COSINE_GATES[precision]
    pixels = "equal" if agreement.psnr_median is None else f"{agreement.psnr_median:.1f} dB"
    return (
        f"{agreement.format} pictures of EXIF orientation {agreement.orientation}, decoded by {agreement.route} and "
        f"encoded in {precision}, do not agree with the exact route: pixels {pixels} (at least {least_decibels:.0f}), "
        f"centred cosine of the embeddings {agreement.cosine_mean:.4f} (at least {least_cosine}), over "
        f"{agreement.images} pictures, and generated ones "
        "do not either. Nothing of them was written. --exact takes the exact route for all; please report this, with a "
        "picture that shows it"
    )


def _merge_disagreements(known: Disagreement, other: Disagreement) -> Disagreement:
    """Merge what two workers measured of one group."""
    decibels = [value for value in (known.psnr_lowest, other.psnr_lowest) if value is not None]
    return replace(
        known,
        images=known.images + other.images,
        psnr_lowest=min(decibels) if decibels else None,
        cosine_lowest=min(known.cosine_lowest, other.cosine_lowest),
        examples=(*known.examples, *other.examples)[:_EXAMPLES],
    )


def _controls_agree(encoder: Encoder, group: DecodeGroup) -> bool:
    """Whether generated pictures agree: by the pixels of this group, and by the vectors of pixels that are equal.

    They are like photographs: what is wrong with the program or the model shows on them, and what is odd about some
    file does not.
    """
    images, fast = encoder.image, encoder.image.fast
    if fast is None:
        return True
    plain_controls = [
        load_fast_and_exact(make_control_file(seed, "pillow", 1, fast.size), images, fast)
        for seed in range(_CONTROL_FILES)
    ]
    references = images.encode_reference(np.stack([control.reference for control in plain_controls]))
    anchors = encode_anchors(images)
    vectors = images.encode(np.stack([control.pixels for control in plain_controls]))
    centre = _find_middle(references, anchors)
    if centred_cosines(vectors, references, centre).mean() < COSINE_GATES[encoder.precision]:
        return False
    if group.route == NVJPEG:
        return True  # somebody else's decoder: what it does not do alike goes by the exact route, and the run goes on
    group_controls = [
        load_fast_and_exact(make_control_file(seed, group.route, group.orientation, fast.size), images, fast)
        for seed in range(_CONTROL_FILES)
    ]
    decibels = psnr(np.array([control.pixel_error for control in group_controls]))
    return all(control.group.route == group.route for control in group_controls) and bool(
        np.median(decibels) >= PSNR_GATES[group.route]
    )
