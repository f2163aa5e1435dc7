"""Models of transformers that see and write. What they write is the likeliest word after the likeliest word: the same
each time."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mmsearch.describing.describer import MOST_TOKENS, Describer, DescriberRequest, Said, said
from mmsearch.describing.ways_of_asking import DESCRIBE, WayOfAsking, way_of_asking
from mmsearch.encoders.devices import choose_device, describe
from mmsearch.encoders.fingerprint import folder_fingerprint
from mmsearch.encoders.model_folders import CONFIG, ModelName, licence_in, read_settings
from mmsearch.encoders.model_loading import first_words, load_model, load_part, quietly, tensors_in
from mmsearch.errors import EncoderError

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["GREEDY", "TransformersDescriber", "short_identity"]

_AT_ONCE = {"cpu": 4, "cuda": 32, "mps": 8}
_DIGEST = 12
_ADVICE = "It may be a model of the same family that does not write"


class TransformersDescriber(Describer):
    """`Describer` of a model in a folder that was checked. Its weights are loaded when it is first asked; it works for
    one thread at a time, and in halves where the memory of its device does not do."""

    def __init__(self, request: DescriberRequest, name: ModelName, folder: Path) -> None:
        self.spec = request.spec
        self._folder = folder
        self._device = choose_device(request.device)
        self.device = describe(self._device)
        self.licence = licence_in(folder)
        request.announce(f"licence of the weights of {name.spec}: {self.licence or 'not stated'}")
        self._processor = _load_processor(folder, request.spec)
        settings = read_settings(folder / CONFIG[0])
        self._way: WayOfAsking = way_of_asking(settings, self._processor, request.spec)
        self.describes, self.answers = self._way.describes, self._way.question is not None
        self.pictures_at_once = _AT_ONCE[self._device.type]
        self._end_on_the_left()
        weights = sorted(folder.glob("*.safetensors"))
        asked = {"describe": DESCRIBE if self._way.chat else "", "most_tokens": MOST_TOKENS, "by": "describing"}
        self.identity = short_identity(
            f"{name.prefix}:{name.repo or folder.name}", folder_fingerprint(folder, tensors_in(weights), asked)
        )
        self._loaded: Any = None
        self._turn = threading.RLock()

    def describe(self, images: "Sequence[PIL.Image.Image]") -> list[Said]:
        self.require_describes()
        return self._say(None, images)

    def answer(self, question: str, images: "Sequence[PIL.Image.Image]") -> list[Said]:
        self.require_answers()
        return self._say(question, images)

    def _say(self, question: str | None, images: "Sequence[PIL.Image.Image]") -> list[Said]:
        with self._turn:
            written: list[Said] = []
            while len(written) < len(images):
                some = images[len(written) : len(written) + self.pictures_at_once]
                try:
                    written += self._write(question, some)
                    continue
                except torch.OutOfMemoryError as error:
                    if len(some) == 1:
                        raise EncoderError(
                            f"{self.device} has not enough free memory for {self.spec} and one picture"
                        ) from error
                # Outside of the handler, whose exception holds on to the tensors that filled the memory.
                self.pictures_at_once = -(-len(some) // 2)
                if self._device.type == "cuda":
                    torch.cuda.empty_cache()
            return written

    @torch.inference_mode()
    def _write(self, question: str | None, images: "Sequence[PIL.Image.Image]") -> list[Said]:
        model = self._model()
        try:
            with quietly():
                inputs = {
                    name: self._moved(value)
                    for name, value in self._way.inputs(self._processor, question, images).items()
                }
                ids = model.generate(**inputs, **GREEDY)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # whatever a model's own processor thinks of a picture or a text
            raise EncoderError(f"{self.spec} cannot be asked about a picture: {first_words(error)}") from error
        prompt = self._prompt_tokens(inputs, ids)
        words = self._processor.batch_decode(ids[:, prompt:], skip_special_tokens=True)
        return [said(text, cut=self._is_cut(row)) for text, row in zip(words, ids[:, prompt:].tolist(), strict=True)]

    def _prompt_tokens(self, inputs: dict[str, Any], ids: torch.Tensor) -> int:
        """How many of the tokens that `generate` gives are what the model was asked: those that stand before."""
        asked = inputs.get("input_ids")
        if asked is None or asked.shape[1] > ids.shape[1] or not torch.equal(ids[:, : asked.shape[1]], asked):
            return 0
        return int(asked.shape[1])

    def _is_cut(self, row: Sequence[int]) -> bool:
        """Whether a text ends because it may not be longer. The first token may be one that ends texts too."""
        return len(row) >= MOST_TOKENS and not self._ends.intersection(row[1:])

    def _moved(self, value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        floats = value.is_floating_point()
        return value.to(self._device, dtype=self._loaded.dtype if floats else None)

    def _model(self) -> Any:
        if self._loaded is None:
            import transformers

            kind = getattr(transformers, self._way.auto)
            dtype = torch.bfloat16 if self._device.type == "cuda" else torch.float32
            model = load_model(kind, self._folder, self.spec, self._device, advice=_ADVICE, dtype=dtype)
            _make_greedy(model)
            self._ends = _ends_of(model, self._processor)
            self._loaded = model
        return self._loaded

    def _end_on_the_left(self) -> None:
        """Prompts of one batch are padded before their words, so that each goes on where it ends."""
        tokenizer = getattr(self._processor, "tokenizer", None)
        if tokenizer is not None and self._way.question is not None and self._way.auto != "BlipForQuestionAnswering":
            tokenizer.padding_side = "left"


GREEDY: dict[str, Any] = {"do_sample": False, "num_beams": 1, "max_new_tokens": MOST_TOKENS}


def _make_greedy(model: Any) -> None:
    """What a model's own settings say of drawing by lot goes: it would be warned of, and means nothing here."""
    for part in (model, getattr(model, "text_decoder", None), getattr(model, "language_model", None)):
        settings = getattr(part, "generation_config", None)
        if settings is not None:
            for name in ("temperature", "top_p", "top_k", "min_p", "typical_p", "max_length"):
                setattr(settings, name, None)
            settings.do_sample, settings.num_beams = False, 1


def _ends_of(model: Any, processor: Any) -> frozenset[int]:
    """The tokens that end a text."""
    tokenizer = getattr(processor, "tokenizer", processor)
    settings = [getattr(part, "generation_config", None) for part in (model, getattr(model, "language_model", None))]
    said_by = [getattr(each, "eos_token_id", None) for each in settings]
    text = getattr(model.config, "text_config", None)
    said_by += [getattr(text, "sep_token_id", None), tokenizer.eos_token_id, tokenizer.sep_token_id]
    flat = [one for each in said_by for one in (each if isinstance(each, list) else [each])]
    return frozenset(one for one in flat if isinstance(one, int))


class _PicturesAndWords:
    """In the place of a processor, for models that come without one: what prepares pictures, and a tokenizer."""

    def __init__(self, folder: Path, spec: str) -> None:
        self.image_processor = load_part("AutoImageProcessor", folder, f"what prepares the pictures of {spec}")
        self.tokenizer = load_part("AutoTokenizer", folder, f"the tokenizer of {spec}")
        self.batch_decode = self.tokenizer.batch_decode

    def __call__(self, **given: Any) -> Any:
        return self.image_processor(**given)


def _load_processor(folder: Path, spec: str) -> Any:
    """The processor of a model. Raises EncoderError."""
    processor = load_part("AutoProcessor", folder, f"the processor of {spec}")
    if getattr(processor, "tokenizer", None) is None or getattr(processor, "image_processor", None) is None:
        return _PicturesAndWords(folder, spec)
    return processor


def short_identity(name: str, fingerprint: str) -> str:
    """`hf:org/name@0123456789ab` of a fingerprint, "sha256:<hex>"."""
    return f"{name}@{fingerprint.removeprefix('sha256:')[:_DIGEST]}"
