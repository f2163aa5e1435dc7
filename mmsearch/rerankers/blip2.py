"""BLIP-2 with its matching head (`Blip2ForImageTextRetrieval`): Li et al. 2023, as its retrieval was evaluated.

A text is cut to 35 tokens and read by the Q-Former beside its 32 queries, which look at the picture. The logit
"matched" of the head, averaged over the queries, is what ranks.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmsearch.encoders.model_loading import load_tokenizer
from mmsearch.rerankers.pairs import PictureSettings, clean_caption, device_of, load_matcher
from mmsearch.rerankers.reranker import Reranker, RerankerRequest

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["Blip2Reranker"]

_TOKENS = 35


class Blip2Reranker(Reranker):
    """`Reranker` of BLIP-2. What it keeps of a picture: the states of its patches (677 x 1408 at 364 pixels)."""

    def __init__(self, request: RerankerRequest, folder: Path) -> None:
        from transformers import Blip2ForImageTextRetrieval

        self.spec = request.spec
        self._device, self.device = device_of(request)
        self._model = load_matcher(Blip2ForImageTextRetrieval, folder, request.spec, self._device)
        self._size = int(self._model.config.vision_config.image_size)
        self._pictures = PictureSettings(folder, default_size=self._size)
        self._tokenizer = load_tokenizer(folder, request.spec)

    def prepare(self, image: "PIL.Image.Image") -> NDArray[np.float32]:
        return self._pictures.pixels(image, self._pictures.size or (self._size, self._size))

    @torch.inference_mode()
    def look(self, prepared: Sequence[Any]) -> list[Tensor]:
        pixels = torch.from_numpy(np.stack(prepared)).to(self._device)
        return [state.clone() for state in self._model.vision_model(pixel_values=pixels).last_hidden_state]

    @torch.inference_mode()
    def match(self, texts: Sequence[str], pictures: Sequence[Any]) -> NDArray[np.float64]:
        model = self._model
        tokens = self._tokenizer(
            [clean_caption(text) for text in texts],
            padding="longest",
            truncation=True,
            max_length=_TOKENS,
            return_tensors="pt",
        ).to(self._device)
        seen = torch.stack([*pictures])
        queries = model.query_tokens.expand(len(seen), -1, -1)
        there = torch.ones(queries.shape[:2], dtype=torch.long, device=self._device)
        states = model.qformer(
            query_embeds=model.embeddings(input_ids=tokens.input_ids, query_embeds=queries),
            query_length=queries.shape[1],
            attention_mask=torch.cat([there, tokens.attention_mask], dim=1),
            encoder_hidden_states=seen,
            encoder_attention_mask=torch.ones(seen.shape[:2], dtype=torch.long, device=self._device),
        ).last_hidden_state
        matched: Tensor = model.itm_head(states[:, : queries.shape[1]])[..., 1].mean(dim=1)
        return np.asarray(matched.double().cpu().numpy())
