from __future__ import annotations

import errno
import socket

import pytest

from meshlib_adapters.os_errors import explain_os_error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EACCES, "Permission denied", "/etc/x"), "Permission denied"),
        (
            socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
            "Name or service not known",
        ),
        (OSError("the file is too large"), "the file is too large"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_every_error_has_words(error: OSError, words: str) -> None:
    assert explain_os_error(error) == words
