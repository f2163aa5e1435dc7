"""Trains the demo describer: a small decoder that looks at the demo model's vector of a picture and writes.

    python -m scripts.postcards.cache /tmp/postcards_cache --parts 8
    python -m scripts.postcards.train_describer /tmp/postcards_cache /tmp/describer --minutes 15

It is BERT as a decoder with cross-attention (`BertLMHeadModel` of transformers), and what it attends to is one vector:
that of the picture. It reads "[CLS] question [SEP]" and writes the answer; an empty question asks for a description.
The learning rate follows the share of the time budget that is spent.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from mmsearch import encoders
from mmsearch.describing.demo_describer import SCALE
from scripts.postcards.cache import Part, load_parts
from scripts.postcards.network import MEAN, STD
from scripts.postcards.plain_words import plain_caption, question_and_answer, vocabulary
from scripts.postcards.scene import Scene

BATCH = 128
PEAK_RATE = 1.5e-3
WARMUP = 0.05
NOISE = 0.03  # of each vector, so that it is not learnt by heart
DESCRIPTIONS = 0.6  # the other pictures come with a question
LONGEST = 64
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def vectors_of(parts: list[Part]) -> NDArray[np.float32]:
    """The demo model's vectors of all pictures, one after the other: (n, 256)."""
    side = encoders.open("demo", ["image"], device="cpu", precision="fp32").image
    made = []
    for part in parts:
        for first in range(0, len(part.pixels), 256):
            pixels = (np.asarray(part.pixels[first : first + 256], np.float32) / 255 - MEAN) / STD
            made.append(side.encode(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), np.float32)))
    return np.concatenate(made)


def build(words: list[str]) -> tuple[Any, Any]:
    """(model, tokenizer), the first with random weights."""
    import transformers

    hf: Any = transformers
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    known = dict.fromkeys([*_SPECIAL, *words, *letters, *(f"##{letter}" for letter in letters)])
    tokenizer = hf.BertTokenizer(vocab={word: number for number, word in enumerate(known)}, model_max_length=LONGEST)
    config = hf.BertConfig(
        vocab_size=len(known),
        hidden_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=512,
        max_position_embeddings=LONGEST,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        is_decoder=True,
        add_cross_attention=True,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return hf.BertLMHeadModel(config), tokenizer


def resume(folder: Path) -> tuple[Any, Any]:
    """(model, tokenizer) as an earlier run has left them."""
    import transformers

    hf: Any = transformers
    model = hf.BertLMHeadModel.from_pretrained(folder, dtype=torch.float32)
    return model.train(), hf.BertTokenizer.from_pretrained(folder)


def written(rng: Random, scene: Scene) -> tuple[str, str]:
    """A question, empty for a description, and what is to be written."""
    return ("", plain_caption(scene)) if rng.random() < DESCRIPTIONS else question_and_answer(rng, scene)


def batch_of(rng: Random, tokenizer: Any, scenes: list[Scene]) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens (n, longest), and labels: -100 where nothing is to be learnt."""
    pairs = [written(rng, scene) for scene in scenes]
    asked = tokenizer([question for question, _ in pairs])["input_ids"]
    said = tokenizer([answer for _, answer in pairs], add_special_tokens=False)["input_ids"]
    rows = [[*before, *after, tokenizer.sep_token_id] for before, after in zip(asked, said, strict=True)]
    longest = max(map(len, rows))
    ids = torch.full((len(rows), longest), tokenizer.pad_token_id)
    labels = torch.full((len(rows), longest), -100)
    for number, (row, before) in enumerate(zip(rows, asked, strict=True)):
        ids[number, : len(row)] = torch.tensor(row)
        labels[number, len(before) : len(row)] = torch.tensor(row[len(before) :])
    return ids, labels


def train(cache: Path, out: Path, minutes: float, seed: int) -> None:
    """Train until the budget is spent, from the model in `out` if there is one; write it in half precision."""
    torch.manual_seed(seed)
    parts = load_parts(cache)
    kept = cache / "vectors.npy"
    if not kept.exists():
        np.save(kept, vectors_of(parts))
    scenes = [scene for part in parts for scene in part.scenes]
    vectors = torch.from_numpy(np.load(kept))
    print(f"{len(scenes):,} postcards", flush=True)
    model, tokenizer = resume(out) if (out / "config.json").exists() else build(vocabulary(scenes))
    print(f"{sum(each.numel() for each in model.parameters()):,} parameters", flush=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    rng, generator = Random(seed), torch.Generator().manual_seed(seed)
    began, step, mean = time.monotonic(), 0, 0.0
    while (spent := (time.monotonic() - began) / (60 * minutes)) < 1:
        rate = PEAK_RATE * (spent / WARMUP if spent < WARMUP else 0.5 * (1 + math.cos(math.pi * spent)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        rows = torch.randint(0, len(scenes), (BATCH,), generator=generator)
        ids, labels = batch_of(rng, tokenizer, [scenes[row] for row in rows.tolist()])
        seen = vectors[rows]
        seen = normalize(seen + NOISE * torch.randn(seen.shape, generator=generator), dim=1)
        loss = model(
            input_ids=ids,
            attention_mask=(ids != tokenizer.pad_token_id).long(),
            encoder_hidden_states=SCALE * seen[:, None],
            labels=labels,
        ).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step, mean = step + 1, mean + float(loss.detach())
        if step % 50 == 0:
            seconds = round(time.monotonic() - began)
            print(json.dumps({"step": step, "seconds": seconds, "loss": round(mean / 50, 4)}), flush=True)
            mean = 0.0
    out.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(out)
    tokenizer.save_pretrained(out)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the demo describer on a cache of rendered postcards.")
    parser.add_argument("cache", type=Path)
    parser.add_argument("out", type=Path, help="folder for the model")
    parser.add_argument("--minutes", type=float, default=15.0, help="time budget")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="torch threads; 0 leaves torch's choice")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    train(args.cache, args.out, args.minutes, args.seed)


if __name__ == "__main__":
    main()
