"""Captions: a text that belongs to an image, or to none, is an item."""

from dataclasses import dataclass

from mmsearch.items.images import IMAGES
from mmsearch.items.kinds import Kind

__all__ = ["CAPTIONS", "GUESS", "MACHINE", "CaptionRow"]

MACHINE = "machine:"
"""What the source of a caption begins with that a model has written; the model's name and a digest of it follow. No
file's does: a colon in the name of a file stands there as %3A."""

GUESS = "a machine's guess: "
"""What stands before a caption that a model has written, wherever people read it."""


@dataclass(frozen=True, slots=True)
class CaptionRow:
    """One caption of a gallery, all but its embedding. (source, ordinal) is its key; root_id and path name its image.

    Attributes:
        source: the file of captions that holds it; of one that a model has written, `MACHINE` and the model.
        ordinal: its place in that file, from 0; of one that a model has written, the row id of its image.
        truncated: whether it was longer than the model reads, so that its end did not count; None before it is encoded.
        guessed_by: the model that has written it; None where people have.
        content_hash: of the image that the model saw; None where people have written it, or its hash is not known.
    """

    caption: str
    root_id: int | None
    path: str | None
    path_bytes: bytes | None
    source: str
    ordinal: int
    truncated: bool | None = None
    guessed_by: str | None = None
    content_hash: bytes | None = None

    @property
    def words(self) -> str:
        """The caption, with a word before it where no person stands behind it."""
        return self.caption if self.guessed_by is None else f"{GUESS}{self.caption}"


CAPTIONS = Kind(
    name="captions",
    row=CaptionRow,
    side="text",
    noun="caption",
    how_to_add="mmsearch embed --captions FILE",
    told=("caption", "path", "file", "gone", "path_bytes", "file_bytes", "guessed_by"),
    text="words",
    belongs_to=IMAGES.name,
)
