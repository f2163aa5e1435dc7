"""Zero-shot classification as JSON, Markdown, a page, tables, and a row a picture."""

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmsearch.errors import StoreError
from mmsearch.evaluation import ClassResult, ZeroShotReport, ZeroShotSystem, zeroshot_document
from mmsearch.metrics import Difference, Estimate
from mmsearch.names import shown
from mmsearch.reports.markdown import Table, format_table
from mmsearch.reports.page_parts import document, escape, table_html
from mmsearch.reports.pictures import picture_html
from mmsearch.reports.report_files import require_target, write_text
from mmsearch.reports.spreadsheets import latex_text
from mmsearch.reports.zeroshot_plots import zeroshot_plots
from mmsearch.strict_json import json_text

__all__ = [
    "ZEROSHOT_KINDS",
    "prediction_rows",
    "write_zeroshot",
    "zeroshot_csv",
    "zeroshot_latex",
    "zeroshot_markdown",
    "zeroshot_page",
    "zeroshot_tables",
]

ZEROSHOT_KINDS = (".json", ".md", ".html", ".csv", ".tex", ".jsonl", ".parquet")
"""The suffixes of the files that `write_zeroshot` writes."""
_MOST_CONFUSIONS = 25
_MOST_MISTAKES = 12
_ROWS = 4_096  # of a row group


def write_zeroshot(report: ZeroShotReport, target: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Write a report to a file of one of the kinds, or all of it to a folder; returns the files.

    .json, .md and .html hold the whole report, .csv and .tex the table of its figures, .jsonl and .parquet a row a
    picture (see `prediction_rows`). A folder gets report.json, report.md, report.html, figures.csv, figures.tex,
    classes.csv, predictions.parquet and plots/*.svg. Raises StoreError.
    """
    path = require_target(target, ZEROSHOT_KINDS)
    if path.suffix.lower() in ZEROSHOT_KINDS and not path.is_dir():
        return (_write_kind(report, path),)
    try:
        (path / "plots").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make the folder {path}: {error.strerror or error}") from error
    svgs = zeroshot_plots(report)
    names = ("report.json", "report.md", "figures.csv", "figures.tex", "predictions.parquet")
    files = [_write_kind(report, path / name) for name in names]
    files.append(write_text(path / "classes.csv", _classes_csv(report)))
    files.append(write_text(path / "report.html", zeroshot_page(report, svgs)))
    return (*files, *(write_text(path / "plots" / f"{name}.svg", svg) for name, svg in svgs.items()))


def _write_kind(report: ZeroShotReport, file: Path) -> Path:
    kind = file.suffix.lower()
    rows = {".jsonl": _write_jsonl, ".parquet": _write_parquet}
    if kind in rows:
        try:
            rows[kind](report, file)
        except OSError as error:
            raise StoreError(f"cannot write {file}: {error.strerror or error}") from error
        return file
    if kind == ".json":
        return write_text(file, json_text(zeroshot_document(report), default=str, indent=1) + "\n")
    texts = {".md": zeroshot_markdown, ".html": zeroshot_page, ".csv": zeroshot_csv, ".tex": zeroshot_latex}
    return write_text(file, texts[kind](report))


def zeroshot_tables(report: ZeroShotReport) -> dict[str, Table]:
    """Heading -> table: the figures of all systems, how they differ, calibration, confusions and classes."""
    tables = {"Figures": _figure_rows(report)}
    if any(system.published for system in report.systems):
        tables["Beside published figures"] = _published_rows(report)
    if report.comparisons:
        tables["Compared on the same pictures"] = _comparison_rows(report)
    if not report.multilabel:
        tables["Calibration"] = _calibration_rows(report)
        for system in report.systems:
            if system.confusions:
                tables[f"What is taken for what{_of(system, report)}"] = _confusion_rows(system, report)
    return tables | {"Classes, the worst of the first model first": _class_rows(report)}


def _of(system: ZeroShotSystem, report: ZeroShotReport) -> str:
    return f": {system.name}" if len(report.systems) > 1 else ""


def _figure_rows(report: ZeroShotReport) -> Table:
    rows = [[system.name, *map(_share, system.figures.values())] for system in report.systems]
    return ["model", *report.figures], rows


def _published_rows(report: ZeroShotReport) -> Table:
    header = ["model", "figure", "here", "published", "inside the interval", "published as", "differs in", "source"]
    rows = [
        [
            system.name,
            each.figure,
            _share(each.ours),
            f"{100 * each.published:.2f}",
            "yes" if each.inside else "NO",
            each.model,
            "; ".join(each.differing) or "nothing known",
            each.source,
        ]
        for system in report.systems
        for each in system.published
    ]
    return header, rows


def _comparison_rows(report: ZeroShotReport) -> Table:
    rows = [
        [f"{each.second} against {each.first}", name, _change(difference), f"{difference.p:.4f}"]
        for each in report.comparisons
        for name, difference in each.differences.items()
    ]
    return ["models", "figure", "difference", "p"], rows


def _calibration_rows(report: ZeroShotReport) -> Table:
    rows = []
    for system in report.systems:
        if (judged := system.calibration) is not None:
            scale = f"{judged.scale:.2f}" + ("" if judged.stated else ", CLIP's: the model states none")
            figures = [f"{100 * judged.confidence:.2f}", _share(judged.error), _share(judged.auroc)]
            rows.append([system.name, scale, _share(system.figures["top1"]), *figures])
    return ["model", "scale", "top1", "mean chance of the best class", "ECE", "AUROC of that chance"], rows


def _confusion_rows(system: ZeroShotSystem, report: ZeroShotReport) -> Table:
    images = {each.shown: result.images for each, result in zip(report.classes, system.classes, strict=True)}
    rows = [
        [each.actual, each.predicted, f"{each.images:,}", f"{100 * each.images / images[each.actual]:.1f}"]
        for each in system.confusions[:_MOST_CONFUSIONS]
    ]
    return ["class", "taken for", "pictures", "% of the class"], rows


def _class_rows(report: ZeroShotReport) -> Table:
    first = report.systems[0]
    order = sorted(range(len(first.classes)), key=lambda index: _first_figure(first.classes[index]))
    names = ("average_precision",) if report.multilabel else ("top1", "top5")
    header = ["class", "pictures"]
    for system in report.systems:
        header += [f"{name}{_of(system, report)}" for name in names]
    rows = []
    for index in order:
        cells = [_percent(getattr(system.classes[index], name)) for system in report.systems for name in names]
        rows.append([report.classes[index].shown, f"{first.classes[index].images:,}", *cells])
    return header, rows


def _first_figure(result: ClassResult) -> float:
    value = result.top1 if result.top1 is not None else result.average_precision
    return 2.0 if value is None else value


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f}"


def _share(estimate: Estimate) -> str:
    """In percent, with the ends of its interval in brackets."""
    low, high = 100 * estimate.interval.low, 100 * estimate.interval.high
    return f"{100 * estimate.value:.2f} [{low:.2f}, {high:.2f}]"


def _change(difference: Difference) -> str:
    value, low, high = (100 * each for each in (difference.value, difference.interval.low, difference.interval.high))
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"


def zeroshot_markdown(report: ZeroShotReport) -> str:
    """The whole report as Markdown."""
    parts = [f"# Zero-shot classification: {report.title}", "", _counts(report), ""]
    parts += [*(f"- {line}" for line in _made_with(report)), "", "Figures in percent, 95 % intervals in brackets.", ""]
    for heading, table in zeroshot_tables(report).items():
        parts += [f"## {heading}", "", *format_table(table), ""]
    parts += ["## Protocol", "", report.protocol, "", f"Templates: {_templates(report)}.", ""]
    parts += [*(f"- {problem}" for problem in report.problems), *([""] if report.problems else [])]
    return "\n".join([*parts, _made_by(report)]) + "\n"


def _counts(report: ZeroShotReport) -> str:
    left_out = f"; {len(report.unreadable):,} unreadable pictures left out" if report.unreadable else ""
    return (
        f"{report.images:,} pictures, {len(report.classes):,} candidate classes; read as {report.layout}{left_out}. "
        f"Names: {report.names_source}."
    )


def _made_with(report: ZeroShotReport) -> Iterator[str]:
    for system in report.systems:
        cut = f"; {system.truncated:,} texts truncated" if system.truncated else ""
        yield f"{system.name} on {system.device}, {system.precision}, fingerprint {system.encoder.fingerprint}{cut}"


def _templates(report: ZeroShotReport) -> str:
    named = ", ".join(repr(template) for template in report.templates[:3])
    return f"{len(report.templates)}: {named}{', …' if len(report.templates) > 3 else ''}"


def _made_by(report: ZeroShotReport) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    return f"{versions}. {', '.join(report.hardware.values())} cores."


def zeroshot_page(report: ZeroShotReport, drawn: Mapping[str, str] | None = None) -> str:
    """The whole report as one HTML file. drawn: its `zeroshot_plots`, where they are drawn already."""
    svgs = zeroshot_plots(report) if drawn is None else drawn
    parts = [f"<h1>Zero-shot classification: {escape(report.title)}</h1>", f"<p>{escape(_counts(report))}</p>"]
    parts += [f"<p class=faint>{escape(line)}</p>" for line in _made_with(report)]
    if report.problems:
        parts.append("<ul>" + "".join(f"<li>{escape(problem)}</li>" for problem in report.problems) + "</ul>")
    tables = zeroshot_tables(report)
    parts += ["<p class=faint>Figures in percent; below them their 95 % intervals.</p>"]
    parts += [table_html(tables.pop("Figures")), f"<div class=plots>{''.join(svgs.values())}</div>"]
    for heading, table in tables.items():
        parts += [f"<h2>{escape(heading)}</h2>", table_html(table)]
    if not report.multilabel:
        parts += [part for system in report.systems for part in _surest_mistakes(system, report)]
    parts += [
        "<h2>Protocol</h2>",
        f"<p>{escape(report.protocol)}</p>",
        f"<p>Templates: {escape(_templates(report))}.</p>",
        f"<p class=faint>{escape(_made_by(report))}</p>",
    ]
    return document(f"Zero-shot classification: {report.title}", parts)


def _surest_mistakes(system: ZeroShotSystem, report: ZeroShotReport) -> Iterator[str]:
    """The wrong answers with the highest chances, one of each pair of classes: often it is the label that is wrong."""
    evidence = system.evidence
    wrong = np.flatnonzero(evidence.ranks > 1)
    names = [each.shown for each in report.classes]
    figures: dict[tuple[int, int], str] = {}
    for row in wrong[np.argsort(-evidence.chances[wrong, 0], kind="stable")].tolist():
        actual, said = report.items.classes[row][0], int(evidence.top[row, 0])
        if (actual, said) not in figures:
            words = f"{names[actual]}: taken for {names[said]}, {100 * evidence.chances[row, 0]:.0f} %"
            figures[actual, said] = picture_html(report.items.images[row], report.items.files[row], words)
        if len(figures) == _MOST_MISTAKES:
            break
    if figures:
        yield f"<h2>The surest mistakes{escape(_of(system, report))}</h2>"
        yield "<p class=faint>One of each pair of classes, with the chance of the wrong one.</p>"
        yield f"<div class=row>{''.join(figures.values())}</div>"


def zeroshot_csv(report: ZeroShotReport) -> str:
    """A row a system: each figure and the ends of its 95 % interval."""
    rows = []
    for system in report.systems:
        row: dict[str, Any] = {
            "benchmark": report.benchmark,
            "system": system.name,
            "precision": system.precision,
            "pictures": report.images,
            "classes": len(report.classes),
            "templates": len(report.templates),
        }
        figures = dict(system.figures)
        if system.calibration is not None:
            figures["ECE"] = system.calibration.error
        for name, estimate in figures.items():
            row |= {name: estimate.value, f"{name}_low": estimate.interval.low, f"{name}_high": estimate.interval.high}
        rows.append(row)
    return _csv(rows)


def _classes_csv(report: ZeroShotReport) -> str:
    rows = []
    for system in report.systems:
        for number, result in enumerate(system.classes):
            found = {"top1": result.top1, "top5": result.top5}
            if report.multilabel:
                found = {"average_precision": result.average_precision}
            row = {"system": system.name, "class": number, "folder": result.folder, "name": result.name}
            rows.append({**row, "pictures": result.images, **found})
    return _csv(rows)


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def zeroshot_latex(report: ZeroShotReport) -> str:
    """A table for booktabs: a row a system, figures in percent, the best of each column, as it is printed, in bold."""
    names = list(report.figures)
    columns = [[f"{100 * system.figures[name].value:.1f}" for name in names] for system in report.systems]
    best = [max(map(float, column)) for column in zip(*columns, strict=True)]
    caption = latex_text(f"{report.title}. {_counts(report)} {report.protocol} Templates: {len(report.templates)}.")
    lines = [
        r"% \usepackage{booktabs}",
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{caption}}}",
        rf"  \begin{{tabular}}{{l{'r' * len(names)}}}",
        r"    \toprule",
        "    model & " + " & ".join(map(latex_text, names)) + r" \\",
        r"    \midrule",
    ]
    for system, cells in zip(report.systems, columns, strict=True):
        emphasised = [
            rf"\textbf{{{cell}}}" if len(report.systems) > 1 and float(cell) == top else cell
            for cell, top in zip(cells, best, strict=True)
        ]
        lines.append(f"    {latex_text(system.name)} & " + " & ".join(emphasised) + r" \\")
    return "\n".join([*lines, r"    \bottomrule", r"  \end{tabular}", r"\end{table}"]) + "\n"


def prediction_rows(report: ZeroShotReport) -> Iterator[dict[str, Any]]:
    """A row a picture: id, classes (what it shows, by name), and of each system side by side, under its name, the rank
    of the best class that it has (from 1; 0 where it has none), and the best classes with cosines and chances, best
    first."""
    names = [each.shown for each in report.classes]
    for row, (image, classes) in enumerate(zip(report.items.images, report.items.classes, strict=True)):
        yield {
            "id": image,
            "classes": [names[index] for index in classes],
            "systems": {
                system.name: {
                    "rank": int(system.evidence.ranks[row]),
                    "top": [names[index] for index in system.evidence.top[row].tolist()],
                    "scores": system.evidence.scores[row].tolist(),
                    "chances": system.evidence.chances[row].tolist(),
                }
                for system in report.systems
            },
        }


def _write_jsonl(report: ZeroShotReport, file: Path) -> None:
    with file.open("w", encoding="utf-8", errors="backslashreplace") as stream:
        for row in prediction_rows(report):
            stream.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")


def _write_parquet(report: ZeroShotReport, file: Path) -> None:
    """The same rows; `systems` is a struct with a field a system."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    said = pa.struct(
        [
            ("rank", pa.int64()),
            ("top", pa.list_(pa.string())),
            ("scores", pa.list_(pa.float64())),
            ("chances", pa.list_(pa.float64())),
        ]
    )
    systems = pa.struct([(shown(system.name), said) for system in report.systems])
    schema = pa.schema([("id", pa.string()), ("classes", pa.list_(pa.string())), ("systems", systems)])
    # Opened here: Arrow takes no name that is not UTF-8.
    with file.open("wb") as stream, pq.ParquetWriter(stream, schema, compression="zstd") as writer:
        rows: list[dict[str, Any]] = []
        for row in prediction_rows(report):
            rows.append(_make_valid(row))
            if len(rows) == _ROWS:
                writer.write_table(pa.Table.from_pylist(rows, schema))
                rows = []
        writer.write_table(pa.Table.from_pylist(rows, schema))


def _make_valid(value: Any) -> Any:
    """Text without what is not Unicode: names on disk can be any bytes."""
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, dict):
        return {shown(key): _make_valid(each) for key, each in value.items()}
    return [_make_valid(item) for item in value] if isinstance(value, list) else value
