"""What the benchmarks have in common: a full-size model of random weights, a gallery of random vectors, and clocks."""

import json
import os
import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from mmsearch.encoders import Encoder, FastPreprocessing

__all__ = [
    *("circumstances", "fast_of", "keep_bytecode", "median_of", "python", "random_gallery", "random_model"),
    *("seconds", "seconds_and_work", "watched"),
]


def keep_bytecode() -> None:
    """Let programs that are started find compiled bytecode."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    package = Path(__file__).parents[1] / "mmsearch"
    subprocess.run([sys.executable, "-m", "compileall", "-q", package], check=True)


def circumstances() -> dict[str, str | int]:
    """What belongs beside every figure that is written down: the command, the processor, and how many cores of it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    command = " ".join(["python", os.path.relpath(sys.argv[0]), *sys.argv[1:]])
    return {"command": command, "processor": model, "cores": os.cpu_count() or 1}


def median_of(runs: int, work: Callable[[], float]) -> float:
    return statistics.median(work() for _ in range(runs))


def python(code: str, *arguments: object) -> str:
    """The output of a piece of Python in a process of its own."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def seconds(command: Sequence[object]) -> float:
    """From the start of a process to its end."""
    return seconds_and_work(command)[0]


def seconds_and_work(command: Sequence[object]) -> tuple[float, float]:
    """From the start of a process to its end, and how long processors worked for it: what others do beside it lengthens
    the first, hardly the second."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(list(map(str, command)), capture_output=True, check=True)
    took, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def watched(code: list[str]) -> tuple[dict[str, Any], int]:
    """The JSON that a Python process prints, and the largest RssAnon (Linux) that it had, in bytes."""
    with subprocess.Popen([sys.executable, "-c", *code], stdout=subprocess.PIPE, text=True) as process:
        peak = 0
        while process.poll() is None:
            try:
                status = Path(f"/proc/{process.pid}/status").read_text()
            except OSError:
                status = ""
            found = re.search(r"RssAnon:\s*(\d+) kB", status)
            peak = max(peak, 1024 * int(found[1]) if found else 0)
            time.sleep(0.05)
        out = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise SystemExit(f"failed with {process.returncode}")
    return json.loads(out), peak


def fast_of(encoder: "Encoder") -> "FastPreprocessing":
    fast = encoder.image.fast
    if fast is None:
        raise SystemExit("this model has no quick way to pixels, which is what is measured")
    return fast


def random_model(folder: Path, arch: str = "ViT-B-32") -> Path:
    """A model of random weights: what it costs does not depend on them."""
    from tests.models import write_random_model

    return write_random_model(folder, arch)


def random_gallery(folder: Path, model: Path, rows: int, vectors: Path) -> Path:
    """A gallery of random unit vectors as if a model had made them. vectors: they are saved here as .npy too."""
    from mmsearch import encoders
    from mmsearch.gallery import open_writer
    from mmsearch.items import ImageRow

    rng = np.random.default_rng(0)
    identity = encoders.open(f"local-dir:{model}", device="cpu").identity
    kept = np.lib.format.open_memmap(vectors, "w+", np.float16, (rows, identity.dim))
    with open_writer(folder, command="bench") as writer:
        writer.set_encoder(identity)
        root = writer.add_root(folder.parent / "photos")
        for start in range(0, rows, 65_536):
            some = rng.normal(size=(min(65_536, rows - start), identity.dim)).astype(np.float32)
            some /= np.linalg.norm(some, axis=1, keepdims=True)
            kept[start : start + len(some)] = some
            names = (f"{number}.jpg" for number in range(start, start + len(some)))
            made = [ImageRow(root.id, name, None, 1, 1, None, name.encode(), 640, 480, None) for name in names]
            writer.append("images", made, some)
            writer.commit()
    kept.flush()
    return folder
