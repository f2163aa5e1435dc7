"""The pictures of one opened film: which of its packets are decoded, so that few are."""

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from av.error import FFmpegError
from av.packet import Packet as AnyPacket
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from mmsearch.films.frame_table import MOST_FRAMES, FrameTable, order_frames
from mmsearch.films.messages import NotAFilm

__all__ = ["FilmStream", "SeenFrame", "choose_stream"]

if TYPE_CHECKING:
    Packet: TypeAlias = AnyPacket[VideoStream]
else:
    Packet = AnyPacket  # takes no argument where it runs

_MOST_STRETCH, _MOST_STRETCH_BYTES = 900, 1 << 26
"""Packets that are held until the next key frame comes; then what is there is a stretch, and the rest another."""
_MOST_SECONDS = 1_000_000.0  # 11 days: what claims to be longer says nothing
_SAME_SECONDS = 0.0006  # times are written in milliseconds
_LEAP_SECONDS = 1.0
"""How far the next wanted frame is at least behind where a stretch ends, so that it is sought."""
_TAG_LENGTH = 200
_DURATION_TAG = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")
_SKIPPING = frozenset({"h264", "hevc", "vp9", "mpeg1video", "mpeg2video"})
"""Decoders that can be told with each packet to leave out what no other frame needs. Not that of MPEG-4 part 2: of the
two frames that DivX puts into one packet, the second comes out with a packet that is not its own."""
_SOUGHT = "mov"  # FFmpeg knows where in them each frame stands
_MARGIN_SECONDS = 8.0
"""In other containers it is guessed where a time stands: that much before it is sought, and a key frame waited for."""


@dataclass(slots=True)
class _Stretch:
    """Packets in the order in which they are decoded, from a key frame to the next.

    begins_with_key: whether it does; not one that goes on where another became too long. goes_on: whether another does
    so where this one ends.
    """

    begins_with_key: bool
    goes_on: bool = False
    packets: list[Packet] = field(default_factory=list)
    size: int = 0

    def add(self, packet: Packet) -> None:
        self.packets.append(packet)
        self.size += packet.size

    @property
    def is_full(self) -> bool:
        return len(self.packets) >= _MOST_STRETCH or self.size > _MOST_STRETCH_BYTES


@dataclass(frozen=True, slots=True)
class SeenFrame:
    """A decoded frame. seconds: when it is shown. seen_at: which of the times that were asked for it is seen at."""

    frame: VideoFrame
    seconds: float
    seen_at: list[int]


class FilmStream:
    """One stream of pictures. Raises NotAFilm where a file has none, or none that may be decoded.

    Times are seconds from the beginning of the film, as players count: those of its packets less the container's own
    beginning. Edit lists are heeded by FFmpeg.

    Attributes:
        pixel_aspect: width of a stored pixel by its height.
        faults: how many packets or frames could not be decoded.
        cut_short: why it was not read to its end.
    """

    def __init__(self, container: Any, max_pixels: int, threads: int) -> None:
        self._container = container
        self._stream = choose_stream(container)
        self._context = self._stream.codec_context
        self._max_pixels = max_pixels
        self._check_size(self._context.width, self._context.height)
        self._context.thread_type, self._context.thread_count = "AUTO", threads
        self._unit = Fraction(self._stream.time_base or Fraction(1, 1_000))
        self._offset = max(0.0, (container.start_time or 0) / 1_000_000)
        self._is_exact = container.format.name.startswith(_SOUGHT)
        self._leap = _LEAP_SECONDS if self._is_exact else 4 * _MARGIN_SECONDS
        self._can_seek, self._has_begun = True, False
        self._skips = self._context.codec.name in _SKIPPING
        self._wanted: dict[int, list[int]] = {}
        self.pixel_aspect = self._stream.sample_aspect_ratio
        self.faults = 0
        self.cut_short: str | None = None

    def header(self) -> dict[str, Any]:
        """What is known before anything is read: size as stored, and texts by their names in small letters."""
        tags = {**_tags(self._stream.metadata), **_tags(self._container.metadata)}
        return {"width": self._context.width, "height": self._context.height, "tags": tags}

    def table(self) -> FrameTable:
        """When all frames are shown. Reads the film to its end, and decodes nothing. Raises NotAFilm."""
        times: list[float] = []
        keys: list[bool] = []
        end = 0.0
        for packet in self._packets():
            if packet.is_discard and not packet.is_keyframe:  # which an edit list leaves out
                continue
            seconds = self._time_of(packet)
            times.append(seconds)
            keys.append(packet.is_keyframe)
            end = max(end, seconds + float((packet.duration or 0) * self._unit))
            if len(times) == MOST_FRAMES:
                self.cut_short = f"only its first {MOST_FRAMES:,} frames are looked at"
                break
        shown, is_key = order_frames(np.array(times), np.array(keys, bool))
        if not len(shown):
            none = "a film without a key frame, which all others need" if times else "a film without frames"
            raise NotAFilm(self.cut_short or none)
        return FrameTable(shown, is_key, end, self._damage(end))

    def frames(self, times: Sequence[float]) -> Iterator[SeenFrame]:
        """The frames that are seen at some times, ascending, each once, in their order."""
        following = 0  # the first of the times that was not reached
        while following < len(times):
            before = following
            for stretch, until in self._stretches_from(times[following]):
                border = self._end_of(stretch) if until is None else until
                behind = bisect_right(times, border - _SAME_SECONDS)
                yield from self._decode(stretch, self._seen_at(stretch, times, range(following, behind)))
                following = max(following, behind)
                is_far = following < len(times) and times[following] > border + self._leap
                if following == len(times) or (is_far and not stretch.goes_on):
                    break
            if following == before:  # nothing is there at these times
                return

    def _stretches_from(self, seconds: float) -> Iterator[tuple[_Stretch, float | None]]:
        """The stretches of the film, from one that begins at or before some seconds."""
        if self._can_seek and seconds > self._leap:
            for margin in (0.0,) if self._is_exact else (_MARGIN_SECONDS, 4 * _MARGIN_SECONDS):
                self._seek(seconds - margin)
                stretches = self._stretches()
                first = next((each for each in stretches if each[0].begins_with_key), None)
                if first is not None and self._time_of(first[0].packets[0]) <= seconds + _SAME_SECONDS:
                    yield first
                    yield from stretches
                    return
        if self._has_begun:
            self._seek(0.0)
        yield from self._stretches()

    def _end_of(self, stretch: _Stretch) -> float:
        """When the last stretch of a film ends; that nothing is behind it is not held against a time just there."""
        last = max(stretch.packets, key=_pts)
        return self._time_of(last) + float((last.duration or 0) * self._unit) + _LEAP_SECONDS

    def _seen_at(self, stretch: _Stretch, times: Sequence[float], asked: range) -> dict[int, list[int]]:
        """Of a stretch the ticks of the frames that are seen at some times, with the indices of these."""
        ticks = _ticks_of_showing(stretch)
        shown = [self._seconds(each) for each in ticks]
        seen: dict[int, list[int]] = {}
        for index in asked if ticks else ():
            position = max(0, bisect_right(shown, times[index] + _SAME_SECONDS) - 1)
            seen.setdefault(ticks[position], []).append(index)
        return seen

    def _seek(self, seconds: float) -> None:
        ticks = int((max(0.0, seconds) + _SAME_SECONDS + self._offset) / self._unit)
        try:
            self._container.seek(ticks, stream=self._stream, backward=True)
        except (FFmpegError, OverflowError):
            self._can_seek = False  # what comes next is looked at

    def _packets(self) -> Iterator[Packet]:
        """Those that hold something and have a time, until the film ends or goes on in a way that no film does."""
        self._has_begun = True
        demuxed = self._container.demux(self._stream)
        while True:
            try:
                packet = next(demuxed, None)
            except FFmpegError as error:
                self.cut_short = f"damaged film: {' '.join(str(error.strerror).split())[:100]}"
                return
            if packet is None:
                return
            if packet.size and not (packet.pts is None and packet.dts is None):
                yield packet

    def _stretches(self) -> Iterator[tuple[_Stretch, float | None]]:
        """Each with the time when the next begins; None where the film ends."""
        stretch: _Stretch | None = None
        for packet in self._packets():
            if stretch is not None and (packet.is_keyframe or stretch.is_full):
                stretch.goes_on = not packet.is_keyframe
                yield stretch, self._time_of(packet)
                stretch = None
            if stretch is None:
                stretch = _Stretch(packet.is_keyframe)
            stretch.add(packet)
        if stretch is not None:
            yield stretch, None

    def _decode(self, stretch: _Stretch, wanted: Mapping[int, list[int]]) -> Iterator[SeenFrame]:
        """Decode the wanted packets of a stretch, and of the others those that they need."""
        self._wanted.update(wanted)
        packets: list[Packet | None] = [*stretch.packets]
        if not stretch.goes_on:
            is_last = (number for number, packet in enumerate(stretch.packets, 1) if _pts(packet) in self._wanted)
            packets = [*stretch.packets[: max(is_last, default=0)], None]
        if self._wanted or stretch.goes_on:
            if stretch.begins_with_key:
                self._context.flush_buffers()
            for packet in packets:
                yield from self._decode_packet(packet)
        if not stretch.goes_on:
            self.faults += len(self._wanted)
            self._wanted.clear()

    def _decode_packet(self, packet: Packet | None) -> Iterator[SeenFrame]:
        """The wanted ones of the frames that a packet brings out of the decoder; None: of those that it still holds."""
        if self._skips:
            is_wanted = packet is None or _pts(packet) in self._wanted
            self._context.skip_frame = "DEFAULT" if is_wanted else "NONREF"
        try:
            frames = self._context.decode(packet)
        except (FFmpegError, ValueError):
            return
        for frame in frames:
            ticks = frame.pts if frame.pts is not None else frame.dts
            if ticks is not None and ticks in self._wanted:
                self._check_size(frame.width, frame.height)
                yield SeenFrame(frame, self._seconds(ticks), self._wanted.pop(ticks))

    def _damage(self, end: float) -> str | None:
        """Why there may be more of a film that was read until `end`; None where nothing says so."""
        said = _duration_of(self._container, self._stream)
        if self.cut_short is None and said and end < said - max(2.0, 0.02 * said):
            return f"truncated film: {end:,.0f} of {said:,.0f} seconds are there"
        return self.cut_short

    def _check_size(self, width: int, height: int) -> None:
        if width * height > self._max_pixels:
            raise NotAFilm(f"{width:,} x {height:,} pixels a frame, over the limit of {self._max_pixels:,}")

    def _time_of(self, packet: Packet) -> float:
        return self._seconds(_pts(packet))

    def _seconds(self, ticks: int) -> float:
        return round(float(ticks * self._unit) - self._offset, 6)


def choose_stream(container: Any) -> VideoStream:
    """The stream of pictures that players show; covers of music are none."""
    streams = [each for each in container.streams.video if not each.disposition & Disposition.attached_pic]
    if not streams:
        raise NotAFilm("sound without moving pictures" if container.streams.audio else "a film without pictures")
    best = container.streams.best("video")
    stream: VideoStream = best if best in streams else streams[0]
    if stream.codec_context is None:
        raise NotAFilm("a film in a codec that is not read")
    return stream


def _ticks_of_showing(stretch: _Stretch) -> list[int]:
    """When the packets of a stretch are shown, ascending: without those of another edit, and without those shown before
    its key frame, which need frames before that."""
    ticks = [_pts(packet) for packet in stretch.packets if not packet.is_discard]
    if stretch.begins_with_key:
        key = _pts(stretch.packets[0])
        ticks = [each for each in ticks if each >= key]
    return sorted(ticks)


def _pts(packet: Packet) -> int:
    """When a packet is shown, in units of its stream; when it is decoded, where an old container says no more."""
    ticks = packet.pts if packet.pts is not None else packet.dts
    assert ticks is not None
    return int(ticks)


def _duration_of(container: Any, stream: VideoStream) -> float | None:
    """How long a film says that it is; None where it does not, or says nonsense."""
    if stream.duration is not None and stream.time_base is not None:
        seconds = float(stream.duration * stream.time_base)
    elif (said := _DURATION_TAG.match(stream.metadata.get("DURATION", ""))) is not None:
        seconds = int(said[1]) * 3600 + int(said[2]) * 60 + float(said[3])
    elif container.duration is not None and not container.streams.audio:
        seconds = container.duration / 1_000_000
    else:
        return None
    return seconds if 0 < seconds < _MOST_SECONDS else None


def _tags(texts: Mapping[str, str]) -> dict[str, str]:
    return {str(name)[:_TAG_LENGTH].lower(): str(text)[:_TAG_LENGTH] for name, text in texts.items()}
