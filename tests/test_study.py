"""Studies: many models on many benchmarks in one table, continued after a kill, merged, and honest about failures."""

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmsearch.encoders.costs import EncoderCosts
from mmsearch.errors import BenchmarkError, EncoderError
from mmsearch.evaluation import EvaluateOptions, evaluate
from mmsearch.evaluation.studies import (
    MEAN_RECALL,
    Study,
    StudyReport,
    merge_studies,
    plan_study,
    read_study,
    run_study,
)
from mmsearch.metrics import holm, mean_difference, pairwise_differences
from mmsearch.reports import study_text, write_study
from mmsearch.reports.study_plots import _draw_points, _words_box, study_plots
from tests.conftest import Command
from tests.fakes import COLOURS, FakeEncoder, provide, write_picture

NUMBERS = [f"{n}.png" for n in range(12)]
COSTS = EncoderCosts(2_000_000, 1_000_000, 3_000_000_000, 1_000_000_000, 50.0, "cpu", "fp32")
FILE = """
name = "a study"
models = [
  "hf-hub:fake/one",
  { model = "hf-hub:fake/two", name = "two" },
]
benchmarks = [
  { name = "all", images = "images", annotations = "all.csv" },
  { name = "half", images = "images", annotations = "half.csv" },
]
"""


class Watched(FakeEncoder):
    """Remembers which models were opened, and which pictures each prepared. noise: how bad it is."""

    opened: list[str]
    prepared: Counter[tuple[str, bytes]]

    def __init__(self, spec: str) -> None:
        super().__init__(spec)
        self.spec = spec
        self.opened.append(spec)

    def preprocess(self, image: Image.Image) -> Any:
        if image.size == (16, 12):  # a picture's; that of a colour's name is another
            self.prepared[self.spec, image.tobytes()] += 1
        pixels = super().preprocess(image)
        if self.spec.endswith("two"):  # sees only brightness
            pixels = np.broadcast_to(pixels.mean(axis=0), pixels.shape).copy()
        return pixels


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> type[Watched]:
    monkeypatch.setattr("mmsearch.encoders.measuring_costs.measure_costs", lambda _: COSTS)
    monkeypatch.setattr("mmsearch.reports.study_files.study_plots", lambda _: ())  # most of the time, and tried apart
    provide(monkeypatch, Watched)
    Watched.opened, Watched.prepared = [], Counter()
    return Watched


@pytest.fixture
def study_file(tmp_path: Path) -> Path:
    """Two models, and two benchmarks of which one has half of the other's pictures."""
    for number, name in enumerate(NUMBERS):
        write_picture(tmp_path / "images" / name, list(COLOURS)[number % len(COLOURS)], seed=number)
    for annotations, names in (("all.csv", NUMBERS), ("half.csv", NUMBERS[6:])):
        colours = {name: list(COLOURS)[NUMBERS.index(name) % len(COLOURS)] for name in names}
        lines = [f"{name},{text}" for name, colour in colours.items() for text in (f"a {colour} one", f"x {name[:-4]}")]
        (tmp_path / annotations).write_text("\n".join(["image,caption", *lines]) + "\n")
    file = tmp_path / "study.toml"
    file.write_text(FILE)
    return file


def figures(report: StudyReport) -> dict[tuple[str, str, str], tuple[float, float, float]]:
    return {
        (table.benchmark, system.name, name): (figure.value, figure.interval.low, figure.interval.high)
        for table in report.tables
        for system in table.systems
        for name, figure in system.figures.items()
    }


# --- what is measured -------------------------------------------------------------------------------------------------


def test_every_figure_is_that_of_an_evaluation_by_itself(study_file: Path, watched: type[Watched]) -> None:
    study = read_study(study_file)
    report = run_study(study)
    assert [table.benchmark for table in report.tables] == ["all", "half"]
    found = figures(report)
    for model in study.models:
        for benchmark in study.benchmarks:
            alone = evaluate(
                "custom",
                images=benchmark.images,
                annotations=benchmark.annotations,
                encoder=watched(model.spec),
                options=EvaluateOptions(),
            ).systems[0]
            for direction in alone.directions:
                for k, share in direction.recall.items():
                    interval = direction.intervals[f"R@{k}"]
                    expected = direction.wilson[k] if interval.low == interval.high else interval
                    value = found[benchmark.name, model.name, f"{direction.direction} R@{k}"]
                    assert value == pytest.approx((share, expected.low, expected.high), abs=1e-12)
            mean = found[benchmark.name, model.name, MEAN_RECALL]
            around = alone.mean_recall_interval
            assert mean == pytest.approx((alone.mean_recall, around.low, around.high), abs=1e-12)
    assert found["all", "hf-hub:fake/one", MEAN_RECALL][0] > found["all", "two", MEAN_RECALL][0]


def test_each_picture_is_encoded_once_a_model_whatever_the_number_of_benchmarks(
    study_file: Path, watched: type[Watched]
) -> None:
    study = read_study(study_file)
    run_study(replace(study, benchmarks=study.benchmarks[:1]))
    assert len(watched.prepared) == 2 * len(NUMBERS)
    prepared = watched.prepared.total()  # more than pictures: of some is measured how exactly they were prepared
    watched.opened.clear()
    report = run_study(study)
    assert (report.done, watched.prepared.total()) == (2, prepared)
    assert watched.opened == ["hf-hub:fake/one", "hf-hub:fake/two"]


def test_all_pairs_are_those_of_the_paired_test_corrected_by_holm(study_file: Path, watched: type[Watched]) -> None:
    report = run_study(read_study(study_file))
    assert [(each.benchmark, each.pair.first, each.pair.second) for each in report.pairs] == [
        ("all", "hf-hub:fake/one", "two"),
        ("half", "hf-hub:fake/one", "two"),
    ]
    assert [each.p_holm for each in report.pairs] == holm([each.pair.difference.p for each in report.pairs])
    assert report.pairs[0].pair.difference.value < 0


def test_pairs_agree_with_each_pair_alone() -> None:
    rng = np.random.default_rng(0)
    of_query = [np.repeat(np.arange(9), 3), np.arange(9)]
    names = ("a", "b", "c", "d")
    systems = {name: [rng.random(27).round(), rng.random(9).round()] for name in names}
    systems["d"] = systems["a"]
    pairs = pairwise_differences(systems, of_query, 9)
    assert [(pair.first, pair.second) for pair in pairs] == list(combinations(names, 2))
    for pair in pairs:
        groups = [
            ({"x": first}, {"x": second}, of)
            for first, second, of in zip(systems[pair.first], systems[pair.second], of_query, strict=True)
        ]
        alone = mean_difference(groups, 9)
        found = pair.difference
        assert (found.first, found.second, found.value) == pytest.approx((alone.first, alone.second, alone.value))
        assert (found.interval.low, found.interval.high) == pytest.approx((alone.interval.low, alone.interval.high))
        # Signs are drawn in blocks of another size: the p are two samples of one distribution.
        assert found.p == pytest.approx(alone.p, abs=0.02)
    assert next(pair for pair in pairs if (pair.first, pair.second) == ("a", "d")).difference.p == 1.0


def test_holm_on_an_example_worked_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


# --- skipping and going on --------------------------------------------------------------------------------------------


def test_what_is_done_is_skipped(study_file: Path, watched: type[Watched]) -> None:
    study = read_study(study_file)
    first = run_study(study)
    opened = len(watched.opened)
    second = run_study(study)
    assert (first.done, first.skipped, second.done, second.skipped) == (4, 0, 0, 4)
    assert len(watched.opened) == opened
    assert figures(second) == figures(first)


def test_one_more_model_is_measured_alone(study_file: Path, watched: type[Watched]) -> None:
    run_study(read_study(study_file))
    study_file.write_text(FILE.replace('  "hf-hub:fake/one",', '  "hf-hub:fake/one", "hf-hub:fake/three",'))
    watched.opened.clear()
    report = run_study(read_study(study_file))
    assert (report.done, report.skipped, watched.opened) == (2, 4, ["hf-hub:fake/three"])
    assert [system.name for system in report.tables[0].systems] == ["hf-hub:fake/one", "hf-hub:fake/three", "two"]


def test_a_name_that_changes_costs_nothing_and_goes_into_what_is_joined(
    study_file: Path, watched: type[Watched], tmp_path: Path
) -> None:
    study = read_study(study_file)
    first = run_study(study)
    watched.opened.clear()
    study_file.write_text(FILE.replace('name = "two"', 'name = "second"').replace('name = "half"', 'name = "few"'))
    renamed = run_study(read_study(study_file))
    assert (renamed.done, renamed.skipped, watched.opened) == (0, 4, [])
    joined = merge_studies([study.out], tmp_path / "joined")
    assert set(figures(joined)) == set(figures(renamed))
    assert list(figures(joined).values()) == list(figures(first).values())
    assert {system.name for table in joined.tables for system in table.systems} == {"hf-hub:fake/one", "second"}
    assert [table.benchmark for table in joined.tables] == ["all", "few"]


def test_one_model_under_two_names_is_joined_under_both(
    study_file: Path, watched: type[Watched], tmp_path: Path
) -> None:
    study_file.write_text(
        FILE.replace('  "hf-hub:fake/one",', '  "hf-hub:fake/one", { model = "hf-hub:fake/one", name = "again" },')
    )
    study = read_study(study_file)
    report = run_study(study)
    assert len(list((study.out / "cells").glob("*.json"))) == 6
    assert figures(merge_studies([study.out], tmp_path / "joined")) == figures(report)


def test_cells_of_the_release_before_are_found(study_file: Path, watched: type[Watched]) -> None:
    """Their files were called by what was measured alone."""
    study = read_study(study_file)
    first = run_study(study)
    for file in (study.out / "cells").glob("*.json"):
        document = json.loads(file.read_text())
        key = document["key"].partition("-")[0]
        file.unlink()
        (file.parent / f"{key}.json").write_text(json.dumps(document | {"key": key}))
    assert [cell.state for cell in plan_study(study).cells] == ["done"] * 4
    assert figures(run_study(study)) == figures(first)
    assert len(list((study.out / "cells").glob("*.json"))) == 4


def test_a_changed_picture_or_caption_is_measured_again(study_file: Path, watched: type[Watched]) -> None:
    study = read_study(study_file)
    run_study(study)
    write_picture(study_file.parent / "images" / "0.png", "yellow", seed=99)
    os.utime(study_file.parent / "images" / "0.png", ns=(5, 5))
    assert [(c.benchmark.name, c.state) for c in plan_study(study).cells][:2] == [("all", "to do"), ("half", "done")]
    assert (run_study(study).done, run_study(study).done) == (2, 0)
    half = study_file.parent / "half.csv"
    half.write_text(half.read_text() + "6.png,one more\n")
    assert run_study(study).done == 2


def test_a_run_that_was_interrupted_continues_and_ends_like_one_that_was_not(
    study_file: Path, watched: type[Watched], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    study = read_study(study_file)
    whole = run_study(replace(study, out=tmp_path / "whole"))

    class Stopped(Watched):
        def encode_texts(self, texts: Any) -> Any:
            if self.spec.endswith("two"):
                raise KeyboardInterrupt
            return super().encode_texts(texts)

    monkeypatch.setenv("MMSEARCH_CACHE", str(tmp_path / "another cache"))
    provide(monkeypatch, Stopped)
    with pytest.raises(KeyboardInterrupt):
        run_study(study)
    provide(monkeypatch, Watched)
    assert [cell.state for cell in plan_study(study).cells] == ["done", "done", "to do", "to do"]
    continued = run_study(study)
    assert (continued.done, continued.skipped) == (2, 2)
    assert figures(continued) == figures(whole)


def test_a_model_whose_files_change_is_measured_again(study_file: Path, watched: type[Watched]) -> None:
    folder = study_file.parent / "tuned"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text("{}")
    study_file.write_text(FILE.replace('"hf-hub:fake/one"', '"local-dir:tuned"'))
    study = read_study(study_file)
    assert study.models[0].spec == f"local-dir:{folder}"
    assert study.models[0].name == "tuned"
    run_study(study)
    assert plan_study(study).count("done") == 4
    (folder / "open_clip_model.safetensors").write_bytes(b"others")
    assert [cell.state for cell in plan_study(study).cells] == ["to do", "to do", "done", "done"]


def test_a_damaged_cell_is_measured_again(study_file: Path, watched: type[Watched]) -> None:
    study = read_study(study_file)
    first = run_study(study)
    damaged, other = sorted((study.out / "cells").glob("[!.]*.json"))[:2]
    damaged.write_text(damaged.read_text()[:200])
    document = json.loads(other.read_text())
    document["ranks"]["text_to_image"].pop()
    other.write_text(json.dumps(document))
    again = run_study(study)
    assert (again.done, figures(again)) == (2, figures(first))


def test_fresh_measures_everything(study_file: Path, watched: type[Watched]) -> None:
    study = read_study(study_file)
    run_study(study)
    assert run_study(study, fresh=True).done == 4


def test_two_runs_in_one_folder_do_not_meet(
    study_file: Path, watched: type[Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = read_study(study_file)
    said: list[str] = []

    class Second(Watched):
        def encode_texts(self, texts: Any) -> Any:
            if not said:
                said.append("")
                with pytest.raises(BenchmarkError, match="another process runs a study"):
                    run_study(study)
            return super().encode_texts(texts)

    provide(monkeypatch, Second)
    assert run_study(study).done == 4
    assert said


# --- what goes wrong --------------------------------------------------------------------------------------------------


def breaking(*, opening: Exception | None = None, encoding: Exception | None = None) -> Callable[[str], FakeEncoder]:
    class Broken(Watched):
        def encode_texts(self, texts: Any) -> Any:
            if encoding is not None and self.spec.endswith("one"):
                raise encoding
            return super().encode_texts(texts)

    def make(spec: str) -> FakeEncoder:
        if opening is not None and spec.endswith("one"):
            raise opening
        return Broken(spec)

    return make


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (breaking(opening=EncoderError("no weights for it.")), "no weights for it"),
        (breaking(encoding=RuntimeError("CUDA error: out of everything")), "RuntimeError: CUDA error"),
    ],
    ids=["cannot be opened", "breaks while it encodes"],
)
def test_a_model_that_fails_does_not_end_the_study(
    study_file: Path,
    watched: type[Watched],
    monkeypatch: pytest.MonkeyPatch,
    mmsearch: Command,
    make: Callable[[str], FakeEncoder],
    reason: str,
) -> None:
    provide(monkeypatch, make)
    done = mmsearch("eval", "run", study_file)
    assert done.code == 1
    assert re.search(rf"not measured: hf-hub:fake/one \(plain\) on half: {reason}", done.err)
    assert "error: 2 could not be measured" in done.err.splitlines()[-1]
    assert "two " in done.out
    assert ".." not in done.out
    assert "NOT MEASURED: hf-hub:fake/one" in (study_file.parent / "study-results" / "study.html").read_text()
    provide(monkeypatch, Watched)
    done = mmsearch("eval", "run", study_file)
    assert (done.code, "2 measured, 2 done before" in done.err) == (0, True)


def test_a_benchmark_that_cannot_be_read_does_not_end_the_study(
    study_file: Path, watched: type[Watched], mmsearch: Command
) -> None:
    (study_file.parent / "half.csv").unlink()
    study_file.write_text(FILE.replace("hf-hub:fake/one", "no-such-model/at-all"))
    done = mmsearch("eval", "run", study_file, "--dry-run")
    assert done.code == 1
    assert [line.split("\t")[:3] for line in done.out.splitlines()] == [
        ["failed", "no-such-model/at-all", "all"],
        ["failed", "no-such-model/at-all", "half"],
        ["to do", "two", "all"],
        ["failed", "two", "half"],
    ]
    done = mmsearch("eval", "run", study_file)
    assert done.code == 1
    assert "error: 3 could not be measured" in done.err
    assert "1 measured" in done.err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models = [\n'demo'\nbenchmarks = 3\n", r"study.toml is not valid TOML: .*line 3"),
        ("models = ['demo']\n", r"study.toml names no benchmarks"),
        (FILE + "devise = 'cpu'\n", r"study.toml, line 11: a study has no key 'devise'; did you mean 'device'\?"),
        (FILE.replace("annotations = \"half", "anotations = \"half"), r"line 9: .*'anotations'; did you mean 'annota"),
        (FILE.replace("name = \"two\"", "nom = \"two\""), r"line 5: a model has no key 'nom'; did you mean 'name'"),
        (FILE.replace('images = "images", annotations = "half', 'annotations = "half'), r"needs 'images'.*'half'"),
        (FILE.replace("\"half\"", "\"all\""), r"two benchmarks are called 'all'"),
        (FILE.replace("\"two\" }", "\"hf-hub:fake/one\" }"), r"two models are called 'hf-hub:fake/one'"),
        (FILE + "k = [0, 5]\n", r"line 11: k is \[0, 5\]"),
        (FILE + "limit = 'ten'\n", r"line 11: limit is 'ten'; it is a whole number"),
        (FILE + "options = [{ template = 'a photo' }]\n", r"line 11: 'a photo' is no template"),
        (FILE + "options = [{ precision = 'fp23' }]\n", r"line 11: precision is 'fp23'.*Did you mean 'fp32'"),
        (FILE + "options = ['fp16']\n", r"line 11: 'fp16' in options is not understood"),
        (FILE.replace('name = "all", ', 'benchmark = "coca", '), r"line 8: benchmark is 'coca'.*Did you mean 'coco'"),
    ],
)  # fmt: skip
def test_a_study_that_is_wrong_is_told_with_its_line(
    study_file: Path, mmsearch: Command, text: str, message: str
) -> None:
    study_file.write_text(text)
    done = mmsearch("eval", "run", study_file)
    assert done.code == 1
    assert re.search(message, done.err), done.err
    assert not (study_file.parent / "study-results").exists()


def test_a_study_that_is_not_there_is_told(tmp_path: Path, mmsearch: Command) -> None:
    (tmp_path / "x.json").write_text("{}")
    done = mmsearch("eval", "run", tmp_path / "x.json")
    assert done.err.endswith("mmsearch guide studies shows what a study looks like\n")
    assert "cannot be read" in mmsearch("eval", "run", tmp_path / "none.toml").err
    assert mmsearch("eval", "run").code == 2
    done = mmsearch("eval", "run", "--model", "demo", "--benchmark", "coco", "--images", tmp_path)
    assert (done.code, "1 of --benchmark, 1 of --images, 0 of --annotations" in done.err) == (2, True)


# --- the command ------------------------------------------------------------------------------------------------------


def test_a_dry_run_does_nothing_and_says_what_is_done(
    study_file: Path, watched: type[Watched], mmsearch: Command
) -> None:
    done = mmsearch("eval", "run", study_file, "--dry-run")
    assert (done.code, [line.split("\t")[0] for line in done.out.splitlines()]) == (0, ["to do"] * 4)
    assert "half: 6 images in" in done.err
    assert not (study_file.parent / "study-results").exists()
    run_study(read_study(study_file))
    watched.opened.clear()
    done = mmsearch("eval", "run", study_file, "--dry-run")
    assert [line.split("\t")[0] for line in done.out.splitlines()] == ["done"] * 4
    assert watched.opened == []


def test_models_and_benchmarks_on_the_command_line(study_file: Path, watched: type[Watched], mmsearch: Command) -> None:
    folder = study_file.parent
    both = [
        each
        for name in ("all.csv", "half.csv")
        for each in ("--benchmark", "custom", "--images", folder / "images", "--annotations", folder / name)
    ]
    done = mmsearch(
        "eval", "run", "--model", "hf-hub:fake/one", "--model", "hf-hub:fake/two", *both, "--out", folder / "o"
    )
    assert done.code == 0, done.err
    rows = list(csv.DictReader(io.StringIO((folder / "o" / "study.csv").read_text())))
    assert {row["benchmark"] for row in rows} == {"custom 1", "custom 2"}
    of_file = run_study(read_study(study_file))
    assert sorted(float(row["value"]) for row in rows) == sorted(value for value, _, _ in figures(of_file).values())


def test_a_smoke_run_is_marked_everywhere_and_stays_apart(
    study_file: Path, watched: type[Watched], mmsearch: Command
) -> None:
    done = mmsearch("eval", "run", study_file, "--limit", "4")
    assert done.code == 0, done.err
    out = study_file.parent / "study-results" / "limit-4"
    assert "SMOKE RUN: only the first 4 images" in done.out
    for name in ("study.txt", "study.md", "study.html", "study.tex"):
        assert "smoke run" in (out / name).read_text().lower(), name
    rows = list(csv.DictReader(io.StringIO((out / "study.csv").read_text())))
    assert {(row["limit"], row["images"], row["captions"]) for row in rows} == {("4", "4", "8")}
    assert all(cell.state == "to do" for cell in plan_study(read_study(study_file)).cells)


def test_options_are_a_third_dimension(study_file: Path, watched: type[Watched]) -> None:
    study_file.write_text(
        FILE
        + 'options = [{ name = "plain" }, { name = "asked", template = "{} now" }, { preprocessing = "product" }]\n'
    )
    report = run_study(read_study(study_file))
    assert [system.name for system in report.tables[0].systems] == [
        f"{model}, {name}" for model in ("hf-hub:fake/one", "two") for name in ("plain", "asked", "product")
    ]
    assert len(report.pairs) == 2 * 15
    assert len(watched.opened) == 2
    cells = {system.name: system.cell for system in report.tables[0].systems}
    assert cells["two, asked"].templates == ("{} now",)
    assert cells["two, product"].preprocessing == "product"


# --- joining ----------------------------------------------------------------------------------------------------------


def parts(study: Study, folder: Path) -> list[Path]:
    """The study as two machines measure it, a model each."""
    for number, model in enumerate(study.models):
        run_study(replace(study, models=(model,), out=folder / f"machine{number}"))
    return [folder / "machine0", folder / "machine1"]


def test_joined_parts_are_the_whole(
    study_file: Path, watched: type[Watched], tmp_path: Path, mmsearch: Command
) -> None:
    study = read_study(study_file)
    write_study(run_study(study), study.out)
    folders = parts(study, tmp_path)
    done = mmsearch("eval", "merge", *folders, folders[0], "--out", tmp_path / "study")
    assert done.code == 0, done.err
    for name in ("study.csv", "pairs.csv"):
        whole, joined = ((folder / name).read_text() for folder in (study.out, tmp_path / "study"))
        assert joined.replace("study,", "a study,", len(joined)) == whole or joined == whole.replace(
            "a study,", "study,"
        )
    again = merge_studies([tmp_path / "study"], tmp_path / "again")
    assert figures(again) == figures(run_study(study))


def test_parts_that_contradict_each_other_are_not_joined(
    study_file: Path, watched: type[Watched], tmp_path: Path
) -> None:
    study = read_study(study_file)
    folders = parts(study, tmp_path)
    with pytest.raises(BenchmarkError, match="holds nothing that mmsearch eval run has measured"):
        merge_studies([folders[0], tmp_path / "images"], tmp_path / "out")
    copied = Path(shutil.copytree(folders[0], tmp_path / "copied"))
    cell = sorted((copied / "cells").glob("[!.]*.json"))[0]
    document = json.loads(cell.read_text())
    document["ranks"]["image_to_text"][0] += 1
    cell.write_text(json.dumps(document))
    with pytest.raises(BenchmarkError, match=r"measured twice, in .*machine0 and in .*copied, with other ranks"):
        merge_studies([folders[0], copied], tmp_path / "out")
    run_study(replace(study, models=study.models[1:], limit=3, out=tmp_path / "smoke"))
    with pytest.raises(BenchmarkError, match="a smoke run does not stand beside others"):
        merge_studies([folders[0], tmp_path / "smoke"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_of_other_queries_is_left_out_and_named(
    study_file: Path, watched: type[Watched], tmp_path: Path, mmsearch: Command
) -> None:
    study = read_study(study_file)
    run_study(replace(study, models=study.models[:1], out=tmp_path / "machine0"))
    half = study_file.parent / "half.csv"
    half.write_text(half.read_text() + "6.png,one more\n")
    run_study(replace(study, models=study.models[1:], out=tmp_path / "machine1"))
    done = mmsearch("eval", "merge", tmp_path / "machine0", tmp_path / "machine1", "--out", tmp_path / "joined")
    assert done.code == 1
    assert "not measured: two (plain) on half: its queries are not those of hf-hub:fake/one" in done.err


# --- what comes out ---------------------------------------------------------------------------------------------------


def test_the_best_is_bold_in_every_form(study_file: Path, watched: type[Watched], tmp_path: Path) -> None:
    report = run_study(read_study(study_file))
    files = {file.name: file for file in write_study(report, tmp_path / "out") if file.suffix != ".pdf"}
    one, two = (report.tables[0].systems[n].figures[MEAN_RECALL] for n in range(2))
    assert one.value > two.value
    best, other = f"{100 * one.value:.1f}", f"{100 * two.value:.1f}"
    low, high = 100 * one.interval.low, 100 * one.interval.high
    assert f"*{best}" in study_text(report)
    assert f"**{best}**<br><sub>{low:.1f} to {high:.1f}</sub>" in files["study.md"].read_text()
    assert f"<b>{best}</b><br><small class=faint>{low:.1f} to {high:.1f}</small>" in files["study.html"].read_text()
    latex = files["study.tex"].read_text()
    assert rf"\textbf{{{best}}}" in latex
    assert rf"{{\tiny {low:.1f}--{high:.1f}}}" in latex
    assert re.search(rf"two & .* & {other} \\\\", latex)


def rows_of(latex: str) -> list[list[int]]:
    """For each table the number of columns of each row."""
    found = []
    for body in re.findall(r"\\begin\{tabular\}\{l(?:r+)\}(.*?)\\end\{tabular\}", latex, flags=re.DOTALL):
        rows = [row for row in body.split(r"\\") if "&" in row]
        spans = [sum(int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d)\}", row)) for row in rows]
        found.append([len(re.findall(r"(?<!\\)&", row)) + 1 + span for row, span in zip(rows, spans, strict=True)])
    return found


def test_latex_is_whole_whatever_the_names(study_file: Path, watched: type[Watched], tmp_path: Path) -> None:
    names = FILE.replace('name = "two"', 'name = "50 % & {more}_$#^~"').replace('"half"', '"half_&_50%"')
    study_file.write_text(names.replace("hf-hub:fake/one", "hf-hub:laion/ViT-B-32"))
    write_study(run_study(read_study(study_file)), tmp_path / "out")
    latex = (tmp_path / "out" / "study.tex").read_text()
    assert [sorted(set(rows)) for rows in rows_of(latex)] == [[8], [8], [4]]
    unescaped = re.sub(r"\\[{}]", "", latex)
    assert unescaped.count("{") == unescaped.count("}")
    begun, ended = (Counter(re.findall(rf"\\{word}\{{(\w+\*?)\}}", latex)) for word in ("begin", "end"))
    assert begun == ended
    if shutil.which("pdflatex") is None:
        pytest.skip("parsed; no pdflatex is installed that would compile it (Debian: apt-get install texlive)")
    paper = tmp_path / "paper.tex"
    paper.write_text(
        "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\\input{out/study.tex}\\end{document}\n"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", paper.name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout


def test_csv_has_a_row_a_figure_and_what_the_model_costs(
    study_file: Path, watched: type[Watched], tmp_path: Path
) -> None:
    report = run_study(read_study(study_file))
    write_study(report, tmp_path / "out")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out" / "study.csv").read_text())))
    assert len(rows) == len(figures(report)) == 2 * 2 * 7
    for row in rows:
        value = figures(report)[row["benchmark"], row["model"], row["figure"]]
        assert value == (float(row["value"]), float(row["low"]), float(row["high"]))
        assert (row["parameters"], row["image_flops"]) == ("3000000", "3000000000")
    pairs = list(csv.DictReader(io.StringIO((tmp_path / "out" / "pairs.csv").read_text())))
    assert [float(pair["p_holm"]) for pair in pairs] == [each.p_holm for each in report.pairs]


def test_plots_stand_in_the_page_and_as_files_and_old_ones_go(
    study_file: Path, watched: type[Watched], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    study = read_study(study_file)
    report = run_study(replace(study, limit=4, benchmarks=study.benchmarks[:1]))
    monkeypatch.setattr("mmsearch.reports.study_files.study_plots", study_plots)
    write_study(report, tmp_path / "out")
    plots = sorted(file.name for file in (tmp_path / "out" / "plots").iterdir())
    assert [name for name in plots if name.startswith("1.all")] == [
        f"1.all.{name}.{kind}"
        for name in ("flops", "image_to_text_R_1", "mean_recall", "parameters", "speed", "text_to_image_R_1")
        for kind in ("pdf", "svg")
    ]
    assert "first 4 images" in (tmp_path / "out" / "plots" / "1.all.mean_recall.svg").read_text()
    page = (tmp_path / "out" / "study.html").read_text()
    assert page.count("<svg") == 6
    assert "http://" not in re.sub(r'(xmlns(:\w+)?|rdf:\w+)="[^"]*"', "", page.replace("http://www.w3.org", ""))
    write_study(run_study(replace(study, benchmarks=study.benchmarks[1:], models=study.models[:1])), tmp_path / "out")
    assert {file.name[:6] for file in (tmp_path / "out" / "plots").iterdir()} == {"1.half"}


def test_names_in_a_plot_cover_no_other_name_and_stay_inside() -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation

    from mmsearch.metrics import Estimate, Interval

    figure = Figure(figsize=(3.9, 3.8), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    rng = np.random.default_rng(1)
    points = []
    for number in range(10):  # most of one size, as models are
        value = 0.5 + 0.01 * rng.random()
        size = 150 if number < 7 else 400 + 10 * number
        points.append(
            (f"ViT-B-32/tag_{number}_s34b", float(size), Estimate(value, Interval(value - 0.01, value + 0.01)))
        )
    _draw_points([axes], points, "parameters, millions", "a title")
    figure.draw_without_rendering()
    renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]
    names = [text for text in axes.texts if isinstance(text, Annotation)]
    boxes = [_words_box(text, renderer) for text in names]
    assert len(boxes) == 10
    assert not [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])]
    inside = axes.get_window_extent(renderer)
    assert all(inside.x0 <= box.x0 and box.x1 <= inside.x1 for box in boxes)


# --- real models ------------------------------------------------------------------------------------------------------


def test_costs_are_those_worked_out_by_hand(tmp_path: Path) -> None:
    """A vision transformer of two layers, width 64, 16 patches of 8 x 8 and a class token."""
    from mmsearch import encoders
    from mmsearch.encoders.measuring_costs import measure_costs
    from tests.models import write_tiny_model

    encoder = encoders.open(f"local-dir:{write_tiny_model(tmp_path / 'tiny')}", precision="fp32")
    costs = measure_costs(encoder, least_seconds=0.0)
    width, tokens, out = 64, 17, 32
    patches = 2 * 16 * width * 3 * 8 * 8
    layer = 2 * tokens * width * (3 * width + width + 2 * 4 * width) + 2 * 2 * tokens * tokens * width
    assert costs.image_flops == patches + 2 * layer + 2 * width * out
    model = encoder.image._model  # type: ignore[attr-defined]
    assert costs.image_parameters == sum(weight.numel() for weight in model.visual.parameters())
    assert (
        costs.parameters == sum(weight.numel() for weight in model.parameters()) - 1
    )  # the temperature encodes nothing
    assert costs.images_per_second > 0
    assert (costs.device, costs.precision) == ("cpu", "fp32")


@pytest.mark.soak
def test_models_of_transformers_are_counted_alike(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """All weights but those that only scale scores."""
    from mmsearch import encoders
    from mmsearch.encoders.measuring_costs import measure_costs
    from tests.hub_models import DUAL_ENCODERS, write_dual_encoder

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for kind in DUAL_ENCODERS:
        folder = write_dual_encoder(tmp_path / kind, kind)
        encoder = encoders.open(f"hf:{folder}", device="cpu", precision="fp32", announce=lambda _: None)
        costs = measure_costs(encoder, least_seconds=0.0)
        weights = {name: weight.numel() for name, weight in encoder.image._model.named_parameters()}  # type: ignore[attr-defined]
        of_scores = ("logit_scale", "logit_bias", "temperature")
        scales = sum(count for name, count in weights.items() if name.rpartition(".")[2] in of_scores)
        assert costs.parameters == sum(weights.values()) - scales, kind
        assert costs.image_flops, kind


def test_what_torch_does_not_compute_is_not_counted() -> None:
    from mmsearch.encoders.measuring_costs import measure_costs

    costs = measure_costs(FakeEncoder(), least_seconds=0.0)
    assert (costs.parameters, costs.image_flops, costs.text_flops) == (None, None, None)
    assert costs.images_per_second > 0


@pytest.mark.soak
def test_a_killed_study_of_real_models_goes_on(tmp_path: Path) -> None:
    """Killed without warning after its first cell: that stays, and the others are measured."""
    from tests.models import write_tiny_model

    for seed in (0, 1):
        write_tiny_model(tmp_path / f"tiny{seed}", seed=seed)
    project = Path(__file__).resolve().parents[1]
    data = project / "data" / "postcards"
    (tmp_path / "study.toml").write_text(
        'models = ["local-dir:tiny0", "local-dir:tiny1"]\n'
        f'benchmarks = [{{ name = "p", images = "{data / "images"}", '
        f'annotations = "{data / "dataset_postcards.json"}" }}]\n'
    )
    command = [sys.executable, "-m", "mmsearch", "eval", "run", "study.toml", "--limit", "40"]
    out = tmp_path / "study-results" / "limit-40"
    environment = {**os.environ, "PYTHONPATH": str(project), "MMSEARCH_CACHE": str(tmp_path / "cache")}
    first = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    while not list((out / "cells").glob("[!.]*.json")):
        assert first.poll() is None
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.wait()
    done = sorted((out / "cells").glob("[!.]*.json"))  # one, or both before it was killed
    before = [cell.read_bytes() for cell in done]
    again = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (again.returncode, f"{2 - len(done)} measured, {len(done)} done before" in again.stderr) == (0, True), (
        again.stderr
    )
    assert [cell.read_bytes() for cell in done] == before
    rows = list(csv.DictReader(io.StringIO((out / "study.csv").read_text())))
    assert [row["model"] for row in rows] == ["tiny0"] * 7 + ["tiny1"] * 7
