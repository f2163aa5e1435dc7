"""Crowded postcards: three to six things, several of a kind among them, and captions that say who has what, what stands
left and right of what, and how many there are. They are what a dual encoder is weak at, and a re-ranker is for.

    python -m scripts.postcards.crowded /tmp/crowded
    mmsearch eval custom --images /tmp/crowded/images --annotations /tmp/crowded/dataset.json --model demo

The pictures come in families of eight: a scene, and seven that differ from it in one respect each (two colours
exchanged, two things that changed places, another number, another colour or size). It prints what an oracle reaches
that knows exactly which captions are true of which pictures, and chance.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scripts.postcards.captions import LAND_PHRASE, TIME_PHRASE, Mention, finish, noun_phrase, tokens
from scripts.postcards.oracle import chance_text_to_image, claim_rows, consistency
from scripts.postcards.render import jpeg, render
from scripts.postcards.scene import (
    COLOURS,
    KINDS,
    LANDS,
    SIZES,
    TIMES,
    Kind,
    Scene,
    Thing,
    facts,
    things_that_swap,
)

__all__ = [
    "FAMILY",
    "Claims",
    "CrowdedCaption",
    "Relation",
    "ceiling",
    "describe_crowd",
    "family",
    "holds",
    "sample_crowd",
    "true_words",
    "test_families",
    "truth",
    "write_crowded",
]

FAMILY = 8
TEST_SEED = 40_000_003
TEST_FAMILIES = 125
CAPTIONS = 2
RELATION, TIME, LAND, NOTHING = 100, -1, -2, -3
_TRIES = 20


@dataclass(frozen=True, slots=True)
class Relation:
    """The mentioned thing `left` stands left of the mentioned thing `right` (positions among the mentions)."""

    left: int
    right: int


@dataclass(frozen=True, slots=True)
class Claims:
    """What a caption says: a time and a land where it names them, things with some of their attributes, relations."""

    time: str | None
    land: str | None
    mentions: tuple[Mention, ...]
    relations: tuple[Relation, ...]

    def atoms(self) -> frozenset[str]:
        """Facts (names from scene.FACTS) without which they cannot hold. They do not suffice: a red house and a blue
        boat have those of a blue house and a red boat."""
        found = {f"{name}={value}" for name, value in (("time", self.time), ("land", self.land)) if value}
        for mention in self.mentions:
            only = replace(
                mention.thing,
                colour=mention.thing.colour if mention.colour else None,
                size=mention.thing.size if mention.size else None,
                slots=mention.thing.slots if mention.place else (0, 1),
            )
            found |= facts(Scene("fog", "sea", (only,))) - {"time=fog", "land=sea"}
        return frozenset(found)


@dataclass(frozen=True, slots=True)
class CrowdedCaption:
    """A text and what it claims.

    said: of each word (`captions.tokens`) what it says: the number of a mention, or of a relation after `RELATION`;
    `TIME`, `LAND`, or `NOTHING`.
    """

    text: str
    claims: Claims
    said: tuple[int, ...]


def sample_crowd(rng: Random) -> Scene:
    """A random scene with three to six things. Those of one kind differ in colour or size, so that they can be told
    apart; none stands in front of another."""
    while True:
        time, land = rng.choice(TIMES), rng.choice(LANDS)
        bands = [[k for k in KINDS.values() if land in k.lands and (k.layer == "sky") == sky] for sky in (False, True)]
        things = [thing for band in bands for thing in _fill_band(rng, band, rng.choice((1, 2, 2, 3, 3)))]
        if 3 <= len(things) <= 6 and _can_be_told_apart(things):
            return Scene(time, land, tuple(sorted(things, key=_key)))


def family(rng: Random, members: int = FAMILY) -> tuple[Scene, ...]:
    """A random scene and others, all different, each of which differs from it in one respect."""
    while True:
        found = [sample_crowd(rng)]
        for _ in range(_TRIES * members):  # scenes of little that can change have no family
            other = _changed(rng, found[0])
            if other is not None and other not in found and _can_be_told_apart(other.things):
                found.append(other)
            if len(found) == members:
                return tuple(found)


def describe_crowd(rng: Random, scene: Scene) -> CrowdedCaption:
    """A caption that names all things or all but one, most with colour and place, and often what is left of what."""
    things = list(scene.things)
    rng.shuffle(things)
    named = things[: rng.randint(max(3, len(things) - 1), len(things))]
    relations: list[Relation] = []
    mentions: list[Mention] = []
    phrases: list[list[tuple[str, int]]] = []
    while named:
        pair = _in_a_row(named)
        if pair is not None and rng.random() < 0.5:
            left, right = pair
            for thing in pair:
                named.remove(thing)
            relations.append(Relation(len(mentions), len(mentions) + 1))
            both = [_mention(rng, thing, place=False) for thing in (left, right)]
            first, second = ((noun_phrase(rng, mention), len(mentions) + i) for i, mention in enumerate(both))
            relation = RELATION + len(relations) - 1
            if rng.random() < 0.5:
                phrases.append([first, (rng.choice(("to the left of", "left of")), relation), second])
            else:
                phrases.append([second, (rng.choice(("to the right of", "right of")), relation), first])
            mentions += both
        else:
            mentions.append(_mention(rng, named.pop(), place=rng.random() < 0.8))
            phrases.append([(noun_phrase(rng, mentions[-1]), len(mentions) - 1)])
    time = scene.time if rng.random() < 0.4 else None
    land = scene.land if rng.random() < 0.4 else None
    around = [
        (rng.choice(table[key]), what)
        for table, key, what in ((TIME_PHRASE, time, TIME), (LAND_PHRASE, land, LAND))
        if key
    ]
    listed: list[tuple[str, int]] = []
    for i, phrase in enumerate(phrases):
        listed += [("," if i < len(phrases) - 1 else " and", NOTHING)] if i else []
        listed += phrase
    opening = [around.pop(0), (",", NOTHING)] if around and rng.random() < 0.5 else []
    pieces = [*opening, *listed, *around]
    text = finish(rng, " ".join(text for text, _ in pieces).replace(" ,", ",").replace("  ", " "))
    said = [what for piece, what in pieces for _ in tokens(piece)]
    before = len(tokens(text)) - len(said)  # "a picture of"
    claims = Claims(time, land, tuple(mentions), tuple(relations))
    return CrowdedCaption(text, claims, (*[NOTHING] * before, *said))


def true_words(caption: CrowdedCaption, scene: Scene) -> list[bool | None]:
    """Of each word of a caption, whether what it says is true of a scene by itself; None where it says nothing."""
    claims = caption.claims
    fitting = [[thing for thing in scene.things if _fits(mention, thing)] for mention in claims.mentions]
    true: dict[int, bool | None] = {number: bool(things) for number, things in enumerate(fitting)}
    for number, relation in enumerate(claims.relations):
        pairs = ((a, b) for a in fitting[relation.left] for b in fitting[relation.right])
        true[RELATION + number] = any(_centre(a) < _centre(b) for a, b in pairs)
    true |= {TIME: claims.time == scene.time, LAND: claims.land == scene.land, NOTHING: None}
    return [true[what] for what in caption.said]


def holds(claims: Claims, scene: Scene) -> bool:
    """Whether all of it is true of a scene: each mention is another of its things, and the relations hold of these."""
    if claims.time not in (None, scene.time) or claims.land not in (None, scene.land):
        return False
    fitting = [[thing for thing in scene.things if _fits(mention, thing)] for mention in claims.mentions]

    def assign(taken: tuple[Thing, ...]) -> bool:
        if len(taken) == len(fitting):
            return all(_centre(taken[r.left]) < _centre(taken[r.right]) for r in claims.relations)
        return any(assign((*taken, thing)) for thing in fitting[len(taken)] if thing not in taken)

    return assign(())


def truth(claims: Sequence[Claims], scenes: Sequence[Scene]) -> NDArray[np.bool_]:
    """(captions, scenes): which captions are true of which scenes."""
    possible = consistency(claim_rows(each.atoms() for each in claims), claim_rows(facts(scene) for scene in scenes))
    for caption, scene in np.argwhere(possible):
        possible[caption, scene] = holds(claims[caption], scenes[scene])
    return possible


def ceiling(true: NDArray[np.bool_], k: int) -> float:
    """R@k of an oracle that ranks what a caption is true of first, in random order: mean of min(1, k / m), where m
    pictures are such."""
    return float(np.minimum(1.0, k / true.sum(axis=1)).mean())


def test_families() -> list[tuple[Scene, ...]]:
    """The families that re-ranking is judged on. Training leaves their scenes out."""
    rng = Random(TEST_SEED)
    return [family(rng) for _ in range(TEST_FAMILIES)]


def write_crowded(folder: Path) -> tuple[list[Scene], list[list[CrowdedCaption]]]:
    """The pictures, and their captions as a Karpathy file. Returns the scenes and the captions of each."""
    rng = Random(TEST_SEED + 1)
    scenes = [scene for some in test_families() for scene in some]
    captions = [_distinct_captions(rng, scene) for scene in scenes]
    (folder / "images").mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    for number, (scene, own) in enumerate(zip(scenes, captions, strict=True)):
        name = f"crowd_{number:04d}.jpg"
        (folder / "images" / name).write_bytes(jpeg(render(scene, TEST_SEED + number)))
        sentences = [{"raw": each.text, "tokens": tokens(each.text)} for each in own]
        images.append({"filename": name, "imgid": number, "split": "test", "sentences": sentences})
    (folder / "dataset.json").write_text(json.dumps({"dataset": "crowded postcards", "images": images}))
    return scenes, captions


def _distinct_captions(rng: Random, scene: Scene) -> list[CrowdedCaption]:
    found: dict[str, CrowdedCaption] = {}
    while len(found) < CAPTIONS:
        caption = describe_crowd(rng, scene)
        found[caption.text] = caption
    return [*found.values()]


def _fill_band(rng: Random, kinds: list[Kind], wanted: int) -> list[Thing]:
    """Things of one band: one in each third of the width, or a group in two thirds and one beside it."""
    group = [kind for kind in kinds if max(kind.counts) > 1]
    if group and rng.random() < 0.4:
        pair, single = rng.choice((((0, 1), (2,)), ((1, 2), (0,))))
        kind = rng.choice(group)
        many = Thing(
            kind.name,
            rng.choice([n for n in kind.counts if n > 1]),
            rng.choice(COLOURS) if kind.coloured else None,
            None,
            pair,
        )
        return [many, _single(rng, rng.choice(kinds), single)] if wanted > 1 else [many]
    slots = rng.sample(range(3), wanted)
    some = [rng.choice(kinds) for _ in slots]
    if wanted > 1 and rng.random() < 0.4:  # two of a kind, which only what they look like tells apart
        some[1] = some[0]
    return [_single(rng, kind, (slot,)) for kind, slot in zip(some, slots, strict=True)]


def _single(rng: Random, kind: Kind, slots: tuple[int, ...]) -> Thing:
    return Thing(
        kind.name,
        1 if 1 in kind.counts else 0,
        rng.choice(COLOURS) if kind.coloured else None,
        rng.choice(SIZES) if kind.sized else None,
        slots,
    )


def _can_be_told_apart(things: Iterable[Thing]) -> bool:
    """Whether those of one kind differ in colour, and there is at most one group of it."""
    looks = [(thing.kind, thing.colour) for thing in things]
    return len(set(looks)) == len(looks)


def _changed(rng: Random, scene: Scene) -> Scene | None:
    """The scene with one change of a kind drawn at random; None where that does not apply."""
    things = list(scene.things)
    match rng.choice(("colours", "colours", "places", "places", "count", "colour", "size")):
        case "colours":
            pairs = things_that_swap(scene)
            if not pairs:
                return None
            i, j = rng.choice(pairs)
            things[i], things[j] = (
                replace(things[i], colour=things[j].colour),
                replace(things[j], colour=things[i].colour),
            )
        case "places":
            singles = [i for i, thing in enumerate(things) if len(thing.slots) == 1]
            pairs = [(i, j) for i in singles for j in singles if i < j and _same_band(things[i], things[j])]
            if not pairs:
                return None
            i, j = rng.choice(pairs)
            things[i], things[j] = replace(things[i], slots=things[j].slots), replace(things[j], slots=things[i].slots)
        case "count":
            groups = [i for i, thing in enumerate(things) if thing.count > 1 and KINDS[thing.kind].counts[-1] > 2]
            if not groups:
                return None
            i = rng.choice(groups)
            things[i] = replace(things[i], count=5 - things[i].count)
        case "colour":
            coloured = [i for i, thing in enumerate(things) if thing.colour is not None]
            if not coloured:
                return None
            i = rng.choice(coloured)
            things[i] = replace(things[i], colour=rng.choice([c for c in COLOURS if c != things[i].colour]))
        case _:
            sized = [i for i, thing in enumerate(things) if thing.size is not None]
            if not sized:
                return None
            i = rng.choice(sized)
            things[i] = replace(things[i], size=SIZES[1 - SIZES.index(things[i].size or "")])
    return replace(scene, things=tuple(sorted(things, key=_key)))


def _mention(rng: Random, thing: Thing, *, place: bool) -> Mention:
    return Mention(
        thing,
        thing.colour is not None and rng.random() < 0.95,
        thing.size is not None and rng.random() < 0.5,
        place and thing.place is not None,
    )


def _in_a_row(things: Sequence[Thing]) -> tuple[Thing, Thing] | None:
    """The first two that stand in one band, the left one first."""
    for i, first in enumerate(things):
        for second in things[i + 1 :]:
            if _same_band(first, second):
                return (first, second) if _centre(first) < _centre(second) else (second, first)
    return None


def _fits(mention: Mention, thing: Thing) -> bool:
    said = mention.thing
    return (
        (said.kind, said.count) == (thing.kind, thing.count)
        and (not mention.colour or said.colour == thing.colour)
        and (not mention.size or said.size == thing.size)
        and (not mention.place or said.place == thing.place)
    )


def _same_band(first: Thing, second: Thing) -> bool:
    return (KINDS[first.kind].layer == "sky") == (KINDS[second.kind].layer == "sky")


def _centre(thing: Thing) -> float:
    return sum(thing.slots) / len(thing.slots)


def _key(thing: Thing) -> tuple[str, tuple[int, ...]]:
    return thing.kind, thing.slots


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the crowded postcards, and what an oracle reaches on them.")
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    scenes, captions = write_crowded(args.folder)
    true = truth([caption.claims for own in captions for caption in own], scenes)
    print(f"{len(scenes):,} pictures, {len(true):,} captions; each is true of {true.sum(axis=1).mean():.2f} pictures")
    for k in (1, 5, 10):
        reached, chance = 100 * ceiling(true, k), 100 * chance_text_to_image(len(scenes), k)
        print(f"text_to_image R@{k}: the oracle {reached:.2f}, chance {chance:.2f}")


if __name__ == "__main__":
    main()
