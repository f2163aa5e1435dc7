"""What an evaluation costs once everything is encoded: time and memory, at COCO's size and at any other.

    python scripts/bench_eval.py                                     # 5,000 images, 25,010 captions, 512 dimensions
    python scripts/bench_eval.py --images 1000000 --captions 25000   # from files, in bounded memory

Vectors are drawn: the cost does not depend on what they say. Memory is what the process holds for itself beyond what it
held before ranking; pages of mapped files are not counted.
"""

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mmsearch.evaluation.measuring import measure
from mmsearch.evaluation.records import Items
from mmsearch.metrics import Relevance, rank_both


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5_000)
    parser.add_argument("--captions", type=int, default=25_010)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--plain", action="store_true", help="a full argsort of both directions too")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "images.npy", Path(folder) / "captions.npy"
        draw(files[0], asked.images, asked.dim, seed=0)
        draw(files[1], asked.captions, asked.dim, seed=1)
        images, captions = (np.load(file, mmap_mode="r") for file in files)
        if asked.images * asked.captions <= 1_000_000_000:
            images, captions = np.array(images), np.array(captions)
        items = pairs(asked.images, asked.captions)
        print(json.dumps({"images": asked.images, "captions": asked.captions, "dim": asked.dim}))
        for _ in range(asked.repeat):
            report("ranks and top 10, both directions", lambda: ranked(images, captions, items))
        if asked.repeat > 1:
            report("all figures, intervals and health", lambda: measure(images, captions, items, (1, 5, 10)))
        if asked.plain:
            report("plain: a full argsort of both directions", lambda: argsorted(images, captions))


def draw(file: Path, count: int, dim: int, seed: int) -> None:
    """Unit vectors of float32, written piece by piece."""
    rng = np.random.default_rng(seed)
    out = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=(count, dim))
    for start in range(0, count, 65_536):
        some = rng.standard_normal((min(65_536, count - start), dim), dtype=np.float32)
        out[start : start + len(some)] = some / np.linalg.norm(some, axis=1, keepdims=True)
    out.flush()


def pairs(images: int, captions: int) -> Items:
    """Every caption belongs to an image, in turn; images without a caption do not ask."""
    image_of_caption = np.arange(captions) % images
    asking = np.arange(min(images, captions))
    of_image = Relevance.inverse(image_of_caption, len(asking))
    names = tuple(map(str, range(images))), tuple(map(str, range(captions)))
    return Items(
        names[0], (None,) * images, names[1], names[1], np.arange(captions), asking,
        Relevance.one_each(image_of_caption), of_image,
    )  # fmt: skip


def ranked(images: np.ndarray, captions: np.ndarray, items: Items) -> None:
    said = [False]
    started = time.perf_counter()

    def progress(done: int, total: int) -> None:
        if total > 1_000_000_000 and not said[0]:
            said[0] = True
            print(
                f"estimated after the first block: {(time.perf_counter() - started) * total / done:.0f} s", flush=True
            )

    asking = images if len(items.query_images) == len(images) else images[: len(items.query_images)]
    if asking is images:
        rank_both(captions, images, items.images_of_caption, items.captions_of_image, progress=progress)
    else:
        rank_both(captions, images, items.images_of_caption, None, progress=progress)
        rank_both(captions, asking, None, items.captions_of_image)


def argsorted(images: np.ndarray, captions: np.ndarray) -> None:
    scores = captions @ images.T
    np.argsort(-scores, axis=1)
    np.argsort(-scores.T, axis=1)


def report(what: str, work: Callable[[], object]) -> None:
    with Memory() as memory:
        started = time.perf_counter()
        work()
        seconds = time.perf_counter() - started
    print(
        json.dumps({"what": what, "seconds": round(seconds, 2), "megabytes_above": round(memory.above / 1e6)}),
        flush=True,
    )


class Memory:
    """The most that the process held for itself inside the block, above what it held before, in bytes."""

    def __enter__(self) -> "Memory":
        self.before, self.above, self.over = anonymous(), 0, threading.Event()
        self.watcher = threading.Thread(target=self.watch)
        self.watcher.start()
        return self

    def watch(self) -> None:
        while not self.over.wait(0.02):
            self.above = max(self.above, anonymous() - self.before)

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.watcher.join()


def anonymous() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("RssAnon")).split()[1])


if __name__ == "__main__":
    main()
