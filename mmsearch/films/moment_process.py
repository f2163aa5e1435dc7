"""Writes one moment of a film into a file of its own: the process that `mmsearch.films.moments` starts.

Packets are copied as they are. A film can begin at a key frame only: the moment begins at the last one before it.
"""

import sys
from pathlib import Path
from typing import Any

import av
import av.logging
from av.error import FFmpegError

from mmsearch.films.film_process import limit_memory, one_line, open_container
from mmsearch.films.messages import NotAFilm

__all__ = ["main"]

_COPIED = ("video", "audio", "subtitle")


def main() -> None:
    """`moment_process FILM FROM TO TARGET`, in seconds; what goes wrong is a line on stdout, with exit code 1."""
    path, target = sys.argv[1], sys.argv[4]
    limit_memory()
    av.logging.set_level(None)
    try:
        with open_container(path) as film:
            _copy(film, float(sys.argv[2]), float(sys.argv[3]), target, Path(path).suffix)
    except NotAFilm as error:
        _fail(str(error))
    except (FFmpegError, ValueError) as error:
        _fail(one_line(error))
    except MemoryError:
        _fail("not enough memory")


def _fail(reason: str) -> None:
    sys.stdout.buffer.write(reason.encode("utf-8", "replace"))
    sys.stdout.buffer.flush()
    sys.exit(1)


def _copy(film: Any, from_s: float, to_s: float, target: str, suffix: str) -> None:
    """from_s, to_s: from the beginning of the film. Raises FFmpegError, ValueError where its packets do not fit into a
    file of its suffix."""
    pictures = next((one for one in film.streams.video if not one.disposition & one.disposition.attached_pic), None)
    if pictures is None:
        raise NotAFilm("no pictures in it")
    start = max(0.0, (film.start_time or 0) / av.time_base)
    chosen = [one for one in film.streams if one is pictures or (one.type in _COPIED and one.type != "video")]
    film.seek(int((start + from_s) / pictures.time_base), stream=pictures, backward=True)
    form = {".mkv": "matroska", ".webm": "webm", ".avi": "avi", ".mpg": "mpeg", ".ts": "mpegts"}.get(suffix.lower())
    with av.open(target, "w", format=form or ("mov" if suffix.lower() == ".mov" else "mp4")) as cut:
        flags: Any = av.container.Flags.bitexact
        cut.flags |= flags.value  # the same moment, the same bytes
        copies = {one.index: cut.add_stream_from_template(one) for one in chosen}
        begins: float | None = None
        for packet in film.demux(chosen):
            if packet.dts is None or packet.pts is None or not packet.size:
                continue
            of_pictures, unit = packet.stream_index == pictures.index, packet.time_base
            if begins is None:
                if not (of_pictures and packet.is_keyframe):
                    continue
                begins = float(packet.pts * unit)
            seconds = float(packet.dts * unit)
            if of_pictures and seconds >= start + to_s:
                break
            if not of_pictures and not begins <= seconds < start + to_s:
                continue
            ticks = round(begins / unit)
            packet.pts, packet.dts = packet.pts - ticks, packet.dts - ticks
            packet.stream = copies[packet.stream_index]
            cut.mux(packet)
        if begins is None:
            raise NotAFilm("no key frame before that moment")


if __name__ == "__main__":
    main()
