"""Layers of a service: what each file says of it, the base first, put on top of each other as
Compose does, with its tags `!reset` and `!override`.

Values are not merged into one document: each layer keeps its place, its variables and the directory
that its paths are relative to, and whoever reads a key says how its layers add up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from meshlib.discovery.files.interpolation import interpolate
from meshlib.errors import ConfigurationError
from meshlib.labels.diagnostics import show

__all__ = [
    "NO_FILES",
    "OVERRIDE",
    "RESET",
    "Files",
    "Layer",
    "ReadFile",
    "Source",
    "Tagged",
    "last",
    "last_text",
    "layers",
    "without_tags",
]

RESET: Final = "!reset"
OVERRIDE: Final = "!override"


# Not hashable: a mapping cannot have one as a key.
@dataclass(slots=True)
class Tagged:
    """A value of a document with a tag of its own: `!reset`, `!override`, or one that Compose does
    not know.
    """

    tag: str
    value: object


class ReadFile(NamedTuple):
    """A file that was read. `path` names it in diagnostics, the same for one file however it is
    asked for; paths in it are relative to `directory`; `content` is the text, or the document.
    """

    path: str
    directory: str
    content: object


class Files(Protocol):
    """Files that a document may name.

    A `path` is relative to `directory`, which is that of a file read before. Each method raises
    `ConfigurationError` for a file that may not be read, that cannot be, or that is one too many.
    """

    def document(self, path: str, directory: str) -> ReadFile:
        """The document in a YAML file."""

    def text(self, path: str, directory: str) -> ReadFile:
        """The text of a file."""

    def exists(self, path: str, directory: str) -> bool:
        """Whether there is such a file."""

    def directory(self, path: str, directory: str) -> str:
        """The directory `path`, for other paths to be relative to."""


class _NoFiles:
    def document(self, path: str, directory: str) -> ReadFile:
        raise self._refused(path)

    def text(self, path: str, directory: str) -> ReadFile:
        raise self._refused(path)

    def exists(self, path: str, directory: str) -> bool:
        return False

    def directory(self, path: str, directory: str) -> str:
        raise self._refused(path)

    def _refused(self, path: str) -> ConfigurationError:
        return ConfigurationError(
            f"the file {show(path)} is not read: only this document is at hand",
            hint="give the file to FileProvider, or what docker compose config prints of it",
        )


# For a document that comes without files.
NO_FILES: Final[Files] = _NoFiles()


class Source(NamedTuple):
    """The entry of a service in one `file` ("" is the main document), as it stands there. `problem`
    is what is wrong with what its service `extends`.
    """

    value: object
    variables: Mapping[str, str]
    file: str = ""
    directory: str = ""
    problem: ConfigurationError | None = None

    def place(self, path: str) -> str:
        """The `path` of a key, for a diagnostic."""
        return f"{self.file}: {path}" if self.file else path


class Layer(NamedTuple):
    """A value of one key in one source. `place` names it for a diagnostic."""

    value: object
    place: str
    source: Source


def layers(sources: Iterable[Source], service: str, *keys: str) -> list[Layer]:
    """The values of a key (of `keys`, each in the mapping of the one before) of the `service`, the
    base first.

    `!override` leaves out the layers below it, `!reset` itself too. A key without a value adds
    nothing.
    """
    found: list[Layer] = []
    for source in sources:
        value = source.value
        if keys and isinstance(value, dict) and keys[0] not in value:
            continue  # as most are
        for key in ("", *keys):
            if key:
                value = value.get(key) if isinstance(value, dict) else None
            if isinstance(value, Tagged) and value.tag in (RESET, OVERRIDE):
                found.clear()
                value = value.value if value.tag == OVERRIDE else None
        if value is not None:
            path = ".".join(("services", service, *keys))
            found.append(Layer(value, source.place(path), source))
    return found


def last(sources: Iterable[Source], service: str, key: str) -> Layer | None:
    """The value of a key that counts when only one does: that of the last layer."""
    found = layers(sources, service, key)
    return found[-1] if found else None


def last_text(sources: Iterable[Source], service: str, key: str) -> str:
    """The same for a text, with its variables; "" without one. `ConfigurationError` for another
    kind of value.
    """
    layer = last(sources, service, key)
    if layer is None:
        return ""
    if not isinstance(layer.value, str):
        raise ConfigurationError(f"{key} is not a string", hint="put the value in quotation marks")
    return interpolate(layer.value, layer.source.variables)


def without_tags(value: object) -> object:
    """The value under `!override`; None for what is `!reset`."""
    if isinstance(value, Tagged) and value.tag in (RESET, OVERRIDE):
        return value.value if value.tag == OVERRIDE else None
    return value
