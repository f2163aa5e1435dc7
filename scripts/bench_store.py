"""What an object store costs: each command over an S3 on loopback whose every answer takes a while, beside a disk.

    python scripts/bench_store.py [--pictures 500] [--rows 100000] [--milliseconds 50] [--runs 3]

Pictures are JPEGs of 640 x 480, embedded with an encoder that costs next to nothing; queries go to a gallery of random
vectors. The server is moto, behind a proxy that holds every request back and counts it. Each step is a process of its
own, timed after the imports that a disk needs too; those of s3fs count. Medians of the runs.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmsearch.embedding import embed
from mmsearch.indexing import IndexOptions, index
from mmsearch.search.open_gallery import open_gallery
from mmsearch.search.query import Query, VectorPart
from mmsearch.upkeep.summary import info
from scripts.bench_sync import Projection, encoder_of
from scripts.s3_server import CREDENTIALS, Proxy, s3_server
from scripts.synthetic_gallery import write_gallery

_BUCKET = "bench"


class Small(Projection):
    """As the bench of syncs has it, with pictures brought to its size first."""

    def prepare(self, image: Any) -> Any:
        return super().prepare(image.resize((4, 4), Image.Resampling.BOX, reducing_gap=1))


def ask(gallery: str) -> None:
    opened = open_gallery(gallery, encoder=encoder_of(Small()))
    vector = np.random.default_rng(1).normal(size=opened.gallery.manifest.encoder.dim).astype(np.float32)
    opened.ask(Query([VectorPart(vector / np.linalg.norm(vector), "at random")]))


STEPS: dict[str, Callable[[str, str], object]] = {
    "embed": lambda source, gallery: embed([source], gallery=gallery, encoder=encoder_of(Small())),
    "again": lambda _, gallery: embed([], gallery=gallery, encoder=encoder_of(Small())),
    "query": lambda _, gallery: ask(gallery),
    "index": lambda _, gallery: index(gallery, options=IndexOptions(factory="IVF128,PQ64x4fs")),
    "info": lambda _, gallery: info(gallery),
}


def step(name: str, source: str, gallery: str, cache: Path, address: str) -> float:
    """Seconds of one step in a process of its own."""
    environment = {**os.environ, **CREDENTIALS, "AWS_ENDPOINT_URL": address, "MMSEARCH_CACHE": str(cache)}
    command = [sys.executable, __file__, "--step", name, source, gallery]
    return float(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


def make_pictures(folder: Path, count: int) -> None:
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(count):
        small = Image.fromarray(random.integers(0, 256, (60, 80, 3), dtype=np.uint8))
        small.resize((640, 480), Image.Resampling.BICUBIC).save(folder / f"{number:05}.jpg", quality=90)


def upload(folder: Path, prefix: str, address: str) -> None:
    os.environ.update(CREDENTIALS | {"AWS_ENDPOINT_URL": address})
    import fsspec

    files = fsspec.filesystem("s3")
    if not files.exists(_BUCKET):
        files.mkdir(_BUCKET)
    files.put(str(folder) + "/", f"{_BUCKET}/{prefix}/", recursive=True)


def measure(work: Path, asked: argparse.Namespace) -> None:
    make_pictures(work / "photos", asked.pictures)
    write_gallery(work / "large", asked.rows, dim=512, captions=300, seed=0)
    with s3_server() as server, Proxy(server) as proxy:
        upload(work / "photos", "photos", server)
        for copy in ("large-quick", "large-slow"):
            upload(work / "large", copy, server)
        print(f"{asked.pictures} JPEGs of 640 x 480; {asked.rows:,} rows; slow: {asked.milliseconds} ms more a request")
        print(f"{'':34} {'disk':>8} {'store':>8} {'slow':>8}   requests")
        runs: dict[str, list[list[float]]] = {}
        requests: dict[str, str] = {}

        def row(what: str, name: str, source: str, disk: Path, store: str, caches: Path) -> None:
            seconds = []
            for place, gallery, delay in (
                (str(work / source), str(disk), 0.0),
                (f"s3://{_BUCKET}/{source}", f"s3://{_BUCKET}/{store}-quick", 0.0),
                (f"s3://{_BUCKET}/{source}", f"s3://{_BUCKET}/{store}-slow", asked.milliseconds / 1e3),
            ):
                proxy.seconds = delay
                proxy.requests.clear()
                cache = caches / ("slow" if delay else "quick")
                seconds.append(step(name, place, gallery, cache, proxy.address))
                requests[what] = ", ".join(f"{count} {method}" for method, count in sorted(proxy.requests.items()))
            runs.setdefault(what, []).append(seconds)

        for run in range(asked.runs):
            caches = work / f"caches-{run}"
            row("embed", "embed", "photos", work / f"g{run}", f"g{run}", caches)
            row("embed again, all unchanged", "again", "photos", work / f"g{run}", f"g{run}", caches)
            row("info", "info", "photos", work / f"g{run}", f"g{run}", caches)
            row("query, exact, nothing kept yet", "query", "photos", work / "large", "large", caches)
            row("query, exact", "query", "photos", work / "large", "large", caches)
        row("index", "index", "photos", work / "large", "large", caches)
        shutil.rmtree(caches)
        row("query, indexed, nothing kept yet", "query", "photos", work / "large", "large", caches)
        for _ in range(asked.runs):
            row("query, indexed", "query", "photos", work / "large", "large", caches)
    for what, seconds in runs.items():
        disk, store, slow = (statistics.median(column) for column in zip(*seconds, strict=True))
        print(f"{what:34} {disk:7.2f}s {store:7.2f}s {slow:7.2f}s   {requests[what]}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--milliseconds", type=float, default=50)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--step", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.step:
        name, source, gallery = asked.step
        started = time.perf_counter()
        STEPS[name](source, gallery)
        print(json.dumps(time.perf_counter() - started))
        return
    work = Path(tempfile.mkdtemp(prefix="bench-store-"))
    try:
        measure(work, asked)
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
