"""The options of `evaluate_budget` and its report: where recall is lost, stage by stage."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from mmsearch.ann import Effort
from mmsearch.identity import EncoderIdentity
from mmsearch.metrics import Difference, Direction
from mmsearch.sources import USUAL_NAMES, ColumnNames

__all__ = [
    "BUDGET_PROTOCOL",
    "BudgetOptions",
    "BudgetReport",
    "BudgetStage",
    "RecallChange",
    "StageName",
]

StageName: TypeAlias = Literal["preprocessing", "float16", "codes", "effort", "filter", "correction"]
"""The stages between the benchmark and what a query is answered by, in the order of the pipeline."""

BUDGET_PROTOCOL = (
    "The reference is the benchmark's own: the checkpoint's transform without EXIF rotation, fp32, every score exact. "
    "R@k is the share of queries with at least one relevant item among the k best. A step is what a stage changes "
    "given the stages before it, so that the steps add up to the whole; alone is what it changes when nothing else is "
    "on. preprocessing: pictures decoded and resized as embed does it, searched ones and asking ones. float16: what "
    "is searched is stored as embed stores it. codes: the index with every list searched and as many candidates "
    "scored again as it was tuned to. effort: the index as it was tuned; alone, all that it looks at is scored again. "
    "filter: what --where admits, all of it scored exactly, as query does it without the index; what is relevant and "
    "not admitted is lost. correction: for hubs, as calibrate chooses it, but that each half of the images is "
    "corrected by what the other half's queries chose and by a bank of them; left out where it is not seen to help. "
    "All are measured on the same queries: differences are paired, and intervals the middle 95 % of 2,000 bootstrap "
    "samples of images, each with all its captions (seed 0). Mean recall is the mean of R@1, R@5 and R@10 of both "
    "directions."
)

_AS_TUNED = Effort()


@dataclass(frozen=True, slots=True)
class BudgetOptions:
    """How to measure where recall is lost.

    Attributes:
        split: The split of the annotation file; "all" for everything.
        split_file: A list of image names in the place of the file's own splits.
        captions_per_image: Only the first so many captions of an image; None for all.
        allow_missing: Go on without images that are not there or cannot be read, and say so.
        columns: The names of the annotation file's columns.
        ks: The k of R@k.
        device: Where to encode.
        precision: What to encode in.
        fresh: Encode all anew, whatever the cache holds.
        factory: The kind of index; None: chosen by size, as `index` does.
        effort: The effort of a search in the place of what the index was tuned to; None in it: as tuned.
        where: An SQL expression over the columns of what is searched; None: no filter.
    """

    split: str | None = "test"
    split_file: Path | None = None
    captions_per_image: int | None = None
    allow_missing: bool = False
    columns: ColumnNames = USUAL_NAMES
    ks: tuple[int, ...] = (1, 5, 10)
    device: str = "auto"
    precision: str = "fp32"
    fresh: bool = False
    factory: str | None = None
    effort: Effort = _AS_TUNED
    where: str | None = None


@dataclass(frozen=True, slots=True)
class RecallChange:
    """What a change of the pipeline does to recall: second minus first, on the same queries.

    Attributes:
        recall: Direction -> "R@k" -> the difference, with interval and p.
        mean_recall: Of the mean of R@1, R@5 and R@10 of both directions.
    """

    recall: dict[Direction, dict[str, Difference]]
    mean_recall: Difference


@dataclass(frozen=True, slots=True)
class BudgetStage:
    """One stage of the pipeline and what it costs.

    Attributes:
        about: Direction -> what was measured, in words.
        step: The change given all stages before it.
        alone: The change of this stage by itself against the reference.
    """

    name: StageName
    about: dict[Direction, str]
    step: RecallChange
    alone: RecallChange


@dataclass(frozen=True, slots=True)
class BudgetReport:
    """Where recall is lost, stage by stage.

    Attributes:
        title: What was evaluated, with its counts and what is missing of it.
        queries: Direction -> how many queries ask, and for how many items.
        stages: In the order of the pipeline.
        whole: All stages together against the reference: the sum of their steps.
        costliest: The stage at which most is lost; None where nothing measurable is.
        verdict: That in words.
        unreadable: Images left out because they do not decode.
        problems: What a reader has to know of the annotations and of the run.
    """

    benchmark: str
    title: str
    split: str | None
    source: str
    images: int
    captions: int
    queries: dict[Direction, tuple[int, int]]
    encoder: EncoderIdentity
    device: str
    precision: str
    stages: tuple[BudgetStage, ...]
    whole: RecallChange
    costliest: StageName | None
    verdict: str
    where: str | None
    unreadable: tuple[str, ...]
    problems: tuple[str, ...]
    benchmark_hash: str
    protocol: str = BUDGET_PROTOCOL
    versions: dict[str, str] = field(default_factory=dict)
    hardware: dict[str, str] = field(default_factory=dict)
