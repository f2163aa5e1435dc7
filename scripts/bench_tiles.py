"""What tiles of large pictures cost: decoding a picture once for all its tiles, against once for each.

    python -m scripts.bench_tiles [--pictures 5] [--tiles auto] [--side 224]

Photographs are stood in for by smooth noise as JPEG of 4000 x 3000, quality 90. Times are of one thread, each way in
turn, the least of three rounds. Memory is the most that one picture of 200 megapixels adds to this process.
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mmsearch.cutting.tiles import TILES
from mmsearch.errors import ImageError
from mmsearch.file_ranges import FileRange
from mmsearch.images import MAX_PIXELS, CutOptions, DecodedImage, decode_fast

_SIZE = (4000, 3000)
_LARGEST = (16_320, 12_240)
_ROUNDS = 3


def _write(file: Path, size: tuple[int, int], seed: int) -> Path:
    small = np.random.default_rng(seed).integers(0, 256, (60, 80, 3), np.uint8)
    Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(file, quality=90)
    return file


def _make(file: Path, spans: Sequence[str], fit: Callable[[Image.Image], object]) -> int:
    """Make the tiles of a picture; returns how many."""
    count = 0
    for made in TILES.make(FileRange(str(file)), spans, MAX_PIXELS):
        if isinstance(made, ImageError):
            raise made
        fit(made.image)
        count += 1
    return count


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pictures", type=int, default=5)
    parser.add_argument("--tiles", default="auto")
    parser.add_argument("--side", type=int, default=224)
    arguments = parser.parse_args()
    side = arguments.side

    def fit(image: Image.Image) -> object:
        return image.resize((side, side), Image.Resampling.BICUBIC, reducing_gap=3)

    def whole(file: Path) -> object:
        decoded = decode_fast(file.read_bytes(), 3 * side)
        return fit(decoded.image if isinstance(decoded, DecodedImage) else decoded.upright())

    with tempfile.TemporaryDirectory() as folder:
        files = [_write(Path(folder) / f"{seed}.jpg", _SIZE, seed) for seed in range(arguments.pictures)]
        options = CutOptions(tiles=arguments.tiles, input_side=lambda: side)
        spans = [span.name for span in TILES.list_spans(FileRange(str(files[0])), options)][1:]
        ways: dict[str, Callable[[Path], object]] = {
            "list": lambda file: list(TILES.list_spans(FileRange(str(file)), options)),
            "whole alone": whole,
            "tiles, decoded once": lambda file: _make(file, spans, fit),
            "tiles, decoded each": lambda file: [_make(file, [span], fit) for span in spans],
        }
        least = {
            name: min(_seconds(lambda: [way(file) for file in files]) for _ in range(_ROUNDS)) / len(files)  # noqa: B023
            for name, way in ways.items()
        }
        for name, seconds in least.items():
            print(json.dumps({"way": name, "tiles": len(spans), "ms": round(1e3 * seconds, 1)}), flush=True)
        once, each = (least[f"tiles, decoded {how}"] for how in ("once", "each"))
        print(json.dumps({"each / once": round(each / once, 1)}), flush=True)
        largest = _write(Path(folder) / "largest.jpg", _LARGEST, 0)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        _make(largest, [span.name for span in TILES.list_spans(FileRange(str(largest)), options)][1:], fit)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(json.dumps({"megapixels": _LARGEST[0] * _LARGEST[1] // 10**6, "MiB more": (after - before) >> 10}))


if __name__ == "__main__":
    main()
