"""Parts of pictures at their own pixels, for looking closely at what browsers do not show."""

import io
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from mmsearch import images
from mmsearch.boxes import Box, PixelBox
from mmsearch.images import DecodedImage

__all__ = ["LARGEST_SIDE", "Crops"]

LARGEST_SIDE = 1024
"""Pixels of a part, a side."""
_KEPT_PIXELS = images.MAX_PIXELS  # of decoded pictures, at 4 bytes each: one of the largest, or several others
_KEPT_SECONDS = 30.0
_QUALITY = 90


@dataclass(slots=True)
class _Kept:
    """A decoded picture, and when it was last looked at."""

    decoded: DecodedImage
    used: float

    @property
    def pixels(self) -> int:
        return self.decoded.image.width * self.decoded.image.height


class Crops:
    """Parts of pictures by content hash. For any number of threads.

    A picture is decoded once, and stays decoded for half a minute after its last part was asked for. One is decoded at
    a time, and all that are kept have no more pixels than the largest that there may be.
    """

    def __init__(self) -> None:
        self._kept: dict[bytes, _Kept] = {}
        self._keeping = threading.Lock()
        self._decoding = threading.Lock()
        self._timer: threading.Timer | None = None

    def draw(self, content_hash: bytes, box: PixelBox, read: Callable[[], bytes]) -> bytes:
        """A part as a JPEG in sRGB; what lies outside of the picture is left out. read: gives its file, where it has to
        be decoded. Raises ImageError, QueryError (nothing of it
        lies in the picture), and what `read` raises."""
        decoded = self._decoded(content_hash, read)
        part = images.crop_pixels(decoded, box)
        file = io.BytesIO()
        images.to_srgb(part, decoded.icc_profile).save(file, "JPEG", quality=_QUALITY, subsampling=0)
        return file.getvalue()

    def draw_part(self, content_hash: bytes, box: Box, edge: int, read: Callable[[], bytes]) -> bytes:
        """The part in a box as a JPEG of at most so many pixels a side. Raises ImageError and what `read` raises."""
        return images.draw_part(self._decoded(content_hash, read), box, edge)

    @property
    def kept_pixels(self) -> int:
        """Of the pictures that are decoded at present."""
        with self._keeping:
            return sum(each.pixels for each in self._kept.values())

    def close(self) -> None:
        """Let all pictures go."""
        with self._keeping:
            self._kept.clear()
            if self._timer is not None:
                self._timer.cancel()

    def _decoded(self, content_hash: bytes, read: Callable[[], bytes]) -> DecodedImage:
        if (known := self._known(content_hash)) is not None:
            return known
        with self._decoding:
            if (known := self._known(content_hash)) is not None:  # another thread has decoded it meanwhile
                return known
            data = read()
            header = images.probe(io.BytesIO(data))
            self._make_room(header.width * header.height)
            decoded = images.decode(data, raw_side=1)
            with self._keeping:
                self._kept[content_hash] = _Kept(decoded, time.monotonic())
                self._drop_later()
            return decoded

    def _known(self, content_hash: bytes) -> DecodedImage | None:
        with self._keeping:
            kept = self._kept.get(content_hash)
            if kept is None:
                return None
            kept.used = time.monotonic()
            return kept.decoded

    def _make_room(self, pixels: int) -> None:
        """Let those go that were looked at longest ago, before another one is decoded beside them."""
        with self._keeping:
            for content_hash, _ in sorted(self._kept.items(), key=lambda pair: pair[1].used):
                if sum(each.pixels for each in self._kept.values()) + pixels <= _KEPT_PIXELS:
                    return
                del self._kept[content_hash]

    def _drop_later(self) -> None:
        if self._timer is None:
            self._timer = threading.Timer(_KEPT_SECONDS, self._drop)
            self._timer.daemon = True
            self._timer.start()

    def _drop(self) -> None:
        with self._keeping:
            self._timer = None
            late = time.monotonic() - _KEPT_SECONDS
            self._kept = {each: kept for each, kept in self._kept.items() if kept.used > late}
            if self._kept:
                self._drop_later()
