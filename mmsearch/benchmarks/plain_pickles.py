"""Pickles of which nothing runs: only plain values and arrays of numbers are taken; what else they name is refused."""

import io
import pickle
from typing import Any

__all__ = ["DAMAGED", "RefusedName", "load_plain"]

DAMAGED = (
    *(EOFError, AttributeError, ImportError, IndexError, KeyError, TypeError, ValueError, OverflowError),
    *(MemoryError, RecursionError, pickle.UnpicklingError),
)
"""What a damaged pickle or JSON raises."""
_HARMLESS = frozenset(
    {
        ("numpy", "dtype"),
        ("numpy", "ndarray"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "scalar"),
        ("numpy._core.numeric", "_frombuffer"),
        ("_codecs", "encode"),
    }
)
"""What pickles of arrays name, and what these do is to make arrays."""


def load_plain(data: bytes) -> Any:
    """What a pickle holds. Raises RefusedName, and one of DAMAGED."""
    return _Unpickler(io.BytesIO(data)).load()


class RefusedName(Exception):
    """A pickle that names something to run."""


class _Unpickler(pickle.Unpickler):
    """Reads plain values and arrays, and nothing that runs."""

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream, encoding="latin1")  # as Python 2 wrote it

    def find_class(self, module: str, name: str) -> Any:
        module = module.replace("numpy.core.", "numpy._core.")  # as it was called before version 2
        if (module, name) not in _HARMLESS:
            raise RefusedName(f"it names {module}.{name}, which annotations have no need of: not read")
        return super().find_class(module, name)

    def persistent_load(self, _: Any) -> Any:
        raise RefusedName("it names objects outside of itself: not read")
