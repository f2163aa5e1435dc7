"""What turns pictures and texts into vectors. Arrays go in and come out: no torch outside of this package.

    protocols           what an encoder is to everybody else            (neither torch nor open_clip)
    loading             a spec -> an encoder that is ready
    specs               a model's name, taken apart                    (neither torch nor open_clip)
    hub                 files of the Hugging Face hub and its cache    (neither torch nor open_clip)
    sources             a spec -> config, preprocessing, weights file, tokenizer
    tokens              texts -> token ids, with what was cut off
    fingerprint         which encoder this is, to the last weight
    devices             where and in which precision
    preprocessing       pictures -> pixels, exactly and in a hurry
    lanes               pixels -> vectors on one device
    jpeg_decoding       JPEG -> pixels on a GPU, in batches
    quantised           a model in int8, for CPUs
    open_clip_encoder   the encoder
    laying_out          its text side laid out in the cache, for queries without torch
    text_side           texts -> vectors by what lies there            (neither torch nor open_clip)

Importing this package loads neither torch nor open_clip (6 s); `load_encoder` does.
"""

from mmsearch.encoders.loading import announce_on_stderr, find_text_encoder, load_encoder
from mmsearch.encoders.protocols import (
    DecodesJpeg,
    EncodedImages,
    EncodedTexts,
    Encoder,
    FastPreprocessing,
    JpegDecoder,
    Pixels,
    TextEncoder,
)
from mmsearch.encoders.specs import DEFAULT_MODEL, parse_spec

__all__ = [
    "DEFAULT_MODEL",
    "DecodesJpeg",
    "EncodedImages",
    "EncodedTexts",
    "Encoder",
    "FastPreprocessing",
    "JpegDecoder",
    "Pixels",
    "TextEncoder",
    "announce_on_stderr",
    "find_text_encoder",
    "load_encoder",
    "parse_spec",
]
