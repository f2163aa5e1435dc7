"""Kinds of items are data: what is particular to one stands in one file, and everything else asks the registry."""

import ast
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmsearch import items
from mmsearch.errors import MmsearchError
from mmsearch.gallery import tables

PACKAGE = Path(items.__file__).parents[1]
OLD = Path(__file__).parent / "old_gallery" / "gallery"
OTHER_WORDS = {
    "benchmarks/json_files.py": "keys of annotations as COCO and Karpathy write them",
    "sources/caption_tables.py": "what columns of tables of captions are called",
    "cli/figures.py": "the heading of a column of counts",
    "evaluation/given_vectors.py": "what a sentence counts",
    "metrics/health.py": "the two sides of an embedding space, as its figures name them",
    "reports/plots.py": "the legend of a chart",
}
"""Where a word that is also the name of a kind means something else."""


def names_spelled(file: Path) -> list[int]:
    """The lines of a file in which a string is the name of a kind."""
    names = {kind.name for kind in items.kinds()}
    return [
        node.lineno
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Constant) and node.value in names
    ]


def test_no_other_code_spells_the_name_of_a_kind() -> None:
    found = {
        str(file.relative_to(PACKAGE)): lines
        for file in PACKAGE.rglob("*.py")
        if file.parent != PACKAGE / "items" and (lines := names_spelled(file))
    }
    assert found.keys() == OTHER_WORDS.keys(), found


def test_each_kind_stands_in_one_file() -> None:
    for kind in items.kinds():
        spelling = [file.name for file in (PACKAGE / "items").glob("*.py") if kind.name in _constants(file)]
        assert spelling == [f"{kind.name}.py"]


def _constants(file: Path) -> set[object]:
    return {node.value for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.Constant)}


@pytest.mark.parametrize("table", items.table_names())
def test_columns_are_those_of_the_first_release_and_nullable_ones(table: str) -> None:
    """A gallery of format version 1 has all columns that are not nullable, in the types that they have today."""
    (file,) = (OLD / table).glob("*.parquet")
    old = pq.read_schema(file)
    new = tables.schema(table, 256, "float16")
    assert [new.field(column.name) for column in old] == list(old)
    assert all(column.nullable for column in new if column.name not in old.names)


def test_numbers_of_parts_are_columns_of_images() -> None:
    schema = tables.schema(items.IMAGES.name, 4, "float32")
    assert schema.field("start_s").type == schema.field("end_s").type == pa.float64()
    assert schema.field("page").type == pa.int32()
    assert schema.field("box").type == pa.list_(pa.field("element", pa.float32()), 4)


def test_an_unknown_kind_is_named_with_those_that_there_are() -> None:
    with pytest.raises(MmsearchError, match="no kind of item 'sounds'; there are images, captions"):
        items.kind("sounds")


@pytest.mark.parametrize("taken", ["images", "skipped", "deletes", "scores"])
def test_a_name_that_is_taken_is_refused(taken: str) -> None:
    kind = items.Kind(taken, items.CaptionRow, "text", "note", "mmsearch embed NOTES", ("path",))
    with pytest.raises(ValueError, match=f"'{taken}'"):
        items.register(kind)
    assert items.kind("images") is items.IMAGES
