"""What two galleries have to have in common to be called equal."""

from os import PathLike
from typing import Any

import numpy as np

from mmsearch.gallery import Gallery


def contents(folder: str | PathLike[str]) -> dict[tuple[int, str], tuple[dict[str, Any], np.ndarray[Any, Any]]]:
    """(root id, path) -> (metadata, vector) of every live image; fails on duplicates."""
    gallery = Gallery.open(folder)
    found: dict[tuple[int, str], tuple[dict[str, Any], np.ndarray[Any, Any]]] = {}
    row_ids = set()
    for rows in gallery.scan("images", gallery.schema("images").names):
        for row in rows.to_pylist():
            vector = np.array(row.pop("embedding"), np.float64)
            key = (row["root_id"], row["path"])
            assert key not in found, f"{key} stands twice"
            row_ids.add(row.pop("row_id"))
            found[key] = (row, vector)
    assert len(row_ids) == len(found) == gallery.live_rows("images")
    return found


def skipped(folder: str | PathLike[str]) -> set[tuple[str, str, str]]:
    """(path, stage, reason) of every skipped input."""
    return {(row.path, row.stage, row.reason) for row in Gallery.open(folder).skipped_rows()}


def assert_equal(one: str | PathLike[str], other: str | PathLike[str]) -> None:
    """Same items with equal metadata, and embeddings within 1e-3 a component and cosine >= 0.99999."""
    left, right = contents(one), contents(other)
    assert left.keys() == right.keys()
    for key, (metadata, vector) in left.items():
        assert metadata == right[key][0]
        np.testing.assert_allclose(vector, right[key][1], atol=1e-3)
        cosine = vector @ right[key][1] / np.linalg.norm(vector) / np.linalg.norm(right[key][1])
        assert cosine >= 0.99999
    assert skipped(one) == skipped(other)
