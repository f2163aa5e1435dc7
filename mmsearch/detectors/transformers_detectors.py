"""Detectors of the package transformers, asked as its own processors ask them."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from mmsearch.boxes import intersection_over_union
from mmsearch.detectors.detector import Detector
from mmsearch.detectors.records import Found, FoundBox
from mmsearch.encoders.devices import choose_device, describe
from mmsearch.encoders.model_loading import first_words, load_model, load_part
from mmsearch.errors import EncoderError

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["DETECTORS"]

_SAME = 0.5  # overlap (IoU) from which on two boxes of a phrase are one thing


class _TransformersDetector(Detector):
    """model_class: the name of its class in transformers."""

    model_class: ClassVar[str]

    def __init__(self, spec: str, folder: Path, device: str) -> None:
        import transformers

        self.spec = spec
        self._device = choose_device(device)
        self.device = describe(self._device)
        kind = getattr(transformers, self.model_class)
        advice = "It may be a model of the same family without the heads that find boxes"
        self._model = load_model(kind, folder, spec, self._device, advice=advice)
        self._processor = load_part("AutoProcessor", folder, f"the processor of {spec}")

    @torch.inference_mode()
    def find(self, image: "PIL.Image.Image", phrases: Sequence[str]) -> list[Found]:
        try:
            boxes, scores, named = self._detect(image, phrases)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise EncoderError(
                f"{self.spec} cannot be asked about {', '.join(phrases)}: {first_words(error)}"
            ) from error
        shares = np.clip(boxes / np.array([image.width, image.height] * 2), 0, 1)
        return [
            Found(phrase, _apart(shares[named == number], scores[named == number]))
            for number, phrase in enumerate(phrases)
        ]

    @abstractmethod
    def _detect(
        self, image: "PIL.Image.Image", phrases: Sequence[str]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        """n boxes in pixels (n, 4), their scores (n,) and the phrase that each is of (n,)."""
        ...

    def _results(self, result: Mapping[str, Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        boxes, scores = result["boxes"].double().cpu().numpy(), result["scores"].double().cpu().numpy()
        return np.asarray(boxes).reshape(-1, 4), np.asarray(scores)


class _OwlDetector(_TransformersDetector):
    """OWL-ViT (Minderer et al. 2022): each box has the phrase that fits it best, of those asked for together."""

    model_class = "OwlViTForObjectDetection"
    _threshold = 0.1

    def _detect(
        self, image: "PIL.Image.Image", phrases: Sequence[str]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        longest = int(self._model.config.text_config.max_position_embeddings)
        inputs = self._processor(
            text=[[*phrases]],
            images=image,
            padding="max_length",
            truncation=True,
            max_length=longest,
            return_tensors="pt",
        )
        outputs = self._model(**inputs.to(self._device))
        (result,) = self._processor.post_process_grounded_object_detection(
            outputs, threshold=self._threshold, target_sizes=[(image.height, image.width)]
        )
        return *self._results(result), np.asarray(result["labels"].cpu().numpy(), np.int64)


class _Owlv2Detector(_OwlDetector):
    """OWLv2 (Minderer et al. 2023)."""

    model_class = "Owlv2ForObjectDetection"


class _GroundingDinoDetector(_TransformersDetector):
    """Grounding DINO (Liu et al. 2023): the phrases are one text, and each box has a value for each of its tokens. The
    score of a box is the greatest of them, as in the authors' inference; it is of the phrase of which a token has most.
    """

    model_class = "GroundingDinoForObjectDetection"
    _threshold = 0.25

    def _detect(
        self, image: "PIL.Image.Image", phrases: Sequence[str]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        text, spans = _joined(phrases)
        longest = int(self._model.config.max_text_len)
        inputs = self._processor(text=text, images=image, truncation=True, max_length=longest, return_tensors="pt")
        outputs = self._model(**inputs.to(self._device))
        (result,) = self._processor.post_process_grounded_object_detection(
            outputs, inputs.input_ids, threshold=self._threshold, target_sizes=[(image.height, image.width)]
        )
        boxes, scores = self._results(result)
        sigmoids = torch.sigmoid(outputs.logits[0])
        values = sigmoids[sigmoids.max(dim=-1).values > self._threshold].double().cpu().numpy()
        tokens = self._processor.tokenizer(text, truncation=True, max_length=longest, return_offsets_mapping=True)
        tokens = tokens["offset_mapping"]
        of_phrase = np.zeros((len(values), len(phrases)))
        for number, (start, end) in enumerate(spans):
            within = [at for at, (first, last) in enumerate(tokens) if first < last and start <= first and last <= end]
            within = [at for at in within if at < inputs.input_ids.shape[1] - 1]  # what was cut has no value
            if within:
                of_phrase[:, number] = values[:, within].max(axis=1)
        is_named = of_phrase.max(axis=1, initial=0) > self._threshold
        named = of_phrase[is_named].argmax(axis=1) if len(values) else np.empty(0, np.int64)
        return boxes[is_named], scores[is_named], named


class _MMGroundingDinoDetector(_GroundingDinoDetector):
    """Grounding DINO as OpenMMLab trained it (Zhao et al. 2024)."""

    model_class = "MMGroundingDinoForObjectDetection"


DETECTORS: Mapping[str, Callable[[str, Path, str], Detector]] = {
    "owlvit": _OwlDetector,
    "owlv2": _Owlv2Detector,
    "grounding-dino": _GroundingDinoDetector,
    "mm-grounding-dino": _MMGroundingDinoDetector,
}
"""By the `model_type` of a model's settings."""


def _joined(phrases: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """ "a boat. two tents.", as the model was trained, and where in it each phrase stands. A full stop within a phrase
    would cut it."""
    text, spans = "", []
    for phrase in phrases:
        plain = " ".join(phrase.lower().replace(".", " ").split())
        spans.append((len(text), len(text) + len(plain)))
        text += f"{plain}. "
    return text.rstrip(), spans


def _apart(boxes: NDArray[np.float64], scores: NDArray[np.float64]) -> list[FoundBox]:
    """Best first, without those that overlap with a better one so much that both are one thing."""
    kept: list[FoundBox] = []
    for number in np.argsort(-scores, kind="stable"):
        left, top, right, bottom = (float(value) for value in boxes[number])
        box = (left, top, right, bottom)
        if right > left and bottom > top and all(intersection_over_union(box, other.box) < _SAME for other in kept):
            kept.append(FoundBox(box, float(scores[number])))
    return kept
