"""Things found by their names: each detector as its own processor asks it, and `--find` on hits and in pictures."""

import importlib
import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import mmsearch as mm
from mmsearch.detectors.opening import open_detector
from mmsearch.detectors.records import Found, FoundBox, found_record
from mmsearch.detectors.transformers_detectors import _apart
from mmsearch.errors import EncoderError, QueryError
from tests.conftest import Command
from tests.fakes import COLOURS, provide, write_picture
from tests.hub_models import bert_tokenizer, clip_tokenizer, written_once

PHRASES = ["a red dog", "Two cats.", "the house"]


def _owl(version: int) -> tuple[Any, Any]:
    hf: Any = importlib.import_module("transformers")  # whose annotations are incomplete
    small = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    text = {**small, "vocab_size": 600, "max_position_embeddings": 16}
    vision = {**small, "image_size": 64, "patch_size": 16}
    name = "OwlViT" if version == 1 else "Owlv2"
    config = getattr(hf, f"{name}Config")(text_config=text, vision_config=vision, projection_dim=32)
    pixels = getattr(hf, f"{name}ImageProcessor")(size={"height": 64, "width": 64})
    processor = getattr(hf, f"{name}Processor")(image_processor=pixels, tokenizer=clip_tokenizer())
    return getattr(hf, f"{name}ForObjectDetection")(config), processor


def _grounding_dino() -> tuple[Any, Any]:
    hf: Any = importlib.import_module("transformers")
    small = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    backbone = hf.SwinConfig(
        image_size=64,
        patch_size=4,
        embed_dim=16,
        depths=[1, 1, 1],
        num_heads=[2, 2, 2],
        window_size=4,
        out_features=["stage1", "stage2", "stage3"],
    )
    heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    config = hf.GroundingDinoConfig(
        backbone_config=backbone,
        text_config={"model_type": "bert", **small, "vocab_size": 1000},
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        num_queries=12,
        num_feature_levels=3,
        **heads,
    )
    pixels = hf.GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 100})
    return hf.GroundingDinoForObjectDetection(config), hf.GroundingDinoProcessor(pixels, bert_tokenizer())


KINDS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "owlvit": lambda: _owl(1),
    "owlv2": lambda: _owl(2),
    "grounding-dino": _grounding_dino,
}


def _write(folder: Path, kind: str) -> Path:
    torch.manual_seed(4)
    model, processor = KINDS[kind]()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.3)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    return written_once(_write, tmp_path_factory.mktemp("detectors"))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    file = tmp_path / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)).save(file)
    return file


class _Hues:
    """A detector of colours: its one box is around what has the colour that a phrase names."""

    spec, device = "hues", "cpu"

    def find(self, image: Image.Image, phrases: Sequence[str]) -> list[Found]:
        pixels = np.asarray(image.convert("RGB"), np.int64)
        found = []
        for phrase in phrases:
            colour = next((COLOURS[name] for name in COLOURS if name in phrase), (-999, 0, 0))
            rows, columns = np.nonzero(np.abs(pixels - colour).max(2) < 40)
            boxes = []
            if len(rows):
                across, down = image.width, image.height
                box = (columns.min() / across, rows.min() / down, (columns.max() + 1) / across, (rows.max() + 1) / down)
                boxes = [FoundBox((float(box[0]), float(box[1]), float(box[2]), float(box[3])), 0.75)]
            found.append(Found(phrase, boxes))
        return found


# --- the models -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*KINDS])
def test_a_detector_finds_what_its_own_processor_finds(kind: str, model: Callable[[str], Path], picture: Path) -> None:
    """From the outputs of the model alone: the boxes that are kept, whose they are, in shares of the picture."""
    hf: Any = importlib.import_module("transformers")
    folder = model(kind)
    detector = open_detector(f"hf:{folder}")
    image = Image.open(picture)
    found = detector.find(image, PHRASES)
    assert [each.phrase for each in found] == PHRASES
    processor = hf.AutoProcessor.from_pretrained(folder)
    network = hf.AutoModelForZeroShotObjectDetection.from_pretrained(folder).eval()
    with torch.no_grad():
        if kind == "grounding-dino":
            text = "a red dog. two cats. the house."
            inputs = processor(text=text, images=image, return_tensors="pt")
            outputs = network(**inputs)
            values = outputs.logits[0].sigmoid()
            ends = [n for n, token in enumerate(inputs.input_ids[0]) if processor.tokenizer.decode(token) == "."]
            spans = [range(start + 1, end) for start, end in zip([0, *ends], ends, strict=False)]
            by_phrase = torch.stack([values[:, list(span)].max(1).values for span in spans], 1)
            scores, named = values.max(1).values, by_phrase.argmax(1)
            kept = (scores > 0.25) & (by_phrase.max(1).values > 0.25)
            wide, high = 1.0, 1.0
        else:
            inputs = processor(
                text=[PHRASES], images=image, padding="max_length", truncation=True, max_length=16, return_tensors="pt"
            )
            outputs = network(**inputs)
            best = outputs.logits[0].sigmoid().max(1)
            scores, named, kept = best.values, best.indices, best.values > 0.1
            wide, high = (1.0, 90 / 60) if kind == "owlv2" else (1.0, 1.0)  # which pads below to a square
    x, y, w, h = outputs.pred_boxes[0].double().numpy().T
    corners = np.stack([(x - w / 2) * wide, (y - h / 2) * high, (x + w / 2) * wide, (y + h / 2) * high], 1).clip(0, 1)
    area = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
    total = 0
    for number, each in enumerate(found):
        own = (kept & (named == number)).numpy() & (area > 0)
        assert bool(each.boxes) == own.any()
        for box in each.boxes:
            near = np.abs(corners - box.box).max(1) + np.abs(scores.double().numpy() - box.score)
            assert own[near.argmin()]
            assert near.min() < 1e-5
        if each.boxes:
            assert each.boxes[0].score == pytest.approx(float(scores[own].max()), abs=1e-6)
        total += len(each.boxes)
    assert total > 2
    assert detector.find(image, ["no end of words " * 60])[0].phrase.startswith("no end")


def test_what_is_no_detector_is_said(
    model: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copied(name: str) -> Path:
        return Path(shutil.copytree(model("owlvit"), tmp_path / name))

    other = copied("other")
    settings = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(settings | {"model_type": "clip"}))
    code = copied("code")
    (code / "config.json").write_text(json.dumps(settings | {"auto_map": {"AutoModel": "mine.Model"}}))
    cut = copied("cut")
    (cut / "model.safetensors").write_bytes((cut / "model.safetensors").read_bytes()[:1000])
    broken = copied("broken")
    (broken / "tokenizer.json").write_text("{")
    for spec, message in (
        ("owlv2", "no detector is called 'owlv2'"),
        ("hf:/nowhere", "there is no such folder"),
        (f"hf:{other}", 'of the kind "clip", which finds nothing by its name'),
        (f"hf:{code}", "asks for code of its own"),
        (f"hf:{cut}", "cannot be loaded as a OwlViTForObjectDetection"),
        (f"hf:{broken}", "the processor of"),
    ):
        with pytest.raises(EncoderError, match=re.escape(message)):
            open_detector(spec)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EncoderError, match=re.escape('pip install "mmsearch[rerank]"')):
        open_detector("hf:/nowhere")


def test_boxes_of_one_thing_are_one(model: Callable[[str], Path]) -> None:
    boxes = np.array([[0, 0, 0.5, 0.5], [0, 0, 0.5, 0.4], [0.5, 0.5, 1, 1], [0.2, 0.2, 0.2, 0.6]])
    apart = _apart(boxes, np.array([0.3, 0.9, 0.5, 0.99]))
    assert [box.score for box in apart] == [0.9, 0.5]  # the first overlaps by .8, the last has no area


# --- hits and pictures ------------------------------------------------------------------------------------------------


@pytest.fixture
def gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    provide(monkeypatch)
    monkeypatch.chdir(tmp_path)
    for name in ("red", "blue"):
        write_picture(tmp_path / "pictures" / f"{name}.png", name)
    mm.embed([tmp_path / "pictures"], encoder="hf-hub:fake/one")
    return tmp_path


def test_hits_have_what_their_pictures_hold(gallery: Path) -> None:
    opened = mm.open_gallery()
    answer = opened.find(opened.ask(mm.Query([mm.TextPart("something red beside a blue thing")])), _Hues())
    for hit in answer.hits:
        colour = Path(hit.file or "").stem
        boxes = {each.phrase: [box.box for box in each.boxes] for each in hit.found}
        assert boxes == {
            "something red": [(0, 0, 1, 1)] if colour == "red" else [],
            "a blue thing": [(0, 0, 1, 1)] if colour == "blue" else [],
        }
    with pytest.raises(QueryError, match="this query has no words"):
        # Before a detector is fetched: nobody provides this one.
        opened.find(opened.ask(mm.Query([mm.ImagePart(gallery / "pictures" / "red.png")])), "nobody:has-it")
    asked = opened.ask(mm.Query([mm.TextPart("red")]))
    (gallery / "pictures" / "red.png").unlink()
    with pytest.warns(mm.MmsearchWarning, match=r"red\.png was not looked through"):
        answer = opened.find(asked, _Hues())
    assert {len(hit.found) for hit in answer.hits} == {0, 1}


def test_the_command_draws_and_tells(
    gallery: Path, mmsearch: Command, model: Callable[[str], Path], picture: Path
) -> None:
    spec = f"hf:{model('owlv2')}"
    told = mmsearch("query", "a red dog near two cats", "--find", spec, "--format", "jsonl", "--html", "page.html")
    for line in told.out.splitlines():
        found = json.loads(line)["found"]
        assert [each["phrase"] for each in found] == ["a red dog", "two cats"]
        assert all(0 <= value <= 1 for each in found for box in each["boxes"] for value in box["box"])
    assert "how many were found" in Path("page.html").read_text()
    refused = mmsearch("query", "a red dog", "--find", spec)
    assert refused.code == 2
    assert "--format jsonl" in refused.err
    drawn = mmsearch("explain", str(picture), "a red dog", "--find", spec, "-o", "found.png")
    with Image.open("found.png") as out, Image.open(picture) as before:
        assert out.size == before.size
        assert np.asarray(out.convert("RGB")).tolist() != np.asarray(before.convert("RGB")).tolist()
    phrase, score, box = drawn.out.splitlines()[0].split("\t")
    (record,) = map(
        json.loads,
        mmsearch("explain", str(picture), "a red dog", "--find", spec, "--format", "jsonl").out.splitlines(),
    )
    assert phrase == "a red dog"
    assert float(score) == pytest.approx(record["boxes"][0]["score"], abs=1e-4)
    assert [float(value) for value in box.split(",")] == pytest.approx(record["boxes"][0]["box"], abs=1e-3)
    both = mmsearch("explain", str(picture), "a red dog", "--find", spec, "--model", "fake")
    assert both.code == 2
    assert "--model" in both.err
    both = mmsearch("explain", str(picture), "a red dog", "--find", spec, "--gallery", "g")
    assert both.code == 2
    assert "--gallery" in both.err


def test_a_record_is_plain_json() -> None:
    found = Found("a red dog", [FoundBox((0.123456, 0, 0.5, 1), 0.7)])
    assert found_record(found) == {"phrase": "a red dog", "boxes": [{"box": [0.1235, 0, 0.5, 1], "score": 0.7}]}
