"""An image tower in int8, for CPUs: weights quantised once, activations as they come (dynamic quantisation)."""

import copy
import warnings
from typing import Any

import torch
from open_clip.modified_resnet import AttentionPool2d

from mmsearch.errors import EncoderError

__all__ = ["quantised"]


def quantised(model: Any, tower: str = "visual") -> Any:
    """A copy of a model whose image tower multiplies in int8; the text tower is shared.

    tower: the name of the module that is the image tower. Of open_clip's transformers it is their MLPs that are
    quantised, two thirds of the work: `torch.nn.MultiheadAttention` reads weights without calling the `Linear` that
    holds them, and so does the pooling of ResNets.
    Raises EncoderError where this torch cannot do it, or would gain nothing.
    """
    above, _, own_name = tower.rpartition(".")
    memo = {id(part): part for name, part in model.get_submodule(above).named_children() if name != own_name}
    copied = copy.deepcopy(model, memo)
    images = copied.get_submodule(tower)
    untouchable = {
        f"{pool}.{part}"
        for pool, module in images.named_modules()
        if isinstance(module, AttentionPool2d)
        for part, _ in module.named_modules()
    }
    # By their exact type: subclasses, such as that of MultiheadAttention, are subclasses for a reason.
    names = {name for name, part in images.named_modules() if type(part) is torch.nn.Linear} - untouchable
    if not names:
        raise EncoderError("int8 is for transformers; this model's image tower has nothing to gain from it")
    try:
        with warnings.catch_warnings():
            # Deprecated in favour of torchao, a package of its own; here as long as torch has it.
            warnings.simplefilter("ignore")
            quantize: Any = torch.ao.quantization.quantize_dynamic
            quantize(images, names, torch.qint8, inplace=True)
    except (AttributeError, RuntimeError) as error:
        raise EncoderError(f"torch {torch.__version__} cannot quantise on this machine: {error}") from error
    return copied
