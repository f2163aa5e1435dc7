"""What a study costs beside encoding: ten models at the size of COCO, from vectors to tables, page and plots.

    python -m scripts.bench_study                         # 10 models, 5,000 images, 25,010 captions, 512 dimensions
    python -m scripts.bench_study --models 20 --keep out  # and the study stays, to be looked at

Vectors are drawn, a caption's near its image's and less near for each model after the first: the cost does not depend
on what they say. Models are measured one after the other, as in a study, so that the memory is that of one. Parameters
and speeds are drawn too.
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch.encoders.costs import EncoderCosts
from mmsearch.evaluation.measuring import describe_hardware, find_versions
from mmsearch.evaluation.studies import CellResult
from mmsearch.evaluation.studies.cell_files import read_cells, write_cell
from mmsearch.evaluation.studies.tabulating import tabulate
from mmsearch.identity import EncoderIdentity
from mmsearch.metrics import Relevance, rank_both
from mmsearch.reports import write_study
from scripts.measuring import circumstances


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=10)
    parser.add_argument("--images", type=int, default=5_000)
    parser.add_argument("--captions", type=int, default=25_010)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--keep", type=Path, help="a folder for the study")
    asked = parser.parse_args()
    print(json.dumps({**circumstances(), **{name: value for name, value in vars(asked).items() if name != "keep"}}))
    before = peak()
    with tempfile.TemporaryDirectory() as temporary:
        out = asked.keep or Path(temporary)
        started = time.perf_counter()
        for number in range(asked.models):
            write_cell(measured(number, asked.images, asked.captions, asked.dim), out)
        report_line(f"vectors drawn, ranked in both directions, and kept: {asked.models} models", started, before)
        started = time.perf_counter()
        report = tabulate("Ten models", read_cells(out), (1, 5, 10), None)
        report_line(f"figures, intervals and {len(report.pairs)} pairs", started, before)
        started = time.perf_counter()
        files = write_study(report, out)
        report_line(f"tables, page and plots: {len(files)} files", started, before)


def measured(number: int, n_images: int, n_captions: int, dim: int) -> CellResult:
    images, captions, image_of_caption = vectors(number, n_images, n_captions, dim)
    relevance = Relevance.one_each(image_of_caption), Relevance.inverse(image_of_caption, n_images)
    forward, backward = rank_both(captions, images, *relevance, depth=1)
    assert forward is not None
    assert backward is not None
    rng = np.random.default_rng(number)
    costs = EncoderCosts(
        image_parameters=int(86e6 * 1.6 ** rng.integers(0, 3)),
        text_parameters=63_000_000,
        image_flops=int(35e9 * 2.0 ** rng.integers(-2, 3)),
        text_flops=6_000_000_000,
        images_per_second=float(900 / 2.0 ** rng.integers(0, 4)),
        device="none: drawn",
        precision="fp32",
    )
    return CellResult(
        key=f"{number:032x}",
        model=f"ViT-B-{16 * (1 + number % 2)}/tag_{number}_s34b_b88k",
        benchmark="COCO's size",
        variant="plain",
        title=f"drawn vectors: {n_images:,} images, {n_captions:,} captions",
        benchmark_hash="drawn",
        limit=None,
        encoder=EncoderIdentity(f"drawn {number}", f"sha256:{number:064x}", dim),
        device="cpu",
        precision="fp32",
        preprocessing="benchmark",
        templates=(),
        ranks={"text_to_image": forward.bounds.ranks, "image_to_text": backward.bounds.ranks},
        image_of_caption=image_of_caption,
        n_images=n_images,
        tied_queries={"text_to_image": 0, "image_to_text": 0},
        truncated=0,
        departures=(),
        problems=(),
        costs=costs,
        encode_seconds=0.0,
        measured_at=time.time(),
        versions=find_versions(),
        hardware=describe_hardware(),
    )


def vectors(
    number: int, n_images: int, n_captions: int, dim: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    rng = np.random.default_rng(number)
    images = unit(rng.standard_normal((n_images, dim), dtype=np.float32))
    image_of_caption = np.arange(n_captions, dtype=np.int64) % n_images
    noise = unit(rng.standard_normal((n_captions, dim), dtype=np.float32))
    return images, unit(images[image_of_caption] + (5 + 0.25 * number) * noise), image_of_caption


def unit(drawn: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths: NDArray[np.float32] = np.linalg.norm(drawn, axis=1, keepdims=True)
    return drawn / lengths


def peak() -> float:
    """The most memory that the process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def report_line(what: str, started: float, before: float) -> None:
    seconds = round(time.perf_counter() - started, 1)
    megabytes = round(peak() - before)
    print(json.dumps({"what": what, "seconds": seconds, "peak_megabytes_above_start": megabytes}), flush=True)


if __name__ == "__main__":
    main()
