"""The specification of a postcard, how one is sampled, and the facts that hold in it.

A scene is a time, a land and one to three things, each kind at most once. Because a kind occurs once, everything that
a caption can say about a scene is a set of atomic facts ("land=sea", "boat", "boat.colour=blue"), and a caption is
consistent with a scene exactly when its claims are a subset of the scene's facts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Literal

__all__ = [
    "COLOURS",
    "FACTS",
    "KINDS",
    "LANDS",
    "TIMES",
    "Kind",
    "Scene",
    "Thing",
    "claims_to_bits",
    "facts",
    "neighbour",
    "sample_scene",
    "sample_scene_of",
    "scene_from_json",
    "scene_to_json",
    "swap_colours",
    "things_that_swap",
]

TIMES = ("noon", "sunset", "moon", "stars", "storm", "fog")
LANDS = ("mountains", "sea", "desert", "forest", "fields", "city", "snow")
COLOURS = ("red", "blue", "yellow", "green", "white", "purple")
SIZES = ("small", "big")
PLACES = ("left", "middle", "right")
NIGHT = ("moon", "stars")

Layer = Literal["ground", "water", "sky"]
_LAKE_LANDS = ("mountains", "sea", "forest", "fields", "city", "snow")


@dataclass(frozen=True, slots=True)
class Kind:
    """What a thing of this kind may be: where it stands, whether colour and size vary, how many there can be."""

    name: str
    layer: Layer
    coloured: bool
    sized: bool
    counts: tuple[int, ...]
    lands: tuple[str, ...] = LANDS


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("house", "ground", True, True, (1,)),
        Kind("tent", "ground", True, True, (1, 2, 3)),
        Kind("car", "ground", True, False, (1, 2)),
        Kind("lighthouse", "ground", True, True, (1,)),
        Kind("windmill", "ground", True, False, (1,)),
        Kind("palm", "ground", False, False, (1, 2, 3), ("sea", "desert", "fields", "city")),
        Kind("sheep", "ground", False, False, (1, 2, 3), ("mountains", "fields", "forest", "snow", "sea")),
        Kind("boat", "water", True, True, (1, 2, 3), _LAKE_LANDS),
        Kind("balloon", "sky", True, True, (1, 2, 3)),
        Kind("kite", "sky", True, False, (1,)),
        Kind("plane", "sky", True, False, (1,)),
        Kind("birds", "sky", False, False, (0,)),
    )
}


@dataclass(frozen=True, slots=True, order=True)
class Thing:
    """A group of one kind. `count` 0 is a flock. `size` and `place` are None where they do not apply.

    `slots` are the thirds of the picture (0, 1, 2 from the left) over which the group is spread.
    """

    kind: str
    count: int
    colour: str | None
    size: str | None
    slots: tuple[int, ...]

    @property
    def place(self) -> str | None:
        return PLACES[self.slots[0]] if len(self.slots) == 1 else None


@dataclass(frozen=True, slots=True)
class Scene:
    """A specification. Two scenes that compare equal show the same; only the drawing's accidents may differ."""

    time: str
    land: str
    things: tuple[Thing, ...]

    @property
    def has_water(self) -> bool:
        return self.land == "sea" or any(KINDS[t.kind].layer == "water" for t in self.things)


def facts(scene: Scene) -> frozenset[str]:
    """Everything that is true of a scene and that a caption may claim.

    >>> sorted(facts(Scene("moon", "sea", (Thing("kite", 1, "red", None, (2,)),))))
    ['kite', 'kite.colour=red', 'kite.count=1', 'kite.place=right', 'land=sea', 'time=moon', 'time=night']
    """
    found = {f"time={scene.time}", f"land={scene.land}"}
    if scene.time in NIGHT:
        found.add("time=night")
    for thing in scene.things:
        found.add(thing.kind)
        if thing.count:
            found.add(f"{thing.kind}.count={thing.count}")
        for name, value in (("colour", thing.colour), ("size", thing.size), ("place", thing.place)):
            if value is not None:
                found.add(f"{thing.kind}.{name}={value}")
    return frozenset(found)


def _all_facts() -> tuple[str, ...]:
    found = [f"time={t}" for t in (*TIMES, "night")] + [f"land={land}" for land in LANDS]
    for kind in KINDS.values():
        found.append(kind.name)
        found += [f"{kind.name}.count={n}" for n in kind.counts if n]
        found += [f"{kind.name}.colour={c}" for c in COLOURS if kind.coloured]
        found += [f"{kind.name}.size={s}" for s in SIZES if kind.sized]
        found += [f"{kind.name}.place={p}" for p in PLACES]
    return tuple(found)


FACTS = _all_facts()
_FACT_INDEX = {fact: i for i, fact in enumerate(FACTS)}


def claims_to_bits(claims: Iterable[str]) -> list[int]:
    """Positions in FACTS of some claims (or facts), ascending. Raises KeyError for a claim that no scene can have."""
    return sorted(_FACT_INDEX[claim] for claim in claims)


def sample_scene(rng: Random, time: str | None = None, land: str | None = None) -> Scene:
    """A random scene, with time and land given or drawn evenly."""
    time = time or rng.choice(TIMES)
    land = land or rng.choice(LANDS)
    return _sample_things(rng, time, land, rng.choices((1, 2, 3), weights=(25, 50, 25))[0])


def sample_scene_of(rng: Random, things: int) -> Scene:
    """A random scene of one to four things, each of another kind; four are two in the sky and two below."""
    return _sample_things(rng, rng.choice(TIMES), rng.choice(LANDS), things)


def _sample_things(rng: Random, time: str, land: str, wanted: int) -> Scene:
    possible = [k for k in KINDS.values() if land in k.lands]
    kinds: list[Kind] = []
    while len(kinds) < wanted:
        kind = rng.choice(possible)
        band = [k for k in kinds if (k.layer == "sky") == (kind.layer == "sky")]
        if kind not in kinds and len(band) < 2:
            kinds.append(kind)
    things: list[Thing] = []
    for band_kinds in ([k for k in kinds if k.layer != "sky"], [k for k in kinds if k.layer == "sky"]):
        things += _sample_band(rng, band_kinds)
    return Scene(time, land, tuple(sorted(things)))


def _sample_band(rng: Random, kinds: list[Kind]) -> list[Thing]:
    """Things that share a band of the picture (the surface, or the sky): at most one of them is a group, and it takes
    two thirds of the width, so that nothing ever stands in front of another thing."""
    counts = [rng.choice(kind.counts) for kind in kinds]
    if len(kinds) == 2 and min(counts) > 1:
        counts[rng.randrange(2)] = 1
    slots: list[tuple[int, ...]]
    if any(count > 1 for count in counts):
        pair, single = rng.choice((((0, 1), (2,)), ((1, 2), (0,))))
        slots = [pair if count > 1 else single for count in counts]
    else:
        slots = [(s,) for s in rng.sample(range(3), len(kinds))]
    colours = rng.sample(COLOURS, len(kinds)) if rng.random() < 0.85 else rng.choices(COLOURS, k=len(kinds))
    return [
        Thing(
            kind.name,
            count,
            colour if kind.coloured else None,
            rng.choice(SIZES) if kind.sized and count == 1 else None,
            slot,
        )
        for kind, count, colour, slot in zip(kinds, counts, colours, slots, strict=True)
    ]


def things_that_swap(scene: Scene) -> list[tuple[int, int]]:
    """Pairs of things (by position) whose colours differ, so that exchanging them makes another scene."""
    coloured = [i for i, t in enumerate(scene.things) if t.colour is not None]
    return [(i, j) for i in coloured for j in coloured if i < j and scene.things[i].colour != scene.things[j].colour]


def swap_colours(scene: Scene, i: int, j: int) -> Scene:
    """The scene with the colours of things i and j exchanged: a red house, a blue boat -> a blue house, a red boat."""
    things = list(scene.things)
    things[i] = replace(scene.things[i], colour=scene.things[j].colour)
    things[j] = replace(scene.things[j], colour=scene.things[i].colour)
    return replace(scene, things=tuple(things))


def neighbour(rng: Random, scene: Scene) -> Scene:
    """A scene that differs from this one in a single respect: swapped colours where possible, else one attribute.

    Training puts the two in one batch, so that telling them apart is what the loss asks for.
    """
    pairs = things_that_swap(scene)
    if pairs and rng.random() < 0.5:
        return swap_colours(scene, *rng.choice(pairs))
    for _ in range(20):
        other = _change_one(rng, scene)
        if other is not None and other != scene:
            return other
    return replace(scene, time=rng.choice([t for t in TIMES if t != scene.time]))


def _change_one(rng: Random, scene: Scene) -> Scene | None:
    """One change of the kind drawn, or None where it does not apply to the thing drawn."""
    i = rng.randrange(len(scene.things))
    thing = scene.things[i]
    match rng.choice(("time", "land", "colour", "colour", "size", "place", "count", "kind")):
        case "time":
            return replace(scene, time=rng.choice(TIMES))
        case "land":
            land = rng.choice(LANDS)
            return replace(scene, land=land) if all(land in KINDS[t.kind].lands for t in scene.things) else None
        case "colour":
            changed = replace(thing, colour=rng.choice(COLOURS)) if thing.colour else None
        case "size":
            changed = replace(thing, size=SIZES[1 - SIZES.index(thing.size)]) if thing.size else None
        case "count":
            counts = [n for n in KINDS[thing.kind].counts if n > 1]
            changed = replace(thing, count=rng.choice(counts)) if thing.count > 1 and counts else None
        case "place":
            band = KINDS[thing.kind].layer == "sky"
            taken = {s for t in scene.things if t != thing and (KINDS[t.kind].layer == "sky") == band for s in t.slots}
            free = [s for s in range(3) if s not in taken]
            changed = replace(thing, slots=(rng.choice(free),)) if thing.place else None
        case _:
            old = KINDS[thing.kind]
            used = {t.kind for t in scene.things}
            same_form = [
                k.name
                for k in KINDS.values()
                if k.name not in used
                and (k.layer == "sky") == (old.layer == "sky")
                and (k.coloured, k.sized) == (old.coloured, old.sized)
                and thing.count in k.counts
                and scene.land in k.lands
            ]
            changed = replace(thing, kind=rng.choice(same_form)) if same_form else None
    if changed is None:
        return None
    return replace(scene, things=tuple(sorted((*scene.things[:i], changed, *scene.things[i + 1 :]))))


def scene_to_json(scene: Scene) -> dict[str, Any]:
    """A plain dict for JSON; scene_from_json reads it back."""
    return {
        "time": scene.time,
        "land": scene.land,
        "things": [
            {"kind": t.kind, "count": t.count, "colour": t.colour, "size": t.size, "slots": list(t.slots)}
            for t in scene.things
        ],
    }


def scene_from_json(spec: dict[str, Any]) -> Scene:
    """The scene that scene_to_json wrote."""
    things = (Thing(t["kind"], t["count"], t["colour"], t["size"], tuple(t["slots"])) for t in spec["things"])
    return Scene(spec["time"], spec["land"], tuple(things))
