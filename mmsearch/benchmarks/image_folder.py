"""Where the annotated images are on disk."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mmsearch.benchmarks.image_names import is_image_name, last_part
from mmsearch.benchmarks.model import DraftImage
from mmsearch.errors import BenchmarkError
from mmsearch.names import composed

__all__ = ["ImageFolder"]


@dataclass(slots=True)
class ImageFolder:
    """The images folder. Names are looked for as they are, then in the folder that the annotations say, then by their
    last part anywhere in the tree, which is walked once and only where needed."""

    root: Path
    _tree: dict[str, list[str]] | None = None

    def __post_init__(self) -> None:
        if not self.root.is_dir():
            problem = "is not a folder" if self.root.exists() else "does not exist"
            raise BenchmarkError(f"images: {self.root} {problem}")

    def find(self, image: DraftImage) -> str | None:
        """The image's POSIX path relative to the root; None where it has no file."""
        name = image.name.replace("\\", "/")
        for path in (name, f"{image.folder}/{name}") if image.folder else (name,):
            relative = self._relative_path(path)
            if relative is not None and os.path.isfile(self.root / relative):  # noqa: PTH113 (Path.is_file raises on odd names)
                return relative
        last = composed(last_part(name))
        paths = self._paths_by_name().get(last, [])
        in_folder = (
            [path for path in paths if composed(f"/{path}").endswith(composed(f"/{image.folder}/{last}"))]
            if image.folder
            else paths
        )
        paths = in_folder or paths
        if len(paths) > 1:
            raise BenchmarkError(
                f"images: {last} is in {self.root} more than once ({', '.join(paths[:3])}). "
                "Give the folder that holds the benchmark's images and no others."
            )
        return paths[0] if paths else None

    def list_beside(self, paths: Iterable[str]) -> list[str]:
        """Image files in the folders that hold the found images, these included; relative to the root,
        sorted."""
        folders = {str(PurePosixPath(path).parent) for path in paths}
        return sorted(
            str(PurePosixPath(folder) / name)
            for folder in folders
            for name in os.listdir(self.root / folder)
            if _is_image(name)
        )

    def _relative_path(self, path: str) -> str | None:
        """The path relative to the root in its plainest form; None where it leads out of it."""
        if re.match(r"/|[A-Za-z]:/|\w+://", path):
            try:
                return PurePosixPath(path).relative_to(self.root.absolute().as_posix()).as_posix()
            except ValueError:
                return None
        plain = PurePosixPath(path)
        return None if ".." in plain.parts else plain.as_posix()

    def _paths_by_name(self) -> dict[str, list[str]]:
        """Every file of the tree by its last name, composed. Links to folders are not followed: they may lead in
        circles."""
        if self._tree is None:
            self._tree = {}
            for folder, folders, files in os.walk(self.root):
                folders.sort()
                relative_folder = PurePosixPath(Path(folder).relative_to(self.root).as_posix())
                for file in files:
                    if _is_image(file):
                        self._tree.setdefault(composed(file), []).append(str(relative_folder / file))
        return self._tree


def _is_image(name: str) -> bool:
    """Whether a file in the folder is an image. macOS leaves `._name.jpg` beside every photo, which is
    none."""
    return is_image_name(name) and not name.startswith(".")
