"""An encoder: an identity, and a side for each kind of input that it takes. And what is said to who makes one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from mmsearch.encoders.protocols import ImageSide, TextSide
from mmsearch.errors import EncoderError
from mmsearch.identity import EncoderIdentity

__all__ = ["Encoder", "EncoderRequest", "Provider"]


class Encoder:
    """A model whose sides give vectors that compare.

    Attributes:
        identity: which encoder this is, independent of device and precision.
        sides: name -> side: "image" (`ImageSide`), "text" (`TextSide`), others (`Side`). Not every encoder has each.
        device: where it runs, for people: "cpu", "cuda: NVIDIA H100 80GB HBM3", "mps".
        precision: what it computes in: "fp32", "fp16", "bf16" or "int8". Vectors are float32 in each case.
        logit_scale: what it was trained to multiply cosines with before a softmax or a sigmoid: the inverse of its
            temperature. None where the model does not say.
    """

    def __init__(
        self,
        identity: EncoderIdentity,
        sides: Mapping[str, Any],
        *,
        device: str = "cpu",
        precision: str = "fp32",
        logit_scale: float | None = None,
    ) -> None:
        self.identity: EncoderIdentity = identity
        self.sides = dict(sides)
        self.device = device
        self.precision = precision
        self.logit_scale = logit_scale

    @property
    def image(self) -> ImageSide:
        """The side that takes images. Raises EncoderError where there is none."""
        return cast(ImageSide, self.side("image"))

    @property
    def text(self) -> TextSide:
        """The side that takes texts. Raises EncoderError where there is none."""
        return cast(TextSide, self.side("text"))

    def side(self, name: str) -> Any:
        """The side of a name. Raises EncoderError, which names the sides that there are."""
        if name not in self.sides:
            there = ", ".join(self.sides) or "none"
            raise EncoderError(f"{self.identity.spec} has no {name} side; the sides that it has: {there}")
        return self.sides[name]


@dataclass(frozen=True, slots=True)
class EncoderRequest:
    """What is asked of a provider.

    Attributes:
        spec: the whole of it, with its prefix.
        sides: those that will be used. An encoder may have more; one that has less is refused.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: auto, fp32, fp16, bf16 or int8.
        known: the encoder that a gallery names, where nothing else was asked for: what is cached by its fingerprint
            may serve.
        announce: gets a line before each download (what, from where, how large, where to), and before what takes long.
    """

    spec: str
    sides: frozenset[str]
    device: str
    precision: str
    known: EncoderIdentity | None
    announce: Callable[[str], None]

    @property
    def name(self) -> str:
        """The spec without its prefix."""
        return self.spec.partition(":")[2]


Provider: TypeAlias = Callable[[EncoderRequest], Encoder]
"""Opens an encoder, or raises EncoderError."""
