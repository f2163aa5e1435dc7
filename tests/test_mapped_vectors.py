"""Vectors are mapped where they stand in a shard, and read by Arrow wherever a file is not exactly as expected."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from mmsearch.errors import GalleryError
from mmsearch.gallery import Gallery, open_writer, tables
from mmsearch.gallery.mapped_vectors import map_vectors
from mmsearch.identity import EncoderIdentity
from mmsearch.items import ImageRow
from tests.vectors import random_unit_vectors


def shard_file(folder: Path, vectors: NDArray[Any], **layout: Any) -> Path:
    """A file as shards are written, but for what `layout` says."""
    dtype = str(vectors.dtype)
    column = tables.embedding_column(vectors, dtype)
    fields = [pa.field("row_id", pa.int64(), nullable=False), pa.field("embedding", column.type, nullable=False)]
    rows = pa.table([pa.array(range(len(vectors)), pa.int64()), column], pa.schema(fields))
    path = folder / "shard.parquet"
    with pq.ParquetWriter(path, rows.schema, **(tables._layout(rows.schema) | layout)) as writer:
        writer.write_table(rows, row_group_size=1_000)
    return path


def mapped(path: Path, dim: int, dtype: str) -> NDArray[Any] | None:
    with pq.ParquetFile(path) as file:
        pieces = map_vectors(path, file, dim, dtype)
    return None if pieces is None else np.concatenate(pieces)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("dim", [1, 7, 8, 100, 512, 1152])
def test_vectors_are_mapped_bit_for_bit(tmp_path: Path, dim: int, dtype: str) -> None:
    vectors = np.random.default_rng(dim).normal(size=(2_345, dim)).astype(dtype)
    found = mapped(shard_file(tmp_path, vectors), dim, dtype)
    assert found is not None
    assert found.dtype == vectors.dtype
    np.testing.assert_array_equal(found, vectors)


@pytest.mark.parametrize(
    "layout",
    [
        {"compression": "zstd"},
        {"use_dictionary": True},
        {"data_page_version": "2.0"},
        {"use_byte_stream_split": ["embedding"]},
        {"write_page_checksum": True},
        {"write_statistics": True},
    ],
)
def test_another_layout_is_left_to_the_reader_or_mapped_right(tmp_path: Path, layout: dict[str, Any]) -> None:
    vectors = np.random.default_rng(0).normal(size=(1_500, 16)).astype(np.float32)
    found = mapped(shard_file(tmp_path, vectors, **layout), 16, "float32")
    assert found is None or np.array_equal(found, vectors)
    if "compression" in layout or "use_dictionary" in layout or "data_page_version" in layout:
        assert found is None


def test_vectors_of_another_length_or_type_are_left_to_the_reader(tmp_path: Path) -> None:
    path = shard_file(tmp_path, np.zeros((8, 16), np.float16))
    assert mapped(path, 8, "float16") is None
    assert mapped(path, 16, "float32") is None


def gallery_of(folder: Path, vectors: NDArray[np.float32], *, dead: tuple[int, ...] = ()) -> Gallery:
    with open_writer(folder, command="tests") as writer:
        writer.set_encoder(EncoderIdentity("tests", "sha256:0123", vectors.shape[1]))
        names = [f"{number}.jpg" for number in range(len(vectors))]
        writer.append(
            "images", [ImageRow(1, name, None, 1, 1, None, name.encode(), 3, 2, None) for name in names], vectors
        )
        writer.commit()
        if dead:
            writer.delete("images", np.array(dead))
            writer.commit()
    return Gallery.open(folder)


def blocks(gallery: Gallery, **options: Any) -> tuple[NDArray[np.int64], NDArray[Any]]:
    found = [*gallery.vector_blocks("images", **options)]
    return np.concatenate([block.row_ids for block in found]), np.concatenate([block.vectors for block in found])


def test_a_scan_of_vectors_decodes_nothing_and_gives_what_the_reader_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = gallery_of(tmp_path, random_unit_vectors(np.random.default_rng(0), 300, 64), dead=(3, 4, 200))
    read = [*gallery.scan("images", ["embedding"])]
    gallery.dead_row_ids("images")
    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", lambda *_, **__: pytest.fail("vectors are decoded"))
    row_ids, vectors = blocks(gallery)
    assert row_ids.tolist() == [number for number in range(300) if number not in (3, 4, 200)]
    np.testing.assert_array_equal(vectors, np.concatenate([tables.to_matrix(rows["embedding"]) for rows in read]))
    row_ids, _ = blocks(gallery, skip=((0, 290),))
    assert row_ids.tolist() == [*range(290, 300)]


def test_rows_with_gaps_between_their_ids_have_their_own_vectors(tmp_path: Path) -> None:
    vectors = random_unit_vectors(np.random.default_rng(1), 50, 8)
    gallery = gallery_of(tmp_path, vectors)
    rows = pa.concat_tables(gallery.scan("images", gallery.schema("images").names))
    odd = rows.filter(pa.array(number % 2 == 1 for number in range(50)))
    (shard,) = tables.write_shards(gallery.store, "images", odd, None)
    ((row_ids, found),) = tables.scan_vectors(gallery.store, "images", shard, gallery.schema("images"))
    assert row_ids.tolist() == [*range(1, 50, 2)]
    np.testing.assert_array_equal(found, vectors[1::2].astype(np.float16))


@pytest.mark.parametrize("gaps", [False, True])
def test_some_vectors_are_read_alone(tmp_path: Path, gaps: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order asked; and none for an id that the shard does not hold."""
    vectors = random_unit_vectors(np.random.default_rng(3), 5_000, 64)
    gallery = gallery_of(tmp_path, vectors)
    (shard,) = gallery.shards("images")
    stored = vectors.astype(np.float16)
    if gaps:
        rows = pa.concat_tables(gallery.scan("images", gallery.schema("images").names))
        (shard,) = tables.write_shards(gallery.store, "images", rows.filter(pc.not_equal(rows["row_id"], 7)), None)
    else:
        monkeypatch.setattr(pq.ParquetFile, "read_row_groups", lambda *_, **__: pytest.fail("vectors are decoded"))
    asked = np.array([0, 7, 1_023, 1_024, 4_095, 4_096, 4_999, 5_000, 9_000])
    held, found = tables.read_vectors(gallery.store, "images", shard, asked, gallery.schema("images"))
    assert held.tolist() == [row_id for row_id in asked if row_id < 5_000 and not (gaps and row_id == 7)]
    np.testing.assert_array_equal(found, stored[held])
    none, empty = tables.read_vectors(gallery.store, "images", shard, np.array([6_000]), gallery.schema("images"))
    assert (none.shape, empty.shape, str(empty.dtype)) == ((0,), (0, 64), "float16")
    if not gaps:
        order = np.array([4_999, 3, 4_096, 3])
        np.testing.assert_array_equal(gallery.vectors("images", order), stored[order])
        with pytest.raises(GalleryError, match=r"rows \[6000\] of images are in no shard"):
            gallery.vectors("images", np.array([1, 6_000]))
        assert gallery.vectors("images", np.empty(0, np.int64)).shape == (0, 64)
        assert gallery.holds("images", np.array([5, 6_000]), stored[[5, 6]])
        assert not gallery.holds("images", np.array([5]), stored[[6]])


@pytest.mark.parametrize("damaged", range(40))
def test_damage_before_the_numbers_of_a_page_is_never_other_vectors(tmp_path: Path, damaged: int) -> None:
    """The header and the levels: what is not as expected goes to the reader, which knows that it is damaged."""
    vectors = random_unit_vectors(np.random.default_rng(2), 20, 64)
    gallery = gallery_of(tmp_path, vectors)
    (shard,) = gallery.shards("images")
    path = Path(str(gallery.shard_path("images", shard)))
    with pq.ParquetFile(path) as file:
        group = file.metadata.row_group(0)
        start = group.column(group.num_columns - 1).data_page_offset
    content = bytearray(path.read_bytes())
    content[start + damaged] ^= 0xFF
    path.write_bytes(content)
    try:
        _, found = blocks(gallery)
    except GalleryError:
        return
    np.testing.assert_array_equal(found, vectors.astype(np.float16))
