"""How much of what a describer says of postcards is true: things that it names and that are not there, colours, places.

    python -m scripts.describe_protocol demo
    python -m scripts.describe_protocol hf:FOLDER --pictures 200

The truth is the specification of each postcard (data/postcards/specifications.json), which no describer was trained on.
A thing is said where one of its names stands in the sentence; the colour that is said of it is the one before its name.
`things said that are not there / things said` is what CHAIR_i is on COCO (Rohrbach et al. 2018, "Object Hallucination
in Image Captioning"), here with the names of `scripts.postcards.captions`; `sentences with such a thing / sentences` is
CHAIR_s. Questions are drawn from the specification (seed 0); four in ten of those about things ask for one that is not
there.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from pathlib import Path
from random import Random

from PIL import Image

from mmsearch.describing import Describer, open_describer
from scripts.postcards.captions import NOUNS
from scripts.postcards.dataset import load_test
from scripts.postcards.plain_words import question_and_answer
from scripts.postcards.scene import COLOURS, PLACES, Scene

DATA = Path("data/postcards")
_BATCH = 64


def things_said(text: str) -> dict[str, tuple[str | None, str | None]]:
    """kind -> (colour, place) that a sentence says of it; None where it says none. The longest name counts, so that a
    lighthouse is no house.

    >>> things_said("a big red boat on the left and two white tents in the snow")
    {'boat': ('red', 'left'), 'tent': ('white', None)}
    """
    names = sorted(
        (
            (name.removeprefix("a flock of ").removeprefix("some "), kind)
            for kind, forms in NOUNS.items()
            for form in forms
            for name in form
        ),
        key=lambda each: -len(each[0]),
    )
    pattern = re.compile(r"\b(" + "|".join(re.escape(name) for name, _ in names) + r")\b")
    kind_of = dict(reversed(names))
    found = [(match.start(), match.end(), kind_of[match[1]]) for match in pattern.finditer(text.lower())]
    told: dict[str, tuple[str | None, str | None]] = {}
    for number, (start, end, kind) in enumerate(found):
        before = text.lower()[found[number - 1][1] if number else 0 : start]
        after = text.lower()[end : found[number + 1][0] if number + 1 < len(found) else len(text)]
        colours = re.findall(r"\b(" + "|".join(COLOURS) + r")\b", before)
        place = re.match(r"\W*(?:on|in|to) the (" + "|".join(PLACES) + r")\b", after)
        told.setdefault(kind, (colours[-1] if colours else None, place[1] if place else None))
    return told


def judge(scene: Scene, text: str, counts: Counter[str]) -> None:
    """Count what is true of a sentence about a scene."""
    shown = {thing.kind: thing for thing in scene.things}
    told = things_said(text)
    counts["sentences"] += 1
    counts["things shown"] += len(shown)
    counts["things said"] += len(told)
    counts["said and not there"] += sum(kind not in shown for kind in told)
    counts["sentences with a thing that is not there"] += any(kind not in shown for kind in told)
    counts["shown and said"] += sum(kind in told for kind in shown)
    for kind, (colour, place) in told.items():
        if kind not in shown:
            continue
        if colour is not None:
            counts["colours said"] += 1
            counts["colours right"] += colour == shown[kind].colour
        if place is not None:
            counts["places said"] += 1
            counts["places right"] += place == shown[kind].place


def measure(describer: Describer, most: int, data: Path = DATA) -> dict[str, tuple[int, int]]:
    """(how many, of how many) of each figure of a describer on the test split; those of which it says nothing are
    left out."""
    postcards = load_test(data)[:most]
    rng, counts, asked = Random(0), Counter[str](), Counter[str]()
    for first in range(0, len(postcards), _BATCH):
        some = postcards[first : first + _BATCH]
        images = [Image.open(data / "images" / each.filename).convert("RGB") for each in some]
        if describer.describes:
            for each, guess in zip(some, describer.describe(images), strict=True):
                judge(each.scene, guess.text, counts)
        if describer.answers:
            for each, image in zip(some, images, strict=True):
                question, truth = question_and_answer(rng, each.scene)
                if question == "what does the picture show?":
                    continue
                right = describer.answer(question, [image])[0].text == truth
                kind = "yes or no" if truth in ("yes", "no") else question.split()[0]
                asked[f"{kind}: asked"] += 1
                asked[f"{kind}: right"] += right
    shares = {
        "things said that are not there (CHAIR_i)": (counts["said and not there"], counts["things said"]),
        "sentences with one (CHAIR_s)": (counts["sentences with a thing that is not there"], counts["sentences"]),
        "things shown that are said": (counts["shown and said"], counts["things shown"]),
        "colours right": (counts["colours right"], counts["colours said"]),
        "places right": (counts["places right"], counts["places said"]),
    }
    shares |= {
        f"answers right: {kind}": (asked[f"{kind}: right"], asked[f"{kind}: asked"])
        for kind in sorted({each.partition(":")[0] for each in asked})
    }
    return {name: (right, of) for name, (right, of) in shares.items() if of}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what a describer says of postcards against what they show.")
    parser.add_argument("model", help="the spec of a describer: demo, hf:FOLDER")
    parser.add_argument("--pictures", type=int, default=1000, help="of the test split")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    describer = open_describer(args.model, device=args.device)
    measured = measure(describer, args.pictures)
    if args.json:
        print(json.dumps({"describer": describer.identity, **measured}))
        return
    print(f"{'describer':42}{describer.identity}")
    for name, (right, of) in measured.items():
        print(f"{name:42}{right / of:.4f}   {right:,} of {of:,}")


if __name__ == "__main__":
    main()
