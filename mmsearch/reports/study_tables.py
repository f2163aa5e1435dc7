"""The tables of a study: as text, Markdown, CSV and LaTeX."""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from mmsearch.encoders.costs import EncoderCosts
from mmsearch.evaluation.studies import MEAN_RECALL, BenchmarkTable, StudyReport, StudySystem
from mmsearch.metrics import Estimate
from mmsearch.reports.markdown import Table, format_table
from mmsearch.reports.spreadsheets import latex_text

__all__ = [
    "LEVEL",
    "best_cells",
    "cost_rows",
    "costs_of",
    "figure_names",
    "pair_rows",
    "protocol",
    "study_csv",
    "study_latex",
    "study_markdown",
    "study_pairs_csv",
    "shown_percent",
    "study_text",
    "summary_rows",
    "summary_tops",
    "warnings_of",
]

SummaryRow: TypeAlias = tuple[str, list[Estimate | None], float | None]
"""A system, its mean recall on each benchmark, and, where it has all, their mean."""
LEVEL = 0.05
"""Pairs whose corrected p lies below it are told apart."""

_DIRECTIONS = ("text_to_image", "image_to_text")


def figure_names(report: StudyReport) -> list[str]:
    """The columns of a benchmark's table."""
    return [*(f"{direction} R@{k}" for direction in _DIRECTIONS for k in report.ks), MEAN_RECALL]


def protocol(report: StudyReport) -> str:
    """How the figures of a study were made."""
    return (
        "R@k in percent: the share of queries with at least one relevant item among the k best (what CLIP papers call "
        "recall). text_to_image: a caption asks for its image; image_to_text: an image asks for any of its captions. "
        "Ranks are exact, by cosine; equal scores rank in the order of the annotations. Mean recall is the mean of "
        "R@1, R@5 and R@10 of both directions. Intervals are the middle 95 % of 2,000 bootstrap samples of images, "
        "each with all its captions; at 0 and 100 %, where these collapse, Wilson's. Pairs are compared by mean recall "
        "with a paired randomisation test that swaps all answers for an image at once; their p are corrected by Holm's "
        f"method for all {len(report.pairs):,} of the study."
    )


def warnings_of(report: StudyReport) -> list[str]:
    """What whoever looks at the figures has to know first."""
    warnings = []
    if report.limit is not None:
        warnings.append(
            f"SMOKE RUN: only the first {report.limit:,} images of each benchmark, with their captions. These figures "
            "are not the benchmarks'"
        )
    for table in report.tables:
        departures = dict.fromkeys(words for system in table.systems for words in system.cell.departures)
        if departures:
            warnings.append(f"{table.benchmark} is not comparable with published figures: {'; '.join(departures)}")
        warnings += [
            f"{system.name} on {table.benchmark}: {system.cell.truncated:,} texts were cut at the end"
            for system in table.systems
            if system.cell.truncated
        ]
    for failure in report.failures:
        reason = failure.reason.rstrip(".?!")
        warnings.append(f"NOT MEASURED: {failure.model} ({failure.variant}) on {failure.benchmark}: {reason}")
    return warnings


def best_cells(report: StudyReport, table: BenchmarkTable) -> set[tuple[str, str]]:
    """(system, figure) of the best of each column, as it is printed; none where there is one system only."""
    if len(table.systems) < 2:
        return set()
    best = set()
    for name in figure_names(report):
        shown = {system.name: _percent(system.figures[name]) for system in table.systems}
        top = max(shown.values(), key=float)
        best |= {(system, name) for system, value in shown.items() if value == top}
    return best


def summary_rows(report: StudyReport) -> list[SummaryRow]:
    """Mean recall: a row a system, with its figure on each benchmark and, where it has all, their mean. Empty where
    there is one benchmark."""
    if len(report.tables) < 2:
        return []
    names = dict.fromkeys(system.name for table in report.tables for system in table.systems)
    rows = []
    for name in names:
        figures = [
            next((system.figures[MEAN_RECALL] for system in table.systems if system.name == name), None)
            for table in report.tables
        ]
        values = [figure.value for figure in figures if figure is not None]
        rows.append((name, figures, sum(values) / len(values) if len(values) == len(figures) else None))
    return rows


def summary_tops(summary: Sequence[SummaryRow]) -> list[str | None]:
    """The best of each column of mean recall, as it is printed; None where there is one row only."""
    columns = zip(*([*figures, mean] for _, figures, mean in summary), strict=True)
    shown = [[cell for cell in map(shown_percent, column) if cell] for column in columns]
    return [max(cells, key=float, default=None) if len(summary) > 1 else None for cells in shown]


def shown_percent(value: Estimate | float | None) -> str:
    """A figure in percent, as tables have it; nothing where there is none."""
    if value is None:
        return ""
    return _percent(value) if isinstance(value, Estimate) else f"{100 * value:.1f}"


def costs_of(report: StudyReport) -> dict[str, EncoderCosts]:
    """Model and precision, as "model" or "model, fp16" -> what it costs, as it was measured last."""
    cells = sorted((s.cell for table in report.tables for s in table.systems), key=lambda cell: cell.measured_at)
    several = len({cell.precision for cell in cells}) > 1
    order = dict.fromkeys(s.model for table in report.tables for s in table.systems)
    found = {(cell.model, cell.precision): cell.costs for cell in cells if cell.costs is not None}
    return {
        f"{model}, {precision}" if several else model: costs
        for (model, precision), costs in sorted(found.items(), key=lambda item: list(order).index(item[0][0]))
    }


def cost_rows(report: StudyReport) -> Table:
    """A row a model: parameters, operations and speed."""
    header = ["model", "parameters", "of them image", "GFLOPs an image", "GFLOPs a text", "images/s", "on"]
    rows = [
        [
            name,
            _count(costs.parameters, 1e6, " M"),
            _count(costs.image_parameters, 1e6, " M"),
            _count(costs.image_flops, 1e9),
            _count(costs.text_flops, 1e9),
            f"{costs.images_per_second:,.1f}",
            f"{costs.device}, {costs.precision}",
        ]
        for name, costs in costs_of(report).items()
    ]
    return header, rows


def _count(value: int | None, unit: float, suffix: str = "") -> str:
    return "not counted" if value is None else f"{value / unit:,.{1 if value >= unit else 3}f}{suffix}"


def pair_rows(report: StudyReport, benchmark: str) -> Table:
    """A row a pair of systems on a benchmark: the difference in mean recall."""
    header = ["second against first", "difference", "95 % interval", "p", "p (Holm)", "told apart"]
    rows = [
        [
            f"{each.pair.second} against {each.pair.first}",
            f"{100 * each.pair.difference.value:+.2f}",
            f"{100 * each.pair.difference.interval.low:+.2f} to {100 * each.pair.difference.interval.high:+.2f}",
            _p(each.pair.difference.p),
            _p(each.p_holm),
            "yes" if each.p_holm < LEVEL else "no",
        ]
        for each in report.pairs
        if each.benchmark == benchmark
    ]
    return header, rows


def _p(value: float) -> str:
    return f"{value:.4f}" if value >= 0.0001 else "< 0.0001"


def _percent(estimate: Estimate) -> str:
    return f"{100 * estimate.value:.1f}"


def _half(estimate: Estimate) -> str:
    return f"{50 * (estimate.interval.high - estimate.interval.low):.1f}"


# --- text -------------------------------------------------------------------------------------------------------------


def study_text(report: StudyReport) -> str:
    """For a terminal: two lines a system, its figures and, below each, half the width of its 95 % interval."""
    lines = [*(f"{words}." for words in warnings_of(report))]
    for table in report.tables:
        lines += ["", table.benchmark, table.title, *_text_table(report, table)]
    if summary := summary_rows(report):
        lines += ["", "Mean recall", *_text_summary(report, summary)]
    if report.tables:
        lines += ["", "Below each figure: half the width of its 95 % interval. *: the best of its column."]
    lines += [*_text_pairs(report), *_text_costs(report)]
    return "\n".join(lines).lstrip("\n") + "\n"


def _text_table(report: StudyReport, table: BenchmarkTable) -> list[str]:
    best = best_cells(report, table)
    width = max(len(system.name) for system in table.systems)
    columns = 7 * len(report.ks)
    lines = [
        f"{'':{width}}  " + "  ".join(f"{direction:>{columns}}" for direction in _DIRECTIONS) + f"  {'mean':>7}",
        f"{'':{width}}  "
        + "  ".join("".join(f"{f'R@{k}':>7}" for k in report.ks) for _ in _DIRECTIONS)
        + f"  {'recall':>7}",
    ]
    for system in table.systems:
        marked = {
            name: ("*" if (system.name, name) in best else "") + _percent(figure)
            for name, figure in system.figures.items()
        }
        lines.append(f"{system.name:{width}}  {_text_cells(report, marked)}")
        halves = {name: _half(figure) for name, figure in system.figures.items()}
        lines.append(f"{'':{width}}  {_text_cells(report, halves)}")
    return lines


def _text_cells(report: StudyReport, cells: dict[str, str]) -> str:
    sides = ["".join(f"{cells[f'{direction} R@{k}']:>7}" for k in report.ks) for direction in _DIRECTIONS]
    return "  ".join([*sides, f"{cells[MEAN_RECALL]:>7}"])


def _text_summary(report: StudyReport, summary: Sequence[SummaryRow]) -> Iterator[str]:
    width = max(len(name) for name, _, _ in summary)
    headers = [*(table.benchmark for table in report.tables), "mean"]
    widths = [max(7, len(header)) for header in headers]
    yield f"{'':{width}}  " + "  ".join(f"{h:>{w}}" for h, w in zip(headers, widths, strict=True))
    tops = summary_tops(summary)
    for name, figures, mean in summary:
        shown = [shown_percent(value) for value in (*figures, mean)]
        cells = [f"*{cell}" if cell and cell == top else cell or "-" for cell, top in zip(shown, tops, strict=True)]
        yield f"{name:{width}}  " + "  ".join(f"{c:>{w}}" for c, w in zip(cells, widths, strict=True))


def _text_pairs(report: StudyReport) -> Iterator[str]:
    if not report.pairs:
        return
    apart = sum(each.p_holm < LEVEL for each in report.pairs)
    yield (
        f"{apart:,} of {len(report.pairs):,} pairs are told apart by mean recall (Holm's correction, level {LEVEL:.0%})"
    )
    unsure = [each for each in report.pairs if each.p_holm >= LEVEL]
    for each in unsure[:10]:
        yield (
            f"  not {each.pair.first} and {each.pair.second} on {each.benchmark}: "
            f"{100 * each.pair.difference.value:+.2f}, p {_p(each.p_holm)}"
        )
    if len(unsure) > 10:
        yield f"  nor {len(unsure) - 10:,} more: see the page"


def _text_costs(report: StudyReport) -> Iterator[str]:
    header, rows = cost_rows(report)
    if not rows:
        return
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    yield ""
    for row in (header, *rows):
        cells = [
            f"{row[0]:<{widths[0]}}",
            *(f"{cell:>{width}}" for cell, width in zip(row[1:-1], widths[1:-1], strict=True)),
        ]
        yield "  ".join([*cells, row[-1]])


# --- Markdown ---------------------------------------------------------------------------------------------------------


def study_markdown(report: StudyReport) -> str:
    """The whole study, the best of each column in bold, intervals small below."""
    parts = [f"# {report.name}", "", *(f"**{words}.**\n" for words in warnings_of(report))]
    for table in report.tables:
        best = best_cells(report, table)
        header = ["model", *figure_names(report)]
        rows = [
            [
                system.name,
                *(_markdown_cell(system.figures[name], (system.name, name) in best) for name in figure_names(report)),
            ]
            for system in table.systems
        ]
        parts += [f"## {table.benchmark}", "", table.title, "", *format_table((header, rows)), ""]
    if summary := summary_rows(report):
        header = ["model", *(table.benchmark for table in report.tables), "mean"]
        tops = summary_tops(summary)
        rows = [
            [
                name,
                *(
                    "" if figure is None else _markdown_cell(figure, shown_percent(figure) == top)
                    for figure, top in zip(figures, tops, strict=False)
                ),
                f"**{shown_percent(mean)}**" if shown_percent(mean) == tops[-1] else shown_percent(mean),
            ]
            for name, figures, mean in summary
        ]
        parts += ["## Mean recall", "", *format_table((header, rows)), ""]
    for table in report.tables:
        if (pairs := pair_rows(report, table.benchmark))[1]:
            parts += [f"## All pairs on {table.benchmark}, by mean recall", "", *format_table(pairs), ""]
    if (costs := cost_rows(report))[1]:
        parts += ["## What the models cost", "", *format_table(costs), ""]
    parts += ["## Protocol", "", protocol(report), ""]
    return "\n".join(parts)


def _markdown_cell(figure: Estimate, is_best: bool) -> str:
    value = f"**{_percent(figure)}**" if is_best else _percent(figure)
    return f"{value}<br><sub>{100 * figure.interval.low:.1f} to {100 * figure.interval.high:.1f}</sub>"


# --- CSV --------------------------------------------------------------------------------------------------------------


def study_csv(report: StudyReport) -> str:
    """A row a figure, as programs that draw and compute want it: shares, not percent."""
    out = io.StringIO(newline="")
    rows = [row for table in report.tables for system in table.systems for row in _csv_rows(report, table, system)]
    columns = ["study", "limit", "benchmark", "images", "captions", "model", "options", "spec", "fingerprint"]
    columns += ["precision", "preprocessing", "device", "figure", "value", "low", "high"]
    columns += ["parameters", "image_parameters", "image_flops", "text_flops", "images_per_second"]
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _csv_rows(report: StudyReport, table: BenchmarkTable, system: StudySystem) -> Iterator[dict[str, object]]:
    cell, costs = system.cell, system.cell.costs
    for name, figure in system.figures.items():
        yield {
            "study": report.name,
            "limit": "" if report.limit is None else report.limit,
            "benchmark": table.benchmark,
            "images": cell.n_images,
            "captions": len(cell.image_of_caption),
            "model": system.model,
            "options": system.variant,
            "spec": cell.encoder.spec,
            "fingerprint": cell.encoder.fingerprint,
            "precision": cell.precision,
            "preprocessing": cell.preprocessing,
            "device": cell.device,
            "figure": name,
            "value": figure.value,
            "low": figure.interval.low,
            "high": figure.interval.high,
            **(
                {}
                if costs is None
                else {
                    "parameters": costs.parameters,
                    "image_parameters": costs.image_parameters,
                    "image_flops": costs.image_flops,
                    "text_flops": costs.text_flops,
                    "images_per_second": costs.images_per_second,
                }
            ),
        }


def study_pairs_csv(report: StudyReport) -> str:
    """A row a pair of systems on a benchmark: the second minus the first in mean recall."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["benchmark", "first", "second", "difference", "low", "high", "p", "p_holm"])
    for each in report.pairs:
        found = each.pair.difference
        names = (each.benchmark, each.pair.first, each.pair.second)
        writer.writerow([*names, found.value, found.interval.low, found.interval.high, found.p, each.p_holm])
    return out.getvalue()


# --- LaTeX ------------------------------------------------------------------------------------------------------------


def study_latex(report: StudyReport) -> str:
    r"""Tables for booktabs, to be put in with \input: one a benchmark, and mean recall of all. The best of each column
    is bold, intervals stand small below."""
    lines = [r"% \usepackage{booktabs}", *(f"% {latex_text(words)}" for words in warnings_of(report))]
    for table in report.tables:
        lines += _latex_table(report, table)
    if summary := summary_rows(report):
        lines += _latex_summary(report, summary)
    return "\n".join(lines) + "\n"


def _latex_table(report: StudyReport, table: BenchmarkTable) -> Iterator[str]:
    best = best_cells(report, table)
    n = len(report.ks)
    yield from (r"\begin{table*}", r"  \centering", rf"  \caption{{{_latex_caption(report, table)}}}")
    yield r"  \footnotesize\setlength{\tabcolsep}{3pt}\medskip"
    yield from (rf"  \begin{{tabular}}{{l{'r' * (2 * n + 1)}}}", r"    \toprule")
    yield (
        rf"    & \multicolumn{{{n}}}{{c}}{{text $\rightarrow$ image}} "
        rf"& \multicolumn{{{n}}}{{c}}{{image $\rightarrow$ text}} & mean \\"
    )
    yield rf"    \cmidrule(lr){{2-{n + 1}}} \cmidrule(lr){{{n + 2}-{2 * n + 1}}}"
    yield "    model & " + " & ".join([f"R@{k}" for k in report.ks] * 2) + r" & recall \\"
    yield r"    \midrule"
    for system in table.systems:
        figures = [(name, system.figures[name]) for name in figure_names(report)]
        cells = [_latex_bold(_percent(figure), (system.name, name) in best) for name, figure in figures]
        yield f"    {latex_text(system.name)} & " + " & ".join(cells) + r" \\[-2pt]"
        yield "    & " + " & ".join(_latex_interval(figure) for _, figure in figures) + r" \\[2pt]"
    yield from (r"    \bottomrule", r"  \end{tabular}", r"\end{table*}")


def _latex_summary(report: StudyReport, summary: Sequence[SummaryRow]) -> Iterator[str]:
    smoke = f" Smoke run: the first {report.limit:,} images of each benchmark only." if report.limit else ""
    caption = (
        "Mean recall in percent: the mean of R@1, R@5 and R@10 of both directions. Below each figure its 95 % interval "
        f"(bootstrap over images).{smoke}"
    )
    yield from (r"\begin{table}", r"  \centering", rf"  \caption{{{latex_text(caption)}}}", r"  \footnotesize\medskip")
    yield from (rf"  \begin{{tabular}}{{l{'r' * (len(report.tables) + 1)}}}", r"    \toprule")
    yield "    model & " + " & ".join([*(latex_text(table.benchmark) for table in report.tables), "mean"]) + r" \\"
    yield r"    \midrule"
    tops = summary_tops(summary)
    for name, figures, mean in summary:
        shown = [shown_percent(value) for value in (*figures, mean)]
        cells = [_latex_bold(cell, cell != "" and cell == top) for cell, top in zip(shown, tops, strict=True)]
        yield f"    {latex_text(name)} & " + " & ".join(cells) + r" \\[-2pt]"
        yield "    & " + " & ".join([*("" if f is None else _latex_interval(f) for f in figures), ""]) + r" \\[2pt]"
    yield from (r"    \bottomrule", r"  \end{tabular}", r"\end{table}")


def _latex_bold(cell: str, is_best: bool) -> str:
    return rf"\textbf{{{cell}}}" if is_best else cell


def _latex_interval(figure: Estimate) -> str:
    return rf"{{\tiny {100 * figure.interval.low:.1f}--{100 * figure.interval.high:.1f}}}"


def _latex_caption(report: StudyReport, table: BenchmarkTable) -> str:
    smoke = f" Smoke run: the first {report.limit:,} images only." if report.limit else ""
    departures = dict.fromkeys(words for system in table.systems for words in system.cell.departures)
    caveat = f" Not comparable with published figures: {'; '.join(departures)}." if departures else ""
    return latex_text(
        f"{table.benchmark} ({table.title}). R@k in percent: the share of queries with at least one relevant item "
        "among the k best; exact ranks by cosine. Below each figure its 95 % interval (bootstrap over images). Mean "
        f"recall is the mean of R@1, R@5 and R@10 of both directions.{smoke}{caveat}"
    )
