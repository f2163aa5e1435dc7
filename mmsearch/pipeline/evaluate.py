"""`evaluate`: Recall@k of an encoder on a benchmark, in both directions, exact and, if asked, through an index.

The benchmark's images and captions are encoded into a gallery of their own in the user's cache, so that a second call
is quick and an interrupted one continues.
"""

import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.ann import Effort, MeasuredRecall
from mmsearch.benchmarks import Benchmark, load_benchmark
from mmsearch.cache import cache_dir
from mmsearch.encoders import DEFAULT_MODEL, Encoder, load_encoder
from mmsearch.errors import BenchmarkError, StoreError
from mmsearch.gallery import Gallery, GalleryWriter, open_writer
from mmsearch.metrics import (
    DirectionResult,
    Relevance,
    first_found_ranks,
    rank_bounds,
    recall_at_k,
    summarize,
)
from mmsearch.pipeline.embed import EmbedOptions
from mmsearch.pipeline.embed.captions import embed_captions
from mmsearch.pipeline.embed.pictures import embed_pictures
from mmsearch.pipeline.index import IndexOptions, index
from mmsearch.pipeline.query import OpenGallery
from mmsearch.records import EncoderIdentity, ItemTable, ProgressCallback, quiet
from mmsearch.sources import CaptionFile, CaptionLine
from mmsearch.sync import Plan, RootPlan, plan_root
from mmsearch.version import __version__

__all__ = ["DEFINITION", "EvaluateOptions", "EvaluationReport", "ViaIndex", "evaluate", "to_json"]

DEFINITION = (
    "R@k is the share of queries with at least one relevant item among the k best (what CLIP papers call recall). "
    "text_to_image: a caption asks for its image; image_to_text: an image asks for any of its captions. "
    "Scores are cosines, ranks are exact, equal scores rank in the order of the annotation file."
)
_Path = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """How to evaluate.

    split: of the annotation file; "all" for everything. split_file: a list of image names in the place of the file's
    own splits. captions_per_image: only the first so many; None for all. allow_missing: go on without images that are
    not there or cannot be read, and say so. ks: the k of R@k. via_index: also through an index, of this `factory` or
    chosen by size. report: a file to write everything to, as JSON; its folder must exist.
    """

    split: str | None = "test"
    split_file: Path | None = None
    captions_per_image: int | None = None
    allow_missing: bool = False
    ks: tuple[int, ...] = (1, 5, 10)
    device: str = "auto"
    precision: str = "fp32"
    via_index: bool = False
    factory: str | None = None
    report: Path | None = None


@dataclass(frozen=True, slots=True)
class ViaIndex:
    """The same queries through an index.

    recall: k -> R@k. ann: the index's own recall against exact search. milliseconds: a query, in one batch.
    """

    direction: str
    factory: str
    effort: Effort
    recall: dict[int, float]
    ann: tuple[MeasuredRecall, ...]
    milliseconds: float


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """Recall@k of an encoder on a benchmark.

    truncated: captions longer than the model reads. unreadable: images left out because they do not decode.
    problems: what was wrong with the annotations, in words. gallery: where the vectors are cached.
    """

    benchmark: str
    split: str | None
    source: str
    images: int
    captions: int
    encoder: EncoderIdentity
    device: str
    precision: str
    text_to_image: DirectionResult
    image_to_text: DirectionResult
    truncated: int
    unreadable: tuple[str, ...]
    problems: tuple[str, ...]
    via_index: tuple[ViaIndex, ...]
    gallery: Path
    encode_seconds: float
    rank_seconds: float
    protocol: str = DEFINITION
    versions: dict[str, str] = field(default_factory=dict)


def evaluate(
    benchmark: str,
    *,
    images: _Path,
    annotations: _Path,
    encoder: str | Encoder | None = None,
    options: EvaluateOptions | None = None,
    progress: ProgressCallback = quiet,
    announce: Callable[[str], None] = lambda _: None,
) -> EvaluationReport:
    """Measure Recall@k, both directions, by the protocol that published zero-shot results follow.

    benchmark: "flickr8k", "flickr30k", "coco" or "custom". images: the folder. annotations: the file, in any of the
    formats of `mmsearch.benchmarks`. encoder: a spec or an encoder, by default `DEFAULT_MODEL`.
    Images are opened without EXIF rotation and go through the checkpoint's own transform; captions go in as they are.
    Raises BenchmarkError, EncoderError, GalleryBusy, StoreError (of the cache, or of the report).
    """
    options = options or EvaluateOptions()
    if options.report is not None and not options.report.absolute().parent.is_dir():
        raise StoreError(f"the report cannot be written: no folder {options.report.absolute().parent}")
    folder, file = _absolute(images), _absolute(annotations)
    loaded = load_benchmark(
        benchmark,
        images=folder,
        annotations=file,
        split=options.split,
        split_file=options.split_file,
        captions_per_image=options.captions_per_image,
        allow_missing=options.allow_missing,
    )
    model = encoder or DEFAULT_MODEL
    if isinstance(model, str):
        announce(f"loading {model}")
        model = load_encoder(model, device=options.device, precision=options.precision, announce=announce)
    announce(f"encoding with {model.identity.spec} on {model.device}, {model.precision}")
    started = time.monotonic()
    gallery = _encode(loaded, folder, file, model, options, progress)
    encoded = time.monotonic()
    vectors = _Vectors.read(gallery, loaded, allow_missing=options.allow_missing)
    text_to_image = rank_bounds(vectors.captions, vectors.images, vectors.image_of_caption)
    image_to_text = rank_bounds(vectors.images, vectors.captions, vectors.captions_of_image)
    ranked = time.monotonic()
    report = EvaluationReport(
        benchmark=benchmark,
        split=loaded.split,
        source=loaded.source,
        images=len(vectors.images),
        captions=len(vectors.captions),
        encoder=model.identity,
        device=model.device,
        precision=model.precision,
        text_to_image=summarize("text_to_image", text_to_image, len(vectors.images), options.ks),
        image_to_text=summarize("image_to_text", image_to_text, len(vectors.captions), options.ks),
        truncated=vectors.truncated,
        unreadable=vectors.unreadable,
        problems=tuple(map(str, loaded.problems)),
        via_index=_via_index(gallery, vectors, options, progress) if options.via_index else (),
        gallery=gallery.path,
        encode_seconds=encoded - started,
        rank_seconds=ranked - encoded,
        versions=_versions(),
    )
    if options.report is not None:
        _write(report, options.report)
    return report


def _write(report: EvaluationReport, file: Path) -> None:
    text = json.dumps(to_json(report), default=str, indent=1, ensure_ascii=False)
    try:
        file.write_text(f"{text}\n", "utf-8", errors="backslashreplace")
    except OSError as error:
        raise StoreError(f"cannot write {file}: {error.strerror or error}") from error


def to_json(report: EvaluationReport) -> dict[str, Any]:
    """The report as JSON: per direction R@k, median rank and counts, then encoder, protocol and versions."""
    document = asdict(report)
    for direction in (report.text_to_image, report.image_to_text):
        document[direction.direction] = {
            **{f"R@{k}": value for k, value in direction.recall.items()},
            "median_rank": direction.median_rank,
            "mean_rank": direction.mean_rank,
            "queries": direction.queries,
            "gallery": direction.gallery,
            "tied_queries": direction.tied_queries,
        }
    document["via_index"] = [
        {**asdict(part), "recall": {f"R@{k}": value for k, value in part.recall.items()}} for part in report.via_index
    ]
    ordered = ("text_to_image", "image_to_text")
    return {name: document[name] for name in ordered} | {k: v for k, v in document.items() if k not in ordered}


def _absolute(path: _Path) -> Path:
    return Path(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100 - resolve() would follow links


def _versions() -> dict[str, str]:
    libraries = ("torch", "open_clip_torch", "numpy", "pillow", "faiss-cpu")
    return {"mmsearch": __version__, "python": platform.python_version()} | {
        name: version_of(name) for name in libraries
    }


def _encode(
    benchmark: Benchmark,
    folder: Path,
    annotations: Path,
    encoder: Encoder,
    options: EvaluateOptions,
    progress: ProgressCallback,
) -> Gallery:
    """The benchmark as a gallery in the cache."""
    lines = tuple(
        CaptionLine(ordinal, caption, str(folder / benchmark.images[image]))
        for ordinal, (caption, image) in enumerate(zip(benchmark.captions, benchmark.caption_image, strict=True))
    )
    place = cache_dir() / "benchmarks" / _key(benchmark, folder, annotations, encoder)
    embedding = EmbedOptions(device=options.device, dtype="float32", benchmark=True)
    with open_writer(place, command="eval") as writer:
        writer.begin(encoder.identity, "float32")
        plan = _plan(writer, folder, benchmark.images, progress)
        try:
            embed_pictures(writer, lambda: encoder, plan, embedding, progress)
            writer.commit()
            embed_captions(writer, lambda: encoder, annotations, CaptionFile(lines, ()), progress)
        finally:
            writer.commit()
        return writer.gallery


def _key(benchmark: Benchmark, folder: Path, annotations: Path, encoder: Encoder) -> str:
    # Changed images are noticed by the sync; whatever else decides about the vectors is in the key.
    parts = [encoder.identity.fingerprint, encoder.precision, str(folder), benchmark.name, str(benchmark.split)]
    parts += [str(annotations), json.dumps([benchmark.images, benchmark.captions])]
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def _plan(writer: GalleryWriter, folder: Path, names: Sequence[str], progress: ProgressCallback) -> Plan:
    root = writer.roots[0] if writer.roots else writer.add_root(folder)
    plan = Plan()
    files = tuple(folder / name for name in names)
    plan_root(writer.gallery, RootPlan(root, folder, files), plan, prune=True, progress=progress)
    return plan


@dataclass(frozen=True, slots=True)
class _Vectors:
    """The encoded benchmark, in the order of the annotation file. *_row_ids: of each position, in the gallery."""

    images: NDArray[np.float32]
    captions: NDArray[np.float32]
    image_of_caption: Relevance
    captions_of_image: Relevance
    image_row_ids: NDArray[np.int64]
    caption_row_ids: NDArray[np.int64]
    truncated: int
    unreadable: tuple[str, ...]

    @classmethod
    def read(cls, gallery: Gallery, benchmark: Benchmark, *, allow_missing: bool) -> "_Vectors":
        """Raises BenchmarkError where an image could not be read, unless that is allowed."""
        rows = {name: row_id for row_id, _, name in gallery.image_names()}
        readable = [place for place, name in enumerate(benchmark.images) if name in rows]
        unreadable = tuple(sorted(set(benchmark.images) - set(rows)))
        if unreadable and not allow_missing:
            reasons = {row.path: row.reason for row in gallery.skipped_rows()}
            shown = ", ".join(f"{name} ({reasons.get(name, 'unknown')})" for name in unreadable[:5])
            raise BenchmarkError(
                f"{len(unreadable)} of {len(benchmark.images)} images cannot be read: {shown}. Mend them, or go on "
                "without them and their captions with --allow-missing; the figures are then not comparable with "
                "published ones."
            )
        position = np.full(len(benchmark.images), -1, np.int64)
        position[readable] = np.arange(len(readable))
        captions = list(gallery.all_captions())
        by_ordinal = {row.ordinal: row_id for row_id, row in captions}
        kept = [ordinal for ordinal, image in enumerate(benchmark.caption_image) if position[image] >= 0]
        image_of_caption = position[benchmark.caption_image[kept]]
        image_row_ids = np.array([rows[benchmark.images[place]] for place in readable])
        caption_row_ids = np.array([by_ordinal[ordinal] for ordinal in kept])
        return cls(
            images=np.asarray(gallery.vectors("images", image_row_ids), np.float32),
            captions=np.asarray(gallery.vectors("captions", caption_row_ids), np.float32),
            image_of_caption=Relevance.one_each(image_of_caption),
            captions_of_image=Relevance.inverse(image_of_caption, len(readable)),
            image_row_ids=image_row_ids,
            caption_row_ids=caption_row_ids,
            truncated=sum(bool(row.truncated) for _, row in captions),
            unreadable=unreadable,
        )


def _via_index(
    gallery: Gallery, vectors: _Vectors, options: EvaluateOptions, progress: ProgressCallback
) -> tuple[ViaIndex, ...]:
    directions: tuple[tuple[str, ItemTable, NDArray[np.float32], Relevance, NDArray[np.int64]], ...] = (
        ("text_to_image", "images", vectors.captions, vectors.image_of_caption, vectors.image_row_ids),
        ("image_to_text", "captions", vectors.images, vectors.captions_of_image, vectors.caption_row_ids),
    )
    found = []
    for direction, table, queries, relevant, row_ids in directions:
        asked = IndexOptions(factory=options.factory, k=max(options.ks))
        built = index(gallery.path, table=table, options=asked, progress=progress)
        opened = OpenGallery(Gallery.open(gallery.path))
        started = time.perf_counter()
        hits = opened.search(queries, k=max(options.ks), table=table)
        seconds = time.perf_counter() - started
        ranks = first_found_ranks(_positions(hits.row_ids, row_ids), relevant)
        found.append(
            ViaIndex(
                direction=direction,
                factory=built.factory,
                effort=built.effort,
                recall={k: recall_at_k(ranks, k) for k in options.ks},
                ann=built.recall,
                milliseconds=1000 * seconds / len(queries),
            )
        )
    return tuple(found)


def _positions(found: NDArray[np.int64], row_ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Row ids as positions in the benchmark; -1 for none."""
    order = np.argsort(row_ids)
    places = np.minimum(np.searchsorted(row_ids[order], found), len(row_ids) - 1)
    positions = order[places]
    return np.where(row_ids[positions] == found, positions, -1)
