"""What an explanation holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["STANDS_OUT", "Box", "Explanation", "Region", "region_record"]

Box: TypeAlias = tuple[float, float, float, float]
"""left, top, right, bottom, in shares of the width and the height."""

STANDS_OUT = 8.0
"""From how many of their usual deviations on a phrase's greatest fall is no accident; `scripts/explain_protocol.py`
prints what a trained model and one of random weights reach."""

STANDS_OUT_IN_PREVIEW = 6.0
"""Likewise of a preview, whose maps are smoother."""


@dataclass(frozen=True, slots=True)
class Region:
    """The part of a picture that speaks for a phrase.

    Attributes:
        phrase: What was looked for.
        start: Where it stands in the text, text[start:end]; 0 and 0 where it is no piece of it.
        end: Where it ends there.
        score: Of the phrase alone with the whole picture.
        fall: By how much the score of the whole text falls where the box is hidden; measured.
        phrase_fall: By how much the score of the phrase alone falls then; measured.
        text_fall: By how much the score of the whole text falls where the phrase is left out of it; None where it is
            no piece of the text, or all of it.
        stands_out: How far the greatest fall lies above the middle one, in usual deviations (1.48 times the median
            absolute one).
        fits: How far the score of the phrase lies above the mean of those of everyday phrases with this picture
            (`mmsearch.explaining.reference`), in their deviations; None of what is no text.
        box: left, top, right, bottom in shares of the upright picture.
        peak: x and y of the point that speaks most for it, likewise.
        heat: (rows, columns), over the upright picture: the fall of the phrase's score where its surroundings are
            hidden; 0 where the model sees nothing of the picture.
        preview: Whether the place is that of a preview, in which surroundings are hidden from the last blocks of the
            model alone; the falls are measured all the same.
    """

    phrase: str
    start: int
    end: int
    score: float
    fall: float
    phrase_fall: float
    text_fall: float | None
    stands_out: float
    fits: float | None
    box: Box
    peak: tuple[float, float]
    heat: "NDArray[np.float32]"
    preview: bool = False

    @property
    def points(self) -> bool:
        """Whether one place speaks for the phrase more than others do by accident, hiding it costs score, and the
        phrase fits the picture better than everyday phrases do on average."""
        stands_out = self.stands_out >= (STANDS_OUT_IN_PREVIEW if self.preview else STANDS_OUT)
        return stands_out and self.phrase_fall > 0 and (self.fits is None or self.fits > 0)


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where in a picture a text is seen.

    Attributes:
        text: What was asked.
        score: The cosine of the text and the picture.
        regions: One a phrase, in their order.
        encoded: How many pictures were encoded for it.
    """

    text: str
    score: float
    regions: Sequence[Region]
    encoded: int


def region_record(region: Region) -> dict[str, object]:
    """A region as programs are told it: an object of JSON. box is null where no place stands out."""
    return {
        "phrase": region.phrase,
        "box": [round(value, 4) for value in region.box] if region.points else None,
        "peak": [round(value, 4) for value in region.peak] if region.points else None,
        "score": region.score,
        "fall": region.fall,
        "phrase_fall": region.phrase_fall,
        "text_fall": region.text_fall,
        "stands_out": round(region.stands_out, 2),
        "fits": None if region.fits is None else round(region.fits, 2),
        "preview": region.preview,
    }
