"""Data sets whose captions lie in files of several kinds, each cut by hand from its description; tables with a row a
language, a length of captions, a fold: counted by hand, and by an evaluation that shares no code with them."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmsearch.benchmarks import DATA_SETS, Benchmark, languages_of, load_benchmark, official_order
from mmsearch.errors import BenchmarkError
from mmsearch.evaluation import (
    EvaluateOptions,
    FigureReport,
    FigureRow,
    evaluate_folds,
    evaluate_languages,
    evaluate_lengths,
)
from mmsearch.reports import FIGURE_KINDS, write_figures
from tests.conftest import Command
from tests.fakes import CONTEXT, FakeEncoder, provide, write_picture

COLOURS = ("red", "green", "blue", "white")


@pytest.fixture
def pictures(tmp_path: Path) -> Callable[..., Path]:
    """Makes a folder of pictures, of one colour after the other."""

    def make(*names: str) -> Path:
        for number, name in enumerate(names):
            write_picture(tmp_path / "pictures" / name, COLOURS[number % len(COLOURS)], seed=number)
        return tmp_path / "pictures"

    return make


def rows(benchmark: Benchmark) -> list[tuple[str, str]]:
    return [(benchmark.images[i], text) for i, text in zip(benchmark.caption_image, benchmark.captions, strict=True)]


def write(file: Path, *lines: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join(lines) + "\n"
    file.write_bytes(gzip.compress(text.encode()) if file.suffix == ".gz" else text.encode())
    return file


def write_xm3600(folder: Path, records: dict[str, dict[str, list[str]]]) -> Path:
    """captions.jsonl of Crossmodal-3600: an object an image, whose keys are languages too."""
    lines = []
    for image, captions in records.items():
        entry: dict[str, object] = {"image/key": image, "image/locale": "en"}
        for language, texts in captions.items():
            entry[language] = {"caption": texts, "caption/tokenized": [text.split() for text in texts]}
        lines.append(json.dumps(entry, ensure_ascii=False))
    return write(folder / "captions.jsonl", *lines)


# --- layouts ----------------------------------------------------------------------------------------------------------


def test_crossmodal_3600(tmp_path: Path, pictures: Callable[..., Path]) -> None:
    images = pictures("000a.jpg", "000b.jpg", "000c.jpg")
    file = write_xm3600(
        tmp_path,
        {
            "000a": {"en": ["a red thing", "red"], "th": ["สีแดง"]},
            "000b": {"en": ["green"], "th": []},
            "000c": {"en": ["blue"]},
        },
    )
    assert languages_of("xm3600", file) == ("en", "th")
    english = load_benchmark("xm3600", images=images, annotations=file, language="en")
    assert rows(english) == [
        ("000a.jpg", "a red thing"),
        ("000a.jpg", "red"),
        ("000b.jpg", "green"),
        ("000c.jpg", "blue"),
    ]
    assert english.problems == ()
    thai = load_benchmark("xm3600", images=images, annotations=file, language="th")
    assert rows(thai) == [("000a.jpg", "สีแดง")]
    assert {problem.kind: problem.count for problem in thai.problems} == {
        "malformed_row": 1,  # the third has no Thai at all
        "image_without_caption": 1,
        "uncaptioned_file": 1,
    }
    with pytest.raises(BenchmarkError, match="no language 'de'; it has en, th"):
        load_benchmark("xm3600", images=images, annotations=file, language="de")
    with pytest.raises(BenchmarkError, match="name a language; it has en, th"):
        load_benchmark("xm3600", images=images, annotations=file)
    write(file, '{"image/key": "000a"', "{}")
    with pytest.raises(BenchmarkError, match=r"captions\.jsonl, line 1: not JSON"):
        languages_of("xm3600", file)


@pytest.mark.parametrize(
    ("name", "image_list", "captions"),
    [
        (
            "xtd10",
            "XTD10/test_image_names.txt",
            {"en": "XTD10/test_1kcaptions_en.txt", "de": "MIC/test_1kcaptions_de.txt"},
        ),
        ("xtd200", "test_image_names.txt", {"eng_Latn": "eng_Latn.txt", "zho_Hans": "zho_Hans.txt"}),
        ("flickr30k-200", "filenames.txt", {"eng_Latn": "eng_Latn.txt", "deu_Latn": "deu_Latn.txt"}),
        (
            "multi30k",
            "image_splits/test_2016_flickr.txt",
            {"cs": "raw/test_2016_flickr.cs.gz", "en": "raw/test_2016_flickr.en.gz"},
        ),
    ],
)
def test_captions_in_lines_beside_a_list(
    tmp_path: Path, pictures: Callable[..., Path], name: str, image_list: str, captions: dict[str, str]
) -> None:
    """Anywhere in the folder that the authors give out; other files in it, tokenized ones too, are no languages."""
    images, folder = pictures("b.jpg", "a.jpg"), tmp_path / "given"
    write(folder / image_list, "b.jpg", "a.jpg")
    write(folder / "README.md", "no captions")
    write(folder / "tok" / "test_2016_flickr.lc.norm.tok.de", "ein hund", "eine katze")
    for language, file in captions.items():
        write(folder / file, f"one in {language}", "", "")
        with pytest.raises(BenchmarkError, match="1 captions, and 2 images"):
            load_benchmark(name, images=images, annotations=folder, language=language)
        write(folder / file, f"one in {language}", f"two in {language}", "")
    assert languages_of(name, folder) == tuple(sorted(captions))
    for language in captions:
        benchmark = load_benchmark(name, images=images, annotations=folder, language=language)
        assert rows(benchmark) == [("b.jpg", f"one in {language}"), ("a.jpg", f"two in {language}")]
        assert benchmark.problems == ()
    (folder / image_list).unlink()
    with pytest.raises(BenchmarkError, match="no list of images called"):
        load_benchmark(name, images=images, annotations=folder, language=next(iter(captions)))


def test_chinese_captions_of_flickr30k_and_coco(tmp_path: Path, pictures: Callable[..., Path]) -> None:
    """Names without an ending; COCO-CN's list of the test split stands beside its captions."""
    images = pictures("1007129816.jpg", "COCO_val2014_000000000001.jpg", "COCO_val2014_000000000002.jpg")
    flickr = write(tmp_path / "flickr30k_cn_test.txt", "1007129816#0\t一个男人", "1007129816#1\t戴着帽子")
    benchmark = load_benchmark("flickr30k-cn", images=images, annotations=flickr)
    assert rows(benchmark) == [("1007129816.jpg", "一个男人"), ("1007129816.jpg", "戴着帽子")]
    folder = tmp_path / "coco-cn-version1805v1.1"
    coco = write(
        folder / "imageid.human-written-caption.txt",
        "COCO_val2014_000000000001#0\t一只狗",
        "COCO_val2014_000000000002#0\t两只猫",
    )
    write(folder / "coco-cn_test.txt", "COCO_val2014_000000000002")
    benchmark = load_benchmark("coco-cn", images=images, annotations=coco)
    assert rows(benchmark) == [("COCO_val2014_000000000002.jpg", "两只猫")]


def test_long_captions(tmp_path: Path, pictures: Callable[..., Path]) -> None:
    urban = tmp_path / "urban"
    for number in (10, 9, 1):
        write(urban / "caption" / f"{number}.txt", "", f"a street, {number}", "a second line, which is not read")
    images = pictures("1.jpg", "9.jpg", "10.jpg", "sa_7.jpg", "test_00000.jpg", "train_00000.jpg")
    benchmark = load_benchmark("urban1k", images=images, annotations=urban / "caption")
    assert rows(benchmark) == [(f"{n}.jpg", f"a street, {n}") for n in (1, 9, 10)]
    dci = tmp_path / "annotations"
    record = {"image": "sa_7.jpg", "short_caption": "A quay. ", "extra_caption": "Behind it a mast.", "mask_data": {}}
    write(dci / "a.json", json.dumps(record))
    write(dci / "b.json", json.dumps({"short_caption": "no image"}))
    benchmark = load_benchmark("dci", images=images, annotations=dci)
    assert rows(benchmark) == [("sa_7.jpg", "A quay. Behind it a mast.")]
    assert benchmark.problem("malformed_row").items == ("b.json: without image",)
    docci = write(
        tmp_path / "docci_descriptions.jsonlines",
        *(
            json.dumps({"example_id": s, "split": s, "image_file": f"{s}_00000.jpg", "description": f"of {s}"})
            for s in ("train", "test")
        ),
    )
    assert rows(load_benchmark("docci", images=images, annotations=docci)) == [("test_00000.jpg", "of test")]
    for name, folder, message in (
        ("urban1k", dci, r"no \.txt with a caption"),
        ("dci", urban, r"no \.json with image"),
    ):
        with pytest.raises(BenchmarkError, match=message):
            load_benchmark(name, images=images, annotations=folder)
    with pytest.raises(BenchmarkError, match="is not a folder"):
        load_benchmark("urban1k", images=images, annotations=docci)


def test_an_unknown_name_lists_those_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=f"no benchmark 'imagenet': choose one of {', '.join(DATA_SETS)}"):
        load_benchmark("imagenet", images=tmp_path, annotations=tmp_path)


# --- tables -----------------------------------------------------------------------------------------------------------


def recalls(images: Path, captions: list[tuple[str, str]], k: int) -> tuple[float, float]:
    """R@k of both directions, by full sorting of the scores of all pairs."""
    fake, names = FakeEncoder(), list(dict.fromkeys(name for name, _ in captions))
    pixels = np.stack([fake.preprocess(Image.open(images / name).convert("RGB")) for name in names])
    scores = fake.encode_texts([text for _, text in captions]).vectors.astype(float) @ fake.encode_images(pixels).T
    owner = np.array([names.index(name) for name, _ in captions])
    forward = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    backward = np.argsort(-scores.T, axis=1, kind="stable")[:, :k]
    found_images = np.mean([owner[caption] in forward[caption] for caption in range(len(captions))])
    return float(found_images), float(np.mean([image in owner[backward[image]] for image in range(len(names))]))


def row_of(report: FigureReport, name: str) -> FigureRow:
    return next(row for row in report.tables[0].rows if row.name == name)


def at(row: FigureRow, k: int) -> tuple[float, float]:
    return row.figures["text_to_image", f"R@{k}"], row.figures["image_to_text", f"R@{k}"]


def test_languages_are_rows_and_their_mean_the_last(tmp_path: Path, pictures: Callable[..., Path]) -> None:
    """Of four pictures the English captions name the colour. Of the German ones two do, and two name the colour of the
    other: for those the wrong picture and the wrong caption come first, so that half is found at 1."""
    images = pictures("a.png", "b.png", "c.png", "d.png")
    english = [("a.png", "red"), ("b.png", "green"), ("c.png", "blue"), ("d.png", "white")]
    german = [("a.png", "green"), ("b.png", "red"), ("c.png", "blue"), ("d.png", "white")]
    folder = tmp_path / "given"
    write(folder / "filenames.txt", *(name for name, _ in english))
    for language, captions in (("eng_Latn", english), ("deu_Latn", german)):
        write(folder / f"{language}.txt", *(text for _, text in captions))
    encoder = FakeEncoder()
    report = evaluate_languages("flickr30k-200", images=images, annotations=folder, encoder=encoder)
    assert [row.name for row in report.tables[0].rows] == ["deu_Latn", "eng_Latn", "mean"]
    assert at(row_of(report, "eng_Latn"), 1) == (1.0, 1.0) == recalls(images, english, 1)
    assert at(row_of(report, "deu_Latn"), 1) == (0.5, 0.5) == recalls(images, german, 1)
    assert at(row_of(report, "deu_Latn"), 5) == (1.0, 1.0)
    assert at(row_of(report, "mean"), 1) == (0.75, 0.75)
    assert row_of(report, "eng_Latn").figures["", "mean recall"] == 1.0
    assert row_of(report, "deu_Latn").figures["", "mean recall"] == pytest.approx((0.5 + 1 + 1) * 2 / 6)
    low, high = (getattr(row_of(report, "eng_Latn").intervals["text_to_image", "R@1"], end) for end in ("low", "high"))
    assert 0.5 < low < 0.55, "Wilson's of four draws"
    assert high == 1.0
    # Pictures are encoded once for both languages; the rest are texts, which are colours.
    assert encoder.images_encoded == 4 + 8
    one = evaluate_languages(
        "flickr30k-200", images=images, annotations=folder, languages=["deu_Latn"], encoder=encoder
    )
    assert [row.name for row in one.tables[0].rows] == ["deu_Latn"]
    with pytest.raises(BenchmarkError, match="no language fr; it has deu_Latn, eng_Latn"):
        evaluate_languages("flickr30k-200", images=images, annotations=folder, languages=["fr"], encoder=encoder)


def test_languages_of_any_benchmark_are_files_by_language(
    tmp_path: Path, pictures: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, mmsearch: Command
) -> None:
    images = pictures("a.png", "b.png")
    for language, words in (("en", ("red", "green")), ("de", ("rot", "green"))):
        write(tmp_path / f"{language}.csv", "image,caption", f"a.png,{words[0]}", f"b.png,{words[1]}")
    provide(monkeypatch)
    files = ("--annotations", f"en={tmp_path / 'en.csv'}", "--annotations", f"de={tmp_path / 'de.csv'}")
    done = mmsearch("eval", "languages", "custom", "--images", images, *files, "--model", "fake", "--report", tmp_path)
    assert done.code == 0, done.err
    table = [line.split() for line in done.out.splitlines() if line.startswith(("language", "en", "de", "mean"))]
    assert [line[0] for line in table] == ["language", "en", "de", "mean"]
    assert table[1][1:7] == ["100.00"] * 6
    assert {file.suffix for file in tmp_path.glob("figures.*")} == set(FIGURE_KINDS)
    document = json.loads((tmp_path / "figures.json").read_text())
    assert document["tables"][0]["rows"][0]["figures"]["text_to_image"]["R@1"] == 1.0
    assert document["rows_are"] == "language"
    refused = mmsearch(
        "eval", "languages", "custom", "--images", images, *files[:2], "--annotations", "x", "--model", "f"
    )
    assert refused.code == 2
    assert "names its language" in " ".join(refused.err.split())
    alone = mmsearch("eval", "languages", "coco", "--images", images, "--annotations", tmp_path / "en.csv")
    assert "name files by language" in alone.err


def test_recall_by_the_length_of_captions_and_what_was_cut(tmp_path: Path, pictures: Callable[..., Path]) -> None:
    """Short captions name the colour. Long ones do so behind twenty words of which the model reads no more, so that
    they say nothing; the fake model is told so by the words themselves."""
    images = pictures("a.png", "b.png", "c.png", "d.png")
    padding = " ".join(["word"] * CONTEXT)
    captions = [
        ("a.png", "red"),
        ("b.png", "a green one"),
        ("c.png", f"{padding} no colour"),
        ("d.png", f"{padding} something else again"),
    ]
    lines = [json.dumps({"image": image, "caption": caption}) for image, caption in captions]
    file = write(tmp_path / "captions.jsonl", *lines)
    report = evaluate_lengths(
        "custom", images=images, annotations=file, lengths=(2, 20), encoder=FakeEncoder(), options=EvaluateOptions()
    )
    named = {row.name: row for row in report.tables[0].rows}
    assert list(named) == ["all", "1 to 2", "3 to 20", "over 20"]
    assert [named[name].counts["captions"] for name in named] == [4, 1, 1, 2]
    assert [named[name].counts["images"] for name in named] == [4, 1, 1, 2]
    assert [named[name].figures["", "cut"] for name in named] == [0.5, 0.0, 0.0, 1.0]
    assert at(named["all"], 1) == recalls(images, captions, 1)
    assert at(named["1 to 2"], 1)[0] == at(named["3 to 20"], 1)[0] == 1.0
    whole = (at(named["1 to 2"], 1)[0] + at(named["3 to 20"], 1)[0] + 2 * at(named["over 20"], 1)[0]) / 4
    assert whole == at(named["all"], 1)[0], "the rows are parts of the whole"
    with pytest.raises(BenchmarkError, match="numbers of words"):
        evaluate_lengths("custom", images=images, annotations=file, lengths=(0,), encoder=FakeEncoder())


def test_folds_are_searched_by_themselves(tmp_path: Path, pictures: Callable[..., Path]) -> None:
    """Eight pictures, two of each colour, in two folds with one of each: within a fold a colour is one picture."""
    names = [f"{number}.png" for number in range(8)]
    images = pictures(*names)
    captions = [(name, COLOURS[number % 4]) for number, name in enumerate(names)]
    file = write(tmp_path / "captions.csv", "image,caption", *(f"{name},{text}" for name, text in captions))
    report = evaluate_folds("custom", images=images, annotations=file, folds=2, encoder=FakeEncoder())
    assert [row.name for row in report.tables[0].rows] == ["fold 1", "fold 2", "mean", "all images"]
    assert at(row_of(report, "fold 1"), 1) == at(row_of(report, "mean"), 1) == (1.0, 1.0)
    assert at(row_of(report, "all images"), 1) == recalls(images, captions, 1)
    assert at(row_of(report, "all images"), 1)[0] == 0.5
    with pytest.raises(BenchmarkError, match="9 folds of 8 images"):
        evaluate_folds("custom", images=images, annotations=file, folds=9, encoder=FakeEncoder())


def test_the_folds_of_coco_follow_the_karpathy_split() -> None:
    split = (Path(__file__).parents[1] / "data" / "splits" / "coco_karpathy_test.txt").read_text().split()
    shuffled = [split[n] for n in (3, 0, 2, 1)]
    assert official_order("coco", "test", [f"val2014/{name}" for name in shuffled]).tolist() == [1, 3, 2, 0]
    assert official_order("coco", "test", [split[1], "another.jpg", split[0]]).tolist() == [0, 1, 2]
    assert official_order("custom", None, split[:2]).tolist() == [0, 1]


def test_tables_as_files_agree(tmp_path: Path, pictures: Callable[..., Path]) -> None:
    images = pictures("a.png", "b.png")
    file = write(tmp_path / "captions.csv", "image,caption", "a.png,red", "b.png,what is this")
    report = evaluate_folds("custom", images=images, annotations=file, folds=2, encoder=FakeEncoder())
    (markdown,) = write_figures(report, tmp_path / "t.md")
    (latex,) = write_figures(report, tmp_path / "t.tex")
    (sheet,) = write_figures(report, tmp_path / "t.csv")
    header = next(line for line in markdown.read_text().splitlines() if line.startswith("| fold"))
    assert header.count("|") - 1 == len(report.columns) + 3
    assert latex.read_text().count(r"\\") == 1 + len(report.tables[0].rows)
    assert len(sheet.read_text().splitlines()) == 1 + len(report.tables[0].rows)
