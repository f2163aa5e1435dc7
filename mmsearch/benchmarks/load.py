"""An annotation file, a split and a folder of images become one benchmark; so do shards that hold both."""

from collections import Counter
from pathlib import Path
from typing import TypeAlias, get_args

import numpy as np

from mmsearch.benchmarks.annotation_files import read_annotations
from mmsearch.benchmarks.data_sets import DataSet, data_set
from mmsearch.benchmarks.image_folder import ImageFolder
from mmsearch.benchmarks.image_names import is_image_name, last_part
from mmsearch.benchmarks.model import Benchmark, Draft, Problem, ProblemKind
from mmsearch.benchmarks.samples import find_shards
from mmsearch.benchmarks.shard_captions import read_shards
from mmsearch.benchmarks.splits import SplitChoice, choose_split
from mmsearch.errors import BenchmarkError
from mmsearch.locations import Location
from mmsearch.sources.caption_tables import USUAL_NAMES, ColumnNames

__all__ = ["languages_of", "load_benchmark"]

_Caption: TypeAlias = tuple[int, str, str]
"""Position of the image in the draft, text, the file's own id."""


def load_benchmark(
    name: str,
    *,
    images: Location,
    annotations: Location | None = None,
    split: str | None = "test",
    split_file: Path | None = None,
    captions_per_image: int | None = None,
    allow_missing: bool = False,
    columns: ColumnNames = USUAL_NAMES,
    language: str | None = None,
) -> Benchmark:
    """The benchmark in an annotation file of any known kind, or in shards that hold images and captions.

    name: of `DATA_SETS`; it decides which official split list is looked for beside the file, how large the official
    test split is, and for data sets that are not a single file how their captions lie. images: a folder, an archive, or
    where there are no annotations, shards (`mmsearch.benchmarks.samples`). split: None or "all"
    for everything. captions_per_image: only the first so many of each image, None for all. allow_missing:
    leave out images of the split that have no file or no annotation; otherwise they are an error. columns:
    what those of a table, or the keys of records, are called. language: of data sets that have several; see
    `languages_of`. Everything left out is in the benchmark's problems.
    Raises BenchmarkError where no honest benchmark can be made.
    """
    known = data_set(name)
    if captions_per_image is not None and captions_per_image < 1:
        raise BenchmarkError(f"captions per image must be at least 1, not {captions_per_image}")
    columns = known.columns if columns == USUAL_NAMES else columns
    draft, folder = _read(known, images, annotations, None if split == "all" else split, columns, language)
    captions_place = annotations or images
    if known.layout is not None and annotations is not None and split_file is None and split in (None, "all", "test"):
        chosen = SplitChoice(tuple(range(len(draft.images))), None)  # its files are those of one split
    else:
        chosen = choose_split(draft, name, captions_place, split, split_file)
    if chosen.not_annotated and not allow_missing:
        raise BenchmarkError(_explain_not_annotated(chosen, captions_place))
    for item in chosen.not_annotated:
        draft.report("not_annotated", item)
    for item in chosen.without_split:
        draft.report("without_split", item)
    if chosen.unlike:
        draft.report("unlike_official", chosen.unlike)
    if chosen.own_names:
        draft.report("own_names", f"{draft.images[chosen.positions[0]].name}, …")
    if chosen.whole:
        draft.report("no_split", chosen.whole)
    captions = _select_captions(draft, chosen, captions_per_image)
    paths = _find_paths(draft, chosen, captions, folder, allow_missing)
    return _assemble(name, draft, chosen, captions, paths, folder.root)


def languages_of(name: str, annotations: Location) -> tuple[str, ...]:
    """The languages in which a data set has captions, as its files call them; none where there is no choice.

    Raises BenchmarkError."""
    layout = data_set(name).layout
    return () if layout is None else layout.languages(annotations)


def _read(
    known: DataSet,
    images: Location,
    annotations: Location | None,
    split: str | None,
    columns: ColumnNames,
    language: str | None,
) -> tuple[Draft, ImageFolder]:
    """The draft, and where its images are looked for."""
    if annotations is not None:
        folder = ImageFolder(images, known.ending)
        if known.layout is not None:
            return known.layout.read(annotations, language), folder
        return read_annotations(annotations, columns), folder
    try:
        shards = find_shards(images)
    except OSError as error:
        raise BenchmarkError(f"images: {images} cannot be read: {error.strerror or error}") from error
    if shards is None:
        ImageFolder(images)  # what is not there is said as such
        raise BenchmarkError(
            f"images: {images} holds no shards (.tar, .zip, .parquet) with captions beside the images: give the file "
            "of captions with --annotations"
        )
    draft = read_shards(shards, split, columns)
    return draft, ImageFolder(shards.root)


def _explain_not_annotated(chosen: SplitChoice, annotations: Location) -> str:
    names, total = chosen.not_annotated, len(chosen.not_annotated) + len(chosen.positions)
    return (
        f"{annotations}: {len(names):,} of the {total:,} images of the split list {chosen.file} are not in it "
        f"({', '.join(names[:3])}{', …' if len(names) > 3 else ''}). --allow-missing evaluates the "
        f"{len(chosen.positions):,} that are; the result is then not the benchmark's."
    )


def _select_captions(draft: Draft, chosen: SplitChoice, most: int | None) -> list[_Caption]:
    """The captions of the chosen images, at most so many of each, in the file's order."""
    wanted = set(chosen.positions)
    captions = [
        (image, text, draft.caption_keys.get(position, ""))
        for position, (image, text) in enumerate(draft.captions)
        if image in wanted
    ]
    if most is None:
        return captions
    kept_captions, seen = list[_Caption](), Counter[int]()
    for image, text, key in captions:
        seen[image] += 1
        if seen[image] <= most:
            kept_captions.append((image, text, key))
        else:
            draft.report("captions_left_out", f"{draft.images[image].name}: {text}")
    for image in chosen.positions:
        if 0 < seen[image] < most:
            draft.report("fewer_captions", f"{draft.images[image].name} ({seen[image]})")
    return kept_captions


def _find_paths(
    draft: Draft, chosen: SplitChoice, captions: list[_Caption], folder: ImageFolder, allow_missing: bool
) -> dict[int, str]:
    """Draft position -> path on disk of the chosen images that have captions and a file."""
    captioned = Counter(image for image, *_ in captions)
    paths: dict[int, str] = {}
    missing: list[int] = []
    for position in chosen.positions:
        image = draft.images[position]
        if not captioned[position]:
            draft.report("image_without_caption", image.name)
        elif (path := folder.find(image)) is not None:
            paths[position] = path
        elif is_image_name(image.name + folder.ending):
            missing.append(position)
        else:
            draft.report("orphan_name", f"{image.name} ({captioned[position]} captions)")
    if missing and not (allow_missing and paths):
        raise BenchmarkError(_explain_missing(draft, missing, len(paths), folder.place))
    for position in missing:
        draft.report("missing_image", draft.images[position].name)
    missing_positions = set(missing)
    for owner, text, _ in captions:
        if owner in missing_positions:
            draft.report("missing_caption", f"{draft.images[owner].name}: {text}")
    _report_uncaptioned(draft, paths, folder)
    return paths


def _explain_missing(draft: Draft, missing: list[int], found_count: int, root: Location) -> str:
    names = ", ".join(draft.images[position].name for position in missing[:3])
    more = ", …" if len(missing) > 3 else ""
    total = found_count + len(missing)
    message = f"images: {len(missing):,} of {total:,} annotated images are not in {root} ({names}{more})."
    if not found_count:
        return f"{message} Is this the right folder?"
    return (
        f"{message} --allow-missing evaluates the {found_count:,} that are there; the result is then not the "
        "benchmark's."
    )


def _report_uncaptioned(draft: Draft, paths: dict[int, str], folder: ImageFolder) -> None:
    # Against the whole file, not the split: the photos of other splits are no surprise.
    annotated = {last_part(image.name) for image in draft.images}
    annotated |= {f"{name}{folder.ending}" for name in annotated} if folder.ending else set()
    for path in folder.list_beside(paths.values()):
        if last_part(path) not in annotated:
            draft.report("uncaptioned_file", path)


def _assemble(
    name: str, draft: Draft, chosen: SplitChoice, captions: list[_Caption], paths: dict[int, str], root: Location
) -> Benchmark:
    positions: dict[str, int] = {}
    for position, path in paths.items():
        if path in positions:
            draft.report("duplicate_image", draft.images[position].name)
        positions.setdefault(path, len(positions))
    kept_captions = [(positions[paths[image]], text, key) for image, text, key in captions if image in paths]
    if not kept_captions:
        raise BenchmarkError(
            f"nothing to evaluate: of {len(chosen.positions):,} images in the split, none has a caption"
        )
    kinds: tuple[ProblemKind, ...] = get_args(ProblemKind)
    return Benchmark(
        name=name,
        split=chosen.split,
        source=draft.source if chosen.file is None else f"{draft.source}, split list {chosen.file.name}",
        root=root,
        images=tuple(positions),
        captions=tuple(text for _, text, _ in kept_captions),
        caption_image=np.array([image for image, *_ in kept_captions], np.int64),
        caption_keys=tuple(key for *_, key in kept_captions),
        problems=tuple(Problem(kind, tuple(draft.problems[kind])) for kind in kinds if kind in draft.problems),
    )
