"""A study and its report: what is measured, what was, and what could not be."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from mmsearch.benchmarks import Benchmark
from mmsearch.encoders.costs import EncoderCosts
from mmsearch.identity import EncoderIdentity
from mmsearch.metrics import Direction, Estimate, Ids, Pair

__all__ = [
    "BenchmarkTable",
    "CellResult",
    "CellState",
    "MEAN_RECALL",
    "PlannedCell",
    "Preprocessing",
    "Study",
    "StudyBenchmark",
    "StudyFailure",
    "StudyModel",
    "StudyPair",
    "StudyPlan",
    "StudyReport",
    "StudySystem",
    "StudyVariant",
]

Preprocessing: TypeAlias = Literal["benchmark", "product"]

MEAN_RECALL = "mean recall"
"""The name of the figure that systems are compared by: the mean of R@1, R@5 and R@10 of both directions."""


@dataclass(frozen=True, slots=True)
class StudyModel:
    """A model of a study.

    Attributes:
        spec: As `--model` takes it.
        name: As tables have it.
    """

    spec: str
    name: str


@dataclass(frozen=True, slots=True)
class StudyBenchmark:
    """A benchmark of a study; but for its name, as `mmsearch eval` takes it.

    Attributes:
        name: As tables have it.
        benchmark: Of `mmsearch.benchmarks.DATA_SETS`.
        images, annotations: Paths or URLs; annotations None where shards of images hold captions too.
        language: Of data sets that have several.
    """

    name: str
    benchmark: str
    images: str
    annotations: str | None
    split: str = "test"
    split_file: Path | None = None
    captions_per_image: int | None = None
    allow_missing: bool = False
    image_column: str | None = None
    caption_columns: tuple[str, ...] = ()
    language: str | None = None


@dataclass(frozen=True, slots=True)
class StudyVariant:
    """Options under which every model meets every benchmark.

    Attributes:
        name: As tables have it, after the model's.
        templates: Texts with a {} for the caption, or names of sets; none for captions as they are.
        preprocessing: "benchmark": the checkpoint's own transform. "product": as `embed` prepares images.
    """

    name: str = "plain"
    templates: tuple[str, ...] = ()
    precision: str = "fp32"
    preprocessing: Preprocessing = "benchmark"


@dataclass(frozen=True, slots=True)
class Study:
    """Models x benchmarks x options.

    Attributes:
        out: The folder for what is measured and for the tables.
        ks: The k of R@k.
        limit: Only so many images of each benchmark, the first ones, with their captions; None for all.
        device: As `--device` takes it; "auto" and "cuda" are all GPUs of the machine.
        ray: The Ray cluster that encodes images, as `embed --ray` takes it; None for this machine alone.
    """

    name: str
    out: Path
    models: tuple[StudyModel, ...]
    benchmarks: tuple[StudyBenchmark, ...]
    variants: tuple[StudyVariant, ...] = (StudyVariant(),)
    ks: tuple[int, ...] = (1, 5, 10)
    limit: int | None = None
    device: str = "auto"
    ray: str | None = None

    def system_name(self, model: StudyModel, variant: StudyVariant) -> str:
        """What a model under some options is called: the options are named where there are several."""
        return model.name if len(self.variants) == 1 else f"{model.name}, {variant.name}"


CellState: TypeAlias = Literal["done", "to do", "failed"]


@dataclass(frozen=True, slots=True)
class PlannedCell:
    """One model on one benchmark under some options.

    Attributes:
        key: Of all that decides the figures, and of the names; empty where that cannot be told, and the cell has
            failed.
        kept_as: The key under which the same was measured by other names; empty where it was by these, or was not.
        state: "failed": the benchmark cannot be read, or the model cannot be.
        reason: Why.
    """

    model: StudyModel
    variant: StudyVariant
    benchmark: StudyBenchmark
    key: str
    state: CellState
    reason: str = ""
    kept_as: str = ""


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """What a run would do.

    Attributes:
        cells: In the order in which they are measured: model by model.
        loaded: Name of a benchmark -> it.
    """

    study: Study
    cells: tuple[PlannedCell, ...]
    loaded: Mapping[str, Benchmark] = field(repr=False)

    def count(self, state: CellState) -> int:
        """How many cells are in a state."""
        return sum(cell.state == state for cell in self.cells)


@dataclass(frozen=True, slots=True, eq=False)
class CellResult:
    """What was measured of one cell: ranks, from which all figures follow.

    Attributes:
        model, benchmark, variant: Names, as tables have them.
        title: What was evaluated, with its counts and what is missing of it.
        benchmark_hash: Of names, texts and relevance. Only cells of the same queries are compared.
        ranks: Direction -> (n_queries,) the rank of the best relevant item of each query.
        image_of_caption: (n_captions,) position of the image of each caption; images ask in their own order.
        tied_queries: Direction -> how many queries hang on ties.
        departures: How an official benchmark departs from the protocol of the published figures, in words.
        measured_at: Unix time.
    """

    key: str
    model: str
    benchmark: str
    variant: str
    title: str
    benchmark_hash: str
    limit: int | None
    encoder: EncoderIdentity
    device: str
    precision: str
    preprocessing: Preprocessing
    templates: tuple[str, ...]
    ranks: Mapping[Direction, Ids]
    image_of_caption: Ids
    n_images: int
    tied_queries: Mapping[Direction, int]
    truncated: int
    departures: tuple[str, ...]
    problems: tuple[str, ...]
    costs: EncoderCosts | None
    encode_seconds: float
    measured_at: float
    versions: Mapping[str, str]
    hardware: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class StudySystem:
    """A row of a table.

    Attributes:
        figures: "text_to_image R@1", …, "image_to_text R@1", …, and "mean recall" -> it, with its interval.
    """

    name: str
    model: str
    variant: str
    cell: CellResult
    figures: Mapping[str, Estimate]


@dataclass(frozen=True, slots=True)
class StudyPair:
    """Two systems on one benchmark, by mean recall.

    Attributes:
        pair: The second minus the first; its p is that of the test alone.
        p_holm: p, corrected by Holm's method for the number of all pairs of the study.
    """

    benchmark: str
    pair: Pair
    p_holm: float


@dataclass(frozen=True, slots=True)
class BenchmarkTable:
    """A benchmark of a study: a row a system, in the order of the study."""

    benchmark: str
    title: str
    systems: tuple[StudySystem, ...]


@dataclass(frozen=True, slots=True)
class StudyFailure:
    """What could not be measured, and why. benchmark: None for all of them."""

    model: str
    benchmark: str
    variant: str
    reason: str


@dataclass(frozen=True, slots=True)
class StudyReport:
    """The tables of a study.

    Attributes:
        limit: Where not None this is a smoke run, whose figures mean nothing.
        tables: One a benchmark of which something was measured.
        pairs: All pairs of systems on the same queries.
        failures: What could not be measured.
        done, skipped: How many cells were measured in this run, and how many before.
    """

    name: str
    ks: tuple[int, ...]
    limit: int | None
    tables: tuple[BenchmarkTable, ...]
    pairs: tuple[StudyPair, ...]
    failures: tuple[StudyFailure, ...] = ()
    done: int = 0
    skipped: int = 0
