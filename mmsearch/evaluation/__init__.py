"""`evaluate`: how well encoders retrieve, in both directions, by the protocol of the published results.

benchmark_run       benchmarks by name
benchmark_encoding  benchmarks, images and texts as cached galleries
measuring           all figures of vectors, and differences of systems
correcting          the same queries with scores that are corrected for hubs
calibrating         whether a best score tells that what was asked for is there
via_index           the same queries through an index
    reranking           the same queries with their best candidates re-ranked
recall_budget       where recall is lost, stage by stage
staged_search       benchmarks searched with some stages on
cross_correction    what corrects a direction for hubs, as the stage of a search
budget_records      options and report of the budget
galleries           the captions and pictures of galleries as they are
gallery_sizes       R@k against the size of the gallery
published           measured figures beside published ones
given_vectors       vectors that somebody else made, with qrels
same_instances      a picture that asks for others of the same place
films               films found by captions, and moments in them
regions             which part of a picture an expression means
encoded_pairs       benchmarks as vectors, for reports that are tables
slices              benchmarks by language, by the length of captions, in folds
composed_queries    a picture and words that ask for another picture
extended_positives  COCO by positives that were found later
figure_tables       tables of figures, which slices are reported as
classification_task  pictures, their classes, and the texts that ask for these
zeroshot            classification by class names
zeroshot_records    its options and report
linear              the same beside what learns from pictures
linear_records      its options and report
classifiers         what learns from vectors
bias                whether answers hold groups in other shares than there are
shift               how far a gallery lies from a reference
probes              what a model cannot do, a package
records             options and reports
document            a report as JSON
"""

from mmsearch.benchmarks.own_classes import templates_in
from mmsearch.evaluation.benchmark_run import evaluate
from mmsearch.evaluation.budget_records import BudgetOptions, BudgetReport, BudgetStage, RecallChange
from mmsearch.evaluation.composed_queries import evaluate_composed
from mmsearch.evaluation.document import to_json
from mmsearch.evaluation.extended_positives import evaluate_positives
from mmsearch.evaluation.figure_tables import FigureName, FigureReport, FigureRow, FigureTable, figures_to_json
from mmsearch.evaluation.films import evaluate_films, evaluate_moments
from mmsearch.evaluation.galleries import evaluate_galleries
from mmsearch.evaluation.gallery_sizes import with_gallery_sizes
from mmsearch.evaluation.given_vectors import evaluate_vectors
from mmsearch.evaluation.linear import evaluate_linear
from mmsearch.evaluation.linear_records import Baseline, LinearOptions, LinearReport, LinearSystem, linear_document
from mmsearch.evaluation.published import with_published_accuracies
from mmsearch.evaluation.recall_budget import evaluate_budget
from mmsearch.evaluation.records import (
    DEFINITION,
    Calibration,
    Comparison,
    Corrected,
    CorrectedDirection,
    CorrectedRanking,
    EvaluateOptions,
    EvaluationReport,
    Extrapolation,
    GallerySizes,
    PresenceCalibration,
    PublishedFigure,
    Reranked,
    RerankedDirection,
    SizeCurve,
    SizePoint,
    SystemResult,
    ViaIndex,
)
from mmsearch.evaluation.regions import RegionOptions, evaluate_regions
from mmsearch.evaluation.same_instances import evaluate_instances
from mmsearch.evaluation.slices import LENGTHS, evaluate_folds, evaluate_languages, evaluate_lengths
from mmsearch.evaluation.zeroshot import evaluate_zeroshot
from mmsearch.evaluation.zeroshot_records import (
    ClassResult,
    Confusion,
    PublishedShare,
    ZeroShotCalibration,
    ZeroShotClass,
    ZeroShotComparison,
    ZeroShotEvidence,
    ZeroShotOptions,
    ZeroShotReport,
    ZeroShotSystem,
    zeroshot_document,
)

__all__ = [
    "Baseline",
    "BudgetOptions",
    "BudgetReport",
    "BudgetStage",
    "DEFINITION",
    "Calibration",
    "ClassResult",
    "Comparison",
    "Confusion",
    "Corrected",
    "CorrectedDirection",
    "CorrectedRanking",
    "EvaluateOptions",
    "EvaluationReport",
    "Extrapolation",
    "GallerySizes",
    "FigureName",
    "FigureRow",
    "FigureTable",
    "LENGTHS",
    "LinearOptions",
    "LinearReport",
    "LinearSystem",
    "PresenceCalibration",
    "PublishedFigure",
    "Reranked",
    "RerankedDirection",
    "PublishedShare",
    "RecallChange",
    "SizeCurve",
    "SizePoint",
    "FigureReport",
    "SystemResult",
    "ViaIndex",
    "ZeroShotCalibration",
    "ZeroShotClass",
    "ZeroShotComparison",
    "ZeroShotEvidence",
    "ZeroShotOptions",
    "ZeroShotReport",
    "ZeroShotSystem",
    "evaluate",
    "evaluate_budget",
    "evaluate_composed",
    "evaluate_folds",
    "evaluate_galleries",
    "evaluate_linear",
    "RegionOptions",
    "evaluate_instances",
    "evaluate_films",
    "evaluate_moments",
    "evaluate_regions",
    "evaluate_languages",
    "evaluate_lengths",
    "evaluate_positives",
    "evaluate_vectors",
    "evaluate_zeroshot",
    "figures_to_json",
    "linear_document",
    "templates_in",
    "to_json",
    "with_gallery_sizes",
    "with_published_accuracies",
    "zeroshot_document",
]
