"""What a detector is."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from mmsearch.detectors.records import Found

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["Detector"]


class Detector(Protocol):
    """Finds things by their names.

    Attributes:
        spec: what named it, with its prefix.
        device: where it runs, for people.
    """

    spec: str
    device: str

    def find(self, image: "PIL.Image.Image", phrases: Sequence[str]) -> list[Found]:
        """An upright RGB image -> what each phrase names in it, in their order. Raises EncoderError."""
        ...
