"""Where the annotated images are on disk."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mmsearch.benchmarks.model import DraftImage
from mmsearch.benchmarks.names import is_image_name, last_part
from mmsearch.errors import BenchmarkError
from mmsearch.names import composed

__all__ = ["ImageFolder"]


@dataclass(slots=True)
class ImageFolder:
    """The images folder, looked into no further than needed: names as they are, then in the folder that the
    annotations say, then, where these are not enough, by the last part of the name anywhere in the tree,
    which is walked once."""

    root: Path
    _tree: dict[str, list[str]] | None = None

    def __post_init__(self) -> None:
        if not self.root.is_dir():
            what = "is not a folder" if self.root.exists() else "does not exist"
            raise BenchmarkError(f"images: {self.root} {what}")

    def find(self, image: DraftImage) -> str | None:
        """The image's POSIX path relative to the root; None where it has no file."""
        name = image.name.replace("\\", "/")
        for path in (name, f"{image.folder}/{name}") if image.folder else (name,):
            inside = self._inside(path)
            if inside is not None and os.path.isfile(self.root / inside):  # noqa: PTH113 (Path.is_file raises on odd names)
                return inside
        last = composed(last_part(name))
        places = self._index().get(last, [])
        fitting = (
            [p for p in places if composed(f"/{p}").endswith(composed(f"/{image.folder}/{last}"))]
            if image.folder
            else places
        )
        places = fitting or places
        if len(places) > 1:
            raise BenchmarkError(
                f"images: {last} is in {self.root} more than once ({', '.join(places[:3])}). "
                "Give the folder that holds the benchmark's images and no others."
            )
        return places[0] if places else None

    def beside(self, found: Iterable[str]) -> list[str]:
        """Image files in the folders that hold the found images, these included; relative to the root,
        sorted."""
        folders = {str(PurePosixPath(path).parent) for path in found}
        return sorted(
            str(PurePosixPath(folder) / name)
            for folder in folders
            for name in os.listdir(self.root / folder)
            if _is_image(name)
        )

    def _inside(self, path: str) -> str | None:
        """The path relative to the root in its plainest form; None where it leads out of it."""
        if re.match(r"/|[A-Za-z]:/|\w+://", path):
            try:
                return PurePosixPath(path).relative_to(self.root.absolute().as_posix()).as_posix()
            except ValueError:
                return None
        plain = PurePosixPath(path)
        return None if ".." in plain.parts else plain.as_posix()

    def _index(self) -> dict[str, list[str]]:
        """Every file of the tree by its last name, composed. Links to folders are not followed: they may lead in
        circles."""
        if self._tree is None:
            self._tree = {}
            for folder, folders, files in os.walk(self.root):
                folders.sort()
                inner = PurePosixPath(Path(folder).relative_to(self.root).as_posix())
                for file in files:
                    if _is_image(file):
                        self._tree.setdefault(composed(file), []).append(str(inner / file))
        return self._tree


def _is_image(name: str) -> bool:
    """Whether a file in the folder is an image. macOS leaves `._name.jpg` beside every photo, which is
    none."""
    return is_image_name(name) and not name.startswith(".")
