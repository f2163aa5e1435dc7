"""`explain`: where in a picture a text is seen."""

import os
from collections.abc import Callable, Sequence

from mmsearch import encoders, images
from mmsearch.encoders import Encoder, TextSide
from mmsearch.errors import GalleryNotFound, ImageError, QueryError
from mmsearch.explaining.phrases import Phrase, phrases_in, text_without
from mmsearch.explaining.records import Explanation
from mmsearch.explaining.reference import EVERYDAY
from mmsearch.explaining.regions import Wanted, regions_by
from mmsearch.gallery import Gallery
from mmsearch.loading import least_raw_side
from mmsearch.sources import read_named_picture

__all__ = ["explain", "require_phrases", "want_text"]

_MOST_PHRASES = 32


def explain(
    picture: str | os.PathLike[str],
    text: str,
    *,
    phrases: Sequence[str] = (),
    encoder: str | Encoder | None = None,
    gallery: str | os.PathLike[str] | None = None,
    device: str = "cpu",
    quick: bool = False,
    announce: Callable[[str], None] = encoders.announce_on_stderr,
) -> Explanation:
    """Where in a picture (a file, an object, a member of an archive; "-" is stdin) the phrases of a text are seen.

    phrases: what to look for instead of the pieces into which English words cut the text.
    encoder: by default that of the gallery, `gallery` or the one in use; where there is none, the default model.
    quick: a preview, several times as fast: parts of the picture are hidden from the last blocks of the model alone.
    Raises QueryError (an empty text, no picture), EncoderError, EncoderMismatch.
    """
    require_phrases(text, phrases)
    data = read_named_picture(picture)
    opened = None if isinstance(encoder, Encoder) else _gallery_to_fit(gallery, encoder)
    sides: dict[str, Encoder] = {}
    for name in ("text", "image"):  # one after the other: each alone needs no torch where a gallery names the model
        if name not in sides:
            found = encoders.open(
                encoder,
                [name],
                device=device,
                precision="fp32",
                for_gallery=opened,
                any_text_side=True,
                announce=announce,
            )
            sides = dict.fromkeys(found.sides, found) | sides
    wanted = want_text(sides["text"].text, text, phrases)
    side = sides["image"].image
    try:
        image = images.decode(data, raw_side=least_raw_side(side)).image
        score, regions, encoded = regions_by(sides["image"], image, wanted, quick=quick)
    except ImageError as error:
        raise QueryError(f"{os.fspath(picture)} is no picture that can be read: {error.reason}") from error
    return Explanation(text, score, regions, encoded)


def want_text(side: TextSide, text: str, phrases: Sequence[str] = ()) -> Wanted:
    """A text and its phrases as vectors, encoded together. Raises EncoderError."""
    pieces = [_piece(text, phrase) for phrase in phrases] or phrases_in(text)
    rests = ["" if piece.end == piece.start else text_without(text, piece) for piece in pieces]
    texts = [text, *(piece.text for piece in pieces), *filter(None, rests), *EVERYDAY]
    distinct = {each: row for row, each in enumerate(dict.fromkeys(texts))}
    vectors = side.encode([*distinct]).vectors
    without = [vectors[distinct[rest]] if rest else None for rest in rests]
    own, everyday = (vectors[[distinct[each] for each in some]] for some in ([p.text for p in pieces], EVERYDAY))
    return Wanted(vectors[0], pieces, own, without, everyday)


def _piece(text: str, phrase: str) -> Phrase:
    """Where a phrase stands in a text, whatever its case; 0 to 0 where it does not."""
    start = text.lower().find(phrase.lower())
    return Phrase(phrase, max(start, 0), 0 if start < 0 else start + len(phrase))


def _gallery_to_fit(gallery: str | os.PathLike[str] | None, encoder: str | None) -> Gallery | None:
    """The gallery whose encoder is to be taken. None where an encoder was named and no gallery, or there is none."""
    if gallery is None and encoder is not None:
        return None
    try:
        return Gallery.open(gallery)
    except GalleryNotFound:
        if gallery is not None:
            raise
        return None


def require_phrases(text: str, phrases: Sequence[str]) -> None:
    """Raise QueryError for a text or a phrase without words, and for more phrases than are looked for."""
    for each in (text, *phrases):
        if not each.strip():
            raise QueryError('the text is empty; say what to look for, as in: mmsearch explain boat.jpg "a red boat"')
    if len(phrases) > _MOST_PHRASES:
        raise QueryError(f"{len(phrases)} phrases; at most {_MOST_PHRASES} are looked for in one picture")
