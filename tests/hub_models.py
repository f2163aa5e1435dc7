"""Writers of tiny models of transformers and sentence-transformers with random weights, as the packages save them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

__all__ = ["DUAL_ENCODERS", "clip_tokenizer", "write_card", "write_dual_encoder", "write_seeing_model"]

_WORDS = (
    *("a", "red", "bicycle", "leans", "against", "wall", "two", "dogs", "noodles", "in", "bowl", "seen", "from"),
    *("above", "rain", "walk", "long", "through", "the"),
)
_VISION: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}
_TEXT: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


def write_dual_encoder(folder: Path, kind: str, *, seed: int = 0, **settings: Any) -> Path:
    """Write a model of one of `DUAL_ENCODERS`: weights, processor, tokenizer. settings: laid over its config.

    Returns folder.
    """
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model, processor = DUAL_ENCODERS[kind](**settings)
        with torch.no_grad():
            for name, weights in model.named_parameters():
                # Large enough that different inputs get clearly different vectors.
                if weights.ndim > 1:
                    weights.normal_(std=weights.shape[-1] ** -0.5 if "embed" not in name else 0.5)
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
    return folder


def written_once(write: Callable[[Path, str], Path], into: Path) -> Callable[[str], Path]:
    """Where a tiny model of a kind lies, which is written when it is first asked for."""
    written: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in written:
            written[kind] = write(into / str(len(written)), kind)
        return written[kind]

    return folder


def pictures() -> list[Image.Image]:
    """Of every shape: wide, high, nearly square, smaller than the models take."""
    small = np.random.default_rng(3).integers(0, 256, (4, 7, 9, 3), dtype=np.uint8)
    sizes = ((320, 240), (90, 261), (33, 32), (20, 24))
    return [Image.fromarray(one).resize(size, Image.Resampling.BICUBIC) for one, size in zip(small, sizes, strict=True)]


def write_card(folder: Path, licence: str) -> None:
    (folder / "README.md").write_text(f"---\nlicense: {licence}\n---\n# Random weights\n")


def _transformers() -> Any:
    import transformers

    return transformers  # whose annotations are incomplete


# --- tokenizers -------------------------------------------------------------------------------------------------------


def clip_tokenizer() -> Any:
    """One of CLIP's kind that knows letters alone."""
    from tokenizers.pre_tokenizers import ByteLevel

    hf = _transformers()
    letters = sorted(ByteLevel.alphabet())
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return hf.CLIPTokenizer(
        vocab={piece: number for number, piece in enumerate(pieces)}, merges=[], model_max_length=77
    )


def bert_tokenizer() -> Any:
    hf = _transformers()
    letters = "abcdefghijklmnopqrstuvwxyz,.0123456789"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *_WORDS, *letters, *(f"##{letter}" for letter in letters)]
    vocab = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    return hf.BertTokenizer(vocab=vocab, model_max_length=64)


def _roberta_tokenizer() -> Any:
    hf = _transformers()
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁", *"abcdefghijklmnopqrstuvwxyz,.", *(f"▁{word}" for word in _WORDS)]
    vocab = [(piece, -float(number)) for number, piece in enumerate(dict.fromkeys(pieces))]
    return hf.XLMRobertaTokenizer(vocab=vocab, model_max_length=64)


def _letters_tokenizer() -> Any:
    """In the place of those that need the package sentencepiece to be made."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    hf = _transformers()
    pieces = ["<pad>", "<eos>", "<unk>", "▁", *"abcdefghijklmnopqrstuvwxyz,."]
    made = Tokenizer(models.BPE({piece: number for number, piece in enumerate(pieces)}, [], unk_token="<unk>"))
    made.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(" ", "▁")])
    made.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    made.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
        model_input_names=["input_ids"],
        padding_side="right",
    )


# --- models -----------------------------------------------------------------------------------------------------------


def _clip(**settings: Any) -> tuple[Any, Any]:
    hf = _transformers()
    tokenizer = clip_tokenizer()
    text = {**_TEXT, "vocab_size": len(tokenizer), "bos_token_id": tokenizer.bos_token_id}
    text |= {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = hf.CLIPConfig(text_config=text, vision_config=_VISION, projection_dim=24, **settings)
    images = hf.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    return hf.CLIPModel(config), hf.CLIPProcessor(images, tokenizer)


def _metaclip_2(**settings: Any) -> tuple[Any, Any]:
    hf = _transformers()
    tokenizer = _roberta_tokenizer()
    text = {
        **_TEXT,
        "vocab_size": len(tokenizer),
        "eos_token_id": tokenizer.eos_token_id,
        "max_position_embeddings": 77,
    }
    config = hf.MetaClip2Config(text_config=text, vision_config=_VISION, projection_dim=24, **settings)
    images = hf.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    return hf.MetaClip2Model(config), hf.CLIPProcessor(images, tokenizer)


def _siglip(**settings: Any) -> tuple[Any, Any]:
    hf = _transformers()
    tokenizer = _letters_tokenizer()
    text = {**_TEXT, "vocab_size": len(tokenizer), "max_position_embeddings": 64, "projection_size": 32}
    text |= {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id}
    config = hf.SiglipConfig(text_config=text, vision_config=_VISION, **settings)
    images = hf.SiglipImageProcessor(size={"height": 32, "width": 32})
    return hf.SiglipModel(config), hf.SiglipProcessor(images, tokenizer)


def _siglip2(**settings: Any) -> tuple[Any, Any]:
    hf = _transformers()
    tokenizer = _letters_tokenizer()
    text = {**_TEXT, "vocab_size": len(tokenizer), "max_position_embeddings": 64, "projection_size": 32}
    text |= {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id}
    vision = {key: value for key, value in _VISION.items() if key != "image_size"}
    config = hf.Siglip2Config(
        text_config=text, vision_config={**vision, "patch_size": 16, "num_patches": 16}, **settings
    )
    return hf.Siglip2Model(config), hf.Siglip2Processor(
        hf.Siglip2ImageProcessor(patch_size=16, max_num_patches=16), tokenizer
    )


def _align(**settings: Any) -> tuple[Any, Any]:
    hf = _transformers()
    tokenizer = bert_tokenizer()
    blocks = {"kernel_sizes": [3, 3], "strides": [1, 2], "expand_ratios": [1, 2], "num_block_repeats": [1, 1]}
    sizes = {"image_size": 32, "in_channels": [32, 16], "out_channels": [16, 24], "hidden_dim": 32}
    vision = {**blocks, **sizes, "depthwise_padding": [], "depth_coefficient": 1.0, "width_coefficient": 1.0}
    text = {**_TEXT, "vocab_size": len(tokenizer), "max_position_embeddings": 64}
    config = hf.AlignConfig(text_config=text, vision_config=vision, projection_dim=24, **settings)
    images = hf.EfficientNetImageProcessor(
        size={"height": 40, "width": 40},
        crop_size={"height": 32, "width": 32},
        do_center_crop=True,
        rescale_factor=1 / 127.5,
        rescale_offset=True,
        do_normalize=False,
        include_top=False,
    )
    return hf.AlignModel(config), hf.AlignProcessor(images, tokenizer)


def _altclip(**settings: Any) -> tuple[Any, Any]:
    hf = _transformers()
    tokenizer = _roberta_tokenizer()
    text = {**_TEXT, "vocab_size": len(tokenizer), "max_position_embeddings": 66, "project_dim": 32}
    config = hf.AltCLIPConfig(text_config=text, vision_config=_VISION, projection_dim=24, **settings)
    images = hf.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    return hf.AltCLIPModel(config), hf.AltCLIPProcessor(images, tokenizer)


def _chinese_clip(**settings: Any) -> tuple[Any, Any]:
    hf = _transformers()
    tokenizer = bert_tokenizer()
    text = {**_TEXT, "vocab_size": len(tokenizer), "max_position_embeddings": 64}
    config = hf.ChineseCLIPConfig(text_config=text, vision_config=_VISION, projection_dim=24, **settings)
    images = hf.ChineseCLIPImageProcessor(size={"height": 32, "width": 32}, do_center_crop=False)
    return hf.ChineseCLIPModel(config), hf.ChineseCLIPProcessor(images, tokenizer)


DUAL_ENCODERS: dict[str, Callable[..., tuple[Any, Any]]] = {
    "CLIP": _clip,
    "SigLIP": _siglip,
    "SigLIP2": _siglip2,
    "ALIGN": _align,
    "AltCLIP": _altclip,
    "Chinese-CLIP": _chinese_clip,
    "MetaCLIP 2": _metaclip_2,
}
"""The dual encoders that are tried: name -> its model and processor."""


# --- models of sentence-transformers ----------------------------------------------------------------------------------


def write_seeing_model(folder: Path, kind: str, *, seed: int = 0) -> Path:
    """Write a model of sentence-transformers that takes pictures, as the package saves it. Returns folder.

    kind: "CLIP", with a layer of its own behind it; "Qwen3-VL", as those embedding models have it: what the model says
    of its last token; "BERT", which takes texts alone.
    """
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        inner = folder.with_name(f"{folder.name}-inner")
        write_dual_encoder(inner, kind, seed=seed) if kind == "CLIP" else _write_text_model(inner, kind)
        first: Any = Transformer(str(inner))
        made: Any = {"Dense": Dense, "Pooling": Pooling, "Normalize": Normalize}  # whose annotations are incomplete
        rest: list[Any] = {
            "CLIP": lambda: [made["Dense"](24, 16, module_input_name="sentence_embedding")],
            "Qwen3-VL": lambda: [made["Pooling"](32, pooling_mode="lasttoken"), made["Normalize"]()],
            "BERT": lambda: [made["Pooling"](32)],
        }[kind]()
        SentenceTransformer(modules=[first, *rest], device="cpu").save_pretrained(str(folder))
    return folder


_CHAT = (
    "{%- for message in messages -%}<|im_start|>{{ message.role }} {% if message.content is string %}"
    "{{ message.content }}{% else %}{%- for content in message.content -%}{%- if content.type == 'image' -%}"
    "<|vision_start|><|image_pad|><|vision_end|>{%- elif content.type == 'text' -%}{{ content.text }}{%- endif -%}"
    "{%- endfor -%}{% endif %}<|im_end|>{% endfor -%}"
)


def _write_text_model(folder: Path, kind: str) -> None:
    hf = _transformers()
    if kind == "BERT":
        tokenizer = bert_tokenizer()
        hf.BertModel(hf.BertConfig(**_TEXT, vocab_size=len(tokenizer))).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return
    from tokenizers.pre_tokenizers import ByteLevel

    end, pad = "<|im_end|>", "<|endoftext|>"
    vocab = {letter: number for number, letter in enumerate(sorted(ByteLevel.alphabet()))}
    tokenizer = hf.Qwen2Tokenizer(
        vocab=vocab,
        merges=[],
        pad_token=pad,
        eos_token=end,
        unk_token=pad,
        padding_side="left",
        model_max_length=256,
    )
    special = [pad, "<|im_start|>", end, "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": special})
    number = tokenizer.convert_tokens_to_ids
    text = {
        **_TEXT,
        "vocab_size": len(tokenizer),
        "num_key_value_heads": 2,
        "head_dim": 16,
        "pad_token_id": number(pad),
    }
    text["rope_scaling"] = {"rope_type": "default", "mrope_section": [4, 2, 2], "mrope_interleaved": True}
    vision: dict[str, Any] = {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "patch_size": 8}
    vision |= {"out_hidden_size": 32, "num_position_embeddings": 64, "deepstack_visual_indexes": [0]}
    tokens = {
        f"{name}_token_id": number(f"<|{name}_pad|>" if name in ("image", "video") else f"<|{name}|>")
        for name in ("image", "video", "vision_start", "vision_end")
    }
    model = hf.Qwen3VLForConditionalGeneration(hf.Qwen3VLConfig(text_config=text, vision_config=vision, **tokens))
    model.save_pretrained(folder)
    pixels = {"shortest_edge": 4 * 16 * 16, "longest_edge": 16 * 16 * 16}
    images = hf.Qwen2VLImageProcessor(patch_size=8, merge_size=2, size=pixels)
    videos = hf.Qwen3VLVideoProcessor(patch_size=8)
    hf.Qwen3VLProcessor(images, tokenizer, videos, chat_template=_CHAT).save_pretrained(folder)
