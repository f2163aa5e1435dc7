"""The options of `evaluate` and its report."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch.ann import Effort, MeasuredRecall
from mmsearch.budget import RERANKED
from mmsearch.identity import EncoderIdentity
from mmsearch.locations import Location
from mmsearch.metrics import (
    Difference,
    Direction,
    DirectionResult,
    Estimate,
    FittedLaw,
    Hubness,
    Ids,
    Interval,
    Ranking,
    Relevance,
    ReliabilityBin,
    SpaceHealth,
    Vectors,
)
from mmsearch.rerankers import Reranker
from mmsearch.scoring import Form
from mmsearch.sources import USUAL_NAMES, ColumnNames

__all__ = [
    "DEFINITION",
    "Calibration",
    "Comparison",
    "Corrected",
    "CorrectedDirection",
    "CorrectedRanking",
    "EvaluateOptions",
    "EvaluationReport",
    "Evidence",
    "Extrapolation",
    "GallerySizes",
    "Items",
    "Reranked",
    "RerankedDirection",
    "PresenceCalibration",
    "PublishedFigure",
    "SizeCurve",
    "SizePoint",
    "SystemResult",
    "ViaIndex",
]

DEFINITION = (
    "R@k is the share of queries with at least one relevant item among the k best (what CLIP papers call recall). "
    "text_to_image: a caption asks for its image; image_to_text: an image asks for any of its captions. "
    "Scores are cosines, ranks are exact, equal scores rank in the order of the annotation file. "
    "Intervals are the middle 95 % of 2,000 bootstrap samples of images, each with all its captions (seed 0). Where "
    "all queries agree (0 or 100 %) they collapse, and Wilson's interval, of as many independent draws as there are "
    "asking images, is given. Differences come with p of a paired randomisation test, which swaps all answers for an "
    "image at once 10,000 times (seed 0; not corrected for the number of tests). Mean recall is the mean of R@1, R@5 "
    "and R@10 of both directions, whatever k is asked for. MRR looks at whole rankings: from a run file, which holds "
    "the best hits only, tools compute less. "
    "Corrected: a score minus alpha times the mean of the k best scores of its item with a bank of other queries; the "
    "queries of each half of the images (by lot, seed 0) are corrected by what those of the other half chose, the "
    "setting that is named is the choice of all, and where the interval of the gain in MRR does not lie above zero "
    "nothing is corrected. "
    "Calibration: every caption asks twice, with its images among all that captions ask for and with them taken away; "
    "the chance that they are there is fitted on one half of the images and judged on the other."
)


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """How to evaluate.

    Attributes:
        split: The split of the annotation file; "all" for everything.
        split_file: A list of image names in the place of the file's own splits.
        captions_per_image: Only the first so many captions of an image; None for all.
        allow_missing: Go on without images that are not there or cannot be read, and say so.
        ks: The k of R@k.
        templates: Texts with a {} for the caption, whose normalised vectors are averaged, or the name of a set
            (`mmsearch.encoders.prompts`); none for captions as they are.
        product_preprocessing: Measure each encoder once more, on images as `embed` prepares them.
        compare: Set the figures beside published ones.
        compare_as: The spec whose published figures these are, where the encoder has another name; one for each
            encoder, or none.
        via_index: Measure also through an index.
        factory: The kind of that index; None: chosen by size.
        correct: Measure also how scores would be corrected for hubs and calibrated, which takes most of the time.
        rerank: A re-ranker or its name, as `rerankers.open_reranker` takes it: measure also with the best candidates
            in its order.
        rerank_by: What it ranks by: "logit", or "logit+score".
        depth: So many candidates of each query are re-ranked.
        fresh: Encode all anew, whatever the cache holds.
        columns: The names of the annotation file's columns.
    """

    split: str | None = "test"
    split_file: Path | None = None
    captions_per_image: int | None = None
    allow_missing: bool = False
    ks: tuple[int, ...] = (1, 5, 10)
    templates: tuple[str, ...] = ()
    product_preprocessing: bool = False
    compare: bool = False
    compare_as: tuple[str, ...] = ()
    device: str = "auto"
    precision: str = "fp32"
    via_index: bool = False
    factory: str | None = None
    correct: bool = True
    rerank: str | Reranker | None = None
    rerank_by: str = "logit"
    depth: int = RERANKED
    fresh: bool = False
    columns: ColumnNames = USUAL_NAMES


@dataclass(frozen=True, slots=True)
class ViaIndex:
    """The same queries through an index.

    Attributes:
        recall: k -> R@k.
        ann: The index's own recall against exact search.
        milliseconds: Time a query, in one batch.
    """

    direction: str
    factory: str
    effort: Effort
    recall: dict[int, float]
    ann: tuple[MeasuredRecall, ...]
    milliseconds: float


@dataclass(frozen=True, slots=True)
class PublishedFigure:
    """A published figure beside ours.

    Attributes:
        inside: Whether it lies in our interval, but for the places that it was rounded to.
        model: The spec that it was published under.
        source: Repository, file and commit.
        differing: What the source did otherwise, or does not say, in words.
    """

    direction: Direction
    k: int
    published: float
    ours: float
    interval: Interval
    inside: bool
    model: str
    source: str
    differing: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Items:
    """What is ranked, in the order that decides ties, and what is relevant to what.

    Attributes:
        images: Names, unique.
        files: Where to look at the images; None where that is not known.
        captions: Texts, or their ids where there are no texts.
        caption_ids: Unique names for files.
        query_captions: Positions of the captions that are queries: all to which an image is relevant.
        query_images: Positions of the images that are queries: all to which a caption is relevant.
        images_of_caption: Which images are relevant to each of `query_captions`.
        captions_of_image: Which captions are relevant to each of `query_images`.
    """

    images: tuple[str, ...]
    files: tuple[str | None, ...]
    captions: tuple[str, ...]
    caption_ids: tuple[str, ...]
    query_captions: Ids
    query_images: Ids
    images_of_caption: Relevance
    captions_of_image: Relevance

    @property
    def image_of_caption(self) -> Ids:
        """The image to resample with each caption that is a query."""
        return self.images_of_caption.positions[self.images_of_caption.offsets[:-1]]


@dataclass(frozen=True, slots=True, eq=False)
class CorrectedRanking:
    """One direction, ranked by corrected scores.

    Attributes:
        folds: int64 (n_queries,), the half of the images that each query belongs to, 0 or 1.
        taken: float64 (n_items, 2), what is taken from the score of each item with the queries of each half.
    """

    ranking: Ranking
    folds: Ids
    taken: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What the figures of a system were computed from. Rankings are over the queries, in their order.

    Attributes:
        corrected: Direction -> its ranking by corrected scores; None where nothing is corrected.
    """

    images: Vectors
    captions: Vectors
    text_to_image: Ranking
    image_to_text: Ranking
    corrected: dict[Direction, CorrectedRanking | None]


@dataclass(frozen=True, slots=True)
class CorrectedDirection:
    """The same queries with scores that are corrected for hubs.

    Attributes:
        result: The figures, each query corrected by the setting that the other half of the queries chose; the plain
            ones where nothing is corrected.
        alpha: The share of an item's mean that is taken away, chosen on all queries; 0 for no correction.
        k: Of so many scores with the bank is the mean.
        fold_settings: (alpha, k) as the queries of each fold chose it; empty where nothing is corrected.
        source: Where the bank comes from; None where there is none.
        bank: How many vectors it has.
        why: What was seen, or why nothing is corrected, in words.
        differences: Figure -> corrected minus plain, with interval and p.
    """

    result: DirectionResult
    alpha: float
    k: int
    fold_settings: tuple[tuple[float, int], ...]
    source: str | None
    bank: int
    why: str
    differences: dict[str, Difference]


@dataclass(frozen=True, slots=True)
class Corrected:
    """Both directions with corrected scores.

    Attributes:
        mean_recall: The mean of R@1, R@5 and R@10 of both directions, each corrected where that helps.
        measured: Whether it was measured what corrections do.
    """

    text_to_image: CorrectedDirection
    image_to_text: CorrectedDirection
    mean_recall: float
    measured: bool = True

    @classmethod
    def unmeasured(
        cls, text_to_image: DirectionResult, image_to_text: DirectionResult, mean_recall: float
    ) -> "Corrected":
        """The plain figures, where it was not asked what corrections do."""
        forward, backward = (
            CorrectedDirection(result, 0.0, 0, (), None, 0, "not measured", {})
            for result in (text_to_image, image_to_text)
        )
        return cls(forward, backward, mean_recall, measured=False)

    @property
    def directions(self) -> tuple[CorrectedDirection, CorrectedDirection]:
        return self.text_to_image, self.image_to_text


@dataclass(frozen=True, slots=True)
class RerankedDirection:
    """The same queries with their best candidates re-ranked.

    Attributes:
        result: The figures.
        candidate_recall: The share of queries with a relevant item among the candidates: no R@k up to their number can
            be higher.
        candidate_interval: Its interval.
        differences: Figure -> re-ranked minus plain, with interval and p.
    """

    result: DirectionResult
    candidate_recall: float
    candidate_interval: Interval
    differences: dict[str, Difference]


@dataclass(frozen=True, slots=True)
class Reranked:
    """Both directions re-ranked.

    Attributes:
        spec: The re-ranker.
        by: What it ranks by: "logit", or "logit+score".
        depth: So many candidates of each query.
        device: Where it ran.
        pairs: How many pairs of a picture and a text it looked at.
        seconds: How long that took, reading the pictures included.
    """

    spec: str
    by: str
    depth: int
    device: str
    pairs: int
    seconds: float
    text_to_image: RerankedDirection
    image_to_text: RerankedDirection

    @property
    def directions(self) -> tuple[RerankedDirection, RerankedDirection]:
        return self.text_to_image, self.image_to_text


@dataclass(frozen=True, slots=True)
class Calibration:
    """Whether a best score tells that what was asked for is there.

    Attributes:
        forms: Of the probability that judges the queries of each fold.
        error: The expected calibration error.
        brier: The Brier score.
        auroc: The area under the ROC curve.
        risk_area: The area under the curve of risk and coverage.
        bins: The reliability diagram.
        coverage: Points of that curve: the share of queries that are answered, the surest first.
        risk: The share of those whose image is not there.
    """

    forms: tuple[Form, Form]
    error: Estimate
    brier: Estimate
    auroc: Estimate
    risk_area: Estimate
    bins: tuple[ReliabilityBin, ...]
    coverage: tuple[float, ...]
    risk: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class PresenceCalibration:
    """Captions that ask with their images among those searched, and with them taken away.

    Attributes:
        queries: How many captions asked, each of them twice.
        searched: Among so many images; without its own where those were taken away.
        plain: By the best score.
        corrected: By the best corrected score; the same where nothing is corrected.
    """

    queries: int
    searched: int
    plain: Calibration
    corrected: Calibration


@dataclass(frozen=True, slots=True)
class SizePoint:
    """R@k among fewer items.

    Attributes:
        gallery: How many items were ranked; of image_to_text, whose captions come with their images, the mean of the
            draws.
        queries: How many asked, likewise.
        recall: The mean of the draws.
        draws: Of each draw; of the whole gallery there is one.
    """

    gallery: int
    queries: int
    recall: float
    draws: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Extrapolation:
    """What a law says of a gallery that is larger than any that was measured.

    Attributes:
        low, high: The ends of what the law fitted to each draw says, and of the laws that are up to twice as far off.
            They hold neither the interval of the figures themselves nor what other pictures would do.
    """

    gallery: int
    recall: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class SizeCurve:
    """R@k of one direction against the size of the gallery.

    Attributes:
        points: What was measured, the smallest gallery first.
        fitted: The laws, the one that is used first.
        extrapolated: What it says of larger galleries.
    """

    direction: Direction
    k: int
    points: tuple[SizePoint, ...]
    fitted: tuple[FittedLaw, ...]
    extrapolated: tuple[Extrapolation, ...]


@dataclass(frozen=True, slots=True)
class GallerySizes:
    """R@k against the size of the gallery.

    Attributes:
        seeds: Of the draws of images.
        curves: One a direction and k; none where too few sizes tell something.
    """

    seeds: tuple[int, ...]
    curves: tuple[SizeCurve, ...]


@dataclass(frozen=True, slots=True)
class SystemResult:
    """What one encoder, prepared and prompted in one way, scores.

    Attributes:
        name: Unique within a report.
        preprocessing: "benchmark" or "product".
        mean_recall: The mean of R@1, R@5 and R@10 of both directions.
        hubness: Direction -> hubness of the items that are returned.
        truncated: The number of texts longer than the model reads.
        gallery: Where the vectors are cached.
        published: Published figures beside ours, where asked for and known.
        corrected: The same queries with scores that are corrected for hubs.
        reranked: The same queries with their best candidates re-ranked; None where that was not asked for.
        calibration: Whether best scores tell what is there; None where too few images are asked for to judge, and where
            corrections were not measured.
        sizes: R@k against the size of the gallery, where `with_gallery_sizes` measured it.
    """

    name: str
    encoder: EncoderIdentity | None
    device: str | None
    precision: str | None
    preprocessing: str | None
    templates: tuple[str, ...]
    text_to_image: DirectionResult
    image_to_text: DirectionResult
    mean_recall: float
    mean_recall_interval: Interval
    health: SpaceHealth
    hubness: dict[Direction, Hubness]
    truncated: int
    gallery: Location | None
    via_index: tuple[ViaIndex, ...]
    published: tuple[PublishedFigure, ...]
    corrected: Corrected
    calibration: PresenceCalibration | None
    encode_seconds: float
    rank_seconds: float
    evidence: Evidence = field(repr=False, compare=False)
    reranked: Reranked | None = None
    sizes: GallerySizes | None = None

    @property
    def directions(self) -> tuple[DirectionResult, DirectionResult]:
        return self.text_to_image, self.image_to_text


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two systems on the same queries.

    Attributes:
        differences: Figure -> second minus first, with interval and p. The p values are not corrected for their number.
    """

    first: str
    second: str
    direction: Direction
    differences: dict[str, Difference]


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """All figures of an evaluation.

    Attributes:
        title: What was evaluated, with its counts and what is missing of it.
        departures: How an official benchmark departs from the protocol of the published figures, in words; empty
            where the figures compare.
        unreadable: Images left out because they do not decode.
        problems: What was wrong with the annotations.
        benchmark_hash: A hash of names, texts and relevance.
    """

    benchmark: str
    title: str
    split: str | None
    source: str
    images: int
    captions: int
    systems: tuple[SystemResult, ...]
    comparisons: tuple[Comparison, ...]
    departures: tuple[str, ...]
    unreadable: tuple[str, ...]
    problems: tuple[str, ...]
    benchmark_hash: str
    items: Items = field(repr=False, compare=False)
    protocol: str = DEFINITION
    versions: dict[str, str] = field(default_factory=dict)
    hardware: dict[str, str] = field(default_factory=dict)

    @property
    def text_to_image(self) -> DirectionResult:
        """Of the first system."""
        return self.systems[0].text_to_image

    @property
    def image_to_text(self) -> DirectionResult:
        """Of the first system."""
        return self.systems[0].image_to_text

    @property
    def truncated(self) -> int:
        """Of the first system."""
        return self.systems[0].truncated
