"""Data sets in shards, archives and object stores: each layout says what a folder of pictures and a file of captions
say, and figures are those that can be counted by hand."""

import json
import os
import secrets
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmsearch.benchmarks import Benchmark, load_benchmark
from mmsearch.benchmarks.samples import Shard, find_shards, read_shard
from mmsearch.errors import BenchmarkError
from mmsearch.evaluation import EvaluateOptions, EvaluationReport, evaluate
from mmsearch.locations import Url
from mmsearch.reports import write_report
from tests.archives import make_tar, make_zip
from tests.fakes import FakeEncoder, write_picture

# Four pictures of four colours. Captions name the colour of their own picture, but for "white it is", which is of the
# black one: that caption finds the white picture first, and the white picture finds that caption no later than its own.
CAPTIONS = {
    "red": ["all red", "red it is"],
    "green": ["all green", "green it is"],
    "white": ["all white"],
    "black": ["all black", "white it is"],
}
TEXT_TO_IMAGE_AT_1 = 6 / 7
IMAGE_TO_TEXT_AT_1 = 1.0


@pytest.fixture
def pictures(tmp_path: Path) -> dict[str, bytes]:
    """Colour -> a PNG of it."""
    return {
        colour: write_picture(tmp_path / "drawn" / f"{colour}.png", colour, seed=seed).read_bytes()
        for seed, colour in enumerate(CAPTIONS)
    }


def clip_benchmark(root: Path, pictures: dict[str, bytes], split: str = "test") -> Path:
    """As CLIP_benchmark's exporter of retrieval data sets lays it out: two shards, a text with a caption a line."""
    folder = root / "wds_small" / split
    folder.mkdir(parents=True)
    members = [
        (f"s{number:07d}.{ending}", data)
        for number, (colour, picture) in enumerate(pictures.items())
        for ending, data in (("png", picture), ("txt", "\n".join(CAPTIONS[colour]).encode()))
    ]
    make_tar(folder / "0.tar", members[:4])
    make_tar(folder / "1.tar", members[4:])
    (folder / "nshards.txt").write_text("2\n")
    (folder.parent / "dataset_type.txt").write_text("retrieval\n")
    return folder.parent


def hugging_face(root: Path, pictures: dict[str, bytes], **columns: list[Any]) -> Path:
    """As Hugging Face datasets writes Parquet: a struct of bytes and path."""
    folder = root / "hub" / "data"
    folder.mkdir(parents=True)
    images = [{"bytes": picture, "path": f"{colour}.png"} for colour, picture in pictures.items()]
    table = pa.table({"image": images} | (columns or {"caption": list(CAPTIONS.values())}))
    pq.write_table(table.slice(0, 2), folder / "test-00000-of-00002.parquet")
    pq.write_table(table.slice(2), folder / "test-00001-of-00002-a1b2c3d4e5f60718.parquet")
    return folder.parent


def plain(root: Path, pictures: dict[str, bytes]) -> tuple[Path, Path]:
    folder = root / "plain"
    folder.mkdir()
    for colour, picture in pictures.items():
        (folder / f"{colour}.png").write_bytes(picture)
    lines = [f"{colour}.png,{caption}" for colour, captions in CAPTIONS.items() for caption in captions]
    (root / "captions.csv").write_text("\n".join(["image,caption", *lines]) + "\n")
    return folder, root / "captions.csv"


def upload(place: Path) -> Url:
    """The same in an object store."""
    target = f"memory://shards-{secrets.token_hex(4)}"
    store = fsspec.filesystem("memory")
    for file in place.rglob("*") if place.is_dir() else [place]:
        if file.is_file():
            store.pipe(f"{target}/{file.relative_to(place if place.is_dir() else place.parent)}", file.read_bytes())
    return Url(target if place.is_dir() else f"{target}/{place.name}")


def run(images: Path | Url, annotations: Path | Url | None = None, **options: Any) -> EvaluationReport:
    encoder = options.pop("encoder", FakeEncoder())
    name = options.pop("name", "custom")
    chosen = EvaluateOptions(**options)
    return evaluate(name, images=images, annotations=annotations, encoder=encoder, options=chosen)


def assert_as_counted(report: EvaluationReport) -> None:
    assert (report.images, report.captions) == (4, 7)
    assert report.text_to_image.recall[1] == TEXT_TO_IMAGE_AT_1
    assert report.image_to_text.recall[1] == IMAGE_TO_TEXT_AT_1
    assert report.items.captions == tuple(caption for captions in CAPTIONS.values() for caption in captions)


def test_every_layout_gives_the_figures_that_are_counted_by_hand(tmp_path: Path, pictures: dict[str, bytes]) -> None:
    shards, hub = clip_benchmark(tmp_path, pictures), hugging_face(tmp_path, pictures)
    photos, captions = plain(tmp_path, pictures)
    members = [(f"photos/{file.name}", file.read_bytes()) for file in sorted(photos.iterdir())]
    archive, packed = make_tar(tmp_path / "photos.tar", members), make_zip(tmp_path / "photos.zip", members)
    for images, annotations in (
        (shards, None),
        (shards / "test", None),
        (hub, None),
        (photos, captions),
        (archive, captions),
        (packed, captions),
    ):
        assert_as_counted(run(images, annotations))
        assert_as_counted(run(upload(images), None if annotations is None else upload(annotations)))


def test_what_is_encoded_once_is_encoded_once_and_a_shard_that_was_replaced_is_noticed(
    tmp_path: Path, pictures: dict[str, bytes]
) -> None:
    shards, encoder = clip_benchmark(tmp_path, pictures), FakeEncoder()
    first = run(shards, encoder=encoder)
    assert (encoder.images_encoded, encoder.texts_encoded) == (4 + len(first.items.captions), 7)  # texts are colours
    run(shards, encoder=encoder)
    assert (encoder.images_encoded, encoder.texts_encoded) == (11, 7)
    file = shards / "test" / "0.tar"
    status = file.stat()
    swapped = {**pictures, "red": pictures["green"], "green": pictures["red"]}
    clip_benchmark(tmp_path / "other", swapped)
    (tmp_path / "other" / "wds_small" / "test" / "0.tar").replace(file)
    assert file.stat().st_size == status.st_size
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert run(shards, encoder=encoder).text_to_image.recall[1] < first.text_to_image.recall[1]


def test_only_the_pictures_of_the_split_are_encoded(tmp_path: Path, pictures: dict[str, bytes]) -> None:
    """One table of all splits, with a column that says which: as Flickr30k stands on the hub."""
    splits = ["train", "test", "test", "val"]
    hub, encoder = hugging_face(tmp_path, pictures, caption=list(CAPTIONS.values()), split=splits), FakeEncoder()
    report = run(hub, encoder=encoder, split="test")
    assert report.items.captions == ("all green", "green it is", "all white")
    assert encoder.images_encoded == 2 + 3  # the three texts are colours
    assert run(hub, encoder=encoder, split="val").items.captions == ("all black", "white it is")
    assert run(hub, encoder=encoder, split="all").images == 4


def test_only_the_shards_of_the_split_are_read(tmp_path: Path, pictures: dict[str, bytes]) -> None:
    shards = clip_benchmark(tmp_path, pictures)
    (shards / "train").mkdir()
    (shards / "train" / "0.tar").write_bytes(b"never looked at")
    assert_as_counted(run(shards))
    with pytest.raises(BenchmarkError, match=r"train/0\.tar"):
        run(shards, split="train")


def rows(benchmark: Benchmark) -> list[tuple[str, str]]:
    return [(benchmark.images[i], text) for i, text in zip(benchmark.caption_image, benchmark.captions, strict=True)]


@pytest.mark.parametrize(
    ("beside", "expected"),
    [
        ({"txt": "one\r\n\r\n two \n"}, ["one", "two"]),
        ({"txt": b"\xef\xbb\xbfcaf\xc3\xa9"}, ["café"]),
        ({"caption": "one"}, ["one"]),
        ({"json": json.dumps({"caption": "one", "url": "x"})}, ["one"]),
        ({"json": json.dumps({"captions": ["one", {"raw": "two"}]}), "cls": "3"}, ["one", "two"]),
        ({"txt": "one", "json": json.dumps({"caption": "another"})}, ["one"]),
    ],
)
def test_captions_beside_a_picture_in_a_tar(tmp_path: Path, beside: dict[str, Any], expected: list[str]) -> None:
    members = [("a/000.jpg", b"not looked into")]
    members += [(f"a/000.{end}", text if isinstance(text, bytes) else text.encode()) for end, text in beside.items()]
    benchmark = load_benchmark("custom", images=make_tar(tmp_path / "x.tar", members))
    assert rows(benchmark) == [("x.tar!/a/000.jpg", caption) for caption in expected]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"caption": ["one", "two"]}, ["one", "two"]),
        ({"caption_0": ["one", "two"], "caption_1": ["uno", "due"]}, ["one", "uno", "two", "due"]),
        ({"sentences": [[{"raw": "one"}], [{"raw": "two"}]]}, ["one", "two"]),
        ({"text": [["one", "uno"], ["two"]], "vector": [[0.5], [0.5]]}, ["one", "uno", "two"]),
    ],
)
def test_captions_beside_a_picture_in_a_table(tmp_path: Path, columns: dict[str, Any], expected: list[str]) -> None:
    pq.write_table(pa.table({"image": [b"x", b"y"], **columns}), tmp_path / "0000.parquet")
    benchmark = load_benchmark("custom", images=tmp_path)
    assert list(benchmark.captions) == expected
    assert benchmark.images == ("0000.parquet!/0", "0000.parquet!/1")


def test_classes_stand_beside_pictures_for_whoever_classifies_them(tmp_path: Path) -> None:
    make_tar(tmp_path / "0.tar", [("s0.webp", b"x"), ("s0.cls", b"7\n"), ("s1.webp", b"x"), ("s1.cls", b"0 1")])
    pq.write_table(pa.table({"img": [{"bytes": b"x", "path": None}], "label": [3]}), tmp_path / "t.parquet")
    shards = find_shards(tmp_path)
    assert shards is not None
    assert shards.shards == (Shard("0.tar", None), Shard("t.parquet", None))
    samples = [sample for shard in shards.shards for sample in read_shard(shards.root, shard)]
    assert [(sample.image, sample.fields) for sample in samples] == [
        ("0.tar!/s0.webp", {"cls": 7}),
        ("0.tar!/s1.webp", {"cls": "0 1"}),
        ("t.parquet!/0", {"label": 3}),
    ]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("test/0.tar", "test"),
        ("default/validation/0000.parquet", "validation"),
        ("data/qual_dev-00000-of-00001.parquet", "qual_dev"),
        ("data/TEST-00000-of-00009-0a1b.parquet", "TEST"),
        ("train_007.tar", "train"),
        ("flickr8k/000.tar", None),
        ("tests/000.tar", None),
    ],
)
def test_a_shard_says_its_split_by_its_name_or_its_folder(tmp_path: Path, name: str, split: str | None) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
    shards = find_shards(tmp_path)
    assert shards is not None
    assert shards.shards == (Shard(name, split),)


def test_shards_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10, 9, 1, 0):
        (tmp_path / f"{number}.tar").touch()
    shards = find_shards(tmp_path)
    assert shards is not None
    assert [shard.name for shard in shards.shards] == ["0.tar", "1.tar", "9.tar", "10.tar"]


def test_names_of_its_own_are_said_and_the_official_ones_are_compared(
    tmp_path: Path, pictures: dict[str, bytes]
) -> None:
    """Keys such as s0000000 say nothing of which pictures of Flickr30k these are; paths in a table do."""
    report = run(clip_benchmark(tmp_path, pictures), name="flickr30k")
    assert any("names of its own" in problem for problem in report.problems)
    assert not any("not the official one" in problem for problem in report.problems)
    official = Path(__file__).parents[1] / "data" / "splits" / "flickr30k_karpathy_test.txt"
    first = official.read_text().split()[0]
    table = pa.table({"image": [{"bytes": b"x", "path": first}], "caption": ["one"], "split": ["test"]})
    pq.write_table(table, tmp_path / "one.parquet")
    benchmark = load_benchmark("flickr30k", images=tmp_path / "one.parquet")
    assert "0 images that the Karpathy split does not have, 999 of it are not there" in str(
        benchmark.problem("unlike_official")
    )


def test_what_cannot_be_read_is_said_with_its_place(tmp_path: Path, pictures: dict[str, bytes]) -> None:
    shards = clip_benchmark(tmp_path, pictures)
    (shards / "test" / "1.tar").rename(shards / "test" / "7.tar")
    with pytest.raises(BenchmarkError, match=r"1 of the 2 shards that test/nshards\.txt counts are missing \(test/1"):
        run(shards)
    (shards / "test" / "nshards.txt").write_text("two")
    with pytest.raises(BenchmarkError, match="not the number of shards"):
        run(shards)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(BenchmarkError, match=r"holds no shards.*--annotations"):
        run(empty)
    with pytest.raises(BenchmarkError, match="does not exist"):
        run(tmp_path / "nowhere")
    with pytest.raises(BenchmarkError, match="no such file or folder"):
        run(Url("memory://nowhere-at-all/x"))
    (tmp_path / "flickr30k-images.tar.gz").touch()
    with pytest.raises(BenchmarkError, match="unpack it"):
        run(tmp_path / "flickr30k-images.tar.gz", tmp_path / "captions.csv")
    for name, members, message in (
        ("a.tar", [("a.jpg", b"x")], "no captions beside the images.*beside a.tar!/a.jpg stands nothing"),
        ("b.tar", [("a.txt", b"x")], "no image in them"),
        ("c.tar", [("a.jpg", b"x"), ("a.json", b"{")], r"a\.json: not JSON"),
    ):
        with pytest.raises(BenchmarkError, match=message):
            run(make_tar(tmp_path / name, members))
    for name, message in (("d.tar", "d.tar: not a tar archive"), ("d.parquet", "d.parquet: not a Parquet file")):
        (tmp_path / name).write_bytes(b"something else" * 100)
        with pytest.raises(BenchmarkError, match=message):
            run(tmp_path / name)


def test_a_picture_in_a_shard_that_does_not_decode_is_named(tmp_path: Path, pictures: dict[str, bytes]) -> None:
    shards = clip_benchmark(tmp_path, {**pictures, "green": b"\x89PNG no picture"})
    with pytest.raises(BenchmarkError, match=r"1 of 4 images cannot be read: test/0\.tar!/s0000001\.png"):
        run(shards)
    report = run(shards, allow_missing=True)
    assert report.unreadable == ("test/0.tar!/s0000001.png",)
    assert (report.images, report.captions) == (3, 5)


def test_the_page_shows_pictures_of_archives(tmp_path: Path, pictures: dict[str, bytes]) -> None:
    report = run(clip_benchmark(tmp_path, pictures))
    (page,) = write_report(report, tmp_path / "out.html")
    assert "data:image/jpeg;base64," in page.read_text()


def test_captions_of_their_own_for_shards_of_pictures(tmp_path: Path, pictures: dict[str, bytes]) -> None:
    """Archives in a folder are looked into where a name is in none of its folders."""
    photos, captions = plain(tmp_path, pictures)
    folder = tmp_path / "packed"
    folder.mkdir()
    files = sorted(photos.iterdir())
    make_zip(folder / "one.zip", [(f"deep/{file.name}", file.read_bytes()) for file in files[:2]])
    (folder / "more").mkdir()
    for file in files[2:]:
        (folder / "more" / file.name).write_bytes(file.read_bytes())
    assert_as_counted(run(folder, captions))
    benchmark = load_benchmark("custom", images=folder, annotations=captions)
    assert benchmark.images == ("more/red.png", "one.zip!/deep/green.png", "more/white.png", "one.zip!/deep/black.png")
