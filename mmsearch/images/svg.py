"""SVG, rendered by resvg (the extra `svg`) in a process of its own: without network, scripts, other files, or end.

resvg knows neither networks nor scripts. It opens pictures that a drawing refers to by their paths, so that it is given
a copy of the drawing that refers to none; and a few lines can ask for more shapes than a machine holds, so that the
process is limited in time and memory. Texts are set in the fonts that come with matplotlib, on every machine the same.
"""

import io
import re
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from PIL import Image

from mmsearch.errors import ImageError
from mmsearch.images.lazy import LazyImage

__all__ = ["is_svg", "open_svg"]

_SVG = re.compile(rb"^\s*(<\?xml[^>]*>|<!--.*?-->|<!DOCTYPE[^>\[]*(\[.*?\]\s*)?>|\s)*<([\w.-]+:)?svg[\s>/]", re.DOTALL)
_LENGTH = re.compile(r"\s*\+?(\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?\s*(px|pt|pc|mm|cm|in|em|ex|q)?\s*$", re.IGNORECASE)
_PIXELS_A_UNIT = {"pt": 4 / 3, "pc": 16, "mm": 96 / 25.4, "cm": 96 / 2.54, "in": 96, "em": 16, "ex": 8, "q": 96 / 101.6}
_SIDE = 1024
"""Pixels of the longer side of what is rendered: more than models take, and enough for a screen."""
_MOST_BYTES = 1 << 24
_SECONDS = 20
_DRAWS = "svg_process.py"


def is_svg(head: bytes) -> bool:
    """Whether a file that begins so is an SVG."""
    return _SVG.match(head.removeprefix(b"\xef\xbb\xbf")) is not None


def open_svg(file: BinaryIO) -> LazyImage:
    """The drawing in a file that begins like an SVG. Raises ImageError."""
    if find_spec("resvg_py") is None:
        raise ImageError("identify", "SVG, which is rendered through: pip install 'mmsearch[svg]'")
    file.seek(0)
    data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise ImageError("identify", f"SVG of more than {_MOST_BYTES >> 20} MiB")
    cleaner = _Cleaner()
    try:
        cleaner.parser.Parse(data, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise ImageError("identify", f"damaged SVG: {' '.join(str(error).split())[:100]}") from error
    drawing, (width, height) = "".join(cleaner.text), cleaner.size
    return LazyImage("SVG", width, height, lambda: _render(drawing, width, height))


class _Cleaner:
    """Writes a drawing anew in the size in which it is rendered, without scripts and what refers to other files.

    Its parser raises ImageError where a drawing does not say how large it is.

    Attributes:
        size: width and height of what is rendered, in pixels.
        text: what was written.
    """

    def __init__(self) -> None:
        self.size = (0, 0)
        self.text: list[str] = []
        self._depth = self._left_out = 0
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler, self.parser.EndElementHandler = self._start, self._end
        self.parser.CharacterDataHandler = self._write

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if not self._depth:
            self.size, attributes = _sized(attributes)
        self._depth += 1
        local = name.rpartition(":")[2]
        if self._left_out or local == "script":
            self._left_out += 1
            return
        kept = (
            f" {key}={quoteattr(value)}"
            for key, value in attributes.items()
            if key.rpartition(":")[2] != "href" or value.strip().startswith(("#", "data:"))
        )
        self.text.append(f"<{name}{''.join(kept)}>")

    def _end(self, name: str) -> None:
        self._depth -= 1
        if self._left_out:
            self._left_out -= 1
        else:
            self.text.append(f"</{name}>")

    def _write(self, text: str) -> None:
        if not self._left_out:
            self.text.append(escape(text))


def _sized(root: dict[str, str]) -> tuple[tuple[int, int], dict[str, str]]:
    """Width and height of what is rendered, of which the longer has _SIDE pixels; and the attributes of the outermost
    element that say so. Raises ImageError."""
    box = [*map(_length, re.split(r"[\s,]+", root.get("viewBox", "").strip())[2:4]), None, None]
    width, height = _length(root.get("width")) or box[0], _length(root.get("height")) or box[1]
    if not width or not height:
        raise ImageError("identify", "SVG that does not say how large it is")
    scale = _SIDE / max(width, height)
    across, down = max(1, round(width * scale)), max(1, round(height * scale))
    whole = root.get("viewBox") if box[0] and box[1] else f"0 0 {width:.9g} {height:.9g}"
    return (across, down), {**root, "viewBox": str(whole), "width": str(across), "height": str(down)}


def _length(text: str | None) -> float | None:
    """Pixels; None for what is no length, as a percentage."""
    match = None if text is None else _LENGTH.match(text[:40])
    return None if match is None else float(match[1]) * _PIXELS_A_UNIT.get((match[2] or "").lower(), 1)


def _render(drawing: str, width: int, height: int) -> Image.Image:
    """Render. Raises ValueError for what cannot be, and MemoryError beyond the limits of the process."""
    draws = Path(__file__).parent / _DRAWS
    command = [sys.executable, "-P", str(draws), str(width), str(height), *_fonts()]
    try:
        done = subprocess.run(
            command,
            input=drawing.encode("utf-8", "replace"),
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ValueError(f"not rendered within {_SECONDS} seconds") from None
    if done.returncode == 1:
        why = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise ValueError(why[-1] if why else "it cannot be rendered")
    if done.returncode:
        raise MemoryError
    return Image.open(io.BytesIO(done.stdout))


@cache
def _fonts() -> tuple[str, ...]:
    """The files of DejaVu Sans and Serif that come with matplotlib; it is not imported."""
    spec = find_spec("matplotlib")
    folders = [] if spec is None else [Path(folder) for folder in spec.submodule_search_locations or ()]
    files = (folder / "mpl-data/fonts/ttf" / f"DejaVu{name}.ttf" for folder in folders for name in _FONT_NAMES)
    return tuple(str(file) for file in files if file.is_file())


_FONT_NAMES = ("Sans", "Sans-Bold", "Sans-Oblique", "Serif", "SansMono")
