"""Runs a study: model by model, each opened once, and every cell written as soon as it is measured."""

import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import filelock

from mmsearch.encoders import Encoder
from mmsearch.encoders.costs import EncoderCosts
from mmsearch.encoders.prompts import templates_named
from mmsearch.errors import BenchmarkError, MmsearchError, StoreError
from mmsearch.evaluation.benchmark_encoding import OnCluster, encode_benchmark, open_encoder
from mmsearch.evaluation.benchmark_run import find_departures, make_title
from mmsearch.evaluation.measuring import describe_hardware, find_versions, hash_items
from mmsearch.evaluation.records import EvaluateOptions
from mmsearch.evaluation.studies.cell_files import cell_file, read_cell, write_cell
from mmsearch.evaluation.studies.planning import plan_study
from mmsearch.evaluation.studies.records import (
    CellResult,
    PlannedCell,
    Study,
    StudyFailure,
    StudyPlan,
    StudyReport,
)
from mmsearch.evaluation.studies.tabulating import tabulate
from mmsearch.metrics import rank_both
from mmsearch.progress import Progress, ProgressCallback, quiet

__all__ = ["run_study"]


def run_study(
    study: Study,
    *,
    fresh: bool = False,
    progress: ProgressCallback = quiet,
    announce: Callable[[str], None] = lambda _: None,
) -> StudyReport:
    """Measure every cell of a study that is not done, and tabulate all.

    Each cell is written to `study.out` when it is measured: a run that ends in any way is continued by the next. What
    cannot be measured (a model that does not open, images that do not decode, a device out of memory) is among the
    report's failures, and the rest goes on. fresh: measure all again, and encode all anew. Raises BenchmarkError where
    another process runs a study in the same folder, StoreError.
    """
    with _locked(study.out):
        plan = plan_study(study, fresh=fresh, announce=announce)
        counts = f"{plan.count('done')} done before, {plan.count('to do')} to do"
        announce(f"{study.name}: {len(plan.cells)} cells (models x benchmarks x options): {counts}")
        _rename(plan)
        failures = [_failure(cell, cell.reason) for cell in plan.cells if cell.state == "failed"]
        run = _Run(plan, fresh, progress, announce)
        for _, cells in groupby(plan.cells, key=lambda cell: (cell.model.name, cell.variant.precision)):
            failures += run.measure([cell for cell in cells if cell.state == "to do"])
        measured = [cell.key for cell in plan.cells if cell.key and cell.key not in run.failed]
        results = [result for key in measured if (result := read_cell(cell_file(study.out, key))) is not None]
        report = tabulate(study.name, results, study.ks, study.limit)
    failures += report.failures
    return replace(report, failures=tuple(failures), done=run.done, skipped=plan.count("done"))


def _rename(plan: StudyPlan) -> None:
    """Give what was measured under other names its own. The old ones go, unless they are in use. Raises StoreError."""
    for cell in plan.cells:
        if cell.kept_as:
            kept = read_cell(cell_file(plan.study.out, cell.kept_as))
            if kept is not None:
                model, variant, benchmark = cell.model.name, cell.variant.name, cell.benchmark.name
                renamed = replace(kept, key=cell.key, model=model, variant=variant, benchmark=benchmark)
                write_cell(renamed, plan.study.out)
    for key in {cell.kept_as for cell in plan.cells} - {cell.key for cell in plan.cells} - {""}:
        with suppress(OSError):
            cell_file(plan.study.out, key).unlink()


class _Run:
    """A run of a plan. done: how many cells were measured. failed: the keys of those that could not be."""

    def __init__(
        self, plan: StudyPlan, fresh: bool, progress: ProgressCallback, announce: Callable[[str], None]
    ) -> None:
        self._plan, self._fresh, self._progress, self._announce = plan, fresh, progress, announce
        self._total = plan.count("to do")
        self._begun = 0
        self.done = 0
        self.failed: set[str] = set()

    def measure(self, cells: list[PlannedCell]) -> Iterator[StudyFailure]:
        """Measure the cells of one model in one precision; yields those that could not be."""
        if not cells:
            return
        first = cells[0]
        with self._going_on() as reasons:
            device, precision = self._plan.study.device, first.variant.precision
            encoder = open_encoder(first.model.spec, device, precision, self._announce)
            costs = _measure_costs(encoder, self._announce)
        if reasons:
            self._announce(f"{first.model.name} cannot be opened: {reasons[0]}")
            yield from (self._fail(cell, reasons[0]) for cell in cells)
            return
        for cell in cells:
            self._begun += 1
            named = f"{self._plan.study.system_name(cell.model, cell.variant)} on {cell.benchmark.name}"
            self._announce(f"{self._begun} of {self._total}: {named}")
            with self._going_on() as reasons:
                write_cell(self._measure_cell(cell, encoder, costs), self._plan.study.out)
                self.done += 1
            if reasons:
                self._announce(f"{named} cannot be measured: {reasons[0]}")
                yield self._fail(cell, reasons[0])

    def _fail(self, cell: PlannedCell, reason: str) -> StudyFailure:
        self.failed.add(cell.key)
        return _failure(cell, reason)

    @contextmanager
    def _going_on(self) -> Iterator[list[str]]:
        """What goes wrong inside is a reason, and not the end of a night's work; a full disk is."""
        reasons: list[str] = []
        try:
            yield reasons
        except StoreError:
            raise
        except MmsearchError as error:
            reasons.append(str(error))
        except Exception as error:  # noqa: BLE001 - of one model: its traceback is told, and the others go on
            for line in traceback.format_exc().splitlines():
                self._announce(line)
            reasons.append(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")

    def _measure_cell(self, cell: PlannedCell, encoder: Encoder, costs: EncoderCosts | None) -> CellResult:
        study, benchmark = self._plan.study, self._plan.loaded[cell.benchmark.name]
        variant = cell.variant
        templates = templates_named(variant.templates)
        started = time.monotonic()
        encoded = encode_benchmark(
            benchmark,
            encoder,
            templates=templates,
            product=variant.preprocessing == "product",
            allow_missing=cell.benchmark.allow_missing,
            fresh=self._fresh,
            cluster=OnCluster(study.ray, study.device, self._announce) if study.ray else None,
            progress=self._progress,
        )
        seconds = time.monotonic() - started
        items = encoded.items
        text_to_image, image_to_text = rank_both(
            encoded.captions,
            encoded.images,
            items.images_of_caption,
            items.captions_of_image,
            depth=1,
            progress=lambda done, total: self._progress(Progress("ranking", done, total)),
        )
        assert text_to_image is not None
        assert image_to_text is not None
        options = EvaluateOptions(templates=variant.templates, precision=encoder.precision)
        return CellResult(
            key=cell.key,
            model=cell.model.name,
            benchmark=cell.benchmark.name,
            variant=variant.name,
            title=make_title(benchmark, encoded),
            benchmark_hash=hash_items(items),
            limit=study.limit,
            encoder=encoder.identity,
            device=encoder.device,
            precision=encoder.precision,
            preprocessing=variant.preprocessing,
            templates=templates,
            ranks={"text_to_image": text_to_image.bounds.ranks, "image_to_text": image_to_text.bounds.ranks},
            image_of_caption=items.image_of_caption,
            n_images=len(items.images),
            tied_queries={
                "text_to_image": text_to_image.bounds.tied_queries,
                "image_to_text": image_to_text.bounds.tied_queries,
            },
            truncated=encoded.truncated,
            departures=find_departures(benchmark, encoded, options),
            problems=tuple(str(problem) for problem in benchmark.problems),
            costs=costs,
            encode_seconds=seconds,
            measured_at=time.time(),
            versions=find_versions(),
            hardware=describe_hardware(),
        )


def _measure_costs(encoder: Encoder, announce: Callable[[str], None]) -> EncoderCosts | None:
    """What the encoder costs; None where that cannot be measured, which is no reason to leave its figures out."""
    from mmsearch.encoders.measuring_costs import measure_costs  # loads torch

    try:
        return measure_costs(encoder)
    except Exception as error:  # noqa: BLE001 - whatever watching a stranger's model raises
        announce(f"what {encoder.identity.spec} costs cannot be measured: {type(error).__name__}: {error}")
        return None


def _failure(cell: PlannedCell, reason: str) -> StudyFailure:
    return StudyFailure(cell.model.name, cell.benchmark.name, cell.variant.name, reason)


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """One run at a time in a folder. Raises BenchmarkError, StoreError."""
    lock = filelock.FileLock(out / "lock", timeout=0)
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout:
        raise BenchmarkError(f"another process runs a study in {out}; wait for it, or name another folder") from None
    except OSError as error:
        raise StoreError(f"the folder {out} cannot be used: {error.strerror or error}") from error
    try:
        yield
    finally:
        lock.release()
