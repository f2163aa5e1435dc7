"""Trains the demo re-ranker: a network that reads a postcard into cells and a text into claims, and compares them.

    python -m scripts.postcards.cache /tmp/crowded_cache --parts 8 --size 96 72 --crowded
    python -m scripts.postcards.train_reranker pictures /tmp/crowded_cache /tmp/reranker --minutes 40
    python -m scripts.postcards.train_reranker texts /tmp/crowded_cache /tmp/reranker --minutes 20
    python -m scripts.postcards.train_reranker export /tmp/crowded_cache /tmp/reranker

What stands in the cells and what the words claim is known, so that each side is taught it alone; the side that reads is
also taught to compare, that a caption fits its own postcard better than those of the batch, by cells that nobody drew.
Postcards are mirrored half of the time. A run is kept in the folder and goes on from there when it was
stopped; the learning rate follows the share of the time budget that is spent.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, nll_loss

from mmsearch.rerankers.demo_network import WORDS, DemoNetwork, PictureReading, TextReading
from mmsearch.rerankers.demo_reranker import DEMO, WEIGHTS, WORDS_FILE
from scripts.postcards.cache import load_parts
from scripts.postcards.captions import NOUNS, describe, describe_tersely, tokens
from scripts.postcards.crowded import FAMILY, RELATION, describe_crowd, family, test_families
from scripts.postcards.dataset import held_out
from scripts.postcards.render import render
from scripts.postcards.scene import COLOURS, KINDS, LANDS, PLACES, SIZES, TIMES, Scene, neighbour, sample_scene

BATCH = 64
PEAK_RATE = 2e-3
WARMUP = 0.03
KEPT_EVERY = 90  # seconds
UNKNOWN_WORDS = 0.04
"""So many of the words that name no thing are replaced in training, so that an unknown word is passed over."""

VALIDATION_SEED = 50_000_017
VALIDATION_FAMILIES = 40
_SPECIAL = ("[none]", "[text]", "[unknown]")
_KINDS = {kind: number for number, kind in enumerate(KINDS)}
_KIND_OF_WORD = {
    word: kind
    for kind, forms in NOUNS.items()
    for form in (form for pair in forms for form in pair)
    for word in tokens(form)
    if word not in ("tree", "trees", "camping", "woolly", "sailing", "hot", "air", "a", "flock", "of", "some")
}
Claim: TypeAlias = tuple[int, int, int, int, int]
"""The numbers of kind, count, colour, size and place."""
_NOT = -100  # cross_entropy passes it over


@dataclass(frozen=True, slots=True)
class Words:
    """A text as words, and what they claim.

    Attributes:
        words: In their order.
        things: Of each word that names a thing, by its place: the numbers of kind, count, colour, size and place.
        relations: Of each word that relates two: the places of the words that name the left and the right one.
        time, land: Their numbers.
    """

    words: list[str]
    things: dict[int, Claim]
    relations: dict[int, tuple[int, int]]
    time: int
    land: int


def claims_of_crowd(rng: Random, scene: Scene) -> Words:
    """A caption of `describe_crowd`."""
    caption = describe_crowd(rng, scene)
    words, claims = tokens(caption.text), caption.claims
    heads = {caption.said[at]: at for at, word in enumerate(words) if word in _KIND_OF_WORD}
    things = {}
    for number, mention in enumerate(claims.mentions):
        thing = mention.thing
        things[heads[number]] = _claim(
            thing.kind,
            thing.count,
            thing.colour if mention.colour else None,
            thing.size if mention.size else None,
            thing.place if mention.place else None,
        )
    relations = {
        at: (heads[claims.relations[said - RELATION].left], heads[claims.relations[said - RELATION].right])
        for at, (word, said) in enumerate(zip(words, caption.said, strict=True))
        if said >= RELATION and word in ("left", "right")
    }
    return Words(words, things, relations, _time(claims.time), _land(claims.land))


def claims_of_postcard(rng: Random, scene: Scene) -> Words:
    """A caption of `describe`, or a terse one, of a scene that has each kind once."""
    terse = rng.random() < 0.15
    caption = describe_tersely(rng, scene) if terse else describe(rng, scene, rng.choice((1.0, 0.75, 0.5, 0.3, 0.0)))
    said = {name: value for name, _, value in (claim.partition("=") for claim in caption.claims)}
    words = tokens(caption.text)
    things = {}
    for at, word in enumerate(words):
        kind = _KIND_OF_WORD.get(word)
        if kind in said:
            count = int(said.get(f"{kind}.count", 0))
            things[at] = _claim(kind, count, *(said.get(f"{kind}.{name}") for name in ("colour", "size", "place")))
    times = [claim.partition("=")[2] for claim in caption.claims if claim.startswith("time=")]
    return Words(
        words, things, {}, _time(min(times, key=lambda name: name == "night", default=None)), _land(said.get("land"))
    )


def _claim(kind: str, count: int, colour: str | None, size: str | None, place: str | None) -> Claim:
    return (
        _KINDS[kind],
        count,
        COLOURS.index(colour) if colour else len(COLOURS),
        SIZES.index(size) if size else len(SIZES),
        PLACES.index(place) if place else len(PLACES),
    )


def _time(name: str | None) -> int:
    return (*TIMES, "night", None).index(name)


def _land(name: str | None) -> int:
    return (*LANDS, None).index(name)


def cells_of(scene: Scene) -> NDArray[np.int64]:
    """(26,): kind, count, colour and size of each cell (`_NOT` where it is empty), time and land."""
    cells = np.full((6, 4), _NOT)
    cells[:, 0] = len(KINDS)
    for thing in scene.things:
        cell = 3 * (KINDS[thing.kind].layer == "sky") + thing.slots[0]
        cells[cell] = (
            _KINDS[thing.kind],
            thing.count,
            COLOURS.index(thing.colour) if thing.colour else len(COLOURS),
            SIZES.index(thing.size) if thing.size else len(SIZES),
        )
    return np.concatenate([cells.ravel(), [TIMES.index(scene.time), LANDS.index(scene.land)]])


def mirrored(scene: Scene) -> Scene:
    """The scene of its mirrored picture."""
    things = (replace(thing, slots=tuple(2 - slot for slot in reversed(thing.slots))) for thing in scene.things)
    return replace(scene, things=tuple(things))


def vocabulary(scenes: int = 1500) -> list[str]:
    """The words that captions are made of, after three that stand for none, the text as a whole, and unknown ones."""
    rng = Random(0)
    known: set[str] = set()
    for _ in range(scenes):
        known.update(claims_of_postcard(rng, sample_scene(rng)).words)
        known.update(claims_of_crowd(rng, family(rng, 1)[0]).words)
    return [*_SPECIAL, *sorted(known)]


def batch_of(texts: Sequence[Words], number: dict[str, int], rng: Random | None = None) -> dict[str, Tensor]:
    """Numbers of words (n, 1 + w), and what is taught of them (`_NOT` where nothing is)."""
    longest = min(WORDS, max(len(text.words) for text in texts))
    words = torch.zeros(len(texts), 1 + longest, dtype=torch.long)
    roles = torch.full((len(texts), longest), _NOT)
    claims = torch.full((len(texts), longest, 5), _NOT)
    left, right = (torch.full((len(texts), longest), _NOT) for _ in range(2))
    for row, text in enumerate(texts):
        words[row, 0] = 1
        for at, word in enumerate(text.words[:longest]):
            known = number.get(word, 2)
            if rng is not None and at not in text.things and at not in text.relations and rng.random() < UNKNOWN_WORDS:
                known = 2
            words[row, 1 + at] = known
            roles[row, at] = 1 if at in text.things else 2 if at in text.relations else 0
            if at in text.things:
                claims[row, at] = torch.tensor(text.things[at])
            if at in text.relations:
                left[row, at], right[row, at] = text.relations[at]
    setting = torch.tensor([(text.time, text.land) for text in texts])
    return {"words": words, "roles": roles, "claims": claims, "left": left, "right": right, "setting": setting}


def pixels_of(pictures: NDArray[np.uint8]) -> Tensor:
    """(n, height, width, 3) -> (n, 3, height, width) from -1 to 1."""
    return (torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous(
        memory_format=torch.channels_last
    )


def picture_loss(seen: PictureReading, cells: Tensor) -> Tensor:
    """How far what was read is from what there is: the sum of the losses of all that is to be read."""
    of_cells = cells[:, :24].reshape(-1, 6, 4)
    loss = sum(
        nll_loss(each.flatten(0, 1), of_cells[..., number].flatten(), ignore_index=_NOT)
        for number, each in enumerate((seen.kind, seen.count, seen.colour, seen.size))
    )
    return loss + 0.3 * (nll_loss(seen.time, cells[:, 24]) + nll_loss(seen.land, cells[:, 25]))


def text_loss(read: TextReading, batch: dict[str, Tensor]) -> Tensor:
    """Likewise of a text."""
    loss = cross_entropy(read.roles.flatten(0, 1), batch["roles"].flatten(), ignore_index=_NOT)
    for number, each in enumerate(read.claims):
        loss = loss + cross_entropy(each.flatten(0, 1), batch["claims"][..., number].flatten(), ignore_index=_NOT)
    for pointers, name in ((read.left, "left"), (read.right, "right")):
        if (batch[name] != _NOT).any():
            loss = loss + cross_entropy(pointers.flatten(0, 1), batch[name].flatten(), ignore_index=_NOT)
    return loss + cross_entropy(read.time, batch["setting"][:, 0]) + cross_entropy(read.land, batch["setting"][:, 1])


class Validation:
    """Families that are neither trained on nor tested: which share of captions finds its own picture first."""

    def __init__(self, number: dict[str, int]) -> None:
        rng = Random(VALIDATION_SEED)
        self.scenes = [scene for _ in range(VALIDATION_FAMILIES) for scene in family(rng, FAMILY)]
        pictures = [render(scene, rng.getrandbits(30)).resize((96, 72), 3) for scene in self.scenes]
        self.pixels = pixels_of(np.stack([np.asarray(picture) for picture in pictures]))
        self.cells = torch.from_numpy(np.stack([cells_of(scene) for scene in self.scenes]))
        self.batch = batch_of([claims_of_crowd(rng, scene) for scene in self.scenes], number)

    @torch.inference_mode()
    def measure(self, network: DemoNetwork) -> dict[str, float]:
        network.eval()
        seen, read = network.look(self.pixels), network.read(self.batch["words"])
        scores = network.score(read.claims_made(), seen, pairs=False)
        network.train()
        cells = self.cells[:, :24].reshape(-1, 6, 4)
        there = cells[..., 1] != _NOT
        right = {
            name: float((each.argmax(-1) == cells[..., number])[there].float().mean())
            for number, (name, each) in enumerate(
                (("kind", seen.kind), ("count", seen.count), ("colour", seen.colour), ("size", seen.size))
            )
        }
        named = self.batch["roles"] == 1
        claims = torch.stack([each.argmax(-1) for each in read.claims], dim=-1)
        right["claims"] = float((claims == self.batch["claims"]).all(-1)[named].float().mean())
        related = self.batch["left"] != _NOT
        right["relations"] = float((read.left.argmax(-1) == self.batch["left"])[related].float().mean())
        right["first"] = float((scores.argmax(1) == torch.arange(len(scores))).float().mean())
        return {name: round(value, 4) for name, value in right.items()}


def smoothed(rng: np.random.Generator, cells: Tensor) -> PictureReading:
    """What somebody who is never quite sure, and errs now and then, would read in the pictures of which this is
    true: texts are taught to be compared with that, so that they need no pictures."""
    of_cells = cells[:, :24].reshape(-1, 6, 4)
    made = []
    widths = (len(KINDS) + 1, 4, len(COLOURS) + 1, len(SIZES) + 1)
    for number, values in enumerate(widths):
        made.append(_unsure(rng, of_cells[..., number], values))
    kind, count, colour, size = made
    time_of_day, land = _unsure(rng, cells[:, 24], len(TIMES)), _unsure(rng, cells[:, 25], len(LANDS))
    return PictureReading(kind, count, colour, size, time_of_day, land)


def _unsure(rng: np.random.Generator, values: Tensor, count: int) -> Tensor:
    shape = (*values.shape, count)
    logits = rng.normal(0, 1, shape)
    sure = np.where(rng.random(values.shape) < 0.9, 8.0, 2.0)
    known = np.clip(values.numpy(), 0, None)[..., None] == np.arange(count)
    logits += known * (sure * (values.numpy() != _NOT))[..., None]
    return torch.from_numpy(logits).float().log_softmax(-1)


class Run:
    """A network that is trained for a time budget, kept in a file, and taken from there when it was stopped."""

    def __init__(
        self, file: Path, network: DemoNetwork, parameters: Iterable[nn.Parameter], minutes: float, rate: float
    ):
        self.file, self.network, self.minutes, self.rate = file, network, minutes, rate
        self.parameters = list(parameters)
        self.optimizer = torch.optim.AdamW(self.parameters, lr=rate, betas=(0.9, 0.98), weight_decay=0.02)
        self.step, self._before, self._began = 0, 0.0, time.monotonic()
        if file.exists():
            kept: dict[str, Any] = torch.load(file, weights_only=True)
            network.load_state_dict(kept["network"])
            self.optimizer.load_state_dict(kept["optimizer"])
            self.step, self._before = kept["step"], kept["seconds"]
        self._saved, self._losses = self._began, list[list[float]]()

    @property
    def seconds(self) -> float:
        return self._before + time.monotonic() - self._began

    @property
    def spent(self) -> float:
        """Share of the budget."""
        return self.seconds / (60 * self.minutes)

    def descend(self, losses: Sequence[Tensor], measure: Callable[[DemoNetwork], dict[str, float]]) -> None:
        """One step down the sum of the losses; now and then the figures are printed, and the run is kept."""
        spent = min(1.0, self.spent)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * (spent / WARMUP if spent < WARMUP else 0.5 * (1 + math.cos(math.pi * spent)))
        self.optimizer.zero_grad()
        torch.autograd.backward([torch.stack([*losses]).sum()])
        torch.nn.utils.clip_grad_norm_(self.parameters, 2.0)
        self.optimizer.step()
        self.step += 1
        self._losses.append([float(loss.detach()) for loss in losses])
        if time.monotonic() - self._saved > KEPT_EVERY or self.spent >= 1:
            means = np.mean(self._losses, axis=0).round(4).tolist()
            figures = {"step": self.step, "seconds": round(self.seconds), "losses": means}
            print(json.dumps(figures | measure(self.network)), flush=True)
            self.keep()
            self._saved, self._losses = time.monotonic(), []

    def keep(self) -> None:
        """Write the file, as a whole or not at all."""
        partial = self.file.with_suffix(".tmp")
        kept = {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}
        torch.save(kept | {"seconds": self.seconds, "step": self.step}, partial)
        partial.rename(self.file)


def train_pictures(cache: Path, out: Path, held: frozenset[Scene], minutes: float, number: dict[str, int]) -> None:
    """Teach the side that sees."""
    network = DemoNetwork(len(number)).to(memory_format=torch.channels_last)
    run = Run(out / "pictures.pt", network, network.eye.parameters(), minutes, PEAK_RATE)
    rng, parts, validation = Random(7919 * run.step), load_parts(cache), Validation(number)
    while run.spent < 1:
        pictures, scenes = _draw(rng, parts, held)
        run.descend([picture_loss(_see(network, pictures), _cells(scenes))], validation.measure)


def train_texts(out: Path, held: frozenset[Scene], minutes: float, number: dict[str, int]) -> None:
    """Teach the side that reads, by scenes that nobody draws."""
    network = DemoNetwork(len(number))
    reading = [each for name, each in network.named_parameters() if not name.startswith("eye.")]
    run = Run(out / "texts.pt", network, reading, minutes, PEAK_RATE)
    rng, noise, validation = Random(7919 * run.step + 1), np.random.default_rng(run.step), Validation(number)
    while run.spent < 1:
        scenes: list[Scene] = []
        while len(scenes) < BATCH:
            first = sample_scene(rng)
            some = family(rng, 4) if rng.random() < 0.5 else (first, neighbour(rng, first))
            scenes += [*some] if held.isdisjoint(some) else []
        batch, cells = batch_of(_captions(rng, scenes), number, rng), _cells(scenes)
        read = network.read(batch["words"])
        loss = text_loss(read, batch)
        matching = _matching(network, read, smoothed(noise, cells)) * min(1.0, max(0.0, run.spent - 0.1) / 0.2)
        run.descend([loss, 0.3 * matching], validation.measure)


def export(out: Path, folder: Path, words: list[str]) -> None:
    """Write what both runs have taught as mmsearch reads it, in half precision."""
    network = DemoNetwork(len(words))
    sides = [torch.load(out / f"{side}.pt", weights_only=True)["network"] for side in ("texts", "pictures")]
    network.load_state_dict({name: sides[name.startswith("eye.")][name] for name in network.state_dict()})
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: each.half() if each.is_floating_point() else each for name, each in network.state_dict().items()}
    save_file({name: each.contiguous() for name, each in weights.items()}, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / WORDS_FILE).write_text(json.dumps(words) + "\n")
    print(json.dumps(Validation({word: at for at, word in enumerate(words)}).measure(network)))


def _see(network: DemoNetwork, pictures: NDArray[np.uint8]) -> PictureReading:
    with torch.autocast("cpu", torch.bfloat16):
        logits = network.eye(pixels_of(pictures))
    return network.reading(*(each.float() for each in logits))


def _cells(scenes: Sequence[Scene]) -> Tensor:
    return torch.from_numpy(np.stack([cells_of(scene) for scene in scenes]))


def _matching(network: DemoNetwork, read: TextReading, seen: PictureReading) -> Tensor:
    """How far each text is from fitting its own picture best of the batch, and each picture its text."""
    scores = network.score(read.claims_made(), seen, pairs=False)
    own = torch.arange(len(scores))
    return cross_entropy(scores, own) + cross_entropy(scores.T, own)


def _captions(rng: Random, scenes: Sequence[Scene]) -> list[Words]:
    return [(claims_of_crowd if _is_crowd(rng, scene) else claims_of_postcard)(rng, scene) for scene in scenes]


def _is_crowd(rng: Random, scene: Scene) -> bool:
    """Scenes of three things that have each kind once may be described either way."""
    once = len({thing.kind for thing in scene.things}) == len(scene.things) <= 3
    return not once or (len(scene.things) == 3 and rng.random() < 0.3)


def _draw(rng: Random, parts: Sequence[Any], held: frozenset[Scene]) -> tuple[NDArray[np.uint8], list[Scene]]:
    """BATCH pictures and their scenes, in pairs of neighbours, some mirrored and some a little moved."""
    pictures, scenes = [], []
    for _ in range(BATCH // 2):
        part = rng.choice(parts)
        row = 2 * rng.randrange(len(part.scenes) // 2)
        pair, both = part.pixels[row : row + 2], list(part.scenes[row : row + 2])
        if rng.random() < 0.5 and held.isdisjoint(other := [mirrored(scene) for scene in both]):
            pair, both = pair[:, :, ::-1], other
        across, down = rng.randint(-2, 2), rng.randint(-1, 1)
        pair = np.pad(pair, ((0, 0), (1, 1), (2, 2), (0, 0)), "edge")[:, 1 + down : 73 + down, 2 + across : 98 + across]
        pictures.append(pair)
        scenes += both
    return np.concatenate(pictures), scenes


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the demo re-ranker on a crowded cache of rendered postcards.")
    parser.add_argument("side", choices=("pictures", "texts", "export"))
    parser.add_argument("cache", type=Path)
    parser.add_argument("out", type=Path, help="folder for the runs")
    parser.add_argument("--model", type=Path, default=DEMO, help="folder that export writes to")
    parser.add_argument("--data", type=Path, default=Path("data/postcards"), help="whose scenes are left out")
    parser.add_argument("--minutes", type=float, default=45.0, help="time budget")
    parser.add_argument("--threads", type=int, default=0, help="torch threads; 0 leaves torch's choice")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    args.out.mkdir(parents=True, exist_ok=True)
    words = vocabulary()
    number = {word: at for at, word in enumerate(words)}
    if args.side == "export":
        return export(args.out, args.model, words)
    held = held_out(args.data) | {scene for some in test_families() for scene in some}
    if args.side == "pictures":
        return train_pictures(args.cache, args.out, held, args.minutes, number)
    return train_texts(args.out, held, args.minutes, number)


if __name__ == "__main__":
    main()
