"""A study as one HTML file: tables, plots, pairs, costs. It needs no network and no other file."""

from collections.abc import Iterator, Mapping, Sequence

from mmsearch.evaluation.studies import BenchmarkTable, StudyReport
from mmsearch.metrics import Estimate
from mmsearch.reports.page_parts import document, escape, table_html
from mmsearch.reports.study_tables import (
    best_cells,
    cost_rows,
    figure_names,
    pair_rows,
    protocol,
    shown_percent,
    summary_rows,
    summary_tops,
    warnings_of,
)

__all__ = ["study_page"]

_OPEN_PAIRS = 30  # rows of pairs that stand open; more are folded away


def study_page(report: StudyReport, svgs: Mapping[str, Sequence[Sequence[str]]]) -> str:
    """svgs: benchmark -> its plots, in groups that begin a row each."""
    parts = [f"<h1>{escape(report.name)}</h1>"]
    parts += [f"<p class=warn>{escape(words)}.</p>" for words in warnings_of(report)]
    parts += _summary_html(report)
    for table in report.tables:
        parts += [f"<h2>{escape(table.benchmark)}</h2>", f"<p class=faint>{escape(table.title)}</p>"]
        parts.append(_table_html(report, table))
        parts += [f"<div class=plots>{''.join(group)}</div>" for group in svgs[table.benchmark]]
        parts += _pairs_html(report, table)
    costs = cost_rows(report)
    if costs[1]:
        parts += [
            "<h2>What the models cost</h2>",
            table_html(costs),
            "<p class=faint>Parameters are the weights that take part; operations were counted while an image and a "
            "text as long as the model reads were encoded, a multiplication and an addition being two. Images a second "
            "were measured on prepared pixels, without decoding.</p>",
        ]
    parts += ["<h2>Protocol</h2>", f"<p>{escape(protocol(report))}</p>", *_machines_html(report)]
    return document(report.name, parts)


def _summary_html(report: StudyReport) -> Iterator[str]:
    summary = summary_rows(report)
    if not summary:
        return
    head = "".join(f"<th>{escape(name)}</th>" for name in ("model", *(t.benchmark for t in report.tables), "mean"))
    tops = summary_tops(summary)
    rows = [
        [
            escape(name),
            *(
                "" if figure is None else _figure_html(figure, is_best=shown_percent(figure) == top)
                for figure, top in zip(figures, tops, strict=False)
            ),
            f"<b>{shown_percent(mean)}</b>" if shown_percent(mean) == tops[-1] else shown_percent(mean),
        ]
        for name, figures, mean in summary
    ]
    yield "<h2>Mean recall</h2>"
    yield "<p class=faint>In percent: the mean of R@1, R@5 and R@10 of both directions; below it the 95 % interval.</p>"
    yield f"<div class=scroll><table><tr>{head}</tr>{_rows_html(rows)}</table></div>"


def _table_html(report: StudyReport, table: BenchmarkTable) -> str:
    best, names = best_cells(report, table), figure_names(report)
    n = len(report.ks)
    head = (
        f"<tr><th></th><th colspan={n}>text_to_image</th><th colspan={n}>image_to_text</th><th></th></tr>"
        "<tr><th>model</th>"
        + "".join(f"<th>R@{k}</th>" for _ in range(2) for k in report.ks)
        + "<th>mean recall</th></tr>"
    )
    rows = [
        [
            escape(system.name),
            *(_figure_html(system.figures[name], is_best=(system.name, name) in best) for name in names),
        ]
        for system in table.systems
    ]
    return f"<div class=scroll><table>{head}{_rows_html(rows)}</table></div>"


def _rows_html(rows: list[list[str]]) -> str:
    return "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)


def _figure_html(figure: Estimate, *, is_best: bool = False) -> str:
    value = f"{100 * figure.value:.1f}"
    interval = f"{100 * figure.interval.low:.1f} to {100 * figure.interval.high:.1f}"
    return f"{f'<b>{value}</b>' if is_best else value}<br><small class=faint>{interval}</small>"


def _pairs_html(report: StudyReport, table: BenchmarkTable) -> Iterator[str]:
    pairs = pair_rows(report, table.benchmark)
    if not pairs[1]:
        return
    is_open = " open" if len(pairs[1]) <= _OPEN_PAIRS else ""
    summary = f"All {len(pairs[1]):,} pairs, by mean recall"
    yield f"<details{is_open}><summary>{summary}</summary>{table_html(pairs)}</details>"


def _machines_html(report: StudyReport) -> Iterator[str]:
    cells = [system.cell for table in report.tables for system in table.systems]
    for line in dict.fromkeys(
        f"{', '.join(f'{name} {version}' for name, version in cell.versions.items())}; "
        f"{', '.join(cell.hardware.values())} cores; {cell.device}"
        for cell in cells
    ):
        yield f"<p class=faint>{escape(line)}</p>"
    models = dict.fromkeys((cell.model, cell.encoder.spec, cell.encoder.fingerprint) for cell in cells)
    yield (
        "<ul class=faint>"
        + "".join(
            f"<li>{escape(name)}: {escape(spec)}, {escape(fingerprint[:23])}…</li>"
            for name, spec, fingerprint in models
        )
        + "</ul>"
    )
