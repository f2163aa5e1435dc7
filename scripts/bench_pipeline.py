"""What mmsearch costs beside the plain way of doing the same, measured in one run.

    python scripts/bench_pipeline.py [--images 256] [--json out.json]

A full-size ViT-B-32 of random weights (speed does not depend on them) embeds generated JPEGs:

    embed    mmsearch against a loop over open_clip: open, transform, encode in batches, save one .npy
    resync   the same folder again, nothing changed: against walking it with os.walk and stat

What a query takes is measured by scripts/bench_query.py.

Times on small machines vary: ratios of what was measured in the same run are what to compare.
"""

import argparse
import json
import os
import resource
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from measuring import median_of, python, random_model, the_project
from PIL import Image

PLAIN_EMBED = """
import sys, time
from pathlib import Path
import numpy as np, open_clip, torch
from PIL import Image
folder, model_dir, out = sys.argv[1:]
model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{model_dir}")
model.eval()
files = sorted(Path(folder).rglob("*.jpg"))
started = time.perf_counter()
parts = []
with torch.no_grad():
    for start in range(0, len(files), 32):
        pixels = torch.stack([preprocess(Image.open(file)) for file in files[start:start + 32]])
        vectors = model.encode_image(pixels)
        parts.append((vectors / vectors.norm(dim=-1, keepdim=True)).numpy())
np.save(out, np.concatenate(parts))
print(time.perf_counter() - started)
"""

MMSEARCH_EMBED = """
import sys, time
from mmsearch.encoders import load_encoder
from mmsearch.pipeline.embed import embed
folder, model_dir, out = sys.argv[1:]
encoder = load_encoder(f"local-dir:{model_dir}", device="cpu")
started = time.perf_counter()
embed([folder], gallery=out, encoder=encoder)
print(time.perf_counter() - started)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=256, help="JPEGs of 640 x 480 to embed")
    parser.add_argument("--files", type=int, default=20_000, help="unchanged files to look at")
    parser.add_argument("--runs", type=int, default=3, help="of each; the median counts")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    the_project()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["MMSEARCH_CACHE"] = str(folder / "cache")
        model = random_model(folder / "model")
        figures = bench_embed(folder, model, options) | bench_resync(folder, options)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


def bench_embed(folder: Path, model: Path, options: argparse.Namespace) -> dict[str, Any]:
    photos = write_photos(folder / "photos", options.images)
    plain = median_of(options.runs, lambda: float(python(PLAIN_EMBED, photos, model, folder / "plain.npy")))

    def ours() -> float:
        shutil.rmtree(folder / "gallery", ignore_errors=True)
        return float(python(MMSEARCH_EMBED, photos, model, folder / "gallery"))

    mine = median_of(options.runs, ours)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"embed   {options.images} JPEGs of 640 x 480, ViT-B-32 on the CPU, model loaded before the clock starts")
    print(f"        plain open_clip loop   {options.images / plain:8.1f} images/s")
    print(f"        mmsearch               {options.images / mine:8.1f} images/s   {plain / mine:.2f} x")
    print(f"        largest process        {peak:8.0f} MiB resident")
    return {"embed": {"plain_s": plain, "mmsearch_s": mine, "ratio": plain / mine, "peak_mib": peak}}


def write_photos(folder: Path, count: int) -> Path:
    """JPEGs with structure at every scale, so that they decode at the speed of photos."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 255, (12, 16, 3), np.uint8)).resize(
            (640, 480), Image.Resampling.BICUBIC
        )
        noise = rng.normal(0, 12, (480, 640, 3))
        pixels = np.clip(np.asarray(coarse, np.float32) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:06}.jpg", quality=90)
    return folder


def bench_resync(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    from mmsearch.pipeline.embed import embed
    from tests.fakes import FakeEncoder

    files = folder / "many"
    content = Path(write_photos(folder / "one", 1) / "000000.jpg").read_bytes()
    for number in range(options.files):
        file = files / f"{number // 500:04}" / f"{number:06}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    embed([files], gallery=folder / "sync", encoder=FakeEncoder())

    def walk() -> float:
        started = time.perf_counter()
        for base, _, names in os.walk(files):
            for name in names:
                Path(base, name).stat()
        return time.perf_counter() - started

    def ours() -> float:
        started = time.perf_counter()
        embed([files], gallery=folder / "sync", encoder=FakeEncoder())
        return time.perf_counter() - started

    plain, mine = median_of(options.runs, walk), median_of(options.runs, ours)
    print(f"resync  {options.files:,} unchanged files")
    print(f"        os.walk and stat       {plain:8.2f} s")
    print(f"        mmsearch               {mine:8.2f} s   {mine / plain:.2f} x its time")
    return {"resync": {"files": options.files, "walk_s": plain, "mmsearch_s": mine, "ratio": mine / plain}}


if __name__ == "__main__":
    main()
