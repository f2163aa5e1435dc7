"""Where a gallery's files live, and the operations that its crash safety rests on.

A file is written once under a name of its own, is durable when it can be seen, and never changes. A version is
committed by creating a name that must not exist yet. Everything else (resume, racing writers, consistent readers)
follows from these two.
"""

from mmsearch.stores.files import (
    MOST_TEXT_BYTES,
    FileState,
    absence,
    exists,
    file_state,
    is_folder,
    list_folder,
    local_copy,
    open_file,
    read_bytes,
    read_lines,
    read_whole,
    real,
    require_file,
    special_file,
    unpacked,
    utf8_name,
    without_gz,
)
from mmsearch.stores.folder_locks import fill_folder, list_unfinished
from mmsearch.stores.local import LocalStore
from mmsearch.stores.store import ReadableFile, Store, open_store
from mmsearch.stores.store_entries import FolderEntry, NameTaken, ObjectListing, StoredObject

__all__ = [
    "MOST_TEXT_BYTES",
    "FolderEntry",
    "FileState",
    "StoredObject",
    "ObjectListing",
    "LocalStore",
    "NameTaken",
    "ReadableFile",
    "Store",
    "absence",
    "exists",
    "fill_folder",
    "file_state",
    "is_folder",
    "list_folder",
    "list_unfinished",
    "local_copy",
    "open_file",
    "open_store",
    "read_bytes",
    "read_lines",
    "read_whole",
    "real",
    "special_file",
    "require_file",
    "unpacked",
    "utf8_name",
    "without_gz",
]
