"""The cutters that there are: one is added by its file and its line here."""

import os
import time
from collections.abc import Iterable, Iterator, Sequence

from mmsearch.cutting.animations import ANIMATIONS
from mmsearch.cutting.film_frames import FILM_FRAMES
from mmsearch.cutting.pdf_pages import PDF_PAGES
from mmsearch.cutting.tiff_pages import TIFF_PAGES
from mmsearch.cutting.tiles import TILES
from mmsearch.errors import ImageError
from mmsearch.file_ranges import AnyFile, FileRange, as_range
from mmsearch.images import AS_USUAL, CutOptions, Cutter, MadePicture, PictureSpan
from mmsearch.images.reasons import words_for_people

__all__ = [
    "CUTTERS",
    "alike_from",
    "as_before",
    "cutter_of",
    "cutting_word",
    "example_span",
    "list_spans",
    "make_pictures",
    "why_missing",
]

CUTTERS: tuple[Cutter, ...] = (
    TIFF_PAGES,
    PDF_PAGES,
    FILM_FRAMES,
    ANIMATIONS,
    TILES,
)

_BETWEEN_WORDS = "+"


def _cutters_of(suffix: str) -> tuple[Cutter, ...]:
    return tuple(cutter for cutter in CUTTERS if suffix in cutter.suffixes)


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 - asked of every file of a walk


def _at_work(name: str, options: CutOptions, *, remote: bool) -> list[tuple[Cutter, str]]:
    """The cutters that take a file under these options, each with its word."""
    return [
        (cutter, word)
        for cutter in _cutters_of(_suffix(name))
        if (cutter.fetches or not remote) and (word := cutter.word(options)) is not None
    ]


def cutting_word(name: str, options: CutOptions = AS_USUAL, *, remote: bool = False) -> str:
    """How a file of this name is cut, in a word; empty where it is not.

    remote: whether it lies in an object store.
    """
    return _BETWEEN_WORDS.join(word for _, word in _at_work(name, options, remote=remote))


def as_before(cuttings: Iterable[str], options: CutOptions) -> CutOptions:
    """The options of a run, where what it does not say is as it was. cuttings: how files were cut, as `cutting_word`
    says it."""
    words = {word for cutting in cuttings for word in cutting.split(_BETWEEN_WORDS)}
    for cutter in CUTTERS:
        options = cutter.as_before(words, options)
    return options


def alike_from(name: str, cutting: str) -> float | None:
    """The cosine from which a picture made of a file shows nothing new after the one before; None where all are kept.

    cutting: how the file is cut, as `cutting_word` says it.
    """
    words = cutting.split(_BETWEEN_WORDS)
    limits = (cutter.alike(word) for cutter in _cutters_of(_suffix(name)) for word in words)
    return next((limit for limit in limits if limit is not None), None)


def why_missing(name: str, options: CutOptions = AS_USUAL) -> str | None:
    """Why a file that is to be cut cannot be here: what is not installed; None where nothing is missing."""
    reasons = (cutter.missing() for cutter, _ in _at_work(name, options, remote=False))
    return next((reason for reason in reasons if reason is not None), None)


def list_spans(
    file: AnyFile, name: str, options: CutOptions = AS_USUAL, *, remote: bool = False
) -> Iterator[PictureSpan]:
    """The spans of a file, those of all its cutters, each once.

    file: its bytes on this machine. name: by which its cutters are chosen. Raises ImageError where one finds fault
    with the file, after the spans that it gave; OSError.
    """
    given: set[str] = set()
    for cutter, _ in _at_work(name, options, remote=remote):
        try:
            for span in cutter.list_spans(as_range(file), options):
                if span.name not in given:
                    given.add(span.name)
                    yield span
        except (ImageError, OSError):
            raise
        except Exception as error:
            raise _damage(error) from error


def cutter_of(name: str, span: str) -> Cutter | None:
    """What makes the picture of a span of a file; None where nothing does. span: its name."""
    key, equals, _ = span.partition("=")
    return next((cutter for cutter in _cutters_of(_suffix(name)) if equals and cutter.key == key), None)


def example_span(name: str) -> str:
    """A span that one may ask with of a file that is no picture itself, as "page=1"; empty for others."""
    return next((cutter.example for cutter in _cutters_of(_suffix(name)) if cutter.example), "")


def make_pictures(
    file: AnyFile, name: str, spans: Sequence[str], max_pixels: int
) -> Iterator[MadePicture | ImageError]:
    """The pictures of spans of a file, in their order, or why there is none.

    file, name: see `list_spans`. spans: their names; all of one cutter. max_pixels: those with more are refused.
    """
    cutter = cutter_of(name, spans[0]) if spans else None
    if cutter is None:
        yield from (ImageError("identify", "nothing here makes its picture") for _ in spans)
        return
    pictures = cutter.make(as_range(file), spans, max_pixels)
    state = _state_of(as_range(file))
    failure: ImageError | None = None
    for _ in spans:
        if failure is None and _lost_seconds.get(state, 0.0) > _MOST_LOST_SECONDS:
            failure = ImageError("decode", f"others of its file took {_MOST_LOST_SECONDS:g} seconds and gave nothing")
        if failure is not None:
            yield failure
            continue
        began = time.monotonic()
        picture, goes_on = _next_picture(pictures)
        if isinstance(picture, ImageError):
            _count_lost(state, time.monotonic() - began)
            failure = None if goes_on else picture
        yield picture


def _next_picture(
    pictures: Iterator[MadePicture | ImageError],
) -> tuple[MadePicture | ImageError, bool]:
    """The next picture, or why there is none, and whether more may follow."""
    try:
        return next(pictures), True
    except StopIteration:
        return ImageError("decode", "its file gives no such picture"), False
    except OSError as error:
        return ImageError("read", (error.strerror or str(error)).lower()), False
    except ImageError as error:
        return error, False
    except Exception as error:  # noqa: BLE001 - see _damage
        return _damage(error), False


_LONG_SECONDS, _MOST_LOST_SECONDS = 10.0, 300.0
"""A file whose pieces fail after long, as those do that were made to hang a decoder, is given up: each of them is
bounded, but there may be thousands."""
_FILES_KNOWN = 64
_lost_seconds: dict[tuple[str, int, int, int], float] = {}


def _state_of(file: FileRange) -> tuple[str, int, int, int]:
    """A file as it is now; what is not there fails where it is opened."""
    try:
        return file.state()
    except OSError:
        return file.path, file.start, 0, 0


def _count_lost(state: tuple[str, int, int, int], seconds: float) -> None:
    if seconds < _LONG_SECONDS:
        return
    if state not in _lost_seconds and len(_lost_seconds) >= _FILES_KNOWN:
        _lost_seconds.clear()
    _lost_seconds[state] = _lost_seconds.get(state, 0.0) + seconds


def _damage(error: Exception) -> ImageError:
    """What was raised over a file, which costs that file alone: libraries raise anything on damaged ones."""
    if isinstance(error, MemoryError):
        return ImageError("decode", "out of memory")
    return ImageError("decode", f"damaged: {words_for_people(error) or 'it is not built as its format asks'}")
