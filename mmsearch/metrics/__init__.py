"""How good ranked answers are: pure functions of arrays.

"Recall@k" has three meanings in the wild. Each has its own name here, and no other:

    recall_at_k           R@k: the share of queries with at least one relevant item in the top k. What CLIP
                          papers call recall (and ir_measures Success@k).
    relevant_recall_at_k  the share of a query's relevant items that are in its top k, averaged over queries.
                          TREC's recall.
    ann_recall_at_k       the share of a query's k exact neighbours that an index returned, averaged over
                          queries. It judges the index, and knows nothing of relevance.

With one relevant item per query (text_to_image) the first two agree; with five (image_to_text) they are far
apart.

The score of an item for a query is the float64 dot product of the two stored vectors. Items are ranked by
score, best first; of equal scores the lower gallery position comes first. Ranks count from 1.

The usual way through:

>>> caption_image = np.array([0, 0, 1])                              # two captions of image 0, one of image 1
>>> images = np.array([[1, 0], [0, 1]], np.float32)
>>> captions = np.array([[0.8, 0.6], [0.6, 0.8], [0, 1]], np.float32)
>>> text_to_image = first_relevant_ranks(captions, images, Relevance.one_each(caption_image))
>>> text_to_image.tolist(), round(recall_at_k(text_to_image, 1), 3)
([1, 2, 1], 0.667)
>>> image_to_text = first_relevant_ranks(images, captions, Relevance.inverse(caption_image, n_queries=2))
>>> image_to_text.tolist(), recall_at_k(image_to_text, 1)
([1, 1], 1.0)

    relevance     which items are relevant to which query
    ranking       exact ranks and top lists, both directions in one pass of bounded memory
    figures       R@k, ranks, mAP, nDCG, of a query each and on average
    uncertainty   intervals and tests that resample images
    pairwise      all pairs of many systems, p values corrected for their number
    health        the shape of the space: modality gap, hubness, alignment, uniformity, effective rank
    calibration   whether chances come true: reliability, calibration error, Brier score, AUROC, risk and coverage
    classification  mean per class, and mean average precision where a picture has several classes
    size_law      how recall falls as galleries grow
    approximate   ann_recall_at_k
    skew          whether the first answers hold groups in the shares that they should
    shift         how far two sets of vectors lie apart
    windows       moments of films: how well those found agree with those meant
"""

import numpy as np  # noqa: F401 - for the examples above

from mmsearch.metrics.approximate import ann_recall_at_k
from mmsearch.metrics.calibration import (
    ReliabilityBin,
    RiskCoverage,
    auroc,
    brier_score,
    calibration_error,
    reliability,
    risk_coverage,
    risk_coverage_area,
)
from mmsearch.metrics.classification import (
    average_precision,
    mean_average_precision,
    mean_average_precision_difference,
    mean_per_class,
    mean_per_class_difference,
)
from mmsearch.metrics.figures import (
    DirectionResult,
    average_precision_at_k,
    average_precision_at_r,
    mean_rank,
    median_rank,
    ndcg_at_k,
    per_query,
    r_precisions,
    recall_at_k,
    relevant_recall_at_k,
    summarize,
)
from mmsearch.metrics.health import Hubness, SpaceHealth, hubness, space_health
from mmsearch.metrics.instances import precisions_without_junk, ranks_without_junk, trapezoid_average_precision
from mmsearch.metrics.pairwise import Pair, holm, pairwise_differences
from mmsearch.metrics.ranking import (
    NOT_FOUND,
    RankBounds,
    Ranking,
    first_found_ranks,
    first_relevant_ranks,
    rank_both,
    rank_bounds,
)
from mmsearch.metrics.relevance import Direction, Ids, Relevance, Vectors
from mmsearch.metrics.shift import (
    frechet_distance,
    gaussian_kernel,
    median_distance,
    mmd_squared,
    neighbour_distance,
)
from mmsearch.metrics.size_law import SIZE_LAWS, FittedLaw, SizeLaw, fit_size_law, fit_size_laws
from mmsearch.metrics.skew import max_skew_at_k, ndkl_at_k
from mmsearch.metrics.uncertainty import (
    Difference,
    Estimate,
    Interval,
    differences,
    image_draws,
    intervals,
    mean_difference,
    resampled_means,
    wilson_interval,
)
from mmsearch.metrics.windows import AP_OVERLAPS, Windows, window_average_precision, window_overlaps

__all__ = [
    "AP_OVERLAPS",
    "Windows",
    "window_average_precision",
    "window_overlaps",
    "FittedLaw",
    "SIZE_LAWS",
    "SizeLaw",
    "fit_size_law",
    "fit_size_laws",
    "Difference",
    "Direction",
    "DirectionResult",
    "Estimate",
    "Hubness",
    "Ids",
    "Interval",
    "NOT_FOUND",
    "Pair",
    "RankBounds",
    "Ranking",
    "Relevance",
    "ReliabilityBin",
    "RiskCoverage",
    "SpaceHealth",
    "Vectors",
    "ann_recall_at_k",
    "auroc",
    "average_precision",
    "average_precision_at_k",
    "average_precision_at_r",
    "brier_score",
    "calibration_error",
    "differences",
    "first_found_ranks",
    "first_relevant_ranks",
    "holm",
    "frechet_distance",
    "gaussian_kernel",
    "hubness",
    "image_draws",
    "intervals",
    "mean_average_precision",
    "mean_average_precision_difference",
    "max_skew_at_k",
    "mean_difference",
    "mean_per_class",
    "mean_per_class_difference",
    "mean_rank",
    "median_rank",
    "median_distance",
    "mmd_squared",
    "ndcg_at_k",
    "pairwise_differences",
    "ndkl_at_k",
    "neighbour_distance",
    "per_query",
    "precisions_without_junk",
    "r_precisions",
    "ranks_without_junk",
    "trapezoid_average_precision",
    "rank_bounds",
    "rank_both",
    "recall_at_k",
    "relevant_recall_at_k",
    "reliability",
    "resampled_means",
    "risk_coverage",
    "risk_coverage_area",
    "wilson_interval",
    "space_health",
    "summarize",
]
