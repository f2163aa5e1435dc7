"""Every query of a report with what was returned for it, a row each: to be read without the report."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mmsearch.evaluation import EvaluationReport, SystemResult
from mmsearch.exact import scores_of_record
from mmsearch.metrics import Ids, Ranking, Vectors
from mmsearch.names import shown

__all__ = ["query_rows", "write_queries_jsonl", "write_queries_parquet"]

_ROWS = 4_096  # of a row group


def query_rows(report: EvaluationReport) -> Iterator[dict[str, Any]]:
    """system, direction, query_id and query (a caption and its id, or an image twice), rank (of the best relevant item,
    from 1), relevant_ids, and the best hits with ids, scores and whether they are relevant, all best first."""
    items = report.items
    captions, images = items.caption_ids, items.images
    for system in report.systems:
        named_queries = [(captions[n], items.captions[n]) for n in items.query_captions.tolist()]
        yield from _direction_rows(system, "text_to_image", named_queries, images, items.query_captions)
        named_queries = [(images[n], images[n]) for n in items.query_images.tolist()]
        yield from _direction_rows(system, "image_to_text", named_queries, captions, items.query_images)


def _direction_rows(
    system: SystemResult,
    direction: str,
    named_queries: list[tuple[str, str]],
    gallery_ids: tuple[str, ...],
    query_positions: Ids,
) -> Iterator[dict[str, Any]]:
    evidence = system.evidence
    forward = direction == "text_to_image"
    queries: Vectors = evidence.captions if forward else evidence.images
    gallery: Vectors = evidence.images if forward else evidence.captions
    ranking: Ranking = getattr(evidence, direction)
    offsets = ranking.relevant.offsets.tolist()
    for row, (query_id, query) in enumerate(named_queries):
        hits = ranking.top[row][ranking.top[row] >= 0]
        scores = scores_of_record(queries, np.full(len(hits), query_positions[row]), gallery, hits)
        relevant = ranking.relevant.positions[offsets[row] : offsets[row + 1]]
        yield {
            "system": system.name,
            "direction": direction,
            "query_id": query_id,
            "query": query,
            "rank": int(ranking.bounds.ranks[row]),
            "relevant_ids": [gallery_ids[item] for item in relevant.tolist()],
            "hit_ids": [gallery_ids[item] for item in hits.tolist()],
            "hit_scores": scores.tolist(),
            "hit_relevant": np.isin(hits, relevant).tolist(),
        }


def write_queries_jsonl(report: EvaluationReport, file: Path) -> None:
    """As JSON lines. Raises OSError."""
    with file.open("w", encoding="utf-8", errors="backslashreplace") as stream:
        for row in query_rows(report):
            stream.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")


def write_queries_parquet(report: EvaluationReport, file: Path) -> None:
    """As a Parquet table. Raises OSError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = pa.string()
    schema = pa.schema(
        [
            *((name, text) for name in ("system", "direction", "query_id", "query")),
            ("rank", pa.int64()),
            ("relevant_ids", pa.list_(text)),
            ("hit_ids", pa.list_(text)),
            ("hit_scores", pa.list_(pa.float64())),
            ("hit_relevant", pa.list_(pa.bool_())),
        ]
    )
    # Opened here: Arrow takes no name that is not UTF-8.
    with file.open("wb") as stream, pq.ParquetWriter(stream, schema, compression="zstd") as writer:
        rows: list[dict[str, Any]] = []
        for row in query_rows(report):
            rows.append({name: _make_valid(value) for name, value in row.items()})
            if len(rows) == _ROWS:
                writer.write_table(pa.Table.from_pylist(rows, schema))
                rows = []
        writer.write_table(pa.Table.from_pylist(rows, schema))


def _make_valid(value: Any) -> Any:
    """Text without what is not Unicode: names on disk can be any bytes."""
    if isinstance(value, str):
        return shown(value)
    return [_make_valid(item) for item in value] if isinstance(value, list) else value
