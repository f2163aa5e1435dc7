"""Pictures as an image processor of transformers prepares them: by itself, and the same in a hurry."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmsearch.encoders.preprocessing import TorchPixels
from mmsearch.errors import EncoderError
from mmsearch.towers.image_pixels import PixelsRecord

if TYPE_CHECKING:
    import PIL.Image

__all__ = [
    *("PatchedPictures", "ProcessorPixels", "SquarePictures", "pictures_of", "sample_picture", "square_pictures_of"),
]

_BILINEAR, _BICUBIC = 2, 3  # Pillow's numbers, which settings use
_PLAIN = {"pixel_values"}
_PATCHED = {"pixel_values", "pixel_attention_mask", "spatial_shapes"}
# How far the quick way may be off, in 1/255ths, as mean of squares: Pillow and torch round differently; a crop that is
# a pixel off is a hundred times as much.
_MOST_ERROR = 2.0
_TRIED_SIZES = ((317, 211), (150, 334), (901, 600), (41, 30))


def pictures_of(processor: Any, spec: str) -> "SquarePictures | PatchedPictures":
    """How pictures become what a model takes. processor: that of the model, which has an `image_processor` and may know
    better than that (of SigLIP2's, how many patches there are).

    Raises EncoderError where what it makes of a picture is not known here.
    """
    try:
        made = processor(images=sample_picture((64, 48)), return_tensors="pt")
        shapes = {
            tuple(processor(images=sample_picture(size), return_tensors="pt")["pixel_values"].shape)
            for size in _TRIED_SIZES
        }
    except Exception as error:  # whatever a processor thinks of its settings
        raise EncoderError(
            f"the image processor of {spec} fails: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        ) from error
    if set(made) == _PATCHED:
        return PatchedPictures(processor)
    if set(made) != _PLAIN or made["pixel_values"].ndim != 4:
        raise EncoderError(
            f"the image processor of {spec} makes {', '.join(sorted(made))} of a picture, not its pixels"
        )
    if len(shapes) > 1:
        raise EncoderError(f"the image processor of {spec} makes pictures of different sizes, and none of one size")
    return SquarePictures(processor)


def square_pictures_of(processor: Any) -> "SquarePictures | None":
    """Likewise of a processor that makes pictures of one size; None for another."""
    if getattr(processor, "image_processor", None) is None:
        return None
    try:
        pictures = pictures_of(processor, "")
    except EncoderError:
        return None
    return pictures if isinstance(pictures, SquarePictures) else None


class SquarePictures:
    """Pictures that are resized and cropped to one size.

    Attributes:
        fast: the same in a hurry; None where the processor does more than that.
    """

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        self.fast: ProcessorPixels | None = _fast_pixels(processor)

    def prepare(self, image: "PIL.Image.Image") -> NDArray[np.float32]:
        """An upright RGB image -> (3, H, W), as the processor gives it."""
        if self.fast is not None:
            image = self.fast.middle(image)
        pixels: NDArray[np.float32] = _one(self._processor, image)["pixel_values"].numpy().astype(np.float32)
        return pixels

    @staticmethod
    def inputs(pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        """(n, 3, H, W) -> what the model takes."""
        return {"pixel_values": pixels}


class PatchedPictures:
    """Pictures that keep their shape, as patches of a number that is never exceeded (SigLIP2's NaFlex).

    So that all are of one shape, the patches are packed: (3, patches + 1, values of a patch and channel), where the
    last row says how many patches there are from top to bottom and from left to right.
    """

    fast = None

    def __init__(self, processor: Any) -> None:
        self._processor = processor

    def prepare(self, image: "PIL.Image.Image") -> NDArray[np.float32]:
        """An upright RGB image -> (3, patches + 1, values)."""
        made = _one(self._processor, image)
        patches = made["pixel_values"].numpy().astype(np.float32)
        count, values = patches.shape
        packed = np.zeros((3, count + 1, values // 3), dtype=np.float32)
        packed[:, :count] = patches.reshape(count, 3, values // 3).transpose(1, 0, 2)
        packed[0, count, :2] = made["spatial_shapes"].numpy()
        return packed

    @staticmethod
    def inputs(packed: torch.Tensor) -> dict[str, torch.Tensor]:
        """(n, 3, patches + 1, values) -> what the model takes."""
        number, _, rows, values = packed.shape
        shapes = packed[:, 0, rows - 1, :2].round().long()
        used = torch.arange(rows - 1, device=packed.device)[None] < shapes.prod(dim=1)[:, None]
        patches = packed[:, :, : rows - 1].permute(0, 2, 1, 3).reshape(number, rows - 1, 3 * values)
        return {"pixel_values": patches, "pixel_attention_mask": used.int(), "spatial_shapes": shapes}


class ProcessorPixels(TorchPixels):
    """The geometry of transformers' processors: like torchvision's, but that of an odd surplus it crops the larger half
    on the right and below.

    edge: what the shorter side is resized to; None where each side is resized to its own. target: (H, W) of that.
    """

    def __init__(self, record: PixelsRecord, edge: int | None, target: tuple[int, int]) -> None:
        super().__init__(record)
        self._edge, self._target = edge, target

    def fit(self, image: "PIL.Image.Image") -> NDArray[np.uint8]:
        image = self.middle(image)
        return self.fit_array(np.array(image), 1, image.size, 1)

    def middle(self, image: "PIL.Image.Image") -> "PIL.Image.Image":
        """Of a ribbon, which would be resized to gigabytes, the part that is not cropped; others as they are."""
        return self._middle(image)

    def resized(self, width: int, height: int) -> tuple[int, int]:
        if self._edge is None:
            return self._target
        long = int(self._edge * max(width, height) / min(width, height))
        return (self._edge, long) if height <= width else (long, self._edge)

    def _cropped(self, upright: torch.Tensor) -> torch.Tensor:
        tall, wide = self.size
        down, across = max(0, tall - upright.shape[-2]), max(0, wide - upright.shape[-1])
        if down or across:
            border = (across // 2, (across + 1) // 2, down // 2, (down + 1) // 2)
            upright = torch.nn.functional.pad(upright, border)
        top, left = (upright.shape[-2] - tall) // 2, (upright.shape[-1] - wide) // 2
        return upright[..., top : top + tall, left : left + wide]


@dataclass(frozen=True, slots=True)
class _Geometry:
    edge: int | None
    target: tuple[int, int]
    size: tuple[int, int]


def _fast_pixels(processor: Any) -> ProcessorPixels | None:
    """The quick way to what a processor makes of pictures; None where it does more than to resize, crop and normalise.

    What it does is read from its settings, its normalisation from what it makes of black and white, and all of it is
    held against the processor itself: one that is not as it looks is not hurried.
    """
    geometry = _geometry(processor.image_processor)
    if geometry is None:
        return None
    tall, wide = geometry.size
    black, white = (_one(processor, _plain((4 * wide, 4 * tall), grey))["pixel_values"].double() for grey in (0, 255))
    if black.shape != (3, tall, wide) or (white - black).abs().min() < 1e-6:
        return None
    deviation = 1 / (white - black).mean(dim=(1, 2))
    mean = -black.mean(dim=(1, 2)) * deviation
    record = PixelsRecord(
        *geometry.size,
        "squash" if geometry.edge is None else "shortest",
        processor.image_processor.resample == _BILINEAR,
        (0, 0, 0),
        tuple(mean.tolist()),
        tuple(deviation.tolist()),
    )
    fast = ProcessorPixels(record, geometry.edge, geometry.target)
    for size in _TRIED_SIZES:
        image = sample_picture(size)
        if fast.error(fast.fit(image), _one(processor, image)["pixel_values"].float().numpy()) > _MOST_ERROR:
            return None
    return fast


def _geometry(processor: Any) -> _Geometry | None:
    """What a processor says of its resizing and cropping; None where it is not that alone."""
    size, crop = _sides(processor, "size"), _sides(processor, "crop_size")
    if not getattr(processor, "do_resize", False) or getattr(processor, "do_pad", False):
        return None
    if getattr(processor, "resample", None) not in (_BILINEAR, _BICUBIC):
        return None
    cropped = (crop["height"], crop["width"]) if getattr(processor, "do_center_crop", False) and crop else None
    if set(size) == {"shortest_edge"} and cropped:
        edge = size["shortest_edge"]
        return _Geometry(edge, (edge, edge), cropped)
    if set(size) == {"height", "width"}:
        target = size["height"], size["width"]
        return _Geometry(None, target, cropped or target)
    return None


def _sides(processor: Any, name: str) -> dict[str, int]:
    given = getattr(processor, name, None) or {}
    items = given.items() if isinstance(given, Mapping) else vars(given).items()
    return {key: int(value) for key, value in items if value is not None}


def _one(processor: Any, image: "PIL.Image.Image") -> dict[str, torch.Tensor]:
    """What a processor makes of one picture, without the axis of the batch."""
    made = processor(images=image, return_tensors="pt")
    return {name: values[0] for name, values in made.items()}


def sample_picture(size: tuple[int, int]) -> "PIL.Image.Image":
    """A smooth picture in which each place is another."""
    import PIL.Image

    width, height = size
    small = np.random.default_rng(0).integers(0, 256, (max(2, height // 8), max(2, width // 8), 3), dtype=np.uint8)
    return PIL.Image.fromarray(small).resize(size, PIL.Image.Resampling.BICUBIC)


def _plain(size: tuple[int, int], grey: int) -> "PIL.Image.Image":
    import PIL.Image

    return PIL.Image.new("RGB", size, (grey, grey, grey))
