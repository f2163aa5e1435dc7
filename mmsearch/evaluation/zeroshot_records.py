"""The options of `evaluate_zeroshot` and its report."""

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.identity import EncoderIdentity
from mmsearch.metrics import Difference, Estimate, Ids, ReliabilityBin

__all__ = [
    "ClassResult",
    "Confusion",
    "PublishedShare",
    "ZeroShotCalibration",
    "ZeroShotClass",
    "ZeroShotComparison",
    "ZeroShotEvidence",
    "ZeroShotItems",
    "ZeroShotOptions",
    "ZeroShotReport",
    "ZeroShotSystem",
    "zeroshot_document",
]

ONE_CLASS_EACH = (
    "A picture is classified as the class whose text has the highest cosine with it; a class's text is the normalised "
    "mean of its name in all templates; of equal scores the class that stands first is taken. top1 and top5 are shares "
    "of pictures; mean_per_class is the mean over classes of their own top1 (balanced accuracy)."
)
SEVERAL_CLASSES = (
    "A class ranks all pictures by their cosine with its text, which is the normalised mean of its name in all "
    "templates. mAP is the mean over classes of average precision, the sum over ranks of the rise of recall times "
    "precision; mAP_11_point that of the highest precision at recall of at least 0, 0.1, …, 1, as VOC 2007 defines it. "
    "Equal scores stand at one rank; classes of which it is not said whether a picture shows them do not judge it."
)
INTERVALS = "Intervals are the middle 95 % of 2,000 bootstrap samples of pictures (seed 0)."
CALIBRATION = (
    "Calibration: the chance of a class is the softmax over all candidates of cosine times the scale that the model "
    "was trained to; ECE is the expected calibration error of the chance of the best class, in 15 bins of equal width "
    "(Guo et al. 2017)."
)


@dataclass(frozen=True, slots=True)
class ZeroShotOptions:
    """How to classify.

    Attributes:
        labels: A table of picture and class; None: the layout of the folder says it.
        split: Of VOC's lists and of shards; all for everything.
        label_column: What holds the class in shards, where it is not called label, cls or the like.
        classes: A file of class names, a line each in the order of the sorted folders, or FOLDER<TAB>NAME; by default
            those of the data set, or the folders' names with spaces for _ and -.
        templates: Texts with a {} for the name, or names of sets; none: those of the data set, else "a photo of a {}.".
        allow_missing: Go on without pictures that cannot be read, and say so.
        product: Prepare pictures as `embed` does.
        fresh: Encode all anew.
    """

    labels: Path | None = None
    split: str = "test"
    label_column: str | None = None
    classes: Path | None = None
    templates: tuple[str, ...] = ()
    allow_missing: bool = False
    product: bool = False
    device: str = "auto"
    precision: str = "fp32"
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class ZeroShotClass:
    """A candidate.

    Attributes:
        label: What the layout calls it: its folder, mostly.
        name: What stands in the templates.
        shown: The name, with the label where several classes have it.
    """

    label: str
    name: str
    shown: str


@dataclass(frozen=True, slots=True)
class ClassResult:
    """How well one class is recognised; figures are None where it has no picture.

    Attributes:
        images: The number of its pictures.
        top1: The share of them that is right at rank 1.
        top5: The share of them that is right within rank 5.
        average_precision: Of the ranking of all pictures; where a picture has several classes.
    """

    folder: str
    name: str
    images: int
    top1: float | None = None
    top5: float | None = None
    average_precision: float | None = None


@dataclass(frozen=True, slots=True)
class Confusion:
    """How many pictures of one class were taken for another. Both by name, with the folder where several have it."""

    actual: str
    predicted: str
    images: int


@dataclass(frozen=True, slots=True)
class ZeroShotCalibration:
    """Whether the chances of the best classes come true.

    Attributes:
        scale: What cosines are multiplied with: the inverse of the softmax's temperature.
        stated: Whether the model says so; else it is CLIP's 100.
        confidence: The mean chance of the best class; above top1 the model is too sure.
        error: ECE.
        auroc: The chance that a right answer is surer than a wrong one.
        reliability: Bins of equal width by the chance of the best class.
    """

    scale: float
    stated: bool
    confidence: float
    error: Estimate
    auroc: Estimate
    reliability: tuple[ReliabilityBin, ...]


@dataclass(frozen=True, slots=True, eq=False)
class ZeroShotEvidence:
    """What a system said of each picture, in the order of the items.

    Attributes:
        top: (n, k) indices of the best classes, best first.
        scores: (n, k) their cosines.
        chances: (n, k) their chances, see `ZeroShotCalibration`.
        ranks: (n,) the rank of the best class that it has, from 1; 0 where it has none.
    """

    top: Ids
    scores: NDArray[np.float64]
    chances: NDArray[np.float64]
    ranks: Ids


@dataclass(frozen=True, slots=True)
class PublishedShare:
    """A published figure of classification beside ours.

    Attributes:
        figure: Its name among the figures of the system.
        inside: Whether it lies in our interval, but for the places that it was rounded to.
        model: The spec that it was published under.
        source: Repository, file and commit.
        differing: What the source did otherwise, or does not say, in words.
    """

    figure: str
    published: float
    ours: Estimate
    inside: bool
    model: str
    source: str
    differing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ZeroShotSystem:
    """What an encoder scores without having been trained on these classes.

    Attributes:
        figures: top1, top5 and mean_per_class, or mAP and mAP_11_point where pictures have several classes.
        confusions: Wrong answers, the most frequent first; none where pictures have several classes.
        truncated: The number of filled templates longer than the model reads.
        calibration: None where pictures have several classes: then chances over classes say nothing.
        published: Published figures beside ours, where `with_published_accuracies` found some.
    """

    name: str
    encoder: EncoderIdentity
    device: str
    precision: str
    figures: dict[str, Estimate]
    classes: tuple[ClassResult, ...]
    confusions: tuple[Confusion, ...]
    calibration: ZeroShotCalibration | None
    truncated: int
    evidence: ZeroShotEvidence
    published: tuple[PublishedShare, ...] = ()


@dataclass(frozen=True, slots=True)
class ZeroShotComparison:
    """Two encoders on the same pictures.

    Attributes:
        differences: Of each figure, second minus first, with interval and p.
    """

    first: str
    second: str
    differences: dict[str, Difference]


@dataclass(frozen=True, slots=True)
class ZeroShotItems:
    """What was classified.

    Attributes:
        images: Names.
        files: Where they lie.
        classes: The indices of the classes of each.
    """

    images: tuple[str, ...]
    files: tuple[str, ...]
    classes: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class ZeroShotReport:
    """Some encoders on the pictures of a data set.

    Attributes:
        benchmark: The name of the data set, or "custom".
        title: For people.
        layout: How the pictures say what they show.
        figure: The one that is published for this data set.
        names_source: Where the names of the classes come from, and the data set's templates.
        images: The number of pictures.
        classes: The candidates.
        comparisons: Each further system with the first.
        unreadable: Pictures left out.
        problems: What a reader has to know.
    """

    benchmark: str
    title: str
    layout: str
    figure: str
    names_source: str
    images: int
    classes: tuple[ZeroShotClass, ...]
    templates: tuple[str, ...]
    systems: tuple[ZeroShotSystem, ...]
    comparisons: tuple[ZeroShotComparison, ...]
    unreadable: tuple[str, ...]
    problems: tuple[str, ...]
    protocol: str
    items: ZeroShotItems
    versions: dict[str, str] = field(default_factory=dict)
    hardware: dict[str, str] = field(default_factory=dict)

    @property
    def multilabel(self) -> bool:
        """Whether pictures have several classes."""
        return "mAP" in self.systems[0].figures

    @property
    def figures(self) -> dict[str, Estimate]:
        """Those of the first system."""
        return self.systems[0].figures


def zeroshot_document(report: ZeroShotReport) -> dict[str, Any]:
    """The report as a document for `json_text(…, default=str)`, without what was said of each picture."""
    left_out = {"items", "systems", "comparisons", "classes"}
    plain = {each.name: getattr(report, each.name) for each in fields(report) if each.name not in left_out}
    return {
        **plain,
        "candidates": len(report.classes),
        "systems": [
            {each.name: _plain(getattr(system, each.name)) for each in fields(system) if each.name != "evidence"}
            for system in report.systems
        ],
        "comparisons": [asdict(comparison) for comparison in report.comparisons],
    }


def _plain(value: Any) -> Any:
    """Records as dictionaries, also within tuples and dictionaries."""
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value
