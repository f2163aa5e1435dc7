"""How the kinds of models of transformers are asked: what goes in beside the picture, and which class takes it.

A model with a chat template is asked by that, whatever its kind. Of the others each kind was trained to be asked in a
way of its own, so that only those are asked whose way is known here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmsearch.errors import EncoderError

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["DESCRIBE", "WayOfAsking", "way_of_asking"]

DESCRIBE = "Describe this picture in one sentence."
"""What a model with a chat template is asked for a description."""


@dataclass(frozen=True, slots=True)
class WayOfAsking:
    """How a model is asked.

    Attributes:
        auto: The class of transformers that loads it.
        describes: Whether it describes pictures.
        question: The form of a question, with {} for it; None for a model that takes none.
        chat: Whether its processor puts the words into a chat, and the picture before them.
    """

    auto: str
    describes: bool
    question: str | None
    chat: bool = False

    def inputs(self, processor: Any, question: str | None, images: "Sequence[PIL.Image.Image]") -> dict[str, Any]:
        """What `generate` takes, tensors of n rows. question: None for a description."""
        if self.chat:
            words = DESCRIBE if question is None else question
            turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": words}]}
            prompt = processor.apply_chat_template([turn], add_generation_prompt=True, tokenize=False)
            # One list of pictures a prompt: processors that take several pictures a prompt ask for that.
            made = processor(
                images=[[image] for image in images],
                text=[prompt] * len(images),
                return_tensors="pt",
                padding=True,
            )
        elif question is None:
            made = processor(images=[*images], return_tensors="pt")
        else:
            text = (self.question or "{}").replace("{}", question)
            made = processor(images=[*images], text=[text] * len(images), return_tensors="pt", padding=True)
        return dict(made)


_CAPTIONER = "AutoModelForImageTextToText"
_KNOWN: dict[str, WayOfAsking] = {
    "BlipForConditionalGeneration": WayOfAsking("BlipForConditionalGeneration", True, None),
    "BlipForQuestionAnswering": WayOfAsking("BlipForQuestionAnswering", False, "{}"),
    # "Question: … Answer:" is how its authors asked OPT and T5 (LAVIS).
    "Blip2ForConditionalGeneration": WayOfAsking("Blip2ForConditionalGeneration", True, "Question: {} Answer:"),
    "GitForCausalLM": WayOfAsking("GitForCausalLM", True, None),
    "VisionEncoderDecoderModel": WayOfAsking("VisionEncoderDecoderModel", True, None),
}
"""Ways of asking models that have no chat template, by the class that their settings name."""


def way_of_asking(settings: Any, processor: Any, spec: str) -> WayOfAsking:
    """How the model is asked whose config.json says `settings`. Raises EncoderError for one that is not."""
    settings = settings if isinstance(settings, dict) else {}
    classes = settings.get("architectures")
    named = str(classes[0]) if isinstance(classes, list) and classes else None
    if named in _KNOWN:
        return _KNOWN[named]
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as SEEING

    if settings.get("model_type") not in SEEING:
        what = named or settings.get("model_type") or "model of no kind that its config.json names"
        raise EncoderError(
            f"{spec} is a {what}, which does not write what it sees. Models that do are {', '.join(_KNOWN)}, and those "
            "of transformers' AutoModelForImageTextToText that have a chat template"
        )
    if not getattr(processor, "chat_template", None):
        raise EncoderError(
            f"{spec} is a {named or settings.get('model_type')} without a chat template, and how models of this kind "
            f"are asked is not known here. Of models without one these are: {', '.join(_KNOWN)}"
        )
    return WayOfAsking(_CAPTIONER, True, "{}", chat=True)
