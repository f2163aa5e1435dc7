"""A gallery that an earlier release wrote stays good: it is read, asked, synced, indexed, compacted and read again."""

import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import blake3
import pytest
from PIL import Image

from mmsearch.embedding import embed
from mmsearch.gallery import Gallery
from mmsearch.indexing import index
from mmsearch.items import CAPTIONS, IMAGES
from mmsearch.search.open_gallery import open_gallery
from mmsearch.search.query import ImagePart, Query
from mmsearch.upkeep.maintenance import compact
from tests.conftest import Command

OLD = Path(__file__).parent / "old_gallery"
MODIFIED = 1_700_000_000  # seconds: when all its files were, which no version control keeps
_MORE = {False: IMAGES.told[-12:], True: CAPTIONS.told[-1:]}  # what hits of that time do not know; of captions
_SCORE = re.compile(r"\b0\.\d{9,}\b")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A copy of the folder with the gallery and its pictures, as it was then."""
    folder = tmp_path / "old"
    shutil.copytree(OLD, folder)
    for file in folder.rglob("*"):
        os.utime(file, (MODIFIED, MODIFIED))
    return folder


def answers(folder: Path, run: Command) -> list[tuple[list[str], list[str], list[str]]]:
    """(arguments, what was printed then, what is printed now) of every stored query."""
    found = []
    for stored in json.loads((OLD / "answers.json").read_text()):
        done = run("query", *stored["arguments"], "--gallery", folder / "gallery", "-k", 4)
        assert done.code == 0, done.err
        found.append((stored["arguments"], stored["lines"], done.out.replace(str(folder), "FOLDER").splitlines()))
    return found


def rounded(line: str) -> str:
    """A line whose scores have 6 digits: the text was encoded by another processor then."""
    return _SCORE.sub(lambda score: f"{float(score[0]):.6f}", line)


def test_it_answers_as_it_did(old: Path, command_line: Command) -> None:
    """What is asked with a stored vector scores the same to the last digit; what is asked in words, to the sixth.

    Programs are told more of a hit than then, behind what they were told; what that gallery does not hold is null."""
    for arguments, then, now in answers(old, command_line):
        if "--like" not in arguments:
            then, now = list(map(rounded, then)), list(map(rounded, now))
        if {"jsonl", "csv"} & {*arguments}:
            names = _MORE["captions" in arguments]
            as_json = "".join(f', "{name}": null' for name in names) + "}"
            more = as_json if "jsonl" in arguments else "," * len(names)
            assert now[1:] == [line.removesuffix("}") + more for line in then[1:]]
            then, now = [then[0].removesuffix("}")], [now[0][: len(then[0].removesuffix("}"))]]
        assert now == then, arguments


def test_it_is_synced_without_encoding_anything(old: Path) -> None:
    report = embed(gallery=old / "gallery")
    assert (report.images.unchanged, report.images.still_skipped, report.images.deleted) == (10, 1, 0)
    report = embed(captions=[old / "captions.csv"], gallery=old / "gallery")
    assert (report.captions.unchanged, report.captions.added, report.captions.deleted) == (5, 0, 0)
    assert report.device is None  # no encoder was loaded
    assert report.version == 4  # and nothing was written


@pytest.mark.filterwarnings("ignore:the demo model")
def test_it_keeps_its_content_hash(old: Path) -> None:
    """What was moved is known again, what is new is hashed likewise, and the release that wrote it still reads it."""
    folder, pictures = old / "gallery", old / "pictures"
    moved = (pictures / "postcard_0001.jpg").rename(pictures / "moved.jpg")
    added = pictures / "added.jpg"
    with Image.open(moved) as picture:
        picture.rotate(180).save(added)
    report = embed(gallery=folder)
    assert (report.images.added, report.images.moved, report.images.reused) == (1, 1, 0)
    gallery = Gallery.open(folder)
    rows = {row.path: row for _, row in gallery.all_records(IMAGES)}
    for file in (moved, added):
        assert rows[file.name].content_hash == hashlib.blake2b(file.read_bytes(), digest_size=16).digest()
    newest = json.loads(max((folder / "manifests").glob("*.json")).read_text())
    assert newest["format_version"] == 1
    assert "content_hash" not in newest
    assert open_gallery(folder).ask(Query([ImagePart(str(moved))], k=1)).hits[0].path == "moved.jpg"


@pytest.mark.filterwarnings("ignore:the demo model")
def test_a_new_one_has_another(old: Path, tmp_path: Path) -> None:
    assert embed([old / "pictures"], gallery=tmp_path / "new", encoder="demo").images.added == 10
    rows = [row for _, row in Gallery.open(tmp_path / "new").all_records(IMAGES)]
    files = {row.path: old / "pictures" / row.path for row in rows if "album.tar" not in row.path}
    assert files
    for row in (row for row in rows if row.path in files):
        data = files[row.path].read_bytes()
        assert row.content_hash == blake3.blake3(data).digest(16) != hashlib.blake2b(data, digest_size=16).digest()


def test_it_is_indexed_compacted_and_read_again(old: Path, command_line: Command) -> None:
    """Rows that leave it take its old shard with them: the others stand in one of this release, with their scores."""
    folder = old / "gallery"
    for name in ("postcard_0004.jpg", "postcard_0006.jpg"):
        (old / "pictures" / name).unlink()
    assert embed(gallery=folder).images.deleted == 2
    before = Gallery.open(folder).shards("images")
    compact(folder)
    gallery = Gallery.open(folder)
    assert not set(gallery.shards("images")) & set(before)
    assert gallery.live_rows("images") == 8
    assert index(folder).outcome == "kept"  # the index of that release
    assert index(folder, table="captions").rows == 5
    for arguments, then, now in answers(old, command_line):
        if "jsonl" in arguments:
            table = "captions" if "captions" in arguments else "images"
            kept = {row_id: score for row_id, score in scores(then).items() if gallery.is_live(table, row_id)}
            assert kept
            assert scores(now).items() >= kept.items(), arguments


def scores(lines: list[str]) -> dict[int, float]:
    """Row id -> score, of an answer as JSON lines."""
    return {hit["row_id"]: round(hit["score"], 6) for hit in map(json.loads, lines)}
