"""An index on disk: written durably, checked when it is opened, mapped rather than read."""

import hashlib
import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from mmsearch.ann.parts import faiss_reason, kind_of, load_faiss, parts_of
from mmsearch.ann.records import FORMAT_VERSION, Effort, FileRecord, IndexRecord, MeasuredRecall
from mmsearch.ann.searching import AnnIndex
from mmsearch.errors import AnnIndexError, StoreError
from mmsearch.records import IndexEntry

__all__ = ["open_index", "read_record", "save"]


def save(ann: AnnIndex, folder: Path) -> AnnIndex:
    """Write an index into an existing, empty folder and make it durable; the result's record names the files."""
    faiss = load_faiss()

    try:
        faiss.write_index(ann.faiss_index, str(folder / "index.faiss"))
        np.save(folder / "row_ids.npy", ann.row_ids, allow_pickle=False)
        files = tuple(_file_record(folder / name) for name in ("index.faiss", "row_ids.npy"))
        record = replace(ann.record, files=files)
        document = {"format_version": FORMAT_VERSION, **asdict(record)}
        (folder / "record.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        for path in (*(folder / file.name for file in files), folder / "record.json", folder):
            _fsync(path)
    except (OSError, RuntimeError) as error:  # FAISS raises RuntimeError where a write fails
        reason = "the disk is full" if "No space left" in str(error) else faiss_reason(error)
        raise StoreError(f"cannot write the index {folder}: {reason}. The gallery is as it was.") from error
    return AnnIndex(ann.faiss_index, ann.row_ids, record)


def read_record(folder: Path) -> IndexRecord:
    """The record of an index folder. Raises AnnIndexError where it is missing or of another format."""
    try:
        document = json.loads((folder / "record.json").read_text("utf-8"))
        version = document.pop("format_version")
        if version != FORMAT_VERSION:
            raise _unusable(folder, f"has format version {version}, this mmsearch reads {FORMAT_VERSION}")
        return IndexRecord(
            **{
                **document,
                "effort": Effort(**document["effort"]),
                "recall": tuple(MeasuredRecall(**entry) for entry in document["recall"]),
                "files": tuple(FileRecord(**entry) for entry in document["files"]),
            }
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unusable(folder, f"has no readable record ({error})") from error


def open_index(folder: Path, *, fingerprint: str, dim: int, entry: IndexEntry) -> AnnIndex:
    """The index in a folder, mapped.

    Raises AnnIndexError unless it is what the gallery's manifest says (entry), made of vectors of this encoder
    (fingerprint, dim), and whole by the sizes of its files.
    """
    faiss = load_faiss()

    record = read_record(folder)
    expected = (entry.table, entry.factory, entry.rows, fingerprint, dim)
    found = (record.table, record.factory, record.rows, record.fingerprint, record.dim)
    for what, want, have in zip(("table", "factory", "rows", "encoder", "dim"), expected, found, strict=True):
        if want != have:
            raise _unusable(folder, f"is not the one that the gallery names ({what} {have!r} instead of {want!r})")
    try:
        for file in record.files:
            size = (folder / file.name).stat().st_size
            if size != file.bytes:
                raise _unusable(folder, f"is damaged: {file.name} has {size:,} bytes instead of {file.bytes:,}")
        row_ids = np.load(folder / "row_ids.npy", mmap_mode="r", allow_pickle=False)
        path = folder / "index.faiss"
        # IO_FLAG_MMAP maps inverted lists only; IO_FLAG_MMAP_IFC also flat codes and graphs.
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except (OSError, ValueError, RuntimeError) as error:
        raise _unusable(folder, f"cannot be read ({faiss_reason(error)})") from error
    if row_ids.shape != (record.rows,) or row_ids.dtype != np.int64 or index.ntotal != record.rows or index.d != dim:
        raise _unusable(folder, f"is damaged: its files do not hold {record.rows:,} rows of dim {dim}")
    if not any(kind_of(part) in ("ivf", "hnsw") for part in parts_of(index)):
        _read_through(path)
    return AnnIndex(index, row_ids, record)


def _unusable(folder: Path, what: str) -> AnnIndexError:
    return AnnIndexError(f"the index {folder} {what}. Build it again: mmsearch index")


def _file_record(path: Path) -> FileRecord:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
    return FileRecord(path.name, path.stat().st_size, digest.hexdigest())


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read_through(path: Path) -> None:
    """Bring a file into the page cache by reading it in order."""
    buffer = bytearray(1 << 22)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
