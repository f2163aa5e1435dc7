"""What two systems returned for each query: side by side, by corrected scores, and where they disagree."""

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from mmsearch.evaluation import EvaluateOptions, EvaluationReport, evaluate, evaluate_vectors
from mmsearch.reports import disagreements, figures_csv, figures_latex, query_rows, side_by_side_rows, write_report
from mmsearch.reports.disagreements import find_disagreements
from tests.fakes import COLOURS, FakeEncoder, write_picture
from tests.independent import trec_qrels, trec_run
from tests.vectors import random_unit_vectors

SIDES = "text_to_image", "image_to_text"


@pytest.fixture
def systems(tmp_path: Path) -> list[tuple[str, str]]:
    """Three models of forty images and captions, noisy each in its own way."""
    rng = np.random.default_rng(3)
    images = random_unit_vectors(rng, 40, 16).astype(np.float32)
    files = []
    for number, noise in enumerate((0.7, 1.1, 1.5)):
        captions = (images + noise * random_unit_vectors(rng, 40, 16)).astype(np.float32)
        for name, vectors in (("images", images), ("captions", captions)):
            np.save(tmp_path / f"{name}_{number}.npy", vectors)
        files.append((str(tmp_path / f"images_{number}.npy"), str(tmp_path / f"captions_{number}.npy")))
    return files


@pytest.fixture
def report(systems: list[tuple[str, str]]) -> EvaluationReport:
    return evaluate_vectors(systems[:2])


@pytest.fixture(scope="module")
def hubby(tmp_path_factory: pytest.TempPathFactory) -> tuple[EvaluationReport, Path]:
    """Images that are near to all captions, of which a bank of other captions tells: corrected both ways."""
    folder = tmp_path_factory.mktemp("hubby")
    rng = np.random.default_rng(0)
    images = random_unit_vectors(rng, 200, 32)
    common = random_unit_vectors(rng, 1, 32)
    hubs = rng.exponential(0.5, size=(200, 1))
    files: dict[str, NDArray[np.floating[Any]]] = {
        "images": images + hubs * common,
        "captions": images + 0.7 * random_unit_vectors(rng, 200, 32) + common,
        "bank": random_unit_vectors(rng, 300, 32) + common,
    }
    for name, vectors in files.items():
        np.save(folder / f"{name}.npy", vectors.astype(np.float32))
    named = [(str(folder / "images.npy"), str(folder / "captions.npy"))]
    return evaluate_vectors(named, bank=str(folder / "bank.npy")), folder


def test_a_row_a_query_has_the_answers_of_all_systems_side_by_side(report: EvaluationReport, tmp_path: Path) -> None:
    rows = list(side_by_side_rows(report))
    assert [(row["direction"], row["query_id"]) for row in rows] == [(d, str(n)) for d in SIDES for n in range(40)]
    alone = {(row["system"], row["direction"], row["query_id"]): row for row in query_rows(report)}
    for row in rows:
        assert [answer["system"] for answer in row["systems"]] == [system.name for system in report.systems]
        for answer in row["systems"]:
            same = alone.pop((answer["system"], row["direction"], row["query_id"]))
            assert {**{name: row[name] for name in ("query", "relevant_ids")}, **answer}.items() <= same.items()
    assert not alone
    (lines,) = write_report(report, tmp_path / "queries.wide.jsonl")
    assert [json.loads(line) for line in lines.read_text().splitlines()] == rows
    (table,) = write_report(report, tmp_path / "queries.wide.parquet")
    assert pq.read_table(table).to_pylist() == rows


def test_runs_are_named_by_their_model(tmp_path: Path, systems: list[tuple[str, str]]) -> None:
    """Of one model too, so that those of two evaluations do not have one name."""
    files = {file.name for file in write_report(evaluate_vectors(systems[:1]), tmp_path / "one")}
    assert {f"{side}.images_0.npy_captions_0.npy.run" for side in SIDES} <= files
    assert not {name for name in files if name.startswith("disagreements")}
    pages = disagreements(evaluate_vectors(systems))
    assert list(pages) == [f"disagreements.images_{n}.npy_captions_{n}.npy.html" for n in (1, 2)]


def test_disagreements_are_those_that_ir_measures_counts(report: EvaluationReport, tmp_path: Path) -> None:
    """By Success@k of the runs and qrels: how many queries both answer, one alone, and none; those that are furthest
    apart stand first."""
    files = {file.name for file in write_report(report, tmp_path / "out")}
    assert {"queries.wide.parquet", "queries.parquet"} <= files
    page = (tmp_path / "out" / "disagreements.html").read_text()
    rows = re.findall(r"<tr>(.*?)</tr>", page, re.S)[1:]
    cells = [[re.sub(r"<.*?>", " ", cell).strip() for cell in re.findall(r"<td>(.*?)</td>", row)] for row in rows]
    expected = []
    for side in SIDES:
        for k in (1, 5, 10):
            right = []
            for number in (0, 1):
                run = trec_run(tmp_path / "out" / f"{side}.images_{number}.npy_captions_{number}.npy.run")
                qrels = trec_qrels(tmp_path / "out" / f"{side}.qrels")
                measure = ir_measures.parse_measure(f"Success@{k}")
                found = ir_measures.iter_calc([measure], qrels, run)
                right.append({metric.query_id: metric.value > 0 for metric in found})
            first, second = (np.array([answers[str(n)] for n in range(40)]) for answers in right)
            counts = [first & second, first & ~second, second & ~first, ~first & ~second]
            expected.append([side, str(k), "40", *(str(int(count.sum())) for count in counts)])
            difference = 100 * (second.mean() - first.mean())
            assert cells[len(expected) - 1][7].split()[0] == f"{difference:+.2f}"
    assert [row[:7] for row in cells] == expected
    first_sides = [system.evidence.text_to_image.bounds.ranks for system in report.systems]
    only_first = find_disagreements(first_sides[0], first_sides[1], 1).only_first
    ratios = first_sides[1][only_first] / first_sides[0][only_first]
    assert len(ratios) > 3
    assert (np.diff(ratios) <= 0).all()
    assert (ratios > 1).all()


def test_a_page_of_disagreements_shows_what_each_found(tmp_path: Path) -> None:
    """Pictures with words, of a caption that only one of two models answers; what is relevant is framed."""
    lines = ["image,caption"]
    for place, colour in enumerate(COLOURS):
        write_picture(tmp_path / "images" / f"{colour}.png", colour, seed=place)
        lines.append(f"{colour}.png,<b>{colour}</b> {colour}")
    (tmp_path / "captions.csv").write_text("\n".join(lines) + "\n")

    class Blind(FakeEncoder):
        """Takes every text for noise."""

        def _encode_text(self, text: str) -> NDArray[np.float32]:
            return super()._encode_text("x" + text.replace(" ", ""))

    report = evaluate(
        "custom",
        images=tmp_path / "images",
        annotations=tmp_path / "captions.csv",
        encoder=[FakeEncoder("sees"), Blind("blind", seed=1)],
        options=EvaluateOptions(split="all"),
    )
    assert report.systems[0].text_to_image.recall[1] == 1 > report.systems[1].text_to_image.recall[1]
    pages = disagreements(report)
    page = pages["disagreements.html"]
    missed = int(np.count_nonzero(report.systems[1].evidence.text_to_image.bounds.ranks > 1))
    section = page[page.index('<h2 id="text_to_image-1">') : page.index('<h2 id="text_to_image-2">')]
    assert section.count("<div class=failure>") == missed > 0
    assert section.count("sees: rank 1<") == missed
    assert section.count('class="right"') == 2 * missed
    assert section.count("data:image/jpeg;base64,") >= 2 * missed * 4
    assert "&lt;b&gt;" in section
    assert "<b>red" not in section
    assert "only blind: 0" in page
    assert "http" not in page.replace("http://www.w3.org", "")


def test_corrected_figures_stand_in_tables_runs_and_rows(hubby: tuple[EvaluationReport, Path], tmp_path: Path) -> None:
    report, _ = hubby
    (system,) = report.systems
    forward, backward = system.corrected.directions
    assert forward.alpha > 0 == backward.alpha
    assert forward.result.recall[1] > system.text_to_image.recall[1]
    rows = list(csv.DictReader(io.StringIO(figures_csv(report))))
    named = {(row["direction"], row["scores"]): row for row in rows}
    assert list(named) == [("text_to_image", "score"), ("text_to_image", "corrected"), ("image_to_text", "score")]
    assert float(named["text_to_image", "corrected"]["R@5"]) == forward.result.recall[5]
    mean = float(named["text_to_image", "corrected"]["mean_recall"])
    shares = [forward.result.recall[k] for k in (1, 5, 10)] + [system.image_to_text.recall[k] for k in (1, 5, 10)]
    assert mean == pytest.approx(np.mean(shares)) == system.corrected.mean_recall > system.mean_recall
    latex = figures_latex(report)
    assert latex.count(r", corrected & ") == 1
    assert "textbf" not in latex
    assert "Corrected: by scores corrected for hubs" in latex

    files = {file.name for file in write_report(report, tmp_path / "out")}
    (run,) = {name for name in files if name.endswith(".corrected.run")}
    assert run.startswith("text_to_image.")
    measures = {"R@1": "Success@1", "R@10": "Success@10", "nDCG@10": "nDCG@10"}
    parsed = [ir_measures.parse_measure(name) for name in measures.values()]
    theirs = ir_measures.calc_aggregate(
        parsed,
        trec_qrels(tmp_path / "out" / "text_to_image.qrels"),
        trec_run(tmp_path / "out" / run),
    )
    for measure, ours in zip(parsed, ("R@1", "R@10", "nDCG@10"), strict=True):
        assert float(named["text_to_image", "corrected"][ours]) == pytest.approx(theirs[measure], abs=1e-12)
    ranks = [row["corrected_rank"] for row in query_rows(report) if row["direction"] == "text_to_image"]
    assert np.mean(np.array(ranks) <= 5) == forward.result.recall[5]
    assert {row["corrected_rank"] for row in query_rows(report) if row["direction"] == "image_to_text"} == {None}


def test_corrected_scores_are_what_is_defined(hubby: tuple[EvaluationReport, Path]) -> None:
    """cosine - alpha * mean of the item's k best cosines with the bank, by the setting that the query's half did not
    choose; computed here from the vectors alone."""
    report, folder = hubby
    (system,) = report.systems
    found = system.evidence.corrected["text_to_image"]
    assert found is not None
    captions, images = (np.asarray(v, np.float64) for v in (system.evidence.captions, system.evidence.images))
    bank = np.load(folder / "bank.npy").astype(np.float64)
    bank /= np.linalg.norm(bank, axis=1, keepdims=True)
    best = -np.sort(-(images @ bank.T), axis=1)
    settings = system.corrected.text_to_image.fold_settings
    expected = np.empty((len(captions), len(images)))
    for fold in (0, 1):
        alpha, k = settings[1 - fold]
        rows = found.folds == fold
        expected[rows] = captions[rows] @ images.T - alpha * best[:, :k].mean(axis=1)
    assert (np.argsort(-expected, axis=1)[:, :10] == found.ranking.top).mean() > 0.999
    assert np.allclose(captions @ images.T - found.taken[:, found.folds].T, expected, atol=1e-6)
