"""Memory: parses amounts, tells how much there is, and measures how much a process holds beside mapped files."""

import os
import re
import threading
from pathlib import Path
from types import TracebackType

from mmsearch.errors import AnnIndexError

__all__ = ["AnonymousPeak", "find_installed_memory", "parse_size", "format_bytes"]

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_STATUS = Path("/proc/self/status")


def parse_size(text: str) -> int:
    """Bytes. "4GiB", "500MB", "2G", "1073741824". Raises AnnIndexError."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?\s*", text.lower())
    if match is None:
        raise AnnIndexError(f"not an amount of memory: {text!r}. Write it as 4GiB, 500MB or a number of bytes")
    return int(float(match[1]) * _UNITS[match[2] or ""])


def format_bytes(amount: float) -> str:
    """Bytes as people read them: 3.2 GiB, 410 MiB."""
    return f"{amount / 2**30:,.1f} GiB" if amount >= 2**30 else f"{max(1, amount / 2**20):,.0f} MiB"


def find_installed_memory() -> int | None:
    """Bytes of memory in this machine, None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


class AnonymousPeak:
    """Measures the largest anonymous resident memory (Linux's RssAnon) while its block runs.

    Mapped files are not counted: the system takes their pages back when it needs them.

    Attributes:
        bytes: None where the system does not tell.
    """

    def __init__(self, seconds: float = 0.1) -> None:
        self.bytes: int | None = None
        self._seconds = seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)

    def __enter__(self) -> "AnonymousPeak":
        self._measure()
        if self.bytes is not None:
            self._thread.start()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()
        self._measure()

    def _watch(self) -> None:
        while not self._stopped.wait(self._seconds):
            self._measure()

    def _measure(self) -> None:
        try:
            match = re.search(r"^RssAnon:\s*(\d+) kB", _STATUS.read_text(), re.MULTILINE)
        except OSError:
            return
        if match is not None:
            self.bytes = max(self.bytes or 0, 1024 * int(match[1]))
