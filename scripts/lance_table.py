"""A Lance table made from a gallery, and whether it gives the same hits: an engine that serves what mmsearch embedded.

    python scripts/lance_table.py GALLERY TABLE [--query "a red lighthouse"] [-k 10] [--index]

The live rows go over as they are, some row groups at a time: every column, vectors in float16, `row_id` as the key, no
row that was deleted. Run it again after a sync: rows that came are added, rows that went are deleted. Without --index
Lance compares everything, and the hits are those of mmsearch; with it, it builds its own IVF_PQ. The text is encoded by
the gallery's own model, which whoever serves needs as well. Wants `pip install lancedb`.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
from lancedb.index import IvfPq

import mmsearch
from mmsearch import encoders
from mmsearch.gallery import Gallery
from mmsearch.search.retrieval import EXACT

TABLE = "images"
AT_ONCE = 10_000  # rows


@dataclass(frozen=True)
class Copied:
    """What a copy changed. rows: in the table now."""

    rows: int
    added: int
    deleted: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gallery", type=Path)
    parser.add_argument("table", type=Path, help="the folder of the Lance database")
    parser.add_argument("--query", action="append", default=[], help="ask both; repeatable")
    parser.add_argument("-k", type=int, default=10)
    parser.add_argument("--index", action="store_true", help="have Lance build its IVF_PQ")
    options = parser.parse_args()
    gallery = Gallery.open(options.gallery)
    copied = copy(gallery, options.table)
    print(f"{options.table}: {copied.rows:,} rows, {copied.added:,} added, {copied.deleted:,} deleted")
    table = lancedb.connect(options.table).open_table(TABLE)
    if options.index:
        table.create_index("embedding", config=IvfPq(distance_type="cosine"))
    ours = mmsearch.open_gallery(options.gallery)
    encoder = encoders.open(gallery.manifest.encoder.spec, device="cpu") if options.query else None
    for text in options.query:
        assert encoder is not None
        theirs = ask(table, encoder.text.encode([text]).vectors[0], options.k)
        hits = ours.query(text, k=options.k, options=EXACT)
        same = len({hit.row_id for hit in hits} & {row["row_id"] for row in theirs})
        print(f"\n{text}: {same} of {len(hits)} hits are the same")
        for hit, row in zip(hits, theirs, strict=True):
            print(f"  {hit.rank:3}  {hit.score:.4f} {hit.path:40}  {1 - row['_distance']:.4f} {row['path']}")


def copy(gallery: Gallery, folder: Path) -> Copied:
    """Make the table hold the live images of a gallery: all of them, or what changed since it was made."""
    database = lancedb.connect(folder)
    columns = gallery.schema("images")
    try:
        table = database.open_table(TABLE)
    except (ValueError, FileNotFoundError):  # there is none yet
        table = database.create_table(TABLE, data=_batches(gallery, columns), schema=columns)
        return Copied(table.count_rows(), table.count_rows(), 0)
    held = np.sort(table.search().select(["row_id"]).to_arrow().column("row_id").to_numpy())
    live = np.sort(
        np.concatenate([np.empty(0, np.int64), *(block.row_ids for block in gallery.vector_blocks("images"))])
    )
    new, gone = np.setdiff1d(live, held), np.setdiff1d(held, live)
    for start in range(0, len(gone), AT_ONCE):
        table.delete(f"row_id in ({', '.join(map(str, gone[start : start + AT_ONCE].tolist()))})")
    for start in range(0, len(new), AT_ONCE):
        table.add(gallery.rows("images", new[start : start + AT_ONCE], columns.names).cast(columns))
    return Copied(table.count_rows(), len(new), len(gone))


def _batches(gallery: Gallery, columns: pa.Schema) -> Iterator[pa.RecordBatch]:
    for rows in gallery.scan("images", columns.names):
        yield from rows.cast(columns).to_batches()


def ask(table: Any, vector: Any, k: int) -> list[dict[str, Any]]:
    """The k rows that are nearest to a vector (dim,), nearest first; `_distance` is 1 - cosine."""
    search = table.search(vector.astype(np.float32), vector_column_name="embedding").distance_type("cosine")
    found: list[dict[str, Any]] = search.nprobes(50).refine_factor(10).limit(k).to_list()
    return found


if __name__ == "__main__":
    main()
