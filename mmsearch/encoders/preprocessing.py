"""From a decoded picture to what an image tower takes: open_clip's own transform, and the same geometry in a hurry."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from open_clip.transform import PreprocessCfg, center_crop_or_pad, image_transform_v2
from torch.nn.functional import interpolate

from mmsearch.towers.image_pixels import ImagePixels, PixelsRecord

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["Preprocessing", "TorchPixels"]

_TRANSPOSED = 5  # EXIF orientations from this one on swap width and height


class TorchPixels(ImagePixels):
    """The validation transform of a checkpoint up to its 8-bit pixels, by torch; `normalise` does the rest on the
    device. Implements `mmsearch.encoders.FastPreprocessing`. Arrays are resized six times as fast as by Pillow."""

    def __init__(self, record: PixelsRecord) -> None:
        super().__init__(record)
        self._mean = torch.tensor(self.record.mean).view(3, 1, 1)
        self._std = torch.tensor(self.record.std).view(3, 1, 1)
        self._moments: dict[torch.device, tuple[torch.Tensor, torch.Tensor]] = {}
        self._mode = "bilinear" if self.record.bilinear else "bicubic"

    def fit_array(
        self, pixels: NDArray[np.uint8], scale: int, size: tuple[int, int], orientation: int
    ) -> NDArray[np.uint8]:
        """A stored picture (h, w, 3), at 1 / scale of its size -> (H, W, 3), upright.

        size: (width, height) of the upright picture at full scale. It is turned when it is small, but before it is
        cropped: where one pixel is too many, which one goes depends on what is left and right.
        """
        stored, target = self._stored_sizes(size, orientation)
        small = torch.from_numpy(pixels).permute(2, 0, 1)[None]
        if small.shape[2:] != target:
            # Scaled by 4, 4001 columns are 1001, of which the last is a quarter: so torch is told the factors instead
            # of taking them from the sizes. A touch more, since it rounds down: 127.99999 columns are not 127.
            factors = [scale * after / before * (1 + 1e-9) for after, before in zip(target, stored, strict=True)]
            small = interpolate(small, scale_factor=factors, mode=self._mode, antialias=True)
        return np.ascontiguousarray(self._upright_middles(small, orientation)[0].numpy())

    def fit_tensors(self, pixels: torch.Tensor, size: tuple[int, int], orientation: int) -> torch.Tensor:
        """Stored pictures of one size on one device, uint8 (n, 3, h, w) -> uint8 (n, H, W, 3) there, upright.

        size, orientation: as of `fit_array`. In float32, since GPUs resize no bytes.
        """
        _, target = self._stored_sizes(size, orientation)
        if pixels.shape[2:] != target:
            resized = interpolate(pixels.to(torch.float32), size=target, mode=self._mode, antialias=True)
            pixels = resized.round_().clamp_(0, 255).to(torch.uint8)
        return self._upright_middles(pixels, orientation).contiguous()

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 (n, H, W, 3) on a device -> float32 (n, 3, H, W), as `reference` gives it, channels last in memory."""
        mean, std = self._moments_on(pixels.device)
        return pixels.permute(0, 3, 1, 2).to(torch.float32).div_(255).sub_(mean).div_(std)

    def _moments_on(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and deviation on a device, copied there once: a copy a batch would make the device wait."""
        if device not in self._moments:
            self._moments[device] = self._mean.to(device), self._std.to(device)
        return self._moments[device]

    def error(self, pixels: NDArray[np.uint8], reference: NDArray[np.float32]) -> float:
        """Mean squared difference, in units of 1/255, between what `fit` gave and what `reference` gave."""
        wanted = ((torch.from_numpy(reference) * self._std + self._mean) * 255).round()
        difference = torch.from_numpy(pixels).permute(2, 0, 1) - wanted
        return float(difference.square().mean())

    def _stored_sizes(self, size: tuple[int, int], orientation: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """(height, width) of a picture as it is stored, and what it is resized to before it is turned and cropped.

        size: (width, height), upright."""
        width, height = size
        tall, wide = self.resized(width, height)
        stored, target = (height, width), (max(1, tall), max(1, wide))
        return (stored[::-1], target[::-1]) if orientation >= _TRANSPOSED else (stored, target)

    def _upright_middles(self, resized: torch.Tensor, orientation: int) -> torch.Tensor:
        """(n, 3, h, w), resized but stored as the camera held it -> (n, H, W, 3), cropped when it is upright."""
        upright = turned(resized, orientation)
        return self._cropped(upright).permute(0, 2, 3, 1)

    def _cropped(self, upright: torch.Tensor) -> torch.Tensor:
        """(n, 3, h, w) -> its middle (n, 3, H, W); what is smaller is padded."""
        fill = self.record.fill
        one = fill[0] if len(set(fill)) == 1 else fill
        cropped: torch.Tensor = center_crop_or_pad(upright, list(self.size), fill=one)
        return cropped


class Preprocessing(TorchPixels):
    """open_clip's validation transform of a checkpoint, in two ways that agree to about 70 dB.

    `reference` is its own, on Pillow images. What `fit` does to those is the same to the last bit.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        own = PreprocessCfg(**config)
        super().__init__(_record(own))
        self._transform = image_transform_v2(own, is_train=False)

    def reference(self, image: "PIL.Image.Image") -> NDArray[np.float32]:
        """An RGB image -> (3, H, W) float32, normalised."""
        pixels: NDArray[np.float32] = self._transform(self._middle(image)).numpy()
        return pixels


def turned(pixels: torch.Tensor, orientation: int) -> torch.Tensor:
    """(…, h, w) as stored -> upright, by its EXIF orientation (CIPA DC-008, tag 0x0112)."""
    if orientation >= _TRANSPOSED:
        pixels = pixels.transpose(-2, -1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels.flip(-1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels.flip(-2)
    return pixels


def _record(config: PreprocessCfg) -> PixelsRecord:
    height, width = _pair(config.size)
    # "random" is for training: open_clip then infers with bicubic, as it does for the shortest side where the target
    # is not square.
    bilinear = config.interpolation == "bilinear" and not (config.resize_mode == "shortest" and height != width)
    fill = tuple(map(int, _triple(config.fill_color)))
    return PixelsRecord(height, width, config.resize_mode, bilinear, fill, _triple(config.mean), _triple(config.std))


def _triple(value: Any) -> tuple[float, ...]:
    return tuple(float(each) for each in value) if isinstance(value, (list, tuple)) else (float(value),) * 3


def _pair(size: Any) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    return int(height), int(width)
