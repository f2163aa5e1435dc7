"""Every query of a report with what was returned for it: a row for each system, or one with all systems side by side.
To be read without the report."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.evaluation import EvaluationReport, SystemResult
from mmsearch.names import shown
from mmsearch.reports.query_sides import QuerySide, query_sides

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["query_rows", "side_by_side_rows", "write_queries_jsonl", "write_queries_parquet"]

_ROWS = 4_096  # of a row group


def query_rows(report: EvaluationReport) -> Iterator[dict[str, Any]]:
    """system, direction, query_id and query (a caption and its id, or an image twice), rank (of the best relevant item,
    from 1), corrected_rank (by corrected scores; None where nothing is corrected), relevant_ids, and the best hits with
    ids, scores and whether they are relevant, all best first."""
    for system in report.systems:
        for side in query_sides(report):
            for row in range(len(side.query_ids)):
                yield {"system": system.name, **_query(side, system, row), **_answer(side, system, row)}


def side_by_side_rows(report: EvaluationReport) -> Iterator[dict[str, Any]]:
    """direction, query_id, query, relevant_ids, and systems: what each returned, in the order of the report, as system,
    rank, corrected_rank, hit_ids, hit_scores and hit_relevant."""
    for side in query_sides(report):
        for row in range(len(side.query_ids)):
            answers = [{"system": system.name, **_answer(side, system, row)} for system in report.systems]
            yield {**_query(side, report.systems[0], row), "systems": answers}


def _query(side: QuerySide, system: SystemResult, row: int) -> dict[str, Any]:
    return {
        "direction": side.direction,
        "query_id": side.query_ids[row],
        "query": side.queries[row],
        "relevant_ids": [side.gallery_ids[item] for item in side.relevant(system, row).tolist()],
    }


def _answer(side: QuerySide, system: SystemResult, row: int) -> dict[str, Any]:
    hits, scores = side.hits(system, row)
    corrected = side.corrected(system)
    return {
        "rank": int(side.ranking(system).bounds.ranks[row]),
        "corrected_rank": int(corrected.ranking.bounds.ranks[row]) if corrected else None,
        "hit_ids": [side.gallery_ids[item] for item in hits.tolist()],
        "hit_scores": scores.tolist(),
        "hit_relevant": np.isin(hits, side.relevant(system, row)).tolist(),
    }


def write_queries_jsonl(report: EvaluationReport, file: Path, *, side_by_side: bool = False) -> None:
    """As JSON lines: `query_rows`, or `side_by_side_rows`. Raises OSError."""
    rows = side_by_side_rows(report) if side_by_side else query_rows(report)
    with file.open("w", encoding="utf-8", errors="backslashreplace") as stream:
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")


def write_queries_parquet(report: EvaluationReport, file: Path, *, side_by_side: bool = False) -> None:
    """As a Parquet table, likewise. Raises OSError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema(side_by_side=side_by_side)
    # Opened here: Arrow takes no name that is not UTF-8.
    with file.open("wb") as stream, pq.ParquetWriter(stream, schema, compression="zstd") as writer:
        rows: list[dict[str, Any]] = []
        for row in side_by_side_rows(report) if side_by_side else query_rows(report):
            rows.append(_make_valid(row))
            if len(rows) == _ROWS:
                writer.write_table(pa.Table.from_pylist(rows, schema))
                rows = []
        writer.write_table(pa.Table.from_pylist(rows, schema))


def _schema(*, side_by_side: bool) -> "pa.Schema":
    import pyarrow as pa

    text = pa.string()
    system = [("system", text)]
    query = [(name, text) for name in ("direction", "query_id", "query")] + [("relevant_ids", pa.list_(text))]
    answer = [
        ("rank", pa.int64()),
        ("corrected_rank", pa.int64()),
        ("hit_ids", pa.list_(text)),
        ("hit_scores", pa.list_(pa.float64())),
        ("hit_relevant", pa.list_(pa.bool_())),
    ]
    if side_by_side:
        return pa.schema([*query, ("systems", pa.list_(pa.struct([*system, *answer])))])
    return pa.schema([*system, *query, *answer])


def _make_valid(value: Any) -> Any:
    """Text without what is not Unicode: names on disk can be any bytes."""
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, dict):
        return {name: _make_valid(each) for name, each in value.items()}
    return [_make_valid(item) for item in value] if isinstance(value, list) else value
