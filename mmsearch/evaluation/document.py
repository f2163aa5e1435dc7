"""A report as JSON: all its figures, and what is needed to compute them again."""

from dataclasses import asdict, fields
from typing import Any

from mmsearch.evaluation.records import EvaluationReport, SystemResult
from mmsearch.metrics import DirectionResult, RankBounds

__all__ = ["to_json"]


def to_json(report: EvaluationReport, *, per_query: bool = False) -> dict[str, Any]:
    """The report as a document for `json_text(…, default=str)`.

    The figures of the first system stand first, then everything of every system. per_query: with the rank of the best
    relevant item of each query, in the order of the annotation file.
    """
    systems = [_system_document(system, per_query=per_query) for system in report.systems]
    other_fields = {
        name: getattr(report, name)
        for name in (field.name for field in fields(report))
        if name not in ("systems", "comparisons", "items")
    }
    return {
        "text_to_image": systems[0]["text_to_image"],
        "image_to_text": systems[0]["image_to_text"],
        "encoder": systems[0]["encoder"],
        "gallery": systems[0]["gallery"],
        **other_fields,
        "systems": systems,
        "comparisons": [asdict(comparison) for comparison in report.comparisons],
    }


def _system_document(system: SystemResult, *, per_query: bool) -> dict[str, Any]:
    document = {field.name: getattr(system, field.name) for field in fields(system) if field.name != "evidence"}
    nested = ("encoder", "health", "mean_recall_interval")
    document |= {name: asdict(document[name]) if document[name] is not None else None for name in nested}
    document["hubness"] = {direction: asdict(hubness) for direction, hubness in system.hubness.items()}
    document["published"] = [asdict(figure) for figure in system.published]
    document["via_index"] = [
        {**asdict(part), "recall": {f"R@{k}": value for k, value in part.recall.items()}} for part in system.via_index
    ]
    for direction in system.directions:
        bounds: RankBounds = getattr(system.evidence, direction.direction).bounds
        document[direction.direction] = _direction_document(direction) | (
            {"ranks": bounds.ranks.tolist()} if per_query else {}
        )
    return document


def _direction_document(direction: DirectionResult) -> dict[str, Any]:
    return {
        **{f"R@{k}": value for k, value in direction.recall.items()},
        **{f"relevant_recall@{k}": value for k, value in direction.relevant_recall.items()},
        "median_rank": direction.median_rank,
        "mean_rank": direction.mean_rank,
        "MRR": direction.mean_reciprocal_rank,
        "mAP@10": direction.mean_average_precision,
        "nDCG@10": direction.ndcg,
        "queries": direction.queries,
        "gallery": direction.gallery,
        "tied_queries": direction.tied_queries,
        "optimistic": {f"R@{k}": value for k, value in direction.recall_optimistic.items()},
        "pessimistic": {f"R@{k}": value for k, value in direction.recall_pessimistic.items()},
        "intervals": {name: [interval.low, interval.high] for name, interval in direction.intervals.items()},
        "wilson": {f"R@{k}": [interval.low, interval.high] for k, interval in direction.wilson.items()},
    }
