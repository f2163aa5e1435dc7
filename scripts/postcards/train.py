"""Trains the demo model on rendered postcards: the symmetric contrastive loss, plus an auxiliary one that asks a linear
reading of each embedding for the facts of its scene or the claims of its caption (the reading is thrown away).

    python -m scripts.postcards.cache /tmp/postcards_cache
    python -m scripts.postcards.train /tmp/postcards_cache /tmp/postcards_run --minutes 60

The learning rate follows the share of the time budget that is spent, so the model is annealed when the budget ends on
any machine. A stopped run continues from its checkpoint when the same command is given again.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from open_clip.model import CLIP
from torch import Tensor, nn
from torch.nn.functional import (
    avg_pool2d,
    binary_cross_entropy_with_logits,
    cross_entropy,
    normalize,
    pad,
)

from scripts.postcards.cache import Part, load_parts
from scripts.postcards.captions import describe, describe_tersely
from scripts.postcards.network import MEAN, STD, UNKNOWN, Vocabulary, build, encode_text, export
from scripts.postcards.scene import FACTS, Scene, claims_to_bits, facts

__all__ = ["Batch", "Progress", "Trainer", "contrastive_loss"]

BATCH_PAIRS = 128
PEAK_RATE = 2e-3
WEIGHT_DECAY = 0.05
WARMUP = 0.03
DECAY_FROM = 0.35
AUXILIARY = 0.2
MAX_SCALE = 100.0
SHIFT = 3
TERSE = 0.2
UNKNOWN_WORDS = 0.01


@dataclass(frozen=True, slots=True)
class Batch:
    """pixels (n, 3, size, size) fp32, normalised; tokens (n, longest); facts and claims (n, FACTS) fp32 0/1."""

    pixels: Tensor
    tokens: Tensor
    facts: Tensor
    claims: Tensor


@dataclass(slots=True)
class Progress:
    """What a run has spent so far."""

    step: int = 0
    samples: int = 0
    seconds: float = 0.0


def contrastive_loss(scores: Tensor, consistent: Tensor) -> Tensor:
    """The symmetric InfoNCE loss of (captions, images) logits whose diagonal is right.

    A caption's softmax leaves out images that it is true of but that are not its own: they are no mistakes. An image's
    softmax keeps all captions, which teaches that a caption that says more of it fits better.
    """
    own = torch.arange(len(scores), device=scores.device)
    others = consistent & ~torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    to_image = cross_entropy(scores.masked_fill(others, float("-inf")), own)
    return (to_image + cross_entropy(scores.T, own)) / 2


def augment(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """(n, size, size, 3) uint8 -> (n, 3, size, size) fp32 normalised, each image shifted by up to SHIFT pixels, its
    channels' gain and bias moved a little, some blurred, with a little noise. Never mirrored: left is not right."""
    n, size = pixels.shape[0], pixels.shape[1]
    x = pixels.permute(0, 3, 1, 2).float().div_(255)
    padded = pad(x, (SHIFT, SHIFT, SHIFT, SHIFT), mode="replicate")
    moves = torch.randint(0, 2 * SHIFT + 1, (n, 2), generator=generator).tolist()
    x = torch.stack([padded[i, :, dy : dy + size, dx : dx + size] for i, (dy, dx) in enumerate(moves)])
    gain = 1 + 0.2 * (torch.rand(n, 1, 1, 1, generator=generator) - 0.5)
    gain = gain * (1 + 0.1 * (torch.rand(n, 3, 1, 1, generator=generator) - 0.5))
    bias = 0.08 * (torch.rand(n, 1, 1, 1, generator=generator) - 0.5)
    x = x * gain + bias
    blurred = n // 8
    x[:blurred] = avg_pool2d(x[:blurred], 3, stride=1, padding=1, count_include_pad=False)
    x = x + 0.015 * torch.randn(x.shape, generator=generator)
    return (x - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)


class Batches:
    """Batch of a step: a function of the seed and the step alone, so a resumed run sees what an unbroken one would."""

    def __init__(self, parts: list[Part], vocabulary: Vocabulary, seed: int) -> None:
        self._parts, self._vocabulary, self._seed = parts, vocabulary, seed

    def __call__(self, step: int) -> Batch:
        rng = Random(self._seed * 1_000_003 + step)
        pixels: list[NDArray[np.uint8]] = []
        scenes: list[Scene] = []
        for _ in range(BATCH_PAIRS):
            part = rng.choice(self._parts)
            row = 2 * rng.randrange(len(part.scenes) // 2)
            pixels.append(part.pixels[row : row + 2])
            scenes += part.scenes[row : row + 2]
        order = torch.randperm(len(scenes), generator=torch.Generator().manual_seed(rng.getrandbits(40))).tolist()
        scenes = [scenes[i] for i in order]
        captions = []
        for scene in scenes:
            captions.append(
                describe_tersely(rng, scene)
                if rng.random() < TERSE
                else describe(rng, scene, rng.choice((1.0, 1.0, 0.75, 0.75, 0.5, 0.3, 0.0)))
            )
        known, claimed = torch.zeros(len(scenes), len(FACTS)), torch.zeros(len(scenes), len(FACTS))
        for i, (scene, caption) in enumerate(zip(scenes, captions, strict=True)):
            known[i, claims_to_bits(facts(scene))] = 1
            claimed[i, claims_to_bits(caption.claims)] = 1
        images = torch.from_numpy(np.concatenate(pixels)[order])
        generator = torch.Generator().manual_seed(rng.getrandbits(40))
        return Batch(
            augment(images, generator),
            self._vocabulary.encode([c.text for c in captions], UNKNOWN_WORDS, rng),
            known,
            claimed,
        )


class Trainer:
    """The model, its optimiser and its progress; all of it is in the checkpoint."""

    def __init__(self, vocabulary: Vocabulary, device: torch.device, seed: int) -> None:
        torch.manual_seed(seed)
        self.device = device
        self.model: CLIP = build(vocabulary).to(device)
        self.model.visual.to(memory_format=torch.channels_last)
        with torch.no_grad():
            self.model.token_embedding.weight[UNKNOWN] = 0
        self.reading = nn.Linear(self.model.text_projection.shape[1], len(FACTS)).to(device)
        self.claim_bias = nn.Parameter(torch.zeros(len(FACTS), device=device))
        parameters = [*self.model.parameters(), *self.reading.parameters(), self.claim_bias]
        decayed, free = [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": free, "weight_decay": 0.0}],
            lr=PEAK_RATE,
            betas=(0.9, 0.98),
        )
        self.progress = Progress()

    def step(self, batch: Batch, rate: float) -> tuple[float, float, float]:
        """One update. Returns the loss, the auxiliary loss, and the share of captions whose image came first."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.model.train()
        pixels = batch.pixels.to(self.device, memory_format=torch.channels_last)
        known, claimed = batch.facts.to(self.device), batch.claims.to(self.device)
        images = self.model.encode_image(pixels)
        texts = encode_text(self.model, batch.tokens.to(self.device))
        consistent = claimed @ (1 - known).T < 0.5
        scores = self.model.logit_scale.exp() * normalize(texts, dim=-1) @ normalize(images, dim=-1).T
        loss = contrastive_loss(scores, consistent)
        read = binary_cross_entropy_with_logits(self.reading(images), known, reduction="sum")
        said = binary_cross_entropy_with_logits(self.reading(texts) + self.claim_bias, claimed, reduction="sum")
        auxiliary = (read + said) / (2 * len(scores))
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss + AUXILIARY * auxiliary)
        self.model.token_embedding.weight.grad[UNKNOWN] = 0
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        with torch.no_grad():
            self.model.logit_scale.clamp_(max=math.log(MAX_SCALE))
            first = scores.masked_fill(consistent & ~torch.eye(len(scores), dtype=torch.bool, device=self.device), -1e4)
            right = (first.argmax(dim=1) == torch.arange(len(scores), device=self.device)).float().mean()
        self.progress.step += 1
        self.progress.samples += len(scores)
        return float(loss.detach()), float(auxiliary.detach()), float(right)

    def save(self, path: Path) -> None:
        """Write the checkpoint beside its place and rename it there."""
        state = {
            "model": self.model.state_dict(),
            "reading": self.reading.state_dict(),
            "claim_bias": self.claim_bias.detach(),
            "optimizer": self.optimizer.state_dict(),
            "progress": (self.progress.step, self.progress.samples, self.progress.seconds),
        }
        partial = path.with_suffix(".tmp")
        torch.save(state, partial)
        partial.rename(path)

    def load(self, path: Path) -> None:
        """Continue from a checkpoint."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.reading.load_state_dict(state["reading"])
        self.claim_bias.data.copy_(state["claim_bias"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.progress = Progress(*state["progress"])


def keep_memory() -> None:
    """Ask glibc to keep freed memory: handing 100 MB buffers back and forth to the kernel at every step costs up to
    half of the time on a small machine. Elsewhere than on glibc this does nothing."""
    trim_threshold, top_pad, mmap_max = -1, -2, -4
    try:
        libc = ctypes.CDLL("libc.so.6")
        for option, value in ((mmap_max, 0), (trim_threshold, 2**31 - 1), (top_pad, 2**28)):
            libc.mallopt(option, value)
    except (OSError, AttributeError):
        return


def rate_at(spent: float) -> float:
    """The learning rate when this share of the budget (0 to 1) is spent: warm-up, constant, linear to zero."""
    if spent < WARMUP:
        return PEAK_RATE * (0.02 + 0.98 * spent / WARMUP)
    if spent < DECAY_FROM:
        return PEAK_RATE
    return PEAK_RATE * max(0.0, 1 - (spent - DECAY_FROM) / (1 - DECAY_FROM))


def ahead(make: Batches, first: int) -> Iterator[Batch]:
    """Batches from step `first` on, the next one made while the last is used."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(make, first)
        while True:
            first += 1
            batch = coming.result()
            coming = pool.submit(make, first)
            yield batch


def train(cache: Path, run: Path, minutes: float, seed: int, device: torch.device, save_every: float) -> None:
    """Train until the budget is spent, from the checkpoint in `run` if there is one; then export to run/model."""
    run.mkdir(parents=True, exist_ok=True)
    checkpoint, log = run / "checkpoint.pt", run / "log.jsonl"
    vocabulary = Vocabulary()
    trainer = Trainer(vocabulary, device, seed)
    if checkpoint.exists():
        trainer.load(checkpoint)
    parts = load_parts(cache)
    budget = minutes * 60
    saved = time.monotonic()
    began, spent_before = time.monotonic(), trainer.progress.seconds
    means = np.zeros(3)
    for batch in ahead(Batches(parts, vocabulary, seed), trainer.progress.step):
        # The budget counts the wall clock, so that waiting for batches or for a busy machine is part of it.
        trainer.progress.seconds = spent_before + time.monotonic() - began
        spent = trainer.progress.seconds / budget
        if spent >= 1:
            break
        means = means + trainer.step(batch, rate_at(spent))
        if trainer.progress.step % 50 == 0:
            loss, auxiliary, right = (means / 50).tolist()
            means = np.zeros(3)
            row = {
                "step": trainer.progress.step,
                "samples": trainer.progress.samples,
                "seconds": round(trainer.progress.seconds),
                "loss": round(loss, 4),
                "auxiliary": round(auxiliary, 3),
                "right": round(right, 4),
                "scale": round(float(trainer.model.logit_scale.detach().exp()), 1),
            }
            with log.open("a") as out:
                out.write(json.dumps(row) + "\n")
            print(row, flush=True)
        if time.monotonic() - saved > save_every:
            trainer.save(checkpoint)
            export(trainer.model.state_dict(), vocabulary, run / "model")
            saved = time.monotonic()
            if len(list(cache.glob("*.pkl"))) > len(parts):
                print("more parts are in the cache; they are used when the run is started again", flush=True)
    trainer.save(checkpoint)
    export(trainer.model.state_dict(), vocabulary, run / "model")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the demo model on a cache of rendered postcards.")
    parser.add_argument("cache", type=Path)
    parser.add_argument("run", type=Path, help="folder for the checkpoint, the log and the exported model")
    parser.add_argument("--minutes", type=float, default=60.0, help="time budget, over all resumed runs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="torch threads; 0 leaves torch's choice")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--save-every", type=float, default=180.0, help="seconds between checkpoints")
    args = parser.parse_args()
    keep_memory()
    if args.threads:
        torch.set_num_threads(args.threads)
    train(args.cache, args.run, args.minutes, args.seed, torch.device(args.device), args.save_every)


if __name__ == "__main__":
    main()
