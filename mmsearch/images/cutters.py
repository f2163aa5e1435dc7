"""What cuts a file into several pictures: the records. The cutters that there are stand in `mmsearch.cutting`."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from mmsearch.errors import ImageError
from mmsearch.file_ranges import FileRange
from mmsearch.images.photo_facts import NOTHING_SAID, PhotoFacts
from mmsearch.tiles import USUAL_SIDE

__all__ = ["AS_USUAL", "WHOLE", "CutOptions", "Cutter", "MadePicture", "PictureSpan"]

WHOLE = ""
"""The name of the span that is the file itself, which then is a picture as it would be without a cutter."""


def _usual_side() -> int:
    return USUAL_SIDE


@dataclass(frozen=True, slots=True)
class CutOptions:
    """How a run cuts files.

    Attributes:
        frames: which frames of films, as `--frames` says it; None for what is usual.
        animations: likewise of animations, of which the first alone is usual.
        tiles: the tiles of large pictures, as `--tiles` says it, "none" for none; None for those that the files of a
            root have by now, see `Cutter.as_before`.
        input_side: gives the longer side of the model's input in pixels, where it has to be known.
    """

    frames: str | None = None
    animations: str | None = None
    tiles: str | None = None
    input_side: Callable[[], int] = field(default=_usual_side, compare=False)


AS_USUAL = CutOptions()


@dataclass(frozen=True, slots=True)
class PictureSpan:
    """One picture in a file, before it is made.

    Attributes:
        name: what follows `!/` in its address, as "page=2"; unique in its file. WHOLE for the file itself.
        numbers: those columns of its row that say where it stands: `start_s`, `end_s`, `page`, `box`.
        refused: why it cannot be made, where that is known already.
    """

    name: str
    numbers: Mapping[str, Any] = field(default_factory=dict)
    refused: str | None = None


@dataclass(frozen=True, slots=True)
class MadePicture:
    """A picture that was made of a span.

    Attributes:
        image: upright, mode RGB.
        width, height: of the whole picture, where `image` is smaller; else as of `image`.
        facts: what the file says of it beside the pixels.
        damaged: whether part of it is missing in the file.
    """

    image: Image.Image
    width: int | None = None
    height: int | None = None
    facts: PhotoFacts = NOTHING_SAID
    damaged: bool = False


def _as_asked(_: Iterable[str], options: CutOptions) -> CutOptions:
    return options


def _nothing_missing() -> str | None:
    return None


def _all_are_kept(_: str) -> float | None:
    return None


@dataclass(frozen=True, slots=True)
class Cutter:
    """One way to get several pictures out of a file.

    Attributes:
        key: what the names of its spans begin with, before "=": "page", "t", "box". Of the cutters of one suffix each
            has another.
        suffixes: of the names of its files, in small letters.
        format: what its pictures are a group of when the fast way to pixels is compared with the exact one: "PDF".
        word: how it cuts under these options, in a word without ":" and "+"; None where it does not. It is stored with
            each row: where it differs, the file is cut anew.
        list_spans: told where a file stands on this machine, gives its spans in order; only what is cheap is read.
            Raises ImageError for a file that holds none, OSError where it cannot be read.
        make: told the same, names of some spans, in order, and the most pixels that a picture may have; gives for each
            span its picture, or why it has none. Opens the file once. May be called in several threads.
        missing: why no file can be cut here, and the line that installs what is missing; None where nothing is.
        fetches: whether objects in a store are fetched whole to be cut; else they stay whole.
        together: how many spans of a file are made by one call of `make`, at most.
        as_before: told the words by which the files of a root were cut by now, gives the options of a run, where what
            it does not say stays as it was.
        example: a span that one may ask with, where the file is no picture itself: "page=1".
        alike: told its word, the cosine from which a picture shows nothing new after the one before it in the file, and
            is left out; None where all are kept. Such a file is embedded as a whole.
    """

    key: str
    suffixes: tuple[str, ...]
    format: str
    word: Callable[[CutOptions], str | None]
    list_spans: Callable[[FileRange, CutOptions], Iterable[PictureSpan]]
    make: Callable[[FileRange, Sequence[str], int], Iterator[MadePicture | ImageError]]
    missing: Callable[[], str | None] = _nothing_missing
    fetches: bool = False
    together: int = 8
    as_before: Callable[[Iterable[str], CutOptions], CutOptions] = _as_asked
    alike: Callable[[str], float | None] = _all_are_kept
    example: str = ""
