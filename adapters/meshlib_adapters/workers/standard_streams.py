"""stdin, stdout and stderr at the start and at the end of a process.

At the start each must be open: the next socket would get the number of one that our parent closed,
and log lines would go to its peer. At the end neither may fail: Python flushes stdout and stderr
then, and a flush that fails turns every exit status into 120.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Final, TextIO

__all__ = ["open_missing_streams", "settle_streams"]

_STREAMS: Final = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def open_missing_streams() -> None:
    """Open those of the descriptors 0, 1 and 2 that are closed on the null device.

    To be called before anything else is opened.
    """
    for number, (name, mode) in enumerate(_STREAMS):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:  # only where a lower one was closed meanwhile
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)  # our own processes have the same need
            stream = open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115  # for good
            setattr(sys, name, stream)


def settle_streams() -> None:
    """Flush stdout and stderr for the last time; what one of them does not take is dropped."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # a full disk, a closed pipe; a stream that was closed
            _empty(stream)


def _empty(stream: TextIO) -> None:
    # Its buffer keeps what could not be written, for the next flush: that one has to succeed.
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())
        finally:
            os.close(nowhere)
        stream.flush()
