"""Which images of a file belong to the split that was asked for."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from mmsearch.benchmarks.annotation_files import read_bytes
from mmsearch.benchmarks.image_names import last_part, without_ending
from mmsearch.benchmarks.model import Draft, DraftImage
from mmsearch.benchmarks.official import OFFICIAL_TEST, official_split
from mmsearch.benchmarks.samples import names_of_split
from mmsearch.benchmarks.text_lines import decode_lines
from mmsearch.errors import BenchmarkError
from mmsearch.locations import Location
from mmsearch.stores import exists

__all__ = ["SplitChoice", "choose_split"]


@dataclass(frozen=True, slots=True)
class SplitChoice:
    """The images of a split, and how they were chosen.

    Attributes:
        positions: Positions of the draft's images, ascending.
        split: The name of the split; None for the whole file.
        not_annotated: Names in the split list that the file does not have.
        file: The split list that decided, if one did.
        whole: The file that was taken whole unasked, or "".
        own_names: The images have names of their own, so that they cannot be compared with the official split.
        unlike: How the split in the file differs from the official one, or "".
        without_split: Names of images that the file gives no split.
    """

    positions: tuple[int, ...]
    split: str | None
    not_annotated: tuple[str, ...] = ()
    file: Location | None = None
    whole: str = ""
    unlike: str = ""
    without_split: tuple[str, ...] = ()
    own_names: bool = False


def choose_split(
    draft: Draft, name: str, annotations: Location, split: str | None, split_file: Path | None
) -> SplitChoice:
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
    kept_list = official_split(name, names_of_split(split)[0])
    if kept_list and not _has_own_names(draft, kept_list, split):
        return _choose_by_kept_list(draft, kept_list, annotations, name, split)
    official = OFFICIAL_TEST.get(name)
    if split == "test" and (official is None or len(everything) <= official):
        return SplitChoice(everything, None, whole=f"{annotations.name} ({len(everything):,} images)")
    raise BenchmarkError(_explain_no_split(annotations, name, split, len(everything)))


def _choose_by_kept_list(draft: Draft, kept_list: Path, annotations: Location, name: str, split: str) -> SplitChoice:
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
    kept_list = official_split(name, names_of_split(split)[0])
    if kept_list is None:
        return chosen
    if _has_own_names(draft, kept_list, split):
        return replace(chosen, own_names=True)
    official = _choose_by_list(draft, kept_list, split)
    extra = len(set(chosen.positions) - set(official.positions))
    lacking = len(set(official.positions) - set(chosen.positions)) + len(official.not_annotated)
    if not extra and not lacking:
        return chosen
    return replace(
        chosen, unlike=f"{extra:,} images that the Karpathy split does not have, {lacking:,} of it are not there"
    )


def _has_own_names(draft: Draft, kept_list: Path, split: str) -> bool:
    """Whether the images come in shards that name them otherwise than the official split, as s0000017.webp."""
    return all(image.place for image in draft.images) and not _choose_by_list(draft, kept_list, split).positions


def _explain_no_split(annotations: Location, name: str, split: str, images: int) -> str:
    official = OFFICIAL_TEST.get(name)
    larger = f", and the official test split has {official:,} of them" if official and split == "test" else ""
    wanted = f" (e.g. {_official_names(name, split)[0]} beside it)" if name != "custom" else ""
    return (
        f"{annotations}: {images:,} images and no splits in the file{larger}. To evaluate {split!r}, give the list of "
        f"its image names with --split-file{wanted}; to use the whole file, --split all."
    )


def _choose_by_file(draft: Draft, annotations: Location, split: str, counts: Counter[str]) -> SplitChoice:
    wanted = {alias for part in split.split("+") for alias in names_of_split(part)}
    positions = tuple(n for n, image in enumerate(draft.images) if any(part.lower() in wanted for part in image.splits))
    if not positions:
        present = ", ".join(f"{name} ({count:,} images)" for name, count in counts.most_common())
        raise BenchmarkError(
            f"{annotations}: no split {split!r}. It has {present}. Choose with --split; train+restval joins two."
        )
    return SplitChoice(positions, split, without_split=tuple(image.name for image in draft.images if not image.splits))


def _official_names(name: str, split: str) -> list[str]:
    names = [f"Flickr_8k.{alias}Images.txt" for alias in names_of_split(split)] if name == "flickr8k" else []
    return names + [
        f"{stem}{alias}.txt" for stem in (f"{name}_karpathy_", f"{name}_", "") for alias in names_of_split(split)
    ]


def _choose_by_list_beside(draft: Draft, annotations: Location, name: str, split: str) -> SplitChoice | None:
    """What the official list in the annotation file's folder chooses; None without one that fits the file."""
    for file in (annotations.parent / official for official in _official_names(name, split)):
        if file == annotations or not _is_other_file(file, annotations):
            continue
        try:
            chosen = _choose_by_list(draft, file, split)
        except BenchmarkError:
            continue  # nobody named this file: it is something else that happens to be called test.txt
        if chosen.positions:
            return chosen
    return None


def _is_other_file(file: Location, annotations: Location) -> bool:
    if isinstance(file, Path) and isinstance(annotations, Path):
        return file.is_file() and not file.samefile(annotations)
    return exists(file)


def _choose_by_list(draft: Draft, file: Location, split: str | None) -> SplitChoice:
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
