"""What can be named to `embed`: lists of files, folders with captions beside the pictures, and parts of folders."""

import csv
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmsearch.embedding import EmbedOptions, EmbedReport, Selection, embed
from mmsearch.errors import FilesSkipped, SourceError
from mmsearch.gallery import Gallery
from mmsearch.sources import read_list, read_sidecar_captions
from tests.archives import make_tar, make_zip
from tests.fakes import FakeEncoder, write_picture
from tests.galleries import contents


def run(folder: Path, fake: FakeEncoder, **selected: Any) -> EmbedReport:
    return embed([folder], gallery=folder.parent / "g", encoder=fake, selection=Selection(**selected))


def paths(gallery: Path) -> list[str]:
    return sorted(path for _, path in contents(gallery))


def captions(gallery: Path) -> list[tuple[str, str | None]]:
    return sorted((row.caption, row.path) for _, row in Gallery.open(gallery).all_captions())


# --- parts of a folder ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        (("red.png",), (), ["more/red.png", "red.png"]),
        (("/red.png",), (), ["red.png"]),
        (("more/",), (), ["more/black.png", "more/blue.png", "more/green.png", "more/red.png"]),
        (("more/",), ("b*",), ["more/green.png", "more/red.png"]),
        ((), ("more", "b*"), ["green.png", "red.png"]),
    ],
)
def test_patterns_choose_files(
    include: tuple[str, ...], exclude: tuple[str, ...], expected: list[str], photos: Path, fake: FakeEncoder
) -> None:
    for name in ("white", "yellow", "more/white", "more/yellow"):
        (photos / f"{name}.png").unlink()
    assert run(photos, fake, include=include, exclude=exclude).total_images == len(expected)
    assert paths(photos.parent / "g") == expected


def test_a_run_over_a_part_deletes_nothing(photos: Path, fake: FakeEncoder) -> None:
    run(photos, fake)
    (photos / "red.png").unlink()
    (photos / "blue.png").unlink()
    for selected in ({"include": ("*.png",)}, {"exclude": ("*.jpg",)}, {"limit": 5}):
        report = run(photos, fake, **selected)
        assert (report.images.deleted, report.total_images) == (0, 12)
    assert run(photos, fake).images.deleted == 2


def test_a_pattern_that_selects_nothing_is_an_error_that_explains(photos: Path, fake: FakeEncoder) -> None:
    with pytest.raises(SourceError, match=r"--include '\*.gif'.*gitignore"):
        run(photos, fake, include=("*.gif",))
    with pytest.raises(SourceError, match="gitignore"):
        run(photos, fake, include=("!",))


def test_an_excluded_folder_is_not_entered(photos: Path, fake: FakeEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def watched(folder: str) -> object:
        assert "more" not in str(folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", watched)
    assert run(photos, fake, exclude=("more/",)).total_images == 6


def test_a_limit_takes_the_next_ones_each_time(photos: Path, fake: FakeEncoder) -> None:
    assert [run(photos, fake, limit=5).total_images for _ in range(4)] == [5, 10, 12, 12]
    assert fake.images_encoded == 12


def test_hidden_files_on_request(photos: Path, fake: FakeEncoder) -> None:
    write_picture(photos / ".hidden.png", seed=50)
    write_picture(photos / ".thumbnails" / "a.png", seed=51)
    assert run(photos, fake).total_images == 12
    assert run(photos, fake, hidden=True).total_images == 14
    assert run(photos, fake).images.deleted == 0  # it does not look at them, so it does not know that they are gone
    (photos / ".hidden.png").unlink()
    assert run(photos, fake, hidden=True).total_images == 13


def test_what_was_skipped_is_tried_again_on_request(photos: Path, fake: FakeEncoder) -> None:
    state = (photos / "red.png").stat()
    good = (photos / "red.png").read_bytes()
    (photos / "red.png").write_bytes(bytes(len(good)))
    os.utime(photos / "red.png", ns=(state.st_atime_ns, state.st_mtime_ns))
    assert run(photos, fake).images.skipped == 1
    (photos / "red.png").write_bytes(good)  # as if a newer version could read it: nothing that `stat` tells changed
    os.utime(photos / "red.png", ns=(state.st_atime_ns, state.st_mtime_ns))
    assert run(photos, fake).images.still_skipped == 1
    report = run(photos, fake, retry_skipped=True)
    assert (report.images.added, report.images.still_skipped, report.total_images) == (1, 0, 12)
    assert list(Gallery.open(photos.parent / "g").skipped_rows()) == []


def test_skipped_members_are_tried_again_on_request(tmp_path: Path, fake: FakeEncoder) -> None:
    (tmp_path / "in").mkdir()
    picture = write_picture(tmp_path / "large.png", size=(100, 50)).read_bytes()
    make_zip(
        tmp_path / "in" / "a.zip",
        [("large.png", picture), ("small.png", write_picture(tmp_path / "s.png").read_bytes())],
    )
    small = EmbedOptions(max_pixels=1000)
    embed([tmp_path / "in"], gallery=tmp_path / "g", encoder=fake, options=small)
    assert run(tmp_path / "in", fake).images.still_skipped == 1
    assert run(tmp_path / "in", fake, retry_skipped=True).total_images == 2


def test_strict_embeds_the_rest_and_fails(photos: Path, fake: FakeEncoder) -> None:
    (photos / "bad.jpg").write_text("no picture")
    for _ in range(2):
        with pytest.raises(FilesSkipped, match="1 files could not be embedded"):
            embed([photos], gallery=photos.parent / "g", encoder=fake, options=EmbedOptions(strict=True))
        assert len(paths(photos.parent / "g")) == 12
    (photos / "bad.jpg").unlink()
    assert embed([photos], gallery=photos.parent / "g", encoder=fake, options=EmbedOptions(strict=True)).version


# --- lists ------------------------------------------------------------------------------------------------


def write_list(file: Path, names: list[str]) -> None:
    rows = [{"path": name, "caption": f"about {name}"} for name in names]
    if file.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    elif file.suffix in (".jsonl", ".json"):
        lines = [json.dumps(row) for row in rows]
        file.write_text("\n".join(lines) if file.suffix == ".jsonl" else f"[{','.join(lines)}]")
    elif file.suffix == ".txt":
        file.write_text("# pictures\n" + "\n".join(names) + "\n")
    else:
        with file.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, ["path", "caption"], delimiter="\t" if file.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".json", ".parquet", ".txt"])
def test_a_list_stands_for_its_files(suffix: str, photos: Path, fake: FakeEncoder) -> None:
    """Relative and absolute, with and without captions; running it again costs a look, and it never deletes."""
    listed = ["photos/red.png", str(photos / "more" / "blue.png"), "photos/gone, really.png"]
    file = photos.parent / f"list{suffix}"
    write_list(file, listed)
    gallery = photos.parent / "g"
    report = embed([file], gallery=gallery, encoder=fake)
    assert (report.images.added, report.images.skipped_reasons) == (
        2,
        (("no such file (a broken link, or it vanished)", 1),),
    )
    assert paths(gallery) == ["photos/more/blue.png", "photos/red.png"]
    write_list(file, ["photos/red.png"])
    again = embed([file], gallery=gallery, encoder=fake)
    assert (again.images.unchanged, again.images.deleted, again.total_images) == (1, 0, 2)
    # Syncing everything looks at what was named, not at the whole folder.
    assert embed(gallery=gallery, encoder=fake).total_images == 2
    if suffix != ".txt":
        write_list(file, listed[:1])
        embed(captions=[file], gallery=gallery, encoder=fake)
        assert captions(gallery) == [("about photos/red.png", "photos/red.png")]


def test_a_list_of_files_from_several_roots(photos: Path, tmp_path: Path, fake: FakeEncoder) -> None:
    """Those below a root belong to it, and the others share a new one that holds none."""
    run(photos, fake)
    far = tmp_path / "far"
    for name in ("a/1.png", "b/2.png"):
        write_picture(far / name, seed=70)
    file = tmp_path / "elsewhere" / "list.txt"
    file.parent.mkdir()
    write_list(file, [str(photos / "red.png"), str(far / "a" / "1.png"), str(far / "b" / "2.png")])
    report = embed([file], gallery=tmp_path / "g", encoder=fake)
    assert (report.images.unchanged, report.images.added) == (1, 2)
    gallery = Gallery.open(tmp_path / "g")
    assert [(gallery.root_path(root.id), root.whole) for root in gallery.manifest.roots] == [
        (photos, True),
        (far, False),
    ]


def test_a_named_file_that_vanishes_leaves_with_the_next_full_sync(photos: Path, fake: FakeEncoder) -> None:
    gallery = photos.parent / "g"
    embed([photos / "red.png", photos / "blue.png"], gallery=gallery, encoder=fake)
    (photos / "red.png").unlink()
    assert embed([photos / "blue.png"], gallery=gallery, encoder=fake).total_images == 2
    assert embed(gallery=gallery, encoder=fake).total_images == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "names no file"),
        ("a.csv", b"number,words\n1,two\n", "none of them is that of a path"),
        ("a.jsonl", b'{"words": 1}\n', "names no file"),
        ("a.json", b"[1, 2", "not JSON"),
        ("a.txt", b"https://example.org/a.jpg\n", "not downloaded"),
    ],
)
def test_what_is_no_list_is_refused(name: str, content: bytes, message: str, tmp_path: Path, fake: FakeEncoder) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=message):
        embed([tmp_path / name], gallery=tmp_path / "g", encoder=fake)
    assert not (tmp_path / "g").exists()


def test_a_picture_that_is_called_a_list_is_a_picture(photos: Path, fake: FakeEncoder) -> None:
    shutil.copy(photos / "red.png", photos / "really a png.txt")
    assert embed([photos / "really a png.txt"], gallery=photos.parent / "g", encoder=fake).images.added == 1


def test_lists_keep_odd_names(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text('image;note\n"a;b.jpg";x\n"new\nline.jpg";y\n', newline="")
    assert [file.name for file in read_list(tmp_path / "l.csv").files] == ["a;b.jpg", "new\nline.jpg"]


# --- captions beside the pictures -------------------------------------------------------------------------


def test_captions_beside_pictures_in_a_folder(photos: Path, fake: FakeEncoder) -> None:
    """A text for each picture by its name without suffix; what has no partner is named, both ways."""
    (photos / "red.txt").write_text("a red one\nanother caption\n")
    (photos / "more" / "blue.json").write_text(json.dumps({"caption": "a blue one", "key": "blue"}))
    (photos / "stray.txt").write_text("there is no such picture")
    (photos / "white.txt").write_text("\n")
    gallery = photos.parent / "g"
    report = embed([photos], captions=[photos], gallery=gallery, encoder=fake)
    assert captions(gallery) == [
        ("a blue one", "more/blue.png"),
        ("a red one", "red.png"),
        ("another caption", "red.png"),
    ]
    assert (report.captions.unmatched, report.captions.uncaptioned) == (1, 10)
    assert "stray.txt has no picture" in report.captions.unpaired
    assert "black.png has no caption" in report.captions.unpaired
    assert report.captions.problems == ("photos: white.txt: no caption in it",)
    # What accompanies a picture is not taken for one; what does not may be.
    assert {row.path for row in Gallery.open(gallery).skipped_rows()} == {"stray.txt"}

    (photos / "red.txt").write_text("a red one\n")
    (photos / "more" / "blue.json").unlink()
    again = embed(captions=[photos], gallery=gallery, encoder=fake)
    assert (again.captions.unchanged, again.captions.deleted) == (1, 2)


def test_captions_in_a_folder_of_their_own(photos: Path, fake: FakeEncoder) -> None:
    texts = photos.parent / "texts"
    (texts / "more").mkdir(parents=True)
    (texts / "red.txt").write_text("outer red")
    (texts / "more" / "red.txt").write_text("inner red")
    report = embed([photos], captions=[texts], gallery=photos.parent / "g", encoder=fake)
    assert captions(photos.parent / "g") == [("inner red", "more/red.png"), ("outer red", "red.png")]
    assert report.captions.uncaptioned == 10


@pytest.mark.parametrize("make", [make_tar, make_zip])
@pytest.mark.parametrize("named", ["folder", "archive"])
def test_webdataset_shards_with_captions(
    make: Callable[..., Path], named: str, photos: Path, tmp_path: Path, fake: FakeEncoder
) -> None:
    """As img2dataset writes them: a picture, a text and a JSON a sample. Members that are captions are no pictures."""
    shards = tmp_path / "shards"
    shards.mkdir()
    members = []
    for place, colour in enumerate(("red", "green", "blue")):
        members.append((f"{place:06d}.png", (photos / f"{colour}.png").read_bytes()))
        members.append((f"{place:06d}.json", json.dumps({"caption": f"a {colour} one", "sha256": "…"}).encode()))
        if colour != "blue":
            members.append((f"{place:06d}.txt", f"a {colour} one".encode()))
    archive = make(shards / f"00000.{make.__name__[-3:]}", members)
    source = shards if named == "folder" else archive
    report = embed([source], captions=[source], gallery=tmp_path / "g", encoder=fake)
    assert (report.images.added, report.images.skipped, report.captions.added) == (3, 0, 3)
    at = f"{archive.name}!/"
    assert captions(tmp_path / "g") == [
        ("a blue one", f"{at}000002.png"),
        ("a green one", f"{at}000001.png"),
        ("a red one", f"{at}000000.png"),
    ]
    assert report.captions.uncaptioned == report.captions.unmatched == 0
    again = embed([source], captions=[source], gallery=tmp_path / "g", encoder=fake)
    assert (again.captions.unchanged, again.version) == (3, report.version)


def test_a_parquet_table_with_images_and_captions(photos: Path, tmp_path: Path, fake: FakeEncoder) -> None:
    """As Hugging Face datasets writes them, with a caption or with several."""
    image = pa.array([{"bytes": (photos / f"{name}.png").read_bytes(), "path": None} for name in ("red", "blue")])
    table = pa.table({"image": image, "caption": [["a red one", "really red"], ["a blue one"]]})
    pq.write_table(table, tmp_path / "train.parquet")
    file = tmp_path / "train.parquet"
    report = embed([file], captions=[file], gallery=tmp_path / "g", encoder=fake)
    assert report.images.added == 2
    assert captions(tmp_path / "g") == [
        ("a blue one", "train.parquet!/1"),
        ("a red one", "train.parquet!/0"),
        ("really red", "train.parquet!/0"),
    ]


def test_a_folder_without_captions_is_an_error(photos: Path) -> None:
    with pytest.raises(SourceError, match=r"no caption in .*a\.txt beside a\.jpg"):
        read_sidecar_captions(photos)


def test_forgetting_a_folder_of_captions(photos: Path, fake: FakeEncoder) -> None:
    from mmsearch.upkeep.maintenance import forget

    texts = photos.parent / "texts"
    texts.mkdir()
    (texts / "red.txt").write_text("red")
    embed([photos], captions=[texts], gallery=photos.parent / "g", encoder=fake)
    assert forget(texts, gallery=photos.parent / "g").captions == 1


# --- asking with, and showing, members ---------------------------------------------------------------------


def test_a_member_can_be_asked_with_and_shown(photos: Path, tmp_path: Path, fake: FakeEncoder) -> None:
    from PIL import Image

    from mmsearch.render import contact_sheet
    from mmsearch.render.collecting import collect
    from mmsearch.search.open_gallery import open_gallery
    from mmsearch.search.query import ImagePart, Query

    (tmp_path / "shards").mkdir()
    make_tar(tmp_path / "shards" / "a.tar", [(f.name, f.read_bytes()) for f in sorted(photos.glob("*.png"))])
    embed([tmp_path / "shards"], gallery=tmp_path / "g", encoder=fake)
    member = tmp_path / "shards" / "a.tar!" / "red.png"
    answer = open_gallery(tmp_path / "g", encoder=fake).ask(Query([ImagePart(member)], k=2))
    hits = answer.hits
    assert (hits[0].path, round(hits[0].score, 3), hits[0].gone) == ("a.tar!/red.png", 1.0, False)
    copied = collect(hits, tmp_path / "copies").copied
    assert [file.name for file in copied] == ["1-red.png", f"2-{Path(hits[1].path or '').name}"]
    assert copied[0].read_bytes() == (photos / "red.png").read_bytes()
    assert collect(hits, tmp_path / "copies").present == copied
    sheet = np.asarray(Image.open(contact_sheet([answer], tmp_path / "sheet.png")).convert("RGB"))
    assert (np.abs(sheet.astype(int) - (220, 30, 30)).max(axis=2) < 40).sum() > 10_000


def test_pictures_in_columns_of_any_binary_type(photos: Path, tmp_path: Path, fake: FakeEncoder) -> None:
    """pandas' categories are dictionaries, polars writes views, datasets nest them; a row may have a path alone."""
    data = [(photos / f"{colour}.png").read_bytes() for colour in ("red", "blue")]
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    tables = {
        "dictionary": pa.array(data, pa.binary()).dictionary_encode(),
        "large": pa.array(data, pa.large_binary()),
        "view": pa.array(data, pa.binary_view()),
        "list": pa.array([[each] for each in data], pa.list_(pa.binary())),
        "structs": pa.array([[{"bytes": each, "path": "x"}] for each in data], pa.list_(struct)),
        "nested": pa.array([{"image": {"bytes": each, "path": "x"}} for each in data], pa.struct([("image", struct)])),
        "path only": pa.array([{"bytes": data[0], "path": "x"}, {"bytes": None, "path": "x.jpg"}], struct),
    }
    for name, column in tables.items():
        file = tmp_path / f"{name}.parquet"
        pq.write_table(pa.table({"image": column}), file)
        report = embed([file], gallery=tmp_path / f"{name}.gallery", encoder=fake)
        expected = (1, 1) if name == "path only" else (2, 0)
        assert (report.images.added, report.images.skipped) == expected, name
        if name == "path only":
            assert report.images.skipped_reasons == (("no image in this row, or only a path to one", 1),)
