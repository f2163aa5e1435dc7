"""Hits with the regions of their pictures that speak for what was asked, or with the things in them that it names."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mmsearch import images
from mmsearch.budget import REQUEST
from mmsearch.detectors.detector import Detector
from mmsearch.encoders import Encoder
from mmsearch.errors import ImageError, QueryError
from mmsearch.explaining.explain import want_text
from mmsearch.explaining.phrases import Phrase, phrases_in
from mmsearch.explaining.records import Region
from mmsearch.explaining.reference import EVERYDAY
from mmsearch.explaining.regions import Wanted, regions_by
from mmsearch.gallery import Gallery
from mmsearch.items import ImageRow
from mmsearch.loading import least_raw_side
from mmsearch.progress import Progress, ProgressCallback, quiet
from mmsearch.search.answers import Answer
from mmsearch.search.encodes_queries import EncodesQueries
from mmsearch.search.gallery_files import FileGone, image_row, read_content
from mmsearch.search.hits import Hit
from mmsearch.search.own_items import vector_at
from mmsearch.search.query import Query, TextPart

__all__ = ["explain_answer", "find_in_answer", "regions_of", "wanted_of"]


def wanted_of(query: Query, whole: NDArray[np.float32], encoders: EncodesQueries) -> Wanted:
    """What is looked for in the pictures of an answer: the phrases of the texts that were asked for; of what was asked
    without words, the whole. whole: the vector that the query searched by."""
    texts = [part for part in query.parts if isinstance(part, TextPart) and part.weight > 0]
    if not texts:
        return Wanted(whole, [Phrase(query.title, 0, 0)], whole[None], [None])
    side = encoders.encoder("text").text
    if len(query.parts) == 1 and not query.templates:
        return replace(want_text(side, texts[0].text), whole=whole)
    pieces = list(dict.fromkeys(piece.text for part in texts for piece in phrases_in(part.text)))
    vectors = side.encode([*pieces, *EVERYDAY]).vectors
    own, everyday = np.split(vectors, [len(pieces)])
    return Wanted(whole, [Phrase(piece, 0, 0) for piece in pieces], own, [None] * len(pieces), everyday)


def regions_of(
    gallery: Gallery,
    row: ImageRow,
    encoder: Encoder,
    wanted: Wanted,
    check: Callable[[], None] = lambda: None,
    *,
    quick: bool = False,
) -> list[Region]:
    """The regions of a picture of the gallery. check, quick: as of `regions_by`. Raises FileGone, EncoderError, and
    ImageError where its file, the same as it was embedded, cannot be decoded any more."""
    data = read_content(gallery, row).data
    image = images.decode(data, raw_side=least_raw_side(encoder.image)).image
    return regions_by(encoder, image, wanted, check, quick=quick)[1]


def regions_in(
    gallery: Gallery,
    row_id: int,
    query: Query,
    asked: NDArray[np.float32],
    encoders: EncodesQueries,
    check: Callable[[], None],
    *,
    quick: bool = False,
) -> list[Region]:
    """The regions of one picture, by its row. asked: the vectors (n, dim) that the query searches by. Raises as
    `regions_of`, NoSuchImage, and QueryError for more phrases than are looked for in one picture."""
    row = image_row(gallery, row_id)
    wanted = _wanted_in(row_id, wanted_of(query, asked[0], encoders), asked, gallery)
    if (phrases := len(wanted.phrases)) > REQUEST.phrases:
        raise QueryError(f"{phrases} phrases; at most {REQUEST.phrases} are looked for in one picture")
    try:
        return regions_of(gallery, row, encoders.encoder("image"), wanted, check, quick=quick)
    except ImageError as error:
        raise FileGone(f"the file cannot be shown: {error.reason}") from error


def explain_answer(
    answer: Answer,
    asked: NDArray[np.float32],
    gallery: Gallery,
    encoders: EncodesQueries,
    progress: ProgressCallback = quiet,
    *,
    quick: bool = False,
) -> Answer:
    """An answer whose hits that are pictures have their regions; of files that are gone or changed it is said in a
    remark. asked: the vectors (n, dim) that its query searches by. quick: as of `regions_by`. Raises QueryError (no
    hit is a picture), EncoderError."""
    if not _has_pictures(answer, "explained"):
        return answer
    wanted, encoder = wanted_of(answer.query, asked[0], encoders), encoders.encoder("image")

    def explain(hit: Hit) -> Hit:
        wanted_in_it = _wanted_in(hit.row_id, wanted, asked, gallery)
        return replace(hit, regions=regions_of(gallery, hit.row, encoder, wanted_in_it, quick=quick))

    return _with_each_picture(answer, explain, ("explaining", "explained"), progress)


def _wanted_in(row_id: int, wanted: Wanted, asked: NDArray[np.float32], gallery: Gallery) -> Wanted:
    """What is looked for in one picture of the gallery: of the vectors (n, dim) that a film asks by, the one that the
    picture was found by is the whole. Without words it is all that is looked for."""
    if len(asked) == 1:
        return wanted
    whole = asked[int(np.argmax(asked @ vector_at(gallery, row_id)))]
    return replace(wanted, whole=whole, vectors=whole[None] if wanted.everyday is None else wanted.vectors)


def find_in_answer(
    answer: Answer, open_detector: Callable[[], Detector], gallery: Gallery, progress: ProgressCallback = quiet
) -> Answer:
    """An answer whose hits that are pictures have what a detector finds of the phrases of the texts that were asked
    for; of files that are gone or changed it is said in a remark. The detector is opened where there is something to
    look for. Raises QueryError (no hit is a picture, no text was asked for), EncoderError."""
    texts = [part.text for part in answer.query.parts if isinstance(part, TextPart) and part.weight > 0]
    if not texts:
        raise QueryError("things are found by their names, and this query has no words")
    if not _has_pictures(answer, "looked through"):
        return answer
    phrases = list(dict.fromkeys(phrase.text for text in texts for phrase in phrases_in(text)))
    detector = open_detector()

    def find(hit: Hit) -> Hit:
        image = images.decode(read_content(gallery, hit.row).data).image
        return replace(hit, found=detector.find(image, phrases))

    return _with_each_picture(answer, find, ("finding", "looked through"), progress)


def _has_pictures(answer: Answer, done: str) -> bool:
    """Whether a hit is a picture. Raises QueryError where there are hits and none is."""
    is_picture = [isinstance(hit.row, ImageRow) for hit in answer.hits]
    if is_picture and not any(is_picture):
        raise QueryError(f"only pictures can be {done}, and these hits are none; ask for pictures: --in images")
    return any(is_picture)


def _with_each_picture(
    answer: Answer, look: Callable[[Hit], Hit], words: tuple[str, str], progress: ProgressCallback
) -> Answer:
    """An answer with what `look` makes of each hit that is a picture. words: for what is done and what was done."""
    doing, done_word = words
    hits = list(answer.hits)
    pictures = [number for number, hit in enumerate(hits) if isinstance(hit.row, ImageRow)]
    unread: list[str] = []
    for done, number in enumerate(pictures):
        progress(Progress(doing, done, len(pictures), len(unread)))
        try:
            hits[number] = look(hits[number])
        except (FileGone, ImageError) as error:
            unread.append(f"{hits[number].file or hits[number].path} was not {done_word}: {error}")
    progress(Progress(doing, len(pictures), len(pictures), len(unread)))
    return replace(answer, hits=hits, remarks=(*answer.remarks, *unread))
