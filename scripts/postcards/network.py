"""The demo model's configuration in open_clip's format, its small training vocabulary, and the export."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import torch
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import save_file
from torch import Tensor

from scripts.postcards.captions import caption_scene, describe_tersely
from scripts.postcards.queries import QUERIES
from scripts.postcards.scene import sample_scene

__all__ = ["CONFIG", "Vocabulary", "build", "encode_text", "export"]

IMAGE_SIZE = 64
MEAN = (0.5, 0.5, 0.5)
STD = (0.25, 0.25, 0.25)
UNKNOWN = 0

CONFIG: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 256,
        "vision_cfg": {
            "image_size": IMAGE_SIZE,
            "layers": [1, 1, 1, 1],
            "width": 24,
            "head_width": 64,
        },
        "text_cfg": {"context_length": 48, "vocab_size": 49408, "width": 128, "heads": 4, "layers": 3},
    },
    "preprocess_cfg": {
        "mean": list(MEAN),
        "std": list(STD),
        "interpolation": "bicubic",
        "resize_mode": "squash",
    },
}


class Vocabulary:
    """The few hundred BPE tokens that the grammar can write, numbered densely for training.

    Training with all 49,408 rows would spend most of the optimiser's time on rows that never get a gradient. Row 0
    stands for every other token: its embedding is zero, and a few words are replaced by it in training, so that an
    unknown word in a query is passed over rather than misread.
    """

    def __init__(self) -> None:
        self._tokenizer = SimpleTokenizer(context_length=CONFIG["model_cfg"]["text_cfg"]["context_length"])
        rng = Random(0)
        texts = [query.text for query in QUERIES]
        for _ in range(4000):
            scene = sample_scene(rng)
            texts += [caption.text for caption in caption_scene(rng, scene)]
            texts.append(describe_tersely(rng, scene).text)
        known = {token for text in texts for token in self._tokenizer.encode(text)}
        # Start and end of text keep the highest numbers: open_clip pools at the argmax of the tokens.
        ids = [*sorted(known), self._tokenizer.sot_token_id, self._tokenizer.eot_token_id]
        self.ids: tuple[int, ...] = tuple(ids)
        self._dense = {token: i + 1 for i, token in enumerate(ids)}

    def __len__(self) -> int:
        return len(self.ids) + 1

    def encode(self, texts: Sequence[str], drop: float = 0.0, rng: Random | None = None) -> Tensor:
        """(texts, longest) int64 dense tokens, padded with 0 and cut to the longest text (a causal tower that pools at
        end-of-text gives the same). With `drop`, that share of words is replaced by the unknown."""
        rows = []
        limit = CONFIG["model_cfg"]["text_cfg"]["context_length"] - 2
        for text in texts:
            row = [self._dense.get(token, UNKNOWN) for token in self._tokenizer.encode(text)[:limit]]
            if rng is not None and drop:
                row = [UNKNOWN if rng.random() < drop else token for token in row]
            rows.append([len(self) - 2, *row, len(self) - 1])
        out = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
        for i, row in enumerate(rows):
            out[i, : len(row)] = torch.tensor(row)
        return out


def build(vocabulary: Vocabulary) -> CLIP:
    """The model with a dense vocabulary, untrained."""
    config = json.loads(json.dumps(CONFIG["model_cfg"]))
    config["text_cfg"]["vocab_size"] = len(vocabulary)
    return CLIP(**config)


def encode_text(model: CLIP, tokens: Tensor, chunks: int = 4) -> Tensor:
    """model.encode_text for padded tokens, at a third of the cost: texts are taken in order of length, and each chunk
    is cut to its longest (in a causal tower that pools at end-of-text, what follows it changes nothing)."""
    lengths = tokens.argmax(dim=-1) + 1
    order = lengths.argsort()
    found = []
    for rows in order.chunk(chunks):
        longest = int(lengths[rows].max())
        some = tokens[rows, :longest]
        x = model.token_embedding(some) + model.positional_embedding[:longest]
        x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:longest, :longest]))
        found.append(x[torch.arange(len(x), device=x.device), some.argmax(dim=-1)] @ model.text_projection)
    return torch.cat(found)[order.argsort()]


def export(state: dict[str, Tensor], vocabulary: Vocabulary, folder: Path) -> None:
    """Write open_clip_config.json and open_clip_model.safetensors (fp16): the dense rows go to their BPE ids, every
    other row is zero."""
    folder.mkdir(parents=True, exist_ok=True)
    out = {name: t.half() if t.is_floating_point() else t for name, t in state.items() if name != "attn_mask"}
    dense = out["token_embedding.weight"]
    rows = CONFIG["model_cfg"]["text_cfg"]["vocab_size"]
    full = torch.zeros(rows, dense.shape[1], dtype=torch.float16)
    full[torch.tensor(vocabulary.ids)] = dense[1:]
    out["token_embedding.weight"] = full
    (folder / "open_clip_config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    partial = folder / "open_clip_model.safetensors.tmp"
    save_file({name: t.contiguous() for name, t in out.items()}, partial, metadata={"format": "pt"})
    partial.chmod(0o644)
    partial.rename(folder / "open_clip_model.safetensors")
