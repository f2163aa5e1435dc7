"""What training both towers costs: pairs a second and memory, against a plain loop of open_clip, in one run.

    python -m scripts.bench_finetune [--arch ViT-B-32] [--batch 64] [--chunk 16] [--steps 2] [--device cpu]

Each way trains a model of random weights in a process of its own, on the same random pictures and captions of a dozen
words, after a step that does not count:

    plain        open_clip's model, its ClipLoss over the whole batch, AdamW
    full         `finetune --full` with the whole batch in memory
    full, chunks `finetune --full` in chunks: the same gradient in the memory of a chunk
    lora, chunks `finetune --lora` likewise

Memory is what a step needs beyond the model as it was loaded: on CPUs of the process, on GPUs of torch's tensors.
"quick" is the name of a small model.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scripts.measuring import circumstances, keep_bytecode, random_model, watched

WAYS = ("plain", "full", "full, chunks", "lora, chunks")
_WORDS = (
    "a",
    "the",
    "red",
    "small",
    "dog",
    "boat",
    "house",
    "tree",
    "man",
    "street",
    "water",
    "on",
    "of",
    "with",
    "two",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="ViT-B-32", help="of open_clip, or quick")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--chunk", type=int, default=16)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    keep_bytecode()
    found: dict[str, Any] = {**circumstances(), "batch": options.batch, "chunk": options.chunk}
    with tempfile.TemporaryDirectory() as name:
        model = a_model(Path(name) / "model", options.arch)
        for way in WAYS:
            given = [str(model), options.device, way, *map(str, (options.batch, options.chunk, options.steps))]
            row, peak = watched(["from scripts.bench_finetune import child; child()", *given])
            found[way] = row
            if options.device == "cpu":
                row["step_bytes"] = peak - row.pop("loaded_bytes")
            relative = row["pairs_a_second"] / found["plain"]["pairs_a_second"]
            print(
                f"{way:13s} {row['pairs_a_second']:8.1f} pairs/s, {relative:5.2f} x plain;"
                f" {row['step_bytes'] / 2**20:8,.0f} MiB beyond the model; loss {row['loss']:.3f}",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


def child() -> None:
    """One way, in its process: prints what was measured."""
    model, device, way, batch, chunk, steps = sys.argv[1:]
    print(json.dumps(train_one_way(Path(model), device, way, batch=int(batch), chunk=int(chunk), steps=int(steps))))


def a_model(folder: Path, arch: str) -> Path:
    """A model of random weights; "quick" is a small one."""
    from tests.models import write_tiny_model

    return write_tiny_model(folder) if arch == "quick" else random_model(folder, arch)


def train_one_way(model: Path, device: str, way: str, *, batch: int, chunk: int, steps: int) -> dict[str, Any]:
    """Train for some steps after one that does not count. Returns pairs_a_second, loss (of the first step), and on CUDA
    step_bytes, elsewhere loaded_bytes."""
    import torch

    captions = [" ".join(Random(row).choices(_WORDS, k=12)) for row in range(batch)]
    step, size = (_plain_way if way == "plain" else _our_way)(model, device, way, captions, chunk)
    pixels = np.random.default_rng(0).integers(0, 256, (batch, *size, 3), np.uint8)
    on_cuda = device.startswith("cuda")
    if on_cuda:
        torch.cuda.reset_peak_memory_stats()
    loaded = torch.cuda.memory_allocated() if on_cuda else _anonymous_bytes()
    first = step(pixels)
    started = time.perf_counter()
    for _ in range(steps):
        step(pixels)
    if on_cuda:
        torch.cuda.synchronize()
    row = {"pairs_a_second": batch * steps / (time.perf_counter() - started), "loss": first}
    memory = {"step_bytes": torch.cuda.max_memory_allocated() - loaded} if on_cuda else {"loaded_bytes": loaded}
    return {**row, **memory}


_Step = Callable[[NDArray[np.uint8]], float]


def _plain_way(folder: Path, device: str, way: str, captions: list[str], chunk: int) -> tuple[_Step, tuple[int, int]]:
    """As the README of open_clip has it, in bf16 on GPUs."""
    import open_clip
    import torch
    from open_clip.loss import ClipLoss

    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{folder}", device=device)
    config = json.loads((folder / "open_clip_config.json").read_text())["preprocess_cfg"]
    mean, std = (torch.tensor(config[name], device=device).view(1, 3, 1, 1) for name in ("mean", "std"))
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(captions).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, betas=(0.9, 0.98), eps=1e-6)
    loss_of = ClipLoss()
    model.train()

    def step(pixels: NDArray[np.uint8]) -> float:
        images = (torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float() / 255 - mean) / std
        optimizer.zero_grad()
        with torch.autocast(device.partition(":")[0], torch.bfloat16, enabled=device.startswith("cuda")):
            vectors = model.encode_image(images, normalize=True), model.encode_text(tokens, normalize=True)
            loss = loss_of(*vectors, model.logit_scale.exp())
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    size = model.visual.image_size
    return step, (size, size) if isinstance(size, int) else tuple(size)


def _our_way(folder: Path, device: str, way: str, captions: list[str], chunk: int) -> tuple[_Step, tuple[int, int]]:
    from mmsearch.training.batches import PairTexts
    from mmsearch.training.tower_settings import TowerSettings
    from mmsearch.training.tower_training import TrainingRun
    from mmsearch.training.trainable_model import open_trainable_model

    trainable = open_trainable_model(f"local-dir:{folder}", device=device)
    batch = len(captions)
    settings = TowerSettings(
        "lora" if way.startswith("lora") else "full",
        epochs=1_000, batch=batch, chunk=chunk if way.endswith("chunks") else batch, peak_rate=1e-5, least_crop=1.0,
    )  # fmt: skip
    texts = PairTexts.of([[caption] for caption in captions], np.arange(batch))
    runs: list[TrainingRun] = []

    def step(pixels: NDArray[np.uint8]) -> float:
        if not runs:
            runs.append(TrainingRun(trainable, pixels, texts, settings))
        return runs[0].train_step()

    height, width = trainable.preprocessing.size
    return step, (height, width)


def _anonymous_bytes() -> int:
    """What the process holds now that no file backs (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


if __name__ == "__main__":
    main()
