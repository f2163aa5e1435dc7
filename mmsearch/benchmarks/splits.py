"""Which images of a file belong to the split that was asked for."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from mmsearch.benchmarks.annotation_files import decode_lines, read_bytes
from mmsearch.benchmarks.image_names import last_part, without_ending
from mmsearch.benchmarks.model import Draft, DraftImage
from mmsearch.benchmarks.official import OFFICIAL_TEST, official_split
from mmsearch.errors import BenchmarkError

__all__ = ["SplitChoice", "choose_split"]

SAME = (("val", "dev", "valid", "validation"), ("train", "training"), ("test", "testing"))
"""Names of one split: Flickr8k's list says dev where everybody else says val. Karpathy's restval stays apart."""


@dataclass(frozen=True, slots=True)
class SplitChoice:
    """The images of a split, and how they were chosen.

    Attributes:
        positions: Positions of the draft's images, ascending.
        split: The name of the split; None for the whole file.
        not_annotated: Names in the split list that the file does not have.
        file: The split list that decided, if one did.
        whole: The file that was taken whole unasked, or "".
        unlike: How the split in the file differs from the official one, or "".
        without_split: Names of images that the file gives no split.
    """

    positions: tuple[int, ...]
    split: str | None
    not_annotated: tuple[str, ...] = ()
    file: Path | None = None
    whole: str = ""
    unlike: str = ""
    without_split: tuple[str, ...] = ()


def choose_split(draft: Draft, name: str, annotations: Path, split: str | None, split_file: Path | None) -> SplitChoice:
    """The images of the split.

    A split list that is given decides; else the splits in the file; else the official list beside the file; else,
    for COCO and Flickr30k, the Karpathy split that the project keeps. Without any, a file no larger than the
    benchmark's official test split, or a custom one, is taken whole for "test"; everything else is an error. split
    None or "all" takes everything.
    """
    everything = tuple(range(len(draft.images)))
    if split_file is not None:
        chosen = _choose_by_list(draft, split_file, split)
        if not chosen.positions:
            raise BenchmarkError(
                f"split list {split_file}: none of its {len(chosen.not_annotated):,} names is in {annotations}, "
                f"which has names such as {draft.images[0].name!r}; the list has {chosen.not_annotated[0]!r}."
            )
        return chosen
    if split is None or split == "all":
        return SplitChoice(everything, None)
    counts = Counter(part for image in draft.images for part in image.splits)
    if counts:
        return _compare_with_official(_choose_by_file(draft, annotations, split, counts), draft, name, split)
    if by_list_beside := _choose_by_list_beside(draft, annotations, name, split):
        return by_list_beside
    if kept_list := official_split(name, _aliases(split)[0]):
        return _choose_by_kept_list(draft, kept_list, annotations, name, split)
    official = OFFICIAL_TEST.get(name)
    if split == "test" and (official is None or len(everything) <= official):
        return SplitChoice(everything, None, whole=f"{annotations.name} ({len(everything):,} images)")
    raise BenchmarkError(_explain_no_split(annotations, name, split, len(everything)))


def _choose_by_kept_list(draft: Draft, kept_list: Path, annotations: Path, name: str, split: str) -> SplitChoice:
    chosen = _choose_by_list(draft, kept_list, split)
    if not chosen.positions:
        raise BenchmarkError(
            f"{annotations}: none of the {len(chosen.not_annotated):,} images of {name}'s Karpathy {split} split "
            f"({chosen.not_annotated[0]}, …) is in it; it has {draft.images[0].name}, …. Give the annotations that "
            f"hold them, a list of your own with --split-file, or use the whole file with --split all, whose result "
            f"does not compare with published ones."
        )
    return chosen


def _compare_with_official(chosen: SplitChoice, draft: Draft, name: str, split: str) -> SplitChoice:
    """With a word on how the split that the file names differs from the official one."""
    kept_list = official_split(name, _aliases(split)[0])
    if kept_list is None:
        return chosen
    official = _choose_by_list(draft, kept_list, split)
    extra = len(set(chosen.positions) - set(official.positions))
    lacking = len(set(official.positions) - set(chosen.positions)) + len(official.not_annotated)
    if not extra and not lacking:
        return chosen
    return replace(
        chosen, unlike=f"{extra:,} images that the Karpathy split does not have, {lacking:,} of it are not there"
    )


def _explain_no_split(annotations: Path, name: str, split: str, images: int) -> str:
    official = OFFICIAL_TEST.get(name)
    larger = f", and the official test split has {official:,} of them" if official and split == "test" else ""
    wanted = f" (e.g. {_official_names(name, split)[0]} beside it)" if name != "custom" else ""
    return (
        f"{annotations}: {images:,} images and no splits in the file{larger}. To evaluate {split!r}, give the list of "
        f"its image names with --split-file{wanted}; to use the whole file, --split all."
    )


def _choose_by_file(draft: Draft, annotations: Path, split: str, counts: Counter[str]) -> SplitChoice:
    wanted = {alias for part in split.split("+") for alias in _aliases(part)}
    positions = tuple(n for n, image in enumerate(draft.images) if any(part.lower() in wanted for part in image.splits))
    if not positions:
        present = ", ".join(f"{name} ({count:,} images)" for name, count in counts.most_common())
        raise BenchmarkError(
            f"{annotations}: no split {split!r}. It has {present}. Choose with --split; train+restval joins two."
        )
    return SplitChoice(positions, split, without_split=tuple(image.name for image in draft.images if not image.splits))


def _aliases(split: str) -> tuple[str, ...]:
    split = split.strip().lower()
    return next((names for names in SAME if split in names), (split,))


def _official_names(name: str, split: str) -> list[str]:
    names = [f"Flickr_8k.{alias}Images.txt" for alias in _aliases(split)] if name == "flickr8k" else []
    return names + [f"{stem}{alias}.txt" for stem in (f"{name}_karpathy_", f"{name}_", "") for alias in _aliases(split)]


def _choose_by_list_beside(draft: Draft, annotations: Path, name: str, split: str) -> SplitChoice | None:
    """What the official list in the annotation file's folder chooses; None without one that fits the file."""
    for file in (annotations.parent / official for official in _official_names(name, split)):
        if not file.is_file() or file.samefile(annotations):
            continue
        try:
            chosen = _choose_by_list(draft, file, split)
        except BenchmarkError:
            continue  # nobody named this file: it is something else that happens to be called test.txt
        if chosen.positions:
            return chosen
    return None


def _choose_by_list(draft: Draft, file: Path, split: str | None) -> SplitChoice:
    """The images that a list names: with or without folder and, as in Flickr30k Entities, with or without ending."""
    lines = decode_lines(read_bytes(file, "split list"))
    if not lines:
        raise BenchmarkError(f"split list {file}: empty")
    if split_lines := [line for line in lines if "\t" in line or "," in line or line[0] in "{["]:
        raise BenchmarkError(f"split list {file}: not one image name a line: {split_lines[0][:80]!r}")
    keys = {last_part(line): line for line in lines}
    positions = tuple(n for n, image in enumerate(draft.images) if _is_in(image, keys))
    present = {key for n in positions for key in _names_in_lists(draft.images[n])}
    missing = tuple(line for key, line in keys.items() if key not in present)
    return SplitChoice(positions, None if split == "all" else split, missing, file)


def _is_in(image: DraftImage, keys: Collection[str]) -> bool:
    return any(key in keys for key in _names_in_lists(image))


def _names_in_lists(image: DraftImage) -> tuple[str, str]:
    """What a list may call an image: its name, or its name without an image's ending."""
    key = last_part(image.name)
    return key, without_ending(key)
