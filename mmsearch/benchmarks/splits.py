"""Which images of a file belong to the split that was asked for."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from mmsearch.benchmarks.model import Draft, DraftImage
from mmsearch.benchmarks.names import last_part, without_ending
from mmsearch.benchmarks.official import OFFICIAL_TEST, official_split
from mmsearch.benchmarks.reading import decoded_lines, read_bytes
from mmsearch.errors import BenchmarkError

__all__ = ["Chosen", "choose_split"]

SAME = (("val", "dev", "valid", "validation"), ("train", "training"), ("test", "testing"))
"""Names of one split: Flickr8k's list says dev where everybody else says val. Karpathy's restval stays apart."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What was chosen.

    positions: of the draft's images, ascending. split: what they are, None for the whole file.
    not_annotated: names in the split list that the file does not have. file: the split list that decided, if one did.
    whole: which file was taken whole unasked, or "". unlike: how the split in the file differs from the official one,
    or "". without_split: names of images that the file gives none.
    """

    positions: tuple[int, ...]
    split: str | None
    not_annotated: tuple[str, ...] = ()
    file: Path | None = None
    whole: str = ""
    unlike: str = ""
    without_split: tuple[str, ...] = ()


def choose_split(draft: Draft, name: str, annotations: Path, split: str | None, split_file: Path | None) -> Chosen:
    """The images of the split.

    A split list that is given decides; else the splits in the file; else the official list beside the file; else,
    for COCO and Flickr30k, the Karpathy split that the project keeps. Without any, a file no larger than the
    benchmark's official test split, or a custom one, is taken whole for "test"; everything else is an error. split
    None or "all" takes everything.
    """
    everything = tuple(range(len(draft.images)))
    if split_file is not None:
        chosen = _listed(draft, split_file, split)
        if not chosen.positions:
            raise BenchmarkError(
                f"split list {split_file}: none of its {len(chosen.not_annotated):,} names is in {annotations}, "
                f"which has names such as {draft.images[0].name!r}; the list has {chosen.not_annotated[0]!r}."
            )
        return chosen
    if split is None or split == "all":
        return Chosen(everything, None)
    counts = Counter(part for image in draft.images for part in image.splits)
    if counts:
        return _compared(_inside(draft, annotations, split, counts), draft, name, split)
    if beside := _list_beside(draft, annotations, name, split):
        return beside
    if kept := official_split(name, _aliases(split)[0]):
        return _from_kept(draft, kept, annotations, name, split)
    official = OFFICIAL_TEST.get(name)
    if split == "test" and (official is None or len(everything) <= official):
        return Chosen(everything, None, whole=f"{annotations.name} ({len(everything):,} images)")
    raise BenchmarkError(_no_split(annotations, name, split, len(everything)))


def _from_kept(draft: Draft, kept: Path, annotations: Path, name: str, split: str) -> Chosen:
    chosen = _listed(draft, kept, split)
    if not chosen.positions:
        raise BenchmarkError(
            f"{annotations}: none of the {len(chosen.not_annotated):,} images of {name}'s Karpathy {split} split "
            f"({chosen.not_annotated[0]}, …) is in it; it has {draft.images[0].name}, …. Give the annotations that "
            f"hold them, a list of your own with --split-file, or use the whole file with --split all, whose result "
            f"does not compare with published ones."
        )
    return chosen


def _compared(chosen: Chosen, draft: Draft, name: str, split: str) -> Chosen:
    """With a word on how the split that the file names differs from the official one."""
    kept = official_split(name, _aliases(split)[0])
    if kept is None:
        return chosen
    official = _listed(draft, kept, split)
    more = len(set(chosen.positions) - set(official.positions))
    less = len(set(official.positions) - set(chosen.positions)) + len(official.not_annotated)
    if not more and not less:
        return chosen
    return replace(
        chosen, unlike=f"{more:,} images that the Karpathy split does not have, {less:,} of it are not there"
    )


def _no_split(annotations: Path, name: str, split: str, images: int) -> str:
    official = OFFICIAL_TEST.get(name)
    larger = f", and the official test split has {official:,} of them" if official and split == "test" else ""
    wanted = f" (e.g. {_official_names(name, split)[0]} beside it)" if name != "custom" else ""
    return (
        f"{annotations}: {images:,} images and no splits in the file{larger}. To evaluate {split!r}, give the list of "
        f"its image names with --split-file{wanted}; to use the whole file, --split all."
    )


def _inside(draft: Draft, annotations: Path, split: str, counts: Counter[str]) -> Chosen:
    wanted = {alias for part in split.split("+") for alias in _aliases(part)}
    positions = tuple(n for n, image in enumerate(draft.images) if any(part.lower() in wanted for part in image.splits))
    if not positions:
        there = ", ".join(f"{name} ({count:,} images)" for name, count in counts.most_common())
        raise BenchmarkError(
            f"{annotations}: no split {split!r}. It has {there}. Choose with --split; train+restval joins two."
        )
    return Chosen(positions, split, without_split=tuple(image.name for image in draft.images if not image.splits))


def _aliases(split: str) -> tuple[str, ...]:
    split = split.strip().lower()
    return next((names for names in SAME if split in names), (split,))


def _official_names(name: str, split: str) -> list[str]:
    names = [f"Flickr_8k.{alias}Images.txt" for alias in _aliases(split)] if name == "flickr8k" else []
    return names + [f"{stem}{alias}.txt" for stem in (f"{name}_karpathy_", f"{name}_", "") for alias in _aliases(split)]


def _list_beside(draft: Draft, annotations: Path, name: str, split: str) -> Chosen | None:
    """What the official list in the annotation file's folder chooses; None without one that fits the file."""
    for file in (annotations.parent / official for official in _official_names(name, split)):
        if not file.is_file() or file.samefile(annotations):
            continue
        try:
            chosen = _listed(draft, file, split)
        except BenchmarkError:
            continue  # nobody named this file: it is something else that happens to be called test.txt
        if chosen.positions:
            return chosen
    return None


def _listed(draft: Draft, file: Path, split: str | None) -> Chosen:
    """The images that a list names: with or without folder and, as in Flickr30k Entities, with or without ending."""
    lines = decoded_lines(read_bytes(file, "split list"))
    if not lines:
        raise BenchmarkError(f"split list {file}: empty")
    if split_lines := [line for line in lines if "\t" in line or "," in line or line[0] in "{["]:
        raise BenchmarkError(f"split list {file}: not one image name a line: {split_lines[0][:80]!r}")
    keys = {last_part(line): line for line in lines}
    positions = tuple(n for n, image in enumerate(draft.images) if _is_in(image, keys))
    there = {key for n in positions for key in _keys(draft.images[n])}
    missing = tuple(line for key, line in keys.items() if key not in there)
    return Chosen(positions, None if split == "all" else split, missing, file)


def _is_in(image: DraftImage, keys: Collection[str]) -> bool:
    return any(key in keys for key in _keys(image))


def _keys(image: DraftImage) -> tuple[str, str]:
    """What a list may call an image: its name, or its name without an image's ending."""
    key = last_part(image.name)
    return key, without_ending(key)
