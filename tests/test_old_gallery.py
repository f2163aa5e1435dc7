"""A gallery that an earlier release wrote stays good: it is read, asked, synced, indexed, compacted and read again."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from mmsearch.embedding import embed
from mmsearch.gallery import Gallery
from mmsearch.indexing import index
from mmsearch.upkeep.maintenance import compact
from tests.conftest import Command

OLD = Path(__file__).parent / "old_gallery"
MODIFIED = 1_700_000_000  # seconds: when all its files were, which no version control keeps
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
    """What is asked with a stored vector scores the same to the last digit; what is asked in words, to the sixth."""
    for arguments, then, now in answers(old, command_line):
        if "--like" in arguments:
            assert now == then
        assert list(map(rounded, now)) == list(map(rounded, then)), arguments


def test_it_is_synced_without_encoding_anything(old: Path) -> None:
    report = embed(gallery=old / "gallery")
    assert (report.images.unchanged, report.images.still_skipped, report.images.deleted) == (10, 1, 0)
    report = embed(captions=[old / "captions.csv"], gallery=old / "gallery")
    assert (report.captions.unchanged, report.captions.added, report.captions.deleted) == (5, 0, 0)
    assert report.device is None  # no encoder was loaded
    assert report.version == 4  # and nothing was written


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
