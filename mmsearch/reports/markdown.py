"""The figures of a report as Markdown tables."""

from mmsearch.evaluation import EvaluationReport, SystemResult
from mmsearch.items import CAPTIONS, IMAGES
from mmsearch.metrics import Difference, DirectionResult, Estimate, Interval
from mmsearch.reports.size_tables import size_notes, size_rows

__all__ = [
    "MEAN_RECALL",
    "Table",
    "calibration_rows",
    "corrected_rows",
    "format_table",
    "health_rows",
    "markdown",
    "other_rows",
    "published_rows",
    "recall_rows",
    "reranked_rows",
]

MEAN_RECALL = "mean recall (R@1, R@5, R@10)"
"""What mean recall is the mean of, wherever it stands in a table: of both directions, whatever k is asked for."""

Table = tuple[list[str], list[list[str]]]
"""Header and rows."""


def markdown(report: EvaluationReport) -> str:
    """The whole report, as it can go into a paper's appendix or a README."""
    parts = [
        f"# {report.title}",
        "",
        *_list_systems(report),
        "",
        "In percent; 95 % intervals in brackets, Wilson's where all queries agree.",
        "",
    ]
    parts += format_table(recall_rows(report))
    parts += ["", *format_table(other_rows(report))]
    for heading, table in (
        ("R@k against the size of the gallery", size_rows(report)),
        ("Corrected for hubs", corrected_rows(report)),
        ("Re-ranked", reranked_rows(report)),
        ("Is there what was asked for?", calibration_rows(report)),
        ("Compared on the same queries", comparison_rows(report)),
        ("Beside published figures", published_rows(report)),
        ("Health of the space", health_rows(report)),
    ):
        if table[1]:
            parts += ["", f"## {heading}", "", *format_table(table)]
    parts += ["", "## Protocol", "", report.protocol, *size_notes(report), ""]
    if report.departures:
        parts += [f"Not comparable with published figures: {'; '.join(report.departures)}.", ""]
    parts += [f"- {problem}" for problem in report.problems]
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    parts += ["", f"{versions}. {', '.join(report.hardware.values())} cores. Benchmark {report.benchmark_hash}."]
    return "\n".join(parts) + "\n"


def recall_rows(report: EvaluationReport) -> Table:
    """A row a system: R@k of both directions with intervals, and mean recall."""
    ks = list(report.text_to_image.recall)
    header = ["model", *(f"{side} R@{k}" for side in ("text_to_image", "image_to_text") for k in ks)]
    header.append(MEAN_RECALL)
    rows = [
        [
            system.name,
            *(_format_share(direction, direction.recall[k], f"R@{k}") for direction in system.directions for k in ks),
            _format_interval(system.mean_recall, system.mean_recall_interval),
        ]
        for system in report.systems
    ]
    return header, rows


def other_rows(report: EvaluationReport) -> Table:
    """A row a system and direction: what else was measured."""
    ks = [k for k in report.text_to_image.recall if _relevant_recall_differs(report, k)]
    header = ["model", "direction", "queries", "gallery", "median rank", "mean rank", "MRR", "mAP@10", "nDCG@10"]
    header += [f"relevant recall@{k}" for k in ks]
    rows = []
    for system in report.systems:
        for direction in system.directions:
            interval = direction.intervals.get("mean_rank")
            rows.append(
                [
                    system.name,
                    direction.direction,
                    f"{direction.queries:,}",
                    f"{direction.gallery:,}",
                    f"{direction.median_rank:.1f}",
                    f"{direction.mean_rank:.1f}" + (f" [{interval.low:.1f}, {interval.high:.1f}]" if interval else ""),
                    _format_share(direction, direction.mean_reciprocal_rank, "MRR"),
                    _format_share(direction, direction.mean_average_precision, "mAP@10"),
                    _format_share(direction, direction.ndcg, "nDCG@10"),
                    *(_format_share(direction, direction.relevant_recall[k], f"relevant_recall@{k}") for k in ks),
                ]
            )
    return header, rows


def _relevant_recall_differs(report: EvaluationReport, k: int) -> bool:
    """Whether TREC's recall says something else than R@k: where queries have several relevant items."""
    return any(
        direction.relevant_recall[k] != direction.recall[k]
        for system in report.systems
        for direction in system.directions
    )


def _format_share(direction: DirectionResult, value: float, name: str) -> str:
    return _format_interval(value, direction.interval(name) if name in direction.intervals else None)


def _format_interval(value: float, interval: Interval | None) -> str:
    """In percent, with the ends of its interval in brackets."""
    return f"{100 * value:.2f}" + (f" [{100 * interval.low:.2f}, {100 * interval.high:.2f}]" if interval else "")


def corrected_rows(report: EvaluationReport) -> Table:
    """A row a system and direction: the same queries with corrected scores, and what that changes."""
    ks = list(report.text_to_image.recall)
    names = [*(f"R@{k}" for k in ks), "MRR"]
    header = ["model", "direction", *names, *(f"{name} gain" for name in names), "alpha", "k", "bank"]
    rows = []
    for system in report.systems:
        for each in system.corrected.directions if system.corrected.measured else ():
            figures = {f"R@{k}": each.result.recall[k] for k in ks} | {"MRR": each.result.mean_reciprocal_rank}
            rows.append(
                [
                    system.name,
                    each.result.direction,
                    *(_format_share(each.result, value, name) for name, value in figures.items()),
                    *(_format_difference(name, each.differences[name]) if each.alpha else "0" for name in names),
                    f"{each.alpha:g}",
                    str(each.k) if each.alpha else "",
                    f"{each.bank:,} vectors, {each.source}" if each.alpha else each.why,
                ]
            )
    return header, rows


def reranked_rows(report: EvaluationReport) -> Table:
    """Two rows a system and direction: as it ranks, and with the best candidates re-ranked, which cannot do better than
    the share of queries that have a relevant item among them."""
    ks = list(report.text_to_image.recall)
    names = [*(f"R@{k}" for k in ks), "MRR"]
    header = ["model", "direction", "ranked by", *names, *(f"{name} gain" for name in names), "candidate recall"]
    rows = []
    for system in report.systems:
        if (again := system.reranked) is None:
            continue
        by = f"{again.spec}, {again.by}, the best {again.depth:,}"
        for plain, each in zip(system.directions, again.directions, strict=True):
            for ranked_by, direction in (("score", plain), (by, each.result)):
                figures = {f"R@{k}": direction.recall[k] for k in ks} | {"MRR": direction.mean_reciprocal_rank}
                again_only = [
                    *(_format_difference(name, each.differences[name]) for name in names),
                    _format_interval(each.candidate_recall, each.candidate_interval),
                ]
                rows.append(
                    [
                        system.name,
                        direction.direction,
                        ranked_by,
                        *(_format_share(direction, value, name) for name, value in figures.items()),
                        *(again_only if direction is each.result else [""] * len(again_only)),
                    ]
                )
    return header, rows


def calibration_rows(report: EvaluationReport) -> Table:
    """A row a system and kind of score: whether best scores tell that what was asked for is there."""
    header = ["model", "by", "captions", "images", "AUROC", "ECE", "Brier", "area of risk and coverage"]
    rows = []
    for system in report.systems:
        presence = system.calibration
        if presence is None:
            continue
        forms = {"score": presence.plain}
        if presence.corrected is not presence.plain:
            forms["corrected"] = presence.corrected
        for name, judged in forms.items():
            estimates = (judged.auroc, judged.error, judged.brier, judged.risk_area)
            counts = [f"{presence.queries:,}", f"{presence.searched:,}"]
            rows.append([system.name, name, *counts, *map(_format_estimate, estimates)])
    return header, rows


def _format_estimate(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} [{estimate.interval.low:.3f}, {estimate.interval.high:.3f}]"


def comparison_rows(report: EvaluationReport) -> Table:
    """A row two systems and a direction, a column a figure: the second minus the first, with interval and p."""
    names = [name for name in (report.comparisons[0].differences if report.comparisons else ()) if _is_compared(name)]
    header = ["second against first", "direction", *names]
    rows = [
        [
            f"{comparison.second} against {comparison.first}",
            comparison.direction,
            *(_format_difference(name, comparison.differences[name]) for name in names),
        ]
        for comparison in report.comparisons
    ]
    return header, rows


def _is_compared(name: str) -> bool:
    return not name.startswith("relevant_recall")


def _format_difference(name: str, difference: Difference) -> str:
    scale = 1 if name == "mean_rank" else 100
    low, high = difference.interval.low * scale, difference.interval.high * scale
    return f"{scale * difference.value:+.2f} [{low:+.2f}, {high:+.2f}; p {difference.p:.4f}]"


def published_rows(report: EvaluationReport) -> Table:
    """A row a published figure."""
    header = ["model", "figure", "here", "published", "difference", "inside the interval", "published as", "differs in"]
    header += ["source"]
    rows = [
        [
            system.name,
            f"{figure.direction} R@{figure.k}",
            f"{100 * figure.ours:.2f} [{100 * figure.interval.low:.2f}, {100 * figure.interval.high:.2f}]",
            f"{100 * figure.published:.2f}",
            f"{100 * (figure.ours - figure.published):+.2f}",
            "yes" if figure.inside else "NO",
            figure.model,
            "; ".join(figure.differing) or "nothing known",
            figure.source,
        ]
        for system in report.systems
        for figure in system.published
    ]
    return header, rows


def health_rows(report: EvaluationReport) -> Table:
    """A row a figure, a column a system."""
    names = {
        "modality_gap": "modality gap: distance between the centroids of images and texts",
        "within_images": "mean cosine of two images",
        "within_texts": "mean cosine of two texts",
        "across": "mean cosine of an image and a text",
        "matched": "of those that belong together",
        "unmatched": "of those that do not",
        "alignment": "alignment: mean squared distance of matched pairs",
        "uniformity_images": "uniformity of images",
        "uniformity_texts": "uniformity of texts",
        "effective_rank_images": "effective rank of images",
        "effective_rank_texts": "effective rank of texts",
    }
    rows = [
        [meaning, *(f"{getattr(system.health, name):.3f}" for system in report.systems)]
        for name, meaning in names.items()
    ]
    for direction in ("text_to_image", "image_to_text"):
        hubs = [system.hubness[direction] for system in report.systems]
        returned = IMAGES.name if direction == "text_to_image" else CAPTIONS.name
        rows += [
            [
                f"hubness of {returned}: skewness of the top-{hubs[0].k} counts",
                *(f"{hub.skewness:.2f}" for hub in hubs),
            ],
            [
                f"queries that the top 1 % of {returned} answer",
                *(f"{100 * hub.top_percent_share:.1f} %" for hub in hubs),
            ],
            [f"{returned} in no top {hubs[0].k}", *(f"{100 * hub.never:.1f} %" for hub in hubs)],
        ]
    collapsed = [", ".join(system.health.collapsed) or "no" for system in report.systems]
    rows.append(["collapsed", *collapsed])
    return ["", *(system.name for system in report.systems)], rows


def _list_systems(report: EvaluationReport) -> list[str]:
    lines = []
    for system in report.systems:
        if system.encoder is not None:
            lines.append(
                f"- {system.name}: {system.device}, {system.precision}, {system.preprocessing} preprocessing, "
                f"fingerprint {system.encoder.fingerprint}; mean recall {_format_mean_recall(system)}"
                + (f"; {system.truncated:,} texts truncated" if system.truncated else "")
            )
            lines += [f"  - template: `{template}`" for template in system.templates]
        else:
            lines.append(f"- {system.name}: {system.precision}; mean recall {_format_mean_recall(system)}")
    return lines


def _format_mean_recall(system: SystemResult) -> str:
    return f"{_format_interval(system.mean_recall, system.mean_recall_interval)} (of R@1, R@5, R@10)"


def format_table(table: Table) -> list[str]:
    """The lines of a table."""
    header, rows = table
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
