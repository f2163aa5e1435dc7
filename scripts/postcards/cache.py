"""Training scenes, rendered once. Row 2i and row 2i + 1 are neighbours: two scenes that differ in one respect. In a
crowded cache every second pair has three to six things (`crowded`).

The cache is a folder of parts; a part is a function of (its number, the input size, whether it is crowded), so any
machine makes the same one and training may begin while later parts are drawn.
"""

from __future__ import annotations

import argparse
import io
import os
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import Pool
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scripts.postcards.crowded import family, test_families
from scripts.postcards.dataset import held_out
from scripts.postcards.render import jpeg, render
from scripts.postcards.scene import Scene, neighbour, sample_scene

__all__ = ["Part", "load_parts", "training_scenes", "write_parts"]

PART_ROWS = 4096
TRAIN_SEED = 1_000_000_007


@dataclass(frozen=True, slots=True)
class Part:
    """pixels (rows, height, width, 3) uint8, memory-mapped, and the scene of each row."""

    pixels: NDArray[np.uint8]
    scenes: tuple[Scene, ...]


def training_scenes(number: int, held: frozenset[Scene], *, crowded: bool = False) -> Iterator[tuple[Scene, int]]:
    """The scenes and drawing seeds of one part. None of them is in `held`."""
    rng = Random(TRAIN_SEED + number)
    rows = 0
    while rows < PART_ROWS:
        if crowded and rows % 4:
            scene, other = family(rng, 2)
        else:
            scene = sample_scene(rng)
            other = neighbour(rng, scene)
        if scene in held or other in held:
            continue
        yield scene, rng.getrandbits(30)
        yield other, rng.getrandbits(30)
        rows += 2


def _write_part(job: tuple[Path, int, tuple[int, int], frozenset[Scene], bool]) -> int:
    folder, number, (width, height), held, crowded = job
    done = folder / f"{number:03d}.pkl"
    if done.exists():
        return number
    scenes: list[Scene] = []
    pixels = np.empty((PART_ROWS, height, width, 3), np.uint8)
    for row, (scene, seed) in enumerate(training_scenes(number, held, crowded=crowded)):
        stored = Image.open(io.BytesIO(jpeg(render(scene, seed), quality=72 + seed % 20)))
        pixels[row] = np.asarray(stored.resize((width, height), Image.Resampling.BICUBIC))
        scenes.append(scene)
    np.save(folder / f"{number:03d}.npy", pixels)
    partial = done.with_suffix(".tmp")
    partial.write_bytes(pickle.dumps(tuple(scenes)))
    partial.rename(done)
    return number


def write_parts(
    folder: Path, data: Path, parts: int, size: tuple[int, int], processes: int, *, crowded: bool = False
) -> None:
    """Draw the parts that are not there yet. size: width and height."""
    folder.mkdir(parents=True, exist_ok=True)
    held = held_out(data)
    if crowded:
        held |= {scene for some in test_families() for scene in some}
    with Pool(processes) as pool:
        for number in pool.imap(_write_part, [(folder, n, size, held, crowded) for n in range(parts)]):
            print(f"part {number} of {parts}", flush=True)


def load_parts(folder: Path) -> list[Part]:
    """The parts that are complete, in order."""
    return [
        Part(np.load(done.with_suffix(".npy"), mmap_mode="r"), pickle.loads(done.read_bytes()))
        for done in sorted(folder.glob("*.pkl"))
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw training postcards into a cache folder outside the repository.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, default=Path("data/postcards"))
    parser.add_argument("--parts", type=int, default=20, help=f"of {PART_ROWS} postcards each")
    parser.add_argument(
        "--size", type=int, nargs=2, default=(64, 64), help="width and height in pixels, as the model takes them"
    )
    parser.add_argument("--crowded", action="store_true", help="half of them with three to six things")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    write_parts(args.folder, args.data, args.parts, tuple(args.size), args.processes, crowded=args.crowded)


if __name__ == "__main__":
    main()
