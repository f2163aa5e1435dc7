"""Published figures: what the tables hold, whose figures an evaluation is set beside, and what it says of the two."""

import csv
import json
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from mmsearch.benchmarks import find_published, find_published_accuracy, published
from mmsearch.encoders import DEFAULT_MODEL
from mmsearch.encoders.hub_tags import tags_of_repository
from mmsearch.errors import BenchmarkError
from mmsearch.evaluation import EvaluateOptions, EvaluationReport, SystemResult, evaluate
from mmsearch.evaluation.published import published_figures
from mmsearch.metrics import Interval
from tests.conftest import Command
from tests.fakes import COLOURS, FakeEncoder, write_picture

DATA = Path(__file__).parents[1] / "data"
B32 = "ViT-B-32/laion2b_s34b_b79k"


def rows(name: str) -> list[dict[str, str]]:
    with (DATA / name).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_figures_are_those_of_their_sources() -> None:
    """Copied by hand from what the sources name."""
    (open_clip,) = find_published("coco", B32)
    assert open_clip.text_to_image == {1: 0.3934, 5: 0.6543, 10: 0.7561}
    assert open_clip.image_to_text == {1: 0.5632, 5: 0.7984, 10: 0.8712}
    assert str(open_clip.source).startswith("mlfoundations/open_clip docs/openclip_retrieval_results.csv @89fb801")
    (siglip,) = find_published("coco", "ViT-SO400M-14-SigLIP2-378/webli")
    assert (siglip.text_to_image, siglip.image_to_text) == ({1: 0.558}, {1: 0.717})
    (perception,) = find_published("coco", "PE-Core-B-16/meta")
    assert (perception.text_to_image, perception.image_to_text) == ({1: 0.509}, {})
    assert find_published("flickr30k", "PE-Core-B-16/meta") == ()
    (imagenet,) = find_published_accuracy("imagenet", "ViT-bigG-14/laion2b_s39b_b160k")
    assert (imagenet.figures, imagenet.pictures) == ({"top1": 0.801}, 50_000)
    assert str(imagenet.source) == "mlfoundations/open_clip README.md @v3.3.0 (as the release holds it)"


def test_tables_are_whole_and_every_row_has_its_source() -> None:
    sources = {row["source"]: row for row in rows("published_sources.csv")}
    assert all(row["commit"] and "/" in row["repository"] for row in sources.values())
    used = set()
    for name, key in (
        ("published_retrieval.csv", ("benchmark", "language", "model", "pretrained", "source")),
        ("published_zeroshot.csv", ("benchmark", "model", "pretrained", "source")),
    ):
        table = rows(name)
        assert max(Counter(tuple(row[part] for part in key) for row in table).values()) == 1
        used |= {row["source"] for row in table}
        figures = [column for column in table[0] if column not in (*key, "pictures")]
        for row in table:
            shares = [float(row[column]) for column in figures if row[column]]
            assert shares, row
            assert all(0 <= share <= 1 for share in shares), row
    assert used == set(sources)


def test_recalls_grow_with_k() -> None:
    for row in rows("published_retrieval.csv"):
        for side in ("t2i", "i2t"):
            recalls = [float(row[f"{side}_r{k}"]) for k in (1, 5, 10) if row[f"{side}_r{k}"]]
            assert recalls == sorted(recalls), row


def test_models_are_called_as_open_clip_calls_them() -> None:
    import open_clip

    known = {"/".join(pair) for pair in open_clip.list_pretrained()}
    tables = rows("published_retrieval.csv") + rows("published_zeroshot.csv")
    named = {f"{row['model']}/{row['pretrained']}" for row in tables if row["source"] != "mobileclip"}
    assert len(named) > 130
    # SigLIP 2's models of any size have no tag there.
    assert {name for name in named - known if "naflex" not in name} == set()


@pytest.fixture
def flickr30k(tmp_path: Path) -> tuple[Path, Path]:
    """A Flickr30k of twelve drawings: not its test split, which is said; figures stand beside published ones all the
    same."""
    lines = ["image,caption"]
    kept = (DATA / "splits" / "flickr30k_karpathy_test.txt").read_text().split()
    for place, name in enumerate(kept[:12]):
        colour = list(COLOURS)[place % len(COLOURS)]
        write_picture(tmp_path / "images" / name, colour, seed=place)
        lines += [f"{name},{colour} {n}" for n in range(5)]
    (tmp_path / "captions.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "images", tmp_path / "captions.csv"


def measured(flickr30k: tuple[Path, Path], *encoders: FakeEncoder, **options: object) -> EvaluationReport:
    chosen = replace(EvaluateOptions(split="all", allow_missing=True), **options)  # type: ignore[arg-type]
    return evaluate("flickr30k", images=flickr30k[0], annotations=flickr30k[1], encoder=list(encoders), options=chosen)


def sources_of(system: SystemResult) -> set[str]:
    return {figure.source.split()[0] for figure in system.published}


def test_a_model_is_known_by_its_name(flickr30k: tuple[Path, Path]) -> None:
    (system,) = measured(flickr30k, FakeEncoder(B32), compare=True).systems
    assert sources_of(system) == {"mlfoundations/open_clip"}
    first = system.published[0]
    assert (first.model, first.direction, first.k, first.published) == (B32, "text_to_image", 1, 0.6678)
    assert first.differing == ("autocast, here fp32", "5,000 captions, here 60")


def test_weights_under_another_name_are_known_by_their_fingerprint(flickr30k: tuple[Path, Path]) -> None:
    """Where the model encoded the benchmark by its published name before: its vectors are the same, and so is it."""
    tagged, copied = FakeEncoder(B32), FakeEncoder("local-dir:/models/copy")
    assert measured(flickr30k, copied, compare=True).systems[0].published == ()
    measured(flickr30k, tagged)
    copied.identity = replace(tagged.identity, spec="local-dir:/models/copy")
    (system,) = measured(flickr30k, copied, compare=True).systems
    assert system.name == "local-dir:/models/copy"
    assert {figure.model for figure in system.published} == {B32}


def test_what_a_model_was_published_as_can_be_said(
    flickr30k: tuple[Path, Path], mmsearch: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = FakeEncoder("mine"), FakeEncoder("yours", seed=1)
    report = measured(flickr30k, first, second, compare_as=(B32, "RN50/openai"))
    assert [{figure.model for figure in system.published} for system in report.systems] == [{B32}, {"RN50/openai"}]
    with pytest.raises(BenchmarkError, match="names 1 models for 2: give one for each"):
        measured(flickr30k, first, second, compare_as=(B32,))
    before = first.images_encoded
    with pytest.raises(BenchmarkError, match="nothing published is known of vit-b-32/laion2b; near it: ViT-B-32/"):
        measured(flickr30k, first, compare_as=("vit-b-32/laion2b",), fresh=True)
    assert first.images_encoded == before
    asked = "--images", flickr30k[0], "--annotations", flickr30k[1], "--split", "all", "--allow-missing"
    done = mmsearch("eval", "flickr30k", *asked, "--model", "RN50/mine", "--compare-as", "RN50/openai")
    assert done.code == 0, done.err
    assert "RN50/openai: mlfoundations/open_clip docs/openclip_retrieval_results.csv @89fb801" in done.out
    assert "differs in: autocast, here fp32; 5,000 captions, here 60" in done.out


def test_what_was_done_otherwise_is_said(flickr30k: tuple[Path, Path]) -> None:
    (system, product) = measured(
        flickr30k, FakeEncoder("PE-Core-B-16/meta"), product_preprocessing=True, templates=("a photo of {}",)
    ).systems
    (squashed,) = published_figures("coco", system, ("PE-Core-B-16/meta",))
    assert squashed.differing == (
        "precision not stated, here fp32",
        "pictures squashed to a square, here by the checkpoint's own transform",
        "captions without a template, here in 1 template",
        "25,010 captions, here 60",
    )
    lowered = published_figures("coco", product, ("ViT-B-16-SigLIP2-256/webli",))[0]
    assert "captions lower-cased, here as they are" in lowered.differing
    assert "pictures by the checkpoint's own transform, here as embed prepares them" in lowered.differing


def test_a_rounded_figure_is_outside_only_beyond_its_rounding(flickr30k: tuple[Path, Path]) -> None:
    """50.9 is anything from 50.85 to 50.95."""
    (system,) = measured(flickr30k, FakeEncoder("mine")).systems

    def inside(low: float, high: float) -> bool:
        around = {**system.text_to_image.intervals, "R@1": Interval(low, high)}
        ours = replace(system, text_to_image=replace(system.text_to_image, intervals=around))
        (figure,) = published_figures("coco", ours, ("PE-Core-B-16/meta",))
        return figure.inside

    assert inside(0.5, 0.5086)
    assert not inside(0.5, 0.5084)
    assert inside(0.5094, 0.6)
    assert not inside(0.5096, 0.6)


def test_a_repository_of_the_hub_is_known_by_what_open_clip_takes_from_it() -> None:
    assert tags_of_repository("hf-hub:laion/CLIP-ViT-B-32-laion2B-s34B-b79K") == (B32,)
    assert tags_of_repository("hf-hub:nobody/nothing") == tags_of_repository(B32) == ()
    assert DEFAULT_MODEL == B32


def test_figures_without_a_width_have_wilsons_interval_in_every_report(tmp_path: Path) -> None:
    """A perfect model of twenty pictures: 20 of 20 is 83.9 % at least, also for what is no share of queries."""
    from mmsearch.evaluation import evaluate_vectors
    from mmsearch.reports import figures_csv, markdown

    vectors = np.eye(20, dtype=np.float32)
    np.save(tmp_path / "v.npy", vectors)
    report = evaluate_vectors([(str(tmp_path / "v.npy"), str(tmp_path / "v.npy"))])
    expected = 20 / (20 + 1.959963984540054**2)
    (system,) = report.systems
    assert system.mean_recall_interval.low == pytest.approx(expected)
    for name in ("R@1", "MRR", "nDCG@10", "relevant_recall@5"):
        assert system.text_to_image.interval(name).low == pytest.approx(expected), name
    assert system.text_to_image.interval("mean_rank") == Interval(1.0, 1.0)
    assert system.text_to_image.intervals["R@1"] == Interval(1.0, 1.0)
    text = markdown(report)
    assert text.count("100.00 [83.89, 100.00]") >= 6 + 1 + 2 * 3
    assert "mean recall (R@1, R@5, R@10)" in text
    assert f",{expected!r}," in figures_csv(report)


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """Ten folders of two drawings each, called as MNIST's classes are."""
    for number in range(10):
        for place in range(2):
            colour = list(COLOURS)[number % len(COLOURS)]
            write_picture(tmp_path / "digits" / str(number) / f"{place}.png", colour, seed=10 * number + place)
    return tmp_path / "digits"


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables of figures that nobody published, as `scripts/published_rows.py` writes them."""
    (tmp_path / "published_sources.csv").write_text(
        "source,repository,file,commit,precision,images,captions,places,note\n"
        f"one,a/one,docs/results.csv,{'1' * 40},fp32,,,4,\ntwo,b/two,results.csv,{'2' * 40},autocast,,,6,\n"
    )
    (tmp_path / "published_zeroshot.csv").write_text(
        "benchmark,model,pretrained,pictures,top1,top5,mean_per_class,map,source\n"
        "mnist,ViT-B-32,openai,10000,0.4839,,,,one\nmnist,ViT-B-32,openai,,0.483,0.9,0.47,,two\n"
        "mnist,RN50,openai,10000,0.5,,,,two\n"
    )
    (tmp_path / "published_retrieval.csv").write_text((DATA / "published_retrieval.csv").read_text().splitlines()[0])
    monkeypatch.setattr(published, "data_folder", lambda: tmp_path)
    for table in (published._rows, published._accuracies, published._sources):
        table.cache_clear()
        monkeypatch.setattr(published, table.__name__, cache(table.__wrapped__))


@pytest.mark.usefixtures("made_up")
def test_classification_is_set_beside_what_was_published(digits: Path, tmp_path: Path, mmsearch: Command) -> None:
    """As the model is called, or as it is said to be; with what was done otherwise; in every report."""
    asked = "eval", "zeroshot", "mnist", "--images", digits
    done = mmsearch(*asked, "--model", "ViT-B-32/openai", "--compare", "--report", tmp_path / "out.json")
    assert done.code == 0, done.err
    assert "published      top1             48.39, here" in done.out
    assert "ViT-B-32/openai: a/one docs/results.csv @1111111" in done.out
    assert "differs in: 10,000 pictures, here 20\n" in done.out
    assert "differs in: autocast, here fp32\n" in done.out
    beside = json.loads((tmp_path / "out.json").read_text())["systems"][0]["published"]
    assert {each["figure"] for each in beside} == {"top1", "top5", "mean_per_class"}

    mine = mmsearch(*asked, "--model", "RN50/mine", "--compare-as", "RN50/openai", "--template", "a {}")
    assert "RN50/openai: b/two results.csv @2222222" in mine.out
    assert "autocast, here fp32; 10,000 pictures, here 20; the data set's 1 templates, here 1 oth" in mine.out
    nothing = mmsearch(*asked, "--model", "RN50/mine", "--compare", "--report", tmp_path / "out.md")
    assert "nothing that the project knows of for RN50/mine on mnist" in nothing.out
    assert "Beside published" not in (tmp_path / "out.md").read_text()
    few = mmsearch(*asked, "--model", "RN50/mine", "--compare-as", "a/b", "--compare-as", "c/d")
    assert (few.code, "names 2 models for 1" in few.err) == (1, True)
