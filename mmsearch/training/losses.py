"""What training makes small: that each picture's own text scores higher than those of the other pictures in the batch.

Row i of the images belongs to row i of the texts; images beyond the last text are wrong for all of them. Pairs off the
diagonal are negatives unless `left_out` has them: two captions of one picture, or one sentence about two, are no
mistakes of the model.
"""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, logsigmoid

__all__ = ["sigmoid_loss", "softmax_loss", "untrained_softmax_loss"]


def softmax_loss(images: Tensor, texts: Tensor, scale: Tensor, left_out: Tensor) -> Tensor:
    """The symmetric InfoNCE loss with which CLIP was trained (Radford et al. 2021, figure 3).

    images: (m, dim), texts: (n, dim), m >= n, L2-normalised. scale: what cosines are multiplied with, (). left_out:
    bool (m, n), of image i and text j whether the pair counts as neither right nor wrong; the diagonal is False. Each
    text is told apart from all images, each of the first n images from all texts. Equal to `open_clip.loss.ClipLoss`
    where m is n and nothing is left out. Returns (), natural logarithm; see `untrained_softmax_loss`.
    """
    logits = (scale * images @ texts.T).masked_fill(left_out, -torch.inf)
    own = torch.arange(len(texts), device=logits.device)
    return (cross_entropy(logits[: len(texts)], own) + cross_entropy(logits.T, own)) / 2


def untrained_softmax_loss(left_out: Tensor) -> float:
    """`softmax_loss` of a model that tells nothing apart: ln n of n pairs where nothing is left out.

    >>> round(untrained_softmax_loss(torch.zeros(8, 8, dtype=torch.bool)), 4)
    2.0794
    """
    told_apart = ~left_out
    of_texts, of_images = told_apart.sum(dim=0), told_apart[: left_out.shape[1]].sum(dim=1)
    return float(of_texts.double().log().mean() + of_images.double().log().mean()) / 2


def sigmoid_loss(images: Tensor, texts: Tensor, scale: Tensor, left_out: Tensor, bias: Tensor) -> Tensor:
    """The sigmoid loss with which SigLIP was trained (Zhai et al. 2023, algorithm 1): each pair alone is right or not.

    bias: (), added to the scaled cosines. All else as of `softmax_loss`. Equal to `open_clip.loss.SigLipLoss` where m
    is n and nothing is left out. Returns the sum over pairs by the n of the texts, ().
    """
    logits = scale * images @ texts.T + bias
    signs = 2 * torch.eye(*logits.shape, device=logits.device, dtype=logits.dtype) - 1
    return -logsigmoid(signs * logits).masked_fill(left_out, 0).sum() / len(texts)
