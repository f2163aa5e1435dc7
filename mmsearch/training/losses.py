"""What training makes small: that each picture's own text scores higher than those of the other pictures in the batch.

Row i of the images belongs to row i of the texts. Pairs off the diagonal are negatives unless `left_out` has them: two
captions of one picture, or one sentence about two, are no mistakes of the model.
"""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, logsigmoid

__all__ = ["sigmoid_loss", "softmax_loss"]


def softmax_loss(images: Tensor, texts: Tensor, scale: Tensor, left_out: Tensor) -> Tensor:
    """The symmetric InfoNCE loss with which CLIP was trained (Radford et al. 2021, figure 3).

    images, texts: (n, dim), L2-normalised. scale: what cosines are multiplied with, (). left_out: bool (n, n), of image
    i and text j whether the pair counts as neither right nor wrong; the diagonal is False. Equal to
    `open_clip.loss.ClipLoss` where nothing is left out. Returns (), natural logarithm: ln n where nothing is learnt.
    """
    logits = (scale * images @ texts.T).masked_fill(left_out, -torch.inf)
    own = torch.arange(len(logits), device=logits.device)
    return (cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2


def sigmoid_loss(images: Tensor, texts: Tensor, scale: Tensor, left_out: Tensor, bias: Tensor) -> Tensor:
    """The sigmoid loss with which SigLIP was trained (Zhai et al. 2023, algorithm 1): each pair alone is right or not.

    bias: (), added to the scaled cosines. All else as of `softmax_loss`. Equal to `open_clip.loss.SigLipLoss` where
    nothing is left out. Returns the sum over pairs by the n of the batch, ().
    """
    logits = scale * images @ texts.T + bias
    signs = 2 * torch.eye(len(logits), device=logits.device, dtype=logits.dtype) - 1
    return -logsigmoid(signs * logits).masked_fill(left_out, 0).sum() / len(logits)
