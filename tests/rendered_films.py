"""Films that tests render: each frame shows its number, in black and white squares."""

import struct
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from tests.fakes import COLOURS

__all__ = ["number_in", "packet_times", "render", "render_packed", "render_scenes", "shown_number"]

_BITS, _SQUARE = 10, 16
WIDTH, HEIGHT = _BITS * _SQUARE, 96
UNITS = 12_800  # a second


def shown_number(number: int) -> NDArray[np.uint8]:
    """A frame whose upper half says its number and whose lower half is grey on the left, white on the right."""
    frame = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    frame[HEIGHT // 2 :, WIDTH // 2 :] = 235
    for bit in range(_BITS):
        frame[: HEIGHT // 2, bit * _SQUARE : (bit + 1) * _SQUARE] = 235 if number >> bit & 1 else 16
    return frame


def number_in(pixels: NDArray[np.uint8]) -> int:
    """The number that a frame says, whatever its size."""
    height, width, _ = pixels.shape
    row = pixels[height // 4].mean(axis=1)
    return sum(int(row[int((bit + 0.5) * width / _BITS)] > 127) << bit for bit in range(_BITS))


def render(
    path: Path,
    times: Sequence[float],
    *,
    codec: str = "libx264",
    options: Mapping[str, str] | None = None,
    group: int = 25,
    b_frames: int = 0,
    rotation: int = 0,
    container_options: Mapping[str, str] | None = None,
    metadata: Mapping[str, str] | None = None,
    draw: Callable[[int], NDArray[np.uint8]] | None = None,
) -> Path:
    """A film of one frame at each of some seconds, that frame 0, 1, 2, … is shown at. draw: what it shows.

    group: frames from one key frame to the next, at most. rotation: degrees counter-clockwise by which it is shown.
    """
    with av.open(str(path), "w", options=dict(container_options or {})) as container:
        container.metadata.update(metadata or {})
        stream: Any = container.add_stream(codec, rate=25, options=dict(options or {}))
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, UNITS)
        stream.codec_context.gop_size, stream.codec_context.max_b_frames = group, b_frames
        if rotation:
            stream.set_display_rotation(rotation)
        for number, seconds in enumerate(times):
            frame = av.VideoFrame.from_ndarray((draw or shown_number)(number), format="rgb24")
            frame.pts, frame.time_base = round(seconds * UNITS), Fraction(1, UNITS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def render_scenes(path: Path, scenes: Sequence[tuple[str, float]], **how: Any) -> Path:
    """A film of scenes of one colour each, so many seconds long, at 12 frames a second."""
    colours = [colour for colour, seconds in scenes for _ in range(round(seconds * 12))]
    noise = np.random.default_rng(0).integers(-6, 6, (HEIGHT, WIDTH, 3))

    def draw(number: int) -> NDArray[np.uint8]:
        return np.clip(np.array(COLOURS[colours[number]]) + noise, 0, 255).astype(np.uint8)

    return render(path, [number / 12 for number in range(len(colours))], draw=draw, **how)


def render_packed(path: Path, count: int = 40) -> Path:
    """A film as DivX wrote them: a packet of two frames, one of the next, and one that only says that the second of the
    two is due."""
    encoder: Any = av.codec.CodecContext.create("mpeg4", "w")
    encoder.width, encoder.height, encoder.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, 12), Fraction(12)
    encoder.gop_size, encoder.max_b_frames = 12, 2
    encoder.options = {"sc_threshold": "1000000000", "b_strategy": "0"}
    encoder.flags |= av.codec.context.Flags.global_header
    encoded: list[bytes] = []
    for number in range(count):
        frame = av.VideoFrame.from_ndarray(shown_number(number), format="rgb24")
        frame.pts, frame.time_base = number, Fraction(1, 12)
        encoded += map(bytes, encoder.encode(frame))
    encoded += map(bytes, encoder.encode(None))
    start = b"\0\0\1\xb6"  # of a frame, whose kind comes next
    kinds = ["IPBS"[each[each.index(start) + 4] >> 6] for each in encoded]
    packets, at = [], 0
    while at < len(encoded):
        one = encoded[at]
        if kinds[at + 1 : at + 3] == ["B", "B"]:
            packets += [one + encoded[at + 1], encoded[at + 2], one[one.index(start) :][:6] + b"\x9f"]
            at += 3
        else:
            packets.append(one)
            at += 1
    with av.open(str(path), "w", format="avi") as container:
        stream: Any = container.add_stream("mpeg4", rate=12)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.extradata = bytes(encoder.extradata) + b"\0\0\1\xb2DivX503b1393p"
        for number, data in enumerate(packets):
            packet = av.Packet(data)
            packet.pts = packet.dts = number
            packet.time_base, packet.stream = Fraction(1, 12), stream
            packet.is_keyframe = data[data.index(start) + 4] >> 6 == 0
            container.mux(packet)
    return path


def packet_times(path: Path) -> list[float]:
    """When frames are shown, by the packets of a film: read by nothing of ours."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        start = max(0.0, (container.start_time or 0) / 1e6)
        unit = stream.time_base
        assert unit is not None
        ticks = [packet.pts for packet in container.demux(stream) if packet.size and not packet.is_discard]
        return sorted(float(each * unit) - start for each in ticks if each is not None)


def box(name: bytes, content: bytes) -> bytes:
    """A box of MP4."""
    return struct.pack(">I4s", 8 + len(content), name) + content
