"""Which pairs stand in which batch: functions of a seed and a number, so that a resumed run sees what an unbroken one
would."""

import itertools
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["PairTexts", "RightGroups", "chosen_captions", "number_texts", "shuffled_rows", "split_evenly"]


def shuffled_rows(count: int, *, seed: int, epoch: int) -> list[int]:
    """The rows 0 to count - 1 in the order of an epoch."""
    order: list[int] = np.random.default_rng((seed, epoch, 0)).permutation(count).tolist()
    return order


def chosen_captions(counts: NDArray[np.int64], *, seed: int, epoch: int) -> NDArray[np.int64]:
    """Which caption speaks for each picture in an epoch: counts (n,), at least 1 -> (n,), from 0. Over epochs all come,
    each as often as the others but for one."""
    offsets = np.random.default_rng((seed, 1)).integers(0, counts)
    chosen: NDArray[np.int64] = (offsets + epoch) % counts
    return chosen


def split_evenly(order: Sequence[int], batch: int) -> list[Sequence[int]]:
    """The rows in pieces of at most `batch`, of sizes that differ by at most one: nothing is left over, and no last
    batch of three makes the task easy.

    >>> split_evenly([5, 6, 7, 8, 9], 4)
    [[5, 6, 7], [8, 9]]
    """
    pieces = -(-len(order) // batch)
    ends = [-(-len(order) * number // pieces) for number in range(pieces + 1)]
    return [order[first:last] for first, last in itertools.pairwise(ends)]


@dataclass(frozen=True, slots=True)
class PairTexts:
    """The captions of pictures, and which of them belong to which content.

    Attributes:
        texts: All captions, those of one picture together.
        first: int64 (n + 1,), where the captions of each picture begin; the last is their number.
        contents: int64 (n,), equal for pictures of one content.
        numbers: int64 (texts,), equal for texts that say the same, but for case and spaces.
    """

    texts: tuple[str, ...]
    first: NDArray[np.int64]
    contents: NDArray[np.int64]
    numbers: NDArray[np.int64]

    @classmethod
    def of(cls, captions: Sequence[Sequence[str]], contents: Sequence[int] | NDArray[np.int64]) -> "PairTexts":
        """captions: of each picture, at least one. contents: of each picture."""
        texts = tuple(text for own in captions for text in own)
        first = np.cumsum([0, *(len(own) for own in captions)])
        return cls(texts, first, np.asarray(contents, dtype=np.int64), number_texts(texts))

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many captions each picture has, (n,)."""
        return np.diff(self.first)

    def left_out(self, rows: Sequence[int], captions: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Of picture i and text j of a batch whether the pair is right although j is another row's: a copy of the
        picture, or a text that is one of the picture's own. bool (n, n), False on the diagonal.

        rows: of the pictures. captions: (n,), of the text that speaks for each, from 0.
        """
        positions: dict[int, list[int]] = defaultdict(list)  # of texts
        copies: dict[int, list[int]] = defaultdict(list)
        for place, (row, caption) in enumerate(zip(rows, captions.tolist(), strict=True)):
            positions[int(self.numbers[self.first[row] + caption])].append(place)
            copies[int(self.contents[row])].append(place)
        out = np.zeros((len(rows), len(rows)), dtype=np.bool_)
        for place, row in enumerate(rows):
            same = copies[int(self.contents[row])]
            out[place, same] = True
            for number in set(self.numbers[self.first[row] : self.first[row + 1]].tolist()):
                # What is said of a picture is said of its copies.
                out[np.ix_(same, positions.get(number, []))] = True
        np.fill_diagonal(out, False)
        return out


@dataclass(frozen=True, slots=True, eq=False)
class RightGroups:
    """Of which groups of pictures that show the same each text is known to be right: those of which the same is said.

    Attributes:
        numbers: int64 (n_texts,), equal for texts that say the same.
        first: int64 (n_numbers + 1,), where in `groups` those of each number begin.
        groups: int64, from 0.
        group_of_image: int64 (n_images,), from 0.
    """

    numbers: NDArray[np.int64]
    first: NDArray[np.int64]
    groups: NDArray[np.int64]
    group_of_image: NDArray[np.int64]

    @classmethod
    def of(
        cls, texts: Sequence[str], image_of_text: NDArray[np.int64], group_of_image: NDArray[np.int64]
    ) -> "RightGroups":
        """image_of_text: (n_texts,), the picture of each. group_of_image: (n_images,), any numbers."""
        _, numbered = np.unique(group_of_image, return_inverse=True)
        numbers = number_texts(texts)
        pairs = np.unique(np.stack([numbers, numbered[image_of_text]], axis=1), axis=0)
        return cls(numbers, np.searchsorted(pairs[:, 0], np.arange(numbers.max() + 2)), pairs[:, 1], numbered)

    def mask(self, texts: NDArray[np.int64], images: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether text i is right for image j: rows of texts (n,) and of images (m,) -> bool (n, m).

        >>> right = RightGroups.of(["a dog", "A  dog", "a cat"], np.array([0, 1, 2]), np.array([5, 6, 6]))
        >>> right.mask(np.array([0, 2]), np.arange(3)).astype(int).tolist()
        [[1, 1, 1], [0, 1, 1]]
        """
        present, columns = np.unique(self.group_of_image[images], return_inverse=True)
        of_groups = np.zeros((len(texts), len(present)), np.bool_)
        for row, number in enumerate(self.numbers[texts].tolist()):
            right = self.groups[self.first[number] : self.first[number + 1]]
            of_groups[row] = np.isin(present, right, assume_unique=True)
        return of_groups[:, columns]

    def each(self, texts: NDArray[np.int64], images: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether text i is right for its images: rows of texts (n,) and of images (n, k) -> bool (n, k).

        >>> right = RightGroups.of(["a dog", "A  dog", "a cat"], np.array([0, 1, 2]), np.array([5, 6, 6]))
        >>> right.each(np.array([0, 2]), np.array([[1, 2], [0, 1]])).astype(int).tolist()
        [[1, 1], [0, 1]]
        """
        is_right = np.zeros(images.shape, np.bool_)
        for row, number in enumerate(self.numbers[texts].tolist()):
            right = self.groups[self.first[number] : self.first[number + 1]]
            is_right[row] = np.isin(self.group_of_image[images[row]], right)
        return is_right


def number_texts(texts: Sequence[str]) -> NDArray[np.int64]:
    """Numbers from 0, (n,), equal for texts that say the same, but for case and spaces.

    >>> number_texts(["A dog", "a cat", " a  dog"]).tolist()
    [0, 1, 0]
    """
    known: dict[str, int] = {}
    plain = (" ".join(unicodedata.normalize("NFKC", text).casefold().split()) for text in texts)
    return np.array([known.setdefault(text, len(known)) for text in plain], dtype=np.int64)
