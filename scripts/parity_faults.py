"""Where the gates of the agreement with the exact route come from.

    python scripts/parity_faults.py [--model demo] [PICTURE]...

Takes JPEGs (by default sixteen of data/postcards, once as they are, once turned, once enlarged to 1600 and to 3000
pixels), and prints how well their pixels and embeddings agree with the exact route (Pillow, open_clip's own transform,
fp32): by the fast route as it is, and with a fault put in. `cosine` is that of the embeddings after subtracting the
sample's mean. `embed` stops where a kind's median PSNR or mean cosine is below its gate, marked here with STOP.
"""

import argparse
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from scripts.measuring import fast_of

if TYPE_CHECKING:
    from mmsearch.encoders import Encoder

Fit = Callable[[Any], Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="*", type=Path, metavar="PICTURE")
    parser.add_argument("--model", default="demo")
    options = parser.parse_args()
    from mmsearch import encoders

    encoder = encoders.open(options.model, device="cpu")
    postcards = Path(__file__).resolve().parents[1] / "data" / "postcards" / "images"
    pictures = [file.read_bytes() for file in options.pictures or sorted(postcards.glob("*.jpg"))[:: 1000 // 16][:16]]
    for name, kind in {
        "as they are": pictures,
        "turned (EXIF 6)": [saved(data, orientation=6) for data in pictures],
        "1600 pixels": [saved(data, side=1600) for data in pictures],
        "3000 pixels": [saved(data, side=3000) for data in pictures],
    }.items():
        table(name, kind, encoder)


def saved(data: bytes, *, side: int = 0, orientation: int = 1) -> bytes:
    """The picture again as a JPEG, its shorter side enlarged."""
    image, exif, stream = Image.open(io.BytesIO(data)).convert("RGB"), Image.Exif(), io.BytesIO()
    if side:
        factor = side / min(image.size)
        image = image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.BICUBIC)
    exif[0x0112] = orientation
    image.save(stream, "JPEG", quality=92, exif=exif)
    return stream.getvalue()


def table(name: str, pictures: list[bytes], encoder: "Encoder") -> None:
    from mmsearch.embedding.parity import COSINE_GATES, PSNR_GATES, centred_cosines, psnr
    from mmsearch.images import decode, decode_fast

    fast = fast_of(encoder)
    exact = np.stack([encoder.image.prepare(decode(data).image) for data in pictures])
    references = encoder.image.encode_reference(exact)
    found = [decode_fast(data, 3 * max(fast.size)) for data in pictures]
    scale = getattr(found[0], "scale", 0)
    route = "pillow" if not scale else "turbo" if scale == 1 else f"turbo/{scale}"
    print(f"{len(pictures)} pictures {name}, route {route}, {encoder.identity.spec}")
    print(
        f"    gates{'':22} median PSNR {PSNR_GATES[route]:6.1f}                mean cosine {COSINE_GATES['fp32']:.5f}"
    )
    for fault, fit in faults(fast).items():
        pixels = np.stack([fit(picture) for picture in found])
        decibels = psnr(np.array([fast.error(*pair) for pair in zip(pixels, exact, strict=True)]))
        given = pixels if fault != "another mean" else (pixels.astype(np.int16) + 26).clip(0, 255).astype(np.uint8)
        vectors = encoder.image.encode(given)
        cosines = centred_cosines(vectors, references, references.mean(axis=0, dtype=np.float64))
        low = np.median(decibels) < PSNR_GATES[route] or cosines.mean() < COSINE_GATES["fp32"]
        print(
            f"    {fault:26} median PSNR {np.median(decibels):6.1f} (least {decibels.min():5.1f})  "
            f"mean cosine {cosines.mean():.5f} (least {cosines.min():.5f}){'  STOP' if low else ''}"
        )


def faults(fast: Any) -> dict[str, Fit]:
    """What is right, and what could be wrong with it."""
    import torch
    from open_clip.transform import center_crop_or_pad

    def right(picture: Any) -> Any:
        size = picture.width, picture.height
        return fast.fit_array(picture.pixels, picture.scale, size, picture.orientation)

    def unturned(picture: Any) -> Any:
        size = (picture.width, picture.height)
        if picture.orientation >= 5:
            size = size[::-1]
        return fast.fit_array(picture.pixels, picture.scale, size, 1)

    def by_pillow(resampling: Image.Resampling) -> Fit:
        def fit(picture: Any) -> Any:
            upright = picture.upright()
            height, width = fast._resized(picture.width, picture.height)
            resized = torch.from_numpy(np.array(upright.resize((width, height), resampling)))
            return center_crop_or_pad(resized.permute(2, 0, 1), list(fast.size)).permute(1, 2, 0).numpy()

        return fit

    return {
        "right": right,
        "bilinear": by_pillow(Image.Resampling.BILINEAR),
        "Lanczos": by_pillow(Image.Resampling.LANCZOS),
        "box": by_pillow(Image.Resampling.BOX),
        "nearest": by_pillow(Image.Resampling.NEAREST),
        "red and blue swapped": lambda picture: np.ascontiguousarray(right(picture)[:, :, ::-1]),
        "not turned": unturned,
        "another mean": right,
    }


if __name__ == "__main__":
    main()
