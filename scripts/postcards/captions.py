"""The caption grammar: five captions for a scene, as five people might write them, and what each one claims.

A caption first chooses what to mention, then says it: the claims are the chosen facts and nothing else, so whether
another scene would deserve the same caption is a question of sets (see oracle).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random

from scripts.postcards.scene import KINDS, Scene, Thing

__all__ = ["NOUNS", "PLACES", "Caption", "caption_scene", "describe", "describe_tersely", "name_thing", "tokens"]

CAPTIONS_PER_SCENE = 5

# Each time of day, said as a noun that can stand over a land, and as a phrase that can follow or open a sentence.
_TIME_NOUN = {
    "noon": ("noon", "bright daylight", "midday sun", "sunshine", "a blue sky", "a sunny day"),
    "sunset": ("sunset", "a sunset", "dusk", "the setting sun", "evening glow", "a red evening sky"),
    "moon": ("moonlight", "a full moon", "the moon", "a moonlit night", "a bright moon"),
    "stars": ("stars", "a starry sky", "a starry night", "a sky full of stars", "the stars"),
    "storm": ("a storm", "a thunderstorm", "lightning", "stormy skies", "rain and lightning", "thunderstorm"),
    "fog": ("fog", "mist", "thick fog", "morning mist", "a grey fog"),
    "night": ("night", "a night sky", "a dark sky", "nightfall"),
}
TIME_PHRASE = {
    "noon": ("at noon", "at midday", "in bright daylight", "on a sunny day", "under a blue sky", "in the sunshine"),
    "sunset": (
        "at sunset",
        "at dusk",
        "as the sun goes down",
        "in the evening glow",
        "during sunset",
        "under a red evening sky",
    ),
    "moon": (
        "by moonlight",
        "under a full moon",
        "on a moonlit night",
        "in the moonlight",
        "with the moon above",
        "under the moon",
    ),
    "stars": (
        "under the stars",
        "under a starry sky",
        "on a starry night",
        "beneath a sky full of stars",
        "with stars above",
    ),
    "storm": (
        "in a storm",
        "during a thunderstorm",
        "in the rain",
        "with lightning in the sky",
        "in stormy weather",
        "as lightning strikes",
    ),
    "fog": ("in the fog", "on a foggy day", "in thick mist", "on a misty morning", "in foggy weather"),
    "night": ("at night", "in the dark", "by night", "after dark"),
}
_TIME_ADJECTIVE = {
    "noon": ("sunny", "bright"),
    "sunset": ("sunset",),
    "moon": ("moonlit",),
    "stars": ("starlit", "starry"),
    "storm": ("stormy", "rainy"),
    "fog": ("foggy", "misty"),
    "night": ("dark", "night"),
}
_LAND_NOUN = {
    "mountains": ("mountains", "the mountains", "snowy peaks", "a mountain range", "high mountains", "alpine peaks"),
    "sea": ("the sea", "the ocean", "a beach", "the coast", "a sandy shore", "the seaside"),
    "desert": ("the desert", "a desert", "sand dunes", "desert sand", "dunes"),
    "forest": ("a forest", "the forest", "the woods", "pine woods", "fir trees"),
    "fields": ("fields", "the fields", "farmland", "green fields", "the countryside"),
    "city": ("the city", "a city", "a skyline", "the town", "city buildings", "tall buildings"),
    "snow": ("snow", "the snow", "a snowy landscape", "white hills", "a winter landscape"),
}
LAND_PHRASE = {
    "mountains": (
        "in the mountains",
        "in front of the mountains",
        "below snowy peaks",
        "by a mountain range",
        "near the mountains",
    ),
    "sea": ("by the sea", "at the beach", "on the coast", "at the seaside", "by the ocean", "on a sandy shore"),
    "desert": ("in the desert", "among sand dunes", "in a desert", "on desert sand", "between the dunes"),
    "forest": ("in the forest", "in the woods", "near a forest", "by the pine woods", "in front of fir trees"),
    "fields": ("in the fields", "in the countryside", "on farmland", "among green fields", "in a field"),
    "city": ("in the city", "in town", "in front of the skyline", "near tall buildings", "in a city"),
    "snow": ("in the snow", "in a snowy landscape", "in winter", "on white hills", "in deep snow"),
}
# What an adjective of the time can stand before: "a foggy forest".
_LAND_BARE = {
    "mountains": ("mountains", "mountain range", "mountain landscape"),
    "sea": ("sea", "beach", "coast", "seaside"),
    "desert": ("desert", "desert", "dunes"),
    "forest": ("forest", "woods"),
    "fields": ("fields", "countryside", "farmland"),
    "city": ("city", "skyline", "town"),
    "snow": ("snow", "winter landscape", "snowy hills"),
}
_PLURAL_BARE = {"mountains", "dunes", "woods", "fields", "snow", "snowy hills", "farmland", "countryside"}

NOUNS: dict[str, tuple[tuple[str, str], ...]] = {
    "house": (("house", "houses"), ("house", "houses"), ("cottage", "cottages"), ("home", "homes")),
    "tent": (("tent", "tents"), ("tent", "tents"), ("camping tent", "camping tents")),
    "car": (("car", "cars"), ("car", "cars"), ("automobile", "automobiles")),
    "lighthouse": (("lighthouse", "lighthouses"),),
    "windmill": (("windmill", "windmills"), ("windmill", "windmills"), ("mill", "mills")),
    "palm": (("palm tree", "palm trees"), ("palm", "palms")),
    "sheep": (("sheep", "sheep"), ("woolly sheep", "woolly sheep")),
    "boat": (("boat", "boats"), ("sailboat", "sailboats"), ("sailing boat", "sailing boats")),
    "balloon": (
        ("balloon", "balloons"),
        ("hot air balloon", "hot air balloons"),
        ("hot-air balloon", "hot-air balloons"),
    ),
    "kite": (("kite", "kites"),),
    "plane": (("plane", "planes"), ("airplane", "airplanes"), ("aeroplane", "aeroplanes")),
    "birds": (("birds", "birds"), ("a flock of birds", "a flock of birds"), ("some birds", "some birds")),
}
_VERBS: dict[str, tuple[str, ...]] = {
    "house": ("standing",),
    "tent": ("pitched",),
    "car": ("parked",),
    "lighthouse": ("standing",),
    "windmill": ("turning",),
    "palm": ("growing",),
    "sheep": ("grazing",),
    "boat": ("sailing", "floating", "on the water"),
    "balloon": ("floating", "drifting", "in the sky", "in the air"),
    "kite": ("flying", "in the sky", "in the air"),
    "plane": ("flying", "in the sky"),
    "birds": ("flying", "in the sky"),
}
_COLOURS = {
    "red": ("red", "red", "red", "bright red", "scarlet"),
    "blue": ("blue", "blue", "blue", "bright blue", "deep blue"),
    "yellow": ("yellow", "yellow", "yellow", "bright yellow", "golden"),
    "green": ("green", "green", "green", "bright green"),
    "white": ("white", "white", "white", "plain white"),
    "purple": ("purple", "purple", "purple", "violet"),
}
_SIZES = {"small": ("small", "little", "tiny"), "big": ("big", "large", "huge")}
_COUNTS = {2: ("two", "two", "a pair of"), 3: ("three", "three", "a group of three")}
PLACES = {
    "left": ("on the left", "to the left", "on the left side"),
    "middle": ("in the middle", "in the centre", "in the center"),
    "right": ("on the right", "to the right", "on the right side"),
}
# An opening ("a picture of") needs a noun after it, and texts that begin so have none there.
_BEGINS_WITHOUT_NOUN = ("there", "in ", "on ", "at ", "under", "by ", "with", "as ", "du", "be", "af", "am", "ne")
_OPENINGS = ("a picture of", "a postcard of", "a view of", "an image of", "a postcard showing")


@dataclass(frozen=True, slots=True)
class Caption:
    """A text and the facts that it claims (names from scene.FACTS)."""

    text: str
    claims: frozenset[str]


@dataclass(frozen=True, slots=True)
class Mention:
    """What is said of one thing. Its kind and, unless it is a flock, its count are always said."""

    thing: Thing
    colour: bool
    size: bool
    place: bool


def caption_scene(rng: Random, scene: Scene) -> tuple[Caption, ...]:
    """Five captions with distinct texts: one names everything, one nearly so, two name little, one is in between."""
    styles = (1.0, 0.75, 0.5, 0.3, 0.0)
    captions: list[Caption] = []
    for style in styles:
        while True:
            caption = describe(rng, scene, style)
            if all(caption.text != other.text for other in captions):
                captions.append(caption)
                break
    return tuple(captions)


def describe(rng: Random, scene: Scene, fullness: float) -> Caption:
    """One caption. fullness 1 mentions all there is; 0 mentions two things (of time, land and things); between,
    each part and each attribute is mentioned with about that chance."""
    parts: list[str | Thing] = ["time", "land", *scene.things]
    if fullness == 0.0:
        chosen = rng.sample(parts, 2)
    else:
        chosen = [part for part in parts if rng.random() < fullness + 0.15]
        if len(chosen) < 2:
            chosen = rng.sample(parts, 2)
    chance = max(fullness, 0.35)
    mentions = [
        Mention(
            thing,
            thing.colour is not None and rng.random() < chance + 0.2,
            thing.size is not None and rng.random() < chance,
            thing.place is not None and rng.random() < (0.85 if fullness == 1.0 else chance * 0.5),
        )
        for thing in chosen
        if isinstance(thing, Thing)
    ]
    rng.shuffle(mentions)
    time: str | None = None
    if "time" in chosen:
        vague = scene.time in ("moon", "stars") and fullness < 1.0 and rng.random() < 0.3
        time = "night" if vague else scene.time
    land = scene.land if "land" in chosen else None
    claims = {f"time={time}"} if time else set()
    if time in ("moon", "stars"):
        claims.add("time=night")
    if land:
        claims.add(f"land={land}")
    for mention in mentions:
        claims |= _claims_of(mention)
    return Caption(_say(rng, time, land, mentions), frozenset(claims))


def describe_tersely(rng: Random, scene: Scene) -> Caption:
    """What someone types into a search box: a word or a few, often without articles. For training only."""
    parts: list[str | Thing] = ["time", "land", *scene.things]
    part = rng.choice(parts)
    if part == "time":
        time = "night" if scene.time in ("moon", "stars") and rng.random() < 0.3 else scene.time
        claims = {f"time={time}"} | ({"time=night"} if time in ("moon", "stars") else set())
        return Caption(rng.choice(_TIME_NOUN[time] + TIME_PHRASE[time]), frozenset(claims))
    if part == "land":
        return Caption(rng.choice(_LAND_NOUN[scene.land] + LAND_PHRASE[scene.land]), frozenset({f"land={scene.land}"}))
    assert isinstance(part, Thing)
    thing = part
    mention = Mention(
        thing,
        thing.colour is not None and rng.random() < 0.7,
        thing.size is not None and rng.random() < 0.3,
        thing.place is not None and rng.random() < 0.2,
    )
    text = noun_phrase(rng, mention)
    if rng.random() < 0.5:
        text = text.removeprefix("a ").removeprefix("an ")
    return Caption(text, frozenset(_claims_of(mention)))


def name_thing(rng: Random, thing: Thing) -> str:
    """A noun phrase: what a thing is, its colour, and half of the time its size, as in "two small red tents"."""
    sized = thing.size is not None and rng.random() < 0.5
    return noun_phrase(rng, Mention(thing, thing.colour is not None, sized, False))


def tokens(text: str) -> list[str]:
    """Lower-case words without punctuation, as the Karpathy files have them."""
    return re.findall(r"[a-z0-9]+", text.lower())


def _claims_of(mention: Mention) -> set[str]:
    thing = mention.thing
    claims = {thing.kind}
    if thing.count:
        claims.add(f"{thing.kind}.count={thing.count}")
    if mention.colour:
        claims.add(f"{thing.kind}.colour={thing.colour}")
    if mention.size:
        claims.add(f"{thing.kind}.size={thing.size}")
    if mention.place:
        claims.add(f"{thing.kind}.place={thing.place}")
    return claims


def noun_phrase(rng: Random, mention: Mention) -> str:
    thing = mention.thing
    singular, plural = rng.choice(NOUNS[thing.kind])
    words: list[str] = []
    if mention.size and thing.size:
        words.append(rng.choice(_SIZES[thing.size]))
    if mention.colour and thing.colour:
        words.append(rng.choice(_COLOURS[thing.colour]))
    words.append(singular if thing.count < 2 else plural)
    phrase = " ".join(words)
    if thing.count == 1:
        phrase = ("one " if rng.random() < 0.06 else _article(phrase)) + phrase
    elif thing.count > 1:
        phrase = f"{rng.choice(_COUNTS[thing.count])} {phrase}"
    if rng.random() < 0.25:
        phrase += " " + rng.choice(_VERBS[thing.kind])
    if mention.place and thing.place:
        phrase += " " + rng.choice(PLACES[thing.place])
    return phrase


def _article(phrase: str) -> str:
    return "an " if phrase[0] in "aeio" and not phrase.startswith("one") else "a "


def _join(rng: Random, phrases: list[str]) -> str:
    if len(phrases) == 1:
        return phrases[0]
    if len(phrases) == 2:
        return f"{phrases[0]} {rng.choice(('and', 'and', 'with', 'beside', 'near', 'next to'))} {phrases[1]}"
    return f"{phrases[0]}, {phrases[1]} and {phrases[2]}"


def _say(rng: Random, time: str | None, land: str | None, mentions: list[Mention]) -> str:
    phrases = [noun_phrase(rng, mention) for mention in mentions]
    if not phrases:
        assert time is not None, "a caption mentions at least two things"
        assert land is not None, "a caption mentions at least two things"
        text = _setting(rng, time, land)
    elif time and land and rng.random() < 0.3:
        text = _setting_with(rng, _setting(rng, time, land), phrases)
    else:
        text = _sentence(rng, time, land, mentions, phrases)
    return finish(rng, text)


def _setting(rng: Random, time: str, land: str) -> str:
    """Time and land in one noun phrase: 'sunset over mountains', 'a foggy forest', 'the desert under the stars'."""
    noun, place = rng.choice(_TIME_NOUN[time]), rng.choice(_LAND_NOUN[land])
    form = rng.randrange(4)
    if form == 0:
        return f"{noun} {rng.choice(('over', 'over', 'above'))} {place}"
    if form == 1:
        return f"{noun} {rng.choice(LAND_PHRASE[land])}"
    if form == 2:
        return f"{place} {rng.choice(TIME_PHRASE[time])}"
    adjective, bare = rng.choice(_TIME_ADJECTIVE[time]), rng.choice(_LAND_BARE[land])
    return f"{'' if bare in _PLURAL_BARE else 'a '}{adjective} {bare}"


def _setting_with(rng: Random, setting: str, phrases: list[str]) -> str:
    things = _join(rng, phrases)
    return rng.choice((f"{setting} with {things}", f"{setting}, {things}", f"{setting} and {things}"))


def _sentence(rng: Random, time: str | None, land: str | None, mentions: list[Mention], phrases: list[str]) -> str:
    """Things first or phrases first, in any order."""
    around = [rng.choice(table[key]) for table, key in ((TIME_PHRASE, time), (LAND_PHRASE, land)) if key]
    rng.shuffle(around)
    things = _join(rng, phrases)
    form = rng.randrange(5)
    if form == 0 and around:
        return f"{around[0]}, {' '.join([things, *around[1:]])}"
    if form == 1 and len(phrases) > 1 and around:
        return f"{phrases[0]} {' '.join(around)}, with {_join(rng, phrases[1:])}"
    if form == 2:
        plural = mentions[0].thing.count != 1
        return " ".join([f"there {'are' if plural else 'is'}", things, *around])
    if form == 3 and land and rng.random() < 0.5:
        tail = f" {rng.choice(TIME_PHRASE[time])}" if time else ""
        return f"{things} {'over' if _all_fly(mentions) else 'and'} {rng.choice(_LAND_NOUN[land])}{tail}"
    return " ".join([things, *around])


def _all_fly(mentions: list[Mention]) -> bool:
    return all(KINDS[m.thing.kind].layer == "sky" for m in mentions)


def finish(rng: Random, text: str) -> str:
    if rng.random() < 0.12 and not text.startswith(_BEGINS_WITHOUT_NOUN):
        text = f"{rng.choice(_OPENINGS)} {text}"
    if rng.random() < 0.6:
        text = text[0].upper() + text[1:]
    return text + ("." if rng.random() < 0.5 else "")
