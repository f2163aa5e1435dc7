"""A gallery: one folder of Parquet shards and JSON manifests that holds what is searched.

    manifests/00000042.json   a version of the gallery; the highest number is the gallery
    images/<random>.parquet   shards, a row an image          captions/<random>.parquet   shards, a row a caption
    deletes/<random>.parquet  row ids no longer live            skipped/<random>.parquet    inputs not embedded, and why
    index/<random>/           a FAISS index and the record of what it covers
    scores/<random>/          what makes the scores of a table comparable
    lock                      advisory: says who writes

No file is ever replaced. `Gallery` reads one version, `open_writer` makes the next, and what is out of use is removed
by `remove_unused`.
"""

from mmsearch.gallery.additions import (
    commit_index,
    commit_scores,
    drop_index_folder,
    has_kept_rows,
    new_index_folder,
)
from mmsearch.gallery.compacting import RemovedFiles, remove_unused, rewrite_wasteful
from mmsearch.gallery.file_spans import FileSpans, Frames, read_file_spans, rows_of_file
from mmsearch.gallery.gallery_in_use import gallery_in_use, use_gallery, use_no_gallery
from mmsearch.gallery.gallery_paths import GALLERY_NAME, find_gallery, gallery_to_write
from mmsearch.gallery.gallery_reader import CaptionOf, FileRows, Gallery, read_consistently
from mmsearch.gallery.gallery_writer import GalleryWriter, open_writer, write_rows
from mmsearch.gallery.in_memory import InMemoryGallery
from mmsearch.gallery.sampling import sample_rows
from mmsearch.gallery.updating import update_rows

__all__ = [
    "GALLERY_NAME",
    "CaptionOf",
    "FileRows",
    "FileSpans",
    "Frames",
    "Gallery",
    "GalleryWriter",
    "InMemoryGallery",
    "RemovedFiles",
    "read_consistently",
    "read_file_spans",
    "rows_of_file",
    "find_gallery",
    "gallery_in_use",
    "open_writer",
    "gallery_to_write",
    "remove_unused",
    "rewrite_wasteful",
    "sample_rows",
    "update_rows",
    "use_gallery",
    "use_no_gallery",
    "write_rows",
    "commit_index",
    "commit_scores",
    "drop_index_folder",
    "has_kept_rows",
    "new_index_folder",
]
