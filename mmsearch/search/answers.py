"""An answer, and why there may be none."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmsearch.search.hits import Hit, record

if TYPE_CHECKING:  # it brings numpy, and every `--help` this module
    from mmsearch.search.query import Query

__all__ = ["NOTHING_KNOWN", "UNLIKELY", "Answer", "Worth", "hit_records", "why_nothing"]

UNLIKELY = 0.25
"""With less of a chance that any hit is relevant, whoever asks is told: it is three to one that there is nothing."""


@dataclass(frozen=True, slots=True)
class Worth:
    """What is known of an answer as a whole.

    Attributes:
        probability: The chance that any of the ten best hits is relevant, if it is as likely as not that what is asked
            for is there; None where that was not measured.
        above_general: The share of general texts whose best score is lower than the best here, which is no probability;
            None where there is one, or nothing is known.
    """

    probability: float | None = None
    above_general: float | None = None

    def in_words(self) -> str | None:
        """What people should know before they look at the hits; None where nothing is known, or all is well.

        >>> Worth(probability=0.12).in_words()
        'Probably nothing here fits: the chance that any of the ten best does is 12 %.'
        """
        if self.probability is not None and self.probability < UNLIKELY:
            chance = f"{100 * self.probability:.0f} %" if self.probability >= 0.01 else "less than 1 %"
            return f"Probably nothing here fits: the chance that any of the ten best does is {chance}."
        if self.above_general is not None:
            share = f"{100 * self.above_general:.0f} %"
            return (
                f"The best scores higher than the best that {share} of general texts find here; what that is worth "
                "was not measured."
            )
        return None


NOTHING_KNOWN = Worth()


@dataclass(frozen=True, slots=True)
class Answer:
    """A query and its hits.

    Attributes:
        query: what was asked.
        hits: best first.
        pictures: the files of the images that it asked with.
        more: whether there may be hits beyond these.
        remarks: what whoever asked should know: why there is no hit, which files are gone, that a text was cut.
        truncated: whether a text was longer than the model reads, so that its end did not count.
        worth: how likely there is anything among the hits, as far as that is known.
        notes: what is as it should be and worth knowing: how well marks agree.
        reranked: how many of the best were re-ranked; None where the query asks for no re-ranker.
    """

    query: "Query"
    hits: Sequence[Hit]
    pictures: Sequence[str] = ()
    more: bool = False
    remarks: Sequence[str] = ()
    truncated: bool = False
    worth: Worth = NOTHING_KNOWN
    notes: Sequence[str] = ()
    reranked: int | None = None


def why_nothing(query: "Query", best: float | None, *, chance: float | None, left_out: int, items: int) -> str:
    """A line that says why there is no hit. best: the highest score that was seen; chance: that it is relevant, where
    that is known. left_out: hits asked with."""
    if best is not None and query.min_score is not None and best < query.min_score:
        return f"no hit scores {query.min_score:g} or more; the best scores {best:.4f}"
    if chance is not None and query.min_probability is not None:
        least = f"{query.min_probability:g}"
        return f"no hit is relevant with a chance of {least} or more; the best has {chance:.2g}"
    if best is not None and query.sort == "date":
        return "no hit is likely relevant, and only such are sorted by date; without that there are hits"
    if query.where is not None or query.near is not None:
        other = "other " if left_out else ""
        asked = " and ".join(filter(None, [query.where, query.near and f"near {query.near}"]))
        return f"the filter admits none of the {items:,} {other}{query.nouns}: {asked}"
    return f"the gallery holds no other {query.nouns}"


def hit_records(answer: Answer) -> list[dict[str, object]]:
    """The hits of an answer as programs are given them, each with what is known of the answer as a whole."""
    of_all = {"any_probability": answer.worth.probability, "above_general": answer.worth.above_general}
    known = {name: value for name, value in of_all.items() if value is not None}
    return [record(hit) | known for hit in answer.hits]
