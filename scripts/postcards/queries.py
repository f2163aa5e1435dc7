"""The queries of the demo, fixed before the model was trained, each with what a right hit must show."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from scripts.postcards.scene import Scene, facts

__all__ = ["QUERIES", "Query", "matches", "write_queries"]


@dataclass(frozen=True, slots=True)
class Query:
    """A text, and the facts that a scene must have to be a right hit."""

    text: str
    requires: tuple[str, ...]


QUERIES = (
    Query("sunset over mountains", ("time=sunset", "land=mountains")),
    Query("a starry night in the desert", ("time=stars", "land=desert")),
    Query("moonlight on the ocean", ("time=moon", "land=sea")),
    Query("thunderstorm above the city", ("time=storm", "land=city")),
    Query("a misty forest", ("time=fog", "land=forest")),
    Query("a sunny day in the snow", ("time=noon", "land=snow")),
    Query("the countryside at dusk", ("time=sunset", "land=fields")),
    Query("tall buildings at night", ("time=night", "land=city")),
    Query("a red house", ("house", "house.count=1", "house.colour=red")),
    Query("blue sailboat", ("boat", "boat.count=1", "boat.colour=blue")),
    Query("yellow hot air balloon in the sky", ("balloon", "balloon.count=1", "balloon.colour=yellow")),
    Query("lighthouse in a storm", ("time=storm", "lighthouse")),
    Query("a lighthouse at night", ("time=night", "lighthouse")),
    Query("three sheep", ("sheep", "sheep.count=3")),
    Query("two tents in the woods", ("tent", "tent.count=2", "land=forest")),
    Query("a purple kite", ("kite", "kite.colour=purple")),
    Query("palm trees in the desert under the stars", ("palm", "land=desert", "time=stars")),
    Query("windmill and fields in bright daylight", ("windmill", "land=fields", "time=noon")),
    Query("a big green tent", ("tent", "tent.colour=green", "tent.size=big")),
    Query("birds over the sea at sunset", ("birds", "land=sea", "time=sunset")),
    Query("white car on the left", ("car", "car.colour=white", "car.place=left")),
)


def matches(query: Query, scene: Scene) -> bool:
    """Whether the scene is a right hit."""
    return facts(scene).issuperset(query.requires)


def write_queries(path: Path) -> None:
    """The queries and their predicates as JSON."""
    rows = [{"query": q.text, "requires": list(q.requires)} for q in QUERIES]
    path.write_text(json.dumps(rows, indent=1) + "\n")
