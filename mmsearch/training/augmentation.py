"""Pictures a little different at each look, so that a small training set is not learnt by heart."""

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

__all__ = ["crop_at_random"]


def crop_at_random(pixels: Tensor, least: float, generator: torch.Generator) -> Tensor:
    """Of each picture a random part at its full size: float32 (n, 3, H, W) -> the same shape.

    least: the part has at least this share of the area, 0 to 1; open_clip trains with 0.9. Sides keep their ratio
    within 3 / 4 to 4 / 3, as in `torchvision.transforms.RandomResizedCrop`. Never mirrored: captions know left from
    right.
    generator: on the CPU, so that all devices draw the same.
    """
    count = len(pixels)
    drawn = torch.rand(4, count, generator=generator)
    area = least + (1 - least) * drawn[0]
    ratio = torch.exp((2 * drawn[1] - 1) * torch.log(torch.tensor(4 / 3)))
    width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 0, 2] = width, (2 * drawn[2] - 1) * (1 - width)
    theta[:, 1, 1], theta[:, 1, 2] = height, (2 * drawn[3] - 1) * (1 - height)
    grid = affine_grid(theta.to(pixels.device), list(pixels.shape), align_corners=False)
    return grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)
