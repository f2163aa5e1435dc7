"""How fast `embed` is with a model of transformers, against the loop that its documentation shows.

    python scripts/bench_providers.py [--size 1024x768] [--images 128] [--rounds 3] [--device auto] [--json out.json]

On the same generated JPEGs, in one run, medians of --rounds:

    loop       Pillow opens, AutoProcessor prepares a batch of 32, get_image_features encodes it, on all cores
    mmsearch   `mmsearch.embed` with `--model hf:FOLDER`: gallery, hashes, agreement with the exact route and all

and how long a query with words takes from the shell, which has to import transformers and load the model. The model is
a CLIP ViT-B-32 of transformers with random weights (0.6 GB), in fp32: speed does not depend on them.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from scripts.bench_embed import write_photos
from scripts.measuring import circumstances, keep_bytecode, seconds

BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="1024x768", help="of the JPEGs, WIDTHxHEIGHT")
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3, help="of each measurement; the median counts")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    keep_bytecode()
    with tempfile.TemporaryDirectory() as name:
        os.environ["MMSEARCH_CACHE"] = str(Path(name) / "cache")
        figures = bench(Path(name), options)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


def bench(scratch: Path, options: argparse.Namespace) -> dict[str, Any]:
    from mmsearch import encoders

    model = write_random_clip(scratch / "model")
    encoder = encoders.open(f"hf:{model}", device=options.device, precision="fp32")
    files = write_photos(scratch / "photos", options.size, options.images)
    loop = Loop(model, encoder.device)
    ways: dict[str, Callable[[], float]] = {
        "loop": lambda: loop.embed(files),
        "mmsearch": lambda: embed(files, scratch / "gallery", encoder),
    }
    took: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(options.rounds + 1):
        for name, way in ways.items():
            spent = way()
            if turn:  # the first round warms up
                took[name].append(spent)
    rate = {name: len(files) / statistics.median(times) for name, times in took.items()}
    print(f"{len(files)} JPEGs of {options.size}; CLIP ViT-B-32 of transformers on {encoder.device}, fp32; ", end="")
    print(f"{os.cpu_count()} cores; images/s")
    for name, times in took.items():
        print(f"    {name:14}{rate[name]:10.1f}  ({len(files) / max(times):.1f} to {len(files) / min(times):.1f})")
    ratio = rate["mmsearch"] / rate["loop"]
    print(f"    mmsearch / loop {ratio:8.2f}")
    command = [sys.executable, "-m", "mmsearch", "query", "a dog", "-g", scratch / "gallery"]
    query = statistics.median(seconds(command) for _ in range(options.rounds))
    print(f"    a query with words, from the shell: {query:.1f} s")
    return {**circumstances(), "images_per_s": rate, "mmsearch / loop": ratio, "query_s": query}


class Loop:
    """What everybody writes."""

    def __init__(self, model: Path, device: str) -> None:
        import transformers

        hf: Any = transformers
        self._device = device.partition(":")[0]
        self._processor = hf.AutoProcessor.from_pretrained(model)
        self._model = hf.AutoModel.from_pretrained(model).to(self._device).eval()

    def embed(self, files: Sequence[Path]) -> float:
        import torch

        started, vectors = time.perf_counter(), []
        with torch.inference_mode():
            for first in range(0, len(files), BATCH):
                pictures = [Image.open(file).convert("RGB") for file in files[first : first + BATCH]]
                inputs = self._processor(images=pictures, return_tensors="pt").to(self._device)
                output = self._model.get_image_features(**inputs).pooler_output
                vectors.append(torch.nn.functional.normalize(output).cpu().numpy())
        assert len(np.concatenate(vectors)) == len(files)
        return time.perf_counter() - started


def embed(files: Sequence[Path], gallery: Path, encoder: Any) -> float:
    from mmsearch.embedding import embed

    shutil.rmtree(gallery, ignore_errors=True)
    started = time.perf_counter()
    embed([files[0].parent], gallery=gallery, encoder=encoder)
    return time.perf_counter() - started


def write_random_clip(folder: Path) -> Path:
    import transformers

    from tests.hub_models import clip_tokenizer

    hf: Any = transformers
    hf.CLIPModel(hf.CLIPConfig()).save_pretrained(folder)
    hf.CLIPProcessor(hf.CLIPImageProcessor(), clip_tokenizer()).save_pretrained(folder)
    return folder


if __name__ == "__main__":
    main()
