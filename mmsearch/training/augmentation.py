"""Pictures a little different at each look, so that a small training set is not learnt by heart."""

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

__all__ = ["crop", "random_boxes"]


def random_boxes(count: int, least: float, generator: torch.Generator) -> Tensor:
    """Random parts of pictures, as `crop` takes them: float32 (count, 2, 3), on the CPU.

    least: a part has at least this share of the area, 0 to 1; open_clip trains with 0.9. Sides keep their ratio within
    3 / 4 to 4 / 3, as in `torchvision.transforms.RandomResizedCrop`.
    """
    drawn = torch.rand(4, count, generator=generator)
    area = least + (1 - least) * drawn[0]
    ratio = torch.exp((2 * drawn[1] - 1) * torch.log(torch.tensor(4 / 3)))
    width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    boxes = torch.zeros(count, 2, 3)
    boxes[:, 0, 0], boxes[:, 0, 2] = width, (2 * drawn[2] - 1) * (1 - width)
    boxes[:, 1, 1], boxes[:, 1, 2] = height, (2 * drawn[3] - 1) * (1 - height)
    return boxes


def crop(pixels: Tensor, boxes: Tensor) -> Tensor:
    """Of each picture its box at the full size: float32 (n, 3, H, W) -> the same shape, on the same device. Never
    mirrored: captions know left from right."""
    grid = affine_grid(boxes.to(pixels.device), list(pixels.shape), align_corners=False)
    return grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)
