"""What a report gives to other programs: tables for spreadsheets and papers, and every query with its hits."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from mmsearch.evaluation import EvaluationReport, evaluate_vectors
from mmsearch.reports import figures_csv, figures_latex, markdown, page, plots, query_rows, write_report
from mmsearch.reports.spreadsheets import latex_text
from tests.conftest import Command
from tests.vectors import random_unit_vectors


@pytest.fixture
def systems(tmp_path: Path) -> list[tuple[str, str]]:
    """Four models of thirty images and captions: the first is perfect, each other noisier than the one before."""
    rng = np.random.default_rng(0)
    images = random_unit_vectors(rng, 30, 16)
    found = []
    for number, noise in enumerate((0.0, 0.6, 1.0, 1.6)):
        captions = images + noise * random_unit_vectors(rng, 30, 16)
        np.save(tmp_path / f"images_{number}.npy", images)
        np.save(tmp_path / f"captions_{number}.npy", captions.astype(np.float32))
        found.append((str(tmp_path / f"images_{number}.npy"), str(tmp_path / f"captions_{number}.npy")))
    return found


@pytest.fixture
def report(systems: list[tuple[str, str]]) -> EvaluationReport:
    return evaluate_vectors(systems)


def test_csv_has_every_figure_with_the_ends_of_its_interval(report: EvaluationReport) -> None:
    rows = list(csv.DictReader(io.StringIO(figures_csv(report))))
    assert [(row["system"], row["direction"]) for row in rows] == [
        (system.name, direction) for system in report.systems for direction in ("text_to_image", "image_to_text")
    ]
    for row, direction in zip(rows, (d for system in report.systems for d in system.directions), strict=True):
        assert float(row["R@5"]) == direction.recall[5]
        assert float(row["R@5_low"]) == direction.intervals["R@5"].low
        assert float(row["R@5_wilson_high"]) == direction.wilson[5].high
        assert float(row["MRR"]) == direction.mean_reciprocal_rank
    assert float(rows[0]["mean_recall"]) == report.systems[0].mean_recall == 1.0


def test_a_latex_table_has_a_row_a_model_and_the_best_in_bold(report: EvaluationReport) -> None:
    lines = figures_latex(report).splitlines()
    rows = [line for line in lines if line.strip().startswith("images\\_")]
    assert len(rows) == 4
    assert rows[0].count(r"\textbf{100.0}") == 7
    cells = [row.removesuffix(r" \\").split(" & ")[1:] for row in rows]
    for column, shown in enumerate(zip(*cells, strict=True)):
        bold = {cell for cell in shown if cell.startswith("\\textbf")}
        plain = [float(cell) for cell in shown if not cell.startswith("\\textbf")]
        assert len(bold) == 1, column
        assert all(value < float(next(iter(bold))[len("\\textbf{") : -1]) for value in plain)
    caption = next(line for line in lines if r"\caption" in line)
    assert "30 captions asked for 30 images" in caption
    text = "\n".join(lines)
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    for name in ("table", "tabular"):
        assert rf"\begin{{{name}}}" in text
        assert rf"\end{{{name}}}" in text


def test_one_model_alone_is_not_the_best(systems: list[tuple[str, str]]) -> None:
    assert "textbf" not in figures_latex(evaluate_vectors(systems[:1]))


def test_text_is_latex_whatever_it_holds() -> None:
    assert latex_text("a\\b{c} 50 % & #1 $x_1^2$ ~\n") == (
        r"a\textbackslash{}b\{c\} 50 \% \& \#1 \$x\_1\textasciicircum{}2\$ \textasciitilde{}"
    )


def test_every_query_stands_with_its_hits_in_a_row_of_its_own(report: EvaluationReport, tmp_path: Path) -> None:
    """As JSON lines and as Parquet, the same; and from them alone come the report's figures."""
    rows = list(query_rows(report))
    assert len(rows) == 4 * 60
    (file,) = write_report(report, tmp_path / "queries.jsonl")
    assert [json.loads(line) for line in file.read_text().splitlines()] == rows
    (file,) = write_report(report, tmp_path / "queries.parquet")
    assert pq.read_table(file).to_pylist() == rows
    for system in report.systems:
        mine = [row for row in rows if row["system"] == system.name and row["direction"] == "text_to_image"]
        assert np.mean([any(row["hit_relevant"][:5]) for row in mine]) == system.text_to_image.recall[5]
        assert np.mean([1 / row["rank"] for row in mine]) == pytest.approx(system.text_to_image.mean_reciprocal_rank)
        for row in mine:
            assert len(row["hit_ids"]) == len(row["hit_scores"]) == 10
            assert row["relevant_ids"] == [row["query_id"]]
            assert row["hit_scores"] == sorted(row["hit_scores"], reverse=True)


def test_four_models_are_four_rows_and_three_comparisons_six(report: EvaluationReport) -> None:
    text = markdown(report)
    table = text[text.index("| model |") :].split("\n\n")[0].splitlines()
    assert len(table) == 2 + 4
    compared = text[text.index("| second against first |") :].split("\n\n")[0].splitlines()
    assert len(compared) == 2 + 6


def test_files_are_named_by_their_models(report: EvaluationReport, tmp_path: Path) -> None:
    names = {file.name for file in write_report(report, tmp_path / "out")}
    assert "text_to_image.images_1.npy_captions_1.npy.run" in names
    run = (tmp_path / "out" / "text_to_image.images_1.npy_captions_1.npy.run").read_text()
    assert run.splitlines()[0].split()[5] == "images_1.npy_captions_1.npy"


def test_legends_cover_no_curve(report: EvaluationReport) -> None:
    """They stand below the panels: within an SVG, y grows downwards."""
    import re

    for name, svg in plots(report).items():
        legend = svg.find('<g id="legend_1">')
        assert legend > 0, name
        (height,) = re.findall(r'viewBox="0 0 [\d.]+ ([\d.]+)"', svg)
        axes = max(float(y) for y in re.findall(r'<text [^>]* y="([\d.]+)"', svg[:legend]))
        ys = [float(y) for y in re.findall(r'<text [^>]* y="([\d.]+)"', svg[legend:])]
        assert axes < min(ys) <= max(ys) < float(height), name


def test_the_command_writes_each_kind(systems: list[tuple[str, str]], tmp_path: Path, mmsearch: Command) -> None:
    places = [tmp_path / f"out.{kind}" for kind in ("csv", "tex", "jsonl", "parquet", "md", "html", "json")]
    options = [word for pair in systems[:2] for word in ("--images", pair[0], "--captions", pair[1])]
    done = mmsearch("eval", "vectors", *options, *(word for place in places for word in ("--report", place)))
    assert done.code == 0, done.err
    assert all(place.stat().st_size for place in places)
    assert "difference" in done.out
    assert "<h2>Compared on the same queries</h2>" in page(evaluate_vectors(systems[:2]))
    refused = mmsearch("eval", "vectors", *options, "--report", tmp_path / "out.pdf")
    assert (refused.code, ".tex for the table" in refused.err) == (1, True)
