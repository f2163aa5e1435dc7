"""Tiles of large pictures: the file itself, and `pano.jpg!/box=0,0,0.571429,0.571429` and so on beside it."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from mmsearch.boxes import Box
from mmsearch.errors import ImageError, QueryError
from mmsearch.file_ranges import FileRange
from mmsearch.images import (
    WHOLE,
    CutOptions,
    Cutter,
    DecodedImage,
    MadePicture,
    PictureSpan,
    decode_fast,
    upright_size,
)
from mmsearch.tiles import Tiling

__all__ = ["NO_TILES", "TILES"]

NO_TILES = "none"
_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".tif", ".tiff", ".bmp", ".psd"),
    *(".heic", ".heif", ".hif", ".avif", ".jp2", ".j2k", ".jpx", ".jxl"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw"),
)
_WORD = "tiles="
_KEY = "box"
_MOST_BYTES = 1 << 30
_RAW_SIDE = 2048  # raw data of a camera are developed where the picture beside them has fewer pixels a side
_ALL_PIXELS = 1 << 30
_LARGE_PIXELS = 50_000_000
_SECONDS_IN_TURN = 60.0
_large = threading.Lock()


def _word(options: CutOptions) -> str | None:
    if options.tiles is None or options.tiles == NO_TILES:
        return None
    return f"{_WORD}{Tiling.read(options.tiles)}"


def _as_before(words: Iterable[str], options: CutOptions) -> CutOptions:
    if options.tiles is not None:
        return options
    tilings = [word.removeprefix(_WORD) for word in words if word.startswith(_WORD)]
    return replace(options, tiles=tilings[0]) if tilings else options


def _list_spans(file: FileRange, options: CutOptions) -> Iterator[PictureSpan]:
    yield PictureSpan(WHOLE)
    try:
        with file.open() as stream:
            width, height = upright_size(stream)
    except ImageError:
        return  # why, is said of the file itself
    for box in Tiling.read(options.tiles or "").boxes(width, height, options.input_side()):
        yield PictureSpan(f"{_KEY}={box}", {"box": [box.left, box.top, box.right, box.bottom]})


def _make(file: FileRange, spans: Sequence[str], max_pixels: int) -> Iterator[MadePicture | ImageError]:
    if file.length() > _MOST_BYTES:
        raise ImageError("read", f"over the limit of {_MOST_BYTES:,} bytes")
    with file.open() as stream:
        data = stream.read()
        stream.seek(0)
        width, height = upright_size(stream, max_pixels=max_pixels)
    with _turn_of(width * height):
        decoded = decode_fast(data, _ALL_PIXELS, max_pixels=max_pixels, raw_side=_RAW_SIDE, places=True)
        del data
        image = decoded.image if isinstance(decoded, DecodedImage) else decoded.upright()
        for span in spans:
            try:
                box = Box.read(span.partition("=")[2])
            except QueryError as error:
                yield ImageError("identify", str(error))
                continue
            part = image.crop(box.pixels(*image.size))
            yield MadePicture(part, facts=decoded.facts, damaged=decoded.damaged)


@contextmanager
def _turn_of(pixels: int) -> Iterator[None]:
    """Large pictures are held one at a time, whatever the number of threads; a decoder that hangs keeps the others for
    a minute."""
    has_turn = pixels > _LARGE_PIXELS and _large.acquire(timeout=_SECONDS_IN_TURN)
    try:
        yield
    finally:
        if has_turn:
            _large.release()


TILES = Cutter(
    key=_KEY,
    suffixes=_SUFFIXES,
    format="tile",
    word=_word,
    list_spans=_list_spans,
    make=_make,
    together=64,
    as_before=_as_before,
)
"""What is cut here are files on this machine, and members of archives; those in object stores stay whole."""
