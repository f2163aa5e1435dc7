"""The model that is trained, once on each device: several take shares of a batch, and change nothing else.

Chunks of a batch go to the devices in turn. Their vectors come together on the first, where the loss compares the whole
batch; the gradients of all are added up there, the optimiser steps there, and the others take its weights over. So the
gradient is that of one device, but for the order in which numbers are added.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mmsearch.encoders.devices import every_device
from mmsearch.training.low_rank import Adapters
from mmsearch.training.tower_settings import TowerPrecision, TowerSettings
from mmsearch.training.trainable_model import TrainableModel

__all__ = ["Replica", "Replicas"]


@dataclass(frozen=True, slots=True, eq=False)
class Replica:
    """A model on one device, laid out for training.

    Attributes:
        trainable: The model.
        adapters: What is trained of it where that is not all.
        parameters: What is trained, by name.
        precision: In which its towers compute.
    """

    trainable: TrainableModel
    adapters: Adapters | None
    parameters: dict[str, nn.Parameter]
    precision: TowerPrecision

    @classmethod
    def of(cls, trainable: TrainableModel, settings: TowerSettings, tokens: Tensor) -> "Replica":
        """Lay out a model, which is changed in place. tokens: int64 (n,), the different ones of the training texts."""
        model = trainable.model
        adapters = None
        if settings.method == "lora":
            adapters = Adapters(model, rank=settings.rank, tokens=tokens, seed=settings.seed)
        else:
            model.requires_grad_(True)
        model.logit_scale.requires_grad_(True)
        if trainable.has_sigmoid_loss:
            model.logit_bias.requires_grad_(True)
        parameters = {name: each for name, each in model.named_parameters() if each.requires_grad}
        if adapters is not None and adapters.tokens is not None:
            parameters["token_rows"] = adapters.tokens.rows
        return cls(trainable, adapters, parameters, settings.precision)

    def prepare(self, pixels: NDArray[np.uint8]) -> Tensor:
        """(n, H, W, 3) -> float32 (n, 3, H, W), as the image tower takes them, on the device."""
        prepared: Tensor = self.trainable.preprocessing.normalise(torch.from_numpy(pixels).to(self.trainable.device))
        return prepared

    def encode_images(self, pixels: Tensor) -> Tensor:
        """See `TrainableModel.encode_images`."""
        return self._encode(self.trainable.encode_images, pixels)

    def encode_texts(self, ids: Tensor) -> Tensor:
        """See `TrainableModel.encode_texts`."""
        return self._encode(self.trainable.encode_texts, ids)

    def _encode(self, encode: Callable[[Tensor], Tensor], given: Tensor) -> Tensor:
        with self._autocast():
            return encode(given)

    def _autocast(self) -> AbstractContextManager[object]:
        """bf16 needs no scaling of the loss, as fp16 does."""
        device, in_bf16 = self.trainable.device, self.precision == "bf16"
        if self.precision == "auto":
            in_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.autocast(device.type, dtype=torch.bfloat16) if in_bf16 else nullcontext()


class Replicas:
    """One for each device that works under the name of the model's: "cuda" is every GPU.

    Attributes:
        first: The model itself; the others are copies of it.
        all: With the first.
    """

    def __init__(self, trainable: TrainableModel, settings: TowerSettings, tokens: Tensor) -> None:
        models = [trainable, *(trainable.copied_to(device) for device in every_device(trainable.device)[1:])]
        self.all = tuple(Replica.of(model, settings, tokens) for model in models)
        self.first = self.all[0]

    def __len__(self) -> int:
        return len(self.all)

    def of_chunk(self, number: int) -> Replica:
        """The one whose turn it is."""
        return self.all[number % len(self.all)]

    def set_training(self, is_training: bool) -> None:
        for each in self.all:
            each.trainable.set_training(is_training)

    def gather_gradients(self) -> None:
        """Add the gradients of all to those of the first; the others have none any more."""
        for other in self.all[1:]:
            for name, parameter in other.parameters.items():
                if (gradient := parameter.grad) is None:
                    continue
                parameter.grad = None
                total = self.first.parameters[name]
                moved = gradient.to(total.device)
                total.grad = moved if total.grad is None else total.grad.add_(moved)

    def share_weights(self) -> None:
        """Give all the weights of the first."""
        with torch.no_grad():
            for other in self.all[1:]:
                for name, parameter in other.parameters.items():
                    parameter.copy_(self.first.parameters[name])
