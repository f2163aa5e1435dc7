"""What turns pictures and texts into vectors. Arrays go in and come out: no torch outside of this package.

    opening             the door: a spec -> an encoder that is ready and fits its gallery
    encoder             an identity, and a side for each kind of input
    protocols           what the sides take and give
    providers           who makes encoders: open_clip, transformers, sentence-transformers, and plugins
    plugins             what other packages provide, found by an entry point; re-rankers are found so too
    contract            whether an encoder keeps to what everybody relies on; for the tests of plugins
    specs               a model's name, taken apart
    declared            the encoder of imported vectors
    prompts             sets of templates for texts
    hub                 files of the Hugging Face hub and its cache
    model_folders       models of transformers as folders: what of them is loaded, and what is refused
    sources             a spec -> config, preprocessing, weights file, tokenizer
    text_side           texts -> vectors by what is laid out in the cache
    image_side          images -> vectors likewise
    laid_out            what both have in common
    weight_licences     under which licence the weights of a model stand
    open_clip_provider  open_clip's encoders, without torch where that does
    transformers_provider  those of transformers
    sentence_transformers_provider  those of sentence-transformers
    image_origin        whose image side a model has of which only the text side was trained
    costs               what an encoder costs: parameters, operations, speed
                        (none of those above imports torch, open_clip or transformers)
    open_clip_encoder   both sides of a model of open_clip
    transformers_encoder  both sides of a dual encoder of transformers
    sentence_transformers_encoder  both sides of a model of sentence-transformers that takes pictures
    processor_pixels    pictures as its image processors prepare them, and in a hurry
    model_texts         texts as its tokenizers read them
    torch_images        the image side of a model that torch runs
    tokens              texts -> token ids, with what was cut off
    fingerprint         which encoder this is, to the last weight
    devices             where and in which precision
    preprocessing       pictures -> pixels, exactly and in a hurry
    measuring_costs     counts and times it
    lanes               pixels -> vectors on one device
    jpeg_decoding       JPEG -> pixels on a GPU, in batches
    quantised           a model in int8, for CPUs
    laying_out          a model's sides laid out in the cache, for queries without torch
    text_layout         its text side as `mmsearch.towers` takes it, compared with the model
    image_layout        its image side likewise
    timm_layout         that of the package timm
    torch_parts         what both read of torch's models

Importing this package loads neither torch nor open_clip (6 s); `open` does, where a model has to be run by them. It is
called as `encoders.open(...)` and is the only way to an encoder.
"""

from mmsearch.encoders.encoder import Encoder, EncoderRequest
from mmsearch.encoders.opening import announce_on_stderr
from mmsearch.encoders.opening import open_encoder as open  # noqa: A004 - never used without the package before it
from mmsearch.encoders.protocols import (
    DecodesJpeg,
    EncodedImages,
    EncodedTexts,
    FastPreprocessing,
    HidesPlaces,
    ImageLane,
    ImageSide,
    JpegDecoder,
    Pixels,
    Side,
    TextSide,
)
from mmsearch.encoders.providers import canonical_spec
from mmsearch.encoders.specs import DEFAULT_MODEL

__all__ = [
    "DEFAULT_MODEL",
    "DecodesJpeg",
    "EncodedImages",
    "EncodedTexts",
    "Encoder",
    "EncoderRequest",
    "FastPreprocessing",
    "HidesPlaces",
    "ImageLane",
    "ImageSide",
    "JpegDecoder",
    "Pixels",
    "Side",
    "TextSide",
    "announce_on_stderr",
    "canonical_spec",
    "open",
]
