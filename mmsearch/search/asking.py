"""`ask`: a question about pictures that were named, or about the best hits of a query, answered by a describer.

Each picture is asked about alone, so that what is written in one cannot speak for another; the answers are counted, not
put together by a model. Where calibration says that probably nothing fits, no model is asked.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mmsearch import images
from mmsearch.describing import Describer, open_describer, picture_named, require_pictures
from mmsearch.encoders import Encoder, announce_on_stderr
from mmsearch.errors import ImageError, QueryError
from mmsearch.gallery import Gallery
from mmsearch.items import IMAGES, ImageRow
from mmsearch.progress import Progress, ProgressCallback, quiet
from mmsearch.search.answers import UNLIKELY, Answer
from mmsearch.search.gallery_files import FileGone, read_content
from mmsearch.search.hits import Hit
from mmsearch.search.open_gallery import open_gallery
from mmsearch.search.query import Query

__all__ = ["MOST_ASKED", "Asked", "Guess", "ask"]

MOST_ASKED = 16
"""So many pictures one question is asked of, at most."""

MOST_CHARACTERS = 500
"""Of a question."""

_UNMEASURED = "whether anything here fits was not measured (mmsearch calibrate)"


@dataclass(frozen=True, slots=True)
class Guess:
    """What a machine guesses that the answer is, by one picture.

    Attributes:
        number: Of the picture, from 1; of a hit, its rank.
        picture: Its file, or as it was named.
        guess: In words; empty where the model says nothing.
        cut: Whether the end of the guess is missing.
        hit: Where it was found; None for a picture that was named.
    """

    number: int
    picture: str
    guess: str
    cut: bool
    hit: Hit | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A question and what a machine guesses.

    Attributes:
        question: As it was asked.
        guessed_by: The model.
        guesses: One a picture, in the order of the pictures; none where there is no picture to go by.
        nothing: Why there are none, in words; None where there are some.
        remarks: What whoever asked should know: which hits were not looked at, that nobody measured whether anything
            fits. Of what the search itself remarks is warned.
    """

    question: str
    guessed_by: str
    guesses: tuple[Guess, ...]
    nothing: str | None = None
    remarks: tuple[str, ...] = ()

    @property
    def agreed(self) -> list[tuple[str, tuple[int, ...]]]:
        """Each answer that was given, with the numbers of its pictures; the most frequent first, of equal ones the one
        that comes first. Case and a full stop make no difference."""
        numbers: dict[str, list[int]] = {}
        words: dict[str, str] = {}
        for each in self.guesses:
            key = each.guess.lower().rstrip(". ")
            words.setdefault(key, each.guess)
            numbers.setdefault(key, []).append(each.number)
        ordered = sorted(numbers, key=lambda key: (-len(numbers[key]), numbers[key][0]))
        return [(words[key], tuple(numbers[key])) for key in ordered]


def ask(
    question: str,
    *,
    pictures: Sequence[str | os.PathLike[str]] = (),
    query: str | Query | None = None,
    model: str | Describer,
    k: int = 4,
    gallery: str | os.PathLike[str] | None = None,
    encoder: str | Encoder | None = None,
    device: str = "auto",
    progress: ProgressCallback = quiet,
    announce: Callable[[str], None] = announce_on_stderr,
) -> Asked:
    """Answer a question about pictures, or about the k best hits of a query among the pictures of a gallery.

    pictures: files, objects, members of archives. query: a text, or a `Query` of pictures (its own k counts then). One
    of the two is given. model: a spec (see `mmsearch.describing.open_describer`), or a describer. encoder: for the
    query, by default the gallery's own. device: of the describer.
    Raises QueryError (no question, no picture, too many), EncoderError (the model takes no questions), GalleryNotFound.
    """
    if not question.strip():
        raise QueryError('the question is empty; ask something, as in: mmsearch ask "what colour is the car?"')
    if len(question) > MOST_CHARACTERS:
        raise QueryError(f"a question of {len(question):,} characters; at most {MOST_CHARACTERS:,} are asked")
    if bool(pictures) == (query is not None):
        raise QueryError(
            "ask about pictures (--image FILE) or about the best hits of a query (--query TEXT): one of them"
        )
    asked_of = None if query is None else _among_pictures(query, k)
    if (count := asked_of.k if asked_of else len(pictures)) > MOST_ASKED:
        raise QueryError(f"a question about {count:,} pictures; at most {MOST_ASKED} are looked at")
    require_pictures(pictures)
    if asked_of is not None:
        Gallery.open(gallery)  # a gallery that is not there is told before a model is fetched
    describer = open_describer(model, device=device, announce=announce)
    describer.require_answers()
    if asked_of is None:
        named = [(number, os.fspath(each), None, picture_named(each)) for number, each in enumerate(pictures, 1)]
        return Asked(question, describer.name, _guesses(describer, question, named, progress))
    opened = open_gallery(gallery, encoder=encoder, announce=announce)
    try:
        answer = opened.ask(asked_of)
        nothing, remarks = _why_nothing(answer)
        if nothing is not None:
            return Asked(question, describer.name, (), nothing, remarks)
        found: list[tuple[int, str, Hit | None, Any]] = []
        for hit in answer.hits:
            picture = hit.file or hit.path or ""
            try:
                image = images.decode(read_content(opened.gallery, hit.row).data).image
                found.append((hit.rank, picture, hit, image))
            except (FileGone, ImageError) as error:
                reason = error.reason if isinstance(error, ImageError) else str(error)
                remarks = (*remarks, f"{picture} was not looked at: {reason}")
        if not found:
            return Asked(question, describer.name, (), "None of the pictures that were found can be read.", remarks)
        return Asked(question, describer.name, _guesses(describer, question, found, progress), None, remarks)
    finally:
        opened.close()


def _among_pictures(query: str | Query, k: int) -> Query:
    """What is searched for. Raises QueryError for a query that is not for pictures."""
    asked = Query.of(query, k=k) if isinstance(query, str) else query
    if asked.table != IMAGES.name:
        raise QueryError(f"a question is answered from pictures, and this query is for {asked.nouns}")
    return asked


def _why_nothing(answer: Answer) -> tuple[str | None, tuple[str, ...]]:
    """Why the hits are nothing to go by, or None; and what is to be said besides."""
    hits = [hit for hit in answer.hits if isinstance(hit.row, ImageRow)]
    if not hits:
        return "Nothing was found.", ()
    chance = answer.worth.probability
    if chance is None:
        return None, (_UNMEASURED,)
    return (answer.worth.in_words() if chance < UNLIKELY else None), ()


def _guesses(
    describer: Describer,
    question: str,
    pictures: "Sequence[tuple[int, str, Hit | None, Any]]",
    progress: ProgressCallback,
) -> tuple[Guess, ...]:
    """What the model says of (number, name, hit, image), each alone."""
    guesses: list[Guess] = []
    progress(Progress("asking", 0, len(pictures)))
    for start in range(0, len(pictures), describer.pictures_at_once):
        some = pictures[start : start + describer.pictures_at_once]
        answers = describer.answer(question, [image for *_, image in some])
        guesses += [
            Guess(number, name, answer.text, answer.cut, hit)
            for (number, name, hit, _), answer in zip(some, answers, strict=True)
        ]
        progress(Progress("asking", len(guesses), len(pictures)))
    return tuple(guesses)
