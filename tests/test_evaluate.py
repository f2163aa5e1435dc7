"""Evaluation against an independent one that shares no code with it, on pictures that a fake encoder can tell apart."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mmsearch.encoders import Pixels
from mmsearch.errors import BenchmarkError
from mmsearch.evaluation import EvaluateOptions, EvaluationReport, evaluate, evaluate_vectors, to_json
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


def run(benchmark: tuple[Path, Path], encoder: FakeEncoder | None = None, **options: Any) -> EvaluationReport:
    images, annotations = benchmark
    return evaluate(
        "custom",
        images=images,
        annotations=annotations,
        encoder=encoder or FakeEncoder(),
        options=EvaluateOptions(split="all", **options),
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


def test_an_image_replaced_by_one_of_its_size_and_time_is_noticed(benchmark: tuple[Path, Path]) -> None:
    """As `cp -p` and `rsync -t` do it: only ctime and inode tell."""
    import os

    first, second = benchmark[0] / "0.png", benchmark[0] / "1.png"
    largest = max(first.stat().st_size, second.stat().st_size)
    for file in (first, second):  # what follows the end of a PNG counts for nothing
        file.write_bytes(file.read_bytes().ljust(largest, b"\0"))
        os.utime(file, ns=(3, 3))
    fake = FakeEncoder()
    assert_agrees(run(benchmark, fake))
    aside = benchmark[0] / "aside"
    first.rename(aside)
    second.rename(first)
    aside.rename(second)
    report = run(benchmark, fake)
    swapped = run(benchmark, FakeEncoder(), fresh=True)
    np.testing.assert_array_equal(report.systems[0].evidence.images, swapped.systems[0].evidence.images)
    assert_agrees(report)


def test_fresh_encodes_everything_again(benchmark: tuple[Path, Path], mmsearch: Command) -> None:
    fake = FakeEncoder()
    first = run(benchmark, fake)
    images, texts = fake.images_encoded, fake.texts_encoded
    assert texts == 120
    second = run(benchmark, fake, fresh=True)
    assert (fake.images_encoded, fake.texts_encoded) == (2 * images, 240)
    assert second.text_to_image == first.text_to_image
    run(benchmark, fake)
    assert (fake.images_encoded, fake.texts_encoded) == (2 * images, 240)
    folder, annotations = benchmark
    done = mmsearch("eval", "custom", "--images", folder, "--annotations", annotations, "--fresh")
    assert done.code == 0, done.err


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
    assert run(benchmark).truncated == run(benchmark).truncated == 1


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
    assert list(report.text_to_image.recall.values()) == [0.506, 0.766, 0.862]
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


# --- several systems, templates, the published figures ----------------------------------------------------------------


def test_several_models_are_compared_and_none_twice(benchmark: tuple[Path, Path]) -> None:
    class Blind(FakeEncoder):
        """Sees every picture as another colour noise."""

        def encode_images(self, pixels: Pixels) -> NDArray[np.float32]:
            return super().encode_images(pixels[:, ::-1])

    encoders = [FakeEncoder("one"), Blind("two")]
    images, annotations = benchmark
    report = evaluate(
        "custom", images=images, annotations=annotations, encoder=encoders, options=EvaluateOptions(split="all")
    )
    assert [system.name for system in report.systems] == ["one", "two"]
    for system in report.systems:
        expected = evaluate_independently(Path(str(system.gallery)))["text_to_image"]["R@1"]
        assert system.text_to_image.recall[1] == pytest.approx(expected, abs=1e-12)
    difference = report.comparisons[0].differences["R@1"]
    assert difference.value == report.systems[1].text_to_image.recall[1] - report.systems[0].text_to_image.recall[1]
    with pytest.raises(BenchmarkError, match="the same encoder as one named before"):
        evaluate("custom", images=images, annotations=annotations, encoder=[FakeEncoder(), FakeEncoder()])


def test_product_preprocessing_is_a_second_column_and_encodes_no_caption_again(tmp_path: Path) -> None:
    """An upside-down photo: the product turns it, the published runs did not."""
    from PIL import Image

    for name, colours in (("a.png", ("red", "blue")), ("b.png", ("blue", "red"))):
        picture = Image.new("RGB", (16, 16), colours[0])
        picture.paste(colours[1], (0, 0, 16, 8))
        exif = Image.Exif()
        exif[0x0112] = 3
        picture.save(tmp_path / name, exif=exif)
    (tmp_path / "c.csv").write_text("image,caption\na.png,blue\nb.png,red\n")
    fake = FakeEncoder()
    report = evaluate(
        "custom",
        images=tmp_path,
        annotations=tmp_path / "c.csv",
        encoder=fake,
        options=EvaluateOptions(product_preprocessing=True),
    )
    assert [system.preprocessing for system in report.systems] == ["benchmark", "product"]
    assert fake.texts_encoded == 2
    plain, turned = (system.evidence.images for system in report.systems)
    np.testing.assert_allclose(plain[0], turned[1], atol=1e-6)
    assert {comparison.direction for comparison in report.comparisons} == {"text_to_image", "image_to_text"}


def test_product_preprocessing_of_several_models_is_held_against_their_own(benchmark: tuple[Path, Path]) -> None:
    images, annotations = benchmark
    report = evaluate(
        "custom",
        images=images,
        annotations=annotations,
        encoder=[FakeEncoder("one"), FakeEncoder("two")],
        options=EvaluateOptions(split="all", product_preprocessing=True),
    )
    pairs = [(comparison.first, comparison.second) for comparison in report.comparisons[::2]]
    product = ", product preprocessing"
    assert pairs == [("one", f"one{product}"), ("one", "two"), ("two", f"two{product}")]


def test_templates_are_filled_averaged_and_named(benchmark: tuple[Path, Path]) -> None:
    fake = FakeEncoder()
    report = run(benchmark, fake, templates=("a picture of {}", "so {} here"))
    (system,) = report.systems
    assert system.templates == ("a picture of {}", "so {} here")
    assert "2 templates: 'a picture of {}', … 'so {} here'" in report.title
    first = report.items.captions[0]
    mean = fake.encode_texts([f"a picture of {first}", f"so {first} here"]).vectors.sum(axis=0)
    np.testing.assert_allclose(system.evidence.captions[0], mean / np.linalg.norm(mean), atol=1e-6)
    encoded = fake.texts_encoded
    run(benchmark, fake, templates=("so {} here",))
    assert fake.texts_encoded == encoded  # from the cache
    from mmsearch.errors import EncoderError

    with pytest.raises(EncoderError, match=r"'no place' is no template.*openai, simple"):
        run(benchmark, fake, templates=("no place",))
    with pytest.raises(BenchmarkError, match="--via-index asks with captions as they are"):
        run(benchmark, fake, templates=("{}",), via_index=True)


def test_another_choice_of_captions_encodes_no_image_again(benchmark: tuple[Path, Path]) -> None:
    fake = FakeEncoder()
    run(benchmark, fake)
    images = fake.images_encoded
    report = run(benchmark, FakeEncoder(), captions_per_image=2)
    assert report.captions == 48
    assert_agrees(report)
    fewer = FakeEncoder()
    run(benchmark, fewer, captions_per_image=2)
    assert (fewer.images_encoded, fewer.texts_encoded) == (0, 0)
    assert images > 0


def karpathy(tmp_path: Path, images: int) -> tuple[Path, Path]:
    """The first images of Flickr30k's Karpathy test split, as drawings, with five captions each."""
    kept = Path(__file__).resolve().parents[1] / "data" / "splits" / "flickr30k_karpathy_test.txt"
    lines = ["image,caption"]
    for place, name in enumerate(kept.read_text().split()[:images]):
        colour = list(COLOURS)[place % len(COLOURS)]
        write_picture(tmp_path / "images" / name, colour, seed=place, size=(4, 4))
        lines += [f"{name},{colour} {n}" for n in range(5)]
    (tmp_path / "captions.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "images", tmp_path / "captions.csv"


def test_published_figures_stand_beside_those_of_the_same_model(
    tmp_path: Path, mmsearch: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Corrections of 5,000 queries take a quarter of a minute, and are tried elsewhere.
    for module in ("correcting", "calibrating"):
        monkeypatch.setattr(f"mmsearch.evaluation.{module}.LEAST_IMAGES", 1001)
    images, annotations = karpathy(tmp_path, 1000)
    asked = "eval", "flickr30k", "--images", images, "--annotations", annotations, "--compare"
    done = mmsearch(*asked, "--model", "ViT-B-32/laion2b_s34b_b79k", "--report", tmp_path / "out")
    assert done.code == 0
    lines = [line.split() for line in done.out.splitlines() if line.startswith("published")]
    assert [line[1:4] for line in lines] == [
        [direction, f"R@{k}", f"{value:.2f},"]
        for direction, values in (("text_to_image", (66.78, 88.38, 93.10)), ("image_to_text", (84.10, 96.20, 98.30)))
        for k, value in zip((1, 5, 10), values, strict=True)
    ]
    assert "open_clip docs/openclip_retrieval_results.csv" in done.out
    assert "OUTSIDE the interval" in done.out
    assert "not comparable" not in done.err
    document = json.loads((tmp_path / "out" / "report.json").read_text())
    figure = document["systems"][0]["published"][0]
    interval = document["text_to_image"]["intervals"]["R@1"]
    assert figure["inside"] == (interval[0] <= 0.6678 <= interval[1])
    assert "Beside published figures" in (tmp_path / "out" / "report.md").read_text()
    unknown = mmsearch(*asked, "--model", "RN50/nobody", "--captions-per-image", 2)
    assert "nothing that the project knows of for RN50/nobody" in unknown.out
    assert "1,000 images and 2,000 captions instead of 1,000 images and 5,000 captions" in unknown.err


def test_what_is_missing_stands_in_the_title_of_every_report(tmp_path: Path, mmsearch: Command) -> None:
    images, annotations = karpathy(tmp_path, 30)
    (images / "1007129816.jpg").write_text("broken")
    out = tmp_path / "out"
    asked = "eval", "flickr30k", "--images", images, "--annotations", annotations, "--report", out
    refused = mmsearch(*asked)
    assert refused.code == 1
    assert "970 of the 1,000 images" in refused.err
    done = mmsearch(*asked, "--allow-missing")
    assert done.code == 0
    title = "flickr30k, split test: 29 images, 145 captions; 970 MISSING IMAGES LEFT OUT; 1 UNREADABLE IMAGES LEFT OUT"
    assert done.out.splitlines()[0] == title
    assert "not comparable with published figures: 29 images" in done.err
    assert json.loads((out / "report.json").read_text())["title"] == title
    assert (out / "report.md").read_text().startswith(f"# {title}\n")
    assert f"<h1>{title}</h1>" in (out / "report.html").read_text()


def test_a_report_folder_holds_a_page_with_pictures_and_plots(benchmark: tuple[Path, Path], tmp_path: Path) -> None:
    """No link leads out of the page, and what failed is shown with what was returned instead."""
    import re
    import xml.etree.ElementTree as ElementTree

    from mmsearch.reports import write_report

    report = run(benchmark, product_preprocessing=True)
    files = write_report(report, tmp_path / "out")
    names = {str(file.relative_to(tmp_path / "out")) for file in files}
    systems = ("fake", "fake_product_preprocessing")
    plots = {"recall", "ranks", *(f"{plot}.{system}" for plot in ("scores", "gap") for system in systems)}
    runs = {f"{d}.{system}.run" for d in ("text_to_image", "image_to_text") for system in systems}
    assert names == {
        *(f"report.{kind}" for kind in ("json", "md", "html")), *(f"plots/{name}.svg" for name in plots), *runs,
        "figures.csv", "figures.tex", "queries.parquet", "queries.wide.parquet", "disagreements.html",
        "text_to_image.qrels", "image_to_text.qrels",
    }  # fmt: skip
    for name in plots:
        ElementTree.parse(tmp_path / "out" / "plots" / f"{name}.svg")
    text = (tmp_path / "out" / "report.html").read_text()
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", text)
    worst = int(np.argmax(report.systems[0].evidence.text_to_image.bounds.ranks))
    assert f"<b>{report.items.captions[worst]}</b>" in text
    assert "data:image/jpeg;base64," in text
    (benchmark[0] / report.items.images[0]).unlink()  # pictures that are gone are named, not an error
    write_report(report, tmp_path / "out")


def test_a_report_is_the_same_bytes_for_the_same_evaluation(benchmark: tuple[Path, Path], tmp_path: Path) -> None:
    from mmsearch.reports import page

    assert page(run(benchmark)) == page(run(benchmark))


@pytest.mark.parametrize("name", ["out.pdf", "file.txt/", "there"])
def test_a_report_in_an_impossible_place_is_refused(name: str, tmp_path: Path) -> None:
    from mmsearch.errors import StoreError
    from mmsearch.reports import require_target

    (tmp_path / "there").write_text("a file")
    with pytest.raises(StoreError, match=r"name a \.json|is a file, not a folder"):
        require_target(tmp_path / name)


# --- galleries --------------------------------------------------------------------------------------------------------


def test_galleries_are_measured_as_they_are(benchmark: tuple[Path, Path], tmp_path: Path, mmsearch: Command) -> None:
    """From float16 vectors, with pictures and captions that do not count; two galleries of the same are compared."""
    import pyarrow.parquet as pq

    from mmsearch.evaluation import evaluate_galleries
    from tests.independent import figures_of

    images, annotations = benchmark
    write_picture(images / "uncaptioned.png", "red")
    with annotations.open("a") as file:
        file.write("nowhere.png,a caption of nothing\n")
    for name in ("one", "two"):
        assert mmsearch("embed", images, "--captions", annotations, "--gallery", tmp_path / name).code == 0
    report = evaluate_galleries([tmp_path / "one", tmp_path / "two"])
    assert (report.images, report.captions) == (24, 120)
    assert report.problems == (
        "1 captions name no picture of the gallery, left out",
        "1 pictures have no caption, left out",
    )
    assert {found.value for part in report.comparisons for found in part.differences.values()} == {0.0}
    for table in ("images", "captions"):
        asked = mmsearch("export", tmp_path / f"{table}.parquet", "--in", table, "--gallery", tmp_path / "one")
        assert asked.code == 0
    pictures = {row["path"]: row["embedding"] for row in pq.read_table(tmp_path / "images.parquet").to_pylist()}
    pictures.pop("uncaptioned.png")
    rows = pq.read_table(tmp_path / "captions.parquet").to_pylist()
    rows = sorted((row for row in rows if row["path"]), key=lambda row: (row["path"], row["caption"], row["ordinal"]))
    names = sorted(pictures)
    truth = np.array([[row["path"] == name for name in names] for row in rows])
    expected = figures_of(
        np.array([pictures[name] for name in names], np.float64),
        np.array([row["embedding"] for row in rows], np.float64),
        truth,
    )
    document = to_json(report)
    for direction, figures in expected.items():
        for name, value in figures.items():
            assert document[direction][name] == pytest.approx(value, abs=1e-12), (direction, name)
    done = mmsearch("eval", "gallery", tmp_path / "one", "--report", tmp_path / "out.md")
    assert done.code == 0
    assert done.out.startswith("gallery: 24 images, 120 captions\n")
    with pytest.raises(BenchmarkError, match="named twice"):
        evaluate_galleries([tmp_path / "one", tmp_path / "one"])
    assert mmsearch("embed", images, "--gallery", tmp_path / "three").code == 0
    with pytest.raises(BenchmarkError, match="no caption names a picture"):
        evaluate_galleries([tmp_path / "three"])
    write_picture(images / "more.png", "blue")
    more = tmp_path / "more.csv"
    more.write_text("image,caption\nmore.png,blue\n")
    assert mmsearch("embed", images, "--captions", more, "--gallery", tmp_path / "two").code == 0
    with pytest.raises(BenchmarkError, match="does not hold the same pictures and captions"):
        evaluate_galleries([tmp_path / "one", tmp_path / "two"])
