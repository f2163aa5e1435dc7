"""Names of files as text: what file systems allow and text, terminals and keyboards do not, dealt with in one place."""

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "composed",
    "composed_column",
    "composed_lists",
    "is_unicode",
    "on_disk",
    "printable",
    "printable_column",
    "random_name",
    "real_name",
    "shell_quoted",
    "shown",
    "stored_name",
]

_JOINERS = "\u200c\u200d"  # they print nothing, and emoji and several scripts fall apart without them


def random_name(size: int) -> str:
    """A name that nobody else has come upon: `size` bytes from the system, in hexadecimal digits. As `secrets` makes
    them, whose import takes milliseconds."""
    return os.urandom(size).hex()


def shown(name: str) -> str:
    """A file system string, or any other, as text that can be printed and stored.

    Undecodable bytes become \\xNN, and what is no character in another way (half of a pair, from JSON) \\uNNNN.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        try:
            return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        except UnicodeEncodeError:
            return name.encode("utf-8", "backslashreplace").decode()
    return name


def is_unicode(text: str) -> bool:
    """Whether text can be written as UTF-8: it holds no undecodable bytes, and no half of a character."""
    return shown(text) == text


def stored_name(name: str) -> tuple[str, bytes | None]:
    """(path, path_bytes) as a gallery stores a file system string: the bytes only where the text is not the name."""
    path = shown(name)
    return path, None if path == name else os.fsencode(name)


def real_name(path: str, path_bytes: bytes | None) -> str:
    """The file system string that `stored_name` made these of."""
    return path if path_bytes is None else os.fsdecode(path_bytes)


def printable(text: str | os.PathLike[str]) -> str:
    """Text, or a place, that cannot steer a terminal or break a line: control characters and undecodable bytes shown as
    escapes."""
    return "".join(
        char if char.isprintable() or char in _JOINERS else char.encode("unicode_escape").decode()
        for char in shown(os.fspath(text))
    )


def shell_quoted(value: object) -> str:
    """A place, or another value, as it stands in a command that a message tells people to type.

    >>> f"mmsearch embed {shell_quoted('My Pictures')}"
    "mmsearch embed 'My Pictures'"
    """
    import shlex  # late: few messages need it

    return shlex.quote(str(value))


def composed(name: str) -> str:
    """The form in which two names are the same to a person: é as keyboards write it, in one character (NFC), and é as a
    Mac's file system has it, in two (NFD)."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def composed_column(texts: "pa.ChunkedArray") -> "pa.ChunkedArray":
    """`composed` of every text of an Arrow column; the column itself where all of it is ASCII.

    Not by Arrow's own utf8_normalize: releases that are still in use (21, say) decompose where they are to compose.
    """
    if _is_ascii(texts):
        return texts
    import pyarrow.compute as pc  # late: it takes a tenth of a second, and pandas too where there is one

    return _spelled(texts, pc.invert(pc.fill_null(pc.string_is_ascii(texts), True)), composed)


def composed_lists(lists: "pa.ChunkedArray") -> "pa.ChunkedArray":
    """`composed` of every text in the lists of an Arrow column; the column itself where all of it is ASCII."""
    import pyarrow as pa

    chunks = []
    for chunk in lists.chunks:
        texts = pa.chunked_array([chunk.values])
        spelled = composed_column(texts)
        chunks.append(
            chunk
            if spelled is texts
            else pa.ListArray.from_buffers(
                chunk.type, len(chunk), chunk.buffers()[:2], chunk.null_count, chunk.offset, [_in_one(spelled)]
            )
        )
    return pa.chunked_array(chunks, lists.type)


def _is_ascii(texts: "pa.ChunkedArray") -> bool:
    """Whether a column of type string holds nothing else."""
    import numpy as np

    for chunk in texts.chunks:
        _, ends, data = chunk.buffers()
        if data is not None:
            first, last = np.frombuffer(ends, np.int32)[chunk.offset : chunk.offset + len(chunk) + 1][[0, -1]]
            if np.frombuffer(data, np.uint8)[first:last].max(initial=0) > 127:
                return False
    return True


def printable_column(texts: "pa.ChunkedArray") -> "pa.ChunkedArray":
    """`printable` of every text of an Arrow column."""
    import pyarrow.compute as pc

    return _spelled(texts, pc.fill_null(pc.match_substring_regex(texts, "[^ -~]"), False), printable)


def _spelled(texts: "pa.ChunkedArray", odd: "pa.ChunkedArray", spell: Callable[[str], str]) -> "pa.ChunkedArray":
    """A column in which the odd texts are replaced by what `spell` makes of them; itself where there are none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pc.any(odd).as_py():
        return texts
    spelled = pa.array([spell(text) for text in texts.filter(odd).to_pylist()], texts.type)
    return pa.chunked_array([pc.replace_with_mask(_in_one(texts), _in_one(odd), spelled)])


def _in_one(column: "pa.ChunkedArray") -> "pa.Array":
    chunks = column.combine_chunks()
    return chunks.chunk(0) if hasattr(chunks, "chunk") else chunks  # what it gives depends on the release


def on_disk(path: str, listed: dict[str, dict[str, str]] | None = None) -> str:
    """An absolute path as the file system spells it; as typed, where nothing there is the same to a person.

    A part that is there as it was typed is that one. listed: what folders hold, kept from call to call by whoever asks
    many times: folder -> composed name -> name.
    """
    if path.isascii() or os.path.lexists(path):
        return path
    listed = {} if listed is None else listed
    spelled, *parts = Path(path).parts
    for part in parts:
        exact = os.path.join(spelled, part)  # noqa: PTH118 - a Path would be made for each part
        if not part.isascii() and not os.path.lexists(exact):
            if spelled not in listed:
                listed[spelled] = _composed_names(spelled)
            exact = os.path.join(spelled, listed[spelled].get(composed(part), part))  # noqa: PTH118
        spelled = exact
    return spelled


def _composed_names(folder: str) -> dict[str, str]:
    try:
        return {composed(name): name for name in sorted(os.listdir(folder))}
    except (OSError, ValueError):  # ValueError: a null byte
        return {}
