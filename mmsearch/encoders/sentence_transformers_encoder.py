"""Both sides of a model of sentence-transformers that takes pictures: a dual encoder, or a language model that sees."""

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmsearch.encoders.devices import Precision, choose_device, describe
from mmsearch.encoders.encoder import Encoder, EncoderRequest
from mmsearch.encoders.fingerprint import folder_fingerprint
from mmsearch.encoders.lanes import Lane
from mmsearch.encoders.model_folders import no_downloads, read_settings
from mmsearch.encoders.model_loading import quietly
from mmsearch.encoders.processor_pixels import SquarePictures, sample_picture, square_pictures_of
from mmsearch.encoders.protocols import EncodedTexts
from mmsearch.encoders.torch_images import TorchImages
from mmsearch.encoders.transformers_encoder import precision_for
from mmsearch.errors import EncoderError
from mmsearch.identity import EncoderIdentity

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["load"]

_MODULES = ("Transformer", "CLIPModel", "Pooling", "Normalize", "Dense", "LayerNorm", "Dropout")
"""Modules of the package that read settings and tensors, and nothing else."""
_TEXT_BATCH = {"cpu": 32, "cuda": 256, "mps": 32}


def load(request: EncoderRequest, spec: str, folder: Path) -> Encoder:
    """A model from a folder that was checked, in evaluation mode. spec: canonical. Raises EncoderError."""
    where = choose_device(request.device)
    how = precision_for(request.precision, where, folder)
    _require_known_modules(folder, spec)
    with no_downloads(), quietly():
        model = _load_model(folder, spec)
        seer = SeeingModel(model, spec)
        dim = _dim(seer, spec)
    further = {"prompt": seer.prompt, "by": "sentence-transformers"}
    identity = EncoderIdentity(spec, folder_fingerprint(folder, model.state_dict().items(), further), dim)
    seer = seer.to(where)
    pictures = seer.pictures
    sides = {
        "image": TorchImages(
            *(seer, pictures.prepare, pictures.fast, identity, where, how),
            tower=None,
            stack=None if isinstance(pictures, SquarePictures) else pictures.stack,
        ),
        "text": SentenceTransformersTexts(seer, identity, where, how),
    }
    return Encoder(identity, sides, device=describe(where), precision=how)


class SeeingModel(torch.nn.Module):
    """A model of sentence-transformers as the sides take it.

    Attributes:
        pictures: how pictures are prepared.
        prompt: what the model puts before each text unless told otherwise; mostly nothing.
    """

    def __init__(self, model: Any, spec: str) -> None:
        super().__init__()
        self.model = model
        self.prompt: str | None = model._resolve_prompt(None, None)
        # The tokenizers of the hub are not made for several threads.
        self._preprocessor = _Preprocessor(model, self.prompt)
        self._image_constants = self._preprocessor.constants([sample_picture((64, 48))])
        self._text_constants = self._preprocessor.constants(["a"])
        self.text_names = tuple(self._preprocessor.tensors(["a"]))
        self.pictures: SquarePictures | PackedPictures = self._pictures(spec)

    def _pictures(self, spec: str) -> "SquarePictures | PackedPictures":
        sample = sample_picture((301, 200))
        made = self._preprocessor.tensors([sample])
        if set(made) == {"pixel_values"} and made["pixel_values"].ndim == 4:
            square = square_pictures_of(self.model.processor)
            # A model may have settings of its own for its processor.
            if square is not None and np.array_equal(square.prepare(sample), made["pixel_values"][0].numpy()):
                return square
        return PackedPictures(self._preprocessor, tuple(made), spec)

    def encode_image(self, prepared: torch.Tensor) -> torch.Tensor:
        """(n, 3, H, W), as the pictures were prepared -> (n, dim)."""
        inputs = self.pictures.inputs(prepared)
        several = inputs if isinstance(inputs, list) else [inputs]
        return torch.cat([self._vectors({**each, **self._image_constants}) for each in several])

    def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        """(n, names, length) -> (n, dim)."""
        named = dict(zip(self.text_names, tokens.unbind(dim=1), strict=True))
        return self._vectors({**named, **self._text_constants})

    def _vectors(self, features: dict[str, Any]) -> torch.Tensor:
        return torch.as_tensor(self.model(features)["sentence_embedding"])

    def read(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Texts -> tokens (n, names, length), and which were cut off."""
        made = self._preprocessor.tensors(texts)
        lengths = made["attention_mask"].sum(dim=1).numpy()
        truncated = np.zeros(len(texts), dtype=np.bool_)
        limit = self.model.max_seq_length
        full = np.flatnonzero(lengths >= limit) if limit else np.array([], dtype=np.int64)
        if len(full):
            whole = self._preprocessor.tensors([texts[row] for row in full], truncation=False)
            truncated[full] = whole["attention_mask"].sum(dim=1).numpy() > lengths[full]
        return torch.stack([made[name] for name in self.text_names], dim=1).numpy(), truncated


class SentenceTransformersTexts:
    """The text side. Implements `mmsearch.encoders.TextSide`."""

    def __init__(
        self, model: SeeingModel, identity: EncoderIdentity, device: torch.device, precision: Precision
    ) -> None:
        self._model, self._identity, self._size = model, identity, _TEXT_BATCH[device.type]
        self._lane = Lane(model.encode_image, device, precision, None, identity.spec)

    def encode(self, texts: Sequence[str]) -> EncodedTexts:
        """In batches of similar length."""
        vectors = np.empty((len(texts), self._identity.dim), dtype=np.float32)
        truncated = np.empty(len(texts), dtype=np.bool_)
        clean = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        order = np.argsort([len(text) for text in clean], kind="stable")
        for first in range(0, len(order), self._size):
            rows = order[first : first + self._size]
            tokens, truncated[rows] = self._model.read([clean[row] for row in rows])
            vectors[rows] = self._lane.run(torch.from_numpy(tokens), self._model.encode_text)
        return EncodedTexts(vectors, truncated)


class PackedPictures:
    """Pictures that become patches and tokens, of each as many as its size needs: packed, since a side takes arrays.

    (3, 1, n): a header of each tensor's shape, then their numbers; those of tokens are exact as float32 up to 16
    million. names: of these tensors.
    """

    fast = None

    def __init__(self, preprocessor: "_Preprocessor", names: tuple[str, ...], spec: str) -> None:
        self._preprocessor, self._names, self._spec = preprocessor, names, spec
        self._header = len(names) * _SLOTS
        self._types = {name: tensor.dtype for name, tensor in preprocessor.tensors([sample_picture((64, 48))]).items()}
        self._padding, self._pads_left = preprocessor.padding()

    def prepare(self, image: "PIL.Image.Image") -> NDArray[np.float32]:
        """An upright RGB image -> (3, 1, n), where n is the picture's own. Raises ValueError for one that the model
        does not take."""
        made = self._preprocessor.tensors([image])
        if tuple(made) != self._names:
            raise ValueError(f"{self._spec} makes {', '.join(made)} of it, and {', '.join(self._names)} of others")
        header = np.zeros((len(self._names), _SLOTS), dtype=np.float32)
        for row, tensor in zip(header, made.values(), strict=True):
            row[: tensor.ndim + 1] = (tensor.ndim, *tensor.shape)
        flat = np.concatenate([header.ravel(), *(tensor.float().numpy().ravel() for tensor in made.values())])
        packed = np.zeros(-(-len(flat) // 3) * 3, dtype=np.float32)
        packed[: len(flat)] = flat
        return packed.reshape(3, 1, -1)

    def stack(self, prepared: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Some of what `prepare` gives -> (n, 3, 1, longest)."""
        longest = max(each.size for each in prepared) // 3
        stacked = np.zeros((len(prepared), 3 * longest), dtype=np.float32)
        for row, each in zip(stacked, prepared, strict=True):
            row[: each.size] = each.ravel()
        return stacked.reshape(len(prepared), 3, 1, longest)

    def inputs(self, packed: torch.Tensor) -> list[dict[str, torch.Tensor]]:
        """What `stack` gives -> what the model takes, in one or several batches."""
        flat = packed.reshape(len(packed), -1)
        headers = flat[:, : self._header].cpu().numpy().astype(np.int64).reshape(len(packed), len(self._names), _SLOTS)
        items = [self._unpacked(row, header) for row, header in zip(flat, headers, strict=True)]
        shapes = {
            tuple(tensor.shape[1:] for name, tensor in item.items() if not _is_token(name, item)) for item in items
        }
        return [self._together(items)] if len(shapes) == 1 else items

    def _unpacked(self, row: torch.Tensor, header: NDArray[np.int64]) -> dict[str, torch.Tensor]:
        item, start = {}, self._header
        for name, (ndim, *shape) in zip(self._names, header.tolist(), strict=True):
            size = int(np.prod(shape[:ndim]))
            item[name] = row[start : start + size].reshape(shape[:ndim]).to(self._types[name])
            start += size
        return item

    def _together(self, items: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        """One batch: tokens are filled up to the longest, all else stands one after the other."""
        batch = {}
        for name in self._names:
            tensors = [item[name] for item in items]
            if _is_token(name, items[0]):
                longest, filling = max(each.shape[1] for each in tensors), self._padding.get(name, 0)
                borders = [(longest - each.shape[1], 0)[:: 1 if self._pads_left else -1] for each in tensors]
                tensors = [
                    torch.nn.functional.pad(each, border, value=filling)
                    for each, border in zip(tensors, borders, strict=True)
                ]
            batch[name] = torch.cat(tensors)
        return batch


_SLOTS = 7  # of the header for each tensor: how many axes, and at most six lengths


class _Preprocessor:
    """What a model makes of texts and pictures, for one thread at a time: tokenizers of the hub take no more."""

    def __init__(self, model: Any, prompt: str | None) -> None:
        self._model, self._prompt = model, prompt
        self._one_at_a_time = threading.Lock()

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Preprocessor":
        return self  # of a model that is copied to another GPU: it computes nothing there

    def tensors(self, inputs: Sequence[Any], *, truncation: bool = True) -> dict[str, torch.Tensor]:
        made = self._features(
            inputs, {} if truncation else {"processing_kwargs": {"text": {"truncation": False, "verbose": False}}}
        )
        return {name: value for name, value in made.items() if isinstance(value, torch.Tensor)}

    def constants(self, inputs: Sequence[Any]) -> dict[str, Any]:
        """What is no tensor, which says what kind of input it is."""
        return {
            name: value for name, value in self._features(inputs, {}).items() if not isinstance(value, torch.Tensor)
        }

    def padding(self) -> tuple[Mapping[str, int], bool]:
        """What tokens are filled up with, and whether on the left."""
        tokenizer = self._model.tokenizer
        return {"input_ids": tokenizer.pad_token_id or 0}, tokenizer.padding_side == "left"

    def _features(self, inputs: Sequence[Any], further: dict[str, Any]) -> dict[str, Any]:
        with self._one_at_a_time:
            return dict(self._model.preprocess(list(inputs), prompt=self._prompt, **further))


def _is_token(name: str, item: Mapping[str, torch.Tensor]) -> bool:
    """Whether a tensor has a number for each token."""
    return "input_ids" in item and item[name].shape == item["input_ids"].shape


# --- loading ----------------------------------------------------------------------------------------------------------


def _require_known_modules(folder: Path, spec: str) -> None:
    """Raise EncoderError where a model is made of modules that are not the package's own, or may load other code."""
    modules = read_settings(folder / "modules.json")
    if not isinstance(modules, list) or not all(isinstance(each, dict) for each in modules) or not modules:
        raise EncoderError(f"{folder / 'modules.json'} holds no list of modules")
    for each in modules:
        kind = str(each.get("type", ""))
        package, _, name = kind.rpartition(".")
        if not f"{package}.".startswith("sentence_transformers.") or name not in _MODULES:
            raise EncoderError(
                f"{spec} is made of a module that is not used here ({kind[:120]}): only {', '.join(_MODULES)} of "
                "sentence-transformers are, since others may run code that comes with a model"
            )


def _load_model(folder: Path, spec: str) -> Any:
    """The model with all of its weights, fp32, on the CPU. Raises EncoderError."""
    from sentence_transformers import SentenceTransformer

    try:
        with _report_missing() as missing:
            model: Any = SentenceTransformer(
                str(folder),
                device="cpu",
                trust_remote_code=False,
                local_files_only=True,
                model_kwargs={"dtype": torch.float32, "use_safetensors": True},
            )
    except Exception as error:  # the package and what it loads raise whatever they like
        words = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise EncoderError(f"sentence-transformers cannot load {spec}: {words}") from error
    if missing:
        raise EncoderError(
            f"the weights in {folder} are not all that {spec} has: {', '.join(sorted(missing)[:2])} and others are "
            "missing. A model with random weights is not used"
        )
    if not model.supports("image"):
        raise EncoderError(f"{spec} takes {' and '.join(map(str, model.modalities))}, and no pictures")
    return model.eval().requires_grad_(False)


@contextmanager
def _report_missing() -> Iterator[set[str]]:
    """Inside, the names of weights that the files of a model do not have are gathered; transformers only logs them."""
    import transformers

    kind: Any = transformers.PreTrainedModel
    original, missing = kind.__dict__["from_pretrained"], set()
    logger = logging.getLogger("sentence_transformers")
    level = logger.level

    def reporting(cls: Any, *arguments: Any, **options: Any) -> Any:
        model, report = original.__func__(cls, *arguments, **{**options, "output_loading_info": True})
        missing.update(report["missing_keys"])
        return model

    kind.from_pretrained = classmethod(reporting)
    logger.setLevel(logging.ERROR)
    try:
        yield missing
    finally:
        kind.from_pretrained = original
        logger.setLevel(level)


def _dim(model: SeeingModel, spec: str) -> int:
    """The length of a model's vectors. Raises EncoderError where texts and pictures have others."""
    prepared = model.pictures.prepare(sample_picture((64, 48)))
    try:
        with torch.inference_mode():
            image = model.encode_image(torch.from_numpy(prepared)[None])
            text = model.encode_text(torch.from_numpy(model.read(["a"])[0]))
    except Exception as error:  # as above
        words = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise EncoderError(f"{spec} cannot encode a picture and a text: {words}") from error
    if image.ndim != 2 or image.shape != text.shape:
        raise EncoderError(
            f"{spec} gives {tuple(image.shape[1:])} numbers for a picture and {tuple(text.shape[1:])} for a text: "
            "these do not compare"
        )
    return int(image.shape[1])
