"""What kinds of index cost and find, on one gallery, measured in one run.

    python -m scripts.bench_index [--rows 1000000] [--factory "IVF1024,SQfp16" ...] [--memory 4GiB] [--json out.json]
    python -m scripts.bench_index --gallery PATH …      the same on any gallery

Without --gallery one of seeded synthetic vectors with a modality gap is made (scripts/synthetic_gallery.py). For each
kind (the automatic one is "auto"): `mmsearch index` in a process of its own, watched for its anonymous memory; then,
in another, queries that it has not seen: recall at 10 and the time of single text queries at the effort that was
chosen, and beside it the effort that a rule which tunes on image queries alone would have chosen. FAISS's flat fp32
index is timed in the same run (--no-flat where it does not fit).
"""

import argparse
import json
import re
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.exact import Neighbours, exact_search
from mmsearch.gallery import Gallery
from mmsearch.metrics import ann_recall_at_k
from mmsearch.search.general_captions import general_captions
from scripts.measuring import circumstances, watched
from scripts.synthetic_gallery import Synthetic, write_gallery

K = 10
TEXTS, IMAGES, TIMED = 1000, 500, 100

BUILD = """
import json, sys
from dataclasses import asdict
from mmsearch.indexing import IndexOptions, index
gallery, factory, memory = sys.argv[1:]
report = index(gallery, options=IndexOptions(factory=None if factory == "auto" else factory, memory=memory or None))
print(json.dumps(asdict(report)))
"""

SEARCH = """
import json, sys, time
import numpy as np
from mmsearch.ann import Effort
from mmsearch.gallery import Gallery
from mmsearch.search.open_gallery import OpenGallery
from mmsearch.search.retrieval import SearchOptions
gallery, queries, effort, timed, out = sys.argv[1:]
queries, effort = np.load(queries), json.loads(effort)
began = time.perf_counter()
opened = OpenGallery(Gallery.open(gallery))
entry = opened.gallery.index_for("images")
index = opened.retriever._index(opened.gallery, "images")
dead = opened.gallery.dead_row_ids("images")
index.neighbours(queries[:1], 10, dead=dead, effort=Effort(**effort))
first = time.perf_counter() - began
spent = []
for query in queries[: int(timed)]:
    began = time.perf_counter()
    index.neighbours(query[None], 10, dead=dead, effort=Effort(**effort))
    spent.append(time.perf_counter() - began)
found = index.neighbours(queries, 10, dead=dead, effort=Effort(**effort))
np.savez(out, row_ids=found.row_ids, scores=found.scores)
print(json.dumps({"ms": 1000 * float(np.median(spent)), "first_s": first}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gallery", type=Path, help="measure this one; its index is replaced")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the synthetic one")
    parser.add_argument("--factory", action="append", help='repeatable; "auto" is what mmsearch chooses. Default: auto')
    parser.add_argument("--memory", default="", help="as for mmsearch index")
    parser.add_argument("--no-flat", action="store_true", help="do not time the flat index: it holds all in fp32")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        gallery = options.gallery or scratch / "gallery"
        if options.gallery is None:
            write_gallery(gallery, options.rows, captions=2000)
        texts, images = fresh_queries(Gallery.open(gallery))
        began = time.perf_counter()
        answers = exact_search(Gallery.open(gallery).vector_blocks("images"), np.concatenate([texts, images]), K)
        print(f"exact neighbours of {len(texts)} texts and {len(images)} images: {time.perf_counter() - began:.0f} s")
        results = []
        for factory in options.factory or ["auto"]:
            results.append(
                measure(gallery, factory, options.memory, texts, images, answers, not options.no_flat, scratch)
            )
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


def fresh_queries(gallery: Gallery) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Texts and images that no index was tuned with: of the same synthetic world, or general captions and rows."""
    encoder = gallery.manifest.encoder
    if found := re.fullmatch(r"declared:synthetic-(\d+)-(\d+)", encoder.fingerprint):
        world = Synthetic(int(found[1]), int(found[2]))
        return world.texts(TEXTS, stream=9), world.images(1_000_000, IMAGES)
    from mmsearch import encoders

    texts = encoders.open(encoder.spec, device="cpu", precision="fp32").text.encode(general_captions()).vectors
    rows = np.sort(np.random.default_rng(9).choice(gallery.live_rows("images"), IMAGES))
    ids = np.concatenate([block.row_ids for block in gallery.vector_blocks("images")])[rows]
    return texts[:TEXTS], gallery.vectors("images", ids).astype(np.float32)


def time_flat(gallery: Gallery, texts: NDArray[np.float32]) -> float:
    """The median of single queries of IndexFlatIP over all rows, in milliseconds."""
    import faiss

    index = faiss.IndexFlatIP(texts.shape[1])
    for block in gallery.vector_blocks("images"):
        index.add(np.ascontiguousarray(block.vectors, np.float32))
    spent = []
    for query in texts[:15]:
        began = time.perf_counter()
        index.search(query[None], K)
        spent.append(time.perf_counter() - began)
    return 1000 * statistics.median(spent)


def measure(
    gallery: Path,
    factory: str,
    memory: str,
    texts: NDArray[np.float32],
    images: NDArray[np.float32],
    answers: Neighbours,
    with_flat: bool,
    scratch: Path,
) -> dict[str, Any]:
    """Build one kind, ask it, and print its lines. The flat index is timed right before the searches."""
    built, build_peak = watched([BUILD, str(gallery), factory, memory])
    flat = time_flat(Gallery.open(gallery), texts) if with_flat else None
    rules = {"chosen": built["effort"], "tuned on images": tuned_on_images(built)}
    print(f"\n{factory}: {built['factory']}, {built['rows']:,} rows")
    if flat is not None:
        print(f"  flat fp32: {flat:.1f} ms for a single query")
    predicted = built["plan"]["build_memory"]
    memory_used = f"{build_peak / 2**20:,.0f} MiB anonymous at most (predicted {predicted / 2**20:,.0f})"
    print(f"  {built['outcome']} in {built['seconds']:.0f} s, {memory_used}; disk {built['bytes'] / 2**20:,.0f} MiB")
    figures: dict[str, Any] = {
        "factory": built["factory"],
        "build_s": built["seconds"],
        "build_peak": build_peak,
        "flat_ms": flat,
    }
    for rule, effort in rules.items():
        found = {}
        for kind, queries in (("text", texts), ("image", images)):
            np.save(scratch / "queries.npy", queries)
            arguments = [SEARCH, str(gallery), str(scratch / "queries.npy"), json.dumps(effort), str(TIMED)]
            timing, peak = watched([*arguments, str(scratch / "found.npz")])
            exact = slice(0, len(texts)) if kind == "text" else slice(len(texts), None)
            with np.load(scratch / "found.npz") as hits:
                shares = [
                    ann_recall_at_k(hits["row_ids"][q : q + 1], hits["scores"][q : q + 1], ids[None], scores[None], K)
                    for q, (ids, scores) in enumerate(zip(answers.row_ids[exact], answers.scores[exact], strict=True))
                ]
            found[kind] = {"recall": float(np.mean(shares)), **timing, "peak": peak}
        text = found["text"]
        times = "" if flat is None else f", {flat / text['ms']:.0f} times as fast as flat fp32"
        named = ", ".join(f"{name} {value}" for name, value in effort.items() if value is not None) or "exhaustive"
        print(f"  {rule:16} {named:28} text {text['recall']:.4f}  image {found['image']['recall']:.4f}  "
              f"{text['ms']:.2f} ms{times}; opened and first answer {text['first_s']:.2f} s; "
              f"search {text['peak'] / 2**20:,.0f} MiB anonymous")  # fmt: skip
        figures[rule] = {"effort": effort, **found}
    return {**circumstances(), **figures, "report": built}


def tuned_on_images(built: dict[str, Any]) -> dict[str, Any]:
    """The effort that the usual rule would choose: the cheapest whose mean recall on image queries is enough."""
    enough = [point for point in built["tried"] if (point["image"] or 0) >= built["recall_target"]]
    effort: dict[str, Any] = min(enough or built["tried"], key=lambda point: point["milliseconds"])["effort"]
    return effort


if __name__ == "__main__":
    main()
