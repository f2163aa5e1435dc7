"""Writes the tables, plots and page of a study into its folder."""

from pathlib import Path

from mmsearch.errors import StoreError
from mmsearch.evaluation.studies import StudyReport
from mmsearch.reports.plots import draw_svg_and_pdf
from mmsearch.reports.report_files import write_text
from mmsearch.reports.study_page import study_page
from mmsearch.reports.study_plots import study_plots
from mmsearch.reports.study_tables import study_csv, study_latex, study_markdown, study_pairs_csv, study_text

__all__ = ["write_study"]


def write_study(report: StudyReport, folder: Path) -> tuple[Path, ...]:
    """Write study.txt, study.md, study.csv, pairs.csv, study.tex, study.html, and plots/*.svg and *.pdf; returns the
    files. Raises StoreError."""
    plots = folder / "plots"
    try:
        plots.mkdir(parents=True, exist_ok=True)
        for old in (*plots.glob("*.svg"), *plots.glob("*.pdf")):  # of benchmarks that are no longer part of it
            old.unlink()
    except OSError as error:
        raise StoreError(f"cannot write {plots}: {error.strerror or error}") from error
    texts = {
        "study.txt": study_text,
        "study.md": study_markdown,
        "study.csv": study_csv,
        "pairs.csv": study_pairs_csv,
        "study.tex": study_latex,
    }
    files = [write_text(folder / name, make(report)) for name, make in texts.items()]
    svgs: dict[str, tuple[list[str], list[str]]] = {table.benchmark: ([], []) for table in report.tables}
    for plot in study_plots(report):
        svg, drawn = draw_svg_and_pdf(plot.draw, 1, plot.size)
        svgs[plot.benchmark][plot.is_of_costs].append(svg)
        files.append(write_text(plots / f"{plot.name}.svg", svg))
        pdf = plots / f"{plot.name}.pdf"
        try:
            pdf.write_bytes(drawn)
        except OSError as error:
            raise StoreError(f"cannot write {pdf}: {error.strerror or error}") from error
        files.append(pdf)
    files.append(write_text(folder / "study.html", study_page(report, svgs)))
    return tuple(files)
