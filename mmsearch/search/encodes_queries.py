"""What encodes queries."""

from typing import Protocol

from mmsearch.encoders import Encoder

__all__ = ["EncodesQueries"]


class EncodesQueries(Protocol):
    """What encodes the queries to a gallery, loaded when it is first needed."""

    @property
    def chosen(self) -> bool:
        """Whether whoever asks chose another encoder than the one that the gallery names."""
        ...

    def encoder(self, side: str) -> Encoder:
        """An encoder with this side. Raises EncoderError, EncoderMismatch unless its image side is the gallery's."""
        ...

    @property
    def has_own_texts(self) -> bool:
        """Whether texts are read by another text side than the gallery's: what was measured with that one, and vectors
        that it made, say nothing then. Raises as `encoder`."""
        ...
