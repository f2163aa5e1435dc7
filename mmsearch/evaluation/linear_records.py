"""The options of `evaluate_linear` and its report."""

from dataclasses import asdict, dataclass, field
from typing import Any

from mmsearch.evaluation.zeroshot_records import ZeroShotOptions
from mmsearch.identity import EncoderIdentity
from mmsearch.metrics import Difference, Estimate

__all__ = ["Baseline", "LinearOptions", "LinearReport", "LinearSystem", "linear_document"]

PROTOCOL = (
    "Every method answers for the same held-out pictures, among the same classes. top1 is the share that is right, "
    "mean_per_class the mean of the classes' own top1. zero-shot learns from no picture: its texts are the class's "
    "name in one template, or the normalised mean over several. From so many pictures of each class (shots), drawn "
    "anew for each seed, learn: the nearest mean; the cache (Tip-Adapter without training, Zhang et al. 2022: zero-"
    "shot scores plus the sum of exp(-5.5 (1 - cosine)) of each class's shots); the linear probe (multinomial "
    "logistic regression with an L2 penalty, which is chosen on the shots alone, by two folds; 0.001 where there is "
    "one shot). Nothing is chosen on the held-out pictures. Intervals are the middle 95 % of 2,000 bootstrap samples "
    "of held-out pictures and of seeds; differences are against zero-shot with the most templates, with p of the "
    "paired randomisation test over pictures."
)


@dataclass(frozen=True, slots=True)
class LinearOptions:
    """What is compared.

    Attributes:
        read: How pictures and classes are read, and by which encoder device and precision.
        test: Another place, whose pictures are asked; None: a share of each class is held out.
        test_share: That share.
        shots: How many pictures of each class are learned from.
        seeds: How often they are drawn.
    """

    read: ZeroShotOptions = field(default_factory=ZeroShotOptions)
    test: str | None = None
    test_share: float = 0.5
    shots: tuple[int, ...] = (1, 2, 4, 8, 16)
    seeds: int = 5


@dataclass(frozen=True, slots=True)
class Baseline:
    """One method.

    Attributes:
        shots: Pictures of each class that it learned from; None for all, 0 for none.
        lowest, highest: top1 of the worst and of the best seed.
        setting: What was chosen, for people; "" where there is nothing.
        against: top1 less that of zero-shot; None for that itself.
    """

    method: str
    shots: int | None
    top1: Estimate
    mean_per_class: float
    lowest: float
    highest: float
    setting: str
    against: Difference | None


@dataclass(frozen=True, slots=True)
class LinearSystem:
    """One encoder.

    Attributes:
        verdict: How many shots zero-shot is worth, in a sentence.
    """

    name: str
    encoder: EncoderIdentity
    device: str
    precision: str
    baselines: tuple[Baseline, ...]
    verdict: str


@dataclass(frozen=True, slots=True)
class LinearReport:
    """Zero-shot classification beside what learns from pictures.

    Attributes:
        learned, asked: The number of pictures to learn from, and of those that are asked.
    """

    benchmark: str
    title: str
    layout: str
    classes: int
    learned: int
    asked: int
    templates: tuple[str, ...]
    seeds: int
    systems: tuple[LinearSystem, ...]
    problems: tuple[str, ...]
    protocol: str
    versions: dict[str, str]
    hardware: dict[str, str]


def linear_document(report: LinearReport) -> dict[str, Any]:
    """The report as a document for `json_text(…, default=str)`."""
    return asdict(report)
