"""The benchmark protocol in thirty lines of its own: no mmsearch, only the stored shards, float64 and a full sort."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq


def evaluate_independently(gallery: Path) -> dict[str, dict[str, float]]:
    """R@1/5/10 and median rank, both directions; images in the order of their first caption."""
    manifest = json.loads(max((gallery / "manifests").iterdir()).read_text())

    def live(table: str) -> list[dict[str, Any]]:
        rows = [pq.read_table(gallery / table / shard["name"]).to_pylist() for shard in manifest["shards"][table]]
        deletes = [pq.read_table(gallery / "deletes" / file["name"]) for file in manifest["deletes"][table]]
        dead = {row_id for part in deletes for row_id in part["row_id"].to_pylist()}
        return [row for part in rows for row in part if row["row_id"] not in dead]

    captions = sorted(live("captions"), key=lambda row: row["ordinal"])
    order = {path: place for place, path in enumerate(dict.fromkeys(row["path"] for row in captions))}
    images = sorted(live("images"), key=lambda row: order[row["path"]])
    image_vectors = np.array([row["embedding"] for row in images], np.float64)
    scores = np.array([row["embedding"] for row in captions], np.float64) @ image_vectors.T
    of_image = np.array([order[row["path"]] for row in captions])
    truth = of_image[:, None] == np.arange(len(images))
    return {"text_to_image": _figures(scores, truth), "image_to_text": _figures(scores.T, truth.T)}


def _figures(scores: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    ranking = np.argsort(-scores, axis=1, kind="stable")  # equal scores in the order of the gallery
    ranks = 1 + np.argmax(np.take_along_axis(truth, ranking, axis=1), axis=1)
    return {f"R@{k}": float(np.mean(ranks <= k)) for k in (1, 5, 10)} | {"median_rank": float(np.median(ranks))}
