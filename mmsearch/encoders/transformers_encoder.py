"""Both sides of a dual encoder of the package transformers: any model with get_text_features and get_image_features."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmsearch.encoders.devices import Precision, choose_device, choose_precision, describe
from mmsearch.encoders.encoder import Encoder, EncoderRequest
from mmsearch.encoders.fingerprint import folder_fingerprint
from mmsearch.encoders.lanes import Lane
from mmsearch.encoders.logit_scale import logit_scale_of
from mmsearch.encoders.model_folders import no_downloads, read_settings
from mmsearch.encoders.model_loading import first_words, quietly
from mmsearch.encoders.model_texts import ModelTokenizer, model_tokenizer
from mmsearch.encoders.processor_pixels import PatchedPictures, SquarePictures, pictures_of
from mmsearch.encoders.protocols import EncodedTexts
from mmsearch.encoders.torch_images import TorchImages
from mmsearch.errors import EncoderError
from mmsearch.identity import EncoderIdentity

__all__ = ["load", "precision_for"]

_TEXT_BLOCK = 8192  # texts are tokenised and sorted by length in blocks of this many, which bounds the memory
_TEXT_BATCH = {"cpu": 64, "cuda": 1024, "mps": 128}
_TOWER = "model.vision_model"  # what the models of transformers call the module that encodes images


def load(request: EncoderRequest, spec: str, folder: Path) -> Encoder:
    """A dual encoder from a folder that was checked, in evaluation mode. spec: canonical. Raises EncoderError."""
    where = choose_device(request.device)
    how = precision_for(request.precision, where, folder)
    with no_downloads(), quietly():
        config = _part(spec, "AutoConfig", folder)
        kind = _dual_encoder(config, spec)
        processor = _part(spec, "AutoProcessor", folder)
        inner = _load_weights(kind, folder, spec)
        _require_both_parts(processor, spec)
        pictures = pictures_of(processor, spec)
        texts = model_tokenizer(processor, config)
    model = DualEncoder(inner, pictures, texts.names).eval()
    fingerprint = folder_fingerprint(folder, inner.state_dict().items(), {"reads": texts.context_length})
    identity = EncoderIdentity(spec, fingerprint, _dim(model, texts, pictures, spec))
    model = model.to(where)
    has_tower = isinstance(getattr(inner, _TOWER.partition(".")[2], None), torch.nn.Module)
    sides = {
        "image": TorchImages(
            *(model, pictures.prepare, pictures.fast, identity, where, how), tower=_TOWER if has_tower else None
        ),
        "text": TransformersTexts(model, texts, identity, where, how),
    }
    return Encoder(identity, sides, device=describe(where), precision=how, logit_scale=logit_scale_of(inner))


class DualEncoder(torch.nn.Module):
    """A model of transformers as the sides take it. names: of what its tokenizer gives, in their order."""

    def __init__(self, model: Any, pictures: SquarePictures | PatchedPictures, names: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self._pictures, self._names = pictures, tuple(names)

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        """(n, 3, H, W), as the pictures were prepared -> (n, dim), not normalised."""
        return _vectors(self.model.get_image_features(**self._pictures.inputs(pixels)))

    def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        """(n, names, length) -> (n, dim), not normalised."""
        return _vectors(self.model.get_text_features(**dict(zip(self._names, tokens.unbind(dim=1), strict=True))))


class TransformersTexts:
    """The text side. Implements `mmsearch.encoders.TextSide`."""

    def __init__(
        self,
        model: DualEncoder,
        tokenizer: ModelTokenizer,
        identity: EncoderIdentity,
        device: torch.device,
        precision: Precision,
    ) -> None:
        self._model, self._tokenizer, self._identity = model, tokenizer, identity
        self._size = _TEXT_BATCH[device.type]
        # Of a quantised model the texts stay fp32: they are few, and nothing is gained.
        self._lane = Lane(model.encode_image, device, "fp32" if precision == "int8" else precision, None, identity.spec)

    def encode(self, texts: Sequence[str]) -> EncodedTexts:
        vectors = np.empty((len(texts), self._identity.dim), dtype=np.float32)
        truncated = np.empty(len(texts), dtype=np.bool_)
        for first in range(0, len(texts), _TEXT_BLOCK):
            block = slice(first, min(first + _TEXT_BLOCK, len(texts)))
            vectors[block], truncated[block] = self._encode_block(texts[block])
        return EncodedTexts(vectors, truncated)

    def _encode_block(self, texts: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """In batches of similar length."""
        read = self._tokenizer.read(texts)
        vectors = np.empty((len(texts), self._identity.dim), dtype=np.float32)
        order = np.argsort(read.lengths, kind="stable")
        batches = [order[first : first + self._size] for first in range(0, len(order), self._size)]
        tokens = [torch.from_numpy(read.padded(rows)) for rows in batches]
        for rows, found in zip(batches, self._lane.run_each(tokens, self._model.encode_text), strict=True):
            vectors[rows] = found
        return vectors, read.truncated


# --- loading ----------------------------------------------------------------------------------------------------------


def precision_for(wanted: str, device: torch.device, folder: Path) -> Precision:
    """As `choose_precision`; on a GPU a model whose weights are bfloat16 computes in that unless told otherwise: in
    fp16, which ends at 65,504, some of these overflow."""
    settings = read_settings(folder / "config.json") if (folder / "config.json").is_file() else {}
    stored = settings.get("dtype") or settings.get("torch_dtype") if isinstance(settings, dict) else None
    if wanted == "auto" and device.type == "cuda" and stored == "bfloat16":
        return "bf16"
    return choose_precision(wanted, device)


def _part(spec: str, name: str, folder: Path) -> Any:
    """What an auto class of transformers makes of a folder. Raises EncoderError."""
    import transformers

    try:
        return getattr(transformers, name).from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers and what it loads raise whatever they like
        raise EncoderError(f"transformers cannot load {spec} ({name}): {first_words(error)}") from error


def _dual_encoder(config: Any, spec: str) -> Any:
    """The class of a model. Raises EncoderError where it does not bring texts and images together."""
    from transformers import AutoModel

    try:
        kind: Any = AutoModel._model_mapping[type(config)]
    except KeyError:
        kind = None
    if isinstance(kind, tuple):
        kind = kind[0]
    if not all(hasattr(kind, name) for name in ("get_text_features", "get_image_features")):
        named = kind.__name__ if kind is not None else type(config).__name__
        raise EncoderError(
            f"{spec} is a {named}, which gives no vectors of texts and pictures that compare. Models that do are CLIP, "
            "SigLIP, SigLIP2, ALIGN, AltCLIP, Chinese-CLIP and MetaCLIP 2"
        )
    return kind


def _load_weights(kind: Any, folder: Path, spec: str) -> Any:
    """The model with all of its weights, fp32, on the CPU. Raises EncoderError."""
    try:
        model, report = kind.from_pretrained(
            str(folder), local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
    except Exception as error:  # as above; safetensors too, on a file that does not fit
        raise EncoderError(f"the weights in {folder} do not fit {spec}: {first_words(error)}") from error
    if missing := sorted(report["missing_keys"]):
        more = f" and {len(missing) - 2:,} more" if len(missing) > 2 else ""
        raise EncoderError(
            f"the weights in {folder} are not all that {spec} has: {', '.join(missing[:2])}{more} are missing. A model "
            "with random weights is not used"
        )
    return model.eval().requires_grad_(False)


def _require_both_parts(processor: Any, spec: str) -> None:
    if any(getattr(processor, name, None) is None for name in ("image_processor", "tokenizer")):
        raise EncoderError(f"the processor of {spec} is a {type(processor).__name__}, not one of pictures and texts")


def _dim(model: DualEncoder, tokenizer: ModelTokenizer, pictures: SquarePictures | PatchedPictures, spec: str) -> int:
    """The length of a model's vectors. Raises EncoderError where it gives none, or others for texts than for images."""
    import PIL.Image

    pixels = pictures.prepare(PIL.Image.new("RGB", (64, 64), "grey"))
    try:
        with torch.inference_mode():
            image = model.encode_image(torch.from_numpy(pixels)[None])
            text = model.encode_text(torch.from_numpy(tokenizer.read(["a"]).padded(np.array([0]))))
    except Exception as error:  # the model's settings and its processor's do not belong together
        raise EncoderError(f"{spec} cannot encode a picture and a text: {first_words(error)}") from error
    if image.ndim != 2 or image.shape != text.shape:
        raise EncoderError(
            f"{spec} gives {tuple(image.shape[1:])} numbers for a picture and {tuple(text.shape[1:])} for a text: "
            "these do not compare"
        )
    return int(image.shape[1])


def _vectors(output: Any) -> torch.Tensor:
    """Of what a model gives, the vectors: they are all that older releases give."""
    return torch.as_tensor(output if isinstance(output, torch.Tensor) else output.pooler_output)
