"""What a process that reads films is asked, on its stdin, and how it answers: messages, each a line of JSON with bytes
behind it.

    read    what is asked: see `FilmRequest`
    header  what the film says of itself
    table   when its frames are shown: what `FrameTable` is made of
    frame   one frame, with its pixels
    end     what is wrong with the film
    error   why it gives nothing
"""

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import IO, Any

__all__ = ["FilmRequest", "NotAFilm", "read_message", "write_message"]

_LENGTHS = struct.Struct(">IQ")
_MOST_LINE = 1 << 20
_MOST_REQUEST = 1 << 28


class NotAFilm(Exception):
    """A file gives no frames. Its text is the reason, in a line for a person."""


@dataclass(frozen=True, slots=True)
class FilmRequest:
    """What is asked of a film.

    Attributes:
        path: where it stands.
        start, size: of its bytes in the file at that path; None for all of it.
        times: the frames that are wanted: those that are seen at these seconds, ascending; None where its table is.
        side: pixels of the shorter side of what is given, where the film has more.
        max_pixels: a film with larger frames is not decoded.
        threads: that decode.
    """

    path: str
    times: Sequence[float] | None
    side: int
    max_pixels: int
    threads: int = 1
    start: int = 0
    size: int | None = None

    def write(self, stream: IO[bytes]) -> None:
        """Write it, as a message."""
        write_message(stream, "read", **asdict(self))

    @classmethod
    def read(cls, stream: IO[bytes]) -> "FilmRequest | None":
        """The next one of a stream; None where it ends."""
        message = read_message(stream, 0, _MOST_REQUEST)
        return None if message is None else cls(**message[1])


def write_message(stream: IO[bytes], event: str, data: bytes | memoryview = b"", **fields: Any) -> None:
    """Write one message."""
    line = json.dumps({"event": event, **fields}).encode()
    stream.write(_LENGTHS.pack(len(line), len(data)))
    stream.write(line)
    stream.write(data)
    stream.flush()


def read_message(
    stream: IO[bytes], most_bytes: int, most_line: int = _MOST_LINE
) -> tuple[str, Mapping[str, Any], bytes] | None:
    """The next message: event, fields, bytes; None where the stream ends, or says what no message is.

    most_bytes: that may stand behind its line. most_line: of the line itself.
    """
    head = stream.read(_LENGTHS.size)
    if len(head) < _LENGTHS.size:
        return None
    line_length, data_length = _LENGTHS.unpack(head)
    if line_length > most_line or data_length > most_bytes:
        return None
    line, data = stream.read(line_length), stream.read(data_length)
    if len(line) < line_length or len(data) < data_length:
        return None
    fields = json.loads(line)
    return fields.pop("event"), fields, data
