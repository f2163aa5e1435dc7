"""Seconds to explain a picture: the demo model, and a ViT-B-32 of random weights.

    python -m scripts.bench_explain [--pictures 3]

explain   as `mmsearch explain` does it for a gallery: the image tower without torch, hidden pictures for all phrases
preview   as `mmsearch explain --quick` does it: hidden from the last blocks alone
plain     every hidden picture filled and encoded alone, by torch: the same pictures, once for all phrases
apart     plain, once for each phrase: what it costs to explain the phrases one after the other
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from mmsearch import encoders
from mmsearch.encoders import Encoder
from mmsearch.encoders.image_side import open_image_side
from mmsearch.explaining.explain import want_text
from mmsearch.explaining.masking import box_masks, fill_masked, windows
from mmsearch.explaining.regions import find_regions, preview_regions
from scripts.measuring import circumstances, random_model

_TEXT = "a small red lighthouse by the sea, two white boats and a yellow kite"


def measure(name: str, encoder: Encoder, pictures: int) -> None:
    """Print a line of the medians for a model whose towers lie in the cache."""
    tower, wanted = open_image_side(encoder.identity), want_text(encoder.text, _TEXT)
    rng, seconds = np.random.default_rng(0), []
    encoded = 0
    for _ in range(pictures):
        image = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize((640, 480), Image.Resampling.BICUBIC)
        begun = time.perf_counter()
        encoded = find_regions(tower, image, wanted)[2]
        ours = time.perf_counter() - begun
        begun = time.perf_counter()
        preview_regions(tower, image, wanted)
        preview = time.perf_counter() - begun
        begun = time.perf_counter()
        pixels = encoder.image.prepare(image)
        for box in (windows(8, 0.22) * 2)[:encoded]:
            encoder.image.encode(fill_masked(pixels, box_masks([box], *pixels.shape[1:])))
        seconds.append((ours, preview, time.perf_counter() - begun))
    ours, preview, plain = np.median(seconds, axis=0)
    phrases = len(wanted.phrases)
    print(
        f"{name:10} {encoded:4} pictures encoded for {phrases} phrases   explain {ours:6.2f} s"
        f"   preview {preview:6.2f} s ({ours / preview:.1f} x as fast)   plain {plain:6.2f} s"
        f" ({plain / ours:.1f} x)   apart {plain * phrases:6.2f} s ({plain * phrases / ours:.1f} x)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=3)
    given = parser.parse_args()
    for key, value in circumstances().items():
        print(f"{key}: {value}")
    measure("demo", encoders.open("demo", device="cpu", precision="fp32"), given.pictures)
    with tempfile.TemporaryDirectory() as folder:
        spec = random_model(Path(folder), "ViT-B-32")
        measure("ViT-B-32", encoders.open(f"local-dir:{spec}", device="cpu", precision="fp32"), given.pictures)


if __name__ == "__main__":
    main()
