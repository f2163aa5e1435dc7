"""The lines of texts in whatever encoding people have them."""

import re
from collections.abc import Iterator

__all__ = ["decode", "decode_lines", "to_utf8"]

_BYTE_ORDER_MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))


def decode_lines(data: bytes) -> list[str]:
    """The lines of a text that are not blank, without surrounding whitespace."""
    return [text for line in decode(to_utf8(data), []) if (text := line.strip())]


def to_utf8(data: bytes) -> bytes:
    """Without a byte order mark; Windows programs write UTF-16 with one."""
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            body = data[len(mark) :]
            return body if encoding == "utf-8" else body.decode(encoding, "replace").encode()
    return data


def decode(data: bytes, latin1_lines: list[str]) -> Iterator[str]:
    """The lines of a file, LF, CRLF or CR. Those that are not UTF-8 are read as Latin-1 and noted in latin1_lines."""
    for number, line in enumerate(re.split(rb"\r\n|\n|\r", data), 1):
        try:
            yield line.decode()
        except UnicodeDecodeError:
            text = line.decode("latin-1")
            latin1_lines.append(f"line {number}: {text.strip()[:80]}")
            yield text
