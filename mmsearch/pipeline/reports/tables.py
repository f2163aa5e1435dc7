"""The figures of a report as Markdown tables."""

from collections.abc import Sequence

from mmsearch.metrics import DirectionResult
from mmsearch.pipeline.evaluate import EvaluationReport, SystemResult

__all__ = ["Table", "health_rows", "markdown", "published_rows", "result_rows"]

Table = tuple[list[str], list[list[str]]]
"""Header and rows."""


def markdown(report: EvaluationReport) -> str:
    """The whole report, as it can go into a paper's appendix or a README."""
    parts = [f"# {report.title}", "", *_facts(report), "", "Intervals in brackets: 95 %.", ""]
    parts += _table(result_rows(report))
    for heading, table in (
        ("Compared on the same queries", comparison_rows(report)),
        ("Beside published figures", published_rows(report)),
        ("Health of the space", health_rows(report)),
    ):
        if table[1]:
            parts += ["", f"## {heading}", "", *_table(table)]
    parts += ["", "## Protocol", "", report.protocol, ""]
    if report.departures:
        parts += [f"Not comparable with published figures: {'; '.join(report.departures)}.", ""]
    parts += [f"- {problem}" for problem in report.problems]
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    parts += ["", f"{versions}. {', '.join(report.hardware.values())} cores. Benchmark {report.benchmark_hash}."]
    return "\n".join(parts) + "\n"


def result_rows(report: EvaluationReport) -> Table:
    """A row a system and direction."""
    ks = list(report.text_to_image.recall)
    header = ["model", "direction", "queries", "gallery", *(f"R@{k}" for k in ks), "median rank", "mean rank"]
    header += ["MRR", "mAP@10", "nDCG@10", *(f"relevant recall@{k}" for k in ks)]
    rows = [_result(system, direction, ks) for system in report.systems for direction in system.directions]
    return header, rows


def _result(system: SystemResult, direction: DirectionResult, ks: Sequence[int]) -> list[str]:
    def share(value: float, name: str) -> str:
        interval = direction.intervals.get(name)
        if interval is not None and interval.low == interval.high and name in wilson:
            interval = wilson[name]
        return f"{100 * value:.2f}" + (f" [{100 * interval.low:.2f}, {100 * interval.high:.2f}]" if interval else "")

    wilson = {f"R@{k}": interval for k, interval in direction.wilson.items()}

    around = direction.intervals.get("mean_rank")
    mean = f"{direction.mean_rank:.1f}" + (f" [{around.low:.1f}, {around.high:.1f}]" if around else "")
    return [
        system.name,
        direction.direction,
        f"{direction.queries:,}",
        f"{direction.gallery:,}",
        *(share(direction.recall[k], f"R@{k}") for k in ks),
        f"{direction.median_rank:.1f}",
        mean,
        share(direction.mean_reciprocal_rank, "MRR"),
        share(direction.mean_average_precision, "mAP@10"),
        share(direction.ndcg, "nDCG@10"),
        *(share(direction.relevant_recall[k], f"relevant_recall@{k}") for k in ks),
    ]


def comparison_rows(report: EvaluationReport) -> Table:
    """A row a figure of two systems."""
    header = ["second against first", "direction", "figure", "first", "second", "difference", "p"]
    rows = []
    for comparison in report.comparisons:
        for name, found in comparison.differences.items():
            scale = 1 if name == "mean_rank" else 100
            low, high = found.interval.low * scale, found.interval.high * scale
            rows.append(
                [
                    f"{comparison.second} against {comparison.first}",
                    comparison.direction,
                    name,
                    f"{scale * found.first:.2f}",
                    f"{scale * found.second:.2f}",
                    f"{scale * found.value:+.2f} [{low:+.2f}, {high:+.2f}]",
                    f"{found.p:.4f}",
                ]
            )
    return header, rows


def published_rows(report: EvaluationReport) -> Table:
    """A row a published figure."""
    header = ["model", "figure", "here", "published", "difference", "inside the interval", "source"]
    rows = [
        [
            system.name,
            f"{figure.direction} R@{figure.k}",
            f"{100 * figure.ours:.2f} [{100 * figure.interval.low:.2f}, {100 * figure.interval.high:.2f}]",
            f"{100 * figure.published:.2f}",
            f"{100 * (figure.ours - figure.published):+.2f}",
            "yes" if figure.inside else "NO",
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
        returned = "images" if direction == "text_to_image" else "captions"
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


def _facts(report: EvaluationReport) -> list[str]:
    lines = []
    for system in report.systems:
        if system.encoder is not None:
            lines.append(
                f"- {system.name}: {system.device}, {system.precision}, {system.preprocessing} preprocessing, "
                f"fingerprint {system.encoder.fingerprint}; mean recall {_mean_recall(system)}"
                + (f"; {system.truncated:,} texts truncated" if system.truncated else "")
            )
            lines += [f"  - template: `{template}`" for template in system.templates]
        else:
            lines.append(f"- {system.name}: {system.precision}; mean recall {_mean_recall(system)}")
    return lines


def _mean_recall(system: SystemResult) -> str:
    around = system.mean_recall_interval
    return f"{100 * system.mean_recall:.2f} [{100 * around.low:.2f}, {100 * around.high:.2f}] (of R@1, R@5, R@10)"


def _table(table: Table) -> list[str]:
    header, rows = table
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
