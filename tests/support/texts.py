"""Files of a project that stand in a mapping."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping

from meshlib.discovery.files.sources import ReadFile
from meshlib.errors import ConfigurationError


class Texts:
    """Files by their path in "/srv": texts, and documents. `asked` are the paths that were asked
    for.
    """

    def __init__(self, files: Mapping[str, object]) -> None:
        self._files = {posixpath.join("/srv", path): content for path, content in files.items()}
        self.asked: list[str] = []

    def document(self, path: str, directory: str) -> ReadFile:
        """The document in a file."""
        return self._read(path, directory)

    def text(self, path: str, directory: str) -> ReadFile:
        """The text of a file."""
        return self._read(path, directory)

    def exists(self, path: str, directory: str) -> bool:
        """Whether there is such a file."""
        return posixpath.normpath(posixpath.join(directory, path)) in self._files

    def directory(self, path: str, directory: str) -> str:
        """The directory `path`."""
        return posixpath.normpath(posixpath.join(directory, path))

    def _read(self, path: str, directory: str) -> ReadFile:
        whole = posixpath.normpath(posixpath.join(directory, path))
        if whole not in self._files:
            raise ConfigurationError(f"there is no {path}", hint="write it")
        self.asked.append(whole)
        return ReadFile(whole, posixpath.dirname(whole), self._files[whole])
