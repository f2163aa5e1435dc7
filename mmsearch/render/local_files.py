"""Files that the programs of a desktop can open: of what lies in an archive or an object store, a copy."""

import tempfile
from pathlib import Path
from typing import BinaryIO

from mmsearch.cutting import example_span
from mmsearch.errors import ImageError, QueryError, StoreError
from mmsearch.images import probe
from mmsearch.locations import url_of
from mmsearch.sources import container_form, container_of, open_location, spanned

__all__ = ["local_file"]

_SUFFIXES = {"JPEG": ".jpg", "MPO": ".jpg", "JPEG2000": ".jp2"}
_NAMED_BY_CAMERA = "RAW"  # formats of many names
_PIECE = 1 << 20
_LONGEST = 80  # characters of the name of a copy


def local_file(file: str) -> Path:
    """A file as a program on this machine can open it.

    file: as `Hit.file`. Of a member of an archive, and of an object, a copy is made, which stays until the system
    tidies its folder for temporary files; what is a piece of a file is shown by the whole file.
    Raises QueryError where it is gone or cannot be read, StoreError where no copy can be written.
    """
    container, cut_file = container_of(file), spanned(file)
    is_cut = cut_file is not None and cut_file.path == container
    if url_of(file) is None and (container is None or is_cut or container_form(container) == "spans"):
        path = Path(container or file)
        if not path.exists():
            raise QueryError(f"{file} is gone. To drop what is gone from the gallery: mmsearch embed")
        return path
    if container is not None and cut_file is not None:
        file = cut_file.path  # the whole member of an archive
    try:
        with open_location(file) as stream:
            return _copy(file, stream)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise QueryError(f"{file} is gone. To drop what is gone from the gallery: mmsearch embed") from error
    except OSError as error:
        raise QueryError(f"{file} cannot be read: {(error.strerror or str(error)).lower()}") from error
    except ImageError as error:
        raise QueryError(f"{file} cannot be read: {error.reason}") from error


def _copy(file: str, stream: BinaryIO) -> Path:
    """A copy of what a stream holds. Raises OSError and ImageError where that cannot be read, StoreError."""
    name = Path(file.rpartition("/")[2])
    suffix = _suffix(stream, name)
    stream.seek(0)
    try:
        copy = Path(tempfile.mkdtemp(prefix="mmsearch-")) / f"{name.stem[:_LONGEST]}{suffix}"
        target = copy.open("wb")
    except OSError as error:
        raise _unwritable(file, error) from error
    with target:
        while piece := stream.read(_PIECE):
            try:
                target.write(piece)
            except OSError as error:
                raise _unwritable(file, error) from error
    return copy


def _unwritable(file: str, error: OSError) -> StoreError:
    return StoreError(f"cannot write a copy of {file}: {(error.strerror or str(error)).lower()}")


def _suffix(stream: BinaryIO, name: Path) -> str:
    """The ending by which a desktop knows what a picture is.

    It goes by the content: an archive of a stranger may call a picture that is a program as well by the name of one.
    What is named as a film or a document is opened as one, whatever it is."""
    if example_span(name.name):
        return name.suffix
    try:
        format_name = probe(stream).format
    except ImageError:
        return ".bin"
    return name.suffix if format_name == _NAMED_BY_CAMERA else _SUFFIXES.get(format_name, f".{format_name.lower()}")
