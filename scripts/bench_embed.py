"""How fast `embed` is: against the plain way, and against what decoding and encoding alone would allow.

    python scripts/bench_embed.py [--model small] [--sizes 640x480 1024x768 4000x3000] [--device auto] [--json out.json]

On the same generated JPEGs, in one run, medians of --rounds:

    plain      a DataLoader over open_clip's transform, a worker a core; encode_image; collect; save one .npy
    mmsearch   `mmsearch.embed`, gallery, hashes, agreement with the exact route and all
    decode     files to pixels alone, all cores: the plain transform, and what mmsearch does
    encode     pixels to vectors alone, all cores, or all GPUs
    sample     the share of the seconds of all threads that mmsearch's sample took by the exact route
    bound      what the slower of the two allows; on a CPU, where both share the cores, 1 / (1 / decode + 1 / encode)

The model has random weights; speed does not depend on them. "small" is a vision transformer that is quick enough for
decoding to matter on a CPU; any architecture of open_clip can be named. The model is loaded before the clocks start.
"""

import argparse
import io
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from scripts.measuring import circumstances, fast_of

if TYPE_CHECKING:
    from mmsearch.encoders import Encoder

SMALL = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": 224, "layers": 4, "width": 192, "head_width": 64, "patch_size": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 128, "heads": 2, "layers": 2},
}
COUNTS = {"640x480": 2048, "1024x768": 1280, "4000x3000": 384}
NOISE = {"640x480": 3.0, "1024x768": 3.0, "4000x3000": 2.0}  # grain, which decides how large the files are
DISTINCT = 8  # pictures of a size; the rest are these with another comment inside


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="small", help="small, or an architecture such as ViT-B-32")
    parser.add_argument("--sizes", nargs="+", default=list(COUNTS), help="of the JPEGs, WIDTHxHEIGHT")
    parser.add_argument("--images", type=int, help="of each size; default: 2048, 1280 and 384")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--rounds", type=int, default=3, help="of each measurement; the median counts")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        os.environ["MMSEARCH_CACHE"] = str(Path(name) / "cache")
        model = random_model(Path(name) / "model", options.model)
        figures = [bench(Path(name), model, size, options) for size in options.sizes]
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


def bench(scratch: Path, model: Path, size: str, options: argparse.Namespace) -> dict[str, Any]:
    from mmsearch import encoders

    encoder = encoders.open(f"local-dir:{model}", device=options.device, precision=options.precision)
    files = write_photos(scratch / size, size, options.images or COUNTS.get(size, 256))
    plain = PlainWay(model, encoder.device)
    shares: list[float] = []
    ways: dict[str, Callable[[], float]] = {
        "plain": lambda: plain.embed(files, scratch / "plain.npy"),
        "mmsearch": lambda: embed(files, scratch / "gallery", encoder, shares),
        "plain decode": lambda: plain.decode(files),
        "decode": lambda: decode(files, encoder),
        "encode": lambda: encode(files[0], len(files), encoder),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(options.rounds + 1):
        for name, way in ways.items():
            took = way()
            if turn:  # the first round warms up
                seconds[name].append(took)
    rate = {name: len(files) / statistics.median(times) for name, times in seconds.items()}
    cpu = encoder.device == "cpu"
    rate["bound"] = 1 / (1 / rate["decode"] + 1 / rate["encode"]) if cpu else min(rate["decode"], rate["encode"])
    kilobytes = statistics.mean(file.stat().st_size for file in files) / 1e3
    print(f"{len(files)} JPEGs of {size}, {kilobytes:,.0f} kB each; {options.model} on {encoder.device}, ", end="")
    print(f"{encoder.precision}; {os.cpu_count()} cores; images/s")
    for name in ("plain", "mmsearch", "plain decode", "decode", "encode", "bound"):
        spread = (
            f"  ({len(files) / max(seconds[name]):.1f} to {len(files) / min(seconds[name]):.1f})"
            if name != "bound"
            else ""
        )
        print(f"    {name:14}{rate[name]:10.1f}{spread}")
    ratios = {
        "mmsearch / plain": rate["mmsearch"] / rate["plain"],
        "decode / plain decode": rate["decode"] / rate["plain decode"],
        "mmsearch / bound": rate["mmsearch"] / rate["bound"],
        "sample": statistics.median(shares[1:]),
    }
    for name, ratio in ratios.items():
        print(f"    {name:24}{ratio:6.1%}" if name == "sample" else f"    {name:24}{ratio:6.2f}")
    shutil.rmtree(scratch / size)
    facts = {**circumstances(), "size": size, "kilobytes": kilobytes, "model": options.model}
    facts |= {"device": encoder.device, "precision": encoder.precision}
    return {**facts, "images_per_s": rate, "ratios": ratios}


# --- the plain way --------------------------------------------------------------------------------------------------


class Pictures:
    """What everybody writes: a dataset that opens and transforms."""

    def __init__(self, files: Sequence[Path], transform: Callable[[Image.Image], Any]) -> None:
        self.files = files
        self.transform = transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, place: int) -> Any:
        return self.transform(Image.open(self.files[place]))


class PlainWay:
    """open_clip as its README has it, in a DataLoader."""

    def __init__(self, model: Path, device: str) -> None:
        import open_clip

        self.device = device.split(":")[0]
        self.model, _, self.transform = open_clip.create_model_and_transforms(f"local-dir:{model}", device=self.device)
        self.model.eval()

    def loader(self, files: Sequence[Path]) -> Any:
        from torch.utils.data import DataLoader

        dataset: Any = Pictures(files, self.transform)
        batch = 64 if self.device == "cpu" else 256
        return DataLoader(dataset, batch, num_workers=os.cpu_count() or 1, pin_memory=self.device != "cpu")

    def embed(self, files: Sequence[Path], out: Path) -> float:
        import torch

        started = time.perf_counter()
        parts = []
        with torch.no_grad(), torch.autocast(self.device, enabled=self.device != "cpu"):
            for pixels in self.loader(files):
                vectors = self.model.encode_image(pixels.to(self.device, non_blocking=True))
                parts.append((vectors / vectors.norm(dim=-1, keepdim=True)).float().cpu().numpy())
        np.save(out, np.concatenate(parts))
        return time.perf_counter() - started

    def decode(self, files: Sequence[Path]) -> float:
        started = time.perf_counter()
        for _ in self.loader(files):
            pass
        return time.perf_counter() - started


# --- mmsearch, whole and in parts -----------------------------------------------------------------------------------


def embed(files: Sequence[Path], gallery: Path, encoder: "Encoder", shares: list[float]) -> float:
    """shares: the share of the sample is appended to it."""
    from mmsearch.embedding import embed as run

    shutil.rmtree(gallery, ignore_errors=True)
    started = time.perf_counter()
    report = run([files[0].parent], gallery=gallery, encoder=encoder)
    took = time.perf_counter() - started
    if report.images.added != len(files):
        raise SystemExit(f"{report.images.added} of {len(files)} pictures were embedded")
    shares.append(next((stage.share for stage in report.stages.stages if stage.name == "compare"), 0.0))
    return took


def decode(files: Sequence[Path], encoder: "Encoder") -> float:
    """Files to pixels, by nothing but threads."""
    import torch

    from mmsearch import images

    fast = fast_of(encoder)

    def one(file: Path) -> Any:
        picture = images.decode_fast(file.read_bytes(), 3 * max(fast.size))
        if isinstance(picture, images.DecodedImage):
            return fast.fit(picture.image)
        return fast.fit_array(picture.pixels, picture.scale, (picture.width, picture.height), picture.orientation)

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    started = time.perf_counter()
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for _ in pool.map(one, files):
            pass
    took = time.perf_counter() - started
    torch.set_num_threads(before)
    return took


def encode(file: Path, count: int, encoder: "Encoder") -> float:
    """Ready pixels to vectors: in one thread that uses all cores, or in a lane a core, whichever is faster."""
    picture = np.array(fast_of(encoder).fit(Image.open(file).convert("RGB")))
    batch = 32 if encoder.device == "cpu" else 256
    pixels = np.repeat(picture[None], batch, axis=0)
    batches = -(-count // batch)
    times = []
    if encoder.device == "cpu":
        started = time.perf_counter()
        for _ in range(batches):
            encoder.image.encode(pixels)
        times.append(time.perf_counter() - started)
    with encoder.image.lanes(os.cpu_count() or 1) as lanes, ThreadPoolExecutor(len(lanes)) as pool:
        started = time.perf_counter()
        work = [pool.submit(run_all, lane, pixels, batches, number, len(lanes)) for number, lane in enumerate(lanes)]
        for each in work:
            each.result()
        times.append(time.perf_counter() - started)
    return min(times) * count / (batches * batch)


def run_all(lane: Callable[[Any], Any], pixels: Any, batches: int, first: int, step: int) -> None:
    for _ in range(first, batches, step):
        lane(pixels)


# --- what is measured on --------------------------------------------------------------------------------------------


def random_model(folder: Path, arch: str) -> Path:
    """A model of random weights on disk."""
    from safetensors.torch import save_file

    from tests.models import write_random_model

    if arch != "small":
        return write_random_model(folder, arch)
    import open_clip
    import torch

    torch.manual_seed(0)
    folder.mkdir(parents=True)
    save_file(open_clip.CLIP(**SMALL).state_dict(), folder / "open_clip_model.safetensors")
    config = {"model_cfg": SMALL, "preprocess_cfg": {"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28]}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return folder


def write_photos(folder: Path, size: str, count: int) -> list[Path]:
    """JPEGs with structure at every scale and some grain, so that they decode at the speed of photographs."""
    folder.mkdir()
    width, height = map(int, size.split("x"))
    rng = np.random.default_rng(0)
    distinct = []
    for _ in range(min(count, DISTINCT)):
        stream = io.BytesIO()
        Image.fromarray(photo(width, height, NOISE.get(size, 2.0), rng)).save(stream, "JPEG", quality=90)
        distinct.append(stream.getvalue())
    files = []
    for number in range(count):
        data, comment = distinct[number % len(distinct)], f"{number:08d}".encode()
        files.append(folder / f"{number:05d}.jpg")
        # SOI, a comment segment of its own, the rest: the same pixels in a file of other content.
        files[-1].write_bytes(data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2) + comment + data[2:])
    return files


def photo(width: int, height: int, grain: float, rng: np.random.Generator) -> Any:
    """A colour field with a 1 / f spectrum, as photographs have, and noise, as sensors have: uint8 (h, w, 3)."""
    spectrum = np.fft.rfft2(rng.standard_normal((height, width, 3)), axes=(0, 1))
    across, down = np.fft.rfftfreq(width)[None, :, None], np.fft.fftfreq(height)[:, None, None]
    spectrum /= np.maximum(np.hypot(across, down), 1 / max(width, height)) ** 1.2
    field = np.fft.irfft2(spectrum, s=(height, width), axes=(0, 1))
    field = 128 + 50 * (field - field.mean()) / field.std()
    return np.clip(field + rng.normal(0, grain, field.shape), 0, 255).astype(np.uint8)


if __name__ == "__main__":
    main()
