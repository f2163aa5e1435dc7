"""How long a question takes from the shell: process start to last line, files in the page cache, beside a plain script.

    python scripts/bench_query.py [--rows 100000] [--large 1000000] [--runs 5] [--json out.json]

A full-size ViT-B-32 of random weights (speed does not depend on them) and random vectors, for a picture other models
too; medians of the runs, and in brackets the seconds that processors worked, which depend less on what else runs. The
plain script is what one writes first: import open_clip, create the model, encode, search with FAISS; the two are run in
turn, so that what else the machine does falls on both. The first query loads the model with torch and lays out both of
its sides; it is reported apart.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmsearch.encoders.specs import demo_folder
from scripts.measuring import circumstances, keep_bytecode, random_gallery, random_model, seconds, seconds_and_work

PROGRAM = "from mmsearch.__main__ import run; run()"
"""What the command `mmsearch` runs."""

PLAIN_TEXT = """
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

PLAIN_IMAGE = """
import sys
import faiss, numpy as np, open_clip, torch
from PIL import Image
vectors, model_dir, file = sys.argv[1:]
model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{model_dir}")
with torch.no_grad():
    query = model.encode_image(preprocess(Image.open(file))[None])
query = (query / query.norm(dim=-1, keepdim=True)).numpy()
stored = np.load(vectors).astype(np.float32)
index = faiss.IndexFlatIP(stored.shape[1])
index.add(stored)
print(index.search(query, 10))
"""

PLAIN_BATCH = """
import sys
from pathlib import Path
import faiss, numpy as np, open_clip, torch
vectors, model_dir, file = sys.argv[1:]
model = open_clip.create_model(f"local-dir:{model_dir}")
tokenizer = open_clip.get_tokenizer(f"local-dir:{model_dir}")
texts = Path(file).read_text().splitlines()
with torch.no_grad():
    queries = torch.cat([model.encode_text(tokenizer(texts[at:at + 64])) for at in range(0, len(texts), 64)])
queries = (queries / queries.norm(dim=-1, keepdim=True)).numpy()
stored = np.load(vectors).astype(np.float32)
index = faiss.IndexFlatIP(stored.shape[1])
index.add(stored)
for scores, rows in zip(*index.search(queries, 10)):
    print(rows, scores)
"""

TEXT = "a dog on a beach"
WORDS = "two brown dogs run along the beach while children in red coats play with a ball near the water at sunset"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="vectors to search")
    parser.add_argument("--large", type=int, default=1_000_000, help="vectors of the large gallery; 0 leaves it out")
    parser.add_argument("--queries", type=int, default=1_000, help="of the batch; 0 leaves it out")
    parser.add_argument("--no-image", dest="images", action="store_false", help="leave out the queries by a picture")
    parser.add_argument(
        "--models", nargs="*", default=["ViT-L-14", "demo"], help="others that a picture is asked with: ARCH, or demo"
    )
    parser.add_argument("--no-siglip2", dest="siglip2", action="store_false", help="leave out its text (5 GB of disk)")
    parser.add_argument("--runs", type=int, default=5, help="of each; the median counts")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    keep_bytecode()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["MMSEARCH_CACHE"] = str(folder / "cache")
        figures = bench(folder, options)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


def bench(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    model, vectors = random_model(folder / "model"), folder / "vectors.npy"
    gallery = random_gallery(folder / "queried", model, options.rows, vectors)
    figures: dict[str, Any] = {**circumstances(), "rows": options.rows, "large_rows": options.large}
    figures["runs"] = options.runs

    def measure(
        name: str, what: str, command: list[object], plain: list[object] | None = None, runs: int = options.runs
    ) -> None:
        found = figures[name] = {}
        asked = {"mmsearch": command} if plain is None else {"mmsearch": command, "plain": plain}
        for each in asked.values() if runs > 1 else ():
            seconds(each)  # files into the page cache
        turns = [{who: seconds_and_work(each) for who, each in asked.items()} for _ in range(runs)]
        for who in asked:
            measured = zip(*(turn[who] for turn in turns), strict=True)
            found[f"{who}_s"], found[f"{who}_work_s"] = map(statistics.median, measured)
        line = f"{what:44} {found['mmsearch_s']:7.2f} s ({found['mmsearch_work_s']:.2f} of work)"
        if plain is not None:
            found["ratio"] = found["plain_s"] / found["mmsearch_s"]
            found["work_ratio"] = found["plain_work_s"] / found["mmsearch_work_s"]
            line += f"   plain script {found['plain_s']:7.2f} s ({found['plain_work_s']:.2f})"
            line += f"   {found['ratio']:5.1f} x ({found['work_ratio']:.1f})"
        print(line, flush=True)

    def script(code: str, argument: object) -> list[object]:
        return [sys.executable, "-c", code, vectors, model, argument]

    ask: list[object] = [sys.executable, "-c", PROGRAM, "query", "-g", gallery]
    for tower in (folder / "cache").glob("*_towers/*"):  # which making the gallery laid out
        tower.unlink()
    figures["first_s"] = seconds([*ask, TEXT])
    print(f"ViT-B-32, {options.rows:,} x 512 vectors, whole processes, median of {options.runs}")
    print(f"{'the first text ever, which lays out the towers':44} {figures['first_s']:7.2f} s", flush=True)
    measure("text", "a text, exact", [*ask, TEXT], script(PLAIN_TEXT, TEXT))
    if options.images:
        asked = photo(folder)
        measure("image", "a picture that the gallery has not", [*ask, "--image", asked], script(PLAIN_IMAGE, asked))
    if options.siglip2:
        measure("siglip2", "a text, ViT-B-16-SigLIP2", *siglip2(folder, options.rows, [*ask[:-1]]))
    for name in options.models if options.images else ():
        other = demo_folder() if name == "demo" else random_model(folder / name, name)
        others = random_gallery(folder / f"{name} gallery", other, options.rows, folder / f"{name}.npy")
        plain: list[object] = [sys.executable, "-c", PLAIN_IMAGE, folder / f"{name}.npy", other, asked]
        measure(f"image {name}", f"such a picture, {name}", [*ask[:-1], others, "--image", asked], plain)
    if options.queries:
        texts = batch(folder, options.queries)
        measure("batch", f"{options.queries:,} texts", [*ask, "--from-file", texts], script(PLAIN_BATCH, texts), runs=1)
    seconds([sys.executable, "-m", "mmsearch", "index", "-g", gallery])
    measure("indexed", "a text, through the index", [*ask, TEXT], script(PLAIN_TEXT, TEXT))
    if options.large:
        large = random_gallery(folder / "large", model, options.large, folder / "large.npy")
        measure("large", f"a text over {options.large:,} vectors, exact", [*ask[:-1], large, TEXT])
    return figures


def siglip2(folder: Path, rows: int, ask: list[object]) -> tuple[list[object], list[object]]:
    """A text side of 256,000 pieces, which both ways have to find theirs in: (our command, the plain script)."""
    from tests.models import write_large_tokenizer

    model, vectors = random_model(folder / "siglip2", "ViT-B-16-SigLIP2"), folder / "siglip2.npy"
    write_large_tokenizer(model)
    gallery = random_gallery(folder / "siglip2 gallery", model, rows, vectors)
    return [*ask, gallery, TEXT], [sys.executable, "-c", PLAIN_TEXT, vectors, model, TEXT]


def photo(folder: Path) -> Path:
    file = folder / "asked.jpg"
    pixels = np.random.default_rng(1).integers(0, 256, (12, 16, 3), np.uint8)
    Image.fromarray(pixels).resize((640, 480), Image.Resampling.BICUBIC).save(file, quality=90)
    return file


def batch(folder: Path, count: int) -> Path:
    """Texts as long as captions are: 5 to 16 words."""
    rng = np.random.default_rng(2)
    texts = [" ".join(rng.choice(WORDS.split(), rng.integers(5, 17))) for _ in range(count)]
    (folder / "queries.txt").write_text("\n".join(texts) + "\n")
    return folder / "queries.txt"


if __name__ == "__main__":
    main()
