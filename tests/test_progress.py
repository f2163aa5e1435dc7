"""What a run says while it works and before it does: for people on a terminal, for programs, and as a dry run."""

import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from mmsearch.cli.progress import display
from mmsearch.embedding import Selection, embed, preview
from mmsearch.encoders import Pixels
from mmsearch.errors import PruneRefused
from mmsearch.gallery import find_gallery
from mmsearch.progress import Progress
from tests.conftest import Command
from tests.fakes import FakeEncoder, provide, write_picture


def test_json_lines_for_programs(photos: Path, tmp_path: Path, mmsearch: Command) -> None:
    (photos / "bad.jpg").write_text("no picture")
    done = mmsearch("embed", photos, "--gallery", tmp_path / "g", "--format", "jsonl")
    events = [json.loads(line) for line in done.out.splitlines()]
    assert [event["event"] for event in events][-2:] == ["progress", "report"]
    last = events[-2]
    assert (last["task"], last["done"], last["total"], last["skipped"], last["seconds_left"]) == (
        "embedding",
        13,
        13,
        1,
        0.0,
    )
    assert last["per_second"] > 0
    assert events[-1]["images"]["added"] == 12
    assert events[-1]["total_images"] == 12


def test_only_a_summary_without_a_terminal(photos: Path, tmp_path: Path, mmsearch: Command) -> None:
    done = mmsearch("embed", photos, "--gallery", tmp_path / "g", "--model", "fake")
    assert [line.split()[0] for line in done.out.splitlines()] == ["gallery", "pictures", "took", "stages"]
    assert done.err.splitlines() == ["mmsearch: loading fake", "mmsearch: encoding with fake on cpu, fp32"]


EMBED_WITHOUT_TORCH = """
from mmsearch.cli import main
from mmsearch.encoders import providers
from tests.fakes import FakeEncoder
providers.provider_of = lambda _: lambda request: FakeEncoder(request.spec)
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo terminal")
def test_a_bar_on_a_terminal(photos: Path, tmp_path: Path) -> None:
    """Share done, count, images a second, time left and what was skipped, in a terminal of 160 columns."""
    for place in range(300):
        write_picture(photos / f"{place}.png", seed=place)
    (photos / "0 bad.jpg").write_text("no picture")
    screen, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", EMBED_WITHOUT_TORCH, "embed", photos, "-g", tmp_path / "g", "--model", "fake"],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.DEVNULL,
        stderr=terminal,
        env={**os.environ, "COLUMNS": "160", "TERM": "xterm"},
    )
    os.close(terminal)
    shown = b""
    while chunk := _read(screen):
        shown += chunk
    os.close(screen)
    assert process.wait(60) == 0
    text = shown.decode()
    for part in ("embedding", "100%", "313/313", "images/s", "1 skipped", "0:00:0"):
        assert part in text, part


def test_work_that_comes_again_is_shown_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two kinds of work that take turns the bar is that of the one that goes on; what begins anew counts anew."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    for last, left in ((("training", 3, 4), "3/4"), (("mining", 0, 9), "0/9")):
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stderr", terminal := Terminal())
            with display(interrupted="") as shown:
                for task, done, total in (("training", 1, 4), ("mining", 8, 9), ("training", 2, 4), last):
                    shown.progress(Progress(task, done, total))
        frame = terminal.getvalue().rsplit("\r", 1)[0].rsplit("\r", 1)[-1]
        assert (last[0] in frame, left in frame) == (True, True), frame


def _read(screen: int) -> bytes:
    try:
        return os.read(screen, 65536)
    except OSError:  # Linux says EIO when the other side is closed
        return b""


def test_a_dry_run_counts_times_and_writes_nothing(photos: Path, fake: FakeEncoder) -> None:
    gallery = photos.parent / "g"
    (photos / "bad.jpg").write_text("no picture")
    found = preview([photos], gallery=gallery, encoder=fake)
    assert (found.new, found.changed, found.gone, found.unchanged) == (13, 0, 0, 0)
    timing = found.timing
    assert timing is not None
    assert (timing.sample, timing.unreadable) == (12, 1)
    assert timing.seconds == pytest.approx(13 * timing.load_seconds + 12 * timing.encode_seconds)
    assert timing.bottleneck == "reading and decoding"
    assert find_gallery(gallery) is None
    assert not gallery.exists()

    embed([photos], gallery=gallery, encoder=fake)
    version = (gallery / "manifests").iterdir().__next__().name
    (photos / "red.png").unlink()
    write_picture(photos / "blue.png", seed=77)
    os.utime(photos / "blue.png", ns=(7, 7))
    write_picture(photos / "new.png", seed=78)
    again = preview([photos], gallery=gallery, encoder=fake, selection=Selection(retry_skipped=True))
    assert (again.new, again.changed, again.gone, again.unchanged, again.retried) == (1, 1, 1, 10, 1)
    assert [file.name for file in (gallery / "manifests").iterdir()] == [version]


def test_a_dry_run_is_refused_where_the_run_would_be(tmp_path: Path, fake: FakeEncoder) -> None:
    for place in range(120):
        write_picture(tmp_path / "photos" / f"{place}.png", seed=place, size=(4, 4))
    embed([tmp_path / "photos"], gallery=tmp_path / "g", encoder=fake)
    for place in range(110):
        (tmp_path / "photos" / f"{place}.png").unlink()
    with pytest.raises(PruneRefused):
        preview([tmp_path / "photos"], gallery=tmp_path / "g", encoder=fake)


def test_a_dry_run_for_people_and_programs(photos: Path, tmp_path: Path, mmsearch: Command) -> None:
    done = mmsearch("embed", photos, "--gallery", tmp_path / "g", "--dry-run")
    lines = dict(line.split(None, 1) for line in done.out.splitlines())
    assert lines["gallery"].endswith("(dry run: nothing was written)")
    assert lines["pictures"] == "12 new, 0 changed, 0 gone, 0 unchanged"
    assert lines["time"] == "about 1 s on cpu, fp32"
    assert lines["limit"].startswith("reading and decoding: of a sample of 12 files")
    program = mmsearch("embed", photos, "--gallery", tmp_path / "g", "--dry-run", "--format", "jsonl")
    assert json.loads(program.out.splitlines()[-1])["new"] == 12
    assert mmsearch("embed", photos, "--captions", photos, "--dry-run").code == 2


def test_a_slow_encoder_is_named_as_the_bottleneck(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]  # a clock that goes while it encodes
    monkeypatch.setattr("mmsearch.embedding.estimate.time", SimpleNamespace(perf_counter=lambda: now[0]))

    class Slow(FakeEncoder):
        def encode_images(self, pixels: Pixels) -> NDArray[np.float32]:
            now[0] += 0.02 * len(pixels)
            return super().encode_images(pixels)

    timing = preview([photos], gallery=tmp_path / "g", encoder=Slow()).timing
    assert timing is not None
    assert timing.bottleneck == "encoding"
    assert timing.encode_seconds == pytest.approx(0.02)


def test_a_model_that_is_not_there_leaves_the_counts(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmsearch.errors import EncoderError

    def missing(spec: str) -> FakeEncoder:
        raise EncoderError("no weights")

    provide(monkeypatch, missing)
    found = preview([photos], gallery=tmp_path / "g", encoder="some/model")
    assert (found.new, found.timing, found.untimed) == (12, None, "no weights")
