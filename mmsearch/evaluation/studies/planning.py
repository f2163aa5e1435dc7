"""Plans a study: which cells there are, and which of them are done."""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmsearch.benchmarks import Benchmark, load_benchmark
from mmsearch.encoders import canonical_spec
from mmsearch.encoders.specs import OWN_PREFIXES, CheckpointFile, LocalModel, parse_spec, require_files
from mmsearch.errors import MmsearchError
from mmsearch.evaluation.studies.cell_files import FORMAT, find_cell
from mmsearch.evaluation.studies.records import (
    CellState,
    PlannedCell,
    Study,
    StudyBenchmark,
    StudyPlan,
    StudyVariant,
)
from mmsearch.locations import Location, expanded, located
from mmsearch.sources import MEMBER, ColumnNames

__all__ = ["plan_study"]


def plan_study(study: Study, *, fresh: bool = False, announce: Callable[[str], None] = lambda _: None) -> StudyPlan:
    """All cells of a study, and which are done; annotations are read for it, and no model is loaded.

    A cell is done where the same was measured before: the same model (its files, where it is a folder), names, texts
    and relevance, images of the same sizes and times, options and number of images. fresh: none is done. What cannot
    be read has failed, and says why.
    """
    loaded: dict[str, Benchmark] = {}
    contents: dict[str, str] = {}
    unreadable: dict[str, str] = {}
    for benchmark in study.benchmarks:
        try:
            whole = _load(benchmark)
        except MmsearchError as error:
            unreadable[benchmark.name] = str(error)
            announce(f"{benchmark.name} cannot be measured: {error}")
            continue
        loaded[benchmark.name] = _first_images(whole, study.limit)
        contents[benchmark.name] = _digest_benchmark(loaded[benchmark.name])
    cells = []
    for model in study.models:
        try:
            identity, why = _digest_model(model.spec), ""
        except MmsearchError as error:
            identity, why = "", str(error)
            announce(f"{model.name} cannot be opened: {error}")
        for variant in study.variants:
            for benchmark in study.benchmarks:
                if reason := why or unreadable.get(benchmark.name, ""):
                    cells.append(PlannedCell(model, variant, benchmark, "", "failed", reason))
                    continue
                measured = _key(identity, contents[benchmark.name], benchmark, variant, study.limit)
                # What was measured is one thing and what it is called another: a name that is changed costs nothing,
                # and what stands in a study under two names has two files, so that each is there to be joined.
                key = f"{measured}-{_digest([model.name, variant.name, benchmark.name])[:8]}"
                kept = None if fresh else find_cell(study.out, key, measured)
                state: CellState = "to do" if kept is None else "done"
                kept_as = "" if kept in (None, key) else str(kept)
                cells.append(PlannedCell(model, variant, benchmark, key, state, kept_as=kept_as))
    return StudyPlan(study, tuple(cells), loaded)


def _load(benchmark: StudyBenchmark) -> Benchmark:
    return load_benchmark(
        benchmark.benchmark,
        images=located(benchmark.images),
        annotations=None if benchmark.annotations is None else located(benchmark.annotations),
        split=benchmark.split,
        split_file=benchmark.split_file,
        captions_per_image=benchmark.captions_per_image,
        allow_missing=benchmark.allow_missing,
        columns=ColumnNames(benchmark.image_column, benchmark.caption_columns),
        language=benchmark.language,
    )


def _first_images(benchmark: Benchmark, limit: int | None) -> Benchmark:
    """The first so many images of a benchmark, with their captions."""
    if limit is None or len(benchmark.images) <= limit:
        return benchmark
    is_kept = benchmark.caption_image < limit
    return replace(
        benchmark,
        images=benchmark.images[:limit],
        captions=tuple(caption for caption, kept in zip(benchmark.captions, is_kept.tolist(), strict=True) if kept),
        caption_image=benchmark.caption_image[is_kept],
        caption_keys=tuple(key for key, kept in zip(benchmark.caption_keys, is_kept.tolist(), strict=True) if kept),
    )


def _key(model: str, content: str, benchmark: StudyBenchmark, variant: StudyVariant, limit: int | None) -> str:
    options = [
        benchmark.benchmark,
        benchmark.allow_missing,
        variant.templates,
        variant.precision,
        variant.preprocessing,
    ]
    return _digest([FORMAT, model, content, options, limit])[:32]


def _digest_model(spec: str) -> str:
    """What tells whether a model is the same: its spec, and the files of one that lies here. Raises EncoderError."""
    canonical = canonical_spec(spec)
    prefix, _, rest = canonical.partition(":")
    folder, files = expanded(rest), list[Path]()  # of a provider: a folder, or the name of something elsewhere
    if not rest or prefix in OWN_PREFIXES:
        parsed = parse_spec(canonical)
        require_files(parsed)
        folder = parsed.folder if isinstance(parsed, LocalModel) else Path()
        files = [parsed.file] if isinstance(parsed, CheckpointFile) else []
    if folder.name and folder.is_dir():
        files = sorted(file for file in folder.iterdir() if file.is_file())
    return _digest([canonical, [_state(file) for file in files]])


def _digest_benchmark(benchmark: Benchmark) -> str:
    files = dict.fromkeys(name.partition(MEMBER)[0] for name in benchmark.images)
    states = {file: _state(benchmark.root / file) for file in files}
    images = [(name, *states[name.partition(MEMBER)[0]]) for name in benchmark.images]
    return _digest([images, benchmark.captions, benchmark.caption_image.tolist()])


def _state(file: Location) -> tuple[str, int, int]:
    """The name, size and time of a file; of an object in a store, which would have to be asked for each, the name."""
    try:
        status = os.stat(file)  # noqa: PTH116 - thousands of them: Path.stat takes twice as long
    except OSError:
        return file.name, -1, -1
    return file.name, status.st_size, status.st_mtime_ns


def _digest(document: Any) -> str:
    text = json.dumps(document, ensure_ascii=True).encode("ascii")
    return hashlib.blake2b(text, digest_size=16).hexdigest()
