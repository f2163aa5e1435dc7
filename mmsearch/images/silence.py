"""Pillow's warnings, silenced where this package decodes and nowhere else."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["quietly"]

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
