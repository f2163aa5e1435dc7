"""Whatever happens at any write, fsync or commit: nothing committed is lost, and the same command finishes the job."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mmsearch.gallery import Gallery, find_gallery, writing
from mmsearch.pipeline.embed import EmbedOptions, embed
from mmsearch.pipeline.maintain import compact
from tests.fakes import COLOURS, FakeEncoder, write_picture
from tests.galleries import assert_equal, contents

FILES = 24


class Crash(BaseException):
    """The machine stops here."""


@contextmanager
def crash_at(point: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Stop at the `point`-th write, fsync or link, before it or after it; from then on nothing reaches the disk.

    Yields the count of points so far.
    """
    passed = [0]
    dead = [False]

    def guard(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            step()
            result = real(*args, **kwargs)
            try:
                step()
            except Crash:
                if result is not None:
                    result.close()
                raise
            return result

        return call

    def step() -> None:
        if dead[0]:
            raise Crash
        if passed[0] == point:
            dead[0] = True
            raise Crash
        passed[0] += 1

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if dead[0]:  # cleaning up is something that a stopped machine does not do
            return
        real_unlink(path, missing_ok=missing_ok)

    real_unlink = Path.unlink
    real_open = Path.open
    created = guard(real_open)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", guard(os.fsync))
        patch.setattr(os, "link", guard(os.link))
        patch.setattr(
            Path, "open", lambda path, mode="r", *a, **k: (created if "x" in mode else real_open)(path, mode, *a, **k)
        )
        patch.setattr(Path, "unlink", unlink)
        yield passed


def change(folder: Path) -> None:
    """New, edited, moved, deleted and broken files, so that a run has rows, deletes and skipped rows to write."""
    write_picture(folder / "new.png", "blue", seed=900)
    write_picture(folder / "0.png", "white", seed=901)
    os.utime(folder / "0.png", ns=(7, 7))
    (folder / "1.png").rename(folder / "moved.png")
    (folder / "2.png").unlink()
    (folder / "3.png").write_text("no longer a picture")


def test_a_crash_at_any_point_loses_nothing_and_the_same_call_finishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every point in turn, with a commit after each batch, over a gallery that exists and has changes to take in."""
    folder = tmp_path / "photos"
    for place in range(6):
        write_picture(folder / f"{place}.png", "red", seed=place)
    embed([folder], gallery=tmp_path / "before", encoder=FakeEncoder())
    known = contents(tmp_path / "before").keys()
    change(folder)
    monkeypatch.setattr(writing, "COMMIT_SECONDS", -1.0)  # a commit whenever a batch is done
    options = EmbedOptions(batch_size=1, threads=1)

    def run(gallery: Path) -> None:
        embed([folder], gallery=gallery, encoder=FakeEncoder(), options=options)

    shutil.copytree(tmp_path / "before", tmp_path / "whole")
    with crash_at(10**9, monkeypatch) as passed:
        run(tmp_path / "whole")
    assert passed[0] > 40
    for point in range(passed[0]):
        gallery = tmp_path / f"g{point}"
        shutil.copytree(tmp_path / "before", gallery)
        with crash_at(point, monkeypatch), pytest.raises(Crash):
            run(gallery)
        # What was committed before is there, or has been replaced by a later commit: never half of either.
        found = contents(gallery)
        assert {key for key in known if key[1] in ("4.png", "5.png")} <= found.keys()
        run(gallery)
        assert_equal(gallery, tmp_path / "whole")
        shutil.rmtree(gallery)


def test_a_crash_during_compaction_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "photos"
    monkeypatch.setattr(writing, "COMMIT_SECONDS", -1.0)
    for place in range(8):
        write_picture(folder / f"{place}.png", "green", seed=place)
    embed([folder], gallery=tmp_path / "before", encoder=FakeEncoder(), options=EmbedOptions(batch_size=2))
    (folder / "0.png").unlink()
    embed([folder], gallery=tmp_path / "before", encoder=FakeEncoder())
    shutil.copytree(tmp_path / "before", tmp_path / "whole")
    with crash_at(10**9, monkeypatch) as passed:
        compact(tmp_path / "whole")
    for point in range(passed[0]):
        gallery = tmp_path / f"g{point}"
        shutil.copytree(tmp_path / "before", gallery)
        with crash_at(point, monkeypatch), pytest.raises(Crash):
            compact(gallery)
        assert_equal(gallery, tmp_path / "before")
        compact(gallery)
        assert_equal(gallery, tmp_path / "before")


SLOW_EMBED = """
import sys, time
from pathlib import Path
from tests.fakes import FakeEncoder
from mmsearch.gallery import writing
from mmsearch.pipeline.embed import EmbedOptions, embed

class Slow(FakeEncoder):
    def encode_images(self, pixels):
        time.sleep(0.01)
        return super().encode_images(pixels)

writing.COMMIT_SECONDS = 0.02
print("ready", flush=True)
embed([sys.argv[1]], gallery=sys.argv[2], encoder=Slow(), options=EmbedOptions(batch_size=2))
"""


def start(folder: Path, gallery: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_EMBED, str(folder), str(gallery)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def many_photos(folder: Path) -> None:
    for place in range(FILES):
        write_picture(folder / f"{place}.png", list(COLOURS)[place % len(COLOURS)], seed=place)
    (folder / "broken.jpg").write_text("no picture")


def test_kill_9_in_the_middle_and_the_same_command_continues(tmp_path: Path) -> None:
    many_photos(tmp_path / "photos")
    process = start(tmp_path / "photos", tmp_path / "g")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if find_gallery(tmp_path / "g") and Gallery.open(tmp_path / "g").live_rows("images") >= 4:
            break
        time.sleep(0.005)
    process.kill()
    process.communicate()
    committed = contents(tmp_path / "g")
    assert 4 <= len(committed) <= FILES
    fake = FakeEncoder()
    embed([tmp_path / "photos"], gallery=tmp_path / "g", encoder=fake)
    assert fake.images_encoded == FILES - len(committed)  # nothing committed is encoded again
    embed([tmp_path / "photos"], gallery=tmp_path / "whole", encoder=fake)
    assert_equal(tmp_path / "g", tmp_path / "whole")


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_fifty_random_kills(tmp_path: Path) -> None:
    """Killed again and again at random moments, the gallery is right at each and complete in the end."""
    rng = random.Random(20)
    many_photos(tmp_path / "photos")
    embed([tmp_path / "photos"], gallery=tmp_path / "whole", encoder=FakeEncoder())
    whole = contents(tmp_path / "whole").keys()
    kills = 0
    for attempt in range(50):
        gallery = tmp_path / f"g{attempt % 10}"
        process = start(tmp_path / "photos", gallery)
        time.sleep(rng.uniform(0, 0.4))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
        if find_gallery(gallery):
            assert contents(gallery).keys() <= whole
    assert kills >= 25
    for number in range(10):
        embed([tmp_path / "photos"], gallery=tmp_path / f"g{number}", encoder=FakeEncoder())
        assert_equal(tmp_path / f"g{number}", tmp_path / "whole")


@pytest.mark.soak
def test_two_embeds_of_one_gallery_at_once(tmp_path: Path) -> None:
    """One writes, the other is told so and changes nothing."""
    many_photos(tmp_path / "photos")
    first = start(tmp_path / "photos", tmp_path / "g")
    time.sleep(0.1)
    second = start(tmp_path / "photos", tmp_path / "g")
    assert first.wait(60) == 0
    second.wait(60)
    first.communicate()
    second.communicate()
    embed([tmp_path / "photos"], gallery=tmp_path / "g", encoder=FakeEncoder())
    assert len(contents(tmp_path / "g")) == FILES
