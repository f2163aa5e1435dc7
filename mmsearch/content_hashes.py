"""How a file is known again by its content: by 128 bits of a hash, which the gallery's manifest names."""

import hashlib
from collections.abc import Callable

__all__ = ["DEFAULT_HASH", "FIRST_HASH", "content_hasher"]

FIRST_HASH = "blake2b"
"""That of galleries whose manifest names none."""
DEFAULT_HASH = "blake3"
"""That of new galleries: six times as fast on the machines where it was measured, and as hard to deceive."""
_BYTES = 16


def content_hasher(name: str) -> Callable[[bytes], bytes]:
    """The function from a file's bytes to the 16 of its hash. Raises ValueError for a name that is not known."""
    if name == DEFAULT_HASH:
        return _blake3
    if name == FIRST_HASH:
        return _blake2b
    raise ValueError(f"the content hash {name!r} is not known here")


def _blake2b(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_BYTES).digest()


def _blake3(data: bytes) -> bytes:
    import blake3  # late: most commands hash no file

    return blake3.blake3(data).digest(_BYTES)
