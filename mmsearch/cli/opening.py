"""Showing files in the programs that the desktop has for them."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mmsearch.errors import MmsearchError, QueryError
from mmsearch.locations import url_of

if TYPE_CHECKING:
    from mmsearch.search.hits import Hit

__all__ = ["MOST_WINDOWS", "open_address", "open_files", "open_page", "open_pictures", "require_few", "why_no_windows"]

MOST_WINDOWS = 20


def require_few(k: int) -> None:
    """Raises QueryError where so many hits would each get a window."""
    if k > MOST_WINDOWS:
        raise QueryError(
            f"--open gives each picture a window of its own, at most {MOST_WINDOWS}: ask for fewer (-k), "
            "or for one page (--html FILE --open)"
        )


def open_page(page: Path) -> None:
    """Show a page in the browser. Raises MmsearchError where there is none."""
    _browse(page.absolute().as_uri(), str(page))


def open_address(address: str) -> None:
    """Show what a server serves in the browser. Raises MmsearchError where there is none."""
    _browse(address, "the address above")


def _browse(address: str, shown: str) -> None:
    import webbrowser

    if not webbrowser.open(address):
        raise MmsearchError(f"no browser was found; open it yourself: {shown}")


def open_pictures(hits: Sequence["Hit"]) -> None:
    """Show the picture of each hit in the desktop's viewer. Raises MmsearchError where there is none."""
    for file in dict.fromkeys(hit.whole_file for hit in hits if hit.whole_file and not hit.gone):
        if url_of(file) is not None:
            raise MmsearchError(
                f"{file} is in an object store, which viewers do not read; --html FILE makes a page of it"
            )
        if typer.launch(file) != 0:
            raise MmsearchError(f"no viewer was found to open {file}; --html FILE makes a page to look at elsewhere")


def open_files(files: Sequence[Path]) -> None:
    """Show files in the desktop's viewer. Raises MmsearchError where there is none."""
    for file in files:
        if typer.launch(str(file)) != 0:
            raise MmsearchError(f"no viewer was found to open {file}; mmsearch show --print prints the path")


def why_no_windows() -> str | None:
    """Why a window of this machine would not be seen by who types here; None where it would."""
    if sys.platform in ("win32", "darwin"):  # a window would open in front of the machine
        return "this is a session over ssh" if os.environ.get("SSH_CONNECTION") else None
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):  # over ssh too, where it forwards them
        return None
    return "there is no display here"
