"""Files of one Compose project, for `meshlib.discovery.files.project`: within its directory, few
enough, small enough, and remembered so that changes can be seen.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

from meshlib.discovery.files.sources import ReadFile
from meshlib.errors import ConfigurationError
from meshlib.labels.diagnostics import show
from meshlib_adapters.os_errors import explain_os_error
from meshlib_adapters.providers.documents import load_document

__all__ = ["MAX_FILES", "MAX_SIZE", "Marks", "ProjectFiles", "marks_now"]

# 10,000 services with ten endpoints each take 5 MB. Files far above that are a mistake (a core
# dump, a mounted device).
MAX_SIZE: Final = 64 * 1024 * 1024
# Files that others name, missing ones counting: each is looked at with every poll.
MAX_FILES: Final = 200
_OUTSIDE_HINT: Final = (
    "move it into the directory of the first file, or lay it over that one (FILE:FILE)"
)
_REMOTE: Final = ("git@", "oci:", "git:", "ssh:", "http:", "https:")

_Mark: TypeAlias = tuple[int, int, int, int, int]
# By path: modification time, change time, size, inode and device; None for a file that does not
# exist.
Marks: TypeAlias = dict[Path, _Mark | None]


class ProjectFiles:
    """Files that the documents in `directory` name, read once each. `marks` has all that were asked
    for.

    Only regular files below `directory` are read, symbolic links resolved, 200 at most and
    `max_size` bytes in all.
    """

    def __init__(self, directory: Path, *, max_size: int = MAX_SIZE) -> None:
        self.marks: Marks = {}
        self._root = Path(os.path.realpath(directory))
        self._max_size = max_size
        self._room = max_size
        self._documents: dict[Path, ReadFile] = {}
        self._texts: dict[Path, ReadFile] = {}

    def own(self, path: Path) -> bytes:
        """The content of a file that the operator names, wherever it is.

        `OSError` when it cannot be read, `ConfigurationError` when it is too large.
        """
        self.marks[path] = None
        self.marks[path] = _mark(path.stat())
        with path.open("rb") as file:
            return self._read(path, file.read)

    def present(self, path: Path) -> bool:
        """Whether there is a file that the operator means, wherever it is."""
        self.marks[path] = _mark_now(path)
        return path.is_file()

    def document(self, path: str, directory: str) -> ReadFile:
        """The document in a YAML file."""
        found = self._find(path, directory)
        if found not in self._documents:
            document = load_document(self._content(found), where=str(found))
            self._documents[found] = ReadFile(str(found), str(found.parent), document)
        return self._documents[found]

    def text(self, path: str, directory: str) -> ReadFile:
        """The text of a file, in UTF-8."""
        found = self._find(path, directory)
        if found not in self._texts:
            try:
                text = self._content(found).decode()
            except UnicodeDecodeError:
                raise ConfigurationError("is not UTF-8", where=str(found)) from None
            self._texts[found] = ReadFile(str(found), str(found.parent), text)
        return self._texts[found]

    def exists(self, path: str, directory: str) -> bool:
        """Whether there is such a file."""
        return self.present(self._find(path, directory))

    def directory(self, path: str, directory: str) -> str:
        """The directory `path`, for other paths to be relative to."""
        return str(self._inside(path, directory))

    def _find(self, path: str, directory: str) -> Path:
        found = self._inside(path, directory)
        if found not in self.marks:
            if len(self.marks) >= MAX_FILES:
                raise ConfigurationError(
                    f"{show(path)} is one file too many: more than {MAX_FILES} are not read",
                    hint="name fewer files",
                )
            self.marks[found] = None
        return found

    def _inside(self, path: str, directory: str) -> Path:
        if "://" in path or path.startswith(_REMOTE):
            raise ConfigurationError(
                f"{show(path)} is not on this machine, and is not fetched",
                hint="write the path of a file",
            )
        try:
            found = Path(os.path.normpath(os.path.join(directory, path)))
            real = Path(os.path.realpath(found))
        except (OSError, ValueError):
            raise ConfigurationError(f"{show(path)} is not the path of a file") from None
        if path.startswith("~") or not real.is_relative_to(self._root):
            raise ConfigurationError(
                f"{show(path)} is outside {self._root}, the directory of the first file",
                hint=_OUTSIDE_HINT,
            )
        return found

    def _content(self, found: Path) -> bytes:
        # Without waiting: a named pipe would never open.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY
        try:
            descriptor = os.open(os.path.realpath(found), flags)
            with open(descriptor, "rb") as file:
                status = os.fstat(descriptor)
                self.marks[found] = _mark(status)
                if not stat.S_ISREG(status.st_mode):
                    raise ConfigurationError("is not a file", where=str(found))
                return self._read(found, file.read)
        except OSError as error:
            self.marks[found] = _mark_now(found)
            raise ConfigurationError(
                f"cannot be read: {explain_os_error(error)}", where=str(found)
            ) from None

    def _read(self, path: Path, read: Callable[[int], bytes]) -> bytes:
        data = read(self._room + 1)
        if len(data) > self._room:
            whole = "" if self._room == self._max_size else ", with the files before it,"
            raise ConfigurationError(
                f"is{whole} larger than {self._max_size >> 20} MiB",
                where=str(path),
                hint="is this the right file?",
            )
        self._room -= len(data)
        return data


def marks_now(marks: Marks) -> Marks:
    """The marks of the same paths as they are now."""
    return {path: _mark_now(path) for path in marks}


def _mark_now(path: Path) -> _Mark | None:
    try:
        return _mark(path.stat())
    except OSError:
        return None


def _mark(status: os.stat_result) -> _Mark:
    return (
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_size,
        status.st_ino,
        status.st_dev,
    )
