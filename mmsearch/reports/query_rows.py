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
        asked = [(captions[n], items.captions[n]) for n in items.asking_captions.tolist()]
        yield from _rows(system, "text_to_image", asked, images, items.asking_captions)
        asked = [(images[n], images[n]) for n in items.asking_images.tolist()]
        yield from _rows(system, "image_to_text", asked, captions, items.asking_images)


def _rows(
    system: SystemResult, direction: str, asked: list[tuple[str, str]], returned: tuple[str, ...], asking: Ids
) -> Iterator[dict[str, Any]]:
    evidence = system.evidence
    forward = direction == "text_to_image"
    queries: Vectors = evidence.captions if forward else evidence.images
    gallery: Vectors = evidence.images if forward else evidence.captions
    ranking: Ranking = getattr(evidence, direction)
    offsets = ranking.relevant.offsets.tolist()
    for row, (query_id, query) in enumerate(asked):
        hits = ranking.top[row][ranking.top[row] >= 0]
        scores = scores_of_record(queries, np.full(len(hits), asking[row]), gallery, hits)
        relevant = ranking.relevant.positions[offsets[row] : offsets[row + 1]]
        yield {
            "system": system.name,
            "direction": direction,
            "query_id": query_id,
            "query": query,
            "rank": int(ranking.bounds.ranks[row]),
            "relevant_ids": [returned[item] for item in relevant.tolist()],
            "hit_ids": [returned[item] for item in hits.tolist()],
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
            rows.append({name: _valid(value) for name, value in row.items()})
            if len(rows) == _ROWS:
                writer.write_table(pa.Table.from_pylist(rows, schema))
                rows = []
        writer.write_table(pa.Table.from_pylist(rows, schema))


def _valid(value: Any) -> Any:
    """Text without what is not Unicode: names on disk can be any bytes."""
    if isinstance(value, str):
        return shown(value)
    return [_valid(each) for each in value] if isinstance(value, list) else value
