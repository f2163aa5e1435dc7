"""`describe`: pictures -> what a describer says of each."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmsearch import images
from mmsearch.describing.describer import Describer, Said
from mmsearch.describing.opening import open_describer
from mmsearch.encoders import announce_on_stderr
from mmsearch.errors import ImageError, QueryError
from mmsearch.names import shell_quoted
from mmsearch.progress import Progress, ProgressCallback, quiet
from mmsearch.sources import read_named_picture

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["Description", "describe", "picture_named", "require_pictures"]


@dataclass(frozen=True, slots=True)
class Description:
    """What a machine guesses that a picture shows.

    Attributes:
        picture: As it was named.
        guess: In words.
        guessed_by: The model.
        cut: Whether the end of the guess is missing, since it is longer than it may be.
        unread: Why there is no guess: the picture could not be read; None where it was.
    """

    picture: str
    guess: str
    guessed_by: str
    cut: bool
    unread: str | None = None


def describe(
    pictures: Sequence[str | os.PathLike[str]],
    *,
    model: str | Describer,
    device: str = "auto",
    progress: ProgressCallback = quiet,
    announce: Callable[[str], None] = announce_on_stderr,
) -> Iterator[Description]:
    """What a model says of each picture (files, objects, members of archives; "-" is stdin), in their order, each as
    soon as it is said.

    model: a spec (see `open_describer`), or a describer. device: auto, cpu, cuda, cuda:N or mps.
    Raises QueryError for what is no picture by its header, before a model is loaded, and EncoderError. One that turns
    out later to be none (a file that broke off, or went) is told in its place: `Description.unread`.
    """
    if not pictures:
        raise QueryError("no picture; name some, as in: mmsearch describe cat.jpg --model hf:org/name")
    require_pictures(pictures)
    describer = open_describer(model, device=device, announce=announce)
    describer.require_describes()
    return _described(describer, pictures, progress)


def _described(
    describer: Describer, pictures: Sequence[str | os.PathLike[str]], progress: ProgressCallback
) -> Iterator[Description]:
    done = 0
    progress(Progress("describing", 0, len(pictures)))
    at_once = describer.pictures_at_once
    for start in range(0, len(pictures), at_once):
        some = pictures[start : start + at_once]
        read: list[PIL.Image.Image] = []
        unread: list[str | None] = []
        for picture in some:
            try:
                read.append(picture_named(picture))
                unread.append(None)
            except QueryError as error:
                unread.append(str(error))
        guesses = iter(describer.describe(read) if read else [])
        for picture, problem in zip(some, unread, strict=True):
            guess = next(guesses) if problem is None else Said("")
            yield Description(os.fspath(picture), guess.text, describer.name, guess.cut, problem)
        done += len(some)
        progress(Progress("describing", done, len(pictures), sum(each is not None for each in unread)))


def picture_named(picture: str | os.PathLike[str]) -> "PIL.Image.Image":
    """A picture that somebody named, upright RGB. Raises QueryError for what is none."""
    try:
        return images.decode(read_named_picture(picture)).image
    except ImageError as error:
        raise QueryError(f"{os.fspath(picture)} is no picture that can be read: {error.reason}") from error


def require_pictures(pictures: Sequence[str | os.PathLike[str]]) -> None:
    """Raise QueryError for what is no picture, before a model is loaded. What comes by stdin is read once, later."""
    for picture in pictures:
        if os.fspath(picture) == "-":
            continue
        if Path(picture).is_dir():
            raise QueryError(
                f"{os.fspath(picture)} is a folder; to describe its pictures, and search what is said of them: "
                f"mmsearch embed {shell_quoted(picture)} --describe MODEL"
            )
        read_named_picture(picture)
