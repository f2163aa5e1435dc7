"""Lance as the engine that serves: the table made from a gallery gives the hits that mmsearch gives."""

from pathlib import Path

import numpy as np
import pytest

import mmsearch
from mmsearch.embedding import embed
from mmsearch.gallery import Gallery
from mmsearch.search.retrieval import EXACT
from tests.fakes import COLOURS, FakeEncoder, write_picture


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for place in range(600):
        write_picture(tmp_path / "photos" / f"{place:03d}.png", list(COLOURS)[place % 6], seed=place)
    embed([tmp_path / "photos"], gallery=tmp_path / "g", encoder=FakeEncoder())
    for place in range(0, 600, 10):
        (tmp_path / "photos" / f"{place:03d}.png").unlink()
    embed([tmp_path / "photos"], gallery=tmp_path / "g", encoder=FakeEncoder())
    return tmp_path


def assert_same_hits(folder: Path, k: int = 25) -> None:
    import lancedb

    from scripts.lance_table import ask

    ours = mmsearch.open_gallery(folder / "g", encoder=FakeEncoder())
    table = lancedb.connect(folder / "lance").open_table("images")
    for text in ("red", "a blue thing", "two dogs"):
        theirs = ask(table, FakeEncoder().encode_texts([text]).vectors[0], k)
        hits = ours.query(text, k=k, options=EXACT)
        scores = [1 - row["_distance"] for row in theirs]
        np.testing.assert_allclose(scores, [hit.score for hit in hits], atol=1e-3)
        sure = [hit.row_id for hit in hits if hit.score > hits[-1].score + 1e-3]  # rounding may swap the last ones
        assert set(sure) <= {row["row_id"] for row in theirs}


def test_it_gives_the_same_hits_and_follows_a_sync(folder: Path) -> None:
    """Rows that were deleted are not in it, nor are those that a sync deletes or replaces later."""
    # Imported here: it takes seconds, which every other worker would wait as well.
    import lancedb

    from scripts.lance_table import Copied, copy

    assert copy(Gallery.open(folder / "g"), folder / "lance") == Copied(540, 540, 0)
    assert_same_hits(folder)
    for place in range(1, 600, 20):
        (folder / "photos" / f"{place:03d}.png").unlink()
    for place in range(700, 710):
        write_picture(folder / "photos" / f"{place}.png", "red", seed=place)
    embed([folder / "photos"], gallery=folder / "g", encoder=FakeEncoder())
    assert copy(Gallery.open(folder / "g"), folder / "lance") == Copied(520, 10, 30)
    assert_same_hits(folder)
    rows = lancedb.connect(folder / "lance").open_table("images").to_arrow()
    gallery = Gallery.open(folder / "g")
    assert rows.schema.field("embedding").type.value_type == gallery.schema("images").field("embedding").type.value_type
    ids = rows.column("row_id").to_numpy()
    stored = np.array(rows.column("embedding").to_pylist(), np.float16)
    assert np.array_equal(stored, gallery.vectors("images", ids))
    assert copy(gallery, folder / "lance") == Copied(520, 0, 0)
