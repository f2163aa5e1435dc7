"""A probe made of a gallery's own pictures and captions."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random

from mmsearch import encoders
from mmsearch.errors import BenchmarkError
from mmsearch.evaluation.galleries import read_captioned
from mmsearch.evaluation.probes.altering import ALTERATIONS
from mmsearch.evaluation.probes.catalogue import RIGHT_TEXT
from mmsearch.evaluation.probes.probe_run import measure_probe
from mmsearch.evaluation.probes.records import (
    ProbeCase,
    ProbeData,
    ProbeOptions,
    ProbePicture,
    ProbeReport,
    WrittenWord,
)
from mmsearch.gallery import Gallery
from mmsearch.progress import ProgressCallback, quiet

__all__ = ["GalleryProbeOptions", "evaluate_gallery_probe"]

LEAST = 20
"""Of fewer examples nothing is said."""
_WORD = re.compile(r"[a-z]{4,}")
_MOST_OF_PICTURES = 0.2  # a word of more pictures' captions is no attack


@dataclass(frozen=True, slots=True)
class GalleryProbeOptions:
    """How to make a probe of a gallery.

    Attributes:
        most: Pictures that are taken at most, by lot.
        strengths: Heights of the written word, as shares of the picture's height.
        allow_missing: Go on without pictures that cannot be read, and say so.
        fresh: Encode all anew.
    """

    most: int = 1_000
    strengths: tuple[float, ...] = (0.05, 0.1, 0.2, 0.4)
    seed: int = 0
    allow_missing: bool = False
    device: str = "auto"
    precision: str = "fp32"
    fresh: bool = False


def evaluate_gallery_probe(
    gallery: str | os.PathLike[str] | None = None,
    *,
    encoder: str | encoders.Encoder | None = None,
    options: GalleryProbeOptions | None = None,
    progress: ProgressCallback = quiet,
    announce: Callable[[str], None] = lambda _: None,
) -> ProbeReport:
    """Measure what a gallery's model cannot do, on the gallery's own pictures and captions.

    Captions are made wrong in one respect each, and pictures get a word of another picture's caption written over them.
    encoder: where the gallery's own cannot be opened by its name. Raises BenchmarkError, EncoderError, EncoderMismatch,
    GalleryError.
    """
    options = options or GalleryProbeOptions()
    if options.most < 1 or any(not 0 < strength <= 1 for strength in options.strengths):
        raise BenchmarkError(
            f"most is {options.most}, strengths are {options.strengths}: at least one picture, and shares of a height "
            "from 0 to 1"
        )
    opened = Gallery.open(gallery)
    data = make_gallery_probe(opened, options)
    model = encoders.open(
        encoder,
        device=options.device,
        precision=options.precision,
        for_gallery=opened,
        announce=announce,
    )
    run_options = ProbeOptions(options.allow_missing, options.device, options.precision, options.fresh)
    return measure_probe(data, [model], run_options, progress, announce)


@dataclass(frozen=True, slots=True)
class _Captioned:
    """A picture with its captions."""

    picture: ProbePicture
    captions: tuple[str, ...]

    @property
    def words(self) -> frozenset[str]:
        return frozenset(word for caption in self.captions for word in _WORD.findall(caption.lower()))


def make_gallery_probe(gallery: Gallery, options: GalleryProbeOptions) -> ProbeData:
    """The examples of a gallery. Raises BenchmarkError where it has no captions that name pictures."""
    chance = Random(options.seed)
    captioned = _sample(gallery, options.most, chance)
    cases: list[ProbeCase] = []
    left_out: list[str] = []
    for alteration in ALTERATIONS:
        altered = list(_altered(captioned, alteration.name, alteration.alter, chance))
        if len(altered) < LEAST:
            left_out.append(f"{alteration.name}: only {len(altered):,} captions speak of it, not measured")
        else:
            cases += altered
    attacks = list(_attacks(captioned, chance))
    if len(attacks) < LEAST:
        left_out.append(f"written words: only {len(attacks):,} pictures, not measured")
    else:
        cases += [_written(case, strength) for strength in (0.0, *options.strengths) for case in attacks]
    if not cases:
        raise BenchmarkError(f"{gallery.path}: nothing to measure: {'; '.join(left_out)}")
    about = "; ".join(f"{each.name}: {each.about}" for each in ALTERATIONS)
    return ProbeData(
        name="gallery",
        title=f"gallery probe of {gallery.path}: {len(captioned):,} pictures with captions, {len(cases):,} examples",
        source=f"captions of the gallery made wrong ({about}; written: a word of another picture's caption over the "
        "picture, so high, and that caption against its own)",
        cases=tuple(cases),
        figures=(RIGHT_TEXT,),
        whole=False,
        paired=f"{WRITTEN} 0 %",
        left_out=tuple(left_out),
    )


WRITTEN = "written"


def _sample(gallery: Gallery, most: int, chance: Random) -> list[_Captioned]:
    items = read_captioned(gallery).items
    places = sorted(chance.sample(range(len(items.images)), min(most, len(items.images))))
    captions: dict[int, list[str]] = {place: [] for place in places}
    for caption, image in zip(items.captions, items.image_of_caption.tolist(), strict=True):
        if image in captions:
            captions[image].append(caption)
    return [
        _Captioned(ProbePicture(items.images[place], file, upright=True), tuple(captions[place]))
        for place in places
        if (file := items.files[place]) is not None
    ]


def _altered(
    captioned: Sequence[_Captioned], name: str, alter: Callable[[str, Random], str | None], chance: Random
) -> Iterator[ProbeCase]:
    """One caption a picture: the first, in an order by lot, that can be made wrong in this way."""
    for each in captioned:
        for caption in chance.sample(each.captions, len(each.captions)):
            wrong = alter(caption, chance)
            if wrong is not None and wrong not in each.captions:
                yield ProbeCase("one of its captions", (each.picture,), (caption, wrong), name)
                break


def _attacks(captioned: Sequence[_Captioned], chance: Random) -> Iterator[ProbeCase]:
    """Of each picture its own caption and one of another, by lot, whose word the picture's captions do not have; the
    word stands in `where` until it is written."""
    most = max(1, int(_MOST_OF_PICTURES * len(captioned)))
    counts: dict[str, int] = {}
    words_of = [each.words for each in captioned]
    for words in words_of:
        for word in words:
            counts[word] = counts.get(word, 0) + 1
    for each, own in zip(captioned, words_of, strict=True):
        for other in chance.sample(range(len(captioned)), min(20, len(captioned))):
            choices = [
                (caption, word)
                for caption in captioned[other].captions
                for word in sorted(set(_WORD.findall(caption.lower())) - own)
                if counts[word] <= most
            ]
            if choices:
                wrong, word = chance.choice(choices)
                texts = (chance.choice(each.captions), wrong)
                yield ProbeCase(word, (each.picture,), texts, WRITTEN)
                break


def _written(case: ProbeCase, strength: float) -> ProbeCase:
    """The example with its word written so high; 0 for the picture as it is."""
    (picture,) = case.pictures
    written = WrittenWord(case.where, strength) if strength else None
    return replace(
        case,
        where=f"{picture.name}, {case.where!r}",
        pictures=(replace(picture, written=written),),
        subset=f"{WRITTEN} {100 * strength:g} %",
    )
