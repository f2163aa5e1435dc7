"""Changes columns of rows that are there: the same rows, ids and vectors in another file."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa

from mmsearch.gallery import tables
from mmsearch.stores import Store
from mmsearch.versions import Manifest, Shard

__all__ = ["update_rows"]


def update_rows(
    store: Store, manifest: Manifest, table: str, shard: Shard, updates: Mapping[int, Mapping[str, Any]]
) -> Manifest:
    """Write a shard anew with other values. Returns the manifest that names it in the place of the old one.

    Dead rows stay in it. What an index or scores say of rows stays true, since ids and vectors do.
    updates: row id -> column -> value. Raises FileNotFoundError, GalleryError, StoreError.
    """
    expected = tables.schema(table, manifest.encoder.dim, manifest.dtype)
    pieces = [
        _with_updates(rows, updates).cast(expected)
        for rows in tables.scan(store, table, shard, expected.names, expected)
    ]
    written = tables.write_shards(store, table, pa.concat_tables(pieces), shard.provenance)
    shards = [new for old in manifest.shards[table] for new in (written if old == shard else [old])]
    return replace(manifest, shards={**manifest.shards, table: tuple(shards)})


def _with_updates(rows: pa.Table, updates: Mapping[int, Mapping[str, Any]]) -> pa.Table:
    changed = [
        (index, updates[row_id]) for index, row_id in enumerate(tables.row_ids_of(rows).tolist()) if row_id in updates
    ]
    for name in dict.fromkeys(name for _, values in changed for name in values):
        column = rows.schema.get_field_index(name)
        values = rows.column(column).to_pylist()
        for index, new_values in changed:
            if name in new_values:
                values[index] = new_values[name]
        field = rows.schema.field(column)
        rows = rows.set_column(column, field, pa.array(values, type=field.type))
    return rows
