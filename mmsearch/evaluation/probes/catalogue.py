"""The probes: one record each, which says how its files look and how it is scored."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmsearch.evaluation.probes import layouts
from mmsearch.evaluation.probes.comparing import (
    Comparison,
    Figure,
    both_of_each_image,
    both_of_each_text,
    first_text_over_others,
    first_text_over_second,
    group_of_two,
)
from mmsearch.evaluation.probes.entries import Entry
from mmsearch.evaluation.probes.records import Box, SetFigure

__all__ = ["PROBES", "Probe"]

Names = Sequence[str]
"""What a picture may be called; the first that there is, is it."""


@dataclass(frozen=True, slots=True)
class Probe:
    """How a probe's files look, and how it is scored.

    Attributes:
        paper: Who published it.
        pictures: The names of the pictures of an entry; () for the one that stands in the same row of a Parquet file.
        texts: The texts of an entry; which of them is right, its figures say.
        figures: What is measured, the most important first.
        entries: From what `--annotations` names to entries.
        subset: What an example is counted with besides all others.
        keep: Whether an entry counts; `left_out` says in words why others do not.
        box: What is cut out of the picture.
        sets: Name of a set figure -> the set of an entry, None for none.
        templates: Texts with {}, or the name of a set of them, into which each text is put.
        templates_used: Only the first so many of these.
        macro_least: A subset counts in the mean over subsets where it has so many examples.
    """

    name: str
    paper: str
    pictures: Callable[[Entry], Sequence[Names]]
    texts: Callable[[Entry], Sequence[str]]
    figures: tuple[Figure, ...]
    entries: Callable[[Path], Iterator[Entry]] = layouts.all_files
    subset: Callable[[Entry], str] = layouts.file_stem
    keep: Callable[[Entry], bool] = lambda _: True
    left_out: str = ""
    box: Callable[[Entry], Box] | None = None
    set_figures: tuple[SetFigure, ...] = ()
    sets: dict[str, Callable[[Entry], str | None]] = field(default_factory=dict)
    templates: tuple[str, ...] = ()
    templates_used: int | None = None
    macro_least: int = 1


def _named(*keys: str, endings: Sequence[str] = ("",)) -> Callable[[Entry], Sequence[Names]]:
    """One picture, under the first of some keys; endings: what its name may lack."""

    def names(entry: Entry) -> Sequence[Names]:
        value = entry.get(*keys)
        several = value if isinstance(value, list) else [value]
        return [[f"{name}{ending}" for name in several for ending in endings]]

    return names


def _two(zero: tuple[str, ...], one: tuple[str, ...], ending: str = "") -> Callable[[Entry], Sequence[Names]]:
    def names(entry: Entry) -> Sequence[Names]:
        return [[entry.text(*keys), f"{entry.text(*keys)}{ending}"] for keys in (zero, one)]

    return names


def _texts(*keys: tuple[str, ...] | str) -> Callable[[Entry], Sequence[str]]:
    """The texts under some keys, each with others that serve."""
    return lambda entry: [entry.text(*((key,) if isinstance(key, str) else key)) for key in keys]


def _in_the_file(entry: Entry) -> Sequence[Names]:
    """The picture that stands beside the entry: in its row of a Parquet file, else under a name of the entry."""
    if entry.file.suffix.lower() == ".parquet":
        return [()]
    name = entry.find("image", "file_name", "filename", "image_path", "file", "path")
    numbered = [f"{entry.number}{ending}" for ending in (".jpg", ".jpeg", ".png", ".webp")]
    return [[name] if isinstance(name, str) else numbered]


RIGHT_TEXT = Figure("text", "the right text scores higher with the picture than any other", first_text_over_others)
OBJECT = Figure("object", "what is shown scores higher than the word that is written there", first_text_over_second)
WINOGROUND = (
    Figure("text", "each of the two pictures scores higher with its own text than with the other", both_of_each_image),
    Figure("image", "each of the two texts scores higher with its own picture than with the other", both_of_each_text),
    Figure("group", "both", group_of_two),
)


def _over_the_third(*rights: int) -> Callable[[int, int], tuple[Comparison, ...]]:
    return lambda images, texts: tuple(Comparison(("image", 0), ("text", right), ("text", 2)) for right in rights)


def _nearest_texts(images: int, texts: int) -> tuple[Comparison, ...]:
    return tuple(Comparison(("text", own), ("text", 1 - own), ("text", 2)) for own in (0, 1))


SUGARCREPE_PP = (
    Figure("both", "both right texts score higher with the picture than the wrong one", _over_the_third(0, 1)),
    Figure("first", "the first right text scores higher than the wrong one", _over_the_third(0)),
    Figure("second", "the second right text scores higher than the wrong one", _over_the_third(1)),
    Figure("text_only", "the two right texts are nearer to each other than to the wrong one", _nearest_texts),
)

_ALL = (
    Probe(
        name="sugarcrepe",
        paper="Hsieh et al. 2023",
        pictures=_named("filename", "image"),
        texts=_texts("caption", "negative_caption"),
        figures=(RIGHT_TEXT,),
    ),
    Probe(
        name="sugarcrepe-pp",
        paper="Dumpala et al. 2024",
        pictures=_named("filename", "image"),
        texts=_texts("caption", "caption2", "negative_caption"),
        figures=SUGARCREPE_PP,
    ),
    Probe(
        name="aro-relation",
        paper="Yuksekgonul et al. 2023",
        pictures=_named("image_path"),
        texts=_texts("true_caption", "false_caption"),
        figures=(RIGHT_TEXT,),
        subset=lambda entry: entry.text("relation_name"),
        box=layouts.aro_box,
    ),
    Probe(
        name="aro-attribution",
        paper="Yuksekgonul et al. 2023",
        pictures=_named("image_path"),
        texts=_texts("true_caption", "false_caption"),
        figures=(RIGHT_TEXT,),
        subset=lambda entry: "_".join(map(str, entry.get("attributes"))),
        box=layouts.aro_box,
        macro_least=25,
    ),
    Probe(
        name="winoground",
        paper="Thrush et al. 2022",
        pictures=_two(("image_0",), ("image_1",), ".png"),
        texts=_texts("caption_0", "caption_1"),
        figures=WINOGROUND,
        subset=lambda entry: str(entry.find("collapsed_tag") or ""),
    ),
    Probe(
        name="valse",
        paper="Parcalabescu et al. 2022",
        pictures=_named("image_file"),
        texts=_texts("caption", "foil"),
        figures=(RIGHT_TEXT,),
        keep=layouts.is_valid_foil,
        left_out="fewer than two of three people took the caption alone for the picture's text",
    ),
    Probe(
        name="eqben",
        paper="Wang et al. 2023",
        pictures=_two(("image0", "image_0"), ("image1", "image_1")),
        texts=_texts(("caption0", "caption_0"), ("caption1", "caption_1")),
        figures=WINOGROUND,
        entries=layouts.dense_records,
        subset=layouts.first_folder,
    ),
    Probe(
        name="mmvp-vlm",
        paper="Tong et al. 2024",
        pictures=lambda entry: [
            [f"{entry.text(f'type_{place}')}/{entry.text(f'id_{place}')}.jpg", f"{entry.text(f'id_{place}')}.jpg"]
            for place in (0, 1)
        ],
        texts=_texts("statement_0", "statement_1"),
        figures=(WINOGROUND[1], WINOGROUND[0], WINOGROUND[2]),
        entries=layouts.mmvp_pairs,
        subset=lambda entry: entry.text("type_0"),
        templates=("a photo of {}",),
    ),
    Probe(
        name="whatsup",
        paper="Kamath, Hessel and Chang 2023",
        pictures=_named("image_path"),
        texts=lambda entry: entry.get("caption_options"),
        figures=(RIGHT_TEXT,),
        entries=layouts.numbered_options,
        subset=layouts.whatsup_preposition,
        set_figures=(
            SetFigure("pairs", "all of the two pictures of the same things in opposite places", "text", 2),
            SetFigure("sets", "all of the four pictures of the same things", "text", 4),
        ),
        sets={"pairs": layouts.whatsup_pair, "sets": layouts.whatsup_set},
    ),
    Probe(
        name="countbench",
        paper="Paiss et al. 2023",
        pictures=_in_the_file,
        texts=layouts.counted_texts,
        figures=(RIGHT_TEXT,),
        subset=lambda entry: str(entry.get("number")),
        keep=layouts.counts_a_word,
        left_out="the caption does not say its number, from two to ten",
    ),
    Probe(
        name="scam",
        paper="Westerhoff et al. 2025",
        pictures=_in_the_file,
        texts=layouts.objects_and_words,
        figures=(OBJECT,),
        subset=lambda entry: str(entry.find("type") or ""),
        templates=("openai",),
        templates_used=32,
    ),
    Probe(
        name="rta100",
        paper="Azuma and Matsui 2023",
        pictures=_named("file"),
        texts=layouts.objects_and_words,
        figures=(
            Figure("top1", "what is shown scores higher than every other word of the set", first_text_over_others),
            OBJECT,
        ),
        entries=layouts.named_by_files,
        subset=lambda entry: "",
        templates=("a photo of a {}.",),
    ),
)

PROBES = {probe.name: probe for probe in _ALL}
"""Name -> probe."""
