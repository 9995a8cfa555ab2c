"""Errors of the operating system: in words, and those that are a shortage of this machine."""

from __future__ import annotations

import errno
from typing import Final

__all__ = ["NO_ROOM", "UNREACHABLE", "explain_os_error"]

# The kernel lacks descriptors or memory: no fault of the peer's, and not over a moment later.
NO_ROOM: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
# Nobody has responded: the peer's machine is gone, or the way there.
UNREACHABLE: Final = frozenset(
    (errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN)
)


def explain_os_error(error: OSError) -> str:
    """The cause of an error in the words of the system ("Permission denied"); those of whoever
    raised the error where it has no number, and the kind of error where it has no words.
    """
    return error.strerror or str(error) or type(error).__name__
