"""What mmsearch costs beside the plain way of doing the same, measured in one run.

    python scripts/bench_pipeline.py [--images 256] [--rows 100000] [--json out.json]

A full-size ViT-B-32 of random weights (speed does not depend on them) embeds generated JPEGs:

    embed    mmsearch against a loop over open_clip: open, transform, encode in batches, save one .npy
    resync   the same folder again, nothing changed: against walking it with os.walk and stat
    query    exact search and search through an index over random vectors, each as a whole process

Times on small machines vary: ratios of what was measured in the same run are what to compare.
"""

import argparse
import json
import os
import resource
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

PLAIN_QUERY = """
import sys
import faiss, numpy as np, open_clip, torch
vectors, model_dir, text = sys.argv[1:]
model = open_clip.create_model(f"local-dir:{model_dir}")
tokenizer = open_clip.get_tokenizer(f"local-dir:{model_dir}")
with torch.no_grad():
    query = model.encode_text(tokenizer([text]))
query = (query / query.norm(dim=-1, keepdim=True)).numpy()
stored = np.load(vectors).astype(np.float32)
index = faiss.IndexFlatIP(stored.shape[1])
index.add(stored)
print(index.search(query, 10))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=256, help="JPEGs of 640 x 480 to embed")
    parser.add_argument("--files", type=int, default=20_000, help="unchanged files to look at")
    parser.add_argument("--rows", type=int, default=100_000, help="vectors to search")
    parser.add_argument("--runs", type=int, default=3, help="of each; the median counts")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["MMSEARCH_CACHE"] = str(folder / "cache")
        model = random_model(folder / "model")
        figures = (
            bench_embed(folder, model, options) | bench_resync(folder, options) | bench_query(folder, model, options)
        )
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


def random_model(folder: Path) -> Path:
    from tests.models import write_random_model

    return write_random_model(folder, "ViT-B-32")


def median_of(runs: int, work: Callable[[], float]) -> float:
    return statistics.median(work() for _ in range(runs))


def python(code: str, *arguments: object) -> str:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def whole(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, capture_output=True, check=True)
    return time.perf_counter() - started


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


def bench_query(folder: Path, model: Path, options: argparse.Namespace) -> dict[str, Any]:
    gallery = random_gallery(folder, model, options.rows)
    command = [sys.executable, "-m", "mmsearch", "query", "a dog on a beach", "-g", str(gallery)]
    subprocess.run([*command], capture_output=True, check=True)  # the fingerprint is computed once
    exact = median_of(options.runs, lambda: whole([*command, "--exact"]))
    subprocess.run([sys.executable, "-m", "mmsearch", "index", "-g", str(gallery)], capture_output=True, check=True)
    indexed = median_of(options.runs, lambda: whole(command))
    script = [sys.executable, "-c", PLAIN_QUERY, str(folder / "vectors.npy"), str(model), "a dog on a beach"]
    plain = median_of(options.runs, lambda: whole(script))
    print(f"query   a text over {options.rows:,} x 512 vectors, whole process, cold start")
    print(f"        plain script           {plain:8.2f} s   (import open_clip, create the model, FAISS flat)")
    print(f"        mmsearch, exact        {exact:8.2f} s   {plain / exact:.2f} x")
    print(f"        mmsearch, index        {indexed:8.2f} s   {plain / indexed:.2f} x")
    return {"query": {"rows": options.rows, "plain_s": plain, "exact_s": exact, "index_s": indexed}}


def random_gallery(folder: Path, model: Path, rows: int) -> Path:
    from mmsearch.encoders import load_encoder
    from mmsearch.gallery import open_writer
    from mmsearch.records import ImageRow

    vectors = np.random.default_rng(0).normal(size=(rows, 512)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    np.save(folder / "vectors.npy", vectors.astype(np.float16))
    with open_writer(folder / "queried", command="bench") as writer:
        writer.begin(load_encoder(f"local-dir:{model}", device="cpu").identity)
        root = writer.add_root(folder / "photos")
        names = (f"{number}.jpg" for number in range(rows))
        made = [ImageRow(root.id, name, None, 1, 1, None, name.encode(), 640, 480, None) for name in names]
        writer.append("images", made, vectors)
        writer.commit()
    return folder / "queried"


if __name__ == "__main__":
    main()
