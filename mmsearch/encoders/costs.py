"""What an encoder costs. Measured by `mmsearch.encoders.measuring_costs`, which loads torch."""

from dataclasses import dataclass

__all__ = ["EncoderCosts"]


@dataclass(frozen=True, slots=True)
class EncoderCosts:
    """What an encoder costs.

    Attributes:
        image_parameters: The number of weights that take part in encoding an image; None where torch does not do it.
        text_parameters: Likewise of a text.
        image_flops: Floating-point operations of encoding one image, by `torch.utils.flop_counter`: those of matrix
            products, convolutions and attention, a multiplication and an addition being two. None where there are none.
        text_flops: Likewise of a text as long as the model reads.
        images_per_second: How many prepared images were encoded in a second on the device; decoding is not in it.
        device, precision: What that speed was measured on and in.
    """

    image_parameters: int | None
    text_parameters: int | None
    image_flops: int | None
    text_flops: int | None
    images_per_second: float
    device: str
    precision: str

    @property
    def parameters(self) -> int | None:
        """Of both sides; None where one of them was not counted."""
        if self.image_parameters is None or self.text_parameters is None:
            return None
        return self.image_parameters + self.text_parameters
