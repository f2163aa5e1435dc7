"""The demo describer, and how what is said of postcards is judged."""

from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from mmsearch.describing import open_describer
from mmsearch.errors import EncoderError
from scripts.describe_protocol import judge, measure, things_said
from scripts.postcards.plain_words import plain_caption
from scripts.postcards.scene import Scene, Thing

PROJECT = Path(__file__).resolve().parents[1]

SCENE = Scene("moon", "sea", (Thing("boat", 1, "red", "big", (2,)), Thing("birds", 0, None, None, (0,))))


def test_things_are_read_from_a_sentence() -> None:
    assert things_said("A big red boat on the left and two white tents in the snow") == {
        "boat": ("red", "left"),
        "tent": ("white", None),
    }
    assert things_said("a lighthouse, a hot air balloon and some birds") == {
        "lighthouse": (None, None),
        "balloon": (None, None),
        "birds": (None, None),
    }
    assert things_said("the sea by moonlight") == {}


def test_a_sentence_is_judged_by_what_is_shown() -> None:
    """By hand: of two things shown one is said, and a house that is not there; of one colour none is right."""
    counts = Counter[str]()
    judge(SCENE, "a blue boat on the right and a white house on the left", counts)
    assert counts["things shown"] == 2
    assert counts["things said"] == 2
    assert counts["said and not there"] == 1
    assert counts["sentences with a thing that is not there"] == 1
    assert counts["shown and said"] == 1
    assert (counts["colours right"], counts["colours said"]) == (0, 1)
    assert (counts["places right"], counts["places said"]) == (1, 1)
    counts = Counter[str]()
    judge(SCENE, plain_caption(SCENE), counts)
    assert counts["said and not there"] == 0
    assert counts["shown and said"] == 2


def test_the_demo_describer_says_what_is_there() -> None:
    """On postcards that it was not trained on; all of them are measured by python -m scripts.describe_protocol demo."""
    describer = open_describer("demo", device="cpu")
    measured = measure(describer, 30, PROJECT / "data" / "postcards")
    wrong, said = measured["things said that are not there (CHAIR_i)"]
    assert said >= 50
    assert wrong / said < 0.1
    named, shown = measured["things shown that are said"]
    assert named / shown > 0.85


def test_what_it_does_not_know_is_said_before() -> None:
    said: list[str] = []
    open_describer("demo", device="cpu", announce=said.append)
    assert any("of other pictures what it says means nothing" in line for line in said)


@pytest.mark.soak
def test_the_demo_describer_says_the_same_in_any_batch() -> None:
    describer = open_describer("demo", device="cpu")
    files = sorted((PROJECT / "data" / "postcards" / "images").glob("*.jpg"))[:6]
    images = [Image.open(file).convert("RGB") for file in files]
    together = describer.describe(images)
    assert together == [describer.describe([image])[0] for image in images]
    assert describer.describe([]) == []
    assert describer.identity.startswith("demo@")
    with pytest.raises(EncoderError, match="describes pictures and takes no questions"):
        describer.answer("is there a house?", images)
