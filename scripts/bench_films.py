"""Seconds to take frames out of films: only what is needed decoded, against everything decoded.

    python -m scripts.bench_films [FILM … [--together | --archived]] [--minutes 2] [--size 1280x720]

Films that are named, or those that are rendered (H.264, B-frames, a moving pattern with grain, 24 frames a second)
with a key frame every 1, 2, 5 and 10 seconds. needed: as `mmsearch embed` does it, pieces of 64 frames side by side in
as many threads as there are cores, with starting the processes that decode. everything: each frame is decoded by as
many threads, and those that are chosen are drawn. Both draw the same frames in one run: the ratio is what counts,
seconds depend on the machine. work: the seconds of processors, those of all processes together, which other programs
hardly change. keys: with --frames keys. --together: the films that are named are one measurement. --archived: they
are, and beside them an archive that holds them, of each sort; ratios are to the plain files.
"""

import argparse
import os
import resource
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import av
import numpy as np

from mmsearch.cutting.film_frames import FILM_FRAMES
from mmsearch.file_ranges import FileRange
from mmsearch.films import FilmLimits, choose_frames, open_film, read_table
from mmsearch.films.picturing import Picturing
from mmsearch.films.reading import film_processes
from mmsearch.frame_choice import FrameChoice
from mmsearch.sources import file_in, list_container
from mmsearch.sources.member_bytes import bytes_of_member
from scripts.measuring import circumstances
from tests.archives import make_tar, make_zip

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


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one way to take frames out of a film: seconds until it is done, and seconds of work of processors."""

    seconds: float
    work: float

    def ratio(self, other: "Cost") -> str:
        return f"{self.seconds / other.seconds:>7.1f}{self.work / other.work:>7.1f}"


Found: TypeAlias = Callable[[], AbstractContextManager[FileRange]]
"""Gives where the bytes of a film stand, for a block."""


def plain_films(paths: Sequence[Path]) -> list[Found]:
    """Films that are files of their own."""
    return [lambda path=path: nullcontext(FileRange(str(path))) for path in paths]  # type: ignore[misc]


def archived_films(archive: Path) -> list[Found]:
    """Films that are members of an archive."""
    listing = list_container(file_in(archive.parent, archive))
    return [partial(bytes_of_member, member) for member in listing.members]


def cost_needed(find_films: Callable[[], list[Found]], choice: FrameChoice) -> tuple[Cost, list[list[float]]]:
    """What `embed` does for the frames of films, and when these are shown."""
    film_processes.end()
    with watched_cost() as cost:
        times: list[list[float]] = []
        films = find_films()
        for find in films:
            with find() as file:
                table = read_table(file)
            times.append(table.times[choose_frames(table, choice)].tolist())

        def take(find: Found, some: list[float]) -> int:
            with find() as file, open_film(file, some) as film:
                return sum(1 for _ in film.frames)

        most = FILM_FRAMES.together
        pieces = [
            (find, wanted[start : start + most])
            for find, wanted in zip(films, times, strict=True)
            for start in range(0, len(wanted), most)
        ]
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            taken = sum(threads.map(take, *zip(*pieces, strict=True)))
        film_processes.end()
    assert taken == sum(map(len, times))
    return cost(), times


def cost_of_everything(paths: Sequence[Path], times: Sequence[list[float]]) -> Cost:
    """To decode all frames of films and to draw those that are shown at some times."""
    with watched_cost() as cost:
        for path, wanted in zip(paths, times, strict=True):
            decode_everything(path, {round(seconds * 1_000) for seconds in wanted})
    return cost()


def decode_everything(path: Path, wanted: set[int]) -> None:
    """Decode all frames of a film, and draw those that are shown at some milliseconds."""
    drawn = 0
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        start = max(0.0, (container.start_time or 0) / 1_000_000)
        drawing = Picturing(FilmLimits().side, None)
        for frame in container.decode(stream):
            if frame.time is not None and round((frame.time - start) * 1_000) in wanted:
                drawing.draw(frame)
                drawn += 1
    assert drawn >= len(wanted) - 1  # what its last packets hold comes only to who asks for it


@contextmanager
def watched_cost() -> Iterator[Callable[[], Cost]]:
    """Gives what tells the cost of the block once it is left."""
    started, before = time.perf_counter(), _work()
    costs: list[Cost] = []
    yield lambda: costs[0]
    costs.append(Cost(time.perf_counter() - started, _work() - before))


def _work() -> float:
    """Seconds of processors of this process and of those that it started and that have ended."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def measure(name: str, *paths: Path) -> None:
    """Measure films together, and print a line."""
    needed, times = cost_needed(partial(plain_films, paths), FrameChoice())
    everything = cost_of_everything(paths, times)
    keys, _ = cost_needed(partial(plain_films, paths), FrameChoice("keys"))
    count = sum(map(len, times))
    print(
        f"{name:<22}{count:>7,}{needed.seconds:>9.2f}{everything.seconds:>12.2f}{everything.ratio(needed)}"
        f"{keys.seconds:>8.2f}{everything.ratio(keys)}",
        flush=True,
    )


def measure_archives(paths: Sequence[Path]) -> None:
    """Measure films as files and in an archive of each sort, and print a line each."""
    print(f"{'films':<22}{'frames':>7}{'seconds':>9}{'work':>9}{'ratio':>7}{'work':>7}")
    plain, times = cost_needed(partial(plain_films, paths), FrameChoice())
    with tempfile.TemporaryDirectory() as folder:
        members = [(f"{number}{path.suffix}", path.read_bytes()) for number, path in enumerate(paths)]
        archives = {
            "tar": make_tar(Path(folder) / "films.tar", members),
            "zip, stored": make_zip(Path(folder) / "stored.zip", members, zipfile.ZIP_STORED),
            "zip, compressed": make_zip(Path(folder) / "compressed.zip", members),
        }
        costs = {"plain files": plain}
        for name, archive in archives.items():
            costs[name], found = cost_needed(partial(archived_films, archive), FrameChoice())
            assert found == times
    for name, cost in costs.items():
        print(
            f"{name:<22}{sum(map(len, times)):>7,}{cost.seconds:>9.2f}{cost.work:>9.2f}{cost.ratio(plain)}", flush=True
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("films", nargs="*", type=Path)
    parser.add_argument("--together", action="store_true")
    parser.add_argument("--archived", action="store_true")
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--size", default="1280x720")
    options = parser.parse_args()
    width, _, height = options.size.partition("x")
    print(circumstances())
    if options.archived:
        measure_archives(options.films)
        return
    print(
        f"{'film':<22}{'frames':>7}{'needed':>9}{'everything':>12}{'ratio':>7}{'work':>7}{'keys':>8}{'ratio':>7}{'work':>7}"
    )
    for films in [options.films] if options.together else [[film] for film in options.films]:
        measure(films[0].name if len(films) == 1 else f"{len(films):,} films", *films)
    for seconds in () if options.films else (1, 2, 5, 10):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "film.mp4"
            render(path, options.minutes, (int(width), int(height)), seconds * _RATE)
            measure(f"key frames each {seconds:>2} s", path)


if __name__ == "__main__":
    main()
