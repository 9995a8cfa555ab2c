"""Code blocks of the pages: where they stand, and how those are run that serve until they
are told to end.
"""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from meshlib_adapters.testing import FakeEngine
from tests.lab.apart import apart, missing_for_apart

__all__ = ["code_blocks", "serves", "try_gateway"]

_BLOCK = re.compile(r"^```([a-z]+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_PATIENCE = 60.0


def code_blocks(page: Path, language: str = "python") -> Iterator[tuple[int, str]]:
    """Line and text of each block of a page that is in `language`."""
    text = page.read_text()
    for match in _BLOCK.finditer(text):
        if match[1] == language:
            yield text.count("\n", 0, match.start()) + 1, match[2]


def serves(block: str) -> bool:
    """Whether a block is a gateway that runs until it is told to end."""
    return block.rstrip().endswith(".run()")


def try_gateway(
    python: str | Path, block: str, directory: Path, environment: Mapping[str, str]
) -> None:
    """Run a block that redirects old.example.com on port 80, as it stands: in a network of its own,
    beside a stand-in for an engine. It must redirect, and end with status 0 on SIGTERM."""
    if missing := missing_for_apart():
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    program = directory / "gateway.py"
    program.write_text(block)
    with FakeEngine(directory / "engine.sock") as engine, apart():
        command = [str(python), "-W", "error", str(program)]
        with subprocess.Popen(
            command,
            cwd=directory,
            env={**environment, "DOCKER_HOST": engine.url},
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                response = _first_response(process)
                assert (response.status, response.getheader("Location")) == (
                    301,
                    "https://shop.example.com/cart",
                )
                process.send_signal(signal.SIGTERM)
                assert process.wait(_PATIENCE) == 0
            finally:
                process.kill()
                assert process.stderr is not None
                print(process.stderr.read())


def _first_response(process: subprocess.Popen[str]) -> http.client.HTTPResponse:
    end = time.monotonic() + _PATIENCE
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", 80, timeout=_PATIENCE)
        try:
            connection.request(
                "GET", "/cart", headers={"Host": "old.example.com", "Connection": "close"}
            )
            return connection.getresponse()
        except ConnectionRefusedError:
            assert process.poll() is None, "it has ended"
            assert time.monotonic() < end, "it does not listen"
            time.sleep(0.05)
