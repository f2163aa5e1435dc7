"""What scores mean: corrected for hubs, turned into chances, and told apart from "nothing here".

A cosine says little by itself. Some items score high with every query (hubs), scores differ between models, and there
is always a best one.

    correction    one number an item, by which its scores are lowered, and whether that helps
    probability   the chance that a score of so much is that of something relevant
    presence      what it is fitted to: queries whose answer is there, and the same where it is not
    moments       what makes scores with items of several kinds comparable
    teaching      what marks of right and wrong make of a query
    stored        all of these as files beside the shards, and as searches use them
"""

from mmsearch.scoring.correction import (
    ALPHAS,
    CAUTIOUS,
    KS,
    NO_CORRECTION,
    CorrectionTrial,
    Setting,
    average_trials,
    bank_means,
    best_of_files,
    try_settings,
)
from mmsearch.scoring.moments import Moments, MomentsSum
from mmsearch.scoring.presence import HITS, Chances, Samples, fit_chances, sample_presence
from mmsearch.scoring.probability import Form, Probability, fit_probability, keep_threshold, pool_adjacent_violators
from mmsearch.scoring.records import KEPT, CorrectedEffort, CorrectionRecord, ScoresRecord
from mmsearch.scoring.stored import Bank, TableScores, open_scores, read_scores_record, rewrite_scores, write_scores
from mmsearch.scoring.teaching import Examples, Taught, teach

__all__ = [
    "ALPHAS",
    "CAUTIOUS",
    "HITS",
    "KEPT",
    "KS",
    "NO_CORRECTION",
    "Bank",
    "Chances",
    "CorrectedEffort",
    "CorrectionRecord",
    "CorrectionTrial",
    "Examples",
    "Form",
    "Moments",
    "MomentsSum",
    "Probability",
    "Samples",
    "ScoresRecord",
    "Setting",
    "TableScores",
    "Taught",
    "average_trials",
    "bank_means",
    "best_of_files",
    "fit_chances",
    "fit_probability",
    "keep_threshold",
    "open_scores",
    "pool_adjacent_violators",
    "read_scores_record",
    "rewrite_scores",
    "sample_presence",
    "teach",
    "try_settings",
    "write_scores",
]
