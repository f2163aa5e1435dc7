"""What `embed` is asked for, and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mmsearch.embedding.stage_times import StageTimes
from mmsearch.identity import EncoderIdentity
from mmsearch.images import MAX_PIXELS
from mmsearch.loading import DECODE_SECONDS
from mmsearch.locations import Location
from mmsearch.sources import USUAL_NAMES, ColumnNames
from mmsearch.versions import Parity

__all__ = ["CaptionCounts", "EmbedOptions", "EmbedReport", "GuessCounts", "ImageCounts", "ItemCounts"]


_NONE = StageTimes()


@dataclass(frozen=True, slots=True)
class EmbedOptions:
    """How to embed.

    device: "auto", "cpu", "cuda" (all GPUs), "cuda:1", "mps". precision: "auto", "fp32", "fp16", "bf16", "int8".
    batch_size: images encoded together; None for what suits the device, found by trial on GPUs.
    threads: that decode, and on a CPU encode; None for one a core. On a cluster: of each worker.
    max_pixels: larger images are skipped. seconds: what takes longer to decode is skipped.
    prune: deletes are meant, however many.
    strict: files that cannot be embedded are an error, raised when all others are embedded.
    dtype: of the vectors in a new gallery, "float16" or "float32".
    benchmark: open images as the published benchmarks do (no EXIF orientation).
    exact: decode with Pillow, preprocess with open_clip's own transform, encode in fp32: what else is measured against.
    ray: the Ray cluster that embeds the pictures: "auto" for the one that this machine belongs to, "local" for one that
    is started for it, "any" for the first of these that there is, or an address; None for this process.
    columns: what those of tables of captions are called.
    decode: where JPEG is decoded: "cpu"; "gpu", as far as it takes it; or "auto": by the cores, and by the GPU, where
    there is one, what they cannot keep up with.
    places: keep where pictures were taken, which else is not even read.
    """

    device: str = "auto"
    precision: str = "auto"
    batch_size: int | None = None
    threads: int | None = None
    max_pixels: int = MAX_PIXELS
    prune: bool = False
    strict: bool = False
    dtype: str = "float16"
    benchmark: bool = False
    exact: bool = False
    seconds: float = DECODE_SECONDS
    ray: str | None = None
    columns: ColumnNames = USUAL_NAMES
    decode: str = "auto"
    places: bool = False


@dataclass(frozen=True, slots=True)
class ItemCounts:
    """What happened to the items of a kind in this run: see `ImageCounts`."""

    added: int = 0
    updated: int = 0
    reused: int = 0
    unchanged: int = 0
    deleted: int = 0
    moved: int = 0


@dataclass(frozen=True, slots=True)
class ImageCounts:
    """What happened to the pictures of this run, and to its files.

    added: new pictures. updated: changed ones. reused: of those two, how many took the vector of a known file with the
    same content (copied, touched). deleted: pictures whose files are gone. moved: pictures whose files have another
    name or place, and are counted nowhere else. skipped: files that could not be
    embedded in this run; still_skipped: in an earlier run, and unchanged since. in_gallery: items of any kind that were
    found and are held. unreadable: (folder, reason) whose content is unknown. linked_folders: not followed.
    joined: files that stand beside another of the same picture, see `mmsearch.sources.companions`. merged: pictures
    that ended with that, since they were items before. passed_over: files and folders that are hidden, or clutter.
    alike: frames of films that were looked at and left out, since they show nothing new after the one before.
    """

    added: int = 0
    updated: int = 0
    reused: int = 0
    unchanged: int = 0
    deleted: int = 0
    skipped: int = 0
    still_skipped: int = 0
    in_gallery: int = 0
    skipped_reasons: tuple[tuple[str, int], ...] = ()
    unreadable: tuple[tuple[str, str], ...] = ()
    linked_folders: tuple[str, ...] = ()
    joined: int = 0
    merged: int = 0
    passed_over: int = 0
    moved: int = 0
    alike: int = 0


@dataclass(frozen=True, slots=True)
class CaptionCounts:
    """What happened to the captions of this run.

    truncated: longer than the model reads, so cut. unmatched: with an image that the gallery does not hold.
    uncaptioned: pictures beside files of captions that have none. unpaired: examples of both, in words.
    problems: lines of the files that hold no caption.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    truncated: int = 0
    unmatched: int = 0
    problems: tuple[str, ...] = ()
    uncaptioned: int = 0
    unpaired: tuple[str, ...] = ()

    def __add__(self, other: "CaptionCounts") -> "CaptionCounts":
        return CaptionCounts(
            self.added + other.added,
            self.updated + other.updated,
            self.unchanged + other.unchanged,
            self.deleted + other.deleted,
            self.truncated + other.truncated,
            self.unmatched + other.unmatched,
            self.problems + other.problems,
            self.uncaptioned + other.uncaptioned,
            self.unpaired + other.unpaired,
        )


@dataclass(frozen=True, slots=True)
class GuessCounts:
    """What happened to the captions that models write.

    Attributes:
        model: The one that described pictures in this run; "" where none was asked.
        described: The number of pictures that it described.
        copied: The number of those whose content it had described before.
        unchanged: The number of those of which the gallery held what it says.
        deleted: The number of captions, of any model, whose picture is gone or has changed.
        unread: The number of pictures that could not be read, or of which it says nothing.
        unread_files: (path, reason) of the first of them.
        truncated: The number of descriptions that are longer than the gallery's model reads, so that their ends do not
            count.
    """

    model: str = ""
    described: int = 0
    copied: int = 0
    unchanged: int = 0
    deleted: int = 0
    unread: int = 0
    unread_files: tuple[tuple[str, str], ...] = ()
    truncated: int = 0


@dataclass(frozen=True, slots=True)
class EmbedReport:
    """What a run of `embed` did. device, precision: None where nothing had to be encoded.

    parity: how the fast way's vectors agree with the exact one's, by a sample of this run; None where nothing was
    encoded in the fast way. others: what happened to the items of further kinds, by kind, where there were any.
    tiles: how many of the pictures are tiles of others; None where the run was not told to cut any.
    guesses: what happened to captions that models write; None where there were none, and none was asked.
    caption_seconds: of `seconds`, what captions took that people have written; `stages` are those of pictures.
    """

    gallery: Location
    version: int
    encoder: EncoderIdentity
    device: str | None
    precision: str | None
    images: ImageCounts
    captions: CaptionCounts
    total_images: int
    total_captions: int
    seconds: float
    stages: StageTimes = _NONE
    parity: Parity | None = None
    others: Mapping[str, ItemCounts] = field(default_factory=dict)
    tiles: int | None = None
    guesses: GuessCounts | None = None
    caption_seconds: float = 0.0
