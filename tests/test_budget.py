"""Where recall is lost: a fault that is put into a stage is found there, and the parts add up to the whole."""

import json
import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mmsearch import encoders
from mmsearch.ann import AnnIndex, Effort, build
from mmsearch.encoders import Encoder
from mmsearch.errors import AnnIndexError, BenchmarkError, FilterError
from mmsearch.evaluation import BudgetOptions, BudgetReport, BudgetStage, RecallChange, evaluate, evaluate_budget
from mmsearch.evaluation.benchmark_encoding import EncodedBenchmark, store_as_product
from mmsearch.evaluation.measuring import measure as measure_vectors
from mmsearch.evaluation.recall_budget import judge_stages
from mmsearch.evaluation.records import EvaluateOptions, Items
from mmsearch.evaluation.staged_search import StagedSearch, TunedIndex
from mmsearch.exact import Neighbours, VectorBlock
from mmsearch.gallery import Gallery
from mmsearch.metrics import Difference, Direction, Interval, Relevance, mean_difference
from mmsearch.reports import budget_markdown, budget_page
from mmsearch.search.open_gallery import OpenGallery
from tests.conftest import Command
from tests.fakes import COLOURS, FakeEncoder, write_picture
from tests.hubby import World

POSTCARDS = Path(__file__).resolve().parents[1] / "data" / "postcards"
PICTURES = 60
CODES = "IVF4,PQ8x4fs"
"""Four lists, and an eighth of a bit a dimension: a fault of either is seen with sixty pictures."""


@pytest.fixture(scope="module")
def demo() -> Encoder:
    return encoders.open("demo", device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache in which faults of the index find the vectors of one another."""
    return tmp_path_factory.mktemp("encoded")


@pytest.fixture
def few_captions(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few suffice to tune an index by: a thousand general ones would take their time."""
    monkeypatch.setattr("mmsearch.indexing.trial_queries.ENOUGH_CAPTIONS", PICTURES)


def postcards(demo: Encoder, folder: Path, **options: Any) -> BudgetReport:
    """Measured on sixty postcards with a caption each."""
    names = folder / "names"
    names.write_text("\n".join(f"postcard_{number:04}.jpg" for number in range(PICTURES)))
    return evaluate_budget(
        images=POSTCARDS / "images",
        annotations=POSTCARDS / "dataset_postcards.json",
        encoder=demo,
        options=BudgetOptions(split_file=names, captions_per_image=1, factory=CODES, **options),
    )


def assert_named(report: BudgetReport, name: str) -> None:
    """That the stage is named as the costliest, and that nothing else is measurably lost."""
    assert report.costliest == name, report.verdict
    for stage in report.stages:
        for change in (stage.step.mean_recall, stage.alone.mean_recall):
            assert (change.interval.high < 0) == (stage.name == name), (stage.name, change)


@pytest.mark.usefixtures("few_captions")
def test_too_few_lists_are_the_effort_of_the_index_and_the_parts_add_up(
    demo: Encoder, encoded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMSEARCH_CACHE", str(encoded))
    report = postcards(demo, tmp_path, effort=Effort(nprobe=1))
    assert_named(report, "effort")
    assert report.verdict.startswith("Most is lost at the effort of the index: ")
    assert [stage.name for stage in report.stages] == ["preprocessing", "float16", "codes", "effort", "correction"]
    for direction, (queries, _) in report.queries.items():
        for figure, whole in report.whole.recall[direction].items():
            steps = [stage.step.recall[direction][figure] for stage in report.stages]
            assert sum(exact_share(step.value, queries) for step in steps) == exact_share(whole.value, queries)
            assert [whole.first, *(step.second for step in steps)] == [*(s.first for s in steps), whole.second]
    assert sum(stage.step.mean_recall.value for stage in report.stages) == pytest.approx(
        report.whole.mean_recall.value, abs=1e-12
    )
    assert report.stages[3].about["text_to_image"] == "nprobe 1"


def exact_share(value: float, queries: int) -> Fraction:
    """A share of so many queries, exactly."""
    assert value * queries == pytest.approx(round(value * queries), abs=1e-9)
    return Fraction(round(value * queries), queries)


@pytest.mark.usefixtures("few_captions")
def test_codes_that_are_not_scored_again_are_the_codes(
    demo: Encoder, encoded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def keep_order(queries: object, row_ids: NDArray[np.int64], fetch: object, k: int, **_: object) -> Neighbours:
        return Neighbours(row_ids[:, :k], -np.arange(row_ids[:, :k].size, dtype=np.float64).reshape(len(row_ids), -1))

    monkeypatch.setenv("MMSEARCH_CACHE", str(encoded))
    monkeypatch.setattr("mmsearch.ann.searching.rescore", keep_order)
    report = postcards(demo, tmp_path, effort=Effort(nprobe=4))
    assert report.costliest == "codes", report.verdict
    assert report.stages[2].alone.mean_recall.interval.high < 0


@pytest.mark.usefixtures("few_captions")
def test_a_wrong_interpolation_is_the_preprocessing(
    demo: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nearest neighbours, by way of a thumbnail; the check of every run, which would stop it, looks away."""
    from torch.nn.functional import interpolate as real

    def by_nearest(pixels: Any, scale_factor: Any, **_: object) -> Any:
        fitting = real(pixels, scale_factor=scale_factor, mode="nearest")
        return real(real(fitting, scale_factor=0.1, mode="nearest"), size=fitting.shape[2:], mode="nearest")

    monkeypatch.setattr("mmsearch.encoders.preprocessing.interpolate", by_nearest)
    monkeypatch.setattr("mmsearch.embedding.parity.ParityCheck.should_sample", lambda *_: False)
    report = postcards(demo, tmp_path, effort=Effort(nprobe=4))
    assert_named(report, "preprocessing")


# --- the same on pictures of one colour, which a fake encoder tells apart -------------------------------------------


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Twenty-four pictures, each with a caption that names its colour and one that does not."""
    folder, lines = tmp_path_factory.mktemp("benchmark"), ["image,caption"]
    for number in range(4 * len(COLOURS)):
        colour = list(COLOURS)[number % len(COLOURS)]
        write_picture(folder / "images" / f"{number:02}.png", colour, seed=number)
        lines += [f"{number:02}.png,all {colour}", f"{number:02}.png,x{number}"]
    annotations = folder / "captions.csv"
    annotations.write_text("\n".join(lines) + "\n")
    return folder / "images", annotations


def measure(benchmark: tuple[Path, Path], **options: Any) -> BudgetReport:
    images, annotations = benchmark
    return evaluate_budget(
        images=images, annotations=annotations, encoder=FakeEncoder(), options=BudgetOptions(split="all", **options)
    )


@pytest.fixture(scope="module")
def flat(benchmark: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> BudgetReport:
    """Measured through the index that so few get: a flat one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMSEARCH_CACHE", str(tmp_path_factory.mktemp("flat")))
        return measure(benchmark)


def test_the_reference_is_that_of_eval_and_a_flat_index_loses_nothing(
    benchmark: tuple[Path, Path], flat: BudgetReport
) -> None:
    report = flat
    images, annotations = benchmark
    plain = evaluate(
        "custom",
        images=images,
        annotations=annotations,
        encoder=FakeEncoder(),
        options=EvaluateOptions(split="all"),
    )
    for direction in plain.systems[0].directions:
        figures = report.whole.recall[direction.direction]
        assert {name: figure.first for name, figure in figures.items()} == {
            f"R@{k}": share for k, share in direction.recall.items()
        }
    assert report.whole.mean_recall.first == pytest.approx(plain.systems[0].mean_recall)
    assert report.benchmark_hash == plain.benchmark_hash
    index = [stage for stage in report.stages if stage.name in ("codes", "effort")]
    assert all(stage.step.mean_recall.value == stage.alone.mean_recall.value == 0 for stage in index)
    assert report.stages[-1].about["text_to_image"] == "none: too few pictures to choose it by"
    assert report.costliest is None
    assert report.verdict == "Nothing measurable is lost: no stage has an interval below zero."


def test_all_stages_together_are_what_a_query_gets(
    benchmark: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the product's own search of its own gallery."""
    stored = []

    def store(*arguments: Any, **options: Any) -> Gallery:
        stored.append(store_as_product(*arguments, **options))
        return stored[-1]

    monkeypatch.setattr("mmsearch.evaluation.recall_budget.store_as_product", store)
    report = measure(benchmark, factory="IVF4,SQ8")
    (gallery,) = stored
    assert gallery.manifest.dtype == "float16"
    opened = OpenGallery(gallery.newest())
    captions = gallery.vectors("captions", np.arange(48)).astype(np.float32)
    hits = opened.search(captions, k=10).row_ids
    found = np.mean([number // 2 in row[:5] for number, row in enumerate(hits.tolist())])
    assert report.stages[3].step.recall["text_to_image"]["R@5"].second == pytest.approx(found)


def test_a_filter_loses_what_it_does_not_admit(benchmark: tuple[Path, Path]) -> None:
    report = measure(benchmark, where="path < '12'", ks=(1, 24))
    stage = next(stage for stage in report.stages if stage.name == "filter")
    assert stage.about == {"text_to_image": "12 of 24 are admitted", "image_to_text": "24 of 48 are admitted"}
    assert stage.alone.recall["text_to_image"]["R@24"].second == 0.5
    assert report.costliest == "filter"
    of_images = measure(benchmark, where="width > 0", ks=(24,))
    filtered = next(stage for stage in of_images.stages if stage.name == "filter")
    assert filtered.about["image_to_text"] == "none: it is no filter of these"
    assert filtered.step.recall["text_to_image"]["R@24"].value == 0
    assert any("image_to_text is measured without the filter" in problem for problem in of_images.problems)


def test_what_is_missing_is_left_out_of_every_stage_and_said(benchmark: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copytree(benchmark[0], tmp_path / "images")
    (tmp_path / "images" / "03.png").unlink()
    (tmp_path / "images" / "05.png").write_text("broken")
    report = measure((tmp_path / "images", benchmark[1]), allow_missing=True, effort=Effort(nprobe=3))
    assert (report.images, report.captions, report.unreadable) == (22, 44, ("05.png",))
    assert report.title.endswith("1 MISSING IMAGES LEFT OUT; 1 UNREADABLE IMAGES LEFT OUT")
    assert report.queries == {"text_to_image": (44, 22), "image_to_text": (22, 44)}
    asked_in_vain = [problem for problem in report.problems if "has no nprobe" in problem]
    assert asked_in_vain[0] == "the index Flat of images has no nprobe: what was asked is left out"
    assert len(asked_in_vain) == 2


def test_what_cannot_be_measured_is_said_before_anything_is_encoded(benchmark: tuple[Path, Path]) -> None:
    images, annotations = benchmark
    fake = FakeEncoder()

    def refuse(error: type[Exception], match: str, name: str = "custom", **options: Any) -> None:
        with pytest.raises(error, match=match) as raised:
            evaluate_budget(
                name, images=images, annotations=annotations, encoder=fake, options=BudgetOptions(**options)
            )
        assert "\n" not in str(raised.value)
        assert fake.images_encoded == 0

    refuse(FilterError, "there is no column colour.*Columns: row_id", split="all", where="colour = 'red'")
    refuse(AnnIndexError, "needs at least 64 vectors.*24 images.*fewer lists", split="all", factory="IVF64,Flat")
    refuse(AnnIndexError, "not a usable FAISS factory string", split="all", factory="IVF")
    refuse(BenchmarkError, "no benchmark 'coco2'", name="coco2", split="all")


def test_the_command_prints_the_tables_and_writes_the_reports(
    benchmark: tuple[Path, Path], tmp_path: Path, mmsearch: Command
) -> None:
    images, annotations = benchmark
    arguments = ("eval", "budget", "--images", images, "--annotations", annotations, "--split", "all", "--model", "x")
    done = mmsearch(*arguments, "--report", tmp_path / "out", "--report", tmp_path / "one.json")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[3] == "Nothing measurable is lost: no stage has an interval below zero."
    (heading,) = [number for number, line in enumerate(lines) if line.startswith("text_to_image, step by step")]
    assert lines[heading + 1].split() == ["R@1", "R@5", "R@10"]
    names = [line.split()[0] for line in lines[heading + 2 : heading + 10]]
    assert names == ["reference", "preprocessing", "float16", "codes", "effort", "correction", "in", "product"]
    written = {file.relative_to(tmp_path / "out").as_posix() for file in (tmp_path / "out").rglob("*.*")}
    plots = {f"plots/{name}.svg" for name in ("mean_recall", "text_to_image", "image_to_text")}
    assert written == {"budget.json", "budget.md", "budget.html", *plots}
    document = json.loads((tmp_path / "one.json").read_text())
    assert document == json.loads((tmp_path / "out" / "budget.json").read_text())
    assert set(document["stages"][0]["step"]["recall"]["text_to_image"]["R@1"]) == {
        *("first", "second", "value", "interval", "p")
    }
    refused = mmsearch(*arguments, "--report", tmp_path / "out.csv")
    assert (refused.code, "name a .json, .md or .html file" in refused.err) == (1, True)
    bad = mmsearch(*arguments, "--where", "colour = 1")
    assert (bad.code, bad.err.count("Columns: "), "Traceback" in bad.err) == (1, 1, False)


# --- words and figures ----------------------------------------------------------------------------------------------


def change(points: float, low: float, high: float) -> Difference:
    return Difference(0.5, 0.5 + points / 100, points / 100, Interval(low / 100, high / 100), 0.5)


def stage(name: Any, mean: Difference, single: Difference | None = None) -> BudgetStage:
    nothing = change(0, 0, 0)
    figures: dict[Direction, dict[str, Difference]] = {
        "text_to_image": {"R@1": single or nothing},
        "image_to_text": {"R@1": nothing},
    }
    about: dict[Direction, str] = {"text_to_image": "this & that", "image_to_text": "that"}
    return BudgetStage(name, about, RecallChange(figures, mean), RecallChange(figures, mean))


def test_the_verdict_is_in_words() -> None:
    lost, more, unsure = change(-2, -3, -1), change(-5, -6, -4), change(-9, -20, 1)
    assert judge_stages([stage("float16", lost), stage("codes", more), stage("effort", unsure)]) == (
        "codes",
        "Most is lost at the codes of the index: 5.00 points (4.00 to 6.00) of mean recall. Something measurable is "
        "lost at the storage in float16 too.",
    )
    assert judge_stages([stage("effort", unsure), stage("correction", change(3, 2, 4))]) == (
        None,
        "Nothing measurable is lost: no stage has an interval below zero. The correction wins 3.00 points (2.00 to "
        "4.00).",
    )
    assert judge_stages([stage("codes", change(-1, -2, 1)), stage("filter", change(0, -1, 1), lost)]) == (
        "filter",
        "Of mean recall nothing measurable is lost; of single figures most at the filter: 2.00 points (1.00 to 3.00) "
        "of text_to_image R@1.",
    )


def test_reports_show_what_was_measured(flat: BudgetReport) -> None:
    lost, won = change(-2, -3, -1), change(1.5, 1, 2)
    whole = stage("codes", won, lost).step
    report = replace(flat, whole=whole, stages=(stage("codes", lost, lost), stage("correction", won, won)))
    text, page = budget_markdown(report), budget_page(report)
    assert "| codes | -2.00 [-3.00, -1.00] | -2.00 [-3.00, -1.00] |" in text
    assert "this &amp; that" in page
    assert page.count("<svg") == 3
    for colour in ("#d1495b", "#2a7d2a"):  # lost, won
        assert colour in page


def test_mean_difference_is_that_of_both_directions() -> None:
    """By hand: two of four captions and one of two images change; the interval is that of one sample of images."""
    captions = {"R@1": np.array([1.0, 1, 0, 0]), "R@5": np.array([1.0, 1, 1, 0])}
    changed = {"R@1": np.array([0.0, 1, 0, 0]), "R@5": np.array([1.0, 1, 0, 0])}
    images, same = {"R@1": np.array([1.0, 0])}, {"R@1": np.array([1.0, 1])}
    of_caption = np.array([0, 0, 1, 1])
    found = mean_difference([(captions, changed, of_caption), (images, same, np.arange(2))], 2)
    assert found.first == pytest.approx((5 / 8 + 1 / 2) / 2)
    assert found.second == pytest.approx((3 / 8 + 1) / 2)
    assert found.value == pytest.approx(1 / 8)
    # Of one image alone: the first loses 1/4 of captions, the second that and wins an image.
    assert (found.interval.low, found.interval.high) == pytest.approx((-1 / 8, 3 / 8))


def pair_items(n: int) -> Items:
    """As many images as captions, of which each belongs to the image at its position."""
    names, pairs = tuple(map(str, range(n))), np.arange(n)
    relevant = Relevance.one_each(pairs)
    return Items(names, (None,) * n, names, names, pairs, pairs, relevant, relevant)


def search_of(images: NDArray[np.float32], captions: NDArray[np.float32]) -> StagedSearch:
    """Of as many images as captions, through an index that loses little; every second image is admitted."""
    pairs = np.arange(len(images))
    items = pair_items(len(images))
    gallery: Any = None  # nothing is read of it
    encoded = EncodedBenchmark(images, captions, items, gallery, pairs, pairs, 0, ())
    blocks = [VectorBlock(pairs, images)]
    ann = build(
        "IVF8,Flat",
        table="images",
        fingerprint="",
        dim=images.shape[1],
        training=lambda: images,
        blocks=blocks,
        rows=len(images),
        seed=0,
    )
    tuned = TunedIndex(AnnIndex(ann.faiss_index, ann.row_ids, ann.record, images), Effort(nprobe=6), 0)
    return StagedSearch(encoded, encoded, {"text_to_image": tuned}, {"text_to_image": pairs[::2]}, 10)


def test_no_query_is_corrected_by_itself() -> None:
    world = World()
    images, captions = world.images, np.stack([world.said(f"{number} said so") for number in range(300)])
    pairs = np.arange(len(images))
    staged = search_of(images, captions)
    found = staged.correction("text_to_image", set())
    assert found.trial is not None
    assert found.trial.helps
    for fold, (setting, lowered) in enumerate(zip(found.settings, found.lowered, strict=True)):
        assert lowered is not None
        others = captions[found.folds != fold].astype(np.float64)
        for image in (0, 10, 17):
            scores = images[image] @ others[pairs[found.folds != fold] != image].T
            assert lowered[image] == pytest.approx(setting.alpha * np.sort(scores)[-setting.k :].mean(), abs=1e-6)
    # The same in the pipeline, where it stands for what a query loses to hubs: exactly, through an index and a filter.
    exact, corrected = staged.ranks("text_to_image", set()), staged.ranks("text_to_image", {"correction"})
    assert (corrected == 1).mean() > (exact == 1).mean() + 0.05
    lowered = np.stack([found.lowered[fold] for fold in found.folds])  # type: ignore[misc]
    by_hand = captions.astype(np.float64) @ images.astype(np.float64).T - lowered
    is_first = by_hand.argmax(axis=1) == pairs
    np.testing.assert_array_equal(corrected == 1, is_first)
    through = staged.ranks("text_to_image", {"codes", "effort", "correction"})
    assert (exact == 1).mean() < (through == 1).mean() <= is_first.mean()
    admitted = staged.ranks("text_to_image", {"codes", "effort", "filter", "correction"})
    np.testing.assert_array_equal(admitted[::2] == 1, by_hand[::2, ::2].argmax(axis=1) == pairs[:150])
    assert (admitted[1::2] > 10).all()
    # And as every report of eval has it.
    measured = measure_vectors(images, captions, pair_items(300), (1,))
    assert measured.corrected.text_to_image.result.recall[1] == is_first.mean()
    few = search_of(images[:50], captions[:50]).correction("text_to_image", set())
    assert (few.trial, few.lowered) == (None, (None, None))
