"""What scores mean: corrected for hubs, turned into chances, and told apart from "nothing here".

A cosine says little by itself. Some items score high with every query (hubs), scores differ between models, and there
is always a best one.

    correction    one number an item, by which its scores are lowered, and whether that helps
    probability   the chance that a score of so much is that of something relevant
    stored        both as files beside the shards, and as searches use them
"""

from mmsearch.scoring.correction import (
    ALPHAS,
    CAUTIOUS,
    KS,
    NO_CORRECTION,
    CorrectionTrial,
    Setting,
    bank_means,
    try_settings,
)
from mmsearch.scoring.probability import Form, Probability, fit_probability, keep_threshold, pool_adjacent_violators
from mmsearch.scoring.records import CorrectionRecord, ScoresRecord
from mmsearch.scoring.stored import Bank, TableScores, open_scores, write_scores

__all__ = [
    "ALPHAS",
    "CAUTIOUS",
    "Bank",
    "CorrectionRecord",
    "ScoresRecord",
    "TableScores",
    "open_scores",
    "write_scores",
    "KS",
    "NO_CORRECTION",
    "CorrectionTrial",
    "Form",
    "Probability",
    "Setting",
    "bank_means",
    "fit_probability",
    "keep_threshold",
    "pool_adjacent_violators",
    "try_settings",
]
