"""Measures probes: what a model cannot do."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from mmsearch.encoders import Encoder
from mmsearch.errors import BenchmarkError
from mmsearch.evaluation.benchmark_encoding import encode_texts, open_encoder
from mmsearch.evaluation.measuring import describe_hardware, find_versions
from mmsearch.evaluation.probes.loading import load_probe
from mmsearch.evaluation.probes.pictures import encode_pictures
from mmsearch.evaluation.probes.records import (
    ProbeCase,
    ProbeComparison,
    ProbeData,
    ProbeFailure,
    ProbeOptions,
    ProbeReport,
    ProbeSystem,
)
from mmsearch.evaluation.probes.scoring import (
    Credits,
    Floats,
    ProbeVectors,
    all_results,
    judge,
    picture_groups,
)
from mmsearch.metrics import Ids, differences
from mmsearch.progress import ProgressCallback, quiet

__all__ = ["evaluate_probe", "measure_probe"]

_FAILURES = 24
_FAILURES_OF_SUBSET = 6
_PROTOCOL = (
    "An example is right where every comparison of its figure holds; scores are cosines (float64 products of float32 "
    "vectors). Ties: strict counts an example on which one decides as wrong, lenient as right, half as one half. "
    "Intervals are the middle 95 % of 2,000 bootstrap samples (seed 0) that draw groups of examples: those that share "
    "a picture are one group; where all or none is right it is Wilson's. chance: scores in random order. Blind "
    "baselines, at half credit: 'average picture' puts the mean vector of all pictures in the place of each, so that "
    "the texts alone decide; 'shorter text' takes the text with fewer characters. Where they are far from chance the "
    "texts give answers away, whoever reads them. (Two pictures that share their texts never get both right by texts "
    "alone: there a blind baseline is 0, or one half where pictures are what is chosen.) Pictures go through the "
    "checkpoint's own transform."
)


def evaluate_probe(
    name: str,
    *,
    images: str | os.PathLike[str] | None = None,
    annotations: str | os.PathLike[str] | None = None,
    encoder: str | Encoder | Sequence[str | Encoder] | None = None,
    options: ProbeOptions | None = None,
    progress: ProgressCallback = quiet,
    announce: Callable[[str], None] = lambda _: None,
) -> ProbeReport:
    """Measure a probe by name: sugarcrepe, winoground, … (`mmsearch.evaluation.PROBES`).

    images: the folder of its pictures; annotations: its file, or a folder of files; each is by default where the other
    is. encoder: several are compared with the first. Raises BenchmarkError, EncoderError, StoreError.
    """
    options = options or ProbeOptions()
    data = load_probe(name, images=images, annotations=annotations, allow_missing=options.allow_missing)
    models = encoder if isinstance(encoder, Sequence) and not isinstance(encoder, str) else [encoder]
    return measure_probe(data, models, options, progress, announce)


def measure_probe(
    data: ProbeData,
    models: Sequence[str | Encoder | None],
    options: ProbeOptions,
    progress: ProgressCallback,
    announce: Callable[[str], None],
) -> ProbeReport:
    """Measure examples with encoders; the later ones are compared with the first."""
    systems: list[ProbeSystem] = []
    comparisons: list[ProbeComparison] = []
    first: tuple[dict[str, Credits], tuple[ProbeCase, ...]] | None = None
    for model in models:
        encoder = open_encoder(model, options.device, options.precision, announce)
        if any(encoder.identity.fingerprint == system.encoder.fingerprint for system in systems):
            raise BenchmarkError(f"{encoder.identity.spec} is the same encoder as one named before")
        cases, vectors, unreadable, truncated = _encode(data, encoder, options, progress)
        groups = picture_groups(cases)
        credits_of = {figure.name: judge(figure, vectors) for figure in data.figures}
        results = all_results(replace(data, cases=cases), credits_of, groups)
        systems.append(
            ProbeSystem(
                encoder=encoder.identity,
                device=encoder.device,
                precision=encoder.precision,
                results=results,
                failures=_failures(data, cases, vectors, credits_of[data.figures[0].name], groups),
                truncated=truncated,
                unreadable=unreadable,
            )
        )
        if data.paired:
            comparisons += _paired(data, cases, credits_of, groups, encoder.identity.spec)
        if first is None:
            first = credits_of, cases
        elif first[1] != cases:
            raise BenchmarkError("only some of the models can read all pictures: leave out those examples")
        else:
            before, now = ({name: each.strict for name, each in judged.items()} for judged in (first[0], credits_of))
            found = differences(before, now, groups, int(groups.max()) + 1)
            comparisons.append(ProbeComparison(systems[0].encoder.spec, encoder.identity.spec, found))
    return ProbeReport(
        probe=data.name,
        title=data.title,
        source=data.source,
        examples=len(data.cases),
        pictures=len({picture for case in data.cases for picture in case.pictures}),
        texts=len({text for case in data.cases for text in case.texts}),
        templates=data.templates,
        figures={figure.name: figure.about for figure in data.figures}
        | {sets.name: sets.about for sets in data.set_figures},
        systems=tuple(systems),
        comparisons=tuple(comparisons),
        problems=data.left_out,
        protocol=_PROTOCOL,
        versions=find_versions(),
        hardware=describe_hardware(),
    )


def _encode(
    data: ProbeData, encoder: Encoder, options: ProbeOptions, progress: ProgressCallback
) -> tuple[tuple[ProbeCase, ...], ProbeVectors, tuple[str, ...], int]:
    """The examples whose pictures can be read, their vectors, the pictures that cannot, and how many texts are cut."""
    texts = list(dict.fromkeys(text for case in data.cases for text in case.texts))
    pictures = list(dict.fromkeys(picture for case in data.cases for picture in case.pictures))
    text_vectors, truncated = encode_texts(encoder, texts, data.templates or ("{}",), progress, fresh=options.fresh)
    image_vectors, reasons = encode_pictures(pictures, encoder, progress, fresh=options.fresh)
    unreadable = tuple(f"{pictures[place].name} ({reason})" for place, reason in reasons.items())
    broken = {pictures[place] for place in reasons}
    cases = tuple(case for case in data.cases if broken.isdisjoint(case.pictures)) if broken else data.cases
    if unreadable and not (options.allow_missing and cases):
        raise BenchmarkError(
            f"{len(unreadable):,} of {len(pictures):,} pictures cannot be read: {', '.join(unreadable[:5])}. Mend "
            "them, or go on without their examples with --allow-missing; the figures are then not comparable with "
            "published ones"
        )
    kept = [place for place in range(len(pictures)) if place not in reasons]
    image_rows = {pictures[place]: row for row, place in enumerate(kept)}
    text_rows = {text: row for row, text in enumerate(texts)}
    vectors = ProbeVectors(
        images=image_vectors[kept],
        texts=text_vectors,
        images_of_case=tuple(tuple(image_rows[picture] for picture in case.pictures) for case in cases),
        texts_of_case=tuple(tuple(text_rows[text] for text in case.texts) for case in cases),
        text_lengths=np.array([len(text) for text in texts]),
    )
    return cases, vectors, unreadable, truncated


def _paired(
    data: ProbeData, cases: Sequence[ProbeCase], credits_of: Mapping[str, Credits], groups: Ids, spec: str
) -> Iterator[ProbeComparison]:
    """The subset that others are held against, and those: example by example, for those of all of them."""
    stem = data.paired.split()[0]
    rows: dict[str, dict[tuple[str, tuple[str, ...]], int]] = {}
    for row, case in enumerate(cases):
        if case.subset.startswith(f"{stem} "):
            rows.setdefault(case.subset, {})[case.pictures[0].name, case.texts] = row
    for subset, found in rows.items():
        if subset != data.paired:
            keys = [key for key in rows[data.paired] if key in found]
            before, after = (np.array([table[key] for key in keys]) for table in (rows[data.paired], found))
            _, group_of = np.unique(groups[before], return_inverse=True)
            yield ProbeComparison(
                f"{spec}, {data.paired}",
                f"{spec}, {subset}",
                differences(
                    {name: judged.strict[before] for name, judged in credits_of.items()},
                    {name: judged.strict[after] for name, judged in credits_of.items()},
                    group_of,
                    int(group_of.max()) + 1,
                ),
            )


def _failures(
    data: ProbeData, cases: Sequence[ProbeCase], vectors: ProbeVectors, judged: Credits, groups: Ids
) -> tuple[ProbeFailure, ...]:
    """The worst of all examples, or of each subset where these stand for themselves."""
    if data.whole:
        return tuple(_worst(cases, vectors, judged, groups, range(len(cases)), _FAILURES))
    found: list[ProbeFailure] = []
    for subset in dict.fromkeys(case.subset for case in cases):
        rows = [row for row, case in enumerate(cases) if case.subset == subset]
        found += _worst(cases, vectors, judged, groups, rows, _FAILURES_OF_SUBSET)
    return tuple(found)


def _worst(
    cases: Sequence[ProbeCase],
    vectors: ProbeVectors,
    judged: Credits,
    groups: Ids,
    rows: Sequence[int],
    most: int,
) -> Iterator[ProbeFailure]:
    """The examples that are wrong by most, one of each group of pictures."""
    seen: set[int] = set()
    for case in sorted(rows, key=lambda row: float(judged.margins[row])):
        if judged.strict[case] or len(seen) == most:
            return
        if int(groups[case]) not in seen:
            seen.add(int(groups[case]))
            images = vectors.images[list(vectors.images_of_case[case])].astype(np.float64)
            scores: Floats = images @ vectors.texts[list(vectors.texts_of_case[case])].astype(np.float64).T
            yield ProbeFailure(
                where=cases[case].where,
                subset=cases[case].subset,
                margin=float(judged.margins[case]),
                pictures=cases[case].pictures,
                texts=cases[case].texts,
                scores=tuple(map(tuple, scores.tolist())),
            )
