"""`find_things`: boxes around what a text names in a picture, by a detector."""

import os
from collections.abc import Callable, Sequence

from mmsearch import encoders, images
from mmsearch.detectors.detector import Detector
from mmsearch.detectors.opening import open_detector
from mmsearch.detectors.records import Found
from mmsearch.errors import ImageError, QueryError
from mmsearch.explaining.explain import require_phrases
from mmsearch.explaining.phrases import phrases_in
from mmsearch.sources import read_named_picture

__all__ = ["find_things"]


def find_things(
    picture: str | os.PathLike[str],
    text: str,
    *,
    detector: str | Detector,
    phrases: Sequence[str] = (),
    device: str = "cpu",
    announce: Callable[[str], None] = encoders.announce_on_stderr,
) -> list[Found]:
    """Boxes around what the phrases of a text name in a picture (a file, an object, a member of an archive; "-" is
    stdin), one record a phrase.

    phrases: what to look for instead of the pieces into which English words cut the text. detector: see
    `mmsearch.detectors.open_detector`. Raises QueryError (an empty text, no picture), EncoderError.
    """
    require_phrases(text, phrases)
    data = read_named_picture(picture)
    opened = open_detector(detector, device=device, announce=announce)
    try:
        image = images.decode(data).image
    except ImageError as error:
        raise QueryError(f"{os.fspath(picture)} is no picture that can be read: {error.reason}") from error
    return opened.find(image, [*phrases] or [phrase.text for phrase in phrases_in(text)])
