"""What the adapters of transformers share: the model and the tokenizer out of a folder, and pictures and texts prepared
as the authors of the models prepared them.

Pictures are resized by Pillow, as the published evaluations did; transformers resizes tensors, whose pixels differ in
the last bits.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmsearch.encoders.devices import choose_device, describe
from mmsearch.encoders.model_folders import PROCESSOR, read_settings
from mmsearch.encoders.model_loading import load_model
from mmsearch.errors import EncoderError
from mmsearch.rerankers.reranker import RerankerRequest

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["PictureSettings", "clean_caption", "device_of", "load_matcher"]

_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class PictureSettings:
    """How a model's pictures are prepared, as its folder says; where that says nothing, as BLIP's authors did.

    Attributes:
        size: (height, width) that pictures are squashed to; None where the shorter side is `shortest`.
        shortest: that side; None where there is a size.
    """

    def __init__(self, folder: Path, *, default_size: int, mean: Any = _CLIP_MEAN, std: Any = _CLIP_STD) -> None:
        given: dict[str, Any] = {}
        for name in PROCESSOR:
            if (file := folder / name).is_file():
                said = read_settings(file)
                said = said if isinstance(said, dict) else {}
                inner = said.get("image_processor")
                given = inner if isinstance(inner, dict) else said
                if "image_mean" in given or "size" in given:
                    break
        size = given.get("size", default_size)
        if isinstance(size, int):
            size = {"height": size, "width": size}
        try:
            self.size = (int(size["height"]), int(size["width"])) if "height" in size else None
            self.shortest = None if self.size is not None else int(size["shortest_edge"])
            self.mean = np.asarray(given.get("image_mean", mean), np.float32).reshape(3)
            self.std = np.asarray(given.get("image_std", std), np.float32).reshape(3)
        except (KeyError, TypeError, ValueError) as error:
            raise EncoderError(
                f"{folder}: the settings of its pictures are not understood ({PROCESSOR[0]}): {error}"
            ) from error
        if (self.std == 0).any() or min(self.size or (self.shortest or 0,)) < 1:
            raise EncoderError(
                f"{folder}: its pictures cannot be prepared as {PROCESSOR[0]} says: size {size}, std {self.std}"
            )

    def pixels(self, image: "PIL.Image.Image", size: tuple[int, int]) -> NDArray[np.float32]:
        """An RGB image, resized to (height, width) -> (3, height, width), normalised."""
        from PIL import Image

        resized = image.resize((size[1], size[0]), Image.Resampling.BICUBIC)
        values = np.asarray(resized, np.float32) / np.float32(255)
        return np.ascontiguousarray(((values - self.mean) / self.std).transpose(2, 0, 1))


def clean_caption(text: str) -> str:
    """A text as the authors of ALBEF, BLIP and BLIP-2 prepare captions: lower case, without `. ! " ( ) * # : ; ~`.

    >>> clean_caption('A dog  runs; "fast"!')
    'a dog runs fast'
    """
    cleaned = re.sub(r"([.!\"()*#:;~])", " ", text.lower())
    return re.sub(r"\s{2,}", " ", cleaned).strip()


def device_of(request: RerankerRequest) -> tuple[torch.device, str]:
    """Where a re-ranker runs, and that for people."""
    device = choose_device(request.device)
    return device, describe(device)


def load_matcher(kind: Any, folder: Path, spec: str, device: torch.device) -> Any:
    """A model with a matching head, in fp32. Raises EncoderError, see `load_model`."""
    advice = "It may be a model of the same family without a matching head"
    return load_model(kind, folder, spec, device, advice=advice)
