"""What the cache holds, and what of it goes."""

import os
import time
from pathlib import Path

import pytest

from mmsearch.cache import cache_dir
from mmsearch.errors import StoreError
from mmsearch.upkeep.cached import cached, prune_cache
from tests.conftest import Command

DAY = 86_400


@pytest.fixture
def filled() -> Path:
    """Two benchmarks, one of them not used for 40 days, a new text, and a file of another kind of 50 days."""
    now = time.time()
    for name, days in {
        "benchmarks/old/manifests/1": 40,
        "benchmarks/new/1": 1,
        "texts/t/1": 0,
        "fingerprints/f": 50,
    }.items():
        file = cache_dir() / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes(1000))
        kind = cache_dir() / name.split("/")[0]
        for place in (file, *(parent for parent in file.parents if kind in parent.parents)):
            os.utime(place, (now - days * DAY, now - days * DAY))
    return cache_dir()


def test_every_folder_of_the_cache_is_listed_whoever_made_it(filled: Path, mmsearch: Command) -> None:
    assert [(kind.name, kind.entries, kind.bytes) for kind in cached()] == [
        ("benchmarks", 2, 2000),
        ("fingerprints", 1, 1000),
        ("texts", 1, 1000),
    ]
    done = mmsearch("cache")
    assert done.code == 0
    assert [line.split()[0] for line in done.out.splitlines()] == ["cache", "benchmarks", "fingerprints", "texts"]


def test_what_was_not_used_for_long_goes_and_the_rest_stays(filled: Path) -> None:
    removed = {kind.name: kind.entries for kind in prune_cache()}
    assert removed == {"benchmarks": 1, "fingerprints": 1, "texts": 0}
    assert sorted(file.name for file in (filled / "benchmarks").iterdir()) == ["new"]
    assert {kind.name: kind.entries for kind in prune_cache(unused_days=0)} == {
        "benchmarks": 1,
        "fingerprints": 0,
        "texts": 0,  # written just now: somebody may be at it
    }
    assert (filled / "texts" / "t" / "1").is_file()


def test_one_kind_alone(filled: Path, mmsearch: Command) -> None:
    done = mmsearch("cache", "fingerprints", "--prune", "--unused", 45)
    assert done.code == 0
    assert "removed 1 entries" in done.out
    assert (filled / "benchmarks" / "old").is_dir()
    with pytest.raises(StoreError, match="has no 'photos'; it has benchmarks, fingerprints, texts"):
        cached(["photos"])


def test_no_cache_is_no_error(mmsearch: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MMSEARCH_CACHE", str(tmp_path / "absent"))
    assert cached() == ()
    done = mmsearch("cache", "--prune")
    assert (done.code, done.out) == (0, f"cache     {tmp_path / 'absent'}\n")


def test_nothing_outside_is_removed_through_a_link(filled: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "photo.jpg").write_text("x")
    (filled / "benchmarks" / "link").symlink_to(tmp_path / "outside")
    os.utime(filled / "benchmarks" / "link", (0, 0), follow_symlinks=False)
    prune_cache(unused_days=1)
    assert not (filled / "benchmarks" / "link").is_symlink()
    assert (tmp_path / "outside" / "photo.jpg").is_file()
