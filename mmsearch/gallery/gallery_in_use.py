"""The gallery in use: the one that answers where no other is named or nearer.

Its path and an end of line, in a file of the user's configuration folder."""

import os
import warnings
from pathlib import Path

from mmsearch.config import config_dir
from mmsearch.errors import GalleryNotFound, MmsearchNote, StoreError
from mmsearch.gallery import manifests
from mmsearch.locations import Location, located
from mmsearch.names import shell_quoted
from mmsearch.stores import Store, open_store
from mmsearch.whole_files import whole_file

__all__ = ["gallery_in_use", "store_in_use", "use_gallery", "use_no_gallery"]

_LONGEST = 1 << 16  # bytes that are read of the file, which holds one path


def gallery_in_use() -> Location | None:
    """The gallery that `use_gallery` named last, whether it is still there or not; None where none is.

    A file that cannot be read is as good as none: whoever asks for it by chance has not asked for an error.
    """
    try:
        with _file().open("rb") as stream:
            line = os.fsdecode(stream.read(_LONGEST).removesuffix(b"\n"))
    except OSError:
        return None
    return located(line) if line and "\0" not in line else None


def store_in_use() -> Store | None:
    """The gallery in use, of which whoever watches is told that it answers; None where none is.

    Raises GalleryNotFound where it is gone, StoreError.
    """
    if (place := gallery_in_use()) is None:
        return None
    store = open_store(place)
    if not manifests.list_versions(store):
        store.require_reachable()
        raise GalleryNotFound(
            f"the gallery in use, {place}, is not there: is a disk not connected? To use another: mmsearch use "
            "GALLERY; to use none: mmsearch use --none"
        )
    warnings.warn(f"the gallery in use answers: {place}", MmsearchNote, stacklevel=3)
    return store


def use_gallery(gallery: str | os.PathLike[str]) -> Location:
    """Have a gallery answer wherever no other is named (`--gallery`, MMSEARCH_GALLERY) or nearer (`.mmsearch` in the
    current folder or above it); its place. Raises GalleryNotFound where there is none, StoreError."""
    place = located(gallery)
    store = open_store(place)
    if not manifests.list_versions(store):
        store.require_reachable()
        raise GalleryNotFound(
            f"no gallery at {place}. Make one with: mmsearch embed PICTURES --gallery {shell_quoted(place)}"
        )
    file = _file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(file) as partial:
            partial.write_bytes(os.fsencode(str(place)) + b"\n")
    except OSError as error:
        raise StoreError(
            f"cannot write {file}: {(error.strerror or str(error)).lower()}. Without it: "
            f"export MMSEARCH_GALLERY={place}; or MMSEARCH_CONFIG names another folder for it"
        ) from error
    return place


def use_no_gallery() -> Location | None:
    """Have no gallery in use any more; the one that was. Raises StoreError."""
    before = gallery_in_use()
    try:
        _file().unlink(missing_ok=True)
    except NotADirectoryError:
        pass
    except OSError as error:
        raise StoreError(f"cannot remove {_file()}: {(error.strerror or str(error)).lower()}") from error
    return before


def _file() -> Path:
    return config_dir() / "gallery"
