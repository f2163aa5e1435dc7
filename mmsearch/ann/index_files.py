"""An index on disk: written durably, checked when it is opened, mapped rather than read."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from mmsearch.ann.parts import faiss_reason, load_faiss, parts_of, structure_of
from mmsearch.ann.records import FORMAT_VERSION, Effort, FileRecord, IndexRecord, MeasuredRecall, TriedEffort
from mmsearch.ann.searching import AnnIndex
from mmsearch.ann.vectors import map_vectors
from mmsearch.errors import AnnIndexError, StoreError
from mmsearch.versions import IndexEntry
from mmsearch.whole_files import make_durable

__all__ = ["find_damaged_file", "open_index", "read_record", "save", "save_record", "share_files"]

_CODES_FILE, _IDS_FILE, _RECORD_FILE = "index.faiss", "row_ids.npy", "record.json"


def save(ann: AnnIndex, folder: Path, vectors: FileRecord) -> IndexRecord:
    """Write an index into a folder that holds its vectors already, and make it durable; returns the finished record."""
    faiss = load_faiss()

    with _raise_store_errors(folder):
        faiss.write_index(ann.faiss_index, str(folder / _CODES_FILE))
        np.save(folder / _IDS_FILE, ann.row_ids, allow_pickle=False)
        files = tuple(_file_record(folder / name) for name in (_CODES_FILE, _IDS_FILE))
        for file in files:
            make_durable(folder / file.name)
    record = replace(ann.record, files=(*files, vectors))
    save_record(record, folder)
    return record


def save_record(record: IndexRecord, folder: Path) -> None:
    """Write (again, while no manifest names the folder) what is known of the index in it. Raises StoreError."""
    with _raise_store_errors(folder):
        document = {"format_version": FORMAT_VERSION, **asdict(record)}
        (folder / _RECORD_FILE).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        make_durable(folder / _RECORD_FILE)
        make_durable(folder)


def share_files(record: IndexRecord, source: Path, folder: Path, name: str) -> IndexRecord:
    """Put the files of an index into another folder too, by hard links where the file system has them."""
    with _raise_store_errors(folder):
        for file in record.files:
            try:
                os.link(source / file.name, folder / file.name)
            except FileExistsError:
                raise
            except OSError:
                shutil.copyfile(source / file.name, folder / file.name)
                make_durable(folder / file.name)
    shared = replace(record, name=name)
    save_record(shared, folder)
    return shared


def find_damaged_file(record: IndexRecord, folder: Path) -> str | None:
    """The first file of an index whose bytes are not those that were written; None where all are. Reads everything."""
    for file in record.files:
        try:
            if _file_record(folder / file.name) != file:
                return file.name
        except OSError:
            return file.name
    return None


def read_record(folder: Path) -> IndexRecord:
    """The record of an index folder. Raises AnnIndexError where it is missing or of another format."""
    try:
        document = json.loads((folder / _RECORD_FILE).read_text("utf-8"))
        version = document.pop("format_version")
        if version != FORMAT_VERSION:
            raise _unusable(folder, f"has format version {version}, this mmsearch reads {FORMAT_VERSION}")
        return IndexRecord(
            **{
                **document,
                "effort": Effort(**document["effort"]),
                "tried": tuple(
                    TriedEffort(**{**entry, "effort": Effort(**entry["effort"])}) for entry in document["tried"]
                ),
                "recall": tuple(MeasuredRecall(**entry) for entry in document["recall"]),
                "files": tuple(FileRecord(**entry) for entry in document["files"]),
            }
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unusable(folder, f"has no readable record ({error})") from error


def open_index(folder: Path, *, fingerprint: str, dim: int, entry: IndexEntry, writable: bool = False) -> AnnIndex:
    """The index in a folder, mapped; with `writable` its codes are read into memory, so that rows can be added.

    Raises AnnIndexError unless it is what the gallery's manifest says (entry), made of vectors of this encoder
    (fingerprint, dim), and whole: every file of its size, and the row ids, by which hits are named, to the last bit.
    """
    faiss = load_faiss()

    record = read_record(folder)
    expected = (entry.name, entry.table, entry.factory, entry.rows, fingerprint, dim)
    recorded = (record.name, record.table, record.factory, record.rows, record.fingerprint, record.dim)
    names = ("name", "table", "factory", "rows", "encoder", "dim")
    for field, wanted, got in zip(names, expected, recorded, strict=True):
        if wanted != got:
            raise _unusable(folder, f"is not the one that the gallery names ({field} {got!r} instead of {wanted!r})")
    try:
        for file in record.files:
            size = (folder / file.name).stat().st_size
            if size != file.bytes:
                raise _unusable(folder, f"is damaged: {file.name} has {size:,} bytes instead of {file.bytes:,}")
            if file.name == _IDS_FILE and _file_record(folder / file.name) != file:
                raise _unusable(folder, f"is damaged: {file.name} is not as it was written")
        row_ids = np.load(folder / _IDS_FILE, mmap_mode="r", allow_pickle=False)
        vectors = map_vectors(folder)
        path = folder / _CODES_FILE
        # IO_FLAG_MMAP maps inverted lists only; IO_FLAG_MMAP_IFC also flat codes and graphs.
        with _one_faiss_thread():
            index = faiss.read_index(str(path), 0 if writable else faiss.IO_FLAG_MMAP_IFC)
    except (OSError, ValueError, RuntimeError) as error:
        raise _unusable(folder, f"cannot be read ({faiss_reason(error)})") from error
    shapes = (row_ids.shape, vectors.shape, index.ntotal, index.d)
    if shapes != ((record.rows,), (record.rows, dim), record.rows, dim) or row_ids.dtype != np.int64:
        raise _unusable(folder, f"is damaged: its files do not hold {record.rows:,} rows of dim {dim}")
    if not any(structure_of(part) in ("ivf", "hnsw") for part in parts_of(index)):
        _read_through(path)
    return AnnIndex(index, row_ids, record, vectors)


@contextmanager
def _one_faiss_thread() -> Iterator[None]:
    """Let this thread do alone what FAISS shares among threads: they wait for each other without giving up their
    processors, and where others kept these busy it took them three times as long to read an index."""
    faiss = load_faiss()
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


@contextmanager
def _raise_store_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:  # FAISS raises RuntimeError where a write fails
        reason = "the disk is full" if "No space left" in str(error) else faiss_reason(error)
        raise StoreError(f"cannot write the index {folder}: {reason}. The gallery is as it was.") from error


def _unusable(folder: Path, problem: str) -> AnnIndexError:
    return AnnIndexError(f"the index {folder} {problem}. Build it again: mmsearch index")


def _file_record(path: Path) -> FileRecord:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
    return FileRecord(path.name, path.stat().st_size, digest.hexdigest())


def _read_through(path: Path) -> None:
    """Bring a file into the page cache by reading it in order."""
    buffer = bytearray(1 << 22)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
