"""`evaluate_budget`: where recall is lost between a benchmark and what a query is answered by."""

import os
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.ann import Effort, open_index, training_rows_needed
from mmsearch.benchmarks import Benchmark
from mmsearch.encoders import Encoder
from mmsearch.errors import AnnIndexError, FilterError
from mmsearch.evaluation.benchmark_encoding import (
    EncodedBenchmark,
    encode_benchmark,
    open_encoder,
    require_same_images,
    store_as_product,
)
from mmsearch.evaluation.benchmark_run import load_chosen, make_title
from mmsearch.evaluation.budget_records import BudgetOptions, BudgetReport, BudgetStage, RecallChange, StageName
from mmsearch.evaluation.cross_correction import CrossCorrection
from mmsearch.evaluation.measuring import MEAN_RECALL_KS, describe_hardware, find_versions, hash_items
from mmsearch.evaluation.staged_search import StagedSearch, TunedIndex
from mmsearch.gallery import Gallery
from mmsearch.gallery.tables import schema
from mmsearch.indexing import IndexOptions, index
from mmsearch.items import CAPTIONS, IMAGES, kind
from mmsearch.metrics import Difference, Direction, Ids, differences, mean_difference
from mmsearch.progress import Progress, ProgressCallback, quiet

if TYPE_CHECKING:
    from mmsearch.filters import RowFilter

__all__ = ["evaluate_budget"]

_Path = str | os.PathLike[str]
_TABLES: dict[Direction, str] = {"text_to_image": IMAGES.name, "image_to_text": CAPTIONS.name}
"""What each direction searches."""


def evaluate_budget(
    benchmark: str = "custom",
    *,
    images: _Path,
    annotations: _Path | None = None,
    encoder: str | Encoder | None = None,
    options: BudgetOptions | None = None,
    progress: ProgressCallback = quiet,
    announce: Callable[[str], None] = lambda _: None,
) -> BudgetReport:
    """Measure where recall is lost, stage by stage: between a benchmark, exact and fp32, and what a query gets.

    benchmark, images, annotations: as of `evaluate`. encoder: a spec or an encoder, by default `DEFAULT_MODEL`. Each
    stage is measured given those before it, and alone, on the same queries. Raises BenchmarkError, EncoderError,
    AnnIndexError, FilterError, GalleryBusy, StoreError.
    """
    options = options or BudgetOptions()
    loaded = load_chosen(benchmark, images, annotations, options)
    opened = open_encoder(encoder, options.device, options.precision, announce)
    run = _BudgetRun(loaded, opened, options, progress)
    return run.make_report()


class _BudgetRun:
    """One benchmark, encoded in both ways, stored and indexed as the product does it."""

    def __init__(self, loaded: Benchmark, encoder: Encoder, options: BudgetOptions, progress: ProgressCallback) -> None:
        self.loaded, self.encoder, self.options, self.progress = loaded, encoder, options, progress
        self.filters, self.filter_problems = _open_filters(options.where, encoder.identity.dim)
        _require_enough(loaded, options.factory, encoder.identity.dim)
        self.reference = self._encode(product=False)
        product = self._encode(product=True)
        require_same_images(self.reference, product)
        self.depth = max(*options.ks, *MEAN_RECALL_KS)
        gallery = store_as_product(product, self.reference, loaded.root, fresh=options.fresh)
        self.indexes = {direction: self._index(gallery, table) for direction, table in _TABLES.items()}
        self.admitted = {
            direction: _find_admitted(gallery, _TABLES[direction], row_filter)
            for direction, row_filter in self.filters.items()
        }
        self.search = StagedSearch(self.reference, product, self.indexes, self.admitted, self.depth)
        self._ranks: dict[frozenset[StageName], dict[Direction, Ids]] = {}

    def make_report(self) -> BudgetReport:
        names = self._stage_names()
        on: frozenset[StageName] = frozenset()
        stages = []
        for number, name in enumerate(names):
            self.progress(Progress("stages", number, len(names)))
            step = self._compare(on, on | {name})
            alone = step if not on else self._compare(frozenset(), {name})
            on |= {name}
            stages.append(BudgetStage(name, self._describe(name, on), step, alone))
        self.progress(Progress("stages", len(names), len(names)))
        costliest, verdict = judge_stages(stages)
        items, encoded, loaded = self.reference.items, self.reference, self.loaded
        return BudgetReport(
            benchmark=loaded.name,
            title=make_title(loaded, encoded),
            split=loaded.split,
            source=loaded.source,
            images=len(items.images),
            captions=len(items.captions),
            queries={
                "text_to_image": (len(items.query_captions), len(items.images)),
                "image_to_text": (len(items.query_images), len(items.captions)),
            },
            encoder=self.encoder.identity,
            device=self.encoder.device,
            precision=self.encoder.precision,
            stages=tuple(stages),
            whole=self._compare(frozenset(), on),
            costliest=costliest,
            verdict=verdict,
            where=self.options.where,
            unreadable=encoded.unreadable,
            problems=(*map(str, loaded.problems), *self.filter_problems, *self._effort_problems()),
            benchmark_hash=hash_items(items),
            versions=find_versions(),
            hardware=describe_hardware(),
        )

    def _encode(self, *, product: bool) -> EncodedBenchmark:
        return encode_benchmark(
            self.loaded,
            self.encoder,
            templates=(),
            product=product,
            allow_missing=self.options.allow_missing,
            texts=self.reference if product else None,
            fresh=self.options.fresh,
            progress=self.progress,
        )

    def _index(self, gallery: Gallery, table: str) -> TunedIndex:
        """The index of a table, which `index` builds and tunes, opened."""
        index_options = IndexOptions(factory=self.options.factory, k=self.depth, encoder=self.encoder)
        index(gallery.path, table=table, options=index_options, progress=self.progress)
        newest = gallery.newest()
        entry = newest.index_for(table)
        assert entry is not None
        own = newest.manifest.encoder
        side = kind(entry.table).side
        ann = open_index(newest.index_folder(entry.name), fingerprint=own.of_side(side), dim=own.dim, entry=entry)
        tuned, asked = ann.record.effort, self.options.effort
        effort = Effort(
            asked.nprobe if asked.nprobe and tuned.nprobe else tuned.nprobe,
            asked.ef_search if asked.ef_search and tuned.ef_search else tuned.ef_search,
            asked.k_factor if asked.k_factor and tuned.k_factor else tuned.k_factor,
        )
        return TunedIndex(ann, effort, index_options.seed)

    def _effort_problems(self) -> list[str]:
        """Which settings were asked for that an index does not have."""
        asked = {name: value for name, value in asdict(self.options.effort).items() if value is not None}
        return [
            f"the index {tuned.ann.record.factory} of {_TABLES[direction]} has no {name}: what was asked is left out"
            for direction, tuned in self.indexes.items()
            for name in asked
            if getattr(tuned.effort, name) is None
        ]

    def _stage_names(self) -> list[StageName]:
        names: list[StageName] = ["preprocessing", "float16", "codes", "effort", "filter", "correction"]
        return [name for name in names if name != "filter" or self.options.where is not None]

    def _describe(self, stage: StageName, on: Set[StageName]) -> dict[Direction, str]:
        """What of a stage was measured with these stages on, in words, for each direction."""
        return {direction: self._describe_direction(stage, on, direction) for direction in _TABLES}

    def _describe_direction(self, stage: StageName, on: Set[StageName], direction: Direction) -> str:
        index_words = _describe_index(self.indexes[direction])
        if stage in ("codes", "effort"):
            return index_words[stage]
        if stage == "correction":
            return _describe_correction(self.search.correction(direction, on))
        if stage == "filter":
            if direction not in self.admitted:
                return "none: it is no filter of these"
            total = self.reference.items.captions if direction == "image_to_text" else self.reference.items.images
            return f"{len(self.admitted[direction]):,} of {len(total):,} are admitted"
        return {"preprocessing": "pictures as embed prepares them", "float16": "stored as embed stores"}[stage]

    def _compare(self, first: Set[StageName], second: Set[StageName]) -> RecallChange:
        """Second minus first, in both directions."""
        items = self.reference.items
        images: dict[Direction, Ids] = {
            "text_to_image": items.image_of_caption,
            "image_to_text": items.query_images,
        }
        changes: dict[Direction, dict[str, Difference]] = {}
        groups = []
        for direction, image_of_query in images.items():
            before, after = (
                {
                    f"R@{k}": (self._ranks_of(on)[direction] <= k).astype(np.float64)
                    for k in sorted({*self.options.ks, *MEAN_RECALL_KS})
                }
                for on in (frozenset(first), frozenset(second))
            )
            asked = [f"R@{k}" for k in self.options.ks]
            changes[direction] = differences(
                {name: before[name] for name in asked},
                {name: after[name] for name in asked},
                image_of_query,
                len(items.images),
            )
            usual = [f"R@{k}" for k in MEAN_RECALL_KS]
            groups.append(
                ({name: before[name] for name in usual}, {name: after[name] for name in usual}, image_of_query)
            )
        return RecallChange(changes, mean_difference(groups, len(items.images)))

    def _ranks_of(self, on: frozenset[StageName]) -> dict[Direction, Ids]:
        if on not in self._ranks:
            self._ranks[on] = {direction: self.search.ranks(direction, on) for direction in _TABLES}
        return self._ranks[on]


def _require_enough(loaded: Benchmark, factory: str | None, dim: int) -> None:
    """Raises AnnIndexError, before anything is encoded, for an index that cannot be built of so few items."""
    if factory is None:
        return
    needed = training_rows_needed(factory, dim)
    for noun, count in ((IMAGES.name, len(loaded.images)), (CAPTIONS.name, len(loaded.captions))):
        if count < needed:
            raise AnnIndexError(
                f"the index {factory!r} needs at least {needed:,} vectors to be trained, and the benchmark has "
                f'{count:,} {noun}: choose one with fewer lists or codes, or "Flat"'
            )


def _describe_index(tuned: TunedIndex) -> dict[StageName, str]:
    """Both stages of an index in words."""
    factory, effort = tuned.ann.record.factory, tuned.effort
    searched = ", every list" if effort.nprobe else ", the whole graph" if effort.ef_search else ""
    again = f", {effort.k_factor} candidates a hit scored again" if effort.k_factor else ""
    named = {"nprobe": effort.nprobe, "ef_search": effort.ef_search}
    looked_at = ", ".join(f"{name} {value}" for name, value in named.items() if value is not None)
    return {"codes": f"{factory}{searched}{again}", "effort": looked_at or "nothing to set: all is looked at"}


def _describe_correction(correction: CrossCorrection) -> str:
    if correction.trial is None:
        return "none: too few pictures to choose it by"
    if not correction.trial.helps:
        return "none: that it helps was not seen"
    settings = dict.fromkeys(correction.settings)
    return "for hubs, " + " and ".join(f"alpha {setting.alpha:g}, k {setting.k}" for setting in settings)


def _open_filters(where: str | None, dim: int) -> tuple[dict[Direction, "RowFilter"], tuple[str, ...]]:
    """The filter of what each direction searches; and where it is none, the reason.

    Raises FilterError where it is no filter of anything that is searched.
    """
    if where is None:
        return {}, ()
    from mmsearch.filters import RowFilter  # DuckDB is loaded only where it is asked for

    filters: dict[Direction, RowFilter] = {}
    refusals: list[tuple[Direction, FilterError]] = []
    for direction, table in _TABLES.items():
        columns = [field for field in schema(table, dim, "float16") if field.name != "embedding"]
        try:
            filters[direction] = RowFilter(where, columns)
        except FilterError as error:
            refusals.append((direction, error))
    if not filters:
        raise refusals[0][1]
    return filters, tuple(f"{direction} is measured without the filter: {error}" for direction, error in refusals)


def _find_admitted(gallery: Gallery, table: str, row_filter: "RowFilter") -> Ids:
    """The positions that a filter admits, ascending."""
    pieces = [row_filter.row_ids(rows) for rows in gallery.scan(table, row_filter.columns)]
    return np.sort(np.concatenate([np.empty(0, np.int64), *pieces]))


def judge_stages(stages: Sequence[BudgetStage]) -> tuple[StageName | None, str]:
    """The stage at which most is lost, None where nothing measurable is, and that in words.

    Mean recall decides, one figure a stage: among many figures, some interval lies below zero by chance. Where none of
    mean recall does, a single figure is named as what it is.
    """
    losing = [stage for stage in stages if stage.step.mean_recall.interval.high < 0]
    gaining = [stage for stage in stages if stage.step.mean_recall.interval.low > 0]
    gains = "".join(
        f" {_NAMED[stage.name]} wins {_points(stage.step.mean_recall, sign=1)}.".replace(" t", " T", 1)
        for stage in gaining
    )
    if losing:
        worst = min(losing, key=lambda stage: stage.step.mean_recall.value)
        others = [_NAMED[stage.name] for stage in losing if stage is not worst]
        also = f" Something measurable is lost at {' and '.join(others)} too." if others else ""
        lost = _points(worst.step.mean_recall, sign=-1)
        return worst.name, f"Most is lost at {_NAMED[worst.name]}: {lost} of mean recall.{also}{gains}"
    single = [
        (difference.value, stage, f"{direction} {name}", difference)
        for stage in stages
        for direction, figures in stage.step.recall.items()
        for name, difference in figures.items()
        if difference.interval.high < 0
    ]
    if not single:
        return None, f"Nothing measurable is lost: no stage has an interval below zero.{gains}"
    _, stage, figure, difference = min(single, key=lambda each: each[0])
    return stage.name, (
        f"Of mean recall nothing measurable is lost; of single figures most at {_NAMED[stage.name]}: "
        f"{_points(difference, sign=-1)} of {figure}.{gains}"
    )


_NAMED: Mapping[StageName, str] = {
    "preprocessing": "the preprocessing",
    "float16": "the storage in float16",
    "codes": "the codes of the index",
    "effort": "the effort of the index",
    "filter": "the filter",
    "correction": "the correction",
}


def _points(difference: Difference, *, sign: int) -> str:
    ends = sorted(100 * sign * end for end in (difference.interval.low, difference.interval.high))
    return f"{100 * sign * difference.value:.2f} points ({ends[0]:.2f} to {ends[1]:.2f})"
