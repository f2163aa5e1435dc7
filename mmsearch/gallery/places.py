"""Where a gallery stands, and how it writes down where its roots stand."""

import os
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes, urlsplit

from mmsearch.gallery import manifests
from mmsearch.records import Root
from mmsearch.stores import LocalStore

__all__ = ["GALLERY_NAME", "find_gallery", "place_for_gallery", "root_path", "root_uri"]

GALLERY_NAME = ".mmsearch"


def find_gallery(gallery: str | os.PathLike[str] | None = None) -> Path | None:
    """The folder of the gallery that is meant, or None where there is none.

    `gallery` if given, else MMSEARCH_GALLERY, else `.mmsearch` in the current folder or the nearest parent with one.
    """
    if named := gallery or os.environ.get("MMSEARCH_GALLERY"):
        folder = _absolute(named)
        return folder if manifests.versions(LocalStore(folder)) else None
    here = Path.cwd()
    for folder in (here, *here.parents):
        if manifests.versions(LocalStore(folder / GALLERY_NAME)):
            return folder / GALLERY_NAME
    return None


def _absolute(path: str | os.PathLike[str]) -> Path:
    # Not resolve(): a link to a gallery stays the name that people know it by; but "x/../g" and "g" are one place.
    return Path(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100


def place_for_gallery(gallery: str | os.PathLike[str] | None = None) -> Path:
    """Where `embed` writes: the gallery that is found, else the one named, else `.mmsearch` in the current folder."""
    named = gallery or os.environ.get("MMSEARCH_GALLERY")
    return find_gallery(gallery) or (_absolute(named) if named else Path.cwd() / GALLERY_NAME)


def root_uri(gallery: Path, root: Path) -> str:
    """How a root is written down: relative where the gallery and its root are moved together, else absolute.

    They move together when one lies in the other, or the root lies beside the gallery's folder.
    """
    together = root.is_relative_to(gallery.parent) or gallery.is_relative_to(root)
    if together:
        return quote_from_bytes(os.fsencode(os.path.relpath(root, gallery).replace(os.sep, "/")))
    return root.as_uri()


def root_path(gallery: Path, root: Root) -> Path:
    """The folder that a root names, as an absolute path. It need not exist."""
    parts = urlsplit(root.uri)
    path = os.fsdecode(unquote_to_bytes(parts.path))
    return Path(os.path.normpath(path if parts.scheme else gallery / path))
