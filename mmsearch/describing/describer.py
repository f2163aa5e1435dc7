"""A describer: what it takes and gives."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from mmsearch.encoders.plugins import PluginRequest
from mmsearch.errors import EncoderError
from mmsearch.names import shell_quoted

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["MOST_CHARACTERS", "MOST_TOKENS", "Describer", "DescriberRequest", "Provider", "Said", "said"]

MOST_TOKENS = 64
"""Where a describer stops: some two sentences."""

MOST_CHARACTERS = 1000
"""Of what a describer says; more is cut."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a describer says of a picture: a guess of a machine, of which nothing is checked.

    Attributes:
        text: In one line, without control characters; empty where it says nothing. It ends in "…" where it was cut.
        cut: Whether it was longer than it may be, so that its end is missing.
    """

    text: str
    cut: bool = False


def said(text: str, *, cut: bool = False) -> Said:
    """What a model wrote, as it may be shown and kept: one line, bounded, nothing that a terminal would obey.

    >>> said("a dog\\non  a\\x1b[31m beach ")
    Said(text='a dog on a [31m beach', cut=False)
    """
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    cut = cut or len(line) > MOST_CHARACTERS
    line = line[:MOST_CHARACTERS].rstrip()
    return Said(f"{line}…" if cut and line else line, cut)


class Describer(Protocol):
    """A model that sees a picture and writes. A provider derives from this.

    Attributes:
        spec: What named it, with its prefix.
        identity: The same for everything that says the same of a picture: its name and a digest of its weights and
            settings, without a folder of this machine.
        device: Where it runs, for people.
        licence: That of its weights, as its card says; None where it says none.
        pictures_at_once: So many pictures it takes well in one call.
        describes: Whether it describes pictures.
        answers: Whether it answers questions.
    """

    spec: str
    identity: str
    device: str = "cpu"
    licence: str | None = None
    pictures_at_once: int = 4
    describes: bool = True
    answers: bool = True

    def describe(self, images: "Sequence[PIL.Image.Image]") -> list[Said]:
        """n upright RGB images -> what each shows, the same each time. Raises EncoderError."""
        ...

    def answer(self, question: str, images: "Sequence[PIL.Image.Image]") -> list[Said]:
        """A question and n upright RGB images -> the answer to it of each picture alone. Raises EncoderError."""
        ...

    @property
    def name(self) -> str:
        """What people read of its identity."""
        return self.identity.partition("@")[0]

    def require_describes(self) -> None:
        """Raise EncoderError for one that only answers questions."""
        if not self.describes:
            raise EncoderError(
                f"{self.spec} answers questions and describes nothing: mmsearch ask --model {shell_quoted(self.spec)}"
            )

    def require_answers(self) -> None:
        """Raise EncoderError for one that only describes."""
        if not self.answers:
            raise EncoderError(
                f"{self.spec} describes pictures and takes no questions: mmsearch describe --model "
                f"{shell_quoted(self.spec)}. Models that take questions are "
                "BLIP's for visual question answering, BLIP-2, and those with a chat template"
            )


DescriberRequest: TypeAlias = PluginRequest
"""What is asked of a provider."""

Provider: TypeAlias = Callable[[DescriberRequest], Describer]
"""Opens a describer, or raises EncoderError."""
