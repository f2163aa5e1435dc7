"""What it costs to have a Ray cluster embed, and what a second worker gains.

    python scripts/bench_ray.py [--size 1024x768] [--images 1536] [--rounds 3] [--model small] [--json out.json]

On the same generated JPEGs, in one run, all of it on two processors, medians of --rounds:

    local x 1      `mmsearch.embed` in this process, one thread
    local x 2      two threads
    1 worker x 2   one worker of two threads
    1 worker x 1   one worker of one thread
    2 workers x 1  two of them

and of each what processors worked for an image, this process and the workers together, which depends less on what else
runs on the machine.

The model is loaded and the workers are there before the clocks start, as they are but for the first moments of a run
that takes hours; what that takes is printed apart. The model has random weights; "small" is so quick that decoding
decides.
"""

import argparse
import json
import logging
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from scripts.bench_embed import random_model, write_photos
from scripts.measuring import circumstances, keep_bytecode

if TYPE_CHECKING:
    from mmsearch.encoders import Encoder

PROCESSORS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="1024x768", help="of the JPEGs, WIDTHxHEIGHT")
    parser.add_argument("--images", type=int, default=1536)
    parser.add_argument("--model", default="small", help="small, or an architecture such as ViT-B-32")
    parser.add_argument("--rounds", type=int, default=3, help="of each measurement; the median counts")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    keep_bytecode()
    # What is started from here on inherits it.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:PROCESSORS])
    with tempfile.TemporaryDirectory() as name:
        os.environ["MMSEARCH_CACHE"] = str(Path(name) / "cache")
        figures = bench(Path(name), options)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


def bench(scratch: Path, options: argparse.Namespace) -> dict[str, Any]:
    from mmsearch import encoders

    model = random_model(scratch / "model", options.model)
    encoder = encoders.open(f"local-dir:{model}", device="cpu")
    photos, count = scratch / "photos", options.images
    write_photos(photos, options.size, count)
    cluster()
    starts: list[float] = []
    ways: dict[str, Callable[[], tuple[float, float]]] = {
        "local x 1": lambda: local(photos, scratch / "g", encoder, 1),
        "local x 2": lambda: local(photos, scratch / "g", encoder, 2),
        "1 worker x 2": lambda: spread(photos, scratch / "g", model, 1, 2, starts),
        "1 worker x 1": lambda: spread(photos, scratch / "g", model, 1, 1, starts),
        "2 workers x 1": lambda: spread(photos, scratch / "g", model, 2, 1, starts),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    work: dict[str, list[float]] = {name: [] for name in ways}
    local(photos, scratch / "g", encoder, 2)  # files into the page cache
    for _ in range(options.rounds):
        for name, way in ways.items():
            for figures, figure in zip((seconds, work), way(), strict=True):
                figures[name].append(figure)
    rate = {name: count / statistics.median(times) for name, times in seconds.items()}
    worked = {name: 1000 * statistics.median(times) / count for name, times in work.items()}
    print(f"{count} JPEGs of {options.size}; {options.model} on cpu; {PROCESSORS} processors; images/s")
    for name, times in seconds.items():
        spread_of = f"({count / max(times):.1f} to {count / min(times):.1f})"
        print(f"    {name:16}{rate[name]:8.1f}  {spread_of:20}{worked[name]:8.2f} ms of work an image")
    ratios = {
        "1 worker x 1 / local x 1": rate["1 worker x 1"] / rate["local x 1"],
        "1 worker x 2 / local x 2": rate["1 worker x 2"] / rate["local x 2"],
        "2 workers x 1 / 1 worker x 1": rate["2 workers x 1"] / rate["1 worker x 1"],
        "local x 2 / local x 1": rate["local x 2"] / rate["local x 1"],
    }
    for name, ratio in ratios.items():
        print(f"    {name:32}{ratio:5.2f}")
    print(f"    until the workers are ready     {statistics.median(starts):5.1f} s")
    shutil.rmtree(photos)
    facts = {**circumstances(), "size": options.size, "model": options.model, "processors": PROCESSORS}
    return {**facts, "images_per_s": rate, "ratios": ratios, "start_s": starts, "work_ms": worked}


def cluster() -> None:
    """A cluster of this machine that outlives the runs, as one has."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    ray.init(
        address="local",
        num_cpus=PROCESSORS,
        num_gpus=0,
        include_dashboard=False,
        object_store_memory=256 << 20,
        log_to_driver=False,
        logging_level=logging.ERROR,
        # By default workers make room for everybody else, which this process does not.
        _system_config={"worker_niceness": 0},
    )


def local(photos: Path, gallery: Path, encoder: "Encoder", threads: int) -> tuple[float, float]:
    """Seconds, and seconds that processors worked."""
    from mmsearch.embedding import EmbedOptions, embed

    shutil.rmtree(gallery, ignore_errors=True)
    started, worked = time.perf_counter(), time.process_time()
    embed([photos], gallery=gallery, encoder=encoder, options=EmbedOptions(threads=threads))
    return time.perf_counter() - started, time.process_time() - worked


def worked_by_workers() -> float:
    """Processor seconds of all workers that there are."""
    ticks = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cmdline").read_bytes().startswith(b"ray::Worker"):
                times = (process / "stat").read_text().rpartition(")")[2].split()
                ticks += int(times[11]) + int(times[12])
        except OSError:  # it has ended
            continue
    return ticks / os.sysconf("SC_CLK_TCK")


def spread(
    photos: Path, gallery: Path, model: Path, workers: int, threads: int, starts: list[float]
) -> tuple[float, float]:
    """Seconds from when so many workers are ready to the end of the run, and seconds that processors worked."""
    from mmsearch.cluster import WorkerEvent, ray
    from mmsearch.embedding import EmbedOptions, embed

    ready: list[float] = []
    work: list[float] = []

    class Together(ray.RayWorkerPool):
        """Has no more workers than these, and lets none begin before all can."""

        def _divide_node(self, node: dict[str, Any]) -> list[Any]:
            return super()._divide_node(node)[:workers]

        def wait_for_events(self, seconds: float) -> Sequence[WorkerEvent]:
            news = list(super().wait_for_events(seconds))
            while not ready and len(news) < workers:
                news += super().wait_for_events(seconds)
            if not ready:
                ready.append(time.perf_counter())
                work.append(-worked_by_workers() - time.process_time())
            return news

        def close(self) -> None:
            work.append(worked_by_workers() + time.process_time())
            super().close()

    shutil.rmtree(gallery, ignore_errors=True)
    started = time.perf_counter()
    with mock.patch.object(ray, "RayWorkerPool", Together):
        embed([photos], gallery=gallery, encoder=f"local-dir:{model}", options=EmbedOptions(threads=threads, ray="any"))
    starts.append(ready[0] - started)
    return time.perf_counter() - ready[0], sum(work)


if __name__ == "__main__":
    main()
