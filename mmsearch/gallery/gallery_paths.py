"""Finds the folder of a gallery, and converts the paths of its roots to the form that a manifest stores."""

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes, urlsplit

from mmsearch.gallery import manifests
from mmsearch.gallery.gallery_in_use import store_in_use
from mmsearch.locations import Location, Url, located
from mmsearch.stores import open_store
from mmsearch.versions import Root

__all__ = ["GALLERY_NAME", "candidate_paths", "find_gallery", "gallery_to_write", "root_path", "root_uri"]

GALLERY_NAME = ".mmsearch"


def candidate_paths(gallery: str | os.PathLike[str] | None = None) -> Iterator[Location]:
    """The folders in which the gallery may be, in the order in which to look.

    `gallery` if given, else MMSEARCH_GALLERY, else `.mmsearch` in the current folder and in each parent.
    """
    if named := gallery or os.environ.get("MMSEARCH_GALLERY"):
        yield located(named)
        return
    here = Path.cwd()
    for folder in (here, *here.parents):
        yield folder / GALLERY_NAME


def find_gallery(gallery: str | os.PathLike[str] | None = None) -> Location | None:
    """The folder of the gallery: the first of `candidate_paths` that holds one, or None."""
    return next((path for path in candidate_paths(gallery) if manifests.list_versions(open_store(path))), None)


def gallery_to_write(gallery: str | os.PathLike[str] | None = None, *, adds: bool = True) -> Location:
    """The folder that `embed` writes: the named one, else that of `find_gallery`, else `.mmsearch` in this folder.

    adds: whether what comes in was named. Where it was not, there is nothing to make a gallery of, and the one in use
    is brought up to date; what was named never goes into a gallery that is neither named nor near.
    Raises GalleryNotFound where the one in use is gone.
    """
    if named := gallery or os.environ.get("MMSEARCH_GALLERY"):
        return located(named)
    if (found := find_gallery()) is not None:
        return found
    in_use = None if adds else store_in_use()
    return Path.cwd() / GALLERY_NAME if in_use is None else in_use.location


def root_uri(gallery: Location, root: Location) -> str:
    """The URI of a root in a manifest: relative where the gallery and its root are moved together, else absolute.

    They are moved together when one lies in the other, or the root lies beside the gallery's folder. What lies in an
    object store is not moved.
    """
    if isinstance(root, Url) or isinstance(gallery, Url):
        return root.as_uri()
    if root.is_relative_to(gallery.parent) or gallery.is_relative_to(root):
        return quote_from_bytes(os.fsencode(os.path.relpath(root, gallery).replace(os.sep, "/")))
    return root.as_uri()


def root_path(gallery: Location, root: Root) -> Location:
    """The folder that a root names, absolute. It need not exist."""
    parts = urlsplit(root.uri)
    if parts.scheme not in ("", "file"):
        return Url.from_uri(root.uri)
    path = os.fsdecode(unquote_to_bytes(parts.path))
    if parts.scheme:
        return Path(os.path.normpath(path))
    return gallery.at(path) if isinstance(gallery, Url) else Path(os.path.normpath(gallery / path))
