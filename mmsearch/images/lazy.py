"""An image whose pixels a library other than Pillow gives, when they are asked for, in the clothes of Pillow's own."""

from collections.abc import Callable

from PIL import Image, ImageFile

__all__ = ["LazyImage"]


class LazyImage(ImageFile.ImageFile):
    """An opened, not yet loaded image.

    format: as Pillow would call it. width, height: as stored, known from the header. read: decodes; what it raises is
    raised by `load`. exif: the tags, where the pixels do not come with those that count."""

    def __init__(
        self,
        format_name: str,
        width: int,
        height: int,
        read: Callable[[], Image.Image],
        exif: Image.Exif | None = None,
    ) -> None:
        Image.Image.__init__(self)
        self.format = format_name
        self.tile = []
        self._size, self._mode = (width, height), "RGB"
        self._read, self._tags = read, exif
        self._pixels: Image.Image | None = None

    def _open(self) -> None:
        """Nothing: what Pillow reads here of a header is known."""

    def load(self) -> None:
        """Decode the pixels, once."""
        if self._pixels is None:
            self._pixels = self._read()
            self._pixels.load()
            self.im, self._mode, self._size = self._pixels.im, self._pixels.mode, self._pixels.size
            self.info |= self._pixels.info

    def getexif(self) -> Image.Exif:
        """The tags that came with the header, or else with the pixels."""
        return self._tags if self._tags is not None else super().getexif()
