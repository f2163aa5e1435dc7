"""The fast route against the exact one: it agrees on good pictures, and every fault that is put in stops the run."""

import io
import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn.functional import interpolate

from mmsearch import encoders
from mmsearch.embedding import EmbedOptions, EmbedReport, embed, parity, recording, sample_budget
from mmsearch.embedding.exact_encoding import encode_exactly
from mmsearch.embedding.parity import ParityCheck, centred_cosines, psnr, top10_overlap
from mmsearch.embedding.sample_budget import SHARE, SampleBudget
from mmsearch.encoders import EncodedImages, Encoder, open_clip_encoder, preprocessing
from mmsearch.errors import ParityError
from mmsearch.gallery import Gallery
from mmsearch.images import decode, turbo
from mmsearch.loading import DecodeGroup, LoadedFile, LoadSeconds
from mmsearch.sources import SourceFile
from mmsearch.upkeep.summary import info
from tests.models import write_tiny_model

Pixels = NDArray[np.uint8]


def photo(seed: int, size: tuple[int, int]) -> Image.Image:
    """Structure at every scale, as in a photograph; blue at the top, red at the left: every turn shows."""
    rng, (width, height) = np.random.default_rng(seed), size
    pixels = rng.normal(0, 3, size=(height, width, 3))
    for cells in (3, 6, 12, 24, 48):
        grid = rng.integers(0, 256, size=(cells, cells, 3), dtype=np.uint8)
        pixels += (
            np.asarray(Image.fromarray(grid).resize(size, Image.Resampling.BICUBIC), np.float64) - 128
        ) / cells**0.5
    pixels += 128
    pixels[: height // 3, :, 2] += 60
    pixels[:, : width // 3, 0] += 60
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def jpeg(seed: int, size: tuple[int, int] = (200, 150), orientation: int = 1) -> bytes:
    stream, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    photo(seed, size).save(stream, "JPEG", quality=92, exif=exif)
    return stream.getvalue()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"local-dir:{write_tiny_model(tmp_path_factory.mktemp('model'))}"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten of a size that is decoded whole, two of each other orientation, nine four times as large, four PNGs."""
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(10):
        (folder / f"{seed}.jpg").write_bytes(jpeg(seed, (64, 48)))
    for orientation in range(2, 9):
        for seed in range(2):
            (folder / f"turned_{orientation}_{seed}.jpg").write_bytes(
                jpeg(10 * orientation + seed, (64, 48), orientation)
            )
    for seed in range(9):
        (folder / f"large_{seed}.jpg").write_bytes(jpeg(100 + seed, (640, 403)))
    for seed in range(4):
        photo(200 + seed, (90, 80)).save(folder / f"{seed}.png")
    return folder


def run(photos: Path, gallery: Path, encoder: str | Encoder, **options: Any) -> EmbedReport:
    return embed([photos], gallery=gallery, encoder=encoder, options=EmbedOptions(**options))


def test_a_run_records_how_well_it_agrees(photos: Path, model: str, tmp_path: Path) -> None:
    """Every format, orientation and route that is present, at least eight of each where there are so many."""
    report = run(photos, tmp_path / "g", model)
    assert report.images.added == 37
    assert report.parity is not None
    found = {(each.format, each.orientation, each.route): each for each in report.parity.agreements}
    assert {key: each.images for key, each in found.items()} == {
        ("JPEG", 1, "turbo"): 8,
        ("JPEG", 1, "turbo/4"): 8,
        ("PNG", 1, "pillow"): 4,
        **{("JPEG", orientation, "turbo"): 2 for orientation in range(2, 9)},
    }
    for (_, orientation, route), each in found.items():
        assert each.cosine_lowest > 0.9995
        if route == "pillow":
            assert each.psnr_lowest is None  # the very same pixels
        else:
            assert each.psnr_lowest is not None
            assert each.psnr_lowest > (50 if route == "turbo/4" else 60 if orientation < 5 else 45)
    assert report.parity.top10_overlap is not None
    assert report.parity.top10_overlap > 0.98
    assert (report.parity.device, report.parity.precision, report.parity.images) == ("cpu", "fp32", 34)
    assert Gallery.open(tmp_path / "g").manifest.parity == (report.parity,)
    assert info(tmp_path / "g").parity == (report.parity,)
    assert report.stages.bottleneck in ("read", "decode", "resize", "encode", "write")
    again = run(photos, tmp_path / "g", model)
    assert (again.parity, again.stages.bottleneck) == (None, None)
    assert Gallery.open(tmp_path / "g").manifest.parity == (report.parity,)


def swapped(monkeypatch: pytest.MonkeyPatch, _: Any) -> None:
    right = turbo.decode

    def wrong(*arguments: Any) -> tuple[Pixels, int] | None:
        found = right(*arguments)
        return (np.ascontiguousarray(found[0][:, :, ::-1]), found[1]) if found else None

    monkeypatch.setattr(turbo, "decode", wrong)


def fast_of(encoder: Encoder) -> preprocessing.Preprocessing:
    fast = encoder.image.fast
    assert isinstance(fast, preprocessing.Preprocessing)
    return fast


def interpolated(monkeypatch: pytest.MonkeyPatch, encoder: Encoder) -> None:
    monkeypatch.setattr(fast_of(encoder), "_mode", "bilinear")


def nearest(monkeypatch: pytest.MonkeyPatch, encoder: Encoder) -> None:
    def plain(pixels: torch.Tensor, scale_factor: Any, **_: object) -> torch.Tensor:
        return interpolate(pixels, scale_factor=scale_factor)

    monkeypatch.setattr(preprocessing, "interpolate", plain)


def unturned(monkeypatch: pytest.MonkeyPatch, _: Any) -> None:
    monkeypatch.setattr(preprocessing, "turned", lambda pixels, orientation: pixels)


def turned_the_other_way(monkeypatch: pytest.MonkeyPatch, _: Any) -> None:
    right, inverse = preprocessing.turned, {6: 8, 8: 6}

    def turned_back(pixels: torch.Tensor, orientation: int) -> torch.Tensor:
        return right(pixels, inverse.get(orientation, orientation))

    monkeypatch.setattr(preprocessing, "turned", turned_back)


def shifted(monkeypatch: pytest.MonkeyPatch, encoder: Encoder) -> None:
    """As if the last column of a scaled picture were as wide as the others."""
    right = turbo.decode

    def wrong(*arguments: Any) -> tuple[Pixels, int] | None:
        found = right(*arguments)
        return (np.ascontiguousarray(np.roll(found[0], 2, axis=1)), found[1]) if found else None

    monkeypatch.setattr(turbo, "decode", wrong)


def other_mean(monkeypatch: pytest.MonkeyPatch, encoder: Encoder) -> None:
    right = fast_of(encoder).normalise
    monkeypatch.setattr(fast_of(encoder), "normalise", lambda pixels: right(pixels) + 0.4)


def other_std(monkeypatch: pytest.MonkeyPatch, encoder: Encoder) -> None:
    right = fast_of(encoder).normalise
    monkeypatch.setattr(fast_of(encoder), "normalise", lambda pixels: right(pixels) * 0.5)


def unnormalised(monkeypatch: pytest.MonkeyPatch, encoder: Encoder) -> None:
    monkeypatch.setattr(fast_of(encoder), "normalise", lambda pixels: pixels.permute(0, 3, 1, 2).float())


FAULTS = (
    *(swapped, interpolated, nearest, unturned, turned_the_other_way, shifted),
    *(other_mean, other_std, unnormalised),
)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_fast_route_stops_the_run(
    fault: Callable[..., None], photos: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written that lies; the exact route does not share the fault, and works."""
    encoder = encoders.open(model, device="cpu")
    fault(monkeypatch, encoder)
    with pytest.raises(ParityError, match="do not agree with the exact route") as caught:
        run(photos, tmp_path / "g", encoder)
    assert "--exact" in str(caught.value)
    assert not (tmp_path / "g" / "manifests").exists()
    assert run(photos, tmp_path / "g", encoder, exact=True).images.added == 37


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_stops_a_run_that_can_afford_one_sample_of_a_kind(
    fault: Callable[..., None], photos: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = encoders.open(model, device="cpu")
    fault(monkeypatch, encoder)
    monkeypatch.setattr(parity, "_SMALL_RUN", 0)
    monkeypatch.setattr(sample_budget, "SHARE", 0.0)
    with pytest.raises(ParityError, match="do not agree with the exact route"):
        run(photos, tmp_path / "g", encoder)
    assert not (tmp_path / "g" / "manifests").exists()


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_good_pictures_agree_where_one_of_a_kind_is_sampled(
    precision: str, photos: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few samples are no reason to take what is right for wrong."""
    monkeypatch.setattr(parity, "_SMALL_RUN", 0)
    monkeypatch.setattr(sample_budget, "SHARE", 0.0)
    report = run(photos, tmp_path / "g", encoders.open(model, device="cpu", precision=precision))
    assert report.parity is not None
    assert report.parity.disagreements == ()
    assert [each.images for each in report.parity.agreements] == [1] * 10
    assert min(each.cosine_lowest for each in report.parity.agreements) > parity.COSINE_GATES[precision]


@pytest.mark.parametrize("fault", [swapped, nearest, other_mean])
def test_a_fault_is_found_in_a_folder_of_one(
    fault: Callable[..., None], model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a.jpg").write_bytes(jpeg(1))
    encoder = encoders.open(model, device="cpu")
    assert run(tmp_path / "one", tmp_path / "right", encoder).images.added == 1
    fault(monkeypatch, encoder)
    with pytest.raises(ParityError):
        run(tmp_path / "one", tmp_path / "wrong", encoder)


def test_pictures_that_are_all_alike_are_no_fault(model: str, tmp_path: Path) -> None:
    """Frames of a still camera: subtracting their mean leaves noise, whose cosine says nothing."""
    (tmp_path / "frames").mkdir()
    frame = np.asarray(photo(1, (120, 90)), np.int16)
    for seed in range(20):
        noise = np.random.default_rng(seed).integers(-1, 2, size=frame.shape)
        Image.fromarray(np.clip(frame + noise, 0, 255).astype(np.uint8)).save(tmp_path / "frames" / f"{seed}.jpg")
    report = run(tmp_path / "frames", tmp_path / "g", model)
    assert report.parity is not None
    assert min(each.cosine_lowest for each in report.parity.agreements) > 0.999


def test_ctrl_c_commits_nothing_that_was_not_compared(
    photos: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = encoders.open(model, device="cpu")
    other_mean(monkeypatch, encoder)

    def interrupted(state: Any) -> None:
        if state.task == "embedding" and state.done == 30:
            raise KeyboardInterrupt

    with pytest.raises(ParityError):
        embed([photos], gallery=tmp_path / "g", encoder=encoder, progress=interrupted)
    assert not (tmp_path / "g" / "manifests").exists()


def test_the_exact_route_is_the_reference(photos: Path, model: str, tmp_path: Path) -> None:
    """Row by row what Pillow and open_clip's own transform give in fp32, and the shards say so."""
    encoder = encoders.open(model, device="cpu")
    report = run(photos, tmp_path / "g", encoder, exact=True, dtype="float32")
    assert report.parity is None
    gallery = Gallery.open(tmp_path / "g")
    assert {shard.provenance.route for shard in gallery.manifest.shards["images"] if shard.provenance} == {"exact"}
    rows = [row for block in gallery.scan("images", ["path", "embedding"]) for row in block.to_pylist()]
    assert len(rows) == 37
    for row in rows:
        pixels = encoder.image.prepare(decode((photos / row["path"]).read_bytes()).image)
        assert np.abs(encoder.image.encode_reference(pixels[None])[0] - row["embedding"]).max() < 1e-6


def test_exact_is_fp32(photos: Path, model: str, tmp_path: Path, command_line: Any) -> None:
    done = command_line("embed", photos, "--model", model, "--exact", "--precision", "bf16", "-g", tmp_path / "g")
    assert done.code == 1
    assert "--exact computes in fp32, not in bf16" in done.err


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_other_precisions_agree_within_their_gates(
    precision: str, photos: Path, model: str, tmp_path: Path, command_line: Any
) -> None:
    """And say how well on the way out."""
    done = command_line(
        "embed", photos, "--model", model, "--precision", precision, "--device", "cpu", "-g", tmp_path / "g"
    )
    assert done.code == 0, done.err
    (parity,) = info(tmp_path / "g").parity
    assert parity.precision == precision
    lowest = min(each.cosine_lowest for each in parity.agreements)
    assert 0.98 < lowest < 0.99999
    assert re.search(r"agrees    34 pictures with the exact route: pixels at \d\d dB or better", done.out)
    assert f"centred cosine {lowest:.5f} or better" in done.out
    assert "the bottleneck is" in done.out
    assert f"agrees    on cpu in {precision}, 34 pictures" in command_line("info", "-g", tmp_path / "g").out


def test_int8_is_for_transformers_on_cpus(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from mmsearch.errors import EncoderError

    exact, quick = (encoders.open(model, device="cpu", precision=each) for each in ("fp32", "int8"))
    assert np.array_equal(exact.text.encode(["a dog"]).vectors, quick.text.encode(["a dog"]).vectors)
    pixels = np.stack([exact.image.prepare(photo(seed, (40, 40))) for seed in range(4)])
    assert 0 < np.abs(exact.image.encode(pixels) - quick.image.encode(pixels)).max() < 0.05
    assert np.array_equal(exact.image.encode(pixels), quick.image.encode_reference(pixels))
    with pytest.raises(EncoderError, match="int8 is for transformers"):
        encoders.open("demo", device="cpu", precision="int8")
    monkeypatch.setattr(open_clip_encoder, "choose_device", lambda _: torch.device("mps"))
    with pytest.raises(EncoderError, match="int8 is for CPUs; mps is faster in fp16"):
        encoders.open(model, precision="int8")


def test_which_pictures_are_compared() -> None:
    """The first eight of each kind, then ever fewer, so that a long run is sampled to its end."""
    check, kind = ParityCheck(), DecodeGroup("JPEG", 1, "turbo")
    chosen = [number for number in range(1, 101) if check.should_sample(kind, b"%d" % number)]
    assert chosen == [1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 64]
    assert check.should_sample(DecodeGroup("JPEG", 6, "turbo"), b"1")
    assert all(check.should_sample(kind, b"%d" % number) for number in chosen)  # files that are read twice


def loaded(group: DecodeGroup, fast: float, exact: float | None = None, error: float = 0.0) -> LoadedFile:
    """A picture that took so many seconds by either way."""
    reference = None if exact is None else np.zeros((3, 2, 2), np.float32)
    seconds = LoadSeconds(decode=fast, exact=exact or 0.0)
    return LoadedFile(
        SourceFile("", "a.jpg", 1, 1), group=group, reference=reference, pixel_error=error, seconds=seconds
    )


def sampled(check: ParityCheck, kinds: Sequence[DecodeGroup], exact: float, error: float = 0.0) -> list[int]:
    """The numbers of the pictures that are sampled in a run where each takes .01 s by the fast way and encoding .01."""
    numbers = []
    for number, kind in enumerate(kinds, start=1):
        if chosen := check.should_sample(kind, b"%d" % number):
            numbers.append(number)
        check.count_loaded(loaded(kind, 0.01, exact if chosen else None, error))
        check.count_encoded(EncodedImages(np.zeros((1, 2), np.float32), 0.0, 0.01))
    return numbers


def test_what_a_sample_costs_is_limited_in_a_run_over_a_hundred_pictures() -> None:
    """Of a kind the first at once, and the rest of its eight and of those that follow as soon as they can be afforded:
    the longer the run, the more, as many as without a limit, and at no time too many."""
    kind = DecodeGroup("JPEG", 1, "turbo/4")
    check = ParityCheck()
    check.expect(100)
    assert len(sampled(check, [kind] * 100, exact=0.05)) == 11  # soon done, whatever its sample costs
    numbers = {}
    for files in (101, 1010, 10_000):
        check = ParityCheck()
        check.expect(files)
        numbers[files] = sampled(check, [kind] * files, exact=0.05)
    assert [len(found) for found in numbers.values()] == [1, 8, 18]
    # The n-th costs .06 s like those before it, and two anchors .01 each, of .02 s for each picture before it.
    for count, number in enumerate(numbers[10_000][1:8], start=2):
        assert number - 1 == pytest.approx((0.06 * count + 0.02) / (0.02 * SHARE), abs=2)
    assert numbers[10_000][:8] == numbers[1010]


def test_the_first_of_every_kind_is_sampled_whatever_it_costs() -> None:
    """And a rare kind gets its eight as the run goes on: what it owes is not forgotten."""
    common, rare = DecodeGroup("JPEG", 1, "turbo/8"), DecodeGroup("JPEG", 6, "turbo/8")
    check = ParityCheck()
    check.expect(5000)
    kinds = [rare if number % 100 == 3 else common for number in range(1, 5001)]
    numbers = sampled(check, kinds, exact=0.05)
    assert numbers[:2] == [1, 3]
    assert sum(kinds[number - 1] == rare for number in numbers) >= 8


def test_a_kind_whose_pixels_look_wrong_gets_its_eight_at_once() -> None:
    """So that one odd file, which comes first, does not send all others of its kind by the exact route."""
    check, kind = ParityCheck(), DecodeGroup("JPEG", 1, "turbo")
    check.expect(1000)
    assert sampled(check, [kind] * 100, exact=0.05, error=100.0) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_budget_counts_what_is_chosen_and_not_loaded_yet() -> None:
    """Many threads ask before the first sample is encoded; once it was, what encoding one costs is known."""
    budget = SampleBudget(anchors=2)
    budget.choose()
    budget.add_loading(9.0)
    assert not budget.admits_another()  # nobody knows what a sample costs
    budget.add_sample_loading(0.06)
    budget.add_encoding(100, 1.0)
    assert budget.admits_another()  # 2 x .06 + 4 x .01, of .025 x 10
    budget.choose()
    assert budget.admits_another()  # 3 x .06 + 5 x .01 = .23
    budget.choose()
    assert not budget.admits_another()  # 4 x .06 + 6 x .01 = .3
    budget.add_loading(4.0)
    assert budget.admits_another()
    budget.add_sample_encoding(3, 0.3)
    assert not budget.admits_another()  # the exact route encodes ten times slower: 4 x .06 + 6 x .1


def test_a_long_run_says_what_its_sample_cost(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command_line: Any
) -> None:
    """By a real run of large pictures: the stage of the report, and the share that it may have."""
    monkeypatch.setattr(parity, "_SMALL_RUN", 10)
    (tmp_path / "photos").mkdir()
    data = jpeg(1, (1600, 1200))
    for number in range(150):
        comment = b"%08d" % number
        (tmp_path / "photos" / f"{number}.jpg").write_bytes(data[:2] + b"\xff\xfe\0\x0a" + comment + data[2:])
    beyond: list[float] = []  # what it may, in seconds
    while len(beyond) < 3 and not any(seconds < 0 for seconds in beyond):  # a sample may be held up by other programs
        report = run(tmp_path / "photos", tmp_path / f"g{len(beyond)}", encoders.open(model, device="cpu"))
        assert report.parity is not None
        assert 1 <= report.parity.images < 8
        stages = {stage.name: stage for stage in report.stages.stages}
        work = sum(stages[name].seconds for name in ("read", "decode", "resize", "transfer", "encode"))
        one = stages["compare"].seconds / report.parity.images
        assert stages["compare"].seconds > 0
        # What it may, its first, and what estimates err.
        beyond.append(stages["compare"].seconds - SHARE * work - 2 * one)
    assert beyond[-1] < 0, beyond
    unlimited = run(tmp_path / "photos", tmp_path / "exact", encoders.open(model, device="cpu"), exact=True)
    assert "compare" not in {stage.name for stage in unlimited.stages.stages}


def test_a_picture_that_is_decoded_twice_takes_one_place_of_the_sample(model: str, tmp_path: Path) -> None:
    """One of two copies is thrown away after decoding, and so is what was decoded before the encoder was ready."""
    (tmp_path / "photos").mkdir()
    for seed in range(8):
        (tmp_path / "photos" / f"{seed}.jpg").write_bytes(jpeg(seed, (64, 48)))
    (tmp_path / "photos" / "0_copy.jpg").write_bytes(jpeg(0, (64, 48)))
    report = run(tmp_path / "photos", tmp_path / "g", encoders.open(model, device="cpu"))
    assert report.images.added == 9
    assert report.parity is not None
    assert [each.images for each in report.parity.agreements] == [8]


def test_the_measures() -> None:
    """Worked by hand."""
    assert psnr(np.array([1.0, 255.0**2, 0.0])).round(2).tolist() == [48.13, 0.0, np.inf]
    here, there = np.array([[1.0, 1.0], [2.0, 1.0]], np.float32), np.array([[1.0, 2.0], [3.0, 1.0]], np.float32)
    assert centred_cosines(here, there, np.array([1.0, 0.0])).round(6).tolist() == [1.0, round(3 / 10**0.5, 6)]
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(30, 8)).astype(np.float32)
    assert top10_overlap(rows, rows) == 1.0
    assert top10_overlap(rows[:11], rows[:11]) is None
    other = top10_overlap(rng.normal(size=(30, 8)).astype(np.float32), rows)
    assert other is not None
    assert 0.2 < other < 0.5  # of 29 others ten are shared by chance with a third


def odd_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the fast way did not agree on pictures of 120 x 90, whatever is in them, and on no other."""
    right = turbo.decode

    def wrong(*arguments: Any) -> tuple[Pixels, int] | None:
        found = right(*arguments)
        if found is not None and arguments[1:3] == (120, 90):
            return np.ascontiguousarray(found[0][:, ::-1]), found[1]
        return found

    monkeypatch.setattr(turbo, "decode", wrong)


@pytest.fixture
def with_odd_files(tmp_path: Path) -> Path:
    """Ten pictures, and eleven turned ones on which the fast way does not agree, of which two are the same."""
    folder = tmp_path / "odd"
    folder.mkdir()
    for seed in range(10):
        (folder / f"{seed}.jpg").write_bytes(jpeg(seed, (64, 48)))
        (folder / f"odd_{seed}.jpg").write_bytes(jpeg(300 + seed, (120, 90), 6))
    (folder / "odd_copy.jpg").write_bytes((folder / "odd_3.jpg").read_bytes())
    return folder


def require_exact(gallery: Path, folder: Path, encoder: Encoder, names: str) -> None:
    """Their vectors are those of the exact route, to the precision that is stored."""
    rows = [row for block in Gallery.open(gallery).scan("images", ["path", "embedding"]) for row in block.to_pylist()]
    rows = [row for row in rows if row["path"].startswith(names)]
    assert rows
    for row in rows:
        pixels = encoder.image.prepare(decode((folder / row["path"]).read_bytes()).image)
        assert np.abs(encoder.image.encode_reference(pixels[None])[0] - np.array(row["embedding"])).max() < 1e-3


def test_a_kind_that_does_not_agree_goes_by_the_exact_route(
    with_odd_files: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command_line: Any
) -> None:
    """All of it, what was done before that was known and copies too; it is counted and named, and the run goes on."""
    encoder = encoders.open(model, device="cpu")
    odd_file(monkeypatch)
    report = run(with_odd_files, tmp_path / "g", encoder)
    assert report.images.added == 21
    assert report.parity is not None
    (kind,) = report.parity.disagreements
    assert (kind.format, kind.orientation, kind.route, kind.images) == ("JPEG", 6, "turbo", 11)
    assert len(kind.examples) == 5
    assert all("odd_" in name for name in kind.examples)
    assert kind.psnr_lowest is not None
    assert kind.psnr_lowest < 40
    (agreeing,) = report.parity.agreements
    assert agreeing.orientation == 1
    assert agreeing.images > 4
    require_exact(tmp_path / "g", with_odd_files, encoder, "odd_")
    gallery = Gallery.open(tmp_path / "g")
    ways = {shard.provenance.route: shard.rows for shard in gallery.manifest.shards["images"] if shard.provenance}
    assert ways == {"fast": 10, "exact": 11}
    assert gallery.manifest.parity == (report.parity,)
    said = command_line("info", "-g", tmp_path / "g").out
    assert "exact     11 JPEG pictures (orientation 6, turbo) by the exact route: pixels at" in said
    assert "odd_0.jpg" in said


def test_one_picture_that_does_not_agree_does_not_stop_the_run(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command_line: Any
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "odd_0.jpg").write_bytes(jpeg(1, (120, 90)))
    encoder = encoders.open(model, device="cpu")
    odd_file(monkeypatch)
    report = run(tmp_path / "one", tmp_path / "g", encoder)
    assert report.images.added == 1
    assert report.parity is not None
    assert [each.images for each in report.parity.disagreements] == [1]
    require_exact(tmp_path / "g", tmp_path / "one", encoder, "odd_")
    assert "agrees    on cpu in fp32, none with the exact route" in command_line("info", "-g", tmp_path / "g").out


def test_from_there_on_a_kind_goes_exactly_without_being_done_twice(
    with_odd_files: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured as soon as there are enough samples, the rest of the kind is not encoded by the fast way first.

    Nothing holds the encoder until the measurement is done: here the files that come after the samples wait for it."""
    encoder = encoders.open(model, device="cpu")
    odd_file(monkeypatch)
    monkeypatch.setattr(parity, "_MOST_SAMPLES", 4)
    again: list[int] = []
    measured, later = threading.Event(), set[bytes]()
    measure, decode_fast = ParityCheck.measure, turbo.decode

    def measure_and_tell(check: ParityCheck, encoder: Encoder) -> None:
        measure(check, encoder)
        if check.has_disagreements:
            measured.set()

    def decode_after_it(data: bytes, *rest: Any) -> tuple[Pixels, int] | None:
        assert data not in later or measured.wait(120)
        return decode_fast(data, *rest)

    monkeypatch.setattr(ParityCheck, "measure", measure_and_tell)
    monkeypatch.setattr(turbo, "decode", decode_after_it)

    def counted(files: Sequence[Any], *rest: Any) -> Any:
        again.append(len(files))
        return encode_exactly(files, *rest)

    monkeypatch.setattr(recording, "encode_exactly", counted)
    for seed in range(40):
        later.add(jpeg(400 + seed, (120, 90), 6))
        (with_odd_files / f"odd_z{seed}.jpg").write_bytes(jpeg(400 + seed, (120, 90), 6))
    report = run(with_odd_files, tmp_path / "g", encoder, batch_size=2, threads=1)
    assert report.parity is not None
    assert [each.images for each in report.parity.disagreements] == [51]
    assert 0 < sum(again) <= 11 + 2  # those before, and the batch that was being made meanwhile
    require_exact(tmp_path / "g", with_odd_files, encoder, "odd_")


def test_a_file_that_changes_before_it_is_done_again_is_left_to_the_next_run(
    with_odd_files: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = encoders.open(model, device="cpu")
    odd_file(monkeypatch)

    def changes(state: Any) -> None:
        if state.task == "embedding" and state.done == 21:
            (with_odd_files / "odd_9.jpg").write_bytes(jpeg(999, (120, 90), 6))

    report = embed([with_odd_files], gallery=tmp_path / "g", encoder=encoder, progress=changes)
    assert (report.images.added, report.images.skipped, report.total_images) == (20, 1, 20)
    assert report.images.skipped_reasons == (("changed while it was read", 1),)
    assert run(with_odd_files, tmp_path / "g", encoder).images.added == 1
    require_exact(tmp_path / "g", with_odd_files, encoder, "odd_")


def test_a_manifest_names_no_disagreement_where_there_is_none(photos: Path, model: str, tmp_path: Path) -> None:
    """Releases that do not know the field read such a gallery."""
    report = run(photos, tmp_path / "g", encoders.open(model, device="cpu"))
    assert report.parity is not None
    assert report.parity.agreements
    *_, newest = sorted((tmp_path / "g" / "manifests").iterdir())
    assert "agreements" in newest.read_text()
    assert "disagreements" not in newest.read_text()
