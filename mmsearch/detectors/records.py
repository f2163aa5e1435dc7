"""What a detector finds in a picture."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Found", "FoundBox", "found_record"]


@dataclass(frozen=True, slots=True)
class FoundBox:
    """One thing. box: left, top, right, bottom in shares of the upright picture. score: 0 to 1, of its detector; it
    compares with other scores of that detector, and is no probability."""

    box: tuple[float, float, float, float]
    score: float


@dataclass(frozen=True, slots=True)
class Found:
    """The things of a picture that a phrase names. boxes: best first; none where nothing was found."""

    phrase: str
    boxes: Sequence[FoundBox]


def found_record(found: Found) -> dict[str, object]:
    """As programs are told it: an object of JSON."""
    boxes = [{"box": [round(value, 4) for value in each.box], "score": each.score} for each in found.boxes]
    return {"phrase": found.phrase, "boxes": boxes}
