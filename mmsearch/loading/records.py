"""What is loaded, and how."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch import images
from mmsearch.content_hashes import DEFAULT_HASH
from mmsearch.encoders import JpegDecoder, Pixels
from mmsearch.errors import ImageError
from mmsearch.sources import SourceFile

__all__ = ["DECODE_SECONDS", "NVJPEG", "DecodeGroup", "GpuDecoding", "LoadOptions", "LoadSeconds", "LoadedFile"]

# Pictures under the pixel limit take seconds, on a busy machine some more; a decoder that needs minutes hangs.
DECODE_SECONDS = 120.0
NVJPEG = "nvjpeg"
"""The route of what a GPU decodes and resizes."""


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How files become pixels.

    max_pixels: larger images are skipped before they are decoded. exact: by Pillow and open_clip's own transform alone.
    benchmark: likewise, and opened as the published benchmarks do, without EXIF orientation.
    seconds: how long one file may take. hash_name: see `content_hasher`. places: read where pictures were taken.
    """

    max_pixels: int = images.MAX_PIXELS
    exact: bool = False
    benchmark: bool = False
    seconds: float = DECODE_SECONDS
    hash_name: str = DEFAULT_HASH
    places: bool = False


@dataclass(frozen=True, slots=True, order=True)
class DecodeGroup:
    """Images that are decoded alike: how well the fast way to pixels agrees with the exact one is measured by group.

    Attributes:
        format: Pillow's name.
        orientation: EXIF, 1 to 8.
        route: "turbo", "turbo/2", "turbo/4", "turbo/8" (libjpeg-turbo, at that fraction of the size), "nvjpeg" (a GPU),
            or "pillow".
    """

    format: str
    orientation: int
    route: str


@dataclass(frozen=True, slots=True)
class LoadSeconds:
    """Where a file's time went. exact: loading it by the exact route, where that was asked for beside the fast one."""

    read: float = 0.0
    decode: float = 0.0
    resize: float = 0.0
    exact: float = 0.0


@dataclass(frozen=True, slots=True)
class LoadedFile:
    """One file that was read.

    Attributes:
        file: its state when it was read (size and mtime may be newer than the walk's).
        content_hash: 16 bytes, see `mmsearch.content_hashes`.
        columns: those columns of its row that its content gives; of a picture width, height, damaged and what
            `PhotoFacts` says.
        pixels: preprocessed: (H, W, 3) uint8, or by the exact route (3, H, W) float32; None where the content is known
            already, and with an error.
        group: None where `pixels` is None, and by the exact route.
        reference: the pixels by the exact route, where they were asked for; (3, H, W) float32.
        pixel_error: how far `pixels` are from `reference`, see `FastPreprocessing.error`.
        error: why the file holds no picture, or could not be read.
        seconds: where its time went.
        text: what is encoded of an item of the text side; None for pictures.
    """

    file: SourceFile
    content_hash: bytes = b""
    columns: Mapping[str, Any] = field(default_factory=dict)
    pixels: Pixels | None = field(default=None, repr=False)
    group: DecodeGroup | None = None
    reference: NDArray[np.float32] | None = field(default=None, repr=False)
    pixel_error: float = 0.0
    error: ImageError | None = None
    seconds: LoadSeconds = LoadSeconds()
    text: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class GpuDecoding:
    """A GPU that decodes beside the cores.

    Attributes:
        decoder: the GPU's.
        is_trusted: whether the GPU may decode the pictures of a group; where not, the cores do.
        takes_all: the GPU is given every picture that it takes, not only those that come while all cores are decoding.
        threads: how many threads wait for it.
    """

    decoder: JpegDecoder
    is_trusted: Callable[[DecodeGroup], bool]
    takes_all: bool
    threads: int
