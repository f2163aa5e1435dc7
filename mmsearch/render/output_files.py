"""Where pictures and pages of answers are written: never over a picture that they show, and never in part."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from mmsearch.errors import QueryError, StoreError
from mmsearch.locations import expanded
from mmsearch.search.answers import Answer
from mmsearch.whole_files import whole_file

__all__ = ["PAGE_SUFFIXES", "SHEET_SUFFIXES", "require_outputs", "resolve_folder", "resolve_output", "save_output"]

PAGE_SUFFIXES = (".html", ".htm")
SHEET_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


def require_outputs(*, page: str | os.PathLike[str] | None, sheet: str | os.PathLike[str] | None) -> None:
    """Raises QueryError, StoreError where these could not be written, before any work is done."""
    if page is not None:
        resolve_output(page, PAGE_SUFFIXES)
    if sheet is not None:
        resolve_output(sheet, SHEET_SUFFIXES)


def resolve_output(file: str | os.PathLike[str], suffixes: Sequence[str], answers: Sequence[Answer] = ()) -> Path:
    """Where a file can be written, as an absolute path. Before any work is done, `answers` is not known yet.

    Raises QueryError (another suffix, or one of the pictures themselves), StoreError (no such folder).
    """
    target = expanded(file).absolute()
    if target.suffix.lower() not in suffixes:
        raise QueryError(f"{target.name}: name a file that ends in {', '.join(suffixes[:-1])} or {suffixes[-1]}")
    if not target.parent.is_dir():
        raise StoreError(f"cannot write {target}: there is no folder {target.parent}")
    if target.is_dir():
        raise StoreError(f"cannot write {target}: it is a folder")
    if target.exists() and not target.is_file():  # it would be replaced by a file
        raise StoreError(f"cannot write {target}: it is no file, but a device")
    files_shown = (
        name for answer in answers for name in (*answer.pictures, *(hit.file for hit in answer.hits)) if name
    )
    if any(target == Path(name) for name in files_shown):
        raise QueryError(f"{target} is one of the pictures themselves; name another file")
    return target


def resolve_folder(folder: str | os.PathLike[str], own: str) -> Path:
    """Where a folder of pages can be written, as an absolute path: one that is not there yet, is empty, or holds such
    pages, so that nothing else is ever replaced.

    own: what the text of its `index.html` holds where it was written by us. Raises StoreError.
    """
    target = expanded(folder).absolute()
    if not target.parent.is_dir():
        raise StoreError(f"cannot write {target}: there is no folder {target.parent}")
    if target.exists() and not target.is_dir():
        raise StoreError(f"cannot write {target}: it is a file; name a folder, or a file that ends in .html")
    try:
        if target.exists() and any(target.iterdir()):
            index = target / "index.html"
            if not index.is_file() or own not in index.read_text("utf-8", errors="replace"):
                raise StoreError(f"cannot write {target}: it holds other files; name a new folder")
    except OSError as error:
        raise StoreError(f"cannot write {target}: {(error.strerror or str(error)).lower()}") from error
    return target


def save_output(target: Path, write: Callable[[Path], object]) -> Path:
    """`target`, once `write` has filled it. Raises StoreError."""
    try:
        with whole_file(target) as partial:
            write(partial)
    except OSError as error:
        raise StoreError(f"cannot write {target}: {error.strerror or error}") from error
    return target
