"""FAISS's own kinds of index: what they are made of, and how each is told what to leave out.

FAISS is imported on first use. Its thread settings are left alone.
"""

import functools
import re
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mmsearch.ann.records import Effort
from mmsearch.errors import AnnIndexError

__all__ = [
    "select_all_but",
    "select_only",
    "faiss_reason",
    "structure_of",
    "load_faiss",
    "parts_of",
    "search_parameters",
    "takes_selector",
    "transforms_of",
    "unwrap_index",
]


# Before, indexes of 4-bit codes were searched wrongly: recall .33 where .97 is meant.
_RIGHT_SINCE = (1, 14, 2)


@functools.cache
def load_faiss() -> Any:
    """FAISS, imported on first use. As Any: its type stubs leave out what its Python layer adds.

    Raises AnnIndexError for a version whose answers are wrong.
    """
    import faiss

    if tuple(map(int, re.findall(r"\d+", faiss.__version__)[:3])) < _RIGHT_SINCE:
        raise AnnIndexError(
            f"faiss-cpu {faiss.__version__} finds the wrong rows in indexes of the default kind, without an error: "
            f"pip install 'faiss-cpu>={'.'.join(map(str, _RIGHT_SINCE))}'"
        )
    return faiss


def faiss_reason(error: BaseException) -> str:
    """The last part of a FAISS message, without C++ signature and source line."""
    return re.sub(r"^.* at \S+:\d+: (Error: )?", "", str(error), flags=re.DOTALL).strip()


def parts_of(index: Any) -> Iterator[Any]:
    """The index and all that it is made of, each as its own class. They live as long as `index`."""
    part = load_faiss().downcast_index(index)
    yield part
    for name in ("index", "base_index", "refine_index", "quantizer", "storage"):
        if (inner := getattr(part, name, None)) is not None:
            yield from parts_of(inner)


def structure_of(part: Any) -> Literal["transform", "refine", "ivf", "hnsw", "scan"]:
    faiss = load_faiss()

    if isinstance(part, faiss.IndexPreTransform):
        return "transform"
    if isinstance(part, faiss.IndexRefine):
        return "refine"
    if isinstance(part, faiss.IndexIVF):
        return "ivf"
    if isinstance(part, faiss.IndexHNSW):
        return "hnsw"
    return "scan"


def transforms_of(part: Any) -> list[Any]:
    return [load_faiss().downcast_VectorTransform(part.chain.at(position)) for position in range(part.chain.size())]


_SELECTIVE = {
    *("IndexFlat", "IndexFlatIP", "IndexScalarQuantizer", "IndexRaBitQ", "IndexHNSWFlat", "IndexHNSWSQ"),
    *("IndexIVFFlat", "IndexIVFScalarQuantizer", "IndexIVFPQ", "IndexIVFPQFastScan"),
    *("IndexIVFRaBitQ", "IndexIVFRaBitQFastScan"),
}
"""Classes tried with an IDSelector in FAISS 1.15. Others (PQ, RQ, LSQ, NSG, FastScan without IVF) refuse one."""


def takes_selector(index: Any) -> bool:
    part = load_faiss().downcast_index(index)
    structure = structure_of(part)
    if structure in ("transform", "refine"):
        return takes_selector(part.index if structure == "transform" else part.base_index)
    return type(part).__name__ in _SELECTIVE


def select_all_but(positions: NDArray[np.int64], rows: int) -> Any:
    """An IDSelector of all rows but these: a bit a row, so its cost does not grow with the number of dead."""
    faiss = load_faiss()

    bits = np.full((rows + 7) // 8, 0xFF, np.uint8)
    np.bitwise_and.at(bits, positions >> 3, ~(np.uint8(1) << (positions & 7).astype(np.uint8)))
    return faiss.IDSelectorBitmap(bits)


def select_only(positions: NDArray[np.int64], rows: int) -> Any:
    """An IDSelector of these rows alone."""
    is_selected = np.zeros(rows, np.bool_)
    is_selected[positions] = True
    return load_faiss().IDSelectorBitmap(np.packbits(is_selected, bitorder="little"))


def search_parameters(index: Any, selector: Any, effort: Effort, k: int) -> Any:
    """SearchParameters for an index and what it wraps, or None where it takes none or needs none."""
    faiss = load_faiss()

    part = faiss.downcast_index(index)
    selection = {} if selector is None else {"sel": selector}
    structure = structure_of(part)
    if structure == "transform":
        inner = search_parameters(part.index, selector, effort, k)
        return inner and faiss.SearchParametersPreTransform(index_params=inner)
    if structure == "refine":
        factor = effort.k_factor or 1  # FAISS multiplies k by it
        inner = search_parameters(part.base_index, selector, effort, k * factor)
        return faiss.IndexRefineSearchParameters(k_factor=factor, **({"base_index_params": inner} if inner else {}))
    if structure == "ivf":
        return faiss.IVFSearchParameters(nprobe=min(effort.nprobe or 1, part.nlist), **selection)
    if structure == "hnsw":
        return faiss.SearchParametersHNSW(efSearch=max(effort.ef_search or 16, k), **selection)
    return faiss.SearchParameters(**selection) if selection else None


def unwrap_index(index: Any, queries: NDArray[np.float32]) -> tuple[Any, NDArray[np.float32]]:
    """The innermost index that holds a code of every row, and the queries as it sees them."""
    faiss = load_faiss()

    part = faiss.downcast_index(index)
    structure = structure_of(part)
    if structure == "transform":
        for transform in transforms_of(part):
            queries = transform.apply(queries)
        return unwrap_index(part.index, queries)
    if structure == "refine":
        return unwrap_index(part.refine_index, queries)
    return (faiss.downcast_index(part.storage), queries) if structure == "hnsw" else (part, queries)
