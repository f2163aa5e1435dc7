"""The re-ranker that comes with mmsearch. It knows drawn postcards and nothing else."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from mmsearch.errors import EncoderError
from mmsearch.rerankers.demo_network import IMAGE_SIZE, DemoNetwork, Words
from mmsearch.rerankers.pairs import device_of
from mmsearch.rerankers.reranker import Reranker, RerankerRequest

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["DemoReranker"]

_FOLDER = Path(__file__).parent / "demo"


class DemoReranker(Reranker):
    """`Reranker` of the demo network. folder: that holds words.json and model.safetensors."""

    pairs_at_once = 64

    def __init__(self, request: RerankerRequest, folder: Path = _FOLDER) -> None:
        self.spec = request.spec
        self._device, self.device = device_of(request)
        try:
            self._words = Words(json.loads((folder / "words.json").read_text("utf-8")))
            network = DemoNetwork(len(self._words))
            network.load_state_dict({name: t.float() for name, t in load_file(folder / "model.safetensors").items()})
        except Exception as error:  # the disk, JSON, safetensors and torch raise trees of their own
            words = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            raise EncoderError(f"the demo re-ranker cannot be loaded from {folder}: {words}") from error
        self._network = network.to(self._device).eval()

    def prepare(self, image: "PIL.Image.Image") -> NDArray[np.float32]:
        from PIL import Image

        small = image.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC)
        return np.ascontiguousarray(((np.asarray(small, np.float32) / 255 - 0.5) / 0.25).transpose(2, 0, 1))

    @torch.inference_mode()
    def look(self, prepared: Sequence[Any]) -> list[Tensor]:
        pixels = torch.from_numpy(np.stack(prepared)).to(self._device)
        return [state.clone() for state in self._network.encode_images(pixels)]

    @torch.inference_mode()
    def match(self, texts: Sequence[str], pictures: Sequence[Any]) -> NDArray[np.float64]:
        distinct = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        numbers, there = (each.to(self._device) for each in self._words.encode([*distinct]))
        rows = torch.tensor([distinct[text] for text in texts], device=self._device)
        encoded = self._network.encode_texts(numbers, there)
        fits: Tensor = self._network.match(torch.stack([*pictures]), encoded[rows], there[rows])
        return np.asarray(fits.double().cpu().numpy())
