"""Models that describe pictures: what they write is what a loop of its own writes, and what cannot be used is said."""

import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from mmsearch.describing import Describer, describe, open_describer, said
from mmsearch.errors import EncoderError, QueryError
from tests.conftest import Command
from tests.fakes import write_picture
from tests.hub_models import pictures, write_dual_encoder, written_once
from tests.writing_models import ANSWERING, DESCRIBING, loop_of, write_writing_model


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    return written_once(write_writing_model, tmp_path_factory.mktemp("writing"))


def _one_quick(kinds: Sequence[str]) -> list[Any]:
    """The first kind is tried among the quick tests, the others among the slow ones."""
    return [kinds[0], *(pytest.param(kind, marks=pytest.mark.soak) for kind in kinds[1:])]


@pytest.mark.parametrize("kind", _one_quick(DESCRIBING))
def test_descriptions_are_those_of_a_plain_loop(kind: str, written: Callable[[str], Path]) -> None:
    """In batches, with what was computed kept from word to word: nothing of that changes a word."""
    describer = open_describer(f"hf:{written(kind)}", device="cpu")
    loop = loop_of(written(kind), kind)
    expected = [loop(None, image) for image in pictures()]
    assert len(set(expected)) > 1  # pictures make a difference
    assert [each.text for each in describer.describe(pictures())] == expected


@pytest.mark.parametrize("kind", _one_quick(ANSWERING))
def test_answers_are_those_of_a_plain_loop(kind: str, written: Callable[[str], Path]) -> None:
    describer = open_describer(f"hf:{written(kind)}", device="cpu")
    loop = loop_of(written(kind), kind)
    for question in ("what colour is the dog?", "is it big?"):
        expected = [loop(question, image) for image in pictures()]
        assert [each.text for each in describer.answer(question, pictures())] == expected
    assert len({loop(question, pictures()[0]) for question in ("what colour is the dog?", "is it big?")}) == 2


def test_a_batch_that_does_not_fit_is_halved(written: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    describer: Any = open_describer(f"hf:{written('BLIP')}", device="cpu")
    expected = describer.describe(pictures())
    generate, sizes = describer._model().generate, []

    def narrow(**inputs: Any) -> Any:
        sizes.append(len(inputs["pixel_values"]))
        if sizes[-1] > 1:
            raise torch.OutOfMemoryError("too many")
        return generate(**inputs)

    monkeypatch.setattr(describer._loaded, "generate", narrow)
    assert describer.describe(pictures()) == expected
    assert sizes == [4, 2, 1, 1, 1, 1]

    def full(**inputs: Any) -> Any:
        raise torch.OutOfMemoryError("one is too many")

    monkeypatch.setattr(describer._loaded, "generate", full)
    with pytest.raises(EncoderError, match="not enough free memory"):
        describer.describe(pictures())


def test_the_identity_follows_the_weights(written: Callable[[str], Path], tmp_path: Path) -> None:
    """Not the folder: a copy elsewhere is the same model, other weights under the same name are another."""
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "mine"
    write_writing_model(folder, "BLIP")
    first = open_describer(f"hf:{folder}")
    assert first.name == "hf:mine"
    assert first.licence == "bsd-3-clause"
    assert str(tmp_path) not in first.identity
    tensors = load_file(folder / "model.safetensors")
    name = next(iter(sorted(tensors)))
    save_file({**tensors, name: tensors[name] + 1}, folder / "model.safetensors", metadata={"format": "pt"})
    assert open_describer(f"hf:{folder}").identity != first.identity


def test_what_cannot_be_used_is_said(
    written: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = pictures()[:1]
    with pytest.raises(EncoderError, match="describes pictures and takes no questions: mmsearch describe"):
        open_describer(f"hf:{written('BLIP')}").answer("what is it?", image)
    with pytest.raises(EncoderError, match="answers questions and describes nothing: mmsearch ask"):
        open_describer(f"hf:{written('BLIP that answers')}").describe(image)
    clip = write_dual_encoder(tmp_path / "clip", "CLIP")
    with pytest.raises(EncoderError, match=r"is a CLIPModel, which does not write what it sees"):
        open_describer(f"hf:{clip}")
    mute = write_writing_model(tmp_path / "mute", "LLaVA")
    (mute / "chat_template.jinja").unlink()
    with pytest.raises(EncoderError, match="LlavaForConditionalGeneration without a chat template"):
        open_describer(f"hf:{mute}")
    with pytest.raises(EncoderError, match="no model that describes pictures is called 'nonsense'; there is hf:"):
        open_describer("nonsense")
    with pytest.raises(EncoderError, match="there is no such folder"):
        open_describer(f"hf:{tmp_path / 'nowhere'}")

    broken = write_writing_model(tmp_path / "broken", "BLIP")
    settings = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps({**settings, "auto_map": {"AutoModel": "evil.Model"}}))
    with pytest.raises(EncoderError, match=r"asks for code of its own \(evil.Model"):
        open_describer(f"hf:{broken}")
    (broken / "config.json").write_text(json.dumps(settings))
    (broken / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{]")
    with pytest.raises(EncoderError, match="is damaged"):
        open_describer(f"hf:{broken}")
    (broken / "model.safetensors").unlink()
    (broken / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(EncoderError, match="only as a pickle"):
        open_describer(f"hf:{broken}")

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "transformers" else find(name))
    with pytest.raises(EncoderError, match=r'needs the package transformers: pip install "mmsearch\[describe\]"'):
        open_describer(f"hf:{written('BLIP')}")


def test_a_model_that_lacks_weights_is_not_used(written: Callable[[str], Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = write_writing_model(tmp_path / "part", "BLIP")
    tensors = load_file(folder / "model.safetensors")
    rest = {name: each for name, each in tensors.items() if "cls.predictions.transform" not in name}
    assert len(rest) < len(tensors)
    save_file(rest, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EncoderError, match="lacks weights of a BlipForConditionalGeneration"):
        open_describer(f"hf:{folder}").describe(pictures()[:1])


def test_what_is_said_is_one_bounded_line() -> None:
    assert said(" a\x1b[2J dog\n\u202e on a  beach\0").text == "a [2J dog on a beach"
    long = said("word " * 1000)
    assert long.cut
    assert len(long.text) <= 1001
    assert said("", cut=True).text == ""


class Painter(Describer):
    """Says the colour of a picture's first pixel."""

    spec, identity = "paint:1", "paint:1@0123456789ab"
    pictures_at_once = 2

    def describe(self, images: Sequence[Image.Image]) -> list[Any]:
        return [said(f"mostly {image.getpixel((0, 0))}") for image in images]

    def answer(self, question: str, images: Sequence[Image.Image]) -> list[Any]:
        return [said("yes") for _ in images]


def test_pictures_are_described_in_their_order(photos: Path, tmp_path: Path) -> None:
    files = sorted(photos.glob("*.png"))[:5]
    described = [*describe(files, model=Painter())]
    assert [each.picture for each in described] == [str(file) for file in files]
    assert all(each.guessed_by == "paint:1" for each in described)
    first = Image.open(files[0]).convert("RGB").getpixel((0, 0))
    assert described[0].guess == f"mostly {first}"

    (tmp_path / "words.jpg").write_text("no picture")
    with pytest.raises(QueryError, match=r"words\.jpg is no picture"):
        describe([files[0], tmp_path / "words.jpg"], model=Painter())
    with pytest.raises(QueryError, match=r"is a folder; .* mmsearch embed .* --describe MODEL"):
        describe([photos], model=Painter())
    with pytest.raises(QueryError, match="no picture; name some"):
        describe([], model=Painter())


def test_the_command_marks_what_it_says(command_line: Command, written: Callable[[str], Path], tmp_path: Path) -> None:
    picture = write_picture(tmp_path / "red.png")
    model = f"hf:{written('BLIP')}"
    expected = open_describer(model).describe([Image.open(picture).convert("RGB")])[0].text
    run = command_line("describe", str(picture), "--model", model)
    assert run.out == f"{picture}\ta machine's guess: {expected}\n"
    assert "licence of the weights" in run.err
    told = json.loads(command_line("describe", str(picture), "--model", model, "--format", "jsonl").out)
    assert told == {
        "picture": str(picture),
        "guess": expected,
        "guessed_by": f"hf:{written('BLIP').name}",
        "cut": expected.endswith("…"),
        "unread": None,
    }
