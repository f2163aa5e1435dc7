"""From a decoded frame to the picture that a person sees: upright, in square pixels, progressive, in sRGB.

Of interlaced frames one field is seen, with half of the lines. HDR becomes SDR, see `mmsearch.films.hdr`.
"""

import tempfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from av.filter import Graph
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from mmsearch.films.hdr import TRANSFERS, write_cube

__all__ = ["Picturing"]

_UNSPECIFIED = 2  # of ITU-T H.273
_HD_LINES = 576
"""A film with more lines that says nothing of its colours is BT.709, and with as many or less BT.601, as players do."""


@dataclass(frozen=True, slots=True)
class _Look:
    """All that decides how a frame is drawn."""

    width: int
    height: int
    pixel_format: str
    is_rgb: bool
    colorspace: int
    transfer: int
    interlaced: bool

    @classmethod
    def of(cls, frame: VideoFrame) -> "_Look":
        return cls(
            frame.width,
            frame.height,
            frame.format.name,
            frame.format.is_rgb,
            int(frame.colorspace),
            int(frame.color_trc or 0),
            bool(frame.interlaced_frame),
        )


class Picturing:
    """Draws the frames of one film."""

    def __init__(self, side: int, pixel_aspect: Fraction | None) -> None:
        """side: pixels of the shorter side at most. pixel_aspect: width of a stored pixel by its height."""
        self._side = side
        self._aspect = pixel_aspect if pixel_aspect and Fraction(1, 8) <= pixel_aspect <= 8 else Fraction(1)
        self._look: _Look | None = None
        self._graph = Graph()
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def close(self) -> None:
        """Remove what was written."""
        if self._folder is not None:
            self._folder.cleanup()

    def draw(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """(height, width, 3), RGB."""
        look = _Look.of(frame)
        if look != self._look:
            self._graph, self._look = self._graph_for(look), look
        self._graph.vpush(frame)
        drawn = np.asarray(self._graph.vpull().to_ndarray(format="rgb24"), np.uint8)
        return np.ascontiguousarray(_upright(drawn, _display_matrix(frame)))

    def size(self, width: int, height: int) -> tuple[int, int]:
        """In which a frame is drawn, before it is set upright."""
        across, down = width * float(self._aspect), float(height)
        scale = min(1.0, self._side / min(across, down))
        return max(1, round(across * scale)), max(1, round(down * scale))

    def _graph_for(self, look: _Look) -> Graph:
        graph = Graph()
        graph.threads = 1
        last = graph.add_buffer(
            width=look.width, height=look.height, format=VideoFormat(look.pixel_format), time_base=Fraction(1, 1000)
        )
        for name, arguments in self._filters(look):
            following = graph.add(name, arguments)
            last.link_to(following)
            last = following
        last.link_to(graph.add("buffersink"))
        graph.configure()
        return graph

    def _cube(self, transfer: int) -> str:
        """The name of a file of colours, written once, as an argument of a filter."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="mmsearch-film-")
        path = Path(self._folder.name) / f"{transfer}.cube"
        if not path.exists():
            write_cube(path, transfer)
        return str(path).replace("\\", "/").replace(":", "\\:").replace("'", "\\'")

    def _filters(self, look: _Look) -> list[tuple[str, str]]:
        width, height = self.size(look.width, look.height)
        scale = f"w={width}:h={height}:flags=bicubic+accurate_rnd+full_chroma_int"
        if not look.is_rgb and look.colorspace in (0, _UNSPECIFIED):
            scale += f":in_color_matrix={'bt709' if look.height > _HD_LINES else 'bt601'}"
        filters = [("field", "type=top")] if look.interlaced and look.height > 1 else []
        filters.append(("scale", scale))
        if look.transfer in TRANSFERS:
            filters += [("format", "gbrp10"), ("lut3d", f"file={self._cube(look.transfer)}")]
        filters.append(("format", "rgb24"))
        return filters


def _display_matrix(frame: VideoFrame) -> tuple[int, int, int, int]:
    """a, b, c, d of the matrix by which a film is shown: right is (a, b) and down (c, d), x before y, y downwards."""
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return 1, 0, 0, 1
    numbers = np.frombuffer(bytes(data), np.int32)
    if numbers.size < 9:
        return 1, 0, 0, 1
    a, b, c, d = (int(number) for number in numbers[[0, 1, 3, 4]])
    return a, b, c, d


def _upright(pixels: NDArray[np.uint8], matrix: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """Turn and mirror by quarters, which is all that cameras and phones ask for.

    >>> _upright(np.arange(6, dtype=np.uint8).reshape(2, 3, 1), (0, 1, -1, 0))[..., 0].tolist()
    [[3, 0], [4, 1], [5, 2]]
    """
    a, b, c, d = matrix
    if abs(b) + abs(c) > abs(a) + abs(d):
        pixels, right, down = pixels.swapaxes(0, 1), c, b
    else:
        right, down = a, d
    pixels = pixels[:, ::-1] if right < 0 else pixels
    return pixels[::-1] if down < 0 else pixels
