"""Reads PDFs through pypdfium2, as it is asked on stdin, within limits: the process that `mmsearch.cutting.pdf_pages`
starts. It ends when stdin does.

A request is a line of JSON, {"path": ..., "start": 0, "size": null, "pages": [1, ...], "side": 1600}; with no pages,
how many there are. Where size is a number, the document is that many bytes of the file, from start on. The answers are
lines of JSON, one a page; behind one with "bytes" stand so many bytes of pixels. One with "failed" is the only one,
since the document cannot be read. pdfium knows one thread at a time, and hostile documents end or stop it. Nothing of
mmsearch is imported, so that it is quick to start.
"""

import contextlib
import json
import os
import sys
from typing import Any, BinaryIO

import pypdfium2 as pdfium

_MEMORY = 3 << 30  # bytes of addresses
_MOST_TEXT = 4_000  # characters of a page
_FACTS = ("Title", "CreationDate")
_RESTART = 75  # out of memory: what it holds by now is not known


def main() -> None:
    """Answer until there is no more request."""
    requests, answers = sys.stdin.buffer, _own_stdout()
    with contextlib.suppress(ImportError, ValueError, OSError):  # Windows has no limits of this kind
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    place, document = None, None
    for line in requests:
        request = json.loads(line)
        asked = request["path"], request["start"], request["size"]
        try:
            if asked != place or document is None:
                place, document = None, None
                document = _open(*asked)
                place = asked
            _answer(answers, request, document)
        except pdfium.PdfiumError as error:
            _say(answers, {"failed": str(error)})
        except OSError:
            _say(answers, {"failed": "it cannot be opened"})
        except MemoryError:
            sys.exit(_RESTART)


def _open(path: str, start: int, size: int | None) -> pdfium.PdfDocument:
    if size is None:
        return pdfium.PdfDocument(os.fsencode(path).decode("utf-8", "surrogateescape"))
    with open(path, "rb") as file:  # noqa: PTH123 - the path may hold surrogates; Path adds nothing
        file.seek(start)
        return pdfium.PdfDocument(file.read(size))


def _own_stdout() -> BinaryIO:
    """Where answers go. What a library prints itself goes to stderr."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers


def _say(answers: BinaryIO, answer: dict[str, Any], pixels: bytes | memoryview = b"") -> None:
    answers.write(json.dumps(answer).encode() + b"\n")
    answers.write(pixels)
    answers.flush()


def _answer(answers: BinaryIO, request: dict[str, Any], document: pdfium.PdfDocument) -> None:
    count = len(document)
    if not request["pages"]:
        _say(answers, {"pages": count})
        return
    said = document.get_metadata_dict()
    facts = {name: said[name] for name in _FACTS if said.get(name)}
    for number in request["pages"]:
        if not 1 <= number <= count:
            _say(answers, {"missing": f"it has {count:,} pages"})
            continue
        try:
            page = document[number - 1]
            try:
                if request.get("text"):
                    text = page.get_textpage().get_text_bounded()[:_MOST_TEXT]
                    _say(answers, {"text": text.encode("utf-8", "replace").decode()})
                else:
                    _draw(answers, page, request["side"], facts)
            finally:
                page.close()
        except pdfium.PdfiumError as error:
            _say(answers, {"error": str(error)})


def _draw(answers: BinaryIO, page: pdfium.PdfPage, side: int, facts: dict[str, str]) -> None:
    width, height = page.get_size()
    if not (width > 0 and height > 0):
        _say(answers, {"error": "a page without a size"})
        return
    scale = side / max(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    bitmap = page.render(scale=scale, rev_byteorder=True)
    try:
        image = bitmap.to_pil().convert("RGB")
    finally:
        bitmap.close()
    if image.size != size:  # pdfium rounds up
        image = image.crop((0, 0, *size))
    pixels = image.tobytes()
    _say(answers, {"width": size[0], "height": size[1], "bytes": len(pixels), "facts": facts}, pixels)


if __name__ == "__main__":
    main()
