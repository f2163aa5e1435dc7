"""Pictures on a terminal: how it is told to show one, and which terminals are.

kitty      the graphics protocol of kitty and Ghostty; PNG, inline, so that it works over ssh
iterm2     the inline images of iTerm2, WezTerm and mintty; JPEG, inline
sixel      of foot, mlterm and Contour: stripes of six lines of pixels, a character a column, colour by colour
halves     half blocks in two colours, which every terminal shows; a line is two rows of pixels
"""

import base64
import io
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from PIL import Image

from mmsearch.errors import ImageError
from mmsearch.images import make_thumbnail
from mmsearch.locations import url_of
from mmsearch.sources import read_location
from mmsearch.workers import Workers

__all__ = ["Box", "Protocol", "Rows", "cell_pixels", "drawn", "half_blocks", "thumbnails"]

Protocol: TypeAlias = Literal["kitty", "iterm2", "sixel"]
Rgb: TypeAlias = Sequence[int]
"""Red, green and blue, up to 255."""
Rows: TypeAlias = Sequence[Sequence[tuple[Rgb, Rgb | None]]]
"""Lines of cells: the colours of the upper and of the lower half of each."""

_AT_ONCE = 4
_CELL = (10, 20)  # pixels of a cell where the terminal does not say them
_MOST_PIXELS = 320  # of a side
_SIXEL_COLOURS = 64
_RUN = re.compile(r"(.)\1{3,}")
_CHUNK = 4096  # characters of a piece of kitty's protocol


@dataclass(frozen=True, slots=True)
class Box:
    """The place of a picture. columns, rows: of cells. cell: width and height of one, in pixels."""

    columns: int
    rows: int
    cell: tuple[int, int] = _CELL

    @property
    def pixels(self) -> tuple[int, int]:
        """Width and height of the largest picture in it."""
        return (
            min(_MOST_PIXELS, self.columns * self.cell[0]),
            min(_MOST_PIXELS, self.rows * self.cell[1]),
        )


def cell_pixels(descriptor: int) -> tuple[int, int]:
    """Width and height of a cell of a terminal, in pixels, as the system knows it."""
    try:
        import fcntl
        import struct
        import termios

        rows, columns, width, height = struct.unpack("HHHH", fcntl.ioctl(descriptor, termios.TIOCGWINSZ, bytes(8)))
    except (ImportError, OSError):
        return _CELL
    return (width // columns, height // rows) if rows and columns and width >= columns and height >= rows else _CELL


def thumbnails(files: Sequence[str | None], size: tuple[int, int], *, seconds: float) -> list[Image.Image | None]:
    """The pictures of files, RGB in sRGB, no larger than `size`; None for what is not there, is no picture, lies in an
    object store, or was not ready in so many seconds, for all of them together."""
    until = time.monotonic() + seconds
    shown: list[Image.Image | None] = []
    with Workers(_AT_ONCE, "mmsearch-preview") as workers:
        here = [None if file is None or url_of(file) is not None else file for file in files]
        futures = [None if file is None else workers.submit(_make, file, size) for file in here]
        for future in futures:
            try:
                shown.append(None if future is None else future.result(max(0.0, until - time.monotonic())))
            except (TimeoutError, OSError, ImageError, MemoryError):
                shown.append(None)
    return shown


def _make(file: str, size: tuple[int, int]) -> Image.Image:
    image = make_thumbnail(read_location(file), max(size))
    image.thumbnail(size, Image.Resampling.LANCZOS)
    return image


def drawn(image: Image.Image, protocol: Protocol, box: Box) -> str:
    """What has a terminal show a picture in a box that begins where the cursor is, and leave the cursor there."""
    if protocol == "sixel":
        sequence = _sixel(image)
    else:
        sequence = _kitty(image, box) if protocol == "kitty" else _iterm2(image, box)
    # At the end of the screen a picture would have the text move up: the room for it is made before.
    room = "\n" * (box.rows - 1) + (f"\x1b[{box.rows - 1}A" if box.rows > 1 else "")
    return f"{room}\x1b7{sequence}\x1b8"


def _kitty(image: Image.Image, box: Box) -> str:
    wide = image.width * box.rows * box.cell[1] >= image.height * box.columns * box.cell[0]
    side = f"c={box.columns}" if wide else f"r={box.rows}"
    data = _encoded(image, "PNG")
    pieces = [data[start : start + _CHUNK] for start in range(0, len(data), _CHUNK)]
    keys = [f"a=T,f=100,q=2,C=1,{side},", *([""] * (len(pieces) - 1))]
    more = [*([1] * (len(pieces) - 1)), 0]
    return "".join(
        f"\x1b_G{key}m={follows};{piece}\x1b\\" for key, follows, piece in zip(keys, more, pieces, strict=True)
    )


def _iterm2(image: Image.Image, box: Box) -> str:
    size = f"width={box.columns};height={box.rows};preserveAspectRatio=1;doNotMoveCursor=1"
    return f"\x1b]1337;File=inline=1;{size}:{_encoded(image, 'JPEG')}\x07"


def _sixel(image: Image.Image) -> str:
    indexed = image.quantize(_SIXEL_COLOURS)
    pixels, palette = np.asarray(indexed), indexed.getpalette() or []
    parts = [f'\x1bP0;1q"1;1;{image.width};{image.height}']
    for colour in np.unique(pixels).tolist():
        red, green, blue = (round(value * 100 / 255) for value in palette[3 * colour : 3 * colour + 3])
        parts.append(f"#{colour};2;{red};{green};{blue}")
    for top in range(0, image.height, 6):
        stripe = pixels[top : top + 6]
        colours = np.unique(stripe)
        bits = (1 << np.arange(len(stripe), dtype=np.uint8))[:, None]
        # (colours, width): which of its six pixels have a colour, from 0x3F on
        columns = 0x3F + np.where(stripe == colours[:, None, None], bits, 0).sum(1, dtype=np.uint8)
        lines = [
            f"#{colour}{_RUN.sub(_counted, column.tobytes().decode('ascii'))}"
            for colour, column in zip(colours.tolist(), columns, strict=True)
        ]
        parts.append(f"{'$'.join(lines)}-")
    return "".join([*parts, "\x1b\\"])


def _counted(run: re.Match[str]) -> str:
    return f"!{len(run[0])}{run[1]}"


def _encoded(image: Image.Image, file_format: str) -> str:
    buffer = io.BytesIO()
    image.save(buffer, file_format)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def half_blocks(image: Image.Image, box: Box) -> Rows:
    """A picture as cells of two halves, no larger than a box."""
    small = image.convert("RGB")
    small.thumbnail((box.columns, 2 * box.rows), Image.Resampling.LANCZOS)
    lines: list[list[Rgb]] = np.asarray(small).tolist()
    lower: list[Sequence[Rgb | None]] = [*lines[1::2], *([[None] * small.width] if len(lines) % 2 else [])]
    return [[*zip(above, below, strict=True)] for above, below in zip(lines[::2], lower, strict=True)]
