"""Which encoder made a vector, and which side of it."""

from dataclasses import dataclass

from mmsearch.errors import EncoderMismatch
from mmsearch.names import shell_quoted

__all__ = ["EncoderIdentity", "require_same_encoder", "require_same_images"]


@dataclass(frozen=True, slots=True)
class EncoderIdentity:
    """Which encoder made a gallery's vectors.

    spec: as `--model` takes it, e.g. "ViT-B-32/laion2b_s34b_b79k"; local paths absolute.
    fingerprint: "sha256:<hex>" over config, preprocessing, tokenizer and weights, or "declared:<model>" for imported
    vectors.
    dim: length of an embedding.
    image_of: the fingerprint of the encoder whose image side this one has, where only its text side was trained: their
    vectors of pictures are the same. None where its image side is its own.
    """

    spec: str
    fingerprint: str
    dim: int
    image_of: str | None = None

    @property
    def declared(self) -> bool:
        """Whether nobody has checked that the vectors are of this encoder."""
        return self.fingerprint.startswith("declared:")

    def of_side(self, side: str) -> str:
        """What two encoders have in common whose vectors of a side ("image", "text") are the same: a fingerprint."""
        return self.image_of if side == "image" and self.image_of is not None else self.fingerprint


def require_same_encoder(gallery: EncoderIdentity, other: EncoderIdentity, place: object) -> None:
    """Raise EncoderMismatch, naming both and the place of the gallery, unless the two are the same encoder."""
    if gallery.fingerprint == other.fingerprint:
        return
    if gallery.of_side("image") == other.of_side("image"):
        raise EncoderMismatch(
            f"{place} has the text side of {gallery.spec} ({gallery.fingerprint[:19]}…), not that of {other.spec} "
            f"({other.fingerprint[:19]}…), which sees pictures alike and reads texts otherwise. Use --model "
            f"{shell_quoted(gallery.spec)}, or give the gallery that text side: mmsearch embed --model "
            f"{shell_quoted(other.spec)} --gallery {shell_quoted(place)}"
        )
    raise EncoderMismatch(_mismatch(gallery, other, place))


def require_same_images(gallery: EncoderIdentity, other: EncoderIdentity, place: object) -> None:
    """Raise EncoderMismatch unless the two make the same vectors of pictures; their text sides may differ."""
    if gallery.fingerprint == other.fingerprint:  # all of it is the same, whether or not its folder still says whose
        return
    if gallery.of_side("image") != other.of_side("image"):
        raise EncoderMismatch(_mismatch(gallery, other, place))


def _mismatch(gallery: EncoderIdentity, other: EncoderIdentity, place: object) -> str:
    return (
        f"{place} holds vectors of {gallery.spec} ({gallery.fingerprint[:19]}…), not of {other.spec} "
        f"({other.fingerprint[:19]}…); vectors of two models cannot be compared. "
        f"Use --model {shell_quoted(gallery.spec)}, or another gallery with --gallery."
    )
