"""The options of `calibrate` and its report."""

from dataclasses import dataclass

from mmsearch.encoders import Encoder
from mmsearch.scoring import ScoresRecord

__all__ = ["CalibrateOptions", "CalibrationReport", "TableCalibration"]


@dataclass(frozen=True, slots=True)
class CalibrateOptions:
    """How to calibrate.

    Attributes:
        encoder: Encodes the general captions where the gallery has too few of its own; None: the one that it names.
        only_if_stale: Keep what is there unless the gallery has grown or lost much since.
        seed: Seeds the sampling of rows.
    """

    encoder: str | Encoder | None = None
    only_if_stale: bool = False
    seed: int = 0


@dataclass(frozen=True, slots=True)
class TableCalibration:
    """What was found out about the scores of one table.

    Attributes:
        record: What is stored now; None where there is nothing to store.
        outcome: "calibrated", "kept", "tuned" (kept, for another index) or "left out".
        why: In a sentence.
    """

    table: str
    record: ScoresRecord | None
    outcome: str
    why: str


@dataclass(frozen=True, slots=True)
class CalibrationReport:
    """What `calibrate` did, a table each."""

    tables: tuple[TableCalibration, ...]
    seconds: float
