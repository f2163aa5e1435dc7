"""What a GPU has to show, in one run of at most eight minutes: first that all is right on it, then how fast it is.

    python scripts/gpu_trial.py [--device cuda] [--seconds 480] [--quick] [--json gpu_trial.json]

Made for a machine that is bare and has no network: bring what `REQUIREMENTS` names and is not there as wheels, by

    pip download --no-deps --only-binary=:all: --python-version 3.12 --platform manylinux_2_28_x86_64 -d wheels NAME …

where there is a network, and `pip install --no-index --no-deps wheels/*.whl` there. Neither DuckDB, FAISS nor a web
server is needed. What is missing is said before anything else. `make gpu` runs it where the project is set up.

Each part is bounded in time, prints what it found at once, and leaves it in the JSON, so that a run that is killed has
told what it knew. What goes wrong in one, or does not end, is recorded, and the others go on. With --device cpu the
same table is printed of what a processor can do, in small sizes: that is how this script is tested. --quick: small
sizes anywhere.
"""

import argparse
import importlib.util
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

REQUIREMENTS = (
    *("torch", "torchvision", "open_clip_torch", "tqdm", "numpy", "pyarrow", "safetensors", "pillow", "simplejpeg"),
    *("ftfy", "wcwidth", "regex", "blake3", "filelock", "threadpoolctl", "typer", "rich"),
    *("pytest", "iniconfig", "pluggy", "packaging", "pygments"),  # and what it needs itself
)
MODULES = {"open_clip_torch": "open_clip", "pillow": "PIL"}  # that are called otherwise than what they come in
PROJECT = Path(__file__).resolve().parents[1]
TARGET_OF_BOUND, TARGET_OF_PLAIN = 0.9, 2.5
GRACE = 30.0  # seconds after which a part that should have ended is left to itself

Found: TypeAlias = dict[str, Any]
"""What a part found. "skipped": why there is nothing; "wrong": whether it is not as it should be; "error"."""


@dataclass(slots=True)
class Trial:
    """What all parts share. deadline: of the part that runs. found: what goes into the JSON."""

    device: str
    quick: bool
    scratch: Path
    cores: int
    deadline: float = 0.0
    found: dict[str, Found] = field(default_factory=dict)

    @property
    def gpu(self) -> bool:
        return self.device.startswith("cuda")

    def left(self) -> float:
        """Seconds that the part may still take."""
        return self.deadline - time.monotonic()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=480.0, help="after which nothing new is begun")
    parser.add_argument("--quick", action="store_true", help="small models and few pictures")
    parser.add_argument("--json", type=Path, default=Path("gpu_trial.json"))
    options = parser.parse_args()
    require(options.device)
    sys.path.insert(0, str(PROJECT))
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        os.environ["MMSEARCH_CACHE"] = f"{name}/cache"
        trial = Trial(options.device, options.quick or options.device == "cpu", Path(name), os.cpu_count() or 1)
        for title, most, part in PARTS:
            # A processor, which others may be using too, takes longer for the little that it is given.
            run_part(trial, title, most * (1 if trial.gpu else 4), part, started + options.seconds)
            options.json.write_text(json.dumps(trial.found, indent=1, default=str) + "\n")
    print(f"\ntook {time.monotonic() - started:.0f} s; written to {options.json}")
    wrong = [title for title, found in trial.found.items() if found.get("error") or found.get("wrong")]
    if wrong:
        print(f"gpu_trial: not as it should be: {', '.join(wrong)}", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(bool(wrong))  # a part that never ends would keep the program for ever


def require(device: str) -> None:
    """End where something is missing, before seconds are spent."""
    if missing := [name for name in REQUIREMENTS if importlib.util.find_spec(MODULES.get(name, name)) is None]:
        raise SystemExit(f"gpu_trial: missing here: {', '.join(missing)}")
    if device.startswith("cuda"):
        import torch

        if not torch.cuda.is_available():
            raise SystemExit(
                f"gpu_trial: torch {torch.__version__} sees no CUDA device here (its CUDA: {torch.version.cuda}); "
                "--device cpu shows what a processor can do"
            )


def run_part(trial: Trial, title: str, most: float, part: Callable[[Trial, Found], None], end: float) -> None:
    """Run a part, of at most so many seconds, and record what it found, what went wrong, or where it hangs."""
    now = time.monotonic()
    print(f"\n== {title}", flush=True)
    found: Found = {}
    trial.found[title] = found
    if end - now < 5:
        found["skipped"] = "no time left"
        say("no time left")
        return
    trial.deadline = min(now + most, end)

    def guarded() -> None:
        try:
            part(trial, found)
        except Exception as error:  # noqa: BLE001  the others are to be heard
            found.update(error=f"{type(error).__name__}: {error}", traceback=traceback.format_exc())

    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()
    thread.join(trial.deadline + GRACE - now)
    if thread.is_alive():
        frame = sys._current_frames().get(thread.ident or 0)
        where = "".join(traceback.format_stack(frame)) if frame else ""
        # A copy: what it still finds belongs to no figure.
        found = trial.found[title] = {**found, "error": f"did not end within {most:.0f} s", "traceback": where}
    if "error" in found:
        say(f"WENT WRONG: {found['error']}")
    found["part_seconds"] = round(time.monotonic() - now, 1)


def say(line: str) -> None:
    print(f"   {line}", flush=True)


# --- checks -----------------------------------------------------------------------------------------------------------


def machine(trial: Trial, found: Found) -> None:
    """Device, driver, versions."""
    import torch
    import torchvision

    from scripts.measuring import circumstances

    found.update(circumstances(), torch=torch.__version__, torchvision=torchvision.__version__)
    found.update(cuda=torch.version.cuda, python=sys.version.split()[0])
    if trial.gpu:
        properties = torch.cuda.get_device_properties(0)
        found.update(device=properties.name, device_gib=properties.total_memory / 2**30)
        found["devices"] = torch.cuda.device_count()
    else:
        found["device"] = "cpu"
    say(", ".join(f"{name} {value}" for name, value in found.items() if name != "command"))


def load(trial: Trial, model: Path, precision: str = "auto") -> Any:
    from mmsearch import encoders

    return encoders.open(f"local-dir:{model}", device=trial.device, precision=precision)


def model_of(trial: Trial, arch: str) -> Path:
    """A model of random weights, written once; in a quick run a small one under each name."""
    from scripts.bench_embed import random_model

    folder = trial.scratch / f"model-{arch}"
    return folder if folder.exists() else random_model(folder, "small" if trial.quick else arch)


def photos(trial: Trial, size: str, count: int) -> list[Path]:
    """JPEGs of a size, written once."""
    from scripts.bench_embed import write_photos

    folder = trial.scratch / f"{size}-{count}"
    return sorted(folder.iterdir()) if folder.exists() else write_photos(folder, size, count)


def lanes(trial: Trial, found: Found) -> None:
    """Lanes at work beside each other give what one call gives; what is pinned is not overwritten too early."""
    import numpy as np

    encoder = load(trial, model_of(trial, "ViT-B-32"), "fp32")
    height, width = encoder.image.fast.size
    pixels = np.random.default_rng(0).integers(0, 256, (256, height, width, 3), np.uint8)
    parts = np.array_split(pixels, 8)
    whole = encoder.image.encode(pixels)
    worst, rounds = 0.0, 0
    with encoder.image.lanes(trial.cores) as opened, ThreadPoolExecutor(len(opened)) as pool:
        while not rounds or (rounds < (2 if trial.quick else 10) and trial.left() > 2):
            work = [pool.submit(opened[number % len(opened)], part) for number, part in enumerate(parts)]
            vectors = np.concatenate([each.result().vectors for each in work])
            worst, rounds = max(worst, float(np.abs(vectors - whole).max())), rounds + 1
    say(f"{len(opened)} lanes, {rounds} rounds: vectors differ from one call's by at most {worst:.1e}")
    found.update(lanes=len(opened), largest_difference=worst, wrong=worst > 1e-4)


def precisions(trial: Trial, found: Found) -> None:
    """Each precision against fp32, by the gates of `embed`: on photographs, and on postcards with the demo model. int8
    is for processors."""
    import numpy as np
    from PIL import Image

    from mmsearch import encoders
    from mmsearch.embedding.parity import COSINE_GATES, centred_cosines
    from mmsearch.errors import EncoderError

    files = photos(trial, "640x480", 24 if trial.quick else 200)
    cards = sorted((PROJECT / "data" / "postcards" / "images").iterdir())[: 24 if trial.quick else 200]
    specs = {"photos": (f"local-dir:{model_of(trial, 'ViT-B-32')}", files), "postcards": ("demo", cards)}
    for kind, (spec, pictures) in specs.items():
        # int8 is for processors and transformers, which the demo model is not.
        for precision in ("fp32", "fp16", "bf16") if trial.gpu else ("fp32", "int8") if kind == "photos" else ("fp32",):
            encoder = encoders.open(spec, device=trial.device, precision=precision)
            fast = encoder.image.fast
            assert fast is not None
            pixels = np.stack([fast.fit(Image.open(file).convert("RGB")) for file in pictures])
            exact = np.stack([encoder.image.prepare(Image.open(file).convert("RGB")) for file in pictures])
            references = encoder.image.encode_reference(exact)
            cosines = centred_cosines(
                encoder.image.encode(pixels), references, references.mean(axis=0, dtype=np.float64)
            )
            mean, gate = float(cosines.mean()), COSINE_GATES[precision]
            say(f"{kind} in {precision}: centred cosine {mean:.5f} (gate {gate}), lowest {cosines.min():.5f}")
            found[f"{kind} {precision}"] = {"mean": mean, "lowest": float(cosines.min()), "gate": gate}
    found["wrong"] = any(each["mean"] < each["gate"] for each in found.values())
    if trial.gpu:
        try:
            load(trial, model_of(trial, "ViT-B-32"), "int8")
            found["int8"], found["wrong"] = "was not refused", True
        except EncoderError as error:
            found["int8"] = f"refused: {error}"
        say(f"int8: {found['int8']}")


def halving(trial: Trial, found: Found) -> None:
    """A batch that does not fit goes in halves, to the same vectors."""
    import numpy as np
    import torch

    if not trial.gpu:
        say("only on a GPU")
        found["skipped"] = "no GPU"
        return
    encoder = load(trial, model_of(trial, "ViT-B-32"), "fp32")
    height, width = encoder.image.fast.size
    pixels = np.random.default_rng(0).integers(0, 256, (1024, height, width, 3), np.uint8)
    expected = np.concatenate([encoder.image.encode(part) for part in np.array_split(pixels, 16)])
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_allocated() + 1.5e9) / total)
    try:
        worst = float(np.abs(encoder.image.encode(pixels) - expected).max())
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    most = encoder.image._lane._most
    say(f"1,024 pictures with 1.5 GB: at most {most} at a time, vectors differ by at most {worst:.1e}")
    found.update(most=most, largest_difference=worst, wrong=most is None or worst > 1e-3)


_EMBED = """
import sys
from mmsearch.embedding import EmbedOptions, embed
folder, gallery, model, device = sys.argv[1:]
options = EmbedOptions(device=device, decode="cpu", batch_size=32)
embed([folder], gallery=gallery, encoder=f"local-dir:{model}", options=options)
"""


def killed(trial: Trial, found: Found) -> None:
    """A run that is killed and begun again ends as one that never was. All of it decoded by the cores: which of two
    decoders gets a picture is another time another one."""
    import numpy as np

    from mmsearch.embedding import EmbedOptions, embed
    from mmsearch.gallery import Gallery

    model = model_of(trial, "ViT-B-32")
    files = photos(trial, "640x480", 60 if trial.quick else 2_000)
    spec, options = f"local-dir:{model}", EmbedOptions(device=trial.device, decode="cpu", batch_size=32)
    embed([files[0].parent], gallery=trial.scratch / "never", encoder=spec, options=options)
    command = [
        sys.executable,
        "-c",
        _EMBED,
        str(files[0].parent),
        str(trial.scratch / "once"),
        str(model),
        trial.device,
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")])}
    child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while child.poll() is None and not list((trial.scratch / "once").glob("images/*")) and trial.left() > 15:
        time.sleep(0.005)
    early = child.poll() is None
    child.send_signal(signal.SIGKILL)
    child.wait()
    embed([files[0].parent], gallery=trial.scratch / "once", encoder=spec, options=options)
    rows = []
    for name in ("never", "once"):
        gallery = Gallery.open(trial.scratch / name)
        named = sorted((path, row_id) for row_id, _, path in gallery.image_names())
        rows.append(([path for path, _ in named], gallery.vectors("images", np.array([row for _, row in named]))))
    same = rows[0][0] == rows[1][0]
    difference = float(np.abs(rows[0][1].astype(np.float32) - rows[1][1].astype(np.float32)).max()) if same else None
    when = "in the middle" if early else "when it was done"
    say(f"killed {when}: names equal: {same}, vectors differ by {difference}")
    found.update(killed_in_the_middle=early, largest_difference=difference)
    found["wrong"] = not same or (difference or 0) > 2e-3


def tests(trial: Trial, found: Found) -> None:
    """What the tests know of GPUs. They skip where there is none."""
    # Without the project's own options, some of which belong to plugins that need not be here.
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "-o", "addopts="]
    command += ["-W", "default", "tests/test_gpu.py"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")])}
    log = trial.scratch / "tests.log"
    with log.open("wb") as out:
        child = subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=out, stderr=subprocess.STDOUT)
        try:
            child.wait(timeout=max(1, trial.left()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    lines = log.read_text(errors="replace").strip().splitlines()
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    found.update(exit=child.returncode, summary=lines[-1] if lines else "", failed=failed)
    found["wrong"] = child.returncode != 0
    if found["wrong"]:
        found["output"] = lines[-300:]
    for line in [*failed, found["summary"]]:
        say(line)


def jpeg(trial: Trial, found: Found) -> None:
    """Whether the device decodes JPEG, and how far from the exact route, by size, subsampling and turn."""
    import io

    import numpy as np
    import torch
    from PIL import Image

    from mmsearch import images
    from mmsearch.encoders.jpeg_decoding import BatchJpegDecoder, why_not_on
    from scripts.bench_embed import photo

    encoder = load(trial, model_of(trial, "ViT-B-32"))
    reason = why_not_on(torch.device(trial.device)) if trial.gpu else None
    if reason is not None:
        say(f"no: {reason}")
        found["skipped"] = reason
        return
    lowest: dict[str, float] = {}
    rng = np.random.default_rng(1)
    with BatchJpegDecoder(torch.device(trial.device), encoder.image.fast) as decoder:
        for size in (
            ((224, 224), (640, 480)) if trial.quick else ((224, 224), (301, 227), (640, 480), (1024, 768), (4000, 3000))
        ):
            picture = Image.fromarray(photo(*size, 2.0, rng))
            for subsampling in ("4:4:4", "4:2:2", "4:2:0"):
                errors = []
                for orientation in (1, 3, 6):
                    exif = Image.Exif()
                    exif[0x0112] = orientation
                    out = io.BytesIO()
                    picture.save(out, "JPEG", quality=90, subsampling=subsampling, exif=exif)
                    header = images.jpeg_header(out.getvalue())
                    assert header is not None
                    pixels = decoder.fit(out.getvalue(), (header.width, header.height), orientation)
                    reference = encoder.image.prepare(images.decode(out.getvalue()).image)
                    errors.append(np.inf if pixels is None else encoder.image.fast.error(pixels, reference))
                lowest[f"{size[0]}x{size[1]} {subsampling}"] = float(10 * np.log10(255**2 / max(max(errors), 1e-9)))
            these = [f"{value:.1f} dB" for name, value in lowest.items() if name.startswith(f"{size[0]}x{size[1]} ")]
            say(f"{size[0]}x{size[1]}: lowest {', '.join(these)}")
    found.update(psnr_lowest=lowest, wrong=min(lowest.values()) < 35)


# --- measures ---------------------------------------------------------------------------------------------------------


def rate(work: Callable[[], int], seconds: float) -> float:
    """Pictures a second: the median of rounds that fill so many seconds, at least three; one before does not count."""
    work()
    end = time.monotonic() + seconds
    rates: list[float] = []
    while len(rates) < 3 or time.monotonic() < end:
        started = time.perf_counter()
        count = work()
        rates.append(count / (time.perf_counter() - started))
    return statistics.median(rates)


_FAST: Any = None


def fit_file(file: Path) -> Any:
    """A file to pixels, as the loader does it on processors."""
    from mmsearch import images

    data = file.read_bytes()
    picture = images.decode_fast(data, 3 * max(_FAST.size))
    if isinstance(picture, images.DecodedImage):
        return _FAST.fit(picture.image)
    return _FAST.fit_array(picture.pixels, picture.scale, (picture.width, picture.height), picture.orientation)


def in_process(files: list[Path]) -> int:
    """For measuring with processes: how many were decoded."""
    import torch

    global _FAST
    if _FAST is None:
        from mmsearch.encoders.preprocessing import Preprocessing

        torch.set_num_threads(1)
        _FAST = Preprocessing({"size": [224, 224], "mean": [0.5] * 3, "std": [0.25] * 3})
    for file in files:
        fit_file(file)
    return len(files)


def decoding(trial: Trial, found: Found) -> None:
    """Decoding alone, by size and number of threads; and with processes, which share no lock."""
    import torch

    in_process([])
    counts = [n for n in (1, 2, 4, 8, 16, 32, 64) if n < trial.cores] + [trial.cores]
    sizes = {"640x480": 256, "1024x768": 256, "4000x3000": 64}
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for size, count in {"640x480": 64}.items() if trial.quick else sizes.items():
            files = photos(trial, size, count)
            for threads in counts:
                if trial.left() < 3:
                    break
                with ThreadPoolExecutor(threads) as pool:
                    found[f"{size} threads {threads}"] = rate(lambda: len(list(pool.map(fit_file, files))), 1.0)  # noqa: B023
            if trial.left() > 5:
                parts = [files[n :: trial.cores] for n in range(trial.cores)]
                with ProcessPoolExecutor(trial.cores) as processes:
                    found[f"{size} processes"] = rate(lambda: sum(processes.map(in_process, parts)), 1.0)  # noqa: B023
            say(
                f"{size}: "
                + ", ".join(f"{k.removeprefix(size).strip()} {v:,.0f}/s" for k, v in found.items() if size in k)
            )
    finally:
        torch.set_num_threads(before)


def encoding(trial: Trial, found: Found) -> None:
    """Encoding alone by batch size, as lanes do it; and what else could be done: half weights, compile, CUDA graphs."""
    import numpy as np
    import torch

    for arch in ("ViT-B-32",) if trial.quick else ("ViT-B-32", "ViT-L-14"):
        encoder = load(trial, model_of(trial, arch))
        height, width = encoder.image.fast.size
        sizes = (8, 32) if trial.quick else (64, 128, 256, 512, 1024)
        pixels = np.random.default_rng(0).integers(0, 256, (max(sizes), height, width, 3), np.uint8)
        with encoder.image.lanes(trial.cores) as opened, ThreadPoolExecutor(len(opened)) as pool:
            for size in sizes:
                if trial.left() < 4:
                    break

                def work(size: int = size) -> int:
                    jobs = [pool.submit(lane, pixels[:size]) for lane in opened for _ in range(2)]  # noqa: B023
                    return sum(len(job.result().vectors) for job in jobs)

                name = f"{arch} {encoder.precision} batch {size}"
                found[name] = rate(work, 0.6)
                say(f"{name}: {found[name]:,.0f}/s")
        other_ways(trial, encoder, torch.from_numpy(pixels[: 8 if trial.quick else 256]), arch, found)


def other_ways(trial: Trial, encoder: Any, pixels: Any, arch: str, found: Found) -> None:
    """Ways to run a model that `embed` does not use, on a batch that lies on the device already; what one of them does
    not do on this machine it says, and the next is tried."""
    import torch

    batch = encoder.image.fast.normalise(pixels.to(encoder.image._device))
    half = ImageTower(encoder, torch.float16 if trial.gpu else torch.bfloat16)

    def as_embed_does(data: Any) -> Any:
        with torch.autocast(encoder.image._device.type, dtype=half.dtype):
            return encoder.image._model.encode_image(data)

    def timed(name: str, encode: Callable[[Any], Any], data: Any) -> float | None:
        def work() -> int:
            with torch.inference_mode():
                for _ in range(4 if trial.gpu else 1):
                    encode(data)
            if trial.gpu:
                torch.cuda.synchronize()
            return (4 if trial.gpu else 1) * len(data)

        label = f"{arch} {name}"
        try:
            found[label] = rate(work, 0.5 if trial.gpu else 0.0)
            say(f"{label}: {found[label]:,.0f}/s")
            return float(found[label])
        except Exception as error:  # noqa: BLE001
            found[label] = f"{type(error).__name__}: {error}"[:300]
            say(f"{label}: {found[label]}")
            return None

    usual = timed("autocast", as_embed_does, batch)
    timed("half weights", half.model, batch.to(half.dtype))
    last = batch.to(half.dtype, memory_format=torch.channels_last)
    timed("half weights, channels last", half.model.to(memory_format=torch.channels_last), last)
    if not trial.gpu or trial.left() < 8:
        return
    timed("half weights, CUDA graph", half.replayed(last), last)
    if trial.left() > 50:
        started = time.perf_counter()
        compiled = timed("half weights, compiled", torch.compile(half.model), last)
        seconds = time.perf_counter() - started
        found[f"{arch} compile seconds"] = round(seconds, 1)
        if usual and compiled and compiled > usual:
            found[f"{arch} compiling pays after"] = round(seconds / (1 / usual - 1 / compiled))
            say(f"{arch}: compiling, {seconds:.0f} s, pays after {found[f'{arch} compiling pays after']:,} pictures")


class ImageTower:
    """A copy of an encoder's image tower with weights of half the size."""

    def __init__(self, encoder: Any, dtype: Any) -> None:
        import copy

        self.dtype = dtype
        self.model = copy.deepcopy(encoder.image._model.visual).to(dtype)

    def replayed(self, static: Any) -> Callable[[Any], Any]:
        """What encodes the batch that lies in `static` by a CUDA graph, which is captured when it is first called."""
        import torch

        graphs: list[Any] = []

        def encode(_: Any) -> None:
            if not graphs:
                for _round in range(3):
                    self.model(static)
                torch.cuda.synchronize()
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph):
                    self.model(static)
                graphs.append(graph)
            graphs[0].replay()

        return encode


def jpeg_rate(trial: Trial, found: Found) -> None:
    """Decoding on the device alone, by how many threads ask at the same time."""
    import torch

    from mmsearch import images
    from mmsearch.encoders.jpeg_decoding import BatchJpegDecoder, why_not_on

    if trial.gpu and (reason := why_not_on(torch.device(trial.device))) is not None:
        say(f"no: {reason}")
        found["skipped"] = reason
        return
    encoder = load(trial, model_of(trial, "ViT-B-32"))
    for size, count in (
        {"640x480": 32}.items() if trial.quick else {"640x480": 256, "1024x768": 256, "4000x3000": 64}.items()
    ):
        files = [file.read_bytes() for file in photos(trial, size, count)]
        pictures = [(data, head) for data in files if (head := images.jpeg_header(data)) is not None]
        for threads in (4,) if trial.quick else (16, 64, 128):
            if trial.left() < 3:
                break
            with (
                BatchJpegDecoder(torch.device(trial.device), encoder.image.fast) as decoder,
                ThreadPoolExecutor(threads) as pool,
            ):

                def one(n: int) -> Any:
                    data, head = pictures[n]  # noqa: B023
                    return decoder.fit(data, (head.width, head.height), head.orientation)

                found[f"{size} asked by {threads}"] = rate(lambda: len(list(pool.map(one, range(len(pictures))))), 1.0)  # noqa: B023
        say(
            f"{size}: " + ", ".join(f"{k.removeprefix(size).strip()} {v:,.0f}/s" for k, v in found.items() if size in k)
        )


def end_to_end(trial: Trial, found: Found) -> None:
    """`embed` against what decoding and encoding alone allow, and against a plain DataLoader loop."""
    from scripts.bench_embed import PlainWay
    from scripts.bench_embed import decode as decode_alone
    from scripts.bench_embed import encode as encode_alone

    for arch, count in {"ViT-B-32": 96}.items() if trial.quick else {"ViT-B-32": 16_384, "ViT-L-14": 6_144}.items():
        if trial.left() < 20:
            found[arch] = {"skipped": "no time left"}
            break
        model = model_of(trial, arch)
        encoder = load(trial, model)
        files = photos(trial, "640x480" if trial.quick else "1024x768", count)
        some = files[: min(count, 2_048)]
        for few in (some[: count // 8], some):  # the first does not count
            decode, encode = decode_alone(few, encoder), encode_alone(files[0], len(few), encoder)
        alone = {"decode": len(some) / decode, "encode": len(some) / encode}
        rates = alone.values()
        alone["bound"] = min(rates) if trial.gpu else 1 / sum(1 / each for each in rates)
        rows: dict[str, Any] = {"images": count, "alone": alone}
        found[arch] = rows
        say(f"{arch}, {count:,} JPEGs: " + ", ".join(f"{name} {value:,.0f}/s" for name, value in alone.items()))
        if trial.left() > 15:
            plain = PlainWay(model, encoder.device)
            for few in (some[: count // 8], files[: min(count, 4_096)]):
                rows["plain"] = {"rate": len(few) / plain.embed(few, trial.scratch / "plain.npy")}
            say(f"  plain loop: {rows['plain']['rate']:,.0f}/s")
        for way in ("cpu", "auto", "gpu") if trial.gpu else ("cpu",):
            if trial.left() < 15:
                break
            rows[way] = row = embedded(trial, encoder, files, way)
            row["of_bound"] = row["rate"] / alone["bound"]
            row["of_plain"] = row["rate"] / rows["plain"]["rate"] if "plain" in rows else None
            row["reached"] = row["of_bound"] >= TARGET_OF_BOUND and (row["of_plain"] or 0) >= TARGET_OF_PLAIN
            of_plain = row["of_plain"] or float("nan")
            say(
                f"  --decode {way}: {row['rate']:,.0f}/s, {row['of_bound']:.2f} of the bound (target "
                f"{TARGET_OF_BOUND}), {of_plain:.2f} x the plain loop (target {TARGET_OF_PLAIN}); "
                f"{row['decoded_on_gpu']:,} decoded on the GPU; {row['cores_busy']:.1f} of {trial.cores} cores busy; "
                f"limited by {row['bottleneck']}; stage seconds {row['stages']}"
            )


def embedded(trial: Trial, encoder: Any, files: list[Path], way: str) -> Found:
    """What a run of `embed` does with files in a folder of their own, and where its time goes."""
    from mmsearch.embedding import EmbedOptions, embed

    gallery = trial.scratch / "gallery"
    shutil.rmtree(gallery, ignore_errors=True)
    started, worked = time.perf_counter(), time.process_time()
    report = embed([files[0].parent], gallery=gallery, encoder=encoder, options=EmbedOptions(decode=way))
    seconds, work = time.perf_counter() - started, time.process_time() - worked
    return {
        "rate": report.images.added / seconds,
        "added": report.images.added,
        "decoded_on_gpu": report.stages.decoded_on_gpu,
        "cores_busy": work / seconds,
        "stages": {stage.name: round(stage.seconds, 2) for stage in report.stages.stages},
        "bottleneck": report.stages.bottleneck,
        "agrees": report.parity and [asdict(each) for each in report.parity.agreements],
        "disagrees": report.parity and [asdict(each) for each in report.parity.disagreements],
    }


def finetuning(trial: Trial, found: Found) -> None:
    """Both towers trained: the gradient of chunks, on all devices, is that of the whole batch on one, a run that
    goes on from a checkpoint ends near one that was never stopped, and how fast it goes in how much memory, against a
    plain loop of open_clip."""
    from scripts.bench_finetune import WAYS, a_model, train_one_way

    arch, batch, chunk = ("quick", 16, 6) if trial.quick else ("ViT-B-32", 1_024, 256)
    model = a_model(trial.scratch / "model-finetune", arch)
    found["gradient"] = gradient = gradient_of_chunks(trial.device, model)
    say(f"gradient in chunks on all devices and at once on one, fp32: differ by {gradient:.1e} of the largest")
    found["resumed"] = resumed = resumed_training(trial, model)
    say(f"resumed and never stopped: weights differ by at most {resumed:.1e}")
    rows: dict[str, Any] = {}
    for way in WAYS:
        if trial.left() < 15:
            break
        steps = 1 if trial.quick else 5
        rows[way] = row = train_one_way(model, trial.device, way, batch=batch, chunk=chunk, steps=steps)
        memory = f", {row['step_bytes'] / 2**30:.2f} GiB beyond the model" if "step_bytes" in row else ""
        say(f"{way}: {row['pairs_a_second']:,.0f} pairs/s{memory}; loss {row['loss']:.3f}")
    found["ways"] = rows
    # Of one batch, before any step: the ways differ by their precision alone. Sums on a GPU come in any order.
    losses = [row["loss"] for row in rows.values()]
    found["wrong"] = gradient > 1e-4 or resumed > 1e-3 or max(losses, default=0) - min(losses, default=0) > 0.05


def training_run(device: str, model: Path, **settings: Any) -> Any:
    """A run over 16 random pictures in fp32, and the model that it trains."""
    import numpy as np

    from mmsearch.training.batches import PairTexts
    from mmsearch.training.tower_settings import TowerSettings
    from mmsearch.training.tower_training import TrainingRun
    from mmsearch.training.trainable_model import open_trainable_model

    trainable = open_trainable_model(f"local-dir:{model}", device=device)
    height, width = trainable.preprocessing.size
    pixels = np.random.default_rng(0).integers(0, 256, (16, height, width, 3), np.uint8)
    texts = PairTexts.of([[f"picture {row}", f"number {row}"] for row in range(16)], np.arange(16))
    full = TowerSettings("full", precision="fp32", batch=16, peak_rate=1e-5, **settings)
    return TrainingRun(trainable, pixels, texts, full), trainable


def gradient_of_chunks(device: str, model: Path) -> float:
    """How far the gradient of a batch in chunks, on all devices, is from that at once, on one; by the largest of it."""
    gradients = []
    for where, chunk in (("cuda:0" if device == "cuda" else device, 16), (device, 3)):
        run, trainable = training_run(where, model, epochs=1, chunk=chunk)
        run.train_step()
        gradients.append([each.grad.flatten() for each in trainable.model.parameters() if each.grad is not None])
    worst = max(float((one - other).abs().max()) for one, other in zip(*gradients, strict=True))
    return worst / max(float(each.abs().max()) for each in gradients[0])


def resumed_training(trial: Trial, model: Path) -> float:
    """How far weights after four steps are from those of two runs of two steps, with a checkpoint between."""
    from mmsearch.training.checkpoints import read_checkpoint, write_checkpoint

    file, states = trial.scratch / "checkpoint.safetensors", []
    run, trainable = training_run(trial.device, model, epochs=4, chunk=8)
    for step in range(4):
        if step == 2:
            write_checkpoint(file, run.checkpoint())
        run.train_step()
    states.append(trainable.state())
    run, trainable = training_run(trial.device, model, epochs=4, chunk=8)
    run.restore(read_checkpoint(file, run.digest))
    while run.step < run.steps:
        run.train_step()
    states.append(trainable.state())
    return max(float((states[0][name] - states[1][name]).abs().max()) for name in states[0])


# (what it is called, seconds that it may take, what it does): first what has to be right, then what has to be fast, the
# most telling first.
PARTS: tuple[tuple[str, float, Callable[[Trial, Found], None]], ...] = (
    ("machine", 20, machine),
    ("lanes", 30, lanes),
    ("precisions", 60, precisions),
    ("halving", 30, halving),
    ("JPEG on the device", 40, jpeg),
    ("killed and begun again", 60, killed),
    ("pytest -m gpu", 100, tests),
    ("fine-tuning", 120, finetuning),
    ("embed end to end", 150, end_to_end),
    ("encoding alone", 110, encoding),
    ("decoding alone", 50, decoding),
    ("JPEG on the device alone", 40, jpeg_rate),
)


if __name__ == "__main__":
    main()
