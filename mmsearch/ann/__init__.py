"""FAISS indexes: built, saved with a record of what they are, opened by memory map, searched without dead rows.

An index is a folder:

    index.faiss    the FAISS index; ids are positions 0 … n-1
    row_ids.npy    (n,) int64: position -> row id
    vectors.npy    (n, dim), as the gallery stores them: what the codes find is scored again with these
    record.json    what it is, how it is searched, what recall that was measured at

`index.faiss` is mapped, not read: opening costs a millisecond and processes share the memory. With two exceptions:
FAISS always copies FastScan codes; and an index whose search reads every code is first read through, because cold
page faults in file order take several times as long as reading.

FAISS is imported on first use. Its thread settings are left alone.
"""

from mmsearch.ann.building import build, count_lists, grow, held_bytes_per_row, row_bytes, training_rows_needed
from mmsearch.ann.index_files import find_damaged_file, open_index, read_record, save, save_record, share_files
from mmsearch.ann.probing import CodeCosts, code_costs, unbuilt
from mmsearch.ann.records import Effort, FileRecord, IndexRecord, MeasuredRecall, QueryKind, TriedEffort
from mmsearch.ann.searching import AnnIndex
from mmsearch.ann.selections import RowSelection
from mmsearch.ann.vectors import VectorFile, stored_blocks

__all__ = [
    "AnnIndex",
    "CodeCosts",
    "Effort",
    "FileRecord",
    "IndexRecord",
    "MeasuredRecall",
    "QueryKind",
    "RowSelection",
    "TriedEffort",
    "VectorFile",
    "build",
    "code_costs",
    "find_damaged_file",
    "grow",
    "held_bytes_per_row",
    "count_lists",
    "open_index",
    "read_record",
    "row_bytes",
    "save",
    "save_record",
    "share_files",
    "stored_blocks",
    "training_rows_needed",
    "unbuilt",
]
