"""Encoders that packages provide: found by their prefix, held to a contract, and as good as open_clip's."""

import importlib.metadata
import json
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mmsearch import encoders
from mmsearch.embedding import embed
from mmsearch.encoders import EncodedTexts, Encoder, EncoderRequest, Pixels
from mmsearch.encoders.contract import ContractBroken, check_encoder
from mmsearch.encoders.declared import declared_encoder
from mmsearch.encoders.open_clip_provider import without_torch
from mmsearch.encoders.providers import GROUP
from mmsearch.errors import EncoderError, EncoderMismatch
from mmsearch.gallery import Gallery
from mmsearch.identity import EncoderIdentity
from tests.conftest import Command
from tests.fakes import FakeEncoder, FakeImages, FakeTexts, provide, write_picture
from tests.models import write_tiny_model

PITCHES = [np.sin(np.arange(192) * pitch) for pitch in (0.2, 0.9, 2.1, 2.9)]

Install = Callable[..., None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Pretends that packages are installed which provide encoders: prefix -> where their function is."""

    def install(*entries: tuple[str, str]) -> None:
        installed = importlib.metadata.EntryPoints(EntryPoint(*entry, GROUP) for entry in entries)
        monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: installed.select(group=group))

    return install


@pytest.fixture
def sound(install: Install) -> None:
    install(("sound", "tests.sound_provider:open_encoder"))


# --- a provider with a third side -------------------------------------------------------------------------------------


def test_a_provider_with_a_third_side_takes_sixty_lines() -> None:
    assert len(Path(__file__).with_name("sound_provider.py").read_text().splitlines()) <= 60


@pytest.mark.usefixtures("sound")
def test_it_embeds_and_answers_and_its_third_side_encodes(photos: Path, tmp_path: Path, command_line: Command) -> None:
    gallery, captions = tmp_path / "g", tmp_path / "captions.txt"
    captions.write_text("a bright day\na dark cellar\n")
    done = command_line("embed", photos, "--captions", captions, "--model", "sound:plain", "-g", gallery)
    assert done.code == 0, done.err
    assert "encoding with sound:plain on cpu, fp32" in done.err
    for arguments, best in (
        (["bright"], {"white.png", "more/white.png", "yellow.png", "more/yellow.png"}),
        (["--image", write_picture(tmp_path / "asked.png", "black", seed=7)], {"black.png", "more/black.png"}),
    ):
        done = command_line("query", *arguments, "-k", len(best), "-g", gallery, "--format", "jsonl")
        assert done.code == 0, done.err
        assert {json.loads(line)["path"] for line in done.out.splitlines()} == best
    done = command_line("query", "bright", "--in", "captions", "-k", "1", "-g", gallery, "--format", "jsonl")
    assert json.loads(done.out)["caption"] == "a bright day"
    opened = encoders.open(None, ["sound"], for_gallery=Gallery.open(gallery))
    assert opened.identity == Gallery.open(gallery).manifest.encoder
    side = opened.side("sound")
    vectors = side.encode(np.stack([side.prepare(pitch) for pitch in PITCHES]))
    assert vectors.argmax(axis=1).tolist() == [0, 3, 7, 11]
    # They compare with those of the other sides.
    (nearest,) = (opened.text.encode(["dark", "dim", "bright"]).vectors @ vectors[:1].T).argmax(axis=0).tolist()
    assert nearest == 0


@pytest.mark.usefixtures("sound")
def test_another_encoder_than_the_gallerys_is_refused_whoever_provides_it(photos: Path, tmp_path: Path) -> None:
    embed([photos], gallery=tmp_path / "g", encoder=FakeEncoder())
    with pytest.raises(EncoderMismatch, match=r"holds vectors of fake .* not of sound:plain"):
        encoders.open("sound:plain", for_gallery=Gallery.open(tmp_path / "g"))


@pytest.mark.usefixtures("sound")
def test_vectors_can_be_declared_as_those_of_a_provider() -> None:
    assert declared_encoder("sound:plain", 12) == EncoderIdentity("sound:plain", "declared:sound:plain", 12)


# --- finding them -----------------------------------------------------------------------------------------------------


def test_a_provider_is_imported_when_it_is_named(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not by who names another, nor to say what there is."""
    monkeypatch.delitem(sys.modules, "tests.sound_provider", raising=False)
    install(("sound", "tests.sound_provider:open_encoder"), ("clap", "no_such_package:open_encoder"))
    assert encoders.canonical_spec("sound:plain") == "sound:plain"
    with pytest.raises(EncoderError, match=r"Beside open_clip's there are .* encoders of providers: clap:, sound:"):
        encoders.open("sounds:plain")
    assert "tests.sound_provider" not in sys.modules
    assert encoders.open("sound:plain").identity.spec == "sound:plain"
    assert "tests.sound_provider" in sys.modules
    with pytest.raises(EncoderError, match=r"clap \(no_such_package:open_encoder\) cannot open clap:x: ModuleNotFound"):
        encoders.open("clap:x")


def test_an_unknown_prefix_says_that_no_provider_is_installed(install: Install) -> None:
    install()
    with pytest.raises(EncoderError, match=r"no model is called 'clap:x'.*of providers: none is installed"):
        encoders.open("clap:x")


def test_two_packages_with_one_prefix_are_told_apart_by_nobody(install: Install) -> None:
    install(("clap", "one:open"), ("clap", "other:open"))
    with pytest.raises(EncoderError, match=r"two packages provide .* \(one:open and other:open\); uninstall one"):
        encoders.open("clap:x")


def failing(request: EncoderRequest) -> Encoder:
    raise ValueError("the config\nlacks a field")


def forgetting(request: EncoderRequest) -> None:
    """Returns nothing."""


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("failing", "cannot open x:y: ValueError: the config lacks a field"),
        ("forgetting", "gave a NoneType for x:y, and no mmsearch.encoders.Encoder"),
        ("absent", "cannot open x:y: AttributeError"),
    ],
)
def test_what_is_wrong_with_a_provider_is_one_line(
    function: str, says: str, install: Install, photos: Path, tmp_path: Path, command_line: Command
) -> None:
    install(("x", f"tests.test_encoder_providers:{function}"))
    done = command_line("embed", photos, "--model", "x:y", "-g", tmp_path / "g")
    assert done.code == 1
    last = done.err.splitlines()[-1]
    assert f"the provider x (tests.test_encoder_providers:{function}) {says}" in last
    assert "Traceback" not in done.err


def test_open_clip_may_be_named_too() -> None:
    assert encoders.canonical_spec("open_clip:ViT-B-32/openai") == "ViT-B-32/openai"


# --- sides ------------------------------------------------------------------------------------------------------------


def without_texts(spec: str) -> Encoder:
    fake = FakeEncoder(spec)
    return Encoder(fake.identity, {"image": fake.image})


def test_a_side_that_is_missing_is_an_error_that_names_those_that_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    provide(monkeypatch)
    with pytest.raises(EncoderError, match="fake has no sound side; the sides that it has: image, text"):
        encoders.open("fake", ["text", "sound"])
    provide(monkeypatch, without_texts)
    with pytest.raises(EncoderError, match="fake has no text side; the sides that it has: image"):
        _ = encoders.open("fake", ["image"]).text


def test_pictures_need_no_texts(
    photos: Path, tmp_path: Path, mmsearch: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An encoder of images alone makes galleries that are asked with images; for texts a line says what is missing."""
    provide(monkeypatch, without_texts)
    gallery, captions = tmp_path / "g", tmp_path / "captions.txt"
    captions.write_text("a caption\n")
    assert mmsearch("embed", photos, "--model", "fake", "-g", gallery).code == 0
    done = mmsearch("query", "--image", write_picture(tmp_path / "new.png", "blue", seed=9), "-k", "1", "-g", gallery)
    assert (done.code, "blue.png" in done.out) == (0, True)
    for command in (("query", "red"), ("embed", "--captions", captions)):
        done = mmsearch(*command, "-g", gallery)
        assert (done.code, "fake has no text side" in done.err) == (1, True), done.err


# --- the contract -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"local-dir:{write_tiny_model(tmp_path_factory.mktemp('tiny'))}"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_open_clip_keeps_to_the_contract(tiny: str, precision: str) -> None:
    check_encoder(encoders.open(tiny, device="cpu", precision=precision))


def test_the_text_side_without_torch_keeps_to_the_contract(tiny: str) -> None:
    identity = encoders.open(tiny, device="cpu").identity
    request = EncoderRequest(tiny, frozenset({"text"}), "cpu", "fp32", identity, pytest.fail)
    encoder = without_torch(request)
    assert encoder is not None
    assert list(encoder.sides) == ["text"]
    check_encoder(encoder)


def test_the_encoder_of_tests_keeps_to_the_contract() -> None:
    check_encoder(FakeEncoder(), reopen=FakeEncoder)


@pytest.mark.usefixtures("sound")
def test_a_provider_keeps_to_the_contract() -> None:
    check_encoder(encoders.open("sound:plain"), samples={"sound": PITCHES})
    with pytest.raises(ValueError, match=r"samples=\{'sound': \[...\]\}: the sound side is checked with 3 or more"):
        check_encoder(encoders.open("sound:plain"))


class Longer(FakeEncoder):
    def encode_images(self, pixels: Pixels) -> NDArray[np.float32]:
        return super().encode_images(pixels) * np.float32(2)


class Wider(FakeEncoder):
    def encode_texts(self, texts: Sequence[str]) -> EncodedTexts:
        encoded = super().encode_texts(texts)
        return EncodedTexts(encoded.vectors.astype(np.float64), encoded.truncated)


class ByLength(FakeEncoder):
    """Sorts texts for speed, and forgets to undo it."""

    def encode_texts(self, texts: Sequence[str]) -> EncodedTexts:
        return super().encode_texts(sorted(texts, key=len))


class Alike(FakeEncoder):
    def encode_texts(self, texts: Sequence[str]) -> EncodedTexts:
        return super().encode_texts(["red"] * len(texts))


class Shorter(FakeEncoder):
    def encode_images(self, pixels: Pixels) -> NDArray[np.float32]:
        vectors = super().encode_images(pixels)[:, 1:]
        unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit


class NotANumber(FakeEncoder):
    def encode_texts(self, texts: Sequence[str]) -> EncodedTexts:
        return EncodedTexts(super().encode_texts(texts).vectors * np.float32("nan"), np.zeros(len(texts), np.bool_))


class Uncounted(FakeEncoder):
    def encode_texts(self, texts: Sequence[str]) -> EncodedTexts:
        return EncodedTexts(super().encode_texts(texts).vectors, np.zeros(1, np.bool_))


class AsArrays(FakeEncoder):
    def encode_texts(self, texts: Sequence[str]) -> Any:
        return super().encode_texts(texts).vectors


class Answering(FakeEncoder):
    """Has an answer for every side."""

    def side(self, name: str) -> Any:
        return self.sides.get(name, self.sides["image"])


class Swapped(FakeEncoder):
    def __init__(self, name: str = "fake") -> None:
        super().__init__(name)
        self.sides = {"image": FakeTexts(self), "text": FakeImages(self)}


class Doubled(FakeEncoder):
    def __init__(self, name: str = "fake") -> None:
        super().__init__(name)
        self.sides["sound"] = self.sides["image"]


class Unhashed(FakeEncoder):
    def __init__(self, name: str = "fake") -> None:
        super().__init__(name)
        self.identity = EncoderIdentity(name, "declared:fake", self.identity.dim)


class Growing(FakeEncoder):
    """Prepares each image to a size of its own."""

    def preprocess(self, image: Any) -> NDArray[np.float32]:
        return np.zeros((3, image.height, image.width), np.float32)


class Unfaithful(FakeEncoder):
    """Its reference is no reference."""

    def __init__(self, name: str = "fake") -> None:
        super().__init__(name)
        self.sides["image"] = OtherReference(self)


class OtherReference(FakeImages):
    def encode_reference(self, pixels: Pixels) -> NDArray[np.float32]:
        return -self.encode(pixels)


class Astray(FakeEncoder):
    """Has a lane that goes elsewhere."""

    def _timed(self, pixels: Pixels) -> Any:
        return super()._timed(pixels[::-1])


@pytest.mark.parametrize(
    ("make", "clause"),
    [
        (Longer, "unit length"),
        (Wider, "dtype"),
        (ByLength, "order"),
        (Alike, "inputs count"),
        (Shorter, "shape"),
        (NotANumber, "finite"),
        (Uncounted, "texts"),
        (AsArrays, "texts"),
        (Answering, "sides"),
        (Swapped, "sides"),
        (Doubled, "sides"),
        (Unhashed, "identity"),
        (Growing, "prepare"),
        (Unfaithful, "reference"),
        (Astray, "lanes"),
    ],
)
def test_a_broken_clause_is_named(make: type[FakeEncoder], clause: str) -> None:
    with pytest.raises(ContractBroken) as caught:
        check_encoder(make(), reopen=make)
    assert caught.value.clause == clause


def test_an_encoder_that_is_another_each_time_is_found_out() -> None:
    """By its fingerprint; or by its vectors, where that stays."""
    with pytest.raises(ContractBroken, match="fake, opened again, has another fingerprint") as caught:
        check_encoder(FakeEncoder(), reopen=lambda spec: FakeEncoder(spec, seed=1))
    assert caught.value.clause == "reopening"
    with pytest.raises(ContractBroken, match="the text side gives other vectors under the same fingerprint"):
        check_encoder(FakeEncoder(), reopen=ByLength)


def test_a_quick_way_that_is_another_is_found_out(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = encoders.open(tiny, device="cpu")
    fast = encoder.image.fast
    assert fast is not None
    right = fast.fit_array
    monkeypatch.setattr(fast, "fit_array", lambda *arguments: 255 - right(*arguments))
    with pytest.raises(ContractBroken, match="fast: fit_array and prepare give an image vectors that are not alike"):
        check_encoder(encoder)
