"""How a sync scales: the walk, a first run, a run over unchanged files, and a run that was killed, with their memory.

python scripts/bench_sync.py [--files 100000] [--folder DIR] [--json out.json]

Makes that many pictures of 4 x 4 pixels, 1,000 to a folder, and embeds them with an encoder that costs next to nothing,
so that what remains is mmsearch's own work. Each step runs in a process of its own; memory is its peak resident size.
A million files want `--files 1000000`, 5 GB of disk and about an hour; they are removed at the end.
"""

import argparse
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.embedding import embed
from mmsearch.encoders import EncodedImages, Encoder, ImageLane, ImageSide, Pixels
from mmsearch.gallery import Gallery, find_gallery, gallery_writer
from mmsearch.identity import EncoderIdentity
from mmsearch.progress import Progress
from mmsearch.sources import FolderWalk
from scripts.measuring import circumstances

DIM = 512
PER_FOLDER = 1_000


class Projection(ImageSide):
    """The image side of an encoder, which is all that pictures need: 48 pixel values times a fixed matrix."""

    def __init__(self) -> None:
        self._matrix = np.random.default_rng(0).normal(size=(48, DIM)).astype(np.float32)

    def prepare(self, image: Any) -> NDArray[np.float32]:
        return np.asarray(image, np.float32).transpose(2, 0, 1) / np.float32(255) + np.float32(0.01)

    def encode(self, pixels: Pixels) -> NDArray[np.float32]:
        vectors = pixels.reshape(len(pixels), -1) @ self._matrix
        unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit

    @contextmanager
    def lanes(self, threads: int) -> Iterator[tuple[ImageLane, ...]]:
        def encode(pixels: Pixels) -> EncodedImages:
            started = time.perf_counter()
            return EncodedImages(self.encode(pixels), 0.0, time.perf_counter() - started)

        yield (encode,) * threads


def encoder_of(images: ImageSide) -> Encoder:
    """An encoder that has an image side and no other."""
    return Encoder(EncoderIdentity("bench", "sha256:" + "0" * 64, DIM), {"image": images})


def make_files(folder: Path, count: int) -> None:
    """Pictures of 59 bytes (PPM), each of its own content."""
    for place in range(count):
        inner = folder / f"{place // PER_FOLDER:05d}"
        if place % PER_FOLDER == 0:
            inner.mkdir(parents=True)
        values = np.random.default_rng(place).integers(0, 256, 48, dtype=np.uint8)
        with open(inner / f"{place:08d}.ppm", "wb") as file:  # noqa: PTH123 - a million times
            file.write(b"P6 4 4 255\n" + values.tobytes())


# --- the steps, each in a process of its own --------------------------------------------------------------


def walk_plainly(folder: Path, _: Path) -> dict[str, Any]:
    found = 0
    for parent, _folders, names in os.walk(folder):
        for name in names:
            os.stat(f"{parent}/{name}")  # noqa: PTH116
            found += 1
    return {"files": found}


def walk(folder: Path, _: Path) -> dict[str, Any]:
    return {"files": sum(1 for _ in FolderWalk(folder))}


def run(folder: Path, gallery: Path) -> dict[str, Any]:
    sizes: dict[int, int] = {}

    def note(state: Progress) -> None:
        if state.task == "embedding" and state.total and (share := state.done * 4 // state.total) not in sizes:
            sizes[share] = resident()

    report = embed([folder], gallery=gallery, encoder=encoder_of(Projection()), progress=note)
    return {"added": report.images.added, "unchanged": report.images.unchanged, "quarters": list(sizes.values())}


def run_in_small_steps(folder: Path, gallery: Path) -> dict[str, Any]:
    gallery_writer.COMMIT_SECONDS = 1.0  # so that there is something to continue from, however small the trial
    return run(folder, gallery)


STEPS: dict[str, Callable[[Path, Path], dict[str, Any]]] = {
    "plain": walk_plainly,
    "walk": walk,
    "embed": run,
    "begin": run_in_small_steps,
}


def resident() -> int:
    """MB that this process holds now; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") // 1_000_000


def step(name: str, folder: Path, gallery: Path) -> dict[str, Any]:
    arguments = [sys.executable, __file__, "--step", name, "--folder", str(folder), "--gallery", str(gallery)]
    done = subprocess.run(arguments, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def kill_in_the_middle(folder: Path, gallery: Path, count: int) -> int:
    """Start an embed and kill it when a third is committed; how many rows are."""
    arguments = [sys.executable, __file__, "--step", "begin", "--folder", str(folder), "--gallery", str(gallery)]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        time.sleep(0.2)
        if find_gallery(gallery) and Gallery.open(gallery).live_rows("images") >= count // 3:
            process.send_signal(signal.SIGKILL)
    process.wait()
    return Gallery.open(gallery).live_rows("images")


def show(what: str, found: dict[str, Any], note: str = "") -> None:
    print(f"{what:34} {found['seconds']:8.2f} s {found['peak']:8,} MB  {note}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="where to make the files; by default the temporary folder")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--gallery", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.step:
        started = time.perf_counter()
        found = STEPS[asked.step](asked.folder, asked.gallery)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1_000
        print(json.dumps({**found, "seconds": time.perf_counter() - started, "peak": peak}))
        return
    work = Path(tempfile.mkdtemp(prefix="bench-sync-", dir=asked.folder))
    try:
        figures = measure(work, asked.files)
    finally:
        shutil.rmtree(work)
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=1) + "\n")


def measure(work: Path, count: int) -> dict[str, Any]:
    folder, gallery = work / "files", work / "gallery"
    make_files(folder, count)
    print(f"{count:,} files of 59 bytes, {PER_FOLDER:,} to a folder; page cache warm\n")
    show("os.walk and stat", step("plain", folder, gallery))
    show("FolderWalk", step("walk", folder, gallery))
    first = step("embed", folder, gallery)
    quarters = " ".join(f"{size:,}" for size in first["quarters"])
    show("first run", first, f"{count / first['seconds']:,.0f} files/s; resident at 0, 1/4, 1/2, 3/4, 1: {quarters} MB")
    again = sorted((step("embed", folder, gallery) for _ in range(3)), key=lambda found: float(found["seconds"]))[1]
    show("again, all unchanged (median of 3)", again, f"{again['unchanged']:,} unchanged")
    held = kill_in_the_middle(folder, work / "killed", count)
    rest = step("embed", folder, work / "killed")
    show(f"after kill -9 at {held:,} rows", rest, f"{rest['unchanged']:,} kept, {rest['added']:,} added")
    if rest["unchanged"] + rest["added"] != count:
        sys.exit("the continued gallery is not complete")
    return {**circumstances(), "files": count, "first": first, "again": again, "continued": rest}


if __name__ == "__main__":
    main()
