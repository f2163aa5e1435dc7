"""Frames of films: `trip.mp4!/t=12.48` is what is seen 12.48 seconds after it begins."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from PIL import Image

from mmsearch.cutting.film_facts import facts_at, film_facts
from mmsearch.errors import ImageError
from mmsearch.file_ranges import FileRange
from mmsearch.films import (
    NO_DECODER,
    FilmLimits,
    choose_frames,
    has_decoder,
    may_be_film,
    open_film,
    read_table,
)
from mmsearch.frame_choice import AUTO_FRAMES, FrameChoice, parse_frames
from mmsearch.images import CutOptions, Cutter, MadePicture, PictureSpan

__all__ = ["FILM_FRAMES"]

_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".qt", ".mp", ".mv", ".3gp", ".3g2", ".mkv", ".webm", ".avi", ".divx", ".mpg", ".mpeg"),
    *(".m2v", ".vob", ".ts", ".mts", ".m2ts", ".wmv", ".asf", ".flv", ".f4v", ".ogv", ".mxf", ".dv"),
)
_WORD = "frames-"
_TIME = re.compile(r"t=(-?\d{1,15}(?:\.\d{1,6})?)\Z")  # what a film with nonsense for times says too
_TOGETHER = 64
"""Frames of a film that are made by one call, and held until they are encoded: to open it takes as long as a few."""
_HEAD_BYTES = 4096
_ALIKE = {f"{_WORD}auto": 0.95, f"{_WORD}scenes": 0.85}
"""Measured by scripts/film_protocol.py."""


def _choice(options: CutOptions) -> FrameChoice:
    return AUTO_FRAMES if options.frames is None else parse_frames(options.frames)


def _as_before(words: Iterable[str], options: CutOptions) -> CutOptions:
    said = {word.removeprefix(_WORD) for word in words if word.startswith(_WORD)}
    return replace(options, frames=said.pop()) if options.frames is None and len(said) == 1 else options


def _list_spans(file: FileRange, options: CutOptions) -> Iterator[PictureSpan]:
    with file.open() as stream:
        if not may_be_film(stream.read(_HEAD_BYTES)):
            raise ImageError("identify", "not a film")
    table = read_table(file)
    starts = table.times[choose_frames(table, _choice(options))].tolist()
    for start, end in zip(starts, [*starts[1:], max(table.end, starts[-1])], strict=True):
        yield PictureSpan(_name(start), {"start_s": round(start, 3), "end_s": round(end, 3)})
    if table.damage is not None:
        yield PictureSpan(_name(max(table.end, starts[-1] + 0.001)), refused=table.damage)


def _name(seconds: float) -> str:
    """The name of the span that begins at some seconds, to the millisecond."""
    return f"t={f'{seconds:.3f}'.rstrip('0').rstrip('.')}"


def _make(file: FileRange, spans: Sequence[str], max_pixels: int) -> Iterator[MadePicture | ImageError]:
    said = [_TIME.match(span) for span in spans]
    times = [float(match[1]) for match in said if match is not None]
    if len(times) == len(spans) and times == sorted(times):  # as they are listed: each is given when it is decoded
        yield from _pictures(file, times, max_pixels)
        return
    ascending = sorted(set(times))
    pictures = dict(zip(ascending, _pictures(file, ascending, max_pixels), strict=True)) if ascending else {}
    for match in said:
        yield _NO_TIME if match is None else pictures[float(match[1])]


def _pictures(file: FileRange, times: Sequence[float], max_pixels: int) -> Iterator[MadePicture | ImageError]:
    """What is seen at some times, ascending; for each a picture, or why there is none."""
    given = 0
    with open_film(file, times, FilmLimits(max_pixels=max_pixels)) as film:
        facts = film_facts(film.tags)
        for frame in film.frames:
            for index in frame.seen_at:
                yield from map(_not_there, times[given:index])
                yield MadePicture(
                    Image.fromarray(frame.pixels), facts=facts_at(facts, times[index]), damaged=frame.damaged
                )
                given = index + 1
    yield from map(_not_there, times[given:])


_NO_TIME = ImageError("identify", "no time in a film; they are written as t=12.48, in seconds")


def _not_there(seconds: float) -> ImageError:
    return ImageError("decode", f"nothing of the film can be decoded at {seconds:g} s")


FILM_FRAMES = Cutter(
    key="t",
    suffixes=_SUFFIXES,
    format="film",
    word=lambda options: f"{_WORD}{_choice(options)}",
    list_spans=_list_spans,
    make=_make,
    missing=lambda: None if has_decoder() else NO_DECODER,
    fetches=True,
    together=_TOGETHER,
    as_before=_as_before,
    alike=_ALIKE.get,
    example="t=12.48",
)
