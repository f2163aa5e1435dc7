"""Reads films within limits, one after the other: the process that `mmsearch.films.reading` starts.

What is asked comes on stdin, what is found goes to stdout, as `messages` says; it ends when stdin does. FFmpeg's
decoders are run on what strangers made, so that they have processes of their own, limited in time and memory.
"""

import contextlib
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any, BinaryIO

import av
import av.logging
from av.error import FFmpegError

from mmsearch.file_ranges import FileRange
from mmsearch.films.film_stream import FilmStream
from mmsearch.films.messages import FilmRequest, NotAFilm, write_message
from mmsearch.films.picturing import Picturing

__all__ = ["limit_memory", "main", "one_line", "open_container"]

_FORMATS = (
    *("mov", "mp4", "matroska", "webm", "avi", "mpeg", "mpegts", "mpegvideo", "m4v", "asf", "flv", "ogg", "mxf", "dv"),
    *("rm", "h264", "hevc", "ivf", "obu", "nut", "gxf", "wtv", "swf"),
)
"""FFmpeg's names of the containers that are opened: none that opens further files or addresses, as playlists do."""
_MEMORY = 4 << 30  # bytes of addresses: sixteen frames of 8K that a decoder keeps, and what a process needs


def main() -> None:
    """Answer until nothing more is asked."""
    limit_memory()
    av.logging.set_level(None)
    while (request := FilmRequest.read(sys.stdin.buffer)) is not None:
        _answer(request, sys.stdout.buffer)


def _answer(request: FilmRequest, answer: BinaryIO) -> None:
    try:
        with open_container(FileRange(request.path, request.start, request.size)) as container:
            film = FilmStream(container, request.max_pixels, request.threads)
            write_message(answer, "header", **film.header())
            if request.times is None:
                _send_table(film, answer)
            else:
                _send_frames(film, request, answer)
    except NotAFilm as error:
        write_message(answer, "error", reason=str(error))
    except FFmpegError as error:
        write_message(answer, "error", reason=f"damaged film: {one_line(error)}")
    except MemoryError:
        write_message(answer, "error", reason="not enough memory to decode this film")


def limit_memory() -> None:
    """Let this process have no more addresses than a film may cost."""
    with contextlib.suppress(ImportError, ValueError, OSError):  # Windows has no limits of this kind
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))


@contextlib.contextmanager
def open_container(film: FileRange) -> Iterator[Any]:
    """The container of a film. FFmpeg gets an open file, and may open nothing else. Raises NotAFilm, FFmpegError."""
    with open(film.path, "rb") as file:  # noqa: PTH123 - the path may hold surrogates; Path adds nothing
        if not film.length():
            raise NotAFilm("empty file")
        opened = "fd:" if film.size is None else f"subfile,,start,{film.start},end,{film.start + film.size},,:fd:"
        options = {"fd": str(file.fileno()), "protocol_whitelist": "fd,subfile", "format_whitelist": ",".join(_FORMATS)}
        try:
            container = av.open(opened, options=options, metadata_errors="replace")
        except FFmpegError as error:
            raise NotAFilm(_why_notopen_container(error)) from error
        with container:
            yield container


def _send_table(film: FilmStream, answer: BinaryIO) -> None:
    table = film.table()
    data = table.times.tobytes() + table.is_key.tobytes()
    write_message(answer, "table", data, frames=len(table.times), end=table.end, damage=table.damage)


def _send_frames(film: FilmStream, request: FilmRequest, answer: BinaryIO) -> None:
    with closing(Picturing(request.side, film.pixel_aspect)) as drawing:
        _draw_frames(film, request, drawing, answer)
    damage = f"{film.faults:,} of its frames cannot be decoded" if film.faults else None
    write_message(answer, "end", damage=film.cut_short or damage)


def _draw_frames(film: FilmStream, request: FilmRequest, drawing: Picturing, answer: BinaryIO) -> None:
    for seen in film.frames(request.times or ()):
        try:
            pixels = drawing.draw(seen.frame)
        except (FFmpegError, ValueError):
            film.faults += 1
            continue
        height, width, _ = pixels.shape
        size = {"width": width, "height": height}
        said = {"seconds": seen.seconds, "seen_at": seen.seen_at, "damaged": bool(seen.frame.is_corrupt), **size}
        write_message(answer, "frame", pixels.data.cast("B"), **said)


def _why_notopen_container(error: Exception) -> str:
    text = one_line(error)
    if isinstance(error, av.error.EOFError):
        return "a film that ends before its first frame"
    if isinstance(error, av.error.InvalidDataError):
        return "not a film that can be opened: damaged, cut before its table of frames, or of another kind"
    return f"not a film that can be opened: {text}"


def one_line(error: Any) -> str:
    """What FFmpeg says of an error."""
    return " ".join(str(getattr(error, "strerror", None) or error).split())[:100]


if __name__ == "__main__":
    main()
