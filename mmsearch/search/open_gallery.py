"""A gallery that is open for queries: exact or through an index, and always complete."""

import os
import warnings
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from mmsearch.detectors.detector import Detector
from mmsearch.detectors.opening import open_detector
from mmsearch.encoders import Encoder
from mmsearch.errors import EncoderError, MmsearchError, MmsearchNote, MmsearchWarning, QueryError
from mmsearch.exact import Neighbours
from mmsearch.explaining.records import Region
from mmsearch.gallery import Gallery, InMemoryGallery
from mmsearch.items import DEFAULT_KIND
from mmsearch.progress import ProgressCallback, quiet
from mmsearch.search.answers import Answer
from mmsearch.search.candidates import MakeStage
from mmsearch.search.chain import STAGES, answer_queries
from mmsearch.search.correct import alpha_for
from mmsearch.search.describing import hits_of
from mmsearch.search.encoding import QueryEncoders
from mmsearch.search.hits import Hit
from mmsearch.search.mixed import by_table
from mmsearch.search.opened_rerankers import Rerankers
from mmsearch.search.pending import vectors_of_query
from mmsearch.search.query import Part, Query, TextPart
from mmsearch.search.retrieval import Retriever, SearchOptions
from mmsearch.search.typed_parts import image_part

__all__ = ["OpenGallery", "open_gallery"]

_Path = str | os.PathLike[str]

_FILTERING = 2  # processes that run the filters of strangers
DEFAULT = SearchOptions()


def open_gallery(
    gallery: _Path | None = None,
    *,
    encoder: str | Encoder | None = None,
    device: str = "cpu",
    hold: int = 0,
    filter_seconds: float | None = None,
    stages: Sequence[MakeStage] = STAGES,
    rerank_only: str | None = None,
    announce: Callable[[str], None] = lambda _: None,
) -> "OpenGallery":
    """Open a gallery for queries.

    encoder: for the queries; by default the one that the gallery names, loaded when it is first needed.
    device: where queries are encoded; a single one is quicker on the CPU than a GPU is to start.
    hold: bytes of the gallery that may stay in memory, for who asks many queries; else each reads what it needs.
    filter_seconds: for the queries of strangers: how long a filter may take. It may then use only functions whose
    work is bounded by the row, and runs in a process that is killed where it takes longer; `OpenGallery.close` ends
    these processes.
    stages: what candidates go through; `mmsearch.search.chain.STAGES` and others.
    rerank_only: for the queries of strangers: the one re-ranker that they may name, "" for none.
    Raises GalleryNotFound, GalleryError.
    """
    opened = Gallery.open(gallery)
    if hold:
        opened = InMemoryGallery.wrap(opened, hold)
    processes = None
    if filter_seconds is not None:
        from mmsearch.filter_process import FilterProcesses

        processes = FilterProcesses(_FILTERING, seconds=filter_seconds)
    return OpenGallery(
        opened,
        QueryEncoders(opened, encoder, device, announce),
        Retriever(opened, processes),
        stages,
        Rerankers(device, rerank_only, announce),
    )


class OpenGallery:
    """A gallery that answers, to any number of threads. It stays at the version that it was opened at; `newest` is what
    came since."""

    def __init__(
        self,
        gallery: Gallery,
        encoders: QueryEncoders | None = None,
        retriever: Retriever | None = None,
        stages: Sequence[MakeStage] = STAGES,
        rerankers: Rerankers | None = None,
    ) -> None:
        self.gallery = gallery
        self.encoders = encoders or QueryEncoders(gallery)
        self.retriever = retriever or Retriever(gallery)
        self.stages = stages
        self.rerankers = rerankers or Rerankers()

    def query(
        self,
        text: str | None = None,
        *,
        image: _Path | None = None,
        k: int = 10,
        table: str = DEFAULT_KIND.name,
        options: SearchOptions = DEFAULT,
    ) -> list[Hit]:
        """The hits for a text, for an image (a file), or for both together; `ask` takes more. Of an image a part asks
        where it is named so: "dog.jpg#box=0,0,0.5,0.5" (`Box`).

        Raises QueryError (nothing asked, a picture that does not decode, an empty table), EncoderError,
        EncoderMismatch.
        """
        words: list[Part] = [] if text is None else [TextPart(text)]
        parts = words if image is None else [*words, image_part(image)]
        return list(self.ask(Query(parts, k=k, table=table), options=options).hits)

    def ask(self, query: Query, *, options: SearchOptions = DEFAULT) -> Answer:
        """The best items for a query: as many as it wants, or as there are. Of its remarks and notes is warned.

        With `where`, the hits are the best of what it admits: exactly, where all of that is scored; else as far as the
        index finds them, through which at least as large a share is found as without a filter.
        With `distinct`, hits that are near-duplicates of better ones make room for others.
        Raises QueryError (a picture that does not decode, an unknown item, a bad filter, an empty table),
        EncoderError, EncoderMismatch.
        """
        (answer,) = self.ask_all([query], options=options)
        if isinstance(answer, MmsearchError):
            raise answer
        for remark in answer.remarks:
            warnings.warn(remark, MmsearchWarning, stacklevel=2)
        for note in answer.notes:
            warnings.warn(note, MmsearchNote, stacklevel=2)
        return answer

    def ask_all(
        self, queries: Sequence[Query], *, options: SearchOptions = DEFAULT
    ) -> list[Answer | QueryError | EncoderError]:
        """As `ask`, for several together, each with the answer that it would get alone; an error is the answer to the
        one that has it. Warns of nothing. Raises GalleryError where the gallery is damaged."""
        return answer_queries(
            queries,
            self.gallery,
            self.encoders,
            self.retriever,
            options=options,
            stages=self.stages,
            rerankers=self.rerankers,
        )

    def explain(self, answer: Answer, progress: ProgressCallback = quiet, *, quick: bool = False) -> Answer:
        """The answer, each of whose pictures has its `regions`: where in it the phrases of what was asked are seen.

        A picture costs some hundred encodings; quick: a preview, several times as fast. Of one whose file is gone or
        was changed it is said in a remark, and warned. Raises QueryError where no hit is a picture, EncoderError.
        """
        from mmsearch.search.explained import explain_answer  # late: it decodes pictures

        vectors = vectors_of_query(answer.query, self.gallery, self.encoders, self.retriever)
        return _warned(answer, explain_answer(answer, vectors, self.gallery, self.encoders, progress, quick=quick))

    def find(self, answer: Answer, detector: str | Detector, progress: ProgressCallback = quiet) -> Answer:
        """The answer, each of whose pictures has what is `found` in it: boxes around the things that the phrases of the
        texts name. detector: see `mmsearch.detectors.open_detector`.

        Of a picture whose file is gone or was changed it is said in a remark, and warned. Raises QueryError where no
        hit is a picture or the query has no words, EncoderError.
        """
        from mmsearch.search.explained import find_in_answer  # late: it decodes pictures

        def opened() -> Detector:
            return open_detector(detector, device=self.rerankers.device, announce=self.rerankers.announce)

        return _warned(answer, find_in_answer(answer, opened, self.gallery, progress))

    def regions(
        self, query: Query, row_id: int, check: Callable[[], None] = lambda: None, *, quick: bool = False
    ) -> list[Region]:
        """Where in a picture of the gallery the phrases of a query are seen, as in `explain`. check: called before
        every few pictures that are encoded; what it raises ends the work. quick: a preview. Raises QueryError,
        EncoderError, NoSuchImage, FileGone."""
        from mmsearch.search.explained import regions_in  # late: it decodes pictures

        vectors = vectors_of_query(query, self.gallery, self.encoders, self.retriever)
        return regions_in(self.gallery, row_id, query, vectors, self.encoders, check, quick=quick)

    def plan(self, query: Query, *, options: SearchOptions = DEFAULT) -> list[str]:
        """How a query is searched for, a line a table, for people. Raises FilterError."""
        lines = []
        for each in by_table(query, self.gallery):
            scores = None if self.encoders.has_own_texts else self.retriever.scores(each.table)
            alpha = alpha_for(each, scores)
            searched = self.retriever.plan(each.table, k=each.wanted, where=each.filter, options=options, alpha=alpha)
            lines.append(searched)
        return lines

    def search(
        self,
        vectors: NDArray[np.float32],
        *,
        k: int = 10,
        table: str = DEFAULT_KIND.name,
        where: str | None = None,
        options: SearchOptions = DEFAULT,
    ) -> Neighbours:
        """The k best live rows for each of `vectors` (n, dim), L2-normalised, by the score of record.

        Through the index of the table where there is one; rows that it does not cover are scored exactly beside it.
        where: an SQL expression; then only what it admits is looked at. Raises QueryError where it is none.
        """
        return self.retriever.search(vectors, k=k, table=table, where=where, options=options)

    def hits(self, neighbours: Neighbours, table: str) -> list[list[Hit]]:
        """Search results with the metadata of each row: a list a query."""
        return hits_of(self.gallery, neighbours, table)

    def newest(self) -> "OpenGallery":
        """The newest version: this object when nothing was committed since. The encoder and the indexes that it still
        names stay loaded."""
        gallery = self.gallery.newest()
        if gallery is self.gallery:
            return self
        return OpenGallery(
            gallery,
            self.encoders.for_version(gallery),
            self.retriever.for_version(gallery),
            self.stages,
            self.rerankers,
        )

    def close(self) -> None:
        """End what runs beside this process, of this version and of those opened from it: filters of strangers."""
        self.retriever.close()


def _warned(before: Answer, after: Answer) -> Answer:
    """The answer after a further look at it; of what that remarks is warned."""
    for remark in after.remarks[len(before.remarks) :]:
        warnings.warn(remark, MmsearchWarning, stacklevel=3)
    return after
