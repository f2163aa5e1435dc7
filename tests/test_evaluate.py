"""Evaluation against an independent one that shares no code with it, on pictures that a fake encoder can tell apart."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mmsearch.errors import BenchmarkError
from mmsearch.pipeline.evaluate import EvaluateOptions, EvaluationReport, evaluate, evaluate_vectors, to_json
from tests.conftest import Command
from tests.fakes import COLOURS, FakeEncoder, write_picture
from tests.independent import evaluate_independently

PER_COLOUR = 4


@pytest.fixture
def benchmark(tmp_path: Path) -> tuple[Path, Path]:
    """Twenty-four pictures; of the captions of each two name its colour and three say nothing of it."""
    images = tmp_path / "images"
    lines = ["image,caption"]
    for place in range(PER_COLOUR * len(COLOURS)):
        colour = list(COLOURS)[place % len(COLOURS)]
        write_picture(images / f"{place}.png", colour, seed=place)
        lines += [
            f"{place}.png,{text}" for text in (f"all {colour}", f"{colour} it is", f"x{place}", f"y{place}", "same")
        ]
    annotations = tmp_path / "captions.csv"
    annotations.write_text("\n".join(lines) + "\n")
    return images, annotations


def run(benchmark: tuple[Path, Path], encoder: FakeEncoder | None = None, **options: object) -> EvaluationReport:
    images, annotations = benchmark
    return evaluate(
        "custom",
        images=images,
        annotations=annotations,
        encoder=encoder or FakeEncoder(),
        options=EvaluateOptions(split="all", **options),  # type: ignore[arg-type]
    )


def assert_agrees(report: EvaluationReport) -> None:
    document = to_json(report)
    for direction, expected in evaluate_independently(Path(str(report.systems[0].gallery))).items():
        found = document[direction]
        for name, value in expected.items():
            assert found[name] == pytest.approx(value, abs=1e-12), (direction, name)


def test_every_figure_agrees_with_an_independent_evaluation(benchmark: tuple[Path, Path]) -> None:
    report = run(benchmark)
    assert (report.images, report.captions) == (24, 120)
    assert report.image_to_text.recall[1] > report.text_to_image.recall[1] > 0
    assert_agrees(report)


def test_a_second_run_encodes_nothing_and_says_the_same(benchmark: tuple[Path, Path]) -> None:
    fake = FakeEncoder()
    first = run(benchmark, fake)
    encoded = fake.images_encoded, fake.texts_encoded
    second = run(benchmark, fake, ks=(1, 3))
    assert (fake.images_encoded, fake.texts_encoded) == encoded
    assert second.text_to_image.recall[1] == first.text_to_image.recall[1]
    assert list(second.text_to_image.recall) == [1, 3]


def test_a_changed_image_is_noticed(benchmark: tuple[Path, Path]) -> None:
    import os

    fake = FakeEncoder()
    run(benchmark, fake)
    write_picture(benchmark[0] / "0.png", "yellow", seed=999)
    os.utime(benchmark[0] / "0.png", ns=(3, 3))
    before = fake.images_encoded
    assert_agrees(run(benchmark, fake))
    assert fake.images_encoded == before + 1


def test_images_are_opened_without_exif_rotation(tmp_path: Path) -> None:
    """As in the published runs; the product's own embed rotates."""
    from PIL import Image

    picture = Image.new("RGB", (16, 16), "red")
    picture.paste("blue", (0, 0, 16, 8))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    (tmp_path / "i").mkdir()
    picture.save(tmp_path / "i" / "a.png", exif=exif)
    (tmp_path / "c.csv").write_text("image,caption\na.png,blue\n")
    report = evaluate(
        "custom",
        images=tmp_path / "i",
        annotations=tmp_path / "c.csv",
        encoder=FakeEncoder(),
        options=EvaluateOptions(split="all"),
    )
    from mmsearch.gallery import Gallery

    stored = Gallery.open(report.systems[0].gallery).vectors("images", np.array([0]))[0]
    expected = FakeEncoder().encode_images(FakeEncoder().preprocess(picture)[None])[0]
    np.testing.assert_allclose(stored, expected, atol=1e-6)
    assert stored.dtype == np.float32


def test_missing_and_broken_images_do_not_shrink_a_benchmark_silently(benchmark: tuple[Path, Path]) -> None:
    (benchmark[0] / "5.png").unlink()
    with pytest.raises(BenchmarkError, match=r"(?s)5\.png.*--allow-missing"):
        run(benchmark)
    (benchmark[0] / "7.png").write_text("broken")
    report = run(benchmark, allow_missing=True)
    assert (report.images, report.captions, report.unreadable) == (22, 110, ("7.png",))
    assert any("missing" in problem or "not in the images folder" in problem for problem in report.problems)
    shutil.copy(benchmark[0] / "6.png", benchmark[0] / "5.png")
    with pytest.raises(BenchmarkError, match=r"7\.png \(not an image\).*--allow-missing"):
        run(benchmark)


def test_truncated_captions_are_counted_also_the_second_time(benchmark: tuple[Path, Path]) -> None:
    with benchmark[1].open("a") as file:
        file.write("0.png," + "very " * 100 + "long\n")
    assert run(benchmark).systems[0].truncated == run(benchmark).systems[0].truncated == 1


def test_ties_are_reported_with_their_bounds(benchmark: tuple[Path, Path]) -> None:
    """The caption "same" stands under every picture: image_to_text cannot tell these apart."""
    report = run(benchmark)
    assert report.image_to_text.recall_pessimistic[5] <= report.image_to_text.recall[5]
    assert report.image_to_text.recall[5] <= report.image_to_text.recall_optimistic[5]
    assert report.text_to_image.tied_queries == 0


def test_through_a_flat_index_nothing_is_lost(benchmark: tuple[Path, Path]) -> None:
    report = run(benchmark, via_index=True)
    through = report.systems[0].via_index
    assert [part.direction for part in through] == ["text_to_image", "image_to_text"]
    assert through[0].recall == report.text_to_image.recall


def test_the_command_prints_definition_and_counts_and_writes_the_report(
    benchmark: tuple[Path, Path], tmp_path: Path, mmsearch: Command
) -> None:
    images, annotations = benchmark
    out = tmp_path / "out.json"
    done = mmsearch(
        "eval", "custom", "--images", images, "--annotations", annotations, "--split", "all", "--report", out
    )
    assert done.code == 0
    assert "at least one relevant item among the k best" in done.out
    assert "24 images, 120 captions" in done.out
    document = json.loads(out.read_text())
    assert list(document)[:2] == ["text_to_image", "image_to_text"]
    for direction, queries, gallery in (("text_to_image", 120, 24), ("image_to_text", 24, 120)):
        assert {"R@1", "R@5", "R@10", "median_rank", "queries", "gallery"} <= document[direction].keys()
        assert (document[direction]["queries"], document[direction]["gallery"]) == (queries, gallery)
        (line,) = [line for line in done.out.splitlines() if line.startswith(direction)]
        assert line.split()[1] == f"{100 * document[direction]['R@1']:.2f}"
    assert document["encoder"]["spec"].startswith("ViT-B-32/")
    assert {"mmsearch", "torch", "open_clip_torch"} <= document["versions"].keys()


def test_bad_annotations_are_one_line(tmp_path: Path, mmsearch: Command) -> None:
    (tmp_path / "nothing.csv").write_text("")
    done = mmsearch("eval", "flickr8k", "--images", tmp_path, "--annotations", tmp_path / "nothing.csv")
    assert (done.code, done.out) == (1, "")
    assert "error:" in done.err
    assert "Traceback" not in done.err


def test_real_clip_vectors_give_their_known_figures(shared_data: Path) -> None:
    """From the vectors to the metrics, as `evaluate` computes them."""
    file = shared_data / "modality_gap_clip_vitb16_coco500" / "features_clip.npy"
    report = evaluate_vectors([(f"{file}[0]", f"{file}[1]")])
    assert list(report.text_to_image.recall.values()) == [0.506, 0.764, 0.862]
    assert list(report.image_to_text.recall.values()) == [0.552, 0.808, 0.892]


def test_a_report_without_a_folder_is_refused_before_anything_is_encoded(
    benchmark: tuple[Path, Path], mmsearch: Command
) -> None:
    images, annotations = benchmark
    done = mmsearch(
        *("eval", "custom", "--images", images, "--annotations", annotations),
        *("--report", images / "nowhere" / "out.json"),
    )
    assert (done.code, done.out) == (1, "")
    assert "no folder" in done.err
    assert "loading" not in done.err
