"""What decoders say beside the point: Pillow's warnings, silenced where this package decodes and nowhere else, and what
libtiff writes to stderr."""

import ctypes
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import _imaging

__all__ = ["quietly", "silence_libtiff"]

_decoding = threading.local()


class _InDecodingThread(type):
    def __subclasscheck__(cls, category: type) -> bool:
        return getattr(_decoding, "depth", 0) > 0


class _PillowWarning(Warning, metaclass=_InDecodingThread):
    """A warning category that every warning belongs to while, and only in the thread where, this module
    decodes.

    Pillow warns about bombs, damaged EXIF and odd palettes. Here those are either errors of their own or of
    no consequence, and must be silent, even where a program turns warnings into errors, because that would
    lose a good picture. `warnings.catch_warnings` swaps the filters of all threads at once, and decoding
    runs in many; a filter on this category touches no warning that is raised outside of `quietly`."""


@contextmanager
def quietly() -> Iterator[None]:
    """Silence warnings in this thread."""
    if not warnings.filters or warnings.filters[0][2] is not _PillowWarning:
        # Again at every need, since programs and test runners put their own filters in front or restore
        # older lists.
        warnings.filterwarnings("ignore", category=_PillowWarning)
    _decoding.depth = getattr(_decoding, "depth", 0) + 1
    try:
        yield
    finally:
        _decoding.depth -= 1


_libtiff_lock = threading.Lock()
_libtiff_is_silent = False


def silence_libtiff() -> None:
    """Stop libtiff from writing a line to stderr for each strip that it finds damaged, without a word of which file.

    It does so below Python, for the whole process, past every redirection of `sys.stderr`; Pillow silences its warnings
    and leaves its errors. What is wrong with a file is in the ImageError. Where Pillow was built so that the library
    cannot be reached, the lines stay."""
    global _libtiff_is_silent
    with _libtiff_lock:
        if _libtiff_is_silent:
            return
        _libtiff_is_silent = True
        try:
            pillow = ctypes.CDLL(_imaging.__file__)  # already loaded: names are looked up in it and what it links
            setters = [pillow.TIFFSetErrorHandler, pillow.TIFFSetWarningHandler]
        except (AttributeError, OSError):
            return
        for setter in setters:
            setter.argtypes, setter.restype = [ctypes.c_void_p], ctypes.c_void_p
            setter(None)
