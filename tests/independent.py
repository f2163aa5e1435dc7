"""The benchmark protocol in fifty lines of its own: no mmsearch, only the stored shards, float64 and a full sort."""

import json
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
import pyarrow.parquet as pq


def evaluate_independently(gallery: Path) -> dict[str, dict[str, float]]:
    """Every figure of a gallery that holds a benchmark; images in the order of their first caption."""
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
    caption_vectors = np.array([row["embedding"] for row in captions], np.float64)
    of_image = np.array([order[row["path"]] for row in captions])
    return figures_of(image_vectors, caption_vectors, of_image[:, None] == np.arange(len(images)))


def figures_of(images: np.ndarray, captions: np.ndarray, truth: np.ndarray) -> dict[str, dict[str, float]]:
    """truth: bool (n_captions, n_images), what belongs together."""
    # Two equal vectors have equal scores, which a matrix product does not promise.
    scores = np.stack([np.einsum("nd,d->n", images, caption) for caption in captions])
    backward = np.stack([np.einsum("nd,d->n", captions, image) for image in images])
    return {"text_to_image": _figures(scores, truth), "image_to_text": _figures(backward, truth.T)}


def _figures(scores: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    asked = truth.any(axis=1)  # a query that nothing answers is none
    scores, truth = scores[asked], truth[asked]
    ranking = np.argsort(-scores, axis=1, kind="stable")  # equal scores in the order of the gallery
    hits = np.take_along_axis(truth, ranking, axis=1)
    ranks = 1 + np.argmax(hits, axis=1)
    wanted = truth.sum(axis=1)
    found = hits[:, :10]
    place = np.arange(1, found.shape[1] + 1)
    precision = (np.cumsum(found, axis=1) / place * found).sum(axis=1) / wanted
    gain = (found / np.log2(1 + place)).sum(axis=1)
    best = np.array([sum(1 / np.log2(1 + n) for n in range(1, min(10, count) + 1)) for count in wanted])
    return {
        **{f"R@{k}": float(np.mean(ranks <= k)) for k in (1, 5, 10)},
        **{f"relevant_recall@{k}": float(np.mean(hits[:, :k].sum(axis=1) / wanted)) for k in (1, 5, 10)},
        "median_rank": float(np.median(ranks)),
        "mean_rank": float(np.mean(ranks)),
        "MRR": float(np.mean(1 / ranks)),
        "mAP@10": float(np.mean(precision)),
        "nDCG@10": float(np.mean(gain / best)),
    }


def trec_run(file: Path) -> list[ir_measures.ScoredDoc]:
    """A run as ir_measures reads it."""
    return list(ir_measures.read_trec_run(str(file)))  # type: ignore[no-untyped-call] # untyped there


def trec_qrels(file: Path) -> list[ir_measures.Qrel]:
    """Qrels as ir_measures reads them."""
    return list(ir_measures.read_trec_qrels(str(file)))  # type: ignore[no-untyped-call] # untyped there
