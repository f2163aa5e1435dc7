"""Zero-shot classification beside what learns from pictures: JSON, Markdown, a page, tables, a plot."""

import csv
import io
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.errors import StoreError
from mmsearch.evaluation import Baseline, LinearReport, linear_document
from mmsearch.reports.markdown import Table, format_table
from mmsearch.reports.page_parts import document, escape, table_html
from mmsearch.reports.plots import COLOURS, draw_svg
from mmsearch.reports.report_files import require_target, write_text
from mmsearch.reports.spreadsheets import latex_text
from mmsearch.strict_json import json_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["LINEAR_KINDS", "draw_linear", "linear_markdown", "linear_page", "write_linear"]

LINEAR_KINDS = (".json", ".md", ".html", ".csv", ".tex")
"""The suffixes of the files that `write_linear` writes."""


def write_linear(report: LinearReport, target: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Write a report to a file of one of the kinds, or all of them to a folder with the plot; returns the files.

    Raises StoreError.
    """
    path = require_target(target, LINEAR_KINDS)
    if path.suffix.lower() in LINEAR_KINDS and not path.is_dir():
        return (_write_kind(report, path),)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make the folder {path}: {error.strerror or error}") from error
    files = [_write_kind(report, path / f"report{kind}") for kind in LINEAR_KINDS]
    return (*files, write_text(path / "shots.svg", draw_linear(report)))


def _write_kind(report: LinearReport, file: Path) -> Path:
    kind = file.suffix.lower()
    if kind == ".json":
        return write_text(file, json_text(linear_document(report), default=str, indent=1) + "\n")
    texts = {".md": linear_markdown, ".html": linear_page, ".csv": _csv, ".tex": _latex}
    return write_text(file, texts[kind](report))


def _rows(report: LinearReport) -> Table:
    header = ["model", "method", "shots", "top1", "seeds", "mean_per_class", "against zero-shot", "p", "chosen"]
    return header, [
        [
            *(system.name, each.method, _shots(each), _share(each), _seeds(each), f"{100 * each.mean_per_class:.2f}"),
            *(*_against(each), each.setting),
        ]
        for system in report.systems
        for each in system.baselines
    ]


def _shots(each: Baseline) -> str:
    return "all" if each.shots is None else str(each.shots)


def _share(each: Baseline) -> str:
    low, high = 100 * each.top1.interval.low, 100 * each.top1.interval.high
    return f"{100 * each.top1.value:.2f} [{low:.2f}, {high:.2f}]"


def _seeds(each: Baseline) -> str:
    return "" if each.lowest == each.highest else f"{100 * each.lowest:.2f} to {100 * each.highest:.2f}"


def _against(each: Baseline) -> list[str]:
    if each.against is None:
        return ["", ""]
    found = each.against
    low, high = 100 * found.interval.low, 100 * found.interval.high
    return [f"{100 * found.value:+.2f} [{low:+.2f}, {high:+.2f}]", f"{found.p:.4f}"]


def linear_markdown(report: LinearReport) -> str:
    """The whole report as Markdown."""
    parts = [f"# Baselines: {report.title}", "", _counts(report), ""]
    parts += [line for system in report.systems for line in (f"**{system.name}**: {system.verdict}", "")]
    parts += ["Figures in percent, 95 % intervals in brackets.", "", *format_table(_rows(report)), ""]
    parts += ["## Protocol", "", report.protocol, ""]
    parts += [*(f"- {problem}" for problem in report.problems), *([""] if report.problems else [])]
    return "\n".join([*parts, _made_by(report)]) + "\n"


def _counts(report: LinearReport) -> str:
    return (
        f"{report.classes:,} classes; {report.asked:,} pictures asked, {report.learned:,} to learn from; "
        f"{report.seeds} seeds; read as {report.layout}; {len(report.templates)} templates, "
        f"{report.templates[0]!r} first."
    )


def _made_by(report: LinearReport) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    models = "; ".join(f"{each.name} on {each.device}, {each.precision}" for each in report.systems)
    return f"{models}. {versions}. {', '.join(report.hardware.values())} cores."


def linear_page(report: LinearReport) -> str:
    """The whole report as one HTML file."""
    parts = [f"<h1>Baselines: {escape(report.title)}</h1>", f"<p>{escape(_counts(report))}</p>"]
    parts += [f"<p><b>{escape(each.name)}</b>: {escape(each.verdict)}</p>" for each in report.systems]
    if report.problems:
        parts.append("<ul>" + "".join(f"<li>{escape(problem)}</li>" for problem in report.problems) + "</ul>")
    parts += [
        f"<div class=plots>{draw_linear(report)}</div>",
        "<p class=faint>Figures in percent; below them their 95 % intervals.</p>",
        table_html(_rows(report)),
        "<h2>Protocol</h2>",
        f"<p>{escape(report.protocol)}</p>",
        f"<p class=faint>{escape(_made_by(report))}</p>",
    ]
    return document(f"Baselines: {report.title}", parts)


def _csv(report: LinearReport) -> str:
    out = io.StringIO(newline="")
    rows: list[dict[str, Any]] = []
    for system in report.systems:
        for each in system.baselines:
            row: dict[str, Any] = {
                "benchmark": report.benchmark,
                "system": system.name,
                "method": each.method,
                "shots": _shots(each),
            }
            around = each.top1.interval
            row |= {"top1": each.top1.value, "top1_low": around.low, "top1_high": around.high}
            row |= {"mean_per_class": each.mean_per_class, "lowest_seed": each.lowest, "highest_seed": each.highest}
            rows.append(row | {"p": "" if each.against is None else each.against.p})
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _latex(report: LinearReport) -> str:
    """A table for booktabs: a row a method and number of shots, a column a model; top1 in percent."""
    names = [latex_text(system.name) for system in report.systems]
    lines = [
        r"% \usepackage{booktabs}",
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{latex_text(f'{report.title}: top1 in percent. {_counts(report)} {report.protocol}')}}}",
        rf"  \begin{{tabular}}{{ll{'r' * len(names)}}}",
        r"    \toprule",
        "    method & shots & " + " & ".join(names) + r" \\",
        r"    \midrule",
    ]
    for rows in zip(*(system.baselines for system in report.systems), strict=True):
        shots = "" if rows[0].shots == 0 else _shots(rows[0])
        figures = " & ".join(f"{100 * each.top1.value:.1f}" for each in rows)
        lines.append(f"    {latex_text(rows[0].method)} & {shots} & {figures}" + r" \\")
    return "\n".join([*lines, r"    \bottomrule", r"  \end{tabular}", r"\end{table}"]) + "\n"


def draw_linear(report: LinearReport) -> str:
    """SVG: top1 against shots, a panel a model; zero-shot as lines across."""
    return draw_svg(partial(_draw_panels, report=report), len(report.systems), (5.6, 4.2))


def _draw_panels(panels: "list[Axes]", report: LinearReport) -> None:
    lows = [each.top1.interval.low for system in report.systems for each in system.baselines]
    for panel, system in zip(panels, report.systems, strict=True):
        _draw(panel, system.baselines)
        panel.set(ylim=(max(0, 100 * min(lows) - 4), 101), xlabel="pictures of each class", ylabel="top1, %")
        panel.set_title(system.name if len(system.name) < 44 else f"{system.name[:43]}…")
    panels[0].legend(loc="lower right", fontsize=8)


def _draw(panel: "Axes", baselines: tuple[Baseline, ...]) -> None:
    zero = [each for each in baselines if each.shots == 0]
    for each, style in zip(zero, (":", "--"), strict=False):
        panel.axhline(100 * each.top1.value, color="#666666", linestyle=style, linewidth=1.3, label=each.method)
    last = zero[-1].top1.interval
    panel.axhspan(100 * last.low, 100 * last.high, color="#666666", alpha=0.1, linewidth=0)
    shots = sorted({each.shots for each in baselines if each.shots})
    ticks = [*shots, 2 * shots[-1]]  # the last for all pictures
    methods = list(dict.fromkeys(each.method for each in baselines if each.shots != 0))
    for number, (method, colour) in enumerate(zip(methods, COLOURS, strict=False)):
        found = [each for each in baselines if each.method == method]
        beside = 1.03 ** (number - 1)  # so that intervals do not cover each other
        places = np.array([(each.shots or ticks[-1]) * beside for each in found])
        values = 100 * np.array([each.top1.value for each in found])
        ends = 100 * np.array([[each.top1.interval.low, each.top1.interval.high] for each in found])
        around = np.maximum(0, np.stack([values - ends[:, 0], ends[:, 1] - values]))
        panel.errorbar(places, values, around, color=colour, marker="o", markersize=4, linewidth=1.4, label=method)
    panel.set_xscale("log", base=2)
    panel.set_xticks(ticks, [*map(str, shots), "all"])
    panel.minorticks_off()
