"""ViLT with its ranking head (`ViltForImageAndTextRetrieval`): Kim et al. 2021, as its retrieval was evaluated.

Words and patches go through one transformer together, so that of a picture only its patches can be kept: nearly all of
the work is done for each pair. A text is cut to 40 tokens.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from mmsearch.encoders.model_loading import load_tokenizer
from mmsearch.rerankers.pairs import PictureSettings, device_of, load_matcher
from mmsearch.rerankers.reranker import Reranker, RerankerRequest

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["ViltReranker"]

_TOKENS = 40
_LONGEST = 1333 / 800  # of the longer side to the shorter one
_DIVISOR = 32


class ViltReranker(Reranker):
    """`Reranker` of ViLT. What it keeps of a picture: its patches with their places (241 x 768 at 384 x 640 pixels)."""

    def __init__(self, request: RerankerRequest, folder: Path) -> None:
        from transformers import ViltForImageAndTextRetrieval

        self.spec = request.spec
        self._device, self.device = device_of(request)
        self._pictures = PictureSettings(folder, default_size=384, mean=(0.5,) * 3, std=(0.5,) * 3)
        self._model = load_matcher(ViltForImageAndTextRetrieval, folder, request.spec, self._device)
        self._tokenizer = load_tokenizer(folder, request.spec)

    def prepare(self, image: "PIL.Image.Image") -> NDArray[np.float32]:
        return self._pictures.pixels(image, self._size_of(image.width, image.height))

    @torch.inference_mode()
    def look(self, prepared: Sequence[Any]) -> list[Tensor]:
        seen = []
        for each in prepared:  # one by one, since they differ in size
            pixels = torch.from_numpy(each).to(self._device)[None]
            mask = torch.ones(pixels.shape[0], *pixels.shape[2:], dtype=torch.long, device=self._device)
            with torch.random.fork_rng(devices=[]):  # the patches are put in a random order, which means nothing
                torch.manual_seed(0)
                patches, _, _ = self._model.vilt.embeddings.visual_embed(
                    pixels, mask, max_image_length=self._model.config.max_image_length
                )
            seen.append(patches[0].clone())
        return seen

    @torch.inference_mode()
    def match(self, texts: Sequence[str], pictures: Sequence[Any]) -> NDArray[np.float64]:
        tokens = self._tokenizer(
            [*texts], padding="longest", truncation=True, max_length=_TOKENS, return_tensors="pt"
        ).to(self._device)
        most = max(len(each) for each in pictures)
        patches = torch.stack([pad(each, (0, 0, 0, most - len(each))) for each in pictures])
        there = torch.zeros(patches.shape[:2], dtype=torch.long, device=self._device)
        for row, each in enumerate(pictures):
            there[row, : len(each)] = 1
        logits: Tensor = self._model(
            input_ids=tokens.input_ids,
            attention_mask=tokens.attention_mask,
            token_type_ids=torch.zeros_like(tokens.input_ids),
            image_embeds=patches,
            pixel_mask=there,
        ).logits[:, 0]
        return np.asarray(logits.double().cpu().numpy())

    def _size_of(self, width: int, height: int) -> tuple[int, int]:
        """(height, width): the shorter side as the settings say, the longer at most 1333/800 of it, both a multiple of
        32 below that."""
        if self._pictures.size is not None:
            return self._pictures.size
        shortest = self._pictures.shortest or 384
        scale = shortest / min(width, height)
        high, wide = (shortest, scale * width) if height < width else (scale * height, shortest)
        longest = int(_LONGEST * shortest)
        if max(high, wide) > longest:
            scale = longest / max(high, wide)
            high, wide = high * scale, wide * scale
        high, wide = int(high + 0.5), int(wide + 0.5)
        return max(_DIVISOR, high // _DIVISOR * _DIVISOR), max(_DIVISOR, wide // _DIVISOR * _DIVISOR)
