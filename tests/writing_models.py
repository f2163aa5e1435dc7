"""Tiny models of transformers that see and write, with random weights; and what they write by a loop of their own."""

import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image

__all__ = ["ANSWERING", "DESCRIBING", "Loop", "loop_of", "write_writing_model"]

MOST_TOKENS = 64
_SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
_VISION: dict[str, Any] = {**_SMALL, "image_size": 32, "patch_size": 16}
_WORDS = ("a", "the", "red", "blue", "dog", "cat", "two", "big", "what", "colour", "is", "question", "answer", ":", "?")
Loop = Callable[[str | None, Image.Image], str]
"""(question or None, picture) -> what the model writes of it, by a loop that keeps nothing from word to word."""


def _hf() -> Any:
    import transformers

    return transformers  # whose annotations are incomplete


def _bert_tokenizer() -> Any:
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *_WORDS, *string.ascii_lowercase]
    pieces += [f"##{letter}" for letter in string.ascii_lowercase]
    return _hf().BertTokenizer(vocab={piece: n for n, piece in enumerate(dict.fromkeys(pieces))}, model_max_length=128)


def _byte_tokenizer(*special: str) -> Any:
    """Of OPT's and Llama's kind: letters alone, and an end."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {piece: number for number, piece in enumerate(["<pad>", "<s>", "</s>", *letters])}
    made = Tokenizer(models.BPE(vocab, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    tokenizer = _hf().PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", bos_token="<s>", eos_token="</s>", model_max_length=512
    )
    tokenizer.add_special_tokens({"additional_special_tokens": [*special]})
    return tokenizer


def _images(kind: str) -> Any:
    return getattr(_hf(), kind)(size={"height": 32, "width": 32})


def _blip_config(tokenizer: Any) -> Any:
    text = {**_SMALL, "vocab_size": len(tokenizer), "encoder_hidden_size": 32, "max_position_embeddings": 128}
    text |= {"bos_token_id": tokenizer.cls_token_id, "sep_token_id": tokenizer.sep_token_id}
    text |= {"eos_token_id": tokenizer.sep_token_id, "pad_token_id": tokenizer.pad_token_id}
    return _hf().BlipConfig(text_config=text, vision_config=_VISION, image_text_hidden_size=16)


def _blip() -> tuple[Any, Any]:
    tokenizer = _bert_tokenizer()
    model = _hf().BlipForConditionalGeneration(_blip_config(tokenizer))
    return model, _hf().BlipProcessor(_images("BlipImageProcessor"), tokenizer)


def _blip_vqa() -> tuple[Any, Any]:
    tokenizer = _bert_tokenizer()
    model = _hf().BlipForQuestionAnswering(_blip_config(tokenizer))
    return model, _hf().BlipProcessor(_images("BlipImageProcessor"), tokenizer)


def _blip2() -> tuple[Any, Any]:
    hf = _hf()
    tokenizer = _byte_tokenizer("<image>")
    text = hf.OPTConfig(
        hidden_size=32,
        word_embed_proj_dim=32,
        ffn_dim=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        vocab_size=len(tokenizer),
        max_position_embeddings=256,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    image = tokenizer.convert_tokens_to_ids("<image>")
    config = hf.Blip2Config(
        vision_config=_VISION,
        qformer_config={**_SMALL, "vocab_size": 40, "encoder_hidden_size": 32},
        text_config=text.to_dict(),
        num_query_tokens=3,
        image_token_index=image,
    )
    processor = hf.Blip2Processor(_images("BlipImageProcessor"), tokenizer, num_query_tokens=3)
    return hf.Blip2ForConditionalGeneration(config), processor


def _git() -> tuple[Any, Any]:
    hf = _hf()
    tokenizer = _bert_tokenizer()
    config = hf.GitConfig(
        **_SMALL,
        vision_config={**_VISION, "num_channels": 3},
        vocab_size=len(tokenizer),
        max_position_embeddings=128,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    images = hf.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    return hf.GitForCausalLM(config), hf.GitProcessor(images, tokenizer)


class _Pair:
    """An image processor and a tokenizer that are saved into one folder, as models without a processor come."""

    def __init__(self, images: Any, tokenizer: Any) -> None:
        self.image_processor, self.tokenizer = images, tokenizer

    def save_pretrained(self, folder: Path) -> None:
        self.image_processor.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


def _vision_encoder_decoder() -> tuple[Any, Any]:
    hf = _hf()
    tokenizer = _byte_tokenizer()
    vision = hf.ViTConfig(**_VISION)
    text = hf.GPT2Config(
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=128,
        vocab_size=len(tokenizer),
        add_cross_attention=True,
        is_decoder=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    config = hf.VisionEncoderDecoderConfig.from_encoder_decoder_configs(vision, text)
    config.decoder_start_token_id = tokenizer.bos_token_id
    config.pad_token_id, config.eos_token_id = tokenizer.pad_token_id, tokenizer.eos_token_id
    model = hf.VisionEncoderDecoderModel(config)
    model.generation_config.decoder_start_token_id = tokenizer.bos_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model, _Pair(_images("ViTImageProcessor"), tokenizer)


_CHAT = (
    "{% for message in messages %}{{ message.role }}: {% for part in message.content %}"
    "{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}{% endfor %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


def _llava() -> tuple[Any, Any]:
    hf = _hf()
    tokenizer = _byte_tokenizer("<image>")
    text = hf.LlamaConfig(
        **_SMALL,
        num_key_value_heads=2,
        vocab_size=len(tokenizer),
        max_position_embeddings=512,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    config = hf.LlavaConfig(
        vision_config=hf.CLIPVisionConfig(**_VISION),
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
    )
    images = hf.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    processor = hf.LlavaProcessor(
        images,
        tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        chat_template=_CHAT,
        num_additional_image_tokens=1,
    )
    model = hf.LlavaForConditionalGeneration(config)
    # What the authors of such models ship: drawing by lot is never done here.
    model.generation_config.do_sample, model.generation_config.temperature = True, 0.2
    return model, processor


_MAKERS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "BLIP": _blip,
    "BLIP that answers": _blip_vqa,
    "BLIP-2": _blip2,
    "GIT": _git,
    "ViT and GPT-2": _vision_encoder_decoder,
    "LLaVA": _llava,
}
DESCRIBING = [kind for kind in _MAKERS if kind != "BLIP that answers"]
ANSWERING = ["BLIP that answers", "BLIP-2", "LLaVA"]


def write_writing_model(folder: Path, kind: str) -> Path:
    """Write a model: weights, processor, tokenizer, a card. Returns folder."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model, processor = _MAKERS[kind]()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:  # so large that pictures and words make a difference
                    parameter.normal_(0, 0.4)
            if "<image>" in processor.tokenizer.get_vocab():  # it stands for a picture, and is never written
                model.get_output_embeddings().weight[processor.tokenizer.convert_tokens_to_ids("<image>")] = 0
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: bsd-3-clause\n---\n# Random weights\n")
    return folder


# --- the same, written again ------------------------------------------------------------------------------------------


def loop_of(folder: Path, kind: str) -> Loop:
    """A model of a folder, asked about one picture at a time by a loop that computes everything anew for each word."""
    return _LOOPS[kind](folder)


def _write(logits_of: Callable[[torch.Tensor], torch.Tensor], start: list[int], ends: set[int]) -> list[int]:
    """Tokens behind `start`, each the likeliest, up to and without the first that ends."""
    ids = torch.tensor([start])
    while len(ids[0]) - len(start) < MOST_TOKENS:
        word = int(logits_of(ids)[0, -1].argmax())
        if word in ends:
            return ids[0, len(start) :].tolist()
        ids = torch.cat([ids, torch.tensor([[word]])], dim=1)
    return [*ids[0, len(start) :].tolist(), -1]  # it had not ended


def _words(tokenizer: Any, ids: list[int]) -> str:
    cut = ids[-1:] == [-1]
    text = tokenizer.decode(ids[:-1] if cut else ids, skip_special_tokens=True)
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    return f"{line}…" if cut and line else line


def _pixels(folder: Path, kind: str, image: Image.Image) -> torch.Tensor:
    made: torch.Tensor = getattr(_hf(), kind).from_pretrained(folder)(image, return_tensors="pt")["pixel_values"]
    return made


def _blip_loop(folder: Path) -> Loop:
    model = _hf().BlipForConditionalGeneration.from_pretrained(folder).eval()
    tokenizer = _hf().BertTokenizer.from_pretrained(folder)

    @torch.no_grad()
    def ask(question: str | None, image: Image.Image) -> str:
        seen = model.vision_model(_pixels(folder, "BlipImageProcessor", image)).last_hidden_state
        return _words(
            tokenizer,
            _write(
                lambda ids: model.text_decoder(input_ids=ids, encoder_hidden_states=seen, use_cache=False).logits,
                [tokenizer.cls_token_id],
                {tokenizer.sep_token_id},
            ),
        )

    return ask


def _blip_vqa_loop(folder: Path) -> Loop:
    model = _hf().BlipForQuestionAnswering.from_pretrained(folder).eval()
    tokenizer = _hf().BertTokenizer.from_pretrained(folder)

    @torch.no_grad()
    def ask(question: str | None, image: Image.Image) -> str:
        seen = model.vision_model(_pixels(folder, "BlipImageProcessor", image)).last_hidden_state
        asked = torch.tensor([tokenizer(question)["input_ids"]])
        read = model.text_encoder(input_ids=asked, encoder_hidden_states=seen).last_hidden_state
        return _words(
            tokenizer,
            _write(
                lambda ids: model.text_decoder(input_ids=ids, encoder_hidden_states=read, use_cache=False).logits,
                [tokenizer.cls_token_id],
                {tokenizer.sep_token_id},
            ),
        )

    return ask


def _blip2_loop(folder: Path) -> Loop:
    model = _hf().Blip2ForConditionalGeneration.from_pretrained(folder).eval()
    tokenizer = _hf().AutoTokenizer.from_pretrained(folder)

    @torch.no_grad()
    def ask(question: str | None, image: Image.Image) -> str:
        seen = model.vision_model(_pixels(folder, "BlipImageProcessor", image)).last_hidden_state
        looked = model.qformer(query_embeds=model.query_tokens, encoder_hidden_states=seen).last_hidden_state
        first = model.language_projection(looked)
        if question is None:
            start = [tokenizer.bos_token_id]
        else:
            start = tokenizer(f"Question: {question} Answer:")["input_ids"]
        embed = model.language_model.get_input_embeddings()
        return _words(
            tokenizer,
            _write(
                lambda ids: model.language_model(inputs_embeds=torch.cat([first, embed(ids)], dim=1)).logits,
                start,
                {tokenizer.eos_token_id},
            ),
        )

    return ask


def _git_loop(folder: Path) -> Loop:
    model = _hf().GitForCausalLM.from_pretrained(folder).eval()
    tokenizer = _hf().BertTokenizer.from_pretrained(folder)

    @torch.no_grad()
    def ask(question: str | None, image: Image.Image) -> str:
        pixels = _pixels(folder, "CLIPImageProcessor", image)
        return _words(
            tokenizer,
            _write(
                lambda ids: model(input_ids=ids, pixel_values=pixels, use_cache=False).logits,
                [tokenizer.cls_token_id],
                {tokenizer.sep_token_id},
            ),
        )

    return ask


def _vision_encoder_decoder_loop(folder: Path) -> Loop:
    model = _hf().VisionEncoderDecoderModel.from_pretrained(folder).eval()
    tokenizer = _hf().AutoTokenizer.from_pretrained(folder)

    @torch.no_grad()
    def ask(question: str | None, image: Image.Image) -> str:
        pixels = _pixels(folder, "ViTImageProcessor", image)
        return _words(
            tokenizer,
            _write(
                lambda ids: model(pixel_values=pixels, decoder_input_ids=ids, use_cache=False).logits,
                [tokenizer.bos_token_id],
                {tokenizer.eos_token_id},
            ),
        )

    return ask


def _llava_loop(folder: Path) -> Loop:
    model = _hf().LlavaForConditionalGeneration.from_pretrained(folder).eval()
    tokenizer = _hf().AutoTokenizer.from_pretrained(folder)

    @torch.no_grad()
    def ask(question: str | None, image: Image.Image) -> str:
        pixels = _pixels(folder, "CLIPImageProcessor", image)
        words = question or "Describe this picture in one sentence."
        # The picture stands first, as four patches; the template is that of `_CHAT`, by hand.
        start = tokenizer(f"user: {'<image>' * 4}{words}\nassistant:")["input_ids"]
        return _words(
            tokenizer,
            _write(
                lambda ids: model(input_ids=ids, pixel_values=pixels, use_cache=False).logits,
                start,
                {tokenizer.eos_token_id},
            ),
        )

    return ask


_LOOPS: dict[str, Callable[[Path], Loop]] = {
    "BLIP": _blip_loop,
    "BLIP that answers": _blip_vqa_loop,
    "BLIP-2": _blip2_loop,
    "GIT": _git_loop,
    "ViT and GPT-2": _vision_encoder_decoder_loop,
    "LLaVA": _llava_loop,
}
