"""The times of all frames of a film, without any of them being decoded.

Of MP4 and QuickTime, which are most films, tables at one place in the file say them (ISO/IEC 14496-12: stts, ctts,
stss, elst); they are read here, in a moment however long the film is. Of other files the packets say them, so that they
are read to their end, by a process of its own (`mmsearch.films.reading.read_table`).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

__all__ = ["FrameTable", "order_frames", "read_mp4_table"]

MOST_FRAMES = 5_000_000
"""Of one film: two days at 30 a second. A table of a few bytes may claim any number."""
_MOST_TABLE_BYTES = 1 << 28
_MOST_BOXES = 10_000
_INTO = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts"})
_WANTED = frozenset({b"mvhd", b"mdhd", b"hdlr", b"stts", b"ctts", b"stss", b"elst", b"mvex"})


@dataclass(frozen=True, slots=True)
class FrameTable:
    """When the frames of a film are shown that can be chosen.

    Attributes:
        times: (n,) float64, seconds from the beginning of the film, ascending; n is at least 1.
        is_key: (n,) whether a frame is stored whole.
        end: when the film ends, in seconds.
        damage: why there may be more of it; None where that is all.
    """

    times: NDArray[np.float64]
    is_key: NDArray[np.bool_]
    end: float
    damage: str | None = None


def order_frames(
    times: NDArray[np.float64], is_key: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Times and key frames in the order of showing, of frames in the order of decoding.

    Left out are those before the first key frame, those that are shown before the key frame which they follow, since
    they need frames before that (open groups of pictures), and all but one of several at the same time.

    >>> times, is_key = order_frames(np.array([0, 2, 1, 5, 3, 6.0]), np.array([1, 0, 0, 1, 0, 0], bool))
    >>> times.tolist(), is_key.tolist()
    ([0.0, 1.0, 2.0, 5.0, 6.0], [True, False, False, True, False])
    """
    stretch = np.cumsum(is_key)
    key_times = np.concatenate([[np.inf], times[is_key]])
    kept = times >= key_times[stretch]
    times, is_key = times[kept], is_key[kept]
    times, first = np.unique(times, return_index=True)
    return times, is_key[first]


@dataclass(slots=True)
class _Track:
    """The tables of one track, as they stand in the file."""

    boxes: dict[bytes, bytes]

    def entries(self, name: bytes, layout: str) -> NDArray[Any] | None:
        """The rows of a table; None where there is none. Raises ValueError."""
        data = self.boxes.get(name)
        if data is None:
            return None
        (count,) = struct.unpack_from(">I", data, 4)
        return np.frombuffer(data, np.dtype(layout), offset=8, count=count)  # ValueError where it is shorter

    @property
    def is_of_pictures(self) -> bool:
        return self.boxes.get(b"hdlr", b"")[8:12] == b"vide"

    @property
    def is_of_sound(self) -> bool:
        return self.boxes.get(b"hdlr", b"")[8:12] == b"soun"

    @property
    def is_edited(self) -> bool:
        return b"elst" in self.boxes

    def timescale(self) -> int:
        data = self.boxes[b"mdhd"]
        (units,) = struct.unpack_from(">I", data, 20 if data[0] == 1 else 12)
        if not units:
            raise ValueError("no unit of time")
        return int(units)

    def decoding_times(self) -> tuple[NDArray[np.int64], int]:
        """When each sample is decoded, and when the last one ends. Raises ValueError."""
        runs = self.entries(b"stts", ">u4,>u4")
        if runs is None or not len(runs):
            raise ValueError("no table of times")
        counts, durations = runs["f0"].astype(np.int64), runs["f1"].astype(np.int64)
        if counts.sum() > MOST_FRAMES or (durations >= 1 << 31).any():
            raise ValueError("more frames than a film has")
        ends = np.cumsum(np.repeat(durations, counts))
        return np.concatenate([[0], ends[:-1]]), int(ends[-1]) if len(ends) else 0

    def edit(self, timescale: int, movie_scale: int) -> tuple[int, int, int | None]:
        """(time at which it begins, time of its media at which it begins, how long it is shown), in its own units.

        Raises ValueError where it is edited in another way than cut at its ends."""
        data = self.boxes.get(b"elst")
        if data is None:
            return 0, 0, None
        edits = self.entries(b"elst", ">u8,>i8,>i4" if data[0] == 1 else ">u4,>i4,>i4")
        assert edits is not None
        before = 0
        shown = [(int(duration), int(media), int(rate)) for duration, media, rate in edits.tolist()]
        while shown and shown[0][1] == -1:
            before += shown.pop(0)[0]
        if len(shown) != 1 or shown[0][2] != 0x10000 or shown[0][1] < 0:
            raise ValueError("edited")
        duration, media, _ = shown[0]
        begins = round(before * timescale / movie_scale)
        return begins, media, round(duration * timescale / movie_scale) if duration else None


def read_mp4_table(file: BinaryIO) -> FrameTable | None:
    """The times that the tables of an MP4 or QuickTime say; None where the file is another, or says them elsewhere: in
    fragments, by several edits. Whatever it contains, nothing is raised but OSError."""
    try:
        return _read_mp4_table(file)
    except (ValueError, KeyError, IndexError, struct.error, OverflowError, MemoryError):
        return None


def _read_mp4_table(file: BinaryIO) -> FrameTable | None:
    movie, tracks = _read_boxes(file)
    if b"mvhd" not in movie or b"mvex" in movie:
        return None
    data = movie[b"mvhd"]
    (movie_scale,) = struct.unpack_from(">I", data, 20 if data[0] == 1 else 12)
    pictures = [track for track in tracks if track.is_of_pictures]
    if len(pictures) != 1 or not movie_scale:  # covers and previews: FFmpeg chooses
        return None
    track = pictures[0]
    scale = track.timescale()
    decoded, ends = track.decoding_times()
    offsets = track.entries(b"ctts", ">u4,>i4")
    shown = decoded
    if offsets is not None:
        each = offsets["f0"].astype(np.int64)
        if each.sum() > MOST_FRAMES:
            return None
        shown = decoded + np.repeat(offsets["f1"].astype(np.int64), each)[: len(decoded)]
    keys = track.entries(b"stss", ">u4")
    is_key = np.ones(len(decoded), bool) if keys is None else np.zeros(len(decoded), bool)
    if keys is not None:
        is_key[keys[(keys > 0) & (keys <= len(decoded))] - 1] = True
    begins, media, length = track.edit(scale, movie_scale)
    last = int(shown.max()) + max(0, ends - int(decoded[-1]))
    end = min(last, media + length) if length else last
    first = int(shown[(shown >= media) & (shown < end)].min())  # ValueError where nothing is shown
    # FFmpeg has what is shown first begin where the edit does, though it is cut between two frames.
    shift = begins - (first if track.is_edited else media)
    start = min(
        [_begin(each, movie_scale) for each in tracks if each is not track and each.is_of_sound]
        + [(first + shift) / scale]
    )
    times, is_key = order_frames(shown / 1.0, is_key)
    within = (times >= media) & (times < end)
    if media and len(times) and not is_key[within][:1].any():
        # Its first frame is shown from where it is cut, and needs the key frame before it.
        is_key[np.flatnonzero(within)[:1]] = True
    times, is_key = times[within], is_key[within]
    if not len(times):
        return None
    offset = max(0.0, start)
    return FrameTable((times + shift) / scale - offset, is_key, (end + shift) / scale - offset)


def _begin(track: _Track, movie_scale: int) -> float:
    """When a track of sound begins, in seconds."""
    scale = track.timescale()
    begins, _, _ = track.edit(scale, movie_scale)
    return begins / scale


def _read_boxes(file: BinaryIO) -> tuple[dict[bytes, bytes], list[_Track]]:
    """The boxes of the movie that say times, and those of each track. Raises ValueError."""
    movie: dict[bytes, bytes] = {}
    tracks: list[_Track] = []
    boxes = movie
    kept = 0
    file.seek(0, 2)
    for name, size, start in _walk(file, 0, file.tell()):  # what is cut short raises: its packets say what is there
        if name == b"trak":
            boxes = {}
            tracks.append(_Track(boxes))
        elif name in _WANTED:
            kept += size
            if kept > _MOST_TABLE_BYTES:
                raise ValueError("tables without end")
            file.seek(start)
            data = file.read(size)
            if len(data) < size:
                raise ValueError("cut short")
            (movie if name in (b"mvhd", b"mvex") else boxes).setdefault(name, data)
    return movie, tracks


def _walk(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(name, size, where its content starts) of boxes, each before those within it."""
    within = [(start, end)]
    for _ in range(_MOST_BOXES):
        while within and within[-1][0] + 8 > within[-1][1]:
            within.pop()
        if not within:
            return
        position, limit = within.pop()
        file.seek(position)
        head = file.read(16)
        if len(head) < 8:
            return
        size, name = struct.unpack_from(">I4s", head)
        header = 8
        if size == 1 and len(head) == 16:
            (size,) = struct.unpack_from(">Q", head, 8)
            header = 16
        elif size == 0:
            size = limit - position
        if size < header or position + size > limit:
            raise ValueError("a box that does not fit into what it stands in")
        within.append((position + size, limit))
        yield name, size - header, position + header
        if name in _INTO:
            within.append((position + header, position + size))
    raise ValueError("boxes without end")
