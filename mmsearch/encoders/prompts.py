"""Templates of texts: sets by name, and what makes a text a template."""

from collections.abc import Sequence

from mmsearch.errors import EncoderError

__all__ = ["TEMPLATE_SETS", "templates_named"]

TEMPLATE_SETS = ("openai", "simple")
"""OpenAI's 80 for ImageNet, and the 7 of them that do nearly as well together; as open_clip keeps them."""


def templates_named(wanted: Sequence[str]) -> tuple[str, ...]:
    """Templates, each with one {} where the text goes, in the place of names of sets and of templates themselves.

    Raises EncoderError: neither the name of a set nor a template.
    """
    found: list[str] = []
    for text in wanted:
        if text in TEMPLATE_SETS:
            found += _set(text)
        elif text.count("{}") == 1:
            found.append(text)
        else:
            raise EncoderError(
                f"{text!r} is no template: write {{}} once, where the text goes, as in 'a photo of a {{}}.', "
                f"or name a set: {', '.join(TEMPLATE_SETS)}"
            )
    return tuple(dict.fromkeys(found))


def _set(name: str) -> list[str]:
    # Imported late: open_clip costs seconds.
    from open_clip import zero_shot_metadata

    made = {
        "openai": zero_shot_metadata.OPENAI_IMAGENET_TEMPLATES,
        "simple": zero_shot_metadata.SIMPLE_IMAGENET_TEMPLATES,
    }
    return [template("{}") for template in made[name]]
