"""What is learned from, what training gives, and what is said of it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import TrainingError
from mmsearch.identity import EncoderIdentity
from mmsearch.metrics import Difference

__all__ = [
    *(
        "METHODS",
        "MOST_HARD_NEGATIVES",
        "AlphaPoint",
        "Comparison",
        "FinetuneOptions",
        "FinetuneReport",
        "LossLog",
        "Method",
        "PairSplit",
    ),
    *("PairVectors", "Trained", "TrainingPairs", "Verdict"),
]

Method: TypeAlias = Literal["text-only", "lora", "full"]
"""What is trained: the text side alone, or both sides, by low-rank additions to the weights or by all weights."""
METHODS: tuple[Method, ...] = get_args(Method)

MOST_HARD_NEGATIVES = 8
"""So many are looked for of each caption: of more, most stand in another batch by the time it comes."""

Verdict: TypeAlias = Literal["better", "not surely better", "worse"]
"""Of the tuned model on held-out pairs: the 95 % interval of the change of mean recall, of classes that of zero-shot
accuracy, lies above 0, holds it, or lies below."""

MEAN_RECALL, ZERO_SHOT_ACCURACY = "mean recall", "zero-shot accuracy"

Vectors: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class TrainingPairs:
    """Pictures, each with at least one text.

    Attributes:
        texts: of all pictures.
        image_of_text: int64 (n_texts,), the picture of each, ascending.
        files: (n_images,) where each picture is, as `embed` found it; None where that is not known.
        groups: int64 (n_images,), of pictures that show the same the same number.
        image_vectors: float32 (n_images, dim), of length 1, as the gallery holds them.
        text_vectors: float32 (n_texts, dim), likewise, of the text side before training.
        rows: int64 (n_images,), the row id of each in its gallery; None where they are of none.
        classes: int64 (n_images,), where texts are what the classes of pictures are called; pictures of one class have
            the same texts, as many as there are templates, and a text is right for all of them. None of captions.
    """

    texts: tuple[str, ...]
    image_of_text: NDArray[np.int64]
    files: tuple[str | None, ...]
    groups: NDArray[np.int64]
    image_vectors: Vectors
    text_vectors: Vectors
    rows: NDArray[np.int64] | None = None
    classes: NDArray[np.int64] | None = None

    @property
    def images(self) -> int:
        """How many pictures there are."""
        return len(self.files)

    def of_images(self, images: NDArray[np.int64]) -> "TrainingPairs":
        """Some of the pictures, ascending, with their texts."""
        chosen = np.unique(images)
        rows = np.flatnonzero(np.isin(self.image_of_text, chosen))
        return TrainingPairs(
            texts=tuple(self.texts[row] for row in rows),
            image_of_text=np.searchsorted(chosen, self.image_of_text[rows]),
            files=tuple(self.files[image] for image in chosen),
            groups=self.groups[chosen],
            image_vectors=self.image_vectors[chosen],
            text_vectors=self.text_vectors[rows],
            rows=None if self.rows is None else self.rows[chosen],
            classes=None if self.classes is None else self.classes[chosen],
        )


@dataclass(frozen=True, slots=True, eq=False)
class PairSplit:
    """Pairs by what they are for. No picture, and none that shows the same, is in two of them.

    Attributes:
        training: what is learned from.
        validation: what is chosen by.
        held_out: what is reported; looked at once, at the end.
    """

    training: TrainingPairs
    validation: TrainingPairs
    held_out: TrainingPairs


@dataclass(frozen=True, slots=True, eq=False)
class PairVectors:
    """The vectors of pairs by one model: float32 (n_images, dim) and (n_texts, dim), each of length 1."""

    images: Vectors
    texts: Vectors


@dataclass(frozen=True, slots=True)
class LossLog:
    """How a contrastive training went.

    Attributes:
        losses: the mean loss of each epoch.
        untrained_loss: that of a model that tells nothing apart: ln(batch) of CLIP's loss where no pair is left out;
            None where it is no fixed number, of SigLIP's, and of a map, which has none.
        logit_scale: what cosines were multiplied with in the end.
        seconds: what it took.
    """

    losses: tuple[float, ...]
    untrained_loss: float | None
    logit_scale: float
    seconds: float


class Trained(Protocol):
    """A model that was trained, with all weights between before and after: (1 - alpha) before + alpha after."""

    @property
    def name(self) -> str:
        """What was trained, for people: "a linear map on the text vectors"."""
        ...

    @property
    def log(self) -> LossLog: ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the training was given, for the model card: plain values."""
        ...

    @property
    def keeps_images(self) -> bool:
        """Whether its image side is, to the last weight, the one from before."""
        ...

    def vectors(self, alpha: float, pairs: TrainingPairs) -> PairVectors:
        """The vectors of pairs by the weights at alpha; at 0 those of the model before."""
        ...

    def text_vectors(self, alpha: float, texts: Sequence[str]) -> Vectors:
        """float32 (n, dim), of length 1, of any texts by the weights at alpha."""
        ...

    def weights(self, alpha: float) -> Mapping[str, Any]:
        """The tensors at alpha by their names in open_clip, all of the model."""
        ...


@dataclass(frozen=True, slots=True)
class FinetuneOptions:
    """How to train.

    Attributes:
        method: what is trained.
        seed: of splits, of the order of pairs, and of all else that is drawn: the same, the same weights on one
            machine.
        epochs: passes over the training pairs; None: what suits the method.
        batch: pairs that are told apart at once; None likewise.
        rate: the highest learning rate; None likewise.
        chunk: of both towers, pairs that are held in memory at a time; None likewise.
        hard_negatives: how many pictures that a caption nearly fits stand with it in a batch; of the text side alone,
            are surely among those that it is told apart from, where these are not all (`TextSettings.told_apart`). At
            most `MOST_HARD_NEGATIVES`.
        device: auto, cpu, cuda, cuda:N or mps.
        classes: of folders of classes, a file of what they are called, as `ZeroShotOptions` has it.
        templates: likewise of what is said of a picture, with {} for the name; none: "a photo of a {}.".

    Raises TrainingError for numbers with which nothing can be trained.
    """

    method: Method = "text-only"
    seed: int = 0
    epochs: int | None = None
    batch: int | None = None
    rate: float | None = None
    chunk: int | None = None
    hard_negatives: int = 0
    device: str = "auto"
    classes: Path | None = None
    templates: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        fewest_epochs = 0 if self.method == "text-only" else 1
        for name, value, least in (
            ("epochs", self.epochs, fewest_epochs),
            ("batch", self.batch, 2),
            ("chunk", self.chunk, 1),
            ("hard_negatives", self.hard_negatives, 0),
            ("seed", self.seed, 0),
        ):
            if value is not None and value < least:
                raise TrainingError(f"{name} is {value:,}, and must be at least {least}")
        if self.hard_negatives > MOST_HARD_NEGATIVES:
            raise TrainingError(f"hard_negatives is {self.hard_negatives:,}, and must be at most {MOST_HARD_NEGATIVES}")
        if self.rate is not None and not (math.isfinite(self.rate) and self.rate > 0):
            raise TrainingError(f"the learning rate is {self.rate:g}; it is a number above 0, such as 1e-4")


@dataclass(frozen=True, slots=True)
class AlphaPoint:
    """What the weights at alpha do on what is chosen by.

    Attributes:
        new: the deciding figure on validation pairs, 0 to 1; see `Comparison.decided_by`.
        kept: what is left of what the model knew, see `Comparison.retention`; None where it was not measured.
    """

    alpha: float
    new: float
    kept: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Before against after on the same pairs.

    Attributes:
        what: of which pairs, for people.
        images, texts: how many.
        figures: name ("text_to_image R@1", …) -> its change; means over queries, 0 to 1.
        mean_recall: the mean of R@1, R@5 and R@10 of both directions.
        accuracy: of classes the share of pictures whose own is the best: the one whose texts, their mean normalised,
            are nearest, among the classes that these pictures have. None of captions.
    """

    what: str
    images: int
    texts: int
    figures: Mapping[str, Difference]
    mean_recall: Difference
    accuracy: Difference | None = None

    @property
    def decided_by(self) -> str:
        """By what a model is chosen and judged, for people."""
        return MEAN_RECALL if self.accuracy is None else ZERO_SHOT_ACCURACY

    @property
    def deciding(self) -> Difference:
        """The change of that."""
        return self.mean_recall if self.accuracy is None else self.accuracy

    @property
    def shown(self) -> Mapping[str, Difference]:
        """All figures by their names, what decides first."""
        means = {MEAN_RECALL: self.mean_recall}
        return (means if self.accuracy is None else {ZERO_SHOT_ACCURACY: self.accuracy, **means}) | dict(self.figures)


@dataclass(frozen=True, slots=True)
class FinetuneReport:
    """What was trained, and whether it helped.

    Attributes:
        out: where the model is; None where none was written.
        encoder: which it is.
        base: the model that it was made from.
        method: what was trained, for people.
        counts: of "training", "validation", "held_out": (pictures, texts).
        alpha: the share of the training that was kept: 0 is the model before.
        curve: what other shares would have given, on validation pairs.
        held_out: before against after on pairs that nothing was chosen by.
        retention: likewise on what the model knew before; None where it was not measured.
        verdict: of the held-out pairs.
        problems: what was noticed, by name and in words.
        log: how the training went.
        seconds: everything.
        settings: what the training was given.
        keeps_images: whether vectors of pictures by the model before are its own: no gallery has to be embedded anew.
    """

    out: str | None
    encoder: EncoderIdentity | None
    base: EncoderIdentity
    method: str
    counts: Mapping[str, tuple[int, int]]
    alpha: float
    curve: tuple[AlphaPoint, ...]
    held_out: Comparison
    retention: Comparison | None
    verdict: Verdict
    problems: tuple[str, ...]
    log: LossLog
    seconds: float
    settings: Mapping[str, Any] = field(default_factory=dict)
    keeps_images: bool = False

    @property
    def share_kept(self) -> str:
        """How much of the training the model has, for people."""
        return "all of the training" if self.alpha == 1 else f"{self.alpha:g} of the way from before to after"
