"""From files to pixels: read, hashed and decoded in parallel, in order, a bounded number ahead of whoever consumes.

image_loader, text_loader  many files, in their order
in_order      by threads, each within its time
reading       the bytes of a file as it stood           columns      what a picture says of itself
preparing     its bytes to pixels, fast and exact       records      what is loaded, and how
"""

from mmsearch.loading.columns import read_header_columns
from mmsearch.loading.image_loader import load
from mmsearch.loading.preparing import (
    MARGIN,
    FastAndExact,
    apply_transform,
    decode_to_ask,
    least_raw_side,
    load_fast_and_exact,
    load_pixels,
)
from mmsearch.loading.records import (
    DECODE_SECONDS,
    NVJPEG,
    DecodeGroup,
    GpuDecoding,
    LoadedFile,
    LoadOptions,
    LoadSeconds,
)
from mmsearch.loading.text_loader import load_texts

__all__ = [
    "DECODE_SECONDS",
    "MARGIN",
    "NVJPEG",
    "DecodeGroup",
    "FastAndExact",
    "GpuDecoding",
    "LoadOptions",
    "LoadSeconds",
    "LoadedFile",
    "apply_transform",
    "decode_to_ask",
    "least_raw_side",
    "load",
    "load_fast_and_exact",
    "load_pixels",
    "load_texts",
    "read_header_columns",
]
