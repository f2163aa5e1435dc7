"""`evaluate`: benchmarks by the protocol of the published results."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from mmsearch.benchmarks import OFFICIAL_CAPTIONS, OFFICIAL_TEST, Benchmark, load_benchmark, require_published
from mmsearch.encoders import Encoder
from mmsearch.encoders.prompts import templates_named
from mmsearch.errors import BenchmarkError
from mmsearch.evaluation.benchmark_encoding import (
    EncodedBenchmark,
    encode_benchmark,
    open_encoder,
    require_same_images,
)
from mmsearch.evaluation.budget_records import BudgetOptions
from mmsearch.evaluation.measuring import build_report, build_system_result, measure
from mmsearch.evaluation.published import published_figures
from mmsearch.evaluation.records import (
    EvaluateOptions,
    EvaluationReport,
    SystemResult,
)
from mmsearch.evaluation.reranking import measure_reranked, open_named_reranker
from mmsearch.evaluation.via_index import measure_through_index
from mmsearch.locations import located
from mmsearch.progress import ProgressCallback, quiet

__all__ = ["evaluate", "find_departures", "load_chosen", "make_title"]

_Path = str | os.PathLike[str]


def evaluate(
    benchmark: str,
    *,
    images: _Path,
    annotations: _Path | None = None,
    encoder: str | Encoder | Sequence[str | Encoder] | None = None,
    options: EvaluateOptions | None = None,
    progress: ProgressCallback = quiet,
    announce: Callable[[str], None] = lambda _: None,
) -> EvaluationReport:
    """Measure retrieval, both directions, by the protocol that published zero-shot results follow.

    benchmark: "flickr8k", "flickr30k", "coco" or "custom". images: a folder or an archive, a path or a URL.
    annotations: the file, in any of the formats of `mmsearch.benchmarks`; None where images are shards with captions.
    encoder: a spec or an encoder, by default `DEFAULT_MODEL`; several are compared with the first. Images are opened
    without EXIF rotation and go through the checkpoint's own transform; captions go in as they are, unless there are
    templates. Raises BenchmarkError, EncoderError, GalleryBusy, StoreError.
    """
    options = options or EvaluateOptions()
    loaded = load_chosen(benchmark, images, annotations, options)
    if options.templates and options.via_index:
        raise BenchmarkError("--via-index asks with captions as they are: leave out the templates")
    templates = templates_named(options.templates)
    models = encoder if isinstance(encoder, Sequence) and not isinstance(encoder, str) else [encoder]
    _require_names_to_compare(options, len(models))
    reranker = open_named_reranker(options, announce)
    systems: list[SystemResult] = []
    first: EncodedBenchmark | None = None
    for number, model in enumerate(models):
        opened = open_encoder(model, options.device, options.precision, announce)
        encoded: EncodedBenchmark | None = None
        for product in (False, True) if options.product_preprocessing else (False,):
            started = time.monotonic()
            encoded = encode_benchmark(
                loaded,
                opened,
                templates=templates,
                product=product,
                allow_missing=options.allow_missing,
                # The texts are those of the route before; an index of captions needs them in its own gallery.
                texts=encoded if product and not options.via_index else None,
                fresh=options.fresh,
                progress=progress,
            )
            seconds = time.monotonic() - started
            first = first or encoded
            require_same_images(encoded, first)
            _require_distinct(encoded, opened, systems)
            measurements = measure(
                encoded.images,
                encoded.captions,
                encoded.items,
                options.ks,
                correct=options.correct,
                progress=progress,
                announce=announce,
            )
            system = build_system_result(
                measurements,
                opened.identity.spec + (", product preprocessing" if product else ""),
                encoder=opened.identity,
                device=opened.device,
                precision=opened.precision,
                preprocessing="product" if product else "benchmark",
                templates=templates,
                truncated=encoded.truncated,
                gallery=encoded.gallery.path,
                encode_seconds=seconds,
            )
            if options.via_index:
                system = replace(system, via_index=measure_through_index(encoded, options, progress))
            if reranker is not None:
                again = measure_reranked(
                    encoded, measurements.evidence, reranker, options, product=product, progress=progress
                )
                system = replace(system, reranked=again)
            if options.compare or options.compare_as:
                known_as = _names_to_compare(opened, encoded, options, number)
                system = replace(system, published=published_figures(benchmark, system, known_as))
            systems.append(system)
    assert first is not None
    return build_report(
        benchmark,
        make_title(loaded, first, templates),
        loaded.source,
        systems,
        first.items,
        options.ks,
        split=loaded.split,
        departures=find_departures(loaded, first, options),
        unreadable=first.unreadable,
        problems=[str(problem) for problem in loaded.problems],
    )


def _require_names_to_compare(options: EvaluateOptions, models: int) -> None:
    """Raises BenchmarkError where what is to be compared with is not known, before anything is encoded."""
    if options.compare_as and len(options.compare_as) != models:
        raise BenchmarkError(f"--compare-as names {len(options.compare_as)} models for {models}: give one for each")
    for spec in options.compare_as:
        require_published(spec)


def _names_to_compare(
    encoder: Encoder, encoded: EncodedBenchmark, options: EvaluateOptions, number: int
) -> tuple[str, ...]:
    """The specs under which the encoder may have been published: as it was said for the encoder of this number, else
    its own, else that under which the same weights (by fingerprint) encoded this benchmark before."""
    if options.compare_as:
        return (options.compare_as[number],)
    return encoder.identity.spec, encoded.gallery.manifest.encoder.spec


def _require_distinct(encoded: EncodedBenchmark, encoder: Encoder, systems: Sequence[SystemResult]) -> None:
    """Raises BenchmarkError where a system would be measured twice."""
    if any(system.gallery == encoded.gallery.path for system in systems):
        raise BenchmarkError(f"{encoder.identity.spec} is the same encoder as one named before")


def load_chosen(
    benchmark: str, images: _Path, annotations: _Path | None, options: EvaluateOptions | BudgetOptions
) -> Benchmark:
    """What the options choose of a benchmark. Raises BenchmarkError."""
    return load_benchmark(
        benchmark,
        images=located(images),
        annotations=None if annotations is None else located(annotations),
        split=options.split,
        split_file=options.split_file,
        captions_per_image=options.captions_per_image,
        allow_missing=options.allow_missing,
        columns=options.columns,
    )


def make_title(benchmark: Benchmark, encoded: EncodedBenchmark, templates: Sequence[str] = ()) -> str:
    """What was evaluated, with its counts and what is missing of it."""
    split = f", split {benchmark.split}" if benchmark.split else ""
    title = f"{benchmark.name}{split}: {len(encoded.images):,} images, {len(encoded.captions):,} captions"
    absent = benchmark.problem("missing_image").count + benchmark.problem("not_annotated").count
    if absent:
        title += f"; {absent:,} MISSING IMAGES LEFT OUT"
    if encoded.unreadable:
        title += f"; {len(encoded.unreadable):,} UNREADABLE IMAGES LEFT OUT"
    if templates:
        title += f"; {len(templates)} template{'s' if len(templates) > 1 else ''}: {templates[0]!r}"
        title += f", … {templates[-1]!r}" if len(templates) > 1 else ""
    return title


def find_departures(benchmark: Benchmark, encoded: EncodedBenchmark, options: EvaluateOptions) -> tuple[str, ...]:
    """What keeps the figures from comparing with the published ones."""
    name = benchmark.name
    if name not in OFFICIAL_TEST:
        return ()
    departures = []
    if benchmark.split is None and len(encoded.images) != OFFICIAL_TEST[name]:
        departures.append("not the test split")
    elif benchmark.split not in (None, "test"):
        departures.append(f"the split {benchmark.split}, not test")
    expected = f"{OFFICIAL_TEST[name]:,} images and {OFFICIAL_CAPTIONS[name]:,} captions"
    if (len(encoded.images), len(encoded.captions)) != (OFFICIAL_TEST[name], OFFICIAL_CAPTIONS[name]):
        departures.append(
            f"{len(encoded.images):,} images and {len(encoded.captions):,} captions instead of {expected}"
        )
    if benchmark.problem("unlike_official").count:
        departures.append(str(benchmark.problem("unlike_official")))
    if options.templates:
        departures.append("captions in templates")
    if options.precision != "fp32":
        departures.append(f"computed in {options.precision}")
    return tuple(departures)
