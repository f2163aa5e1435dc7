"""What the name of an image file looks like. Asked of names in annotations, which need not exist."""

import re
from pathlib import PurePosixPath

from mmsearch.sources.caption_tables import IMAGE_ENDINGS

__all__ = ["by_numbers", "is_image_name", "last_part", "without_ending"]


def is_image_name(name: str) -> bool:
    """Whether a name ends as those of image files do.

    >>> is_image_name("2258277193_586949ec62.JPG"), is_image_name("2258277193_586949ec62.jpg.1")
    (True, False)
    """
    return PurePosixPath(name).suffix.lower().lstrip(".") in IMAGE_ENDINGS


def without_ending(name: str) -> str:
    """The name without an image's ending; as it is where it has none."""
    return name.rpartition(".")[0] if is_image_name(name) else name


def last_part(path: str) -> str:
    """The file's own name, whichever way its folders are written."""
    return PurePosixPath(path.replace("\\", "/")).name


def by_numbers(name: str) -> tuple[tuple[str, int], ...]:
    """A key by which 10.tar comes after 9.tar."""
    return tuple((text, int(number or -1)) for text, number in re.findall(r"(\D*)(\d*)", name))
