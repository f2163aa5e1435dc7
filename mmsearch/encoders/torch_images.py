"""The image side of a model that torch runs, whoever made it: its lanes, its reference, its JPEG decoder."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmsearch.encoders.devices import Precision, every_device, threads_of_operations
from mmsearch.encoders.jpeg_decoding import BatchJpegDecoder, why_not_on
from mmsearch.encoders.lanes import MOST_CPU_LANES, Lane
from mmsearch.encoders.preprocessing import TorchPixels
from mmsearch.encoders.protocols import ImageLane, ImageSide, Pixels
from mmsearch.encoders.quantised import quantised
from mmsearch.errors import EncoderError
from mmsearch.identity import EncoderIdentity

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["TorchImages"]

# On CUDA one lane computes while the other's pixels are on their way.
_LANES = {"cuda": 2, "mps": 1}


class TorchImages(ImageSide):
    """The image side of a model. Implements `mmsearch.encoders.ImageSide` and `DecodesJpeg`.

    model: has `encode_image`, (n, 3, H, W) -> (n, dim). prepare: an upright RGB image -> (3, H, W), by the checkpoint's
    own transform; thread-safe. fast: the same in a hurry; None where there is no other way. tower: the name of the
    module that encodes images, for int8; None where it has none of its own. stack: see `ImageSide.stack`; None for
    pixels of one shape.
    """

    def __init__(
        self,
        model: Any,
        prepare: Callable[["PIL.Image.Image"], NDArray[np.float32]],
        fast: TorchPixels | None,
        identity: EncoderIdentity,
        device: torch.device,
        precision: Precision,
        *,
        tower: str | None,
        stack: Callable[[Sequence[NDArray[np.float32]]], NDArray[np.float32]] | None = None,
    ) -> None:
        self._model, self._prepare, self._fast, self._identity = model, prepare, fast, identity
        self._device, self._precision, self._stack = device, precision, stack
        self._reference_lane = self._lane_of(model.encode_image, device)
        if precision == "int8" and tower is None:
            raise EncoderError(f"{identity.spec} has no image tower of its own that could be quantised to int8")
        image_model: Any = quantised(model, tower) if precision == "int8" and tower else model
        self._lane = self._lane_of(image_model.encode_image, device)

    @property
    def fast(self) -> TorchPixels | None:
        return self._fast

    def prepare(self, image: "PIL.Image.Image") -> NDArray[np.float32]:
        return self._prepare(image)

    def stack(self, prepared: Sequence[Pixels]) -> Pixels:
        if self._stack is None:
            return super().stack(prepared)
        return self._stack([np.asarray(each, np.float32) for each in prepared])

    def encode(self, pixels: Pixels) -> NDArray[np.float32]:
        if len(pixels) == 0:
            return np.empty((0, self._identity.dim), dtype=np.float32)
        return self._lane.images(pixels).vectors

    def encode_reference(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        return self._reference_lane.run(torch.from_numpy(np.array(pixels)), self._model.encode_image, "fp32")

    @contextmanager
    def lanes(self, threads: int) -> Iterator[tuple[ImageLane, ...]]:
        if self._device.type == "cpu":
            # One thread a lane: two that share a matrix product wait for each other, and for whoever decodes.
            count = min(threads, MOST_CPU_LANES)
            with threads_of_operations(max(1, threads // count)):
                encode = self._lane.encode_image
                yield tuple(self._lane_of(encode, self._device).images for _ in range(count))
            return
        lanes: list[ImageLane] = []
        for place, device in enumerate(every_device(self._device)):
            model = self._copied_to(device) if place else self._model
            lanes += [self._lane_of(model.encode_image, device, number).images for number in range(_LANES[device.type])]
        try:
            yield tuple(lanes)
        finally:
            # What batches took is for other programs now; torch would keep it until this one ends.
            torch.cuda.empty_cache()

    def _copied_to(self, device: torch.device) -> Any:
        model = copy.deepcopy(self._model).to(device)
        # The streams of lanes do not wait for the one in which the weights are on their way.
        torch.cuda.synchronize(device)
        return model

    def why_no_jpeg_decoder(self) -> str | None:
        if self._fast is None:
            return "the model's own processor alone knows how its pictures are prepared"
        return why_not_on(every_device(self._device)[0])

    def jpeg_decoder(self) -> BatchJpegDecoder:
        # Of several GPUs the first. torchvision has one decoder in a process, which it makes anew for each call on
        # another device than the last one's, and never frees: on two in turn, memory would run out. Of several
        # processes (--ray) each has one.
        assert self._fast is not None, "asked for in spite of why_no_jpeg_decoder"
        return BatchJpegDecoder(every_device(self._device)[0], self._fast)

    def _lane_of(
        self, encode_image: Callable[[torch.Tensor], torch.Tensor], device: torch.device, number: int = 0
    ) -> Lane:
        return Lane(encode_image, device, self._precision, self._fast, self._identity.spec, number)
