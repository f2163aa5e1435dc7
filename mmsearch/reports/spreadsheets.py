"""The figures of a report for other programs: CSV for spreadsheets, a LaTeX table for a paper."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

from mmsearch.evaluation import EvaluationReport, SystemResult
from mmsearch.metrics import DirectionResult

__all__ = ["figures_csv", "figures_latex"]

_Row: TypeAlias = dict[str, str | int | float]


def figures_csv(report: EvaluationReport) -> str:
    """A row a system and direction, and a further one by corrected scores where they help, and by a re-ranker where
    there is one: each figure, and for those that have one the ends of its 95 % interval."""
    rows = [row for system in report.systems for row in _csv_rows(report, system)]
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _csv_rows(report: EvaluationReport, system: SystemResult) -> Iterator[_Row]:
    around = system.mean_recall_interval
    plain = {"mean_recall": system.mean_recall, "mean_recall_low": around.low, "mean_recall_high": around.high}
    for direction, corrected in zip(system.directions, system.corrected.directions, strict=True):
        yield _csv_row(report, system, direction, "score", plain)
        if corrected.alpha:
            means: _Row = {"mean_recall": system.corrected.mean_recall, "mean_recall_low": "", "mean_recall_high": ""}
            yield _csv_row(report, system, corrected.result, "corrected", means)
    if system.reranked is not None:
        for again in system.reranked.directions:
            unknown: _Row = {"mean_recall": "", "mean_recall_low": "", "mean_recall_high": ""}
            yield _csv_row(report, system, again.result, "rerank", unknown)


def _csv_row(
    report: EvaluationReport,
    system: SystemResult,
    direction: DirectionResult,
    scores: str,
    mean_recall: Mapping[str, str | int | float],
) -> _Row:
    row: _Row = {
        "benchmark": report.benchmark,
        "split": report.split or "",
        "system": system.name,
        "precision": system.precision or "",
        "preprocessing": system.preprocessing or "",
        "direction": direction.direction,
        "scores": scores,
        "queries": direction.queries,
        "gallery": direction.gallery,
    }
    for name, value in _figures(direction):
        row[name] = value
        if (interval := direction.intervals.get(name)) is not None:
            row[f"{name}_low"], row[f"{name}_high"] = interval.low, interval.high
        if name.startswith("R@") and direction.wilson:
            wilson = direction.wilson[int(name.removeprefix("R@"))]
            row[f"{name}_wilson_low"], row[f"{name}_wilson_high"] = wilson.low, wilson.high
    return {**row, **mean_recall, "mean_recall_of": "R@1 R@5 R@10, both directions"}


def _figures(direction: DirectionResult) -> Iterator[tuple[str, float]]:
    yield from ((f"R@{k}", value) for k, value in direction.recall.items())
    yield from ((f"relevant_recall@{k}", value) for k, value in direction.relevant_recall.items())
    yield "median_rank", direction.median_rank
    yield "mean_rank", direction.mean_rank
    yield "MRR", direction.mean_reciprocal_rank
    yield "mAP@10", direction.mean_average_precision
    yield "nDCG@10", direction.ndcg


def figures_latex(report: EvaluationReport) -> str:
    """A table for booktabs: a row a system, and a further one by corrected scores where they help; R@k in percent of
    both directions and mean recall; the best of each column, as it is printed, in bold. The caption states counts and
    protocol."""
    ks = list(report.text_to_image.recall)
    rows = [row for system in report.systems for row in _latex_rows(system)]
    best = [max(map(float, column)) for column in zip(*(cells for _, cells in rows), strict=True)]
    emphasised = len(report.systems) > 1
    lines = [
        r"% \usepackage{booktabs}",
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{_caption(report)}}}",
        rf"  \begin{{tabular}}{{l{'r' * (2 * len(ks) + 1)}}}",
        r"    \toprule",
        rf"    & \multicolumn{{{len(ks)}}}{{c}}{{text $\rightarrow$ image}} "
        rf"& \multicolumn{{{len(ks)}}}{{c}}{{image $\rightarrow$ text}} & \\",
        rf"    \cmidrule(lr){{2-{len(ks) + 1}}} \cmidrule(lr){{{len(ks) + 2}-{2 * len(ks) + 1}}}",
        "    model & " + " & ".join([*(f"R@{k}" for k in ks)] * 2) + r" & mean recall \\",
        r"    \midrule",
    ]
    for name, cells in rows:
        shown = [
            rf"\textbf{{{cell}}}" if emphasised and float(cell) == top else cell
            for cell, top in zip(cells, best, strict=True)
        ]
        lines.append(f"    {latex_text(name)} & " + " & ".join(shown) + r" \\")
    return "\n".join([*lines, r"    \bottomrule", r"  \end{tabular}", r"\end{table}"]) + "\n"


def _latex_rows(system: SystemResult) -> Iterator[tuple[str, list[str]]]:
    """(name, cells) of the rows of a system."""
    yield system.name, _percent(system.directions, system.mean_recall)
    if any(each.alpha for each in system.corrected.directions):
        results = [each.result for each in system.corrected.directions]
        yield f"{system.name}, corrected", _percent(results, system.corrected.mean_recall)


def _percent(directions: Iterable[DirectionResult], mean_recall: float) -> list[str]:
    shares = [value for direction in directions for value in direction.recall.values()]
    return [f"{100 * value:.1f}" for value in (*shares, mean_recall)]


def _caption(report: EvaluationReport) -> str:
    forward, backward = report.systems[0].directions
    counts = (
        f"{forward.queries:,} captions asked for {forward.gallery:,} images, {backward.queries:,} images for "
        f"{backward.gallery:,} captions"
    )
    is_corrected = any(each.alpha for system in report.systems for each in system.corrected.directions)
    corrected = " Corrected: by scores corrected for hubs, where that was seen to help." if is_corrected else ""
    caveat = f" Not comparable with published figures: {'; '.join(report.departures)}." if report.departures else ""
    return latex_text(
        f"{report.title}. R@k in percent: the share of queries with at least one relevant item among the k best; "
        f"{counts}. Exact ranks by cosine; equal scores rank in the order of the annotations. Mean recall is the mean "
        f"of R@1, R@5 and R@10 of both directions.{corrected}{caveat}"
    )


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def latex_text(text: str) -> str:
    r"""Text as LaTeX prints it.

    >>> print(latex_text(r"ViT-B_32 & 50 % {a}\b~"))
    ViT-B\_32 \& 50 \% \{a\}\textbackslash{}b\textasciitilde{}
    """
    return re.sub(r"[\\~^&%$#_{}]", lambda match: _LATEX[match[0]], " ".join(text.split()))
