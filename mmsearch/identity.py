"""Which encoder made a vector."""

from dataclasses import dataclass

from mmsearch.errors import EncoderMismatch

__all__ = ["EncoderIdentity", "require_same_encoder"]


@dataclass(frozen=True, slots=True)
class EncoderIdentity:
    """Which encoder made a gallery's vectors.

    spec: as `--model` takes it, e.g. "ViT-B-32/laion2b_s34b_b79k"; local paths absolute.
    fingerprint: "sha256:<hex>" over config, preprocessing, tokenizer and weights, or "declared:<model>" for imported
    vectors.
    dim: length of an embedding.
    """

    spec: str
    fingerprint: str
    dim: int

    @property
    def declared(self) -> bool:
        """Whether nobody has checked that the vectors are of this encoder."""
        return self.fingerprint.startswith("declared:")


def require_same_encoder(gallery: EncoderIdentity, other: EncoderIdentity, place: object) -> None:
    """Raise EncoderMismatch, naming both and the place of the gallery, unless the two are the same encoder."""
    if gallery.fingerprint != other.fingerprint:
        raise EncoderMismatch(
            f"{place} holds vectors of {gallery.spec} ({gallery.fingerprint[:19]}…), not of {other.spec} "
            f"({other.fingerprint[:19]}…); vectors of two models cannot be compared. "
            f"Use --model {gallery.spec}, or another gallery with --gallery."
        )
