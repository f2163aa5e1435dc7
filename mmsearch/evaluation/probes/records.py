"""What a probe is, what is measured by it, and what comes of that."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mmsearch.evaluation.probes.comparing import Figure
from mmsearch.identity import EncoderIdentity
from mmsearch.metrics import Difference, Estimate

__all__ = [
    "Box",
    "FigureResult",
    "ProbeCase",
    "ProbeComparison",
    "ProbeData",
    "ProbeFailure",
    "ProbeOptions",
    "ProbePicture",
    "ProbeReport",
    "ProbeSystem",
    "SetFigure",
    "WrittenWord",
]

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels of the picture as it is stored."""


@dataclass(frozen=True, slots=True)
class WrittenWord:
    """A word that is written over a picture.

    Attributes:
        height: The letters' height as a share of the picture's; less where the word would not fit its width.
    """

    word: str
    height: float


@dataclass(frozen=True, slots=True)
class ProbePicture:
    """A picture of a probe.

    Attributes:
        name: What people call it.
        file: Where it is: a picture, a .npy of one, or a Parquet file that holds many.
        row: Its row in a Parquet file; None for a file that is the picture.
        box: What is cut out of it; None for all of it.
        written: What is written over it.
        upright: Whether it is turned as its EXIF orientation says, as `embed` does; the public probes do not.
    """

    name: str
    file: str
    row: int | None = None
    box: Box | None = None
    written: WrittenWord | None = None
    upright: bool = False


@dataclass(frozen=True, slots=True)
class ProbeCase:
    """An example of a probe: some pictures and some texts, whose places say what belongs together.

    Attributes:
        where: The file and line that it stands in.
        subset: What it is counted with besides all others; "" for nothing.
        sets: Name of a `SetFigure` -> the set that the example belongs to.
    """

    where: str
    pictures: tuple[ProbePicture, ...]
    texts: tuple[str, ...]
    subset: str = ""
    sets: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SetFigure:
    """A share of sets of examples: a set is right where each of its examples is.

    Attributes:
        of: The name of the figure that judges each example.
        size: How many examples a set has; others do not count.
    """

    name: str
    about: str
    of: str
    size: int


@dataclass(frozen=True, slots=True)
class ProbeData:
    """All that is measured.

    Attributes:
        title: What it is, for people.
        templates: Texts with {} that every text is put into and averaged over; none for texts as they are.
        macro_least: A subset counts in the mean over subsets where it has so many examples.
        left_out: What does not count, in words.
        whole: Whether all examples together mean anything; else each subset stands for itself.
        paired: A subset that others with the same first word are held against, example by example; "" for none.
    """

    name: str
    title: str
    source: str
    cases: tuple[ProbeCase, ...]
    figures: tuple[Figure, ...]
    set_figures: tuple[SetFigure, ...] = ()
    templates: tuple[str, ...] = ()
    macro_least: int = 1
    left_out: tuple[str, ...] = ()
    whole: bool = True
    paired: str = ""


@dataclass(frozen=True, slots=True)
class ProbeOptions:
    """How to measure.

    Attributes:
        allow_missing: Go on without examples whose pictures are missing or unreadable, and say so.
        fresh: Encode all anew.
    """

    allow_missing: bool = False
    device: str = "auto"
    precision: str = "fp32"
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class FigureResult:
    """One figure of one subset.

    Attributes:
        subset: Its name; "all" for all examples, "mean of subsets" where each subset counts alike.
        examples: How many there are.
        groups: How many groups of examples there are that share no picture: what intervals draw from.
        strict: The share that is right where a tie is wrong.
        half: Where an example that hangs on a tie counts one half.
        lenient: Where a tie is right.
        tied: How many examples hang on a tie.
        chance: What random scores get.
        average_picture: `half` where every picture is the mean of all; None where no picture is asked.
        shorter_text: `half` where the shorter text is taken, whatever the picture; None likewise.
    """

    figure: str
    subset: str
    examples: int
    groups: int
    strict: Estimate
    half: Estimate
    lenient: Estimate
    tied: int
    chance: float
    average_picture: float | None
    shorter_text: float | None


@dataclass(frozen=True, slots=True)
class ProbeFailure:
    """An example that is wrong.

    Attributes:
        margin: By how much the worst of its comparisons fails.
        scores: Of each picture with each text.
    """

    where: str
    subset: str
    margin: float
    pictures: tuple[ProbePicture, ...]
    texts: tuple[str, ...]
    scores: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class ProbeSystem:
    """What one encoder gets.

    Attributes:
        results: Of each figure: all examples, the mean of subsets, each subset.
        failures: The worst ones, by the first figure.
        truncated: How many texts are longer than the model reads.
        unreadable: Pictures whose examples were left out.
    """

    encoder: EncoderIdentity
    device: str
    precision: str
    results: tuple[FigureResult, ...]
    failures: tuple[ProbeFailure, ...]
    truncated: int
    unreadable: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProbeComparison:
    """Two encoders on the same examples, or one on two subsets of the same pictures and texts.

    Attributes:
        differences: Figure -> second minus first, of its strict shares, with interval and p.
    """

    first: str
    second: str
    differences: dict[str, Difference]


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What a probe says of encoders.

    Attributes:
        figures: Name -> when an example is right, in words.
    """

    probe: str
    title: str
    source: str
    examples: int
    pictures: int
    texts: int
    templates: tuple[str, ...]
    figures: dict[str, str]
    systems: tuple[ProbeSystem, ...]
    comparisons: tuple[ProbeComparison, ...]
    problems: tuple[str, ...]
    protocol: str
    versions: dict[str, str]
    hardware: dict[str, str]
