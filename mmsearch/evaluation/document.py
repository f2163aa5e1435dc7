"""A report as JSON: all its figures, and what is needed to compute them again."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from mmsearch.evaluation.records import (
    Calibration,
    CorrectedDirection,
    EvaluationReport,
    PresenceCalibration,
    Reranked,
    SystemResult,
)
from mmsearch.metrics import Difference, DirectionResult, Estimate, RankBounds

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
        "corrected": systems[0]["corrected"],
        "calibration": systems[0]["calibration"],
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
    document["sizes"] = system.sizes and asdict(system.sizes)
    text_to_image = system.corrected.text_to_image
    document["corrected"] = {
        **{each.result.direction: _corrected_document(each) for each in system.corrected.directions},
        "alpha": text_to_image.alpha,
        "k": text_to_image.k,
        "mean_recall": system.corrected.mean_recall,
        "measured": system.corrected.measured,
    }
    document["reranked"] = system.reranked and _reranked_document(system.reranked)
    document["calibration"] = system.calibration and _presence_document(system.calibration)
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


def _corrected_document(corrected: CorrectedDirection) -> dict[str, Any]:
    return {
        **_direction_document(corrected.result),
        "alpha": corrected.alpha,
        "k": corrected.k,
        "fold_settings": [{"alpha": alpha, "k": k} for alpha, k in corrected.fold_settings],
        "bank": {"source": corrected.source, "vectors": corrected.bank},
        "why": corrected.why,
        "differences": _differences_document(corrected.differences),
    }


def _differences_document(differences: Mapping[str, Difference]) -> dict[str, Any]:
    return {
        name: {
            "difference": difference.value,
            "low": difference.interval.low,
            "high": difference.interval.high,
            "p": difference.p,
        }
        for name, difference in differences.items()
    }


def _reranked_document(reranked: Reranked) -> dict[str, Any]:
    plain = ("spec", "by", "depth", "device", "pairs", "seconds")
    return {name: getattr(reranked, name) for name in plain} | {
        each.result.direction: {
            **_direction_document(each.result),
            "candidate_recall": {
                "value": each.candidate_recall,
                "low": each.candidate_interval.low,
                "high": each.candidate_interval.high,
            },
            "differences": _differences_document(each.differences),
        }
        for each in reranked.directions
    }


def _presence_document(presence: PresenceCalibration) -> dict[str, Any]:
    return {
        "queries": presence.queries,
        "searched": presence.searched,
        "plain": _calibration_document(presence.plain),
        "corrected": _calibration_document(presence.corrected),
    }


def _calibration_document(calibration: Calibration) -> dict[str, Any]:
    return {
        "ECE": _estimate_document(calibration.error),
        "Brier": _estimate_document(calibration.brier),
        "AUROC": _estimate_document(calibration.auroc),
        "AURC": _estimate_document(calibration.risk_area),
        "forms": calibration.forms,
        "reliability": [
            {"count": each.count, "predicted": each.predicted, "present": _estimate_document(each.relevant)}
            for each in calibration.bins
        ],
        "risk_coverage": {"coverage": calibration.coverage, "risk": calibration.risk},
    }


def _estimate_document(estimate: Estimate) -> dict[str, float]:
    return {"value": estimate.value, "low": estimate.interval.low, "high": estimate.interval.high}
