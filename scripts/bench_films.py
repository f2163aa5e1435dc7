"""Seconds to take frames out of films: only what is needed decoded, against everything decoded.

    python -m scripts.bench_films [--minutes 2] [--size 1280x720]

Films are rendered (H.264, B-frames, a moving pattern with grain, 24 frames a second) with a key frame every 1, 2, 5 and
10 seconds. needed: as `mmsearch embed` does it, with starting the process that decodes. everything: each frame is
decoded by as many threads, and those that are chosen are drawn. Both draw the same frames in one run: the ratio is what
counts, seconds depend on the machine. keys: with --frames keys.
"""

import argparse
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from mmsearch.films import FilmLimits, choose_frames, open_film, read_table
from mmsearch.films.picturing import Picturing
from mmsearch.frame_choice import FrameChoice
from scripts.measuring import circumstances

_RATE = 24
_PATTERNS = 48  # frames until it begins again


def render(path: Path, minutes: float, size: tuple[int, int], group: int) -> None:
    """A film that changes all the time."""
    width, height = size
    rng = np.random.default_rng(0)
    grain = rng.integers(-12, 12, (8, height, width), np.int16)
    across, down = np.meshgrid(np.arange(width), np.arange(height))
    with av.open(str(path), "w") as container:
        options = {"preset": "ultrafast", "crf": "23", "x264-params": f"keyint={group}:min-keyint={group}:scenecut=0"}
        stream: Any = container.add_stream("libx264", rate=_RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.max_b_frames = 3
        patterns = []
        for number in range(_PATTERNS):
            wave = ((across + 5 * number) ^ (down + 2 * number)) & 255
            grey = np.clip(wave // 2 + 64 + grain[number % 8], 0, 255).astype(np.uint8)
            patterns.append(av.VideoFrame.from_ndarray(grey, format="gray").reformat(format="yuv420p"))
        for number in range(round(minutes * 60 * _RATE)):
            frame = patterns[number % _PATTERNS]
            frame.pts, frame.time_base = number, Fraction(1, _RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def seconds_needed(path: Path, choice: FrameChoice) -> tuple[float, list[float]]:
    """How long `embed` takes for the frames of a film, and when these are shown."""
    started = time.perf_counter()
    table = read_table(str(path))
    times = table.times[choose_frames(table, choice)].tolist()
    with open_film(str(path), times) as film:
        taken = [frame.seconds for frame in film.frames]
    assert len(taken) == len(times)
    return time.perf_counter() - started, taken


def seconds_of_everything(path: Path, times: list[float]) -> float:
    """How long it takes to decode all frames of a film and to draw those that are shown at some times."""
    wanted = {round(seconds * 1_000) for seconds in times}
    started = time.perf_counter()
    drawn = 0
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        drawing = Picturing(FilmLimits().side, None)
        for frame in container.decode(stream):
            if frame.time is not None and round(frame.time * 1_000) in wanted:
                drawing.draw(frame)
                drawn += 1
    assert drawn == len(wanted)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--size", default="1280x720")
    options = parser.parse_args()
    width, _, height = options.size.partition("x")
    print(circumstances())
    print(f"{'key frames':<14}{'frames':>8}{'needed':>9}{'everything':>12}{'ratio':>7}{'keys':>8}{'ratio':>7}")
    for seconds in (1, 2, 5, 10):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "film.mp4"
            render(path, options.minutes, (int(width), int(height)), seconds * _RATE)
            needed, times = seconds_needed(path, FrameChoice())
            everything = seconds_of_everything(path, times)
            keys, _ = seconds_needed(path, FrameChoice("keys"))
            print(
                f"every {seconds:>2} s    {len(times):>8,}{needed:>9.2f}{everything:>12.2f}{everything / needed:>7.1f}"
                f"{keys:>8.2f}{everything / keys:>7.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
