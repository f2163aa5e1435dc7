"""The two directions of a report as those who ask see them: queries with names, and what each system returned."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch.evaluation import CorrectedRanking, EvaluationReport, SystemResult
from mmsearch.exact import scores_of_record
from mmsearch.metrics import Direction, Ids, Ranking, Vectors

__all__ = ["QuerySide", "query_sides"]


@dataclass(frozen=True, slots=True, eq=False)
class QuerySide:
    """One direction.

    Attributes:
        query_ids: Unique names of the queries, in the order of rankings.
        queries: What is asked with: a caption, or an image by its name.
        gallery_ids: Unique names of the items that are returned.
        positions: Of the queries among the captions, or the images, of the report.
        image_of_query: The image that a query belongs to.
    """

    direction: Direction
    query_ids: tuple[str, ...]
    queries: tuple[str, ...]
    gallery_ids: tuple[str, ...]
    positions: Ids
    image_of_query: Ids

    def ranking(self, system: SystemResult) -> Ranking:
        ranking: Ranking = getattr(system.evidence, self.direction)
        return ranking

    def corrected(self, system: SystemResult) -> CorrectedRanking | None:
        """By corrected scores; None where nothing is corrected."""
        return system.evidence.corrected[self.direction]

    def vectors(self, system: SystemResult) -> tuple[Vectors, Vectors]:
        """Those of all captions and all images: (of what asks, of what is searched)."""
        captions, images = system.evidence.captions, system.evidence.images
        return (captions, images) if self.direction == "text_to_image" else (images, captions)

    def relevant(self, system: SystemResult, row: int) -> Ids:
        """What is relevant to a query, positions in the gallery, ascending."""
        relevance = self.ranking(system).relevant
        return relevance.positions[relevance.offsets[row] : relevance.offsets[row + 1]]

    def hits(self, system: SystemResult, row: int, most: int | None = None) -> tuple[Ids, NDArray[np.float64]]:
        """The best items of a query, best first, and their scores."""
        top = self.ranking(system).top[row]
        positions: Ids = top[top >= 0][:most]
        queries, gallery = self.vectors(system)
        asking = np.full(len(positions), self.positions[row])
        return positions, scores_of_record(queries, asking, gallery, positions)


def query_sides(report: EvaluationReport) -> tuple[QuerySide, QuerySide]:
    """text_to_image, image_to_text."""
    items = report.items
    captions = items.query_captions.tolist()
    images = tuple(items.images[n] for n in items.query_images.tolist())
    return (
        QuerySide(
            "text_to_image",
            tuple(items.caption_ids[n] for n in captions),
            tuple(items.captions[n] for n in captions),
            items.images,
            items.query_captions,
            items.image_of_caption,
        ),
        QuerySide("image_to_text", images, images, items.caption_ids, items.query_images, items.query_images),
    )
