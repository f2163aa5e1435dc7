"""Where the annotated images are: a folder, on a disk or in an object store, or an archive."""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from mmsearch.benchmarks.image_names import is_image_name, last_part
from mmsearch.benchmarks.model import DraftImage
from mmsearch.errors import BenchmarkError, SourceError
from mmsearch.locations import Location, Url
from mmsearch.names import composed
from mmsearch.sources import MEMBER, FolderWalk, container_form, file_in, member_names, refused_archive
from mmsearch.stores import absence, exists, is_folder

__all__ = ["ImageFolder"]

_ARCHIVES = ("tar", "zip")


@dataclass(slots=True)
class ImageFolder:
    """The images of a data set.

    Names are looked for as they are, then in the folder that the annotations say, then by their last part anywhere in
    the tree, and then in the archives of the tree. All of it is listed once, and only where needed. An archive in the
    place of a folder is looked into at once.

    Attributes:
        place: The folder, or the archive.
        ending: What is added to names that are no image file's.
        root: What paths are relative to: the folder, or that of the archive.
    """

    place: Location
    ending: str = ""
    root: Location = field(init=False)
    _archive: str = field(init=False, default="")
    _tree: dict[str, list[str]] | None = None
    _members: dict[str, list[str]] | None = None

    def __post_init__(self) -> None:
        self.root = self.place
        if is_folder(self.place):
            return
        if not exists(self.place):
            missing = "does not exist" if isinstance(self.place, Path) else absence(self.place)
            raise BenchmarkError(f"images: {self.place} {missing}")
        if reason := refused_archive(self.place.name):
            raise BenchmarkError(f"images: {self.place} is {reason}")
        if container_form(self.place.name) not in _ARCHIVES:
            raise BenchmarkError(f"images: {self.place} is not a folder, nor an archive (.tar, .zip)")
        self.root, self._archive = self.place.parent, self.place.name

    def find(self, image: DraftImage) -> str | None:
        """The image's POSIX path relative to the root; None where it has no file."""
        if image.place:
            return image.place
        name = image.name.replace("\\", "/")
        name += "" if is_image_name(name) else self.ending
        for path in (name, f"{image.folder}/{name}") if image.folder else (name,):
            relative = self._relative_path(path)
            if relative is not None and self._holds(relative):
                return relative
        last = composed(last_part(name))
        paths = self._paths_by_name().get(last, []) or self._paths_in_archives().get(last, [])
        in_folder = (
            [path for path in paths if composed(f"/{path}").endswith(composed(f"/{image.folder}/{last}"))]
            if image.folder
            else paths
        )
        paths = in_folder or paths
        if len(paths) > 1:
            raise BenchmarkError(
                f"images: {last} is in {self.place} more than once ({', '.join(paths[:3])}). "
                "Give the folder that holds the benchmark's images and no others."
            )
        return paths[0] if paths else None

    def list_beside(self, paths: Iterable[str]) -> list[str]:
        """Image files in the folders that hold the found images, these included; relative to the root, sorted. None of
        tables, whose rows all are images."""
        folders = {_folder_of(path) for path in paths if container_form(path.partition(MEMBER)[0]) != "parquet"}
        if isinstance(self.root, Path) and not any(MEMBER in folder for folder in folders):
            return sorted(
                str(PurePosixPath(folder) / name)
                for folder in folders
                for name in os.listdir(self.root / folder)
                if _is_image(name)
            )
        known = (self._members or {}) if any(MEMBER in folder for folder in folders) else self._paths_by_name()
        return sorted(path for paths in known.values() for path in paths if _folder_of(path) in folders)

    def _holds(self, path: str) -> bool:
        if isinstance(self.root, Path) and not self._archive:
            return os.path.isfile(self.root / path)  # noqa: PTH113 (Path.is_file raises on odd names)
        known = self._paths_in_archives() if self._archive else self._paths_by_name()
        return path in known.get(composed(last_part(path)), [])

    def _relative_path(self, path: str) -> str | None:
        """The path relative to the root in its plainest form; None where it leads out of it."""
        if re.match(r"/|[A-Za-z]:/|\w+://", path):
            if isinstance(self.root, Url):
                return path[len(f"{self.root}/") :] if path.startswith(f"{self.root}/") else None
            try:
                return PurePosixPath(path).relative_to(self.root.absolute().as_posix()).as_posix()
            except ValueError:
                return None
        plain = PurePosixPath(path)
        if ".." in plain.parts:
            return None
        return f"{self._archive}{MEMBER}{plain.as_posix()}" if self._archive else plain.as_posix()

    def _paths_by_name(self) -> dict[str, list[str]]:
        """Every file of the tree by its last name, composed. Links to folders are not followed: they may lead in
        circles."""
        if self._tree is None:
            self._tree = {} if self._archive else _by_name(path for path in self._list_files() if _is_image(path))
        return self._tree

    def _paths_in_archives(self) -> dict[str, list[str]]:
        """Every image in the archives of the tree by its last name, composed."""
        if self._members is None:
            archives = [self._archive] if self._archive else self._list_files()
            archives = sorted(path for path in archives if container_form(path) in _ARCHIVES)
            self._members = _by_name(member for archive in archives for member in self._list_members(archive))
        return self._members

    def _list_files(self) -> Iterator[str]:
        if isinstance(self.root, Url):
            yield from (file.name for file in FolderWalk(self.root, sidecars_too=True))
            return
        for folder, folders, files in os.walk(self.root):
            folders.sort()
            relative_folder = PurePosixPath(Path(folder).relative_to(self.root).as_posix())
            yield from (str(relative_folder / file) for file in files)

    def _list_members(self, archive: str) -> Iterator[str]:
        place = self.root / archive
        try:
            names = member_names(file_in(self.root, place))
        except SourceError as error:
            raise BenchmarkError(f"images: {error}") from error
        except OSError as error:
            raise BenchmarkError(f"images: {place} cannot be read: {error.strerror or error}") from error
        return (f"{archive}{MEMBER}{name}" for name in names if _is_image(name))


def _by_name(paths: Iterable[str]) -> dict[str, list[str]]:
    by_name: dict[str, list[str]] = {}
    for path in paths:
        by_name.setdefault(composed(last_part(path)), []).append(path)
    return by_name


def _folder_of(path: str) -> str:
    """The folder of a path, in the archive where it is in one."""
    archive, mark, inner = path.partition(MEMBER)
    return f"{archive}{mark}{PurePosixPath(inner).parent}" if mark else str(PurePosixPath(path).parent)


def _is_image(path: str) -> bool:
    """Whether a file in the folder is an image. macOS leaves `._name.jpg` beside every photo, which is
    none."""
    return is_image_name(path) and not last_part(path).startswith(".")
