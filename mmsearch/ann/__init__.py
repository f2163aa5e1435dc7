"""FAISS indexes: built, saved with a record of what they are, opened by memory map, searched without dead rows.

An index is a folder:

    index.faiss    the FAISS index; ids are positions 0 … n-1
    row_ids.npy    (n,) int64: position -> row id
    record.json    what it covers, how it is searched, what recall that was measured at

`index.faiss` is mapped, not read: opening costs a millisecond and processes share the memory. With two exceptions:
FAISS always copies FastScan codes; and an index whose search reads every code is first read through, because cold
page faults in file order take several times as long as reading.

FAISS is imported on first use. Its thread settings are left alone.
"""

from mmsearch.ann.building import build, training_rows_needed
from mmsearch.ann.files import open_index, read_record, save
from mmsearch.ann.records import Effort, FileRecord, IndexRecord, MeasuredRecall, QueryKind
from mmsearch.ann.searching import AnnIndex

__all__ = [
    "AnnIndex",
    "Effort",
    "FileRecord",
    "IndexRecord",
    "MeasuredRecall",
    "QueryKind",
    "build",
    "open_index",
    "read_record",
    "save",
    "training_rows_needed",
]
