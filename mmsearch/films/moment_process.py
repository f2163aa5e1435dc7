"""Writes one moment of a film into a file of its own: the process that `mmsearch.films.moments` starts.

Packets are copied as they are. A film can begin at a key frame only: the moment begins at the last one before it.
"""

import contextlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import av.logging
from av.error import FFmpegError

from mmsearch.file_ranges import FileRange
from mmsearch.films.film_process import limit_memory, one_line, open_container
from mmsearch.films.film_stream import choose_stream
from mmsearch.films.messages import NotAFilm

__all__ = ["main"]

_COPIED = (("video", "audio", "subtitle"), ("video", "audio"), ("video",))
"""What is copied; of what the file cannot hold, less."""
_FORMATS = {
    suffix: form
    for form, suffixes in {
        "matroska": (".mkv",),
        "webm": (".webm",),
        "avi": (".avi", ".divx"),
        "mov": (".mov", ".qt"),
        "flv": (".flv",),
        "mpeg": (".mpg", ".mpeg"),
        "vob": (".vob",),
        "mpegts": (".ts", ".mts", ".m2ts"),
        "asf": (".wmv", ".asf"),
        "ogg": (".ogv",),
        "3gp": (".3gp",),
        "3g2": (".3g2",),
        "mxf": (".mxf",),
        "mpeg2video": (".m2v",),
    }.items()
    for suffix in suffixes
}
"""FFmpeg's names of the files that are written, by their suffix, which is that of the film; MP4 for others."""
_MARGINS = (0.0, 8.0, 32.0)
"""Seconds before a moment that are sought: in many containers it is guessed where a time stands."""
_SAME_SECONDS = 0.0006  # times are written in milliseconds


def main() -> None:
    """`moment_process FILM FROM TO TARGET [START SIZE]`, in seconds, and where the film stands in its file; what goes
    wrong is a line on stdout, with exit code 1."""
    path, from_s, to_s, target = sys.argv[1], float(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
    file = FileRange(path, *map(int, sys.argv[5:7]))
    limit_memory()
    av.logging.set_level(None)
    for copied in _COPIED:
        try:
            with open_container(file) as film:
                _copy(film, copied, from_s, to_s, target, _FORMATS.get(Path(target).suffix.lower(), "mp4"))
            return
        except NotAFilm as error:
            reason = str(error)
            break
        except (FFmpegError, ValueError) as error:
            reason = one_line(error)
        except MemoryError:
            reason = "not enough memory"
    sys.stdout.buffer.write(reason.encode("utf-8", "replace"))
    sys.stdout.buffer.flush()
    sys.exit(1)


def _copy(film: Any, copied: Sequence[str], from_s: float, to_s: float, target: str, form: str) -> None:
    """from_s, to_s: from the beginning of the film. copied: which sorts of streams. Raises FFmpegError, ValueError
    where its packets do not fit into a file of this form."""
    pictures: Any = choose_stream(film)
    start = max(0.0, (film.start_time or 0) / av.time_base)
    chosen = [one for one in film.streams if one is pictures or (one.type in copied and one.type != "video")]
    key = _find_key(film, pictures, start + from_s)
    begins = float(key * pictures.time_base)
    with av.open(target, "w", format=form) as cut:
        flags: Any = av.container.Flags.bitexact
        cut.flags |= flags.value  # the same moment, the same bytes
        # Opaque: nothing is encoded, so that nobody asks whether there is an encoder.
        copies = {one.index: cut.add_stream_from_template(one, opaque=True) for one in chosen}
        has_begun = False
        for packet in _with_decoding_times(film.demux(chosen), pictures):
            of_pictures, unit = packet.stream_index == pictures.index, packet.time_base
            has_begun = has_begun or (of_pictures and packet.is_keyframe and packet.pts == key)
            seconds = float(packet.dts * unit)
            if of_pictures and has_begun and seconds >= start + to_s:
                break
            if not has_begun or not (of_pictures or begins <= seconds < start + to_s):
                continue
            ticks = round(begins / unit)
            packet.pts, packet.dts = packet.pts - ticks, packet.dts - ticks
            packet.stream = copies[packet.stream_index]
            cut.mux(packet)
    if not has_begun:
        raise NotAFilm("its packets are not read twice alike")


def _find_key(film: Any, pictures: Any, seconds: float) -> int:
    """When the last key frame at or before some seconds is shown, in units of its stream, or the first of all; what is
    read next of the film stands at or before it. Raises NotAFilm where there is none."""
    for margin in (*_MARGINS, None):
        ticks = 0 if margin is None else int((seconds - margin + _SAME_SECONDS) / pictures.time_base)
        _seek(film, pictures, ticks)
        key: int | None = None
        for packet in film.demux(pictures):
            if packet.pts is None or not packet.size:
                continue
            if packet.is_keyframe and (key is None or float(packet.pts * packet.time_base) <= seconds + _SAME_SECONDS):
                key = int(packet.pts)
            shown = packet.pts if packet.dts is None else packet.dts
            if key is not None and float(shown * packet.time_base) > seconds + _SAME_SECONDS:
                break
        is_before = key is not None and float(key * pictures.time_base) <= seconds + _SAME_SECONDS
        if key is not None and (is_before or margin is None):
            _seek(film, pictures, ticks)
            return key
    raise NotAFilm("no key frame before that moment")


def _seek(film: Any, pictures: Any, ticks: int) -> None:
    with contextlib.suppress(FFmpegError, OverflowError):  # what comes next is looked at
        film.seek(ticks, stream=pictures, backward=True)


def _with_decoding_times(packets: Iterable[Any], pictures: Any) -> Iterator[Any]:
    """Packets that hold something. Some containers do not say when the first ones are decoded: as long before the
    others as frames last."""
    waiting: list[Any] = []
    for packet in packets:
        if packet.pts is None or not packet.size:
            continue
        if packet.stream_index == pictures.index and (packet.dts is None or waiting):
            waiting.append(packet)
            if packet.dts is not None:
                yield from _filled(waiting)
                waiting = []
        elif packet.dts is not None:
            yield packet
    yield from _filled(waiting)


def _filled(waiting: Sequence[Any]) -> Sequence[Any]:
    """Packets of which the last says at most when it is decoded, each with a time."""
    if waiting:
        last = waiting[-1]
        if last.dts is None:
            last.dts = min(packet.pts for packet in waiting)
        step = max(1, waiting[0].duration or 1)
        for place, packet in enumerate(reversed(waiting[:-1]), 1):
            packet.dts = last.dts - place * step
    return waiting


if __name__ == "__main__":
    main()
