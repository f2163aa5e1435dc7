"""The demo describer: a small decoder that attends to one thing, the demo model's vector of a picture. It knows drawn
postcards and nothing else (`data/demo_describer.md`)."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mmsearch import encoders
from mmsearch.describing.describer import Describer, DescriberRequest, Said, said
from mmsearch.describing.generating import GREEDY, short_identity
from mmsearch.encoders.devices import choose_device
from mmsearch.encoders.fingerprint import folder_fingerprint
from mmsearch.encoders.model_loading import load_model, load_tokenizer, quietly, tensors_in

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["SCALE", "DemoDescriber"]

SCALE = 16.0
"""Vectors have length 1; what a decoder of 256 numbers attends to has about the square root of that."""

_KNOWS = "the demo describer knows drawn postcards (data/postcards); of other pictures what it says means nothing"

_FOLDER = Path(__file__).parent / "demo"


class DemoDescriber(Describer):
    """`Describer` that was trained on drawn postcards. It reads "[CLS] question [SEP]"; an empty question asks for a
    description, and of others it was taught too little to be asked."""

    answers = False
    licence = "apache-2.0"
    pictures_at_once = 64

    def __init__(self, request: DescriberRequest, folder: Path = _FOLDER) -> None:
        self.spec = request.spec
        self._device = choose_device(request.device)
        self._encoder = encoders.open("demo", ["image"], device=request.device, precision="fp32")
        self.device = self._encoder.device
        self._folder = folder
        sees = {"sees": self._encoder.identity.fingerprint, "by": "describing"}
        weights = sorted(folder.glob("*.safetensors"))
        self.identity = short_identity("demo", folder_fingerprint(folder, tensors_in(weights), sees))
        self._loaded: Any = None
        request.announce(_KNOWS)
        self._turn = threading.RLock()

    def describe(self, images: "Sequence[PIL.Image.Image]") -> list[Said]:
        with self._turn, quietly(), torch.inference_mode():
            return self._write(images) if images else []

    def answer(self, question: str, images: "Sequence[PIL.Image.Image]") -> list[Said]:
        self.require_answers()
        raise AssertionError

    def _write(self, images: "Sequence[PIL.Image.Image]") -> list[Said]:
        model, tokenizer = self._model()
        side = self._encoder.image
        vectors = side.encode(side.stack([np.asarray(side.prepare(image)) for image in images]))
        asked = tokenizer("")["input_ids"]
        ids = torch.tensor([asked] * len(images), device=self._device)
        written = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            encoder_hidden_states=SCALE * torch.from_numpy(vectors).to(self._device)[:, None],
            use_cache=False,  # what transformers keeps from word to word does not know of this attention
            **(GREEDY | {"max_new_tokens": model.config.max_position_embeddings - len(asked)}),
        )[:, len(asked) :]
        end = tokenizer.sep_token_id
        texts = tokenizer.batch_decode(written, skip_special_tokens=True)
        return [
            said(text.replace(" ,", ","), cut=end not in row) for text, row in zip(texts, written.tolist(), strict=True)
        ]

    def _model(self) -> tuple[Any, Any]:
        if self._loaded is None:
            from transformers import BertLMHeadModel

            model = load_model(BertLMHeadModel, self._folder, self.spec, self._device, advice="It is damaged")
            self._loaded = model, load_tokenizer(self._folder, self.spec)
        return self._loaded  # type: ignore[no-any-return]
