"""BLIP with its matching head (`BlipForImageTextRetrieval`): Li et al. 2022, as its retrieval was evaluated.

A text is cut to 35 tokens, and at position 0 stands [ENC] (id 30523), which tells the text encoder to look at the
picture; tokenizers of transformers put [CLS] there. The logit "matched" of the head at position 0 is what ranks.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmsearch.encoders.model_loading import load_tokenizer
from mmsearch.errors import EncoderError
from mmsearch.rerankers.pairs import PictureSettings, clean_caption, device_of, load_matcher
from mmsearch.rerankers.reranker import Reranker, RerankerRequest

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["BlipReranker"]

_TOKENS = 35
_ENC, _ENC_ID = "[ENC]", 30_523


class BlipReranker(Reranker):
    """`Reranker` of BLIP. What it keeps of a picture: the states of its patches (577 x 768 at 384 pixels)."""

    def __init__(self, request: RerankerRequest, folder: Path) -> None:
        from transformers import BlipForImageTextRetrieval

        self.spec = request.spec
        self._device, self.device = device_of(request)
        self._pictures = PictureSettings(folder, default_size=384)
        self._model = load_matcher(BlipForImageTextRetrieval, folder, request.spec, self._device)
        self._tokenizer = load_tokenizer(folder, request.spec)
        self._enc_id = self._find_enc()

    def prepare(self, image: "PIL.Image.Image") -> NDArray[np.float32]:
        return self._pictures.pixels(image, self._pictures.size or (384, 384))

    @torch.inference_mode()
    def look(self, prepared: Sequence[Any]) -> list[Tensor]:
        pixels = torch.from_numpy(np.stack(prepared)).to(self._device)
        # A copy each: a view would keep the whole batch.
        return [state.clone() for state in self._model.vision_model(pixel_values=pixels).last_hidden_state]

    @torch.inference_mode()
    def match(self, texts: Sequence[str], pictures: Sequence[Any]) -> NDArray[np.float64]:
        tokens = self._tokenizer(
            [clean_caption(text) for text in texts],
            padding="longest",
            truncation=True,
            max_length=_TOKENS,
            return_tensors="pt",
        ).to(self._device)
        ids = tokens.input_ids.clone()
        ids[:, 0] = self._enc_id
        seen = torch.stack([*pictures])
        there = torch.ones(seen.shape[:2], dtype=torch.long, device=self._device)
        states = self._model.text_encoder(
            input_ids=ids,
            attention_mask=tokens.attention_mask,
            encoder_hidden_states=seen,
            encoder_attention_mask=there,
        ).last_hidden_state
        matched: Tensor = self._model.itm_head(states[:, 0])[:, 1]
        return np.asarray(matched.double().cpu().numpy())

    def _find_enc(self) -> int:
        named = self._tokenizer.get_vocab().get(_ENC)
        if named is not None:
            return int(named)
        words = int(self._model.config.text_config.vocab_size)
        if words <= _ENC_ID:
            raise EncoderError(
                f"{self.spec} has no token {_ENC}: its tokenizer does not name it, and its vocabulary of {words:,} "
                f"ends before {_ENC_ID:,}, where BLIP has it"
            )
        return _ENC_ID
