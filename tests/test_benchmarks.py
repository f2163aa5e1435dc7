"""Annotation files as people have them: the real ones where they are at hand, faithfully shaped small ones
elsewhere."""

import doctest
import gzip
import json
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsearch.benchmarks import Benchmark, ProblemKind, image_names, load_benchmark
from mmsearch.errors import BenchmarkError
from mmsearch.sources.caption_files import read_captions

DATA = Path(__file__).parents[2] / "shared" / "data"
KEPT = Path(__file__).parents[1] / "data" / "splits"

# What the fixtures below hand out.
Content: TypeAlias = str | bytes | list[Any] | dict[str, Any]
"""Of a file; lists and dicts are written as JSON."""
Real: TypeAlias = Callable[[str], Path]
Photos: TypeAlias = Callable[..., Path]
Write: TypeAlias = Callable[[str, Content], Path]


@pytest.fixture
def real() -> Real:
    """Finds a real file or folder, and skips the test where it is absent."""

    def find(path: str) -> Path:
        if not (DATA / path).exists():
            pytest.skip(f"no real data: {DATA / path} is absent")
        return DATA / path

    return find


@pytest.fixture
def photos(tmp_path: Path) -> Photos:
    """Makes a folder of empty files: this package looks for images, and never into them."""

    def make(*paths: str) -> Path:
        root = tmp_path / "photos"
        root.mkdir(exist_ok=True)
        for path in paths:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).touch()
        return root

    return make


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def make(name: str, content: Content) -> Path:
        if isinstance(content, list | dict):
            content = json.dumps(content)
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make


def rows(benchmark: Benchmark) -> list[tuple[str, str]]:
    """(image, caption) in order."""
    return [(benchmark.images[i], text) for i, text in zip(benchmark.caption_image, benchmark.captions, strict=True)]


def problems(benchmark: Benchmark) -> dict[ProblemKind, tuple[str, ...]]:
    return {problem.kind: problem.items for problem in benchmark.problems}


def per_image(benchmark: Benchmark) -> Counter[int]:
    """How many images have so many captions."""
    return Counter(np.bincount(benchmark.caption_image).tolist())


# --- the real files --------------------------------------------------------------------------------------------------


def test_flickr8k_test_split_from_both_of_its_files(real: Real) -> None:
    """The official list beside the file is found, and the token file and Kaggle's CSV give the same benchmark."""
    images = real("flickr8k/images_test1k_224")
    token = load_benchmark("flickr8k", images=images, annotations=real("flickr8k/Flickr8k.token.txt"))
    kaggle = load_benchmark("flickr8k", images=images, annotations=real("flickr8k/captions.txt"))
    assert per_image(token) == {5: 1000}
    assert rows(token) == rows(kaggle)
    assert token.split == kaggle.split == "test"
    assert set(token.images) == set(real("flickr8k/Flickr_8k.testImages.txt").read_text().split())
    assert token.source == "Flickr token file, split list Flickr_8k.testImages.txt"
    assert token.problems == kaggle.problems == ()
    first = token.images[0]
    lines = [line.split("\t", 1) for line in real("flickr8k/Flickr8k.token.txt").read_text().splitlines()]
    raw = [caption.strip() for name, caption in lines if name.startswith(f"{first}#")]
    assert [caption for image, caption in rows(token) if image == first] == raw


def test_all_of_flickr8k_has_an_orphan_name_and_a_missing_photo(real: Real, photos: Photos) -> None:
    """8,093 names, of which `2258277193_586949ec62.jpg.1` is no image's and `2258277193_586949ec62.jpg` has no
    photo."""
    token = real("flickr8k/Flickr8k.token.txt")
    annotated = {line.split("#")[0] for line in token.read_text().splitlines()}
    assert len(annotated) == 8093
    images = photos(*(name for name in annotated if not name.startswith("2258277193_586949ec62")))
    with pytest.raises(
        BenchmarkError, match=r"1 of 8,092 annotated images .*2258277193_586949ec62.jpg\).*--allow-missing"
    ):
        load_benchmark("flickr8k", images=images, annotations=token, split="all")
    all_of_it = load_benchmark("flickr8k", images=images, annotations=token, split=None, allow_missing=True)
    assert per_image(all_of_it) == {5: 8091}
    assert all_of_it.problem("orphan_name").items == ("2258277193_586949ec62.jpg.1 (1 captions)",)
    assert all_of_it.problem("missing_image").items == ("2258277193_586949ec62.jpg",)
    assert all_of_it.problem("missing_caption").count == 4
    assert all_of_it.split is None


@pytest.mark.parametrize(
    ("name", "path", "n_images", "n_captions", "split"),
    [
        ("flickr30k", "flickr30k/flickr30k_test.json", 1_000, 5_000, "test"),
        ("coco", "coco_karpathy/mscoco_test.json", 5_000, 25_010, "test"),
        ("custom", "coco_val2017/captions_val2017.json", 5_000, 25_014, None),
        ("custom", "coco_val2017/coco_mini_annotations/captions_val2017.json", 79, 395, None),
    ],
)
def test_real_annotations_keep_every_caption(
    name: str, path: str, n_images: int, n_captions: int, split: str | None, real: Real, photos: Photos
) -> None:
    """COCO's images have five to seven captions; published recalls are over all 25,010."""
    text = real(path).read_text()
    data = json.loads(text)
    entries = data if isinstance(data, list) else data["images"]
    files = [entry.get("image_name") or entry["file_name"] for entry in entries]
    benchmark = load_benchmark(name, images=photos(*files), annotations=real(path))
    assert (len(benchmark.images), len(benchmark.captions)) == (n_images, n_captions)
    assert list(benchmark.images) == files
    assert benchmark.caption_image.dtype == np.int64
    assert benchmark.split == split
    assert set(problems(benchmark)) == (set() if split else {"no_split"})


def test_coco_val2014_is_cut_to_the_karpathy_split_by_a_list(real: Real, photos: Photos, write: Write) -> None:
    """Karpathy's split is a list of val2014 names; the photos stand in the folder val2014, as they are downloaded."""
    listed = real("splits/coco_karpathy_test.txt").read_text().split()
    others = [f"COCO_val2014_{n:012d}.jpg" for n in range(1, 20) if f"COCO_val2014_{n:012d}.jpg" not in listed]
    every = listed + others
    annotations = write(
        "captions_val2014.json",
        {
            "images": [{"id": n, "file_name": name} for n, name in enumerate(every)],
            "annotations": [{"id": n, "image_id": n, "caption": f"photo {n}\n"} for n in range(len(every))],
        },
    )
    images = photos(*(f"val2014/{name}" for name in every))
    chosen = load_benchmark("coco", images=images, annotations=annotations)
    given = load_benchmark(
        "coco", images=images, annotations=annotations, split_file=real("splits/coco_karpathy_test.txt")
    )
    assert chosen.images == given.images == tuple(f"val2014/{name}" for name in listed)
    assert chosen.captions[:2] == ("photo 0", "photo 1")
    assert chosen.problems == given.problems == ()
    assert (chosen.split, chosen.source) == ("test", "COCO JSON, split list coco_karpathy_test.txt")


def test_absent_ids_of_a_kept_split_are_an_error_until_allowed_and_then_listed(photos: Photos, write: Write) -> None:
    """val2017 in the place of Karpathy's val2014 moves the figures, and so do 4,999 images."""
    listed = (KEPT / "flickr30k_karpathy_test.txt").read_text().split()
    some = listed[:-2]
    annotations = write("captions.txt", "image,caption\n" + "".join(f"{name},a\n" for name in [*some, "0.jpg"]))
    images = photos(*some, "0.jpg")
    with pytest.raises(BenchmarkError, match=r"2 of the 1,000 images of the split list .*998 that are"):
        load_benchmark("flickr30k", images=images, annotations=annotations)
    found = load_benchmark("flickr30k", images=images, annotations=annotations, allow_missing=True)
    assert found.images == tuple(some)
    assert found.problem("not_annotated").items == tuple(listed[-2:])
    other = write("captions_val2017.json", [{"image": "000000179765.jpg", "captions": ["a"]}])
    with pytest.raises(BenchmarkError, match=r"none of the 5,000 images of coco's Karpathy test split.*--split all"):
        load_benchmark("coco", images=photos("000000179765.jpg"), annotations=other)


def test_a_split_in_the_file_that_is_not_the_official_one_is_said(photos: Photos, write: Write) -> None:
    listed = (KEPT / "flickr30k_karpathy_test.txt").read_text().split()
    records = [{"image": name, "split": "test", "captions": ["a"]} for name in [*listed[1:], "0.jpg"]]
    images = photos(*listed, "0.jpg")
    found = load_benchmark("flickr30k", images=images, annotations=write("x.json", records))
    assert found.problem("unlike_official").items == (
        "1 images that the Karpathy split does not have, 1 of it are not there",
    )
    exact = [{"image": name, "split": "test", "captions": ["a"]} for name in listed]
    assert (
        load_benchmark("flickr30k", images=images, annotations=write("y.json", exact)).problem("unlike_official").count
        == 0
    )


def test_what_a_file_says_of_splits_twice_or_not_at_all_is_said(photos: Photos, write: Write) -> None:
    """An image in train and in test counts in both, so that who trains on one sees that it is in the other."""
    file = write(
        "captions.json",
        [
            {"image": "a.jpg", "caption": "one", "split": "train"},
            {"image": "a.jpg", "caption": "two", "split": "test"},
            {"image": "b.jpg", "caption": "three", "split": "test"},
            {"image": "c.jpg", "caption": "four"},
        ],
    )
    benchmark = load_benchmark("custom", images=photos("a.jpg", "b.jpg", "c.jpg"), annotations=file)
    assert benchmark.images == ("a.jpg", "b.jpg")
    assert problems(benchmark)["several_splits"] == ("a.jpg (train, test)",)
    assert problems(benchmark)["without_split"] == ("c.jpg",)
    train = load_benchmark("custom", images=photos("a.jpg"), annotations=file, split="train")
    assert train.images == ("a.jpg",)
    everything = load_benchmark("custom", images=photos("a.jpg", "b.jpg", "c.jpg"), annotations=file, split="all")
    assert "without_split" not in problems(everything)


def test_the_kept_splits_are_those_of_the_published_runs(real: Real) -> None:
    for name, count in {
        "coco_karpathy_test": 5_000,
        "coco_karpathy_val": 5_000,
        "flickr30k_karpathy_test": 1_000,
    }.items():
        kept = (KEPT / f"{name}.txt").read_text().split()
        assert len(set(kept)) == len(kept) == count
    test = {entry["image_name"] for entry in json.loads(real("coco_karpathy/mscoco_test.json").read_text())}
    assert set((KEPT / "coco_karpathy_test.txt").read_text().split()) == test


def test_parquet_a_row_a_caption_and_a_row_an_image(photos: Photos, write: Write, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    images = photos("a.jpg", "b.jpg")
    expected = [("a.jpg", "A cat"), ("a.jpg", "Two, cats"), ("b.jpg", "A sign")]
    flat = {"caption": [text for _, text in expected], "image": [name for name, _ in expected], "more": [b"\0"] * 3}
    nested = {"filename": ["a.jpg", "b.jpg", None], "sentences": [["A cat", "Two, cats"], ["A sign"], ["nobody's"]]}
    for number, columns in enumerate([flat, nested]):
        file = tmp_path / f"annotations{number}.dat"
        pq.write_table(pa.table(columns), file)
        found = load_benchmark("custom", images=images, annotations=file)
        assert rows(found) == expected
        assert found.source == "Parquet"
    assert found.problem("malformed_row").items == ("row 2: without image or captions",)
    pq.write_table(pa.table({"url": ["x"], "words": ["y"]}), file)
    with pytest.raises(BenchmarkError, match="the first entry has the keys 'url', 'words'"):
        load_benchmark("custom", images=images, annotations=file)


@pytest.mark.parametrize("name", ["ExpertAnnotations.txt", "readme.txt", "Flickr_8k.testImages.txt"])
def test_other_files_of_the_flickr8k_folder_are_not_taken_for_annotations(
    name: str, real: Real, photos: Photos
) -> None:
    """ExpertAnnotations.txt has image names, tabs and `#2`: the easiest to fall for."""
    path = real(f"flickr8k/{name}")
    with pytest.raises(BenchmarkError, match="not an annotation file") as caught:
        load_benchmark("flickr8k", images=photos(), annotations=path)
    assert repr(path.read_text().splitlines()[0])[1:30] in str(caught.value)
    assert ("split list, not annotations" in str(caught.value)) == (name == "Flickr_8k.testImages.txt")


# --- formats, small --------------------------------------------------------------------------------------------------

KARPATHY = {
    "images": [
        {"sentids": [0, 1], "imgid": 0, "sentences": [{"tokens": ["a"], "raw": " A cat. "}, {"raw": "Cats"}],
         "split": "test", "filename": "a.jpg", "filepath": "val2014"},
        {"sentences": [{"raw": "A dog."}], "split": "restval", "filename": "b.jpg", "filepath": "val2014"},
        {"sentences": [{"raw": "A horse."}], "split": "train", "filename": "c.jpg", "filepath": "train2014"},
        {"sentences": [{"raw": "A bird."}], "split": "val", "filename": "d.jpg", "filepath": "val2014"},
    ],
    "dataset": "coco",
}  # fmt: skip


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("test", ["val2014/a.jpg", "val2014/a.jpg"]),
        ("train", ["train2014/c.jpg"]),
        ("train+restval", ["val2014/b.jpg", "train2014/c.jpg"]),
        ("dev", ["val2014/d.jpg"]),
        (None, ["val2014/a.jpg", "val2014/a.jpg", "val2014/b.jpg", "train2014/c.jpg", "val2014/d.jpg"]),
    ],
)
def test_karpathy_json(split: str | None, expected: list[str], photos: Photos, write: Write) -> None:
    images = photos("val2014/a.jpg", "val2014/b.jpg", "val2014/d.jpg", "train2014/c.jpg")
    found = load_benchmark("coco", images=images, annotations=write("dataset_coco.json", KARPATHY), split=split)
    assert [image for image, _ in rows(found)] == expected
    if split == "test":
        assert found.captions == ("A cat.", "Cats")


def test_a_split_that_is_not_there_is_answered_with_those_that_are(photos: Photos, write: Write) -> None:
    with pytest.raises(BenchmarkError, match=r"no split 'tset'. It has test \(1 images\), restval \(1 images\)"):
        load_benchmark("coco", images=photos(), annotations=write("k.json", KARPATHY), split="tset")


COCO = {
    "images": [{"id": 7, "file_name": "a.jpg"}, {"id": 9, "file_name": "b.jpg"}, {"id": 3, "file_name": "c.jpg"}],
    "annotations": [
        {"image_id": 9, "id": 1, "caption": "second\n"},
        {"image_id": 7, "id": 2, "caption": "first"},
        {"image_id": 8, "id": 3, "caption": "of an image that is not there"},
        {"image_id": 7, "id": 4, "caption": "  "},
        {"image_id": 9, "id": 5, "caption": None},
        {"image_id": 9, "id": 6, "caption": "half \ud83d"},
        {"image_id": 9, "id": 7, "caption": "whole \U0001f600"},
    ],
}


def test_coco_json_with_everything_that_can_be_wrong_with_it(photos: Photos, write: Write) -> None:
    """Nothing crashes, nothing is dropped without being listed, and a half emoji never reaches Parquet."""
    images = photos("a.jpg", "b.jpg", "c.jpg", "d.jpg", "._a.jpg", "notes.txt")
    found = load_benchmark("custom", images=images, annotations=write("c.json", COCO))
    assert rows(found) == [("b.jpg", "second"), ("a.jpg", "first"), ("b.jpg", "whole \U0001f600")]
    assert found.images == ("a.jpg", "b.jpg")
    listed = problems(found)
    assert listed["unknown_image"] == ("annotations[2]: image_id 8",)
    assert listed["empty_caption"] == ("annotations[3] (a.jpg)",)
    assert [item.split(":")[0] for item in listed["malformed_row"]] == ["annotations[4]", "annotations[5]"]
    assert listed["image_without_caption"] == ("c.jpg",)
    assert listed["uncaptioned_file"] == ("d.jpg",)
    assert listed["no_split"] == ("c.json (3 images)",)
    assert set(listed) == {
        "unknown_image", "empty_caption", "malformed_row", "image_without_caption", "uncaptioned_file", "no_split",
    }  # fmt: skip
    assert str(found.problem("uncaptioned_file")).startswith("1 image files beside the benchmark's own")
    assert found.problem("missing_image").count == 0


def test_a_table_keeps_its_kind_when_it_is_packed(photos: Photos, write: Write) -> None:
    """Of a .csv columns may have any names; a .csv.gz is one."""
    packed = write("mine.csv.gz", gzip.compress(b"image;caption\na.jpg;A cat\n"))
    assert rows(load_benchmark("custom", images=photos("a.jpg"), annotations=packed)) == [("a.jpg", "A cat")]
    with pytest.raises(BenchmarkError, match="is damaged"):
        load_benchmark("custom", images=photos("a.jpg"), annotations=write("x.gz", packed.read_bytes()[:-9]))


@pytest.mark.parametrize("wrap", [lambda n: (n, str(n)), lambda n: (str(n), n), lambda n: (str(n), str(n))])
def test_coco_ids_may_be_texts(wrap: Callable[[int], tuple[Any, Any]], photos: Photos, write: Write) -> None:
    data = {
        "images": [{"id": wrap(n)[0], "file_name": f"{'ab'[n]}.jpg"} for n in range(2)],
        "annotations": [{"image_id": wrap(n)[1], "caption": f"caption {n}"} for n in (1, 0)]
        + [{"image_id": [0], "caption": "of no picture"}],
    }
    found = load_benchmark("custom", images=photos("a.jpg", "b.jpg"), annotations=write("c.json", data))
    assert sorted(rows(found)) == [("a.jpg", "caption 0"), ("b.jpg", "caption 1")]
    read = read_captions(write("c.json", data))
    assert [(line.image, line.caption) for line in read.lines] == [("b.jpg", "caption 1"), ("a.jpg", "caption 0")]
    assert len(read.problems) == 1


def test_coco_boxes_are_not_captions(photos: Photos, write: Write) -> None:
    boxes = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"image_id": 1, "bbox": [0, 0, 1, 1]}]}
    with pytest.raises(BenchmarkError, match=r"without captions.*captions_val2017\.json"):
        load_benchmark("coco", images=photos("a.jpg"), annotations=write("instances.json", boxes))


TOKEN = 'a.jpg#0\tA cat , sitting .\na.jpg#1\tA #1 cat .\nb.jpg#0\tIt says " sale " .\nb.jpg#1\tTabs\there\n'
TABLE = 'image,caption\na.jpg,"A cat , sitting ."\na.jpg,A #1 cat .\nb.jpg,"It says "" sale "" ."\nb.jpg,Tabs\there\n'
# As Kaggle's results.csv is: spaces after the bars, and one row without its second bar.
RESULTS = (
    "image_name| comment_number| comment\na.jpg| 0| A cat , sitting .\na.jpg| 1   A #1 cat .\n"
    'b.jpg| 0| It says " sale " .\nb.jpg| 1| Tabs\there\n'
)
# As CLIP_benchmark's flickr30k_test_karpathy.txt is: commas in captions are bare, so this is no CSV.
BARE_COMMAS = 'image,caption\na.jpg,A cat , sitting .\na.jpg,A #1 cat .\nb.jpg,It says " sale " .\nb.jpg,Tabs\there\n'
NO_HEADER = 'a.jpg\tA cat , sitting .\na.jpg\tA #1 cat .\nb.jpg\tIt says " sale " .\nb.jpg\tTabs\there\n'
JSON_LINES = "\n".join(
    json.dumps({"file_name": name, "text": text})
    for name, text in [("a.jpg", "A cat , sitting ."), ("a.jpg", "A #1 cat ."), ("b.jpg", 'It says " sale " .'),
                       ("b.jpg", "Tabs\there")]
)  # fmt: skip
RECORDS = json.dumps(
    [
        {"split": "test", "image": "a.jpg", "caption": ["A cat , sitting .", "A #1 cat ."]},
        {"split": "test", "image": "b.jpg", "caption": ['It says " sale " .', "Tabs\there"]},
    ],
    indent=1,
)
# As flickr_annotations_30k.csv is: a JSON list in a CSV cell.
LISTS_IN_CELLS = (
    'raw,sentids,split,filename,img_id\n"[""A cat , sitting ."", ""A #1 cat .""]","[0, 1]",test,a.jpg,0\n'
    '"[""It says \\"" sale \\"" ."", ""Tabs\\there""]","[2, 3]",test,b.jpg,1\n'
)
SAME_FOUR = {
    "token": TOKEN, "captions.txt": TABLE, "results.csv": RESULTS, "bare commas": BARE_COMMAS, "no header": NO_HEADER,
    "JSON lines": JSON_LINES, "records": RECORDS, "lists in cells": LISTS_IN_CELLS,
}  # fmt: skip


@pytest.mark.parametrize("disguise", ["plain", "BOM", "CRLF", "blank lines", "UTF-16", "gzip"])
@pytest.mark.parametrize("form", SAME_FOUR)
def test_every_form_of_the_same_captions_reads_the_same(form: str, disguise: str, photos: Photos, write: Write) -> None:
    """What a file is comes from its content: the name says nothing here, and Windows may have saved it."""
    text = SAME_FOUR[form]
    content = {
        "plain": text.encode(),
        "BOM": b"\xef\xbb\xbf" + text.encode(),
        "CRLF": text.replace("\n", "\r\n").encode(),
        "blank lines": ("\n\n" + text.replace("\n", "\n\n") + "\n\n").encode(),
        "UTF-16": text.encode("utf-16"),
        "gzip": gzip.compress(text.encode("utf-16")),
    }[disguise]
    found = load_benchmark("custom", images=photos("a.jpg", "b.jpg"), annotations=write("file.dat", content))
    assert rows(found) == [
        ("a.jpg", "A cat , sitting ."),
        ("a.jpg", "A #1 cat ."),
        ("b.jpg", 'It says " sale " .'),
        ("b.jpg", "Tabs\there"),
    ]
    repaired = {"repaired_row"} if form == "results.csv" else set()
    whole = set() if form in ("records", "lists in cells") else {"no_split"}
    assert set(problems(found)) == repaired | whole


def test_rows_that_cannot_be_read_are_listed_with_their_line(photos: Photos, write: Write) -> None:
    """A damaged row costs itself and no other, and captions that merely look like CSV keep their quotes."""
    text = (
        "image_name| comment_number| comment\n"
        "a.jpg| 0| fine\n"
        "no bars in this line\n"
        "a.jpg| 0| the same number again\n"
        "a.jpg| 2|\n"
        'a.jpg| 3|"Go" says the sign\n'
        "a.jpg| 4| a | b\n"
        "| 4| nobody's\n"
    )
    found = load_benchmark("custom", images=photos("a.jpg"), annotations=write("results.csv", text))
    assert found.captions == ("fine", '"Go" says the sign', "a | b")
    listed = problems(found)
    assert listed["malformed_row"] == ("line 3: no bars in this line", "line 8: | 4| nobody's")
    assert listed["duplicate_row"] == ("line 4: a.jpg#0",)
    assert listed["empty_caption"] == ("line 5 (a.jpg)",)


def test_quotes_that_are_part_of_a_caption_stay(photos: Photos, write: Write) -> None:
    """A caption that begins with a quotation is no quoted cell, in a file that is no CSV."""
    text = 'image,caption\na.jpg,"Go" says the sign\na.jpg,"Go, go" says another\na.jpg, "quoted, after a space"\n'
    found = load_benchmark("custom", images=photos("a.jpg"), annotations=write("x.txt", text))
    assert found.captions == ('"Go" says the sign', '"Go, go" says another', "quoted, after a space")


def test_damaged_entries_of_karpathy_json(photos: Photos, write: Write) -> None:
    entries = [
        {"filename": "a.jpg", "split": "test", "sentences": [{"raw": "fine"}, {"tokens": ["no", "raw"]}]},
        {"filename": None, "split": "test", "sentences": [{"raw": "nobody's"}]},
        "not an object",
        {"filename": "a.jpg", "split": "test", "sentences": [{"raw": "again"}]},
    ]
    found = load_benchmark("coco", images=photos("a.jpg"), annotations=write("x.json", {"images": entries}))
    assert rows(found) == [("a.jpg", "fine"), ("a.jpg", "again")]
    malformed = [item.split(":")[0] for item in found.problem("malformed_row").items]
    assert malformed == ["images[0].sentences[1]", "images[1]", "images[2]"]
    assert found.problem("duplicate_image").items == ("images[3]: a.jpg",)


def test_damaged_token_lines(photos: Photos, write: Write) -> None:
    text = "garbage\na.jpg#0\tfine\na.jpg 1 lost its tab\na.jpg#2\t\n"
    found = load_benchmark("flickr8k", images=photos("a.jpg"), annotations=write("x", text))
    assert found.captions == ("fine",)
    assert found.problem("malformed_row").items == ("line 1: garbage", "line 3: a.jpg 1 lost its tab")


def test_a_line_in_latin_1_is_kept_and_reported(photos: Photos, write: Write) -> None:
    """One odd byte must cost neither the file nor the caption, and must not go unnoticed."""
    content = "image,caption\na.jpg,A café\n".encode() + "a.jpg,Un autre café\n".encode("latin-1")
    found = load_benchmark("custom", images=photos("a.jpg"), annotations=write("x.csv", content))
    assert found.captions == ("A café", "Un autre café")
    assert found.problem("decoded_as_latin1").items == ("line 3: a.jpg,Un autre café",)
    records = '[{"image": "a.jpg",\n"caption": "café"}]'.encode("latin-1")
    found = load_benchmark("custom", images=photos("a.jpg"), annotations=write("x.json", records))
    assert found.captions == ("café",)


def test_custom_table_with_columns_in_any_order_splits_and_line_ends_in_captions(photos: Photos, write: Write) -> None:
    text = 'id;Caption;split;filename\n1;"two\nlines; and ""quotes""";test;a.jpg\n2;other;train;b.jpg\n'
    found = load_benchmark("custom", images=photos("a.jpg", "b.jpg"), annotations=write("my.csv", text))
    assert rows(found) == [("a.jpg", 'two\nlines; and "quotes"')]
    assert found.split == "test"


def test_damaged_json_lines_are_listed(photos: Photos, write: Write) -> None:
    text = '{"image": "a.jpg", "caption": "fine"}\n{"image": "a.jpg", "capt\n[1]\n{"image": "a.jpg", "caption": 3}\n'
    found = load_benchmark("custom", images=photos("a.jpg"), annotations=write("x.jsonl", text))
    assert found.captions == ("fine",)
    assert [item.split(":")[0] for item in found.problem("malformed_row").items] == ["line 2", "line 3", "line 4"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty"),
        ("\n \r\n", "empty"),
        (b"\x1c", "empty"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "a binary file"),
        (b"PAR1\x15\x04\x00\x00", "Parquet, but damaged"),
        ('{"images": [', "starts like JSON but is not.*line 1, column 13.*download complete"),
        ("[1, 2]", r"without an image name .*the first entry has 1"),
        ([{"url": "x", "words": "y"}], "the first entry has the keys 'url', 'words'"),
        ({"info": {}, "pictures": []}, "found the keys 'info', 'pictures'"),
        ("[" * 100_000, "too deeply nested"),
        ("[" + "9" * 5000 + "]", "too long numbers"),
        ("<html><body>404 Not Found</body></html>", "the first line is '<html><body>404 Not Found"),
        ("a.jpg\nb.jpg\n", "a split list, not annotations"),
        ("image,caption\n", "without a single caption"),
        ("a.jpg#0\t \n", "without a single caption"),
        ([], "without a single caption"),
    ],
)
def test_files_that_are_no_annotations_are_told_apart(
    content: Content, message: str, photos: Photos, write: Write
) -> None:
    """The message says what was looked for and what was there; a bug would be a traceback."""
    with pytest.raises(BenchmarkError, match=message):
        load_benchmark("custom", images=photos("a.jpg"), annotations=write("x", content))


@given(
    st.one_of(st.binary(max_size=200), st.text(st.sampled_from('a.jpg#0\t,|;"\\\n[]{}:imagecpton{"1 é'), max_size=300))
)
@settings(deadline=None, max_examples=300)
def test_no_content_whatever_crashes(tmp_path_factory: pytest.TempPathFactory, content: bytes | str) -> None:
    """Any file gives a benchmark or a BenchmarkError."""
    folder = tmp_path_factory.getbasetemp() / "any"
    folder.mkdir(exist_ok=True)
    (folder / "a.jpg").touch()
    (folder / "x").write_bytes(content if isinstance(content, bytes) else content.encode())
    try:
        found = load_benchmark("custom", images=folder, annotations=folder / "x", allow_missing=True)
    except BenchmarkError:
        return
    assert found.images == ("a.jpg",)
    assert all(caption and caption == caption.strip() for caption in found.captions)


# --- splits ----------------------------------------------------------------------------------------------------------


def numbered(count: int) -> str:
    return "image,caption\n" + "".join(f"{n}.jpg,photo {n}\n" for n in range(count))


def test_a_large_file_without_splits_is_not_taken_for_the_test_split(photos: Photos, write: Write) -> None:
    """All of Flickr30k instead of its test split halves R@5: what was asked for has to be what is measured."""
    annotations = write("captions.txt", numbered(1001))
    images = photos(*(f"{n}.jpg" for n in range(1001)))
    with pytest.raises(BenchmarkError, match=r"1,001 images and no splits.*1,000 of them.*Flickr_8k.testImages.txt"):
        load_benchmark("flickr8k", images=images, annotations=annotations)
    with pytest.raises(BenchmarkError, match=r"no splits in the file\. To evaluate 'train'"):
        load_benchmark("flickr30k", images=images, annotations=annotations, split="train")
    with pytest.raises(BenchmarkError, match=r"no splits in the file\. To evaluate 'val'"):
        load_benchmark("custom", images=images, annotations=annotations, split="val")
    assert len(load_benchmark("flickr30k", images=images, annotations=annotations, split="all").images) == 1001
    assert len(load_benchmark("custom", images=images, annotations=annotations).images) == 1001


def test_split_lists_beside_the_file_and_given(photos: Photos, write: Write) -> None:
    """A given list wins over one beside the file; names may have folders, lack their ending, or not be annotated at
    all."""
    annotations = write("captions.txt", numbered(8))
    images = photos(*(f"{n}.jpg" for n in range(8)))
    write("Flickr_8k.devImages.txt", "3.jpg\r\n1.jpg\r\n\r\n99.jpg\r\n")
    with pytest.raises(BenchmarkError, match=r"1 of the 3 images of the split list .*devImages.txt are not in it \(99"):
        load_benchmark("flickr8k", images=images, annotations=annotations, split="val")
    dev = load_benchmark("flickr8k", images=images, annotations=annotations, split="val", allow_missing=True)
    assert dev.images == ("1.jpg", "3.jpg")
    assert dev.problem("not_annotated").items == ("99.jpg",)
    given_list = write("mine.txt", "flickr/5.jpg\n2\n")
    mine = load_benchmark("flickr8k", images=images, annotations=annotations, split="val", split_file=given_list)
    assert mine.images == ("2.jpg", "5.jpg")
    assert mine.source.endswith("split list mine.txt")
    write("test.txt", "not a list, but a sentence\n")
    assert load_benchmark("flickr8k", images=images, annotations=annotations).problem("no_split").count == 1


def test_a_given_split_list_that_does_not_fit_is_an_error(photos: Photos, write: Write, tmp_path: Path) -> None:
    images, annotations = photos("0.jpg", "1.jpg"), write("captions.txt", numbered(2))
    for content, message in [
        ("x.jpg\n", "none of its 1 names"),
        ("", "empty"),
        ("a.jpg#0\tcat\n", "not one image name"),
    ]:
        with pytest.raises(BenchmarkError, match=message):
            load_benchmark("coco", images=images, annotations=annotations, split_file=write("list.txt", content))
    with pytest.raises(BenchmarkError, match="split list: there is no file"):
        load_benchmark("coco", images=images, annotations=annotations, split_file=tmp_path / "absent.txt")


# --- images on disk --------------------------------------------------------------------------------------------------


def load_names(names: Iterable[str], images: Path, write: Write, *, allow_missing: bool = False) -> Benchmark:
    records = [{"image": name, "caption": f"at {name}"} for name in names]
    return load_benchmark("custom", images=images, annotations=write("x.json", records), allow_missing=allow_missing)


def test_images_are_found_where_people_put_them(photos: Photos, write: Write) -> None:
    """Flat, in the folder the file names, anywhere in the tree, with Windows' slashes, or by an absolute path."""
    images = photos("flat.jpg", "val2014/sub.jpg", "deep/er/hidden.jpg", "win/dows.jpg", "absolute.jpg")
    found = load_names(
        [
            "flat.jpg",
            "val2014/sub.jpg",
            "hidden.jpg",
            "win\\dows.jpg",
            str(images / "absolute.jpg"),
            "../elsewhere/sub.jpg",
        ],
        images,
        write,
    )
    assert [image for image, _ in rows(found)] == [
        "flat.jpg", "val2014/sub.jpg", "deep/er/hidden.jpg", "win/dows.jpg", "absolute.jpg", "val2014/sub.jpg",
    ]  # fmt: skip
    assert len(set(found.images)) == len(found.images) == 5
    assert found.problem("duplicate_image").items == ("../elsewhere/sub.jpg",)


def test_a_name_outside_the_images_folder_is_not_opened(photos: Photos, write: Write, tmp_path: Path) -> None:
    """An annotation file from elsewhere must not make a gallery of other people's files."""
    (tmp_path / "secret.jpg").touch()
    for name in ("../secret.jpg", str(tmp_path / "secret.jpg"), "x/../../secret.jpg", "https://example.org/secret.jpg"):
        with pytest.raises(BenchmarkError, match=r"1 of 1 annotated images are not in .*right folder"):
            load_names([name], photos("a.jpg"), write)


def test_the_same_name_twice_in_the_tree_is_ambiguous_unless_the_file_says_which(photos: Photos, write: Write) -> None:
    images = photos("one/a.jpg", "two/a.jpg")
    with pytest.raises(BenchmarkError, match=r"a.jpg is in .* more than once \(one/a.jpg, two/a.jpg\)"):
        load_names(["a.jpg"], images, write)
    records = [{"image_name": "a.jpg", "file_path": "two", "captions": ["cat"]}]
    assert load_benchmark("custom", images=images, annotations=write("y.json", records)).images == ("two/a.jpg",)
    records = [{"image_name": "a.jpg", "file_path": "one/a.jpg", "captions": ["cat"]}]  # some have the whole path there
    assert load_benchmark("custom", images=images, annotations=write("y.json", records)).images == ("one/a.jpg",)


def test_missing_images_are_an_error_until_allowed_and_then_listed(photos: Photos, write: Write) -> None:
    images = photos("a.jpg")
    with pytest.raises(
        BenchmarkError, match=r"4 of 5 .*\(b.jpg, c.jpg, d.jpg, …\).*--allow-missing evaluates the 1 that"
    ):
        load_names(["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"], images, write)
    found = load_names(["b.jpg", "a.jpg"], images, write, allow_missing=True)
    assert rows(found) == [("a.jpg", "at a.jpg")]
    assert problems(found)["missing_image"] == ("b.jpg",)
    assert problems(found)["missing_caption"] == ("b.jpg: at b.jpg",)
    with pytest.raises(BenchmarkError, match="right folder"):
        load_names(["b.jpg"], images, write, allow_missing=True)  # nothing left is no benchmark


def test_names_that_no_file_system_takes_are_missing_not_fatal(photos: Photos, write: Write) -> None:
    found = load_names(
        ["a.jpg", "nul\0.jpg", "n" * 5000 + ".jpg", "half\ud800.jpg"], photos("a.jpg"), write, allow_missing=True
    )
    assert found.images == ("a.jpg",)
    assert found.problem("missing_image").items[0] == "nul\0.jpg"
    assert found.problem("missing_image").count == 2
    assert found.problem("image_without_caption").items == ("half\\ud800.jpg",)  # so named, its caption was refused too


def test_captions_per_image(photos: Photos, write: Write) -> None:
    """The first so many in the file's order; what is left out is listed, and so is who has fewer."""
    records = [{"image": "a.jpg", "captions": ["1", "2", "3"]}, {"image": "b.jpg", "captions": ["4"]}]
    annotations, images = write("x.json", records), photos("a.jpg", "b.jpg")
    found = load_benchmark("custom", images=images, annotations=annotations, captions_per_image=2)
    assert rows(found) == [("a.jpg", "1"), ("a.jpg", "2"), ("b.jpg", "4")]
    assert problems(found)["captions_left_out"] == ("a.jpg: 3",)
    assert problems(found)["fewer_captions"] == ("b.jpg (1)",)
    with pytest.raises(BenchmarkError, match="at least 1, not 0"):
        load_benchmark("custom", images=images, annotations=annotations, captions_per_image=0)


def test_wrong_arguments_say_what_would_be_right(photos: Photos, write: Write, tmp_path: Path) -> None:
    annotations = write("x.csv", "image,caption\na.jpg,cat\n")
    with pytest.raises(BenchmarkError, match="no benchmark 'flickr': choose one of flickr8k, flickr30k, coco, custom"):
        load_benchmark("flickr", images=photos(), annotations=annotations)
    with pytest.raises(BenchmarkError, match="absent does not exist"):
        load_benchmark("coco", images=tmp_path / "absent", annotations=annotations)
    with pytest.raises(BenchmarkError, match=r"x\.csv is not a folder"):
        load_benchmark("coco", images=annotations, annotations=annotations)
    with pytest.raises(BenchmarkError, match="is a folder; give the file in it"):
        load_benchmark("coco", images=photos(), annotations=tmp_path)


def test_docstrings_tell_the_truth() -> None:
    tried = doctest.testmod(image_names)
    assert tried.attempted
    assert not tried.failed
