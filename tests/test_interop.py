"""Other tools read an export, and the shards as they are, with one line each; the guide to the format shows these
lines."""

import re
from pathlib import Path

import numpy as np
import pytest

from mmsearch.embedding import embed
from mmsearch.gallery import Gallery
from mmsearch.guides import read_guide
from mmsearch.upkeep.exporting import export
from tests.fakes import FakeEncoder


@pytest.fixture
def files(photos: Path, fake: FakeEncoder) -> list[str]:
    """An export and a shard that a manifest names."""
    embed([photos], gallery=photos.parent / "g", encoder=fake)
    report = export(photos.parent / "rows.parquet", gallery=photos.parent / "g")
    assert report.rows == 12
    gallery = Gallery.open(photos.parent / "g")
    return [str(report.file), str(gallery.shard_path("images", gallery.shards("images")[0]))]


@pytest.fixture
def expected(files: list[str], photos: Path) -> dict[str, np.ndarray]:
    gallery = Gallery.open(photos.parent / "g")
    return {name: gallery.vectors("images", np.array([row]))[0] for row, _, name in gallery.image_names()}


def check(paths: list[str], vectors: list[object], expected: dict[str, np.ndarray]) -> None:
    assert sorted(paths) == sorted(expected)
    for path, vector in zip(paths, vectors, strict=True):
        assert np.array_equal(np.asarray(vector, np.float16), expected[path])


def test_pyarrow(files: list[str], expected: dict[str, np.ndarray]) -> None:
    import pyarrow.parquet as pq

    for file in files:
        table = pq.read_table(file)
        check(table["path"].to_pylist(), table["embedding"].to_pylist(), expected)


def test_pandas(files: list[str], expected: dict[str, np.ndarray]) -> None:
    import pandas

    for file in files:
        frame = pandas.read_parquet(file)
        check(list(frame["path"]), list(frame["embedding"]), expected)


def test_polars(files: list[str], expected: dict[str, np.ndarray]) -> None:
    import polars

    for file in files:
        frame = polars.read_parquet(file)
        check(frame["path"].to_list(), frame["embedding"].to_list(), expected)


def test_duckdb(files: list[str], expected: dict[str, np.ndarray]) -> None:
    import duckdb

    for file in files:
        rows = duckdb.execute(f"SELECT path, embedding FROM '{file}'").fetchall()
        check([path for path, _ in rows], [vector for _, vector in rows], expected)


def test_huggingface_datasets(files: list[str], expected: dict[str, np.ndarray], tmp_path: Path) -> None:
    import datasets

    for number, file in enumerate(files):
        rows = datasets.Dataset.from_parquet(file, cache_dir=str(tmp_path / f"cache{number}"))
        check(list(rows["path"]), list(rows["embedding"]), expected)


def test_lancedb(files: list[str], expected: dict[str, np.ndarray], tmp_path: Path) -> None:
    import lancedb
    import pyarrow.parquet as pq
    from lancedb.query import LanceVectorQueryBuilder

    for number, file in enumerate(files):
        table = lancedb.connect(tmp_path / f"db{number}").create_table("images", pq.read_table(file))
        rows = table.to_arrow()
        check(rows["path"].to_pylist(), rows["embedding"].to_pylist(), expected)
        name, vector = next(iter(expected.items()))
        nearest = table.search(vector.astype(np.float32), vector_column_name="embedding")
        assert isinstance(nearest, LanceVectorQueryBuilder)
        assert nearest.metric("cosine").limit(1).to_list()[0]["path"] == name


def test_the_lines_that_the_guide_shows(files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets
    import duckdb
    import lancedb
    import pandas
    import polars
    import pyarrow.parquet

    readers = {"datasets": datasets, "duckdb": duckdb, "lancedb": lancedb, "pandas": pandas, "polars": polars}
    (lines,) = re.findall(r"```python\n(.+?)```", read_guide("format").text, flags=re.DOTALL)
    monkeypatch.chdir(Path(files[0]).parent)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    rows = [len(eval(line, {**readers, "pyarrow": pyarrow})) for line in lines.splitlines()]
    assert rows == [12] * 5
