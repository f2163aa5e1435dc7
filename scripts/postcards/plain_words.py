"""What the demo describer is taught: one plain sentence for each postcard, and questions with their answers."""

from __future__ import annotations

from random import Random

from scripts.postcards.captions import LAND_PHRASE, NOUNS, PLACES, TIME_PHRASE
from scripts.postcards.scene import KINDS, Scene, Thing

__all__ = ["plain_caption", "question_and_answer", "vocabulary"]

_ABOUT_TIME = ("what is the weather like?", "what time is it?", "what is the sky like?", "when is this?")
_ABOUT_LAND = ("where is this?", "what is the landscape?", "what place is this?")
_COUNTS = {1: "one", 2: "two", 3: "three"}


def plain_caption(scene: Scene) -> str:
    """All that a postcard shows, the same words for the same thing each time.

    >>> plain_caption(Scene("moon", "sea", (Thing("boat", 1, "red", "big", (2,)), Thing("birds", 0, None, None, (0,)))))
    'a big red boat on the right and birds on the left by the sea by moonlight'
    """
    phrases = [_phrase(thing) for thing in scene.things]
    things = phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"
    return f"{things} {LAND_PHRASE[scene.land][0]} {TIME_PHRASE[scene.time][0]}"


def question_and_answer(rng: Random, scene: Scene) -> tuple[str, str]:
    """A question that somebody may ask of a postcard, and what is true of it. Four in ten of those about a thing ask
    for one that is not there."""
    form = rng.randrange(7)
    if form == 0:
        return rng.choice(_ABOUT_TIME), TIME_PHRASE[scene.time][0]
    if form == 1:
        return rng.choice(_ABOUT_LAND), LAND_PHRASE[scene.land][0]
    if form == 2:
        return "what does the picture show?", plain_caption(scene)
    thing = rng.choice(scene.things)
    if rng.random() < 0.4:
        shown = {each.kind for each in scene.things}
        thing = Thing(rng.choice([kind for kind in KINDS if kind not in shown]), -1, None, None, (0,))
    singular, plural = rng.choice(NOUNS[thing.kind])
    singular = singular.removeprefix("a ").removeprefix("some ")
    absent = thing.count < 0
    if form == 3 or (not KINDS[thing.kind].coloured and form == 4):
        form_of = rng.choice(("is there a {}?", "do you see a {}?", "is there any {}?"))
        return form_of.replace("{}", singular), "no" if absent else "yes"
    if form == 4:
        named = plural if thing.count > 1 else singular
        verb = "are" if thing.count > 1 else "is"
        asked = rng.choice((f"what colour {verb} the {named}?", f"what color {verb} the {named}?"))
        return asked, f"there is no {NOUNS[thing.kind][0][0]}" if absent else str(thing.colour)
    if form == 5 and thing.kind != "birds":
        return f"how many {plural} are there?", "none" if absent else _COUNTS[thing.count]
    if absent:
        return f"where is the {singular}?", f"there is no {NOUNS[thing.kind][0][0]}"
    where = PLACES[thing.place][0] if thing.place else LAND_PHRASE[scene.land][0]
    return f"where is the {singular}?", where


def _phrase(thing: Thing) -> str:
    singular, plural = NOUNS[thing.kind][0]
    words = [thing.size, thing.colour, singular if thing.count == 1 else plural]
    named = " ".join(word for word in words if word)
    if thing.count:
        named = f"a {named}" if thing.count == 1 else f"{_COUNTS[thing.count]} {named}"
    return f"{named} {PLACES[thing.place][0]}" if thing.place else named


def vocabulary(scenes: list[Scene], seed: int = 0) -> list[str]:
    """All words and signs that the sentences and questions of some postcards hold."""
    from tokenizers.pre_tokenizers import BertPreTokenizer

    rng, split = Random(seed), BertPreTokenizer().pre_tokenize_str
    words = {word for scene in scenes for word, _ in split(plain_caption(scene))}
    for scene in scenes:
        for text in question_and_answer(rng, scene):
            words |= {word for word, _ in split(text)}
    return sorted(words)
