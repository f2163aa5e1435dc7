"""Encodes benchmarks into galleries in the user's cache: a second run is quick, an interrupted one continues."""

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch import encoders
from mmsearch.benchmarks import Benchmark
from mmsearch.cache import cache_dir, file_identity, writable_cache
from mmsearch.embedding import EmbedOptions
from mmsearch.embedding.caption_sync import embed_captions
from mmsearch.embedding.cluster_run import ClusterExecutor
from mmsearch.embedding.encoder_source import EncoderSource
from mmsearch.embedding.file_sync import embed_files
from mmsearch.encoders import DEFAULT_MODEL, Encoder
from mmsearch.errors import BenchmarkError, GalleryError, MmsearchWarning
from mmsearch.evaluation.records import Items
from mmsearch.gallery import Gallery, GalleryWriter, open_writer
from mmsearch.items import CAPTIONS, IMAGES
from mmsearch.locations import Location
from mmsearch.metrics import Relevance
from mmsearch.progress import ProgressCallback
from mmsearch.sources import MEMBER, CaptionFile, CaptionLine, Selection, container_form
from mmsearch.stores import file_state, is_folder
from mmsearch.sync import Plan, RootPlan, plan_root
from mmsearch.versions import Provenance

__all__ = [
    "EncodedBenchmark",
    "OnCluster",
    "encode_benchmark",
    "encode_images",
    "encode_plain_texts",
    "encode_texts",
    "open_encoder",
    "require_same_images",
    "store_as_product",
]

_FAMILY = "-"
"""Stands in the name of a gallery in the cache between what it shares with its kin and what is its own."""


@dataclass(frozen=True, slots=True)
class OnCluster:
    """A Ray cluster that encodes images. The cache has to be a folder that all its machines see.

    Attributes:
        address: As `EmbedOptions.ray` takes it.
        device: What each worker is to use: "auto", "cuda" or "cpu".
    """

    address: str
    device: str
    announce: Callable[[str], None]

    def make_executor(self, encoder: Encoder, writer: GalleryWriter, options: EmbedOptions) -> ClusterExecutor:
        """What carries out a plan there, with workers that load the encoder themselves. Raises ClusterError."""
        options = replace(options, ray=self.address, device=self.device)
        source = EncoderSource(encoder.identity.spec, writer, options, self.announce, {IMAGES.side})
        return source.make_ray_executor()


@dataclass(frozen=True, slots=True, eq=False)
class EncodedBenchmark:
    """A benchmark as vectors, in the order of the annotation file.

    Attributes:
        image_row_ids: The gallery's row id of each image.
        caption_row_ids: The gallery's row id of each caption; empty where templates were used.
        truncated: The number of texts longer than the model reads.
        unreadable: The names of images that could not be read.
    """

    images: NDArray[np.float32]
    captions: NDArray[np.float32]
    items: Items
    gallery: Gallery
    image_row_ids: NDArray[np.int64]
    caption_row_ids: NDArray[np.int64]
    truncated: int
    unreadable: tuple[str, ...]


def open_encoder(model: str | Encoder | None, device: str, precision: str, announce: Callable[[str], None]) -> Encoder:
    """The encoder of a spec, loaded and announced; an encoder as it is."""
    wanted = model or DEFAULT_MODEL
    if isinstance(wanted, str):
        announce(f"loading {wanted}")
    encoder = encoders.open(wanted, device=device, precision=precision, announce=announce)
    announce(f"encoding with {encoder.identity.spec} on {encoder.device}, {encoder.precision}")
    return encoder


def encode_benchmark(
    benchmark: Benchmark,
    encoder: Encoder,
    *,
    templates: Sequence[str],
    product: bool,
    allow_missing: bool,
    texts: "EncodedBenchmark | None" = None,
    fresh: bool = False,
    cluster: OnCluster | None = None,
    progress: ProgressCallback,
) -> EncodedBenchmark:
    """Images and captions, from the cache as far as they are there.

    templates: complete, each with one {}; none for captions as they are. product: prepare images as `embed` does, not
    as the published runs did. texts: the same captions, encoded before. fresh: nothing from the cache. cluster: what
    encodes the images, this process by default. Raises BenchmarkError where an image cannot be read, unless that is
    allowed; ClusterError.
    """
    folder = benchmark.root
    caption_file = CaptionFile(
        tuple(
            CaptionLine(ordinal, caption, str(folder / benchmark.images[image]))
            for ordinal, (caption, image) in enumerate(zip(benchmark.captions, benchmark.caption_image, strict=True))
        ),
        (),
    )
    gallery = _embed_into_cache(
        *(folder, benchmark.images, encoder, progress),
        product=product,
        captions=() if templates or texts else caption_file,
        fresh=fresh,
        cluster=cluster,
    )
    rows, unreadable = _split_readable(gallery, benchmark.images, allow_missing=allow_missing)
    new_index = np.full(len(benchmark.images), -1, np.int64)
    readable = [index for index, name in enumerate(benchmark.images) if name in rows]
    new_index[readable] = np.arange(len(readable))
    kept_captions = np.flatnonzero(new_index[benchmark.caption_image] >= 0)
    image_row_ids = np.array([rows[benchmark.images[index]] for index in readable])
    items = _make_items(benchmark, folder, readable, kept_captions, new_index)
    if texts is not None and texts.items.captions == items.captions:
        vectors, truncated, caption_row_ids = texts.captions, texts.truncated, np.empty(0, np.int64)
    elif templates or texts:
        vectors, truncated = encode_texts(encoder, items.captions, templates or ("{}",), progress, fresh=fresh)
        caption_row_ids = np.empty(0, np.int64)
    else:
        by_ordinal = {row.ordinal: (row_id, bool(row.truncated)) for row_id, row in gallery.all_captions()}
        caption_row_ids = np.array([by_ordinal[n][0] for n in kept_captions.tolist()])
        truncated = sum(by_ordinal[n][1] for n in kept_captions.tolist())
        vectors = np.asarray(gallery.vectors(CAPTIONS.name, caption_row_ids), np.float32)
    return EncodedBenchmark(
        images=np.asarray(gallery.vectors(IMAGES.name, image_row_ids), np.float32),
        captions=vectors,
        items=items,
        gallery=gallery,
        image_row_ids=image_row_ids,
        caption_row_ids=caption_row_ids,
        truncated=truncated,
        unreadable=unreadable,
    )


def require_same_images(first: EncodedBenchmark, second: EncodedBenchmark) -> None:
    """Raises BenchmarkError where images could be read for one only: then the two are of other queries."""
    if first.items.images != second.items.images:
        unshared = sorted(set(first.items.images) ^ set(second.items.images))
        raise BenchmarkError(f"only some of the systems can read {', '.join(unshared[:5])}: leave out these images")


def store_as_product(images: EncodedBenchmark, captions: EncodedBenchmark, folder: Location, *, fresh: bool) -> Gallery:
    """A gallery of these images and captions as `embed` stores them, in float16; kept in the cache.

    A row's id is its position in the benchmark. images, captions: of the same benchmark; captions must have rows.
    folder: of the images.
    """
    vectors = hashlib.blake2b(np.ascontiguousarray(images.images).data, digest_size=16)
    vectors.update(np.ascontiguousarray(captions.captions).data)
    names = json.dumps([str(folder), images.items.images, captions.items.captions])
    identity = images.gallery.manifest.encoder
    path = _cache_path("benchmarks", [identity.fingerprint, "float16", vectors.hexdigest(), names], fresh=fresh)
    with open_writer(path, command="eval budget") as writer:
        writer.set_encoder(identity, "float16")
        if not writer.gallery.live_rows(CAPTIONS.name):  # all of it comes in one commit
            writer.add_root(folder)
            copied = (
                (IMAGES.name, images.gallery.records(IMAGES, images.image_row_ids), images.images),
                (CAPTIONS.name, captions.gallery.records(CAPTIONS, captions.caption_row_ids), captions.captions),
            )
            for table, rows, stored in copied:
                writer.append(table, rows, stored, Provenance("cpu", "fp32", "copied"))
            writer.commit()
        return writer.gallery


def encode_images(
    folder: Location,
    names: Sequence[str],
    encoder: Encoder,
    *,
    product: bool,
    allow_missing: bool,
    fresh: bool = False,
    progress: ProgressCallback,
) -> tuple[NDArray[np.float32], tuple[str, ...], tuple[str, ...]]:
    """Images alone: vectors of those that can be read, their names in the order given, and the unreadable ones."""
    gallery = _embed_into_cache(folder, names, encoder, progress, product=product, captions=(), fresh=fresh)
    rows, unreadable = _split_readable(gallery, names, allow_missing=allow_missing)
    readable = tuple(name for name in names if name in rows)
    vectors = gallery.vectors(IMAGES.name, np.array([rows[name] for name in readable]))
    return np.asarray(vectors, np.float32), readable, unreadable


def encode_texts(
    encoder: Encoder,
    texts: Sequence[str],
    templates: Sequence[str],
    progress: ProgressCallback,
    *,
    fresh: bool = False,
) -> tuple[NDArray[np.float32], int]:
    """(n, dim) L2-normalised: of each text the normalised mean over templates, as published zero-shot runs do it; and
    how many of the filled templates were cut."""
    total: NDArray[np.float64] | None = None
    truncated = 0
    for template in templates:
        filled = [template.replace("{}", text) for text in texts]
        vectors, cut = encode_plain_texts(encoder, filled, progress, fresh=fresh)
        total = vectors.astype(np.float64) if total is None else total + vectors
        truncated += int(np.count_nonzero(cut))
    assert total is not None
    lengths = np.linalg.norm(total, axis=1, keepdims=True)
    return (total / np.maximum(lengths, np.finfo(np.float32).tiny)).astype(np.float32), truncated


def encode_plain_texts(
    encoder: Encoder, texts: Sequence[str], progress: ProgressCallback, *, fresh: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(n, dim) L2-normalised, of the texts as they are; and which of them are longer than the model reads, (n,)."""
    parts = [encoder.identity.fingerprint, encoder.precision, json.dumps(list(texts))]
    path = _cache_path("texts", parts, fresh=fresh)
    lines = tuple(CaptionLine(ordinal, text, None) for ordinal, text in enumerate(texts))
    with open_writer(path, command="eval") as writer:
        writer.set_encoder(encoder.identity, "float32")
        try:
            embed_captions(writer, lambda: encoder, path / "texts", CaptionFile(lines, ()), progress)
        finally:
            writer.commit()
        gallery = writer.gallery
    rows = sorted((row.ordinal, row_id, bool(row.truncated)) for row_id, row in gallery.all_captions())
    vectors = gallery.vectors(CAPTIONS.name, np.array([row_id for _, row_id, _ in rows]))
    return np.asarray(vectors, np.float32), np.array([cut for *_, cut in rows], np.bool_)


def _embed_into_cache(
    folder: Location,
    names: Sequence[str],
    encoder: Encoder,
    progress: ProgressCallback,
    *,
    product: bool,
    captions: CaptionFile | tuple[()],
    fresh: bool,
    cluster: OnCluster | None = None,
) -> Gallery:
    """The gallery in the cache that holds these images and, if given, these captions and no others.

    Changed images are noticed by the sync, changed captions too; whatever else decides about vectors is in its name.
    """
    route = "product" if product else "benchmark"
    files, only = _files_of(folder, names)
    family = [encoder.identity.fingerprint, encoder.precision, route, str(folder)]
    parts = [json.dumps(list(names)), *(_identity(file) for file in files if only and container_form(file.name))]
    path = _cache_path("benchmarks", parts, family=family, fresh=fresh)
    options = EmbedOptions(dtype="float32", benchmark=not product, precision=encoder.precision)
    with open_writer(path, command="eval") as writer:
        writer.set_encoder(encoder.identity, "float32")
        root = writer.roots[0] if writer.roots else writer.add_root(folder)
        if not (fresh or only):  # what an archive holds comes with it
            _adopt_images(writer, root.id, path, names, encoder)
        plan = Plan()
        # Measured is what the files hold now: one may have been replaced by another of its size and mtime.
        chosen = RootPlan(root, folder, files, identified=True, only=only)
        selection = Selection(apart=True)
        plan_root(writer.gallery, chosen, plan, prune=True, progress=progress, selection=selection)
        try:
            executor = cluster.make_executor(encoder, writer, options) if cluster else None
            embed_files(writer, lambda: encoder, plan, options, progress, executor)
            writer.commit()
            if captions:
                # One name for all annotation files: what another one said before is replaced.
                embed_captions(writer, lambda: encoder, path / CAPTIONS.name, captions, progress)
        finally:
            writer.commit()
        return writer.gallery


def _files_of(folder: Location, names: Sequence[str]) -> tuple[tuple[Location, ...], frozenset[str] | None]:
    """The files that hold the named images, each once, and which of the items of archives are meant; None where there
    are no archives."""
    archives: dict[str, bool] = {}
    files: dict[str, None] = {}
    for name in names:
        archive, mark, _ = name.partition(MEMBER)
        if mark and archive not in archives:
            archives[archive] = container_form(archive) is not None and not is_folder(folder / archive)
        files[archive if mark and archives[archive] else name] = None
    return tuple(folder / file for file in files), frozenset(names) if any(archives.values()) else None


def _identity(file: Location) -> str:
    """What tells whether an archive is the one that was read before, other than that its items do."""
    if isinstance(file, Path):
        return file_identity(file.stat()) if file.exists() else ""
    return file_state(file).etag or ""


def _adopt_images(writer: GalleryWriter, root_id: int, path: Path, names: Sequence[str], encoder: Encoder) -> None:
    """Take images that this gallery lacks over from others in the cache, of the same encoder, route and folder: of
    benchmarks that share images each is encoded once. Whether the files are still the same is for the sync to see."""
    lacking = set(names) - {name for _, _, name in writer.gallery.image_names()}
    for other in sorted(path.parent.glob(f"{path.name.partition(_FAMILY)[0]}{_FAMILY}*")) if lacking else ():
        if other == path:
            continue
        try:
            gallery = Gallery.open(other)
            held = {name: row_id for row_id, _, name in gallery.image_names() if name in lacking}
            row_ids = np.array(sorted(held.values()), np.int64)
            rows = [replace(row, root_id=root_id) for row in gallery.records(IMAGES, row_ids)]
            vectors = gallery.vectors(IMAGES.name, row_ids)
        except (GalleryError, FileNotFoundError):  # not made yet, or emptied meanwhile
            continue
        if rows:
            writer.append(IMAGES.name, rows, vectors, Provenance(encoder.device, encoder.precision, "copied"))
            writer.commit()
            lacking -= held.keys()


def _cache_path(kind: str, parts: Iterable[str], *, family: Iterable[str] = (), fresh: bool) -> Path:
    """The gallery in the cache that these parts name. family: what its name begins with, so that its kin are found.
    fresh: emptied, unless somebody writes it: GalleryBusy."""
    name = _FAMILY.join(_digest(words) for words in (family, parts) if words)
    path = writable_cache(kind, name)
    if not path.is_relative_to(cache_dir()):
        warnings.warn(
            f"the cache {cache_dir()} cannot be written: what is encoded serves this run alone. Another place: "
            "MMSEARCH_CACHE",
            MmsearchWarning,
            stacklevel=2,
        )
    with suppress(OSError):
        os.utime(path)  # for `mmsearch cache --prune`: used just now
    if fresh and path.exists():
        with open_writer(path, command="eval --fresh"):
            shutil.rmtree(path)
    return path


def _digest(parts: Iterable[str]) -> str:
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def _split_readable(
    gallery: Gallery, names: Sequence[str], *, allow_missing: bool
) -> tuple[dict[str, int], tuple[str, ...]]:
    """name -> row id of what could be read, and the names of what could not."""
    rows = {name: row_id for row_id, _, name in gallery.image_names()}
    unreadable = tuple(sorted(set(names) - set(rows)))
    if unreadable and not (allow_missing and rows):
        reasons = {row.path: row.reason for row in gallery.skipped_rows()}
        shown = ", ".join(f"{name} ({reasons.get(name, 'unknown')})" for name in unreadable[:5])
        raise BenchmarkError(
            f"{len(unreadable)} of {len(names)} images cannot be read: {shown}. Mend them, or go on "
            "without them and their captions with --allow-missing; the figures are then not comparable with "
            "published ones."
        )
    return rows, unreadable


def _make_items(
    benchmark: Benchmark,
    folder: Location,
    readable: Sequence[int],
    kept_captions: NDArray[np.intp],
    new_index: NDArray[np.int64],
) -> Items:
    images = tuple(benchmark.images[index] for index in readable)
    image_of_caption = new_index[benchmark.caption_image[kept_captions]]
    return Items(
        images=images,
        files=tuple(str(folder / name) for name in images),
        captions=tuple(benchmark.captions[n] for n in kept_captions.tolist()),
        caption_ids=tuple(f"caption{n}" for n in kept_captions.tolist()),
        query_captions=np.arange(len(kept_captions)),
        query_images=np.arange(len(images)),
        images_of_caption=Relevance.one_each(image_of_caption),
        captions_of_image=Relevance.inverse(image_of_caption, len(images)),
    )
