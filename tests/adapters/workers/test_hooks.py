"""Hooks given in code, in workers: every one has them, and none serves without."""

from __future__ import annotations

import http.client
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.support.commands import PATIENCE, environment, free_port

HOOKS = """
import os
import meshlib

async def who(request):
    if request.path == "/out":
        return meshlib.Response(403, {"X-Worker": str(os.getpid())}, "no")

def named(request):
    return meshlib.Response(200, {}, "named")
"""
SERVES = """
import sys
import meshlib
from meshlib_adapters import Gateway
{imports}
mesh = meshlib.Mesh({{"a.test": meshlib.Service(["127.0.0.1:1"], hooks=["named"])}})
mesh.before({who})
mesh.hook("named", own_hooks.named)
Gateway(mesh, http="127.0.0.1:{port}", workers=2).run()
"""


def ask(port: int, path: str) -> tuple[int, str | None, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path, headers={"Host": "a.test"})
        response = connection.getresponse()
        return response.status, response.getheader("X-Worker"), response.read()
    finally:
        connection.close()


def test_every_worker_has_the_hooks(tmp_path: Path) -> None:
    (tmp_path / "own_hooks.py").write_text(HOOKS)
    port = free_port()
    program = tmp_path / "serves.py"
    program.write_text(SERVES.format(imports="import own_hooks", who="own_hooks.who", port=port))
    with subprocess.Popen([sys.executable, str(program)], env=environment()) as process:
        try:
            deadline = time.monotonic() + PATIENCE
            while True:
                try:
                    ask(port, "/")
                    break
                except OSError:
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            workers: set[str | None] = set()
            while len(workers) < 2:
                status, worker, body = ask(port, "/out")
                assert (status, body) == (403, b"no")
                workers.add(worker)
                assert time.monotonic() < deadline
            assert ask(port, "/")[::2] == (200, b"named")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)


def test_a_hook_that_workers_cannot_have_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "own_hooks.py").write_text(HOOKS)
    program = tmp_path / "serves.py"
    text = SERVES.format(imports="import own_hooks", who="lambda request: None", port=free_port())
    program.write_text(text)
    done = subprocess.run(
        [sys.executable, str(program)], env=environment(), capture_output=True, timeout=PATIENCE
    )
    assert done.returncode != 0
    assert b"defined in the program's main module" in done.stderr
