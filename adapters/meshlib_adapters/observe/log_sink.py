"""Targets of an application's access log: a file, a stream, or a function."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeAlias

__all__ = ["LogSink", "TextStream", "sink_of"]


class TextStream(Protocol):
    """A stream of text, as `sys.stdout`."""

    def write(self, text: str, /) -> object:
        """Take a text."""

    def flush(self) -> object:
        """Pass on what was taken."""


# A path, a stream, or a function that takes whole lines.
LogSink: TypeAlias = "str | os.PathLike[str] | TextStream | Callable[[str], object]"


def sink_of(target: LogSink) -> Callable[[str], None]:
    """A function that takes some lines of text; it is called in a thread of the access log's own.

    A file is opened for each, so that it may be renamed meanwhile, and made where there is none.
    """
    if isinstance(target, (str, os.PathLike)):
        path = Path(target)

        def append(text: str) -> None:
            with path.open("a", encoding="utf-8") as file:
                file.write(text)

        return append
    if callable(target):
        function = target

        def call(text: str) -> None:
            function(text)

        return call
    stream = target

    def write(text: str) -> None:
        stream.write(text)
        stream.flush()

    return write
