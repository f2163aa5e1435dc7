"""Pages of a PDF, rendered by pdfium (the extra `pdf`) in processes of their own, bounded in time and memory."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import Image

from mmsearch.errors import ImageError
from mmsearch.file_ranges import FileRange
from mmsearch.images import CutOptions, Cutter, MadePicture, PhotoFacts, PictureSpan
from mmsearch.images.photo_facts import clean_text, parse_date
from mmsearch.kept_processes import KeptProcesses

__all__ = ["PDF_PAGES", "pdf_processes", "read_page_texts"]

_SIDE = 1600
"""Pixels of the longer side of a page: more than models take, and enough to read it on a screen."""
_MOST_PAGES = 20_000
"""A document of a few bytes may claim a million."""
_SECONDS = 60.0  # for a page; what needs more hangs, or was made to
_PROCESS = "pdf_process.py"
_DATE = re.compile(r"D:(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?(?:([+-])(\d\d)'?(\d\d)?'?)?")
_ENCRYPTED = "encrypted PDF"


def _why_missing() -> str | None:
    if find_spec("pypdfium2") is None:
        return "PDF, whose pages are read through: pip install 'mmsearch[pdf]'"
    return None


class _Ended(Exception):
    """The process ended, or was ended since it did not answer. reason: in words, of a page."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Unreadable(Exception):
    """The document cannot be read, whatever page is asked for. reason: in words."""

    def __init__(self, error: str) -> None:
        super().__init__(error)
        locked = "password" in error.lower() or "security" in error.lower()
        self.reason = _ENCRYPTED if locked else _damaged(error)


class _Reader:
    """A process that reads PDFs, one request at a time."""

    def __init__(self) -> None:
        command = [sys.executable, "-P", str(Path(__file__).parent / _PROCESS)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._has_answered = True

    @property
    def is_free(self) -> bool:
        """See `KeptProcess`."""
        return self._has_answered and self._process.poll() is None

    def ask(self, file: FileRange, pages: Sequence[int], **how: Any) -> Iterator[tuple[dict[str, Any], bytes]]:
        """The answers to a request, one a page or one, each with its pixels. Raises _Ended, _Unreadable."""
        request = json.dumps(asdict(file) | {"pages": [*pages], **how}).encode() + b"\n"
        assert self._process.stdin is not None
        self._has_answered = False
        try:
            self._process.stdin.write(request)
            self._process.stdin.flush()
        except OSError as error:
            raise _Ended("what renders PDFs ended") from error
        for following in reversed(range(max(1, len(pages)))):
            answer, pixels = self._take_answer()
            failure = answer.get("failed")
            self._has_answered = following == 0 or failure is not None
            if failure is not None:
                raise _Unreadable(failure)
            yield answer, pixels

    def _take_answer(self) -> tuple[dict[str, Any], bytes]:
        assert self._process.stdout is not None
        overdue = threading.Event()

        def end() -> None:
            overdue.set()
            self._process.kill()

        watch = threading.Timer(_SECONDS, end)
        watch.daemon = True
        watch.start()
        try:
            line = self._process.stdout.readline()
            answer = json.loads(line) if line.endswith(b"\n") else None
            pixels = b"" if answer is None else self._process.stdout.read(answer.get("bytes", 0))
        finally:
            watch.cancel()
        if answer is None or len(pixels) < answer.get("bytes", 0):
            why = f"not rendered within {_SECONDS:g} seconds" if overdue.is_set() else "it ended what renders PDFs"
            raise _Ended(why)
        return answer, pixels

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:  # what was written to it and not taken
                    continue


pdf_processes = KeptProcesses(_Reader)
"""Those of this program."""


def _list_spans(file: FileRange, _: CutOptions) -> Iterator[PictureSpan]:
    with file.open() as stream:  # an OSError says more than what pdfium says
        if not stream.read(1):
            raise ImageError("identify", "empty file")
    try:
        with pdf_processes.one() as reader:
            ((answer, _pixels),) = reader.ask(file, [])
    except (_Ended, _Unreadable) as error:
        raise ImageError("identify", error.reason) from error
    if not answer["pages"]:
        raise ImageError("identify", "PDF without pages")
    for page in range(1, min(answer["pages"], _MOST_PAGES) + 1):
        yield PictureSpan(f"page={page}", {"page": page})
    if answer["pages"] > _MOST_PAGES:
        page = _MOST_PAGES + 1
        yield PictureSpan(f"page={page}", {"page": page}, refused=f"only its first {_MOST_PAGES:,} pages are read")


def _damaged(error: str) -> str:
    return f"damaged PDF: {' '.join(error.split())[:100]}"


def _make(file: FileRange, spans: Sequence[str], _: int) -> Iterator[MadePicture | ImageError]:
    for answer, pixels in _ask_each(file, [_page_number(span) for span in spans], side=_SIDE):
        if isinstance(answer, ImageError):
            yield answer
        else:
            size = answer["width"], answer["height"]
            yield MadePicture(Image.frombytes("RGB", size, pixels), facts=_facts(answer["facts"]))


def _ask_each(file: FileRange, pages: Sequence[int], **how: Any) -> Iterator[tuple[dict[str, Any] | ImageError, bytes]]:
    """An answer a page, or why there is none. A page that ends the process costs no other."""
    done = 0
    while done < len(pages):
        try:
            with pdf_processes.one() as reader:
                for answer, pixels in reader.ask(file, pages[done:], **how):
                    done += 1
                    if "missing" in answer:
                        yield ImageError("identify", answer["missing"]), b""
                    elif "error" in answer:
                        yield ImageError("decode", _damaged(answer["error"])), b""
                    else:
                        yield answer, pixels
        except _Ended as ended:
            done += 1
            yield ImageError("decode", ended.reason), b""
        except _Unreadable as unreadable:
            yield from ((ImageError("identify", unreadable.reason), b"") for _ in pages[done:])
            return


def _page_number(span: str) -> int:
    """The number of a page that a span names; 0, which no page has, for what is no number."""
    number = span.partition("=")[2]
    return int(number) if number.isascii() and number.isdigit() and len(number) < 10 else 0


def read_page_texts(file: FileRange) -> Iterator[tuple[int, str]]:
    """The number and the text of each page that has one; at most 4,000 characters. Raises ImageError, OSError."""
    pages = [span.numbers["page"] for span in _list_spans(file, CutOptions()) if span.refused is None]
    for page, (answer, _) in zip(pages, _ask_each(file, pages, text=True), strict=True):
        if not isinstance(answer, ImageError) and (text := " ".join(answer["text"].split())):
            yield page, text


def _facts(said: dict[str, str]) -> PhotoFacts:
    """What a document says of itself: its title, and when it was made, as by a scanner."""
    text, zone = "", None
    if (match := _DATE.match(said.get("CreationDate", ""))) is not None:
        year, month, day, hour, minute, second, sign, *offset = match.groups()
        text = f"{year}-{month or '01'}-{day or '01'}T{hour or '00'}:{minute or '00'}:{second or '00'}"
        zone = f"{sign}{offset[0]}:{offset[1] or '00'}" if sign else None
    return PhotoFacts(dates=parse_date(text, "created", zone), title=clean_text(said.get("Title")))


PDF_PAGES = Cutter(
    key="page",
    suffixes=(".pdf",),
    format="PDF",
    word=lambda _: "pages",
    list_spans=_list_spans,
    make=_make,
    missing=_why_missing,
    fetches=True,
    example="page=1",
)
