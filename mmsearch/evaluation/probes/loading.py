"""A probe's files become examples."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from mmsearch.benchmarks.image_folder import ImageFolder
from mmsearch.benchmarks.model import DraftImage
from mmsearch.encoders.prompts import templates_named
from mmsearch.errors import BenchmarkError
from mmsearch.evaluation.probes.catalogue import PROBES, Names, Probe
from mmsearch.evaluation.probes.entries import Entry
from mmsearch.evaluation.probes.records import ProbeCase, ProbeData, ProbePicture
from mmsearch.locations import expanded

__all__ = ["load_probe"]

_SHOWN = 5


def load_probe(
    name: str,
    *,
    images: str | os.PathLike[str] | None,
    annotations: str | os.PathLike[str] | None,
    allow_missing: bool = False,
) -> ProbeData:
    """The examples of a probe. images: the folder of its pictures, by default where the annotations stand.
    annotations: a file, or a folder of them; by default the images. Raises BenchmarkError, which names file and line.
    """
    if name not in PROBES:
        raise BenchmarkError(f"there is no probe {name!r}; there are {', '.join(PROBES)}")
    if images is None and annotations is None:
        raise BenchmarkError(f"{name}: give the folder of its images, or its annotations")
    probe = PROBES[name]
    given = _absolute(annotations if annotations is not None else images)
    folder = _absolute(images) if images is not None else given if given.is_dir() else given.parent
    if not given.exists():
        raise BenchmarkError(f"annotations: there is no file or folder {given}")
    cases, missing, unwanted = _read_cases(probe, given, ImageFolder(folder))
    if missing and not (allow_missing and cases):
        raise BenchmarkError(
            f"{len(missing):,} examples have a picture that is not in {folder}: {'; '.join(missing[:_SHOWN])}. "
            "Name the folder that holds them, or go on without these examples with --allow-missing; the figures are "
            "then not comparable with published ones"
        )
    if not cases:
        raise BenchmarkError(f"{given}: no example that counts{f': {probe.left_out}' if unwanted else ''}")
    left_out = [f"{unwanted:,} examples left out: {probe.left_out}"] if unwanted else []
    left_out += [f"{len(missing):,} EXAMPLES LEFT OUT whose pictures are missing"] if missing else []
    pictures = len({picture for case in cases for picture in case.pictures})
    return ProbeData(
        name=name,
        title=f"{name} ({probe.paper}): {len(cases):,} examples, {pictures:,} pictures",
        source=str(given),
        cases=_without_lone_subset(cases),
        figures=probe.figures,
        set_figures=probe.set_figures,
        templates=templates_named(probe.templates)[: probe.templates_used],
        macro_least=probe.macro_least,
        left_out=tuple(left_out),
    )


def _absolute(path: str | os.PathLike[str] | None) -> Path:
    assert path is not None
    return Path(os.path.abspath(expanded(path)))  # noqa: PTH100 - resolve() would follow links


def _read_cases(probe: Probe, annotations: Path, folder: ImageFolder) -> tuple[list[ProbeCase], list[str], int]:
    """The examples, what is missing of them, and how many do not count."""
    cases: list[ProbeCase] = []
    missing: list[str] = []
    unwanted = 0
    for entry in probe.entries(annotations):
        if not probe.keep(entry):
            unwanted += 1
            continue
        texts = tuple(probe.texts(entry))
        if len(texts) < 2 or not all(isinstance(text, str) and text.strip() for text in texts):
            raise entry.fail(f"{list(texts)!r:.120}: not two texts or more")
        try:
            pictures = tuple(_find_pictures(probe, entry, folder))
        except _MissingPicture as absent:
            missing.append(f"{entry.file.name}, {entry.where}: {absent}")
            continue
        sets = {name: key for name, of in probe.sets.items() if (key := of(entry)) is not None}
        cases.append(ProbeCase(f"{entry.file.name}, {entry.where}", pictures, texts, probe.subset(entry), sets))
    return cases, missing, unwanted


class _MissingPicture(Exception):
    """Its name."""


def _find_pictures(probe: Probe, entry: Entry, folder: ImageFolder) -> Iterator[ProbePicture]:
    box = probe.box(entry) if probe.box else None
    for names in probe.pictures(entry):
        if not names:
            name = f"{entry.file.name} row {entry.number + 1:,}"
            yield ProbePicture(name, str(entry.file), row=entry.number, box=box)
        else:
            name = _find_one(names, folder)
            yield ProbePicture(name, str(folder.root / name), box=box)


def _find_one(names: Names, folder: ImageFolder) -> str:
    for name in names:
        if (found := folder.find(DraftImage(name, "", ()))) is not None:
            return found
    raise _MissingPicture(names[0])


def _without_lone_subset(cases: Sequence[ProbeCase]) -> tuple[ProbeCase, ...]:
    """Without subsets where there is only one: it would say twice what is said of all."""
    if len(Counter(case.subset for case in cases)) > 1:
        return tuple(cases)
    return tuple(replace(case, subset="") for case in cases)
