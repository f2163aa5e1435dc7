"""What is known of the scores of a table: the record that stands beside the numbers."""

from dataclasses import dataclass, field

from mmsearch.ann.records import Effort, MeasuredRecall
from mmsearch.scoring.presence import Chances

__all__ = ["KEPT", "CorrectedEffort", "CorrectionRecord", "ScoresRecord"]

KEPT = 0.9
"""The share of relevant items that a threshold is to keep."""


@dataclass(frozen=True, slots=True)
class CorrectionRecord:
    """How scores are corrected, and what that was seen to do.

    Attributes:
        alpha: The share of an item's mean that is taken from its scores; 0 for no correction.
        k: Of so many scores is the mean.
        source: What the bank is made of: "captions", "images" or "general captions".
        bank: How many vectors are in it.
        measured: Whether queries whose answers are known judged it. Where not, it is applied only on request.
        why: A sentence for people: what was seen, or why nothing was.
        queries: How many judged.
        searched: Among how many items they looked.
        plain: Figure (R@1, R@5, R@10, MRR) -> of these queries without correction.
        corrected: The same with it, each query by the setting that the other half of the queries chose.
        gain: Corrected minus plain MRR, with the ends of its paired 95 % interval over images; None unmeasured.
    """

    alpha: float
    k: int
    source: str
    bank: int
    measured: bool
    why: str
    queries: int = 0
    searched: int = 0
    plain: dict[str, float] = field(default_factory=dict)
    corrected: dict[str, float] = field(default_factory=dict)
    gain: tuple[float, float, float] | None = None


@dataclass(frozen=True, slots=True)
class CorrectedEffort:
    """What corrected searches through an index need to find as much as plain ones do at the effort of its record.

    Attributes:
        index: The name of the index that it was chosen for; of another one it says nothing.
        recall: Of the corrected exact neighbours at that effort, on queries that were not used to choose it.
        recall_target: What was asked of that index.
        reached: Whether the lower bound was at least that where it was chosen, and other queries do not contradict it.
        milliseconds: Time of a single query.
    """

    index: str
    effort: Effort
    recall: MeasuredRecall
    recall_target: float
    reached: bool
    milliseconds: float


@dataclass(frozen=True, slots=True)
class ScoresRecord:
    """What makes the scores of a table comparable.

    Attributes:
        table: Whose items.
        asks: The side of an encoder that queries come from.
        fingerprint, dim: Of the encoder.
        rows: Of the table when this was made.
        highest: Of the means of these rows; 0 where there is no correction.
        chances: That hits are relevant, by the score that ranks them; None where nothing was measured.
        keep: A hit of at least so much is one of those that keep `KEPT` of what is relevant; None: all are.
        general: Where there are no chances: the best scores that general texts get, ascending, (101,) percentiles.
        through_index: How corrected searches go through the index that was there; None where it was not measured.
        by_file: Whether `chances` go by how many files were searched, each of which answers once with its best item;
            else, as earlier releases measured them, by how many items.
    """

    table: str
    asks: str
    fingerprint: str
    dim: int
    rows: int
    correction: CorrectionRecord
    highest: float = 0.0
    chances: Chances | None = None
    keep: float | None = None
    general: tuple[float, ...] = ()
    through_index: CorrectedEffort | None = None
    by_file: bool = False

    def effort_for(self, index: str) -> Effort:
        """Of corrected searches through an index, by its name; what is None in it is as for plain ones."""
        tuned = self.through_index
        return tuned.effort if tuned is not None and tuned.index == index else Effort()
