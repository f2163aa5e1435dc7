"""Files that the programs of a desktop can open: of what lies in an archive or an object store, a copy."""

import io
import tempfile
from pathlib import Path

from mmsearch.errors import ImageError, QueryError, StoreError
from mmsearch.images import probe
from mmsearch.locations import url_of
from mmsearch.sources import container_form, container_of, read_location, spanned

__all__ = ["local_file"]

_SUFFIXES = {"JPEG": ".jpg", "MPO": ".jpg", "JPEG2000": ".jp2"}
_NAMED_BY_CAMERA = "RAW"  # formats of many names
_LONGEST = 80  # characters of the name of a copy


def local_file(file: str) -> Path:
    """A file as a program on this machine can open it.

    file: as `Hit.file`. Of a member of an archive, and of an object, a copy is made, which stays until the system
    tidies its folder for temporary files; what is a piece of a file is shown by the whole file.
    Raises QueryError where it is gone or cannot be read, StoreError where no copy can be written.
    """
    container = container_of(file)
    if url_of(file) is None and (container is None or spanned(file) or container_form(container) == "spans"):
        path = Path(container or file)
        if not path.exists():
            raise QueryError(f"{file} is gone. To drop what is gone from the gallery: mmsearch embed")
        return path
    try:
        data = read_location(file)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise QueryError(f"{file} is gone. To drop what is gone from the gallery: mmsearch embed") from error
    except OSError as error:
        raise QueryError(f"{file} cannot be read: {(error.strerror or str(error)).lower()}") from error
    except ImageError as error:
        raise QueryError(f"{file} cannot be read: {error.reason}") from error
    name = Path(file.rpartition("/")[2])
    try:
        copy = Path(tempfile.mkdtemp(prefix="mmsearch-")) / f"{name.stem[:_LONGEST]}{_suffix(data, name)}"
        copy.write_bytes(data)
    except OSError as error:
        raise StoreError(f"cannot write a copy of {file}: {(error.strerror or str(error)).lower()}") from error
    return copy


def _suffix(data: bytes, name: Path) -> str:
    """The ending by which a desktop knows what a picture is.

    It goes by the content: an archive of a stranger may call a picture that is a program as well by the name of one."""
    try:
        format_name = probe(io.BytesIO(data)).format
    except ImageError:
        return ".bin"
    return name.suffix if format_name == _NAMED_BY_CAMERA else _SUFFIXES.get(format_name, f".{format_name.lower()}")
