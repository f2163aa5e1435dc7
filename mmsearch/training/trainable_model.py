"""A model of open_clip as it is trained: its towers, and what prepares their input."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from mmsearch.encoders.devices import choose_device
from mmsearch.encoders.open_clip_encoder import CausalTextTower, build_model, causal_text_tower
from mmsearch.encoders.preprocessing import Preprocessing
from mmsearch.encoders.sources import ModelSource, resolve
from mmsearch.encoders.specs import OWN_PREFIXES, parse_spec
from mmsearch.encoders.tokens import Tokenizer, load_tokenizer
from mmsearch.errors import TrainingError

__all__ = ["TrainableModel", "open_trainable_model"]

_MOST_SCALE = 100.0
"""CLIP's own bound on what cosines are multiplied with (Radford et al. 2021, section 2.5): beyond it training is not
stable."""


@dataclass(slots=True)
class TrainableModel:
    """Attributes:
    source: what it was made of. model: fp32, on its device. tokenizer, preprocessing: of its input.
    short_texts: the text tower for texts cut to their length; None where that would change them.
    """

    source: ModelSource
    model: Any
    tokenizer: Tokenizer
    preprocessing: Preprocessing
    device: torch.device
    short_texts: CausalTextTower | None

    @property
    def has_sigmoid_loss(self) -> bool:
        """Whether it was trained as SigLIP was: such models alone have a bias beside the scale."""
        return self.model.logit_bias is not None

    def tokens(self, texts: Sequence[str]) -> Tensor:
        """int32 (n, context)."""
        return torch.from_numpy(self.tokenizer(texts).ids).to(torch.int32)

    def lengths(self, ids: Tensor) -> Tensor:
        """How much of each text the tower has to see, int64 (n,)."""
        if self.short_texts is None:
            return torch.full((len(ids),), ids.shape[1])
        return self.short_texts.lengths(ids)

    def encode_texts(self, ids: Tensor) -> Tensor:
        """(n, length) -> (n, dim), L2-normalised, float32 at least. length: see `lengths`."""
        ids = ids.to(self.device, torch.int64)
        encode = self.short_texts.encode if self.short_texts is not None else self.model.encode_text
        return _unit(encode(ids))

    def encode_images(self, pixels: Tensor) -> Tensor:
        """float (n, 3, H, W), normalised -> (n, dim), L2-normalised, float32 at least."""
        return _unit(self.model.encode_image(pixels))

    def scale(self) -> Tensor:
        """What cosines are multiplied with, (): what was learnt, no more than CLIP's bound of 100."""
        scale: Tensor = self.model.logit_scale.reshape(()).exp()
        return scale

    def bias(self) -> Tensor:
        """What SigLIP adds to scaled cosines, ()."""
        bias: Tensor = self.model.logit_bias.reshape(())
        return bias

    def clamp_scale(self) -> None:
        """Keep the temperature where it can be trained."""
        with torch.no_grad():
            self.model.logit_scale.clamp_(0.0, float(torch.log(torch.tensor(_MOST_SCALE))))

    def set_training(self, is_training: bool) -> None:
        """Dropout is for training. The statistics of batch normalisation stay those of the model's own training either
        way: a few thousand pictures in small chunks would only blur them, and a chunk's vectors would depend on what
        else is in it."""
        self.model.train(is_training)
        for module in self.model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()

    def copied_to(self, device: torch.device) -> "TrainableModel":
        """The same on another device."""
        model = copy.deepcopy(self.model).to(device)
        return replace(self, model=model, device=device, short_texts=causal_text_tower(model))

    def state(self) -> dict[str, Tensor]:
        """A copy of the weights, on the CPU."""
        return {name: tensor.detach().cpu().clone() for name, tensor in self.model.state_dict().items()}


def open_trainable_model(
    spec: str, *, device: str = "auto", announce: Callable[[str], None] = lambda _: None
) -> TrainableModel:
    """The model that a spec names, to be trained on one device. Raises EncoderError, and TrainingError for models that
    are not open_clip's."""
    prefix, colon, _ = spec.partition(":")
    if colon and prefix not in OWN_PREFIXES:
        raise TrainingError(
            f"{spec} is no model of open_clip, and only the towers of those can be trained: ARCH/TAG, hf-hub:org/name, "
            "local-dir:PATH or demo"
        )
    where = choose_device(device)
    source = resolve(parse_spec(spec), announce=announce)
    tokenizer = load_tokenizer(source, announce=announce)
    model: Any = build_model(source).to(where)
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules()):
        model.visual.to(memory_format=torch.channels_last)  # convolutions on CPUs take half the time so
    size = model.visual.image_size
    preprocess = {**source.preprocess, "size": [size, size] if isinstance(size, int) else list(size)}
    return TrainableModel(source, model, tokenizer, Preprocessing(preprocess), where, causal_text_tower(model))


def _unit(vectors: Tensor) -> Tensor:
    """Normalised in fp32 whatever the towers compute in."""
    return normalize(vectors if vectors.dtype == torch.float64 else vectors.float(), dim=-1)
