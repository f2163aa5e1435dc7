"""A picture that somebody named on a command line, or to a function: its bytes, or why they are none."""

import io
import os

from mmsearch import images
from mmsearch.cutting import example_span
from mmsearch.errors import ImageError, QueryError
from mmsearch.items import MEMBER
from mmsearch.sources.open_files import read_picture

__all__ = ["no_picture", "read_named_picture"]


def read_named_picture(picture: str | os.PathLike[str]) -> bytes:
    """The bytes of a picture (a file, an object, a member of an archive; "-" is stdin). Its header is read, no more.

    Raises QueryError for what is no picture.
    """
    try:
        data = read_picture(picture)
        images.probe(io.BytesIO(data))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise QueryError(f"cannot read the picture {os.fspath(picture)}: {reason}") from error
    except ImageError as error:
        raise no_picture(os.fspath(picture), error) from error
    return data


def no_picture(name: str, error: ImageError) -> QueryError:
    """That a file is no picture that can be read, and what of it may be asked with."""
    example = example_span(name)
    piece = f". Name a piece of it, as in {name}{MEMBER}{example}" if example and MEMBER not in name else ""
    # What is searched with, described or explained takes no option for it.
    reason = error.reason.replace(images.RAISES_LIMIT, ". Make it smaller first")
    return QueryError(f"{name} is no picture that can be read: {reason}{piece}")
