"""How good and how fast `clusters` is, beside the plain way: k-means by FAISS, on all vectors as they are.

    python -m scripts.bench_clusters [--rows 200000] [--strangers FOLDER] [--vectors FILE.npy] [--json out.json]

Quality, on the 1,000 drawn postcards and the bundled model, of which is known what was drawn: the adjusted Rand index
and the normalised mutual information with the lands and with the times (1 is the same grouping, 0 is chance), where the
number of albums is chosen and where it is given; of how many pictures the name of the album is true, and how that goes
with its fit. With --strangers pictures of a folder are put among them: which share of these goes to `other`, and which
share of the postcards does. The map: how far neighbours are kept, where all are laid out and where half is placed.

With --vectors (n, dim) of your own: the numbers of albums that were tried, and the map.

Speed, on a synthetic gallery: seconds and the largest memory that is its own, and both as ratios to FAISS on all
vectors with the number of albums that was chosen. FAISS works on one thread, as `clusters` does for each start.
"""

import argparse
import json
import os
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mmsearch
from mmsearch.albums.grouping import candidate_ks, center, choose_grouping
from mmsearch.albums.layout import lay_out, place_at_neighbours, trustworthiness
from mmsearch.embedding import embed
from mmsearch.gallery import Gallery
from scripts.measuring import circumstances, watched
from scripts.postcards.dataset import load_test
from scripts.postcards.scene import Scene
from scripts.synthetic_gallery import write_gallery

POSTCARDS = Path(__file__).resolve().parents[1] / "data" / "postcards"
MEANT = {
    "noon": "noon",
    "sunset": "sunset",
    "moonlit night": "moon",
    "starry night": "stars",
    "storm": "storm",
    "fog": "fog",
    "mountains": "mountains",
    "sea": "sea",
    "desert": "desert",
    "forest": "forest",
    "fields": "fields",
    "city": "city",
    "snow": "snow",
    "sheep": "sheep",
    "lighthouse": "lighthouse",
}
"""Names to choose from, and what of a postcard each means."""
Labels = NDArray[np.int64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000, help="of the gallery that is measured for speed; 0: none")
    parser.add_argument("--strangers", type=Path, help="a folder of pictures that are no postcards")
    parser.add_argument("--vectors", type=Path, help="a file .npy of vectors of your own")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures["postcards"] = postcards(folder)
        if options.strangers:
            figures["strangers"] = strangers(folder, options.strangers)
        if options.vectors:
            figures["vectors"] = own_vectors(np.load(options.vectors))
        if options.rows:
            figures["speed"] = speed(folder / "synthetic", options.rows)
    if options.json:
        options.json.write_text(json.dumps({**circumstances(), **figures}, indent=1) + "\n")


def postcards(folder: Path) -> dict[str, Any]:
    """Albums of postcards, beside FAISS on the vectors as they are."""
    gallery = folder / "postcards"
    embed([POSTCARDS / "images"], gallery=gallery, encoder="demo")
    words = folder / "words.txt"
    words.write_text("\n".join(MEANT))
    scenes = {card.filename: card.scene for card in load_test(POSTCARDS)}
    vectors, names = vectors_of(gallery)
    land, times = (labels_of([getattr(scenes[name], fact) for name in names]) for fact in ("land", "time"))
    figures: dict[str, Any] = {}
    print("postcards: adjusted Rand index (and normalised mutual information) with lands and times")
    for k in (None, 7, 14, 28):
        report = mmsearch.clusters(gallery, k=k, words=words)
        ours = labels_in(report, gallery, names)
        count = len(report.albums)
        plain = by_faiss(vectors, count)
        for way, labels in (("clusters", ours), ("FAISS", plain)):
            figures[f"{way} {k or 'chosen'}"] = row = {
                "k": count,
                "land": rand_index(labels, land),
                "time": rand_index(labels, times),
                "land_nmi": mutual_information(labels, land),
                "time_nmi": mutual_information(labels, times),
            }
            print(
                f"  k {'chosen: ' if k is None else ''}{count:2}  {way:8}  lands {row['land']:.2f} "
                f"({row['land_nmi']:.2f})  times {row['time']:.2f} ({row['time_nmi']:.2f})"
            )
        figures[f"names {k or 'chosen'}"] = names_of(report, gallery, scenes)
    figures["map"] = of_map(vectors)
    return figures


def names_of(report: mmsearch.ClustersReport, gallery: Path, scenes: dict[str, Scene]) -> dict[str, float]:
    """Of how many pictures the name of their album is true; and of albums with a good fit and with a weaker one."""
    opened = mmsearch.open_gallery(gallery)
    shares, sizes, fits = [], [], []
    for album in report.albums:
        fact = MEANT[album.name.partition(", ")[0]]
        members = [scenes[hit.path or ""] for hit in mmsearch.album_hits(opened, album)]
        shares.append(
            np.mean([fact in (each.time, each.land, *(thing.kind for thing in each.things)) for each in members])
        )
        sizes.append(len(members))
        fits.append(album.fit or 0.0)
    true, fit = np.array(shares), np.array(fits)
    found = {"true": float(np.average(true, weights=sizes))}
    print(f"     names are true of {found['true']:.2f} of the pictures", end="")
    for title, which in (("fit .95 or more", fit >= 0.95), ("less", fit < 0.95)):
        if which.any():
            found[title] = float(np.average(true[which], weights=np.array(sizes)[which]))
            print(f"; {title}: {found[title]:.2f} in {which.sum()} albums", end="")
    print()
    return found


def strangers(folder: Path, photos: Path) -> dict[str, Any]:
    """Pictures of another kind among the postcards, and what becomes of them."""
    figures = {}
    files = sorted(file for file in photos.iterdir() if file.suffix.lower() in (".jpg", ".jpeg", ".png"))
    for count in (20, 50):
        mixed = folder / f"mixed-{count}"
        shutil.copytree(POSTCARDS / "images", mixed)
        for file in files[:count]:
            shutil.copy(file, mixed / f"stranger-{file.name}")
        embed([mixed], gallery=folder / f"mixed-{count}.gallery", encoder="demo")
        report = mmsearch.clusters(folder / f"mixed-{count}.gallery")
        hits = [] if report.other is None else mmsearch.album_hits(mmsearch.open_gallery(report.gallery), report.other)
        found = sum((hit.path or "").startswith("stranger") for hit in hits)
        figures[str(count)] = {"found": found / count, "wrong": (len(hits) - found) / 1000}
        print(
            f"of {count} strangers among 1,000 postcards {found / count:.2f} are in other, and of the postcards "
            f"{(len(hits) - found) / 1000:.3f}"
        )
    return figures


def own_vectors(vectors: NDArray[np.floating]) -> dict[str, Any]:
    """What is chosen for vectors of one's own, and how well they lie on a map."""
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    centred = center(unit, unit.mean(axis=0))
    grouping = choose_grouping(centred, candidate_ks(len(unit)), seed=0)
    print(f"{len(unit):,} vectors: {len(grouping.centres)} albums")
    print("  silhouettes: " + ", ".join(f"{each.k}: {each.silhouette:.3f}" for each in grouping.tried))
    return {"k": len(grouping.centres), "map": of_map(unit)}


def of_map(vectors: NDArray[np.float32]) -> dict[str, float]:
    centred = center(vectors, vectors.mean(axis=0))
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    half = len(centred) // 2
    first = lay_out(centred[:half])
    placed = np.concatenate([first, place_at_neighbours(centred[half:], centred[:half], first)])
    started = time.perf_counter()
    whole = lay_out(centred)
    figures = {
        "seconds": time.perf_counter() - started,
        "axes": trustworthiness(centred, (centred @ axes[:2].T).astype(np.float32)),
        "map": trustworthiness(centred, whole),
        "half_placed": trustworthiness(centred, placed),
    }
    print(
        f"  map: trustworthiness {figures['map']:.3f} in {figures['seconds']:.1f} s; where half is placed "
        f"{figures['half_placed']:.3f}; two principal axes {figures['axes']:.3f}"
    )
    return figures


def speed(gallery: Path, rows: int) -> dict[str, Any]:
    """Seconds and memory, beside FAISS on all vectors."""
    write_gallery(gallery, rows=rows, dim=512, captions=0, linked=False, seed=0)
    start = "import json, time\nfrom mmsearch.albums.clustering import clusters\nstarted = time.perf_counter()\n"
    end = "print(json.dumps({'seconds': time.perf_counter() - started, 'k': k}))\n"
    ours, memory = watched([f"{start}k = len(clusters({str(gallery)!r}).albums)\n{end}"])
    plain_code = (
        "import json, time, faiss, numpy as np\nfrom mmsearch.gallery import Gallery\nfaiss.omp_set_num_threads(1)\n"
        f"started = time.perf_counter()\nopened = Gallery.open({str(gallery)!r})\n"
        "blocks = [np.asarray(block.vectors, np.float32) for block in opened.vector_blocks('images')]\n"
        f"vectors = np.concatenate(blocks)\nk = {ours['k']}\n"
        "means = faiss.Kmeans(512, k, niter=20, spherical=True, seed=0, max_points_per_centroid=len(vectors))\n"
        f"means.train(vectors)\nmeans.index.search(vectors, 1)\n{end}"
    )
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    plain, plain_memory = watched([plain_code])
    ratio, memory_ratio = ours["seconds"] / plain["seconds"], memory / plain_memory
    print(
        f"{rows:,} x 512: {ours['k']} albums chosen in {ours['seconds']:.1f} s, {memory / 2**20:,.0f} MiB; "
        f"FAISS on all, for that number: {plain['seconds']:.1f} s, {plain_memory / 2**20:,.0f} MiB; "
        f"ratios {ratio:.2f}, {memory_ratio:.2f}"
    )
    return {"rows": rows, "clusters": ours, "memory": memory, "faiss": plain, "faiss_memory": plain_memory}


def vectors_of(gallery: Path) -> tuple[NDArray[np.float32], list[str]]:
    """The vectors of a gallery and the names of their pictures."""
    opened = Gallery.open(gallery)
    ids, _, names = zip(*opened.image_names(), strict=True)
    return opened.vectors("images", np.array(ids, np.int64)).astype(np.float32), [Path(name).name for name in names]


def labels_in(report: mmsearch.ClustersReport, gallery: Path, names: list[str]) -> Labels:
    """The album of each picture; those of `other` are one more."""
    opened = mmsearch.open_gallery(gallery)
    albums = {hit.path: each.number for each in report.all_albums for hit in mmsearch.album_hits(opened, each)}
    return np.array([albums[name] for name in names])


def labels_of(values: list[str]) -> Labels:
    return np.unique(values, return_inverse=True)[1]


def by_faiss(vectors: NDArray[np.float32], k: int) -> Labels:
    import faiss

    faiss.omp_set_num_threads(1)
    means = faiss.Kmeans(vectors.shape[1], k, niter=25, nredo=8, spherical=True, seed=0, min_points_per_centroid=1)
    means.train(vectors)
    return np.asarray(means.index.search(vectors, 1)[1][:, 0], np.int64)


def rand_index(one: Labels, other: Labels) -> float:
    """Adjusted for chance: "Comparing partitions", Hubert and Arabie 1985."""

    def pairs(counts: Counter[Any]) -> float:
        return sum(count * (count - 1) / 2 for count in counts.values())

    ones, others = pairs(Counter(one.tolist())), pairs(Counter(other.tolist()))
    both = pairs(Counter(zip(one.tolist(), other.tolist(), strict=True)))
    chance = ones * others / (len(one) * (len(one) - 1) / 2)
    return (both - chance) / ((ones + others) / 2 - chance)


def mutual_information(one: Labels, other: Labels) -> float:
    """Normalised by the mean of both entropies."""

    def entropy(counts: Counter[Any]) -> float:
        shares = np.array([*counts.values()]) / len(one)
        return float(-(shares * np.log(shares)).sum())

    ones, others = entropy(Counter(one.tolist())), entropy(Counter(other.tolist()))
    both = entropy(Counter(zip(one.tolist(), other.tolist(), strict=True)))
    return 2 * (ones + others - both) / (ones + others)


if __name__ == "__main__":
    main()
