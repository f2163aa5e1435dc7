"""What is said of a picture by the files beside it: XMP, and the JSON of Google's Takeout."""

from typing import TYPE_CHECKING

from mmsearch.errors import ImageError
from mmsearch.sources.open_files import open_source_file
from mmsearch.sources.source_files import SourceFile

if TYPE_CHECKING:
    from mmsearch.images import PhotoFacts

__all__ = ["merge_beside"]

_MOST_BYTES = 1 << 20  # of a file: Takeout's have a thousand, XMP has tens of thousands before the strokes of brushes


def merge_beside(file: SourceFile, own: "PhotoFacts", *, places: bool) -> "PhotoFacts":
    """Merge what the files beside a picture say of it with what it says itself.

    XMP comes first, since people and programs write there what they think of a picture that they leave as it is;
    Takeout's comes last. What cannot be read, or is neither, says nothing. places: where it was taken, too.
    """
    if not file.beside:
        return own
    from mmsearch.images import NOTHING_SAID, merge_facts, takeout_facts, xmp_facts

    xmp, takeout = [], []
    for other in file.beside:
        if other.role != "facts":
            continue
        data = _read(other.file)
        if other.file.name.lower().endswith(".xmp"):
            xmp.append(xmp_facts(data, places=places))
        else:
            takeout.append(takeout_facts(data, places=places))
    return merge_facts(NOTHING_SAID, *xmp, own, *takeout)


def _read(file: SourceFile) -> bytes:
    """The beginning of a file; nothing of one that cannot be read."""
    try:
        with open_source_file(file) as opened:
            return opened.stream.read(_MOST_BYTES)
    except (OSError, ImageError):
        return b""
