"""Frames of animated GIF, WebP and PNG: the first is the file itself; with `--frames` others are `a.gif!/t=1.2` and so
on."""

import re
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import BinaryIO

import numpy as np

from mmsearch.errors import ImageError
from mmsearch.file_ranges import FileRange
from mmsearch.films import FrameTable, choose_frames
from mmsearch.frame_choice import parse_frames
from mmsearch.images import WHOLE, CutOptions, Cutter, MadePicture, PictureSpan
from mmsearch.images.colours import to_rgb
from mmsearch.images.image_files import open_image

__all__ = ["ANIMATIONS"]

_WORD = "animation-"
_TIME = re.compile(r"t=(\d{1,7}(?:\.\d{1,6})?)\Z")
_MOST_FRAMES = 100_000
_SHORTEST = 0.02
"""Seconds. A shorter frame is shown for a tenth of a second, as browsers do."""
_AS_BROWSERS = 0.1


def _word(options: CutOptions) -> str | None:
    return None if options.animations is None else f"{_WORD}{parse_frames(options.animations)}"


def _as_before(words: Iterable[str], options: CutOptions) -> CutOptions:
    said = {word.removeprefix(_WORD) for word in words if word.startswith(_WORD)}
    return replace(options, animations=said.pop()) if options.animations is None and len(said) == 1 else options


def _list_spans(file: FileRange, options: CutOptions) -> Iterator[PictureSpan]:
    times = frame_times(file)
    if len(times) < 3 or options.animations is None:  # one frame, and the end of it
        yield PictureSpan(WHOLE)
        return
    starts = np.array(times[:-1])
    is_key = np.arange(len(starts)) == 0  # the others are changes of those before them
    rows = choose_frames(FrameTable(starts, is_key, times[-1]), parse_frames(options.animations))
    chosen = np.unique(np.concatenate([[0], rows]))
    ends = [*starts[chosen[1:]].tolist(), times[-1]]
    for start, end in zip(starts[chosen].tolist(), ends, strict=True):
        name = f"t={f'{start:.3f}'.rstrip('0').rstrip('.')}" if start else WHOLE
        yield PictureSpan(name, {"start_s": round(start, 3), "end_s": round(end, 3)})


def frame_times(file: FileRange) -> list[float]:
    """When each frame of an animation begins, in seconds, and when the last one ends; two numbers where it does not
    move, or is another file. Nothing is decoded. Of a truncated file those that are there. Raises OSError."""
    with file.open() as stream:
        head = stream.read(12)
        read = next((read for is_one, read in _FORMATS if is_one(head)), None)
        stream.seek(0)
        times = [0.0]
        for seconds in read(stream) if read is not None else ():
            times.append(times[-1] + (seconds if seconds >= _SHORTEST else _AS_BROWSERS))
            if len(times) > _MOST_FRAMES:
                break
    return times if len(times) > 1 else [0.0, _AS_BROWSERS]


def _gif_durations(file: BinaryIO) -> Iterator[float]:
    """The seconds that each frame of a GIF is shown (GIF89a, the graphic control extension)."""
    flags = file.read(13)[10:11]
    _skip_colours(file, flags)
    hundredths = 0
    while mark := file.read(1):
        if mark == b"!":
            label = file.read(1)
            block = _read_blocks(file)
            if label == b"\xf9" and len(block) >= 4:
                hundredths = int.from_bytes(block[1:3], "little")
        elif mark == b",":
            _skip_colours(file, file.read(9)[8:9])
            file.read(1)
            _read_blocks(file)
            yield hundredths / 100
            hundredths = 0
        else:  # the end, or damage
            return


def _skip_colours(file: BinaryIO, flags: bytes) -> None:
    if flags and flags[0] & 0x80:
        file.seek(3 << ((flags[0] & 7) + 1), 1)


def _read_blocks(file: BinaryIO) -> bytes:
    """The first of some blocks; those after it are passed over."""
    first = b""
    while (size := file.read(1)) and size[0]:
        if first:
            file.seek(size[0], 1)
        else:
            first = file.read(size[0])
    return first


def _png_durations(file: BinaryIO) -> Iterator[float]:
    """The seconds that each frame of an animated PNG is shown: the chunks fcTL."""
    file.seek(8)
    moves = False
    while len(head := file.read(8)) == 8:
        size, name = struct.unpack(">I4s", head)
        if name == b"IEND":
            return
        if name == b"IDAT" and not moves:  # a still picture for those who do not know animations stands before them
            moves = True
            yield _AS_BROWSERS
        if name == b"fcTL" and size == 26 and len(control := file.read(26)) == 26:
            moves = True
            shown, parts = struct.unpack_from(">HH", control, 20)
            yield shown / (parts or 100)
            file.seek(4, 1)
        else:
            file.seek(size + 4, 1)


def _webp_durations(file: BinaryIO) -> Iterator[float]:
    """The seconds that each frame of an animated WebP is shown: the chunks ANMF."""
    file.seek(12)
    while len(head := file.read(8)) == 8:
        name, size = struct.unpack("<4sI", head)
        body = file.read(16) if name == b"ANMF" else b""
        if len(body) == 16:
            yield int.from_bytes(body[12:15], "little") / 1000
        file.seek(size + size % 2 - len(body), 1)


_FORMATS: tuple[tuple[Callable[[bytes], bool], Callable[[BinaryIO], Iterator[float]]], ...] = (
    (lambda head: head.startswith((b"GIF87a", b"GIF89a")), _gif_durations),
    (lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"), _png_durations),
    (lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP", _webp_durations),
)


def _make(file: FileRange, spans: Sequence[str], max_pixels: int) -> Iterator[MadePicture | ImageError]:
    starts = np.array(frame_times(file)[:-1])
    with file.open() as stream:
        image = open_image(stream, max_pixels)
        for span in spans:
            match = _TIME.match(span)
            row = -1 if match is None else int(np.searchsorted(starts, float(match[1]) + 0.0005, side="right")) - 1
            if row < 0:
                yield ImageError("identify", "no time in an animation; they are written as t=1.2, in seconds")
                continue
            if row < image.tell():
                stream.seek(0)
                image = open_image(stream, max_pixels)  # an animated PNG is not rewound without faults
            try:
                image.seek(row)  # frames build upon each other: what is asked for in order is decoded once
                frame = to_rgb(image.convert("RGBA") if image.mode == "P" else image.copy())
            except EOFError:
                yield ImageError("decode", f"truncated {image.format}")
                continue
            yield MadePicture(frame)


ANIMATIONS = Cutter(
    key="t",
    suffixes=(".gif", ".webp", ".png", ".apng"),
    format="animation",
    word=_word,
    list_spans=_list_spans,
    make=_make,
    together=64,
    as_before=_as_before,
)
