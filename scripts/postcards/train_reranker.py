"""Trains the demo re-ranker on crowded and on plain postcards.

    python -m scripts.postcards.train_reranker /tmp/reranker --minutes 15
    python -m scripts.postcards.train_reranker /tmp/reranker --minutes 15 --export mmsearch/rerankers/demo

A text is set against its own picture, against those of its family that differ from it in one respect, and against one
other; which of these it is true of is known. The picture side begins as that of the demo model. An auxiliary reading
of what stands where (thrown away afterwards) teaches the places to hold it. The learning rate follows the share of
the budget that is spent; a stopped run continues from its checkpoint.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d, binary_cross_entropy_with_logits, cross_entropy

from mmsearch.rerankers.demo_network import IMAGE_SIZE, DemoNetwork, Words, folded_trunk
from scripts.postcards.captions import Caption, describe, describe_tersely
from scripts.postcards.crowded import CrowdedCaption, describe_crowd, family, holds, sample_crowd, test_families
from scripts.postcards.dataset import held_out
from scripts.postcards.queries import QUERIES
from scripts.postcards.render import render
from scripts.postcards.scene import COLOURS, KINDS, Scene, facts, neighbour, sample_scene
from scripts.postcards.train import augment, keep_memory

__all__ = ["train"]

MEMBERS = 4
FAMILIES = 16  # a step
DRAWN = 4000  # families, once, before the first step
PLAIN = 0.25  # of the families
PEAK_RATE = 1.2e-3
WARMUP = 0.04
DECAY_FROM = 0.4
AUXILIARY = 0.5
OTHERS = 1  # pictures of other families that each text is set against
SEED = 50_000_017

_KINDS = tuple(KINDS)
_LOOKS = (len(_KINDS) + 1, len(COLOURS) + 1, 5, 3)  # kind, colour, count and size at a place, or nothing there


@dataclass(frozen=True, slots=True)
class _Families:
    """pixels: uint8 (families, MEMBERS, size, size, 3). scenes: of each. crowded: whether they are."""

    pixels: NDArray[np.uint8]
    scenes: list[tuple[Scene, ...]]
    crowded: list[bool]


def draw_families(number: int) -> _Families:
    """Families of crowded and of plain postcards, none of which is in a test."""
    rng, held = Random(SEED), held_out(Path("data/postcards")) | {s for some in test_families() for s in some}
    pixels = np.empty((number, MEMBERS, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    scenes: list[tuple[Scene, ...]] = []
    crowded: list[bool] = []
    while len(scenes) < number:
        plain = rng.random() < PLAIN
        some = _plain_family(rng) if plain else family(rng, MEMBERS)
        if held.isdisjoint(some):
            for member, scene in enumerate(some):
                picture = render(scene, rng.getrandbits(30)).resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC)
                pixels[len(scenes), member] = np.asarray(picture)
            scenes.append(some)
            crowded.append(not plain)
    return _Families(pixels, scenes, crowded)


def _plain_family(rng: Random) -> tuple[Scene, ...]:
    scene = sample_scene(rng)
    found = {scene: None}
    while len(found) < MEMBERS:
        found[neighbour(rng, rng.choice([*found]))] = None
    return tuple(found)


def _caption(rng: Random, scene: Scene, *, crowded: bool) -> Caption | CrowdedCaption:
    if crowded:
        return describe_crowd(rng, scene)
    return describe_tersely(rng, scene) if rng.random() < 0.2 else describe(rng, scene, rng.choice((1, 0.75, 0.5, 0)))


def _is_true(caption: Caption | CrowdedCaption, scene: Scene) -> bool:
    if isinstance(caption, CrowdedCaption):
        return holds(caption.claims, scene)
    return caption.claims <= facts(scene)


def vocabulary() -> Words:
    """All words that the captions can have."""
    rng = Random(1)
    texts = [query.text for query in QUERIES]
    for _ in range(4000):
        texts += [_caption(rng, sample_scene(rng), crowded=False).text]
        texts += [describe_crowd(rng, sample_crowd(rng)).text]
    return Words(sorted({word for text in texts for word in Words.split(text)}))


def _looks(scene: Scene) -> NDArray[np.int64]:
    """(4, 6): kind, colour, count and size at each third of the sky, then of the ground and water; 0 for nothing."""
    out = np.zeros((4, 6), np.int64)
    for thing in scene.things:
        for slot in thing.slots:
            place = slot + (0 if KINDS[thing.kind].layer == "sky" else 3)
            size = {None: 0, "small": 1, "big": 2}[thing.size]
            colour = 0 if thing.colour is None else 1 + COLOURS.index(thing.colour)
            out[:, place] = 1 + _KINDS.index(thing.kind), colour, 1 + thing.count, size
    return out


class _Trainer:
    def __init__(self, words: Words) -> None:
        torch.manual_seed(SEED)
        self.words, self.network = words, DemoNetwork(len(words))
        demo = load_file("mmsearch/encoders/demo/open_clip_model.safetensors")
        visual = {name.removeprefix("visual."): value for name, value in demo.items()}
        self.network.trunk.load_state_dict(folded_trunk(visual))
        self.network.trunk.to(memory_format=torch.channels_last)
        self.reading = nn.Linear(128, sum(_LOOKS))
        trunk = [*self.network.trunk.parameters()]
        others = [p for name, p in self.network.named_parameters() if not name.startswith("trunk.")]
        self.optimizer = torch.optim.AdamW(
            [{"params": trunk, "share": 0.3}, {"params": [*others, *self.reading.parameters()], "share": 1.0}],
            weight_decay=0.02,
            betas=(0.9, 0.98),
        )
        self.steps, self.seconds = 0, 0.0

    def step(self, rate: float, drawn: _Families, rng: Random) -> tuple[float, float, float]:
        """One update. Returns the loss, the auxiliary loss, and the share of texts whose own picture came first in its
        family."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["share"]
        chosen = [rng.randrange(len(drawn.scenes)) for _ in range(FAMILIES)]
        scenes = [drawn.scenes[i] for i in chosen]
        captions = [[_caption(rng, scene, crowded=drawn.crowded[i]) for scene in drawn.scenes[i]] for i in chosen]
        generator = torch.Generator().manual_seed(rng.getrandbits(40))
        pixels = augment(torch.from_numpy(drawn.pixels[chosen].reshape(-1, IMAGE_SIZE, IMAGE_SIZE, 3)), generator)
        images = self.network.places(pixels.contiguous(memory_format=torch.channels_last))
        numbers, there = self.words.encode([caption.text for own in captions for caption in own])
        texts = self.network.encode_texts(numbers, there)
        n = FAMILIES * MEMBERS
        shown = [
            [i // MEMBERS * MEMBERS + m for m in range(MEMBERS)] + [(i + MEMBERS * (1 + o)) % n for o in range(OTHERS)]
            for i in range(n)
        ]
        true = torch.tensor(
            [
                [_is_true(captions[i // MEMBERS][i % MEMBERS], scenes[j // MEMBERS][j % MEMBERS]) for j in shown[i]]
                for i in range(n)
            ]
        )
        asking = torch.arange(n).repeat_interleave(MEMBERS + OTHERS)
        answers = self.network.answers(images)
        scores = self.network.match(answers[torch.tensor(shown).flatten()], texts[asking], there[asking])
        scores = scores.view(n, MEMBERS + OTHERS)
        own = torch.arange(n) % MEMBERS
        is_own = nn.functional.one_hot(own, MEMBERS + OTHERS).bool()
        first = scores.masked_fill(true & ~is_own, -1e4)
        to_text = scores[:, :MEMBERS].view(FAMILIES, MEMBERS, MEMBERS).transpose(1, 2).reshape(n, MEMBERS)
        matched = binary_cross_entropy_with_logits(scores, true.float())
        loss = cross_entropy(first, own) + 0.3 * cross_entropy(to_text, own) + matched
        looks = torch.from_numpy(np.stack([_looks(scene) for some in scenes for scene in some]))
        seen = adaptive_avg_pool2d(images.transpose(1, 2).reshape(n, -1, 8, 8), (2, 3)).flatten(2).transpose(1, 2)
        read = self.reading(seen).split(_LOOKS, dim=-1)
        each = [cross_entropy(some.transpose(1, 2), looks[:, i]) for i, some in enumerate(read)]
        auxiliary = torch.stack(each).mean()
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss + AUXILIARY * auxiliary)
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.steps += 1
        right = (first.argmax(dim=1) == own).float().mean()
        return float(loss.detach()), float(auxiliary.detach()), float(right)

    def save(self, path: Path) -> None:
        state = {
            "network": self.network.state_dict(),
            "reading": self.reading.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "spent": (self.steps, self.seconds),
        }
        partial = path.with_suffix(".tmp")
        torch.save(state, partial)
        partial.rename(path)

    def load(self, path: Path) -> None:
        state = torch.load(path, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.reading.load_state_dict(state["reading"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.steps, self.seconds = state["spent"]


def export(network: DemoNetwork, words: Words, folder: Path) -> None:
    """Write words.json and model.safetensors (fp16)."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "words.json").write_text(json.dumps([*words.known]) + "\n")
    partial = folder / "model.safetensors.tmp"
    save_file({name: value.half().contiguous() for name, value in network.state_dict().items()}, partial)
    partial.chmod(0o644)
    partial.rename(folder / "model.safetensors")


def _rate(spent: float) -> float:
    if spent < WARMUP:
        return PEAK_RATE * (0.02 + 0.98 * spent / WARMUP)
    return PEAK_RATE if spent < DECAY_FROM else PEAK_RATE * max(0.0, 1 - (spent - DECAY_FROM) / (1 - DECAY_FROM))


def train(run: Path, minutes: float) -> tuple[DemoNetwork, Words]:
    """Train until the budget is spent, from the checkpoint in `run` if there is one."""
    run.mkdir(parents=True, exist_ok=True)
    trainer = _Trainer(vocabulary())
    if (checkpoint := run / "checkpoint.pt").exists():
        trainer.load(checkpoint)
    drawn = draw_families(DRAWN)
    # The budget counts what this process works, not the clock: other work on the machine changes nothing.
    began, before, saved = time.process_time(), trainer.seconds, time.monotonic()
    means = np.zeros(3)
    while (spent := trainer.seconds / (60 * minutes)) < 1:
        means += trainer.step(_rate(spent), drawn, Random(SEED + 1 + trainer.steps))
        trainer.seconds = before + time.process_time() - began
        if trainer.steps % 25 == 0:
            loss, auxiliary, right = (means / 25).round(4).tolist()
            means[:] = 0
            print(f"step {trainer.steps:,} {trainer.seconds:.0f} s {loss=} {auxiliary=} {right=}", flush=True)
        if time.monotonic() - saved > 60:
            trainer.save(checkpoint)
            saved = time.monotonic()
    trainer.save(checkpoint)
    return trainer.network.eval(), trainer.words


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the demo re-ranker on drawn postcards.")
    parser.add_argument("run", type=Path, help="folder for the checkpoint")
    parser.add_argument("--minutes", type=float, default=15.0, help="of one processor core, over all resumed runs")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--export", type=Path, help="folder for the model; by default in the run")
    args = parser.parse_args()
    keep_memory()
    torch.set_num_threads(args.threads)
    network, words = train(args.run, args.minutes)
    export(network, words, args.export or args.run / "model")


if __name__ == "__main__":
    main()
