"""Which encoder made a vector."""

from dataclasses import dataclass

__all__ = ["EncoderIdentity"]


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
