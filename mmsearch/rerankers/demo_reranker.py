"""The demo re-ranker, for drawn postcards: it knows nothing else (`data/demo_reranker.md`)."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from mmsearch.errors import EncoderError
from mmsearch.rerankers.demo_network import SIZE, WORDS, Claims, DemoNetwork, PictureReading
from mmsearch.rerankers.pairs import device_of
from mmsearch.rerankers.reranker import Reranker, RerankerRequest

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["DEMO", "WEIGHTS", "WORDS_FILE", "DemoReranker", "words_of"]

WEIGHTS, WORDS_FILE = "model.safetensors", "words.json"
_TEXT, _UNKNOWN = 1, 2
_MOST_READ = 1 << 14  # texts that are kept: some twenty megabytes
_KNOWS = "the demo re-ranker knows drawn postcards (data/postcards); of other pictures its order means nothing"
DEMO = Path(__file__).parent / "demo"


def words_of(text: str) -> list[str]:
    """The words of a text as the network was taught them.

    >>> words_of("A hot-air balloon, on the left.")
    ['a', 'hot', 'air', 'balloon', 'on', 'the', 'left']
    """
    return re.findall(r"[a-z0-9]+", text.lower())[:WORDS]


class DemoReranker(Reranker):
    """`Reranker` that was trained on drawn postcards. What it keeps of a picture: 175 numbers that it reads in it."""

    pairs_at_once = 128

    def __init__(self, request: RerankerRequest, folder: Path = DEMO) -> None:
        self.spec = request.spec
        self._device, self.device = device_of(request)
        try:
            words = json.loads((folder / WORDS_FILE).read_text("utf-8"))
            self._network = DemoNetwork(len(words))
            weights = load_file(folder / WEIGHTS)
            self._network.load_state_dict({name: each.float() for name, each in weights.items()})
        except Exception as error:  # of files, JSON and tensors, each with errors of its own
            raise EncoderError(f"the demo re-ranker in {folder} is damaged: {error}") from error
        self._network.to(self._device).eval()
        self._numbers = {word: number for number, word in enumerate(words)}
        self._read: dict[str, Tensor] = {}
        request.announce(_KNOWS)

    def prepare(self, image: "PIL.Image.Image") -> NDArray[np.float32]:
        from PIL import Image

        small = np.asarray(image.resize(SIZE, Image.Resampling.BICUBIC), np.float32)
        return np.ascontiguousarray((small / np.float32(127.5) - 1).transpose(2, 0, 1))

    @torch.inference_mode()
    def look(self, prepared: Sequence[Any]) -> list[Tensor]:
        pixels = torch.from_numpy(np.stack(prepared)).to(self._device)
        return [row.clone() for row in self._network.look(pixels).packed()]

    @torch.inference_mode()
    def match(self, texts: Sequence[str], pictures: Sequence[Any]) -> NDArray[np.float64]:
        claims = self._claims(texts)
        seen = PictureReading.unpacked(torch.stack([*pictures]))
        return np.asarray(self._network.score(claims, seen, pairs=True).double().cpu().numpy())

    def _claims(self, texts: Sequence[str]) -> Claims:
        """What texts claim. Those that were read last are kept: an evaluation asks each about many pictures."""
        unread = [text for text in dict.fromkeys(texts) if text not in self._read]
        if len(self._read) + len(unread) > _MOST_READ:
            self._read.clear()
            unread = [*dict.fromkeys(texts)]
        if unread:
            rows = self._network.read(self._words(unread)).claims_made().packed()
            self._read |= {text: row.clone() for text, row in zip(unread, rows, strict=True)}
        return Claims.unpacked(torch.stack([self._read[text] for text in texts]))

    def _words(self, texts: Sequence[str]) -> Tensor:
        """(n, 1 + words), padded: as many as can be read, so that a text is read the same beside whatever others."""
        rows = torch.zeros(len(texts), 1 + WORDS, dtype=torch.long)
        rows[:, 0] = _TEXT
        for row, text in enumerate(texts):
            known = [self._numbers.get(word, _UNKNOWN) for word in words_of(text)]
            rows[row, 1 : 1 + len(known)] = torch.tensor(known, dtype=torch.long)
        return rows.to(self._device)
