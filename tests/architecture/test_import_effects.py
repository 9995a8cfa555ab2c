"""Importing a public module has no effect: no thread, no open file, no task, nothing that stays in
the process beside the module.
"""

from __future__ import annotations

import subprocess
import sys

from tests.architecture.tree import (
    ADAPTERS,
    core_modules,
    module_name,
    modules_under,
    source_environment,
)

_IMPORT = """
import asyncio, importlib, logging, os, signal, sys, threading
import ssl, socket, multiprocessing  # what the standard library does by itself is not ours

def state():
    return {
        "descriptors": sorted(
            (number, os.readlink(f"/proc/self/fd/{number}"))
            for number in os.listdir("/proc/self/fd")
            if os.path.exists(f"/proc/self/fd/{number}")
        ),
        "threads": [thread.name for thread in threading.enumerate()],
        "signals": [str(signal.getsignal(number)) for number in signal.valid_signals()],
        "environment": dict(os.environ),
        "directory": os.getcwd(),
        "handlers": [str(handler) for handler in logging.getLogger().handlers],
        "own handlers": [
            name
            for name, logger in logging.Logger.manager.loggerDict.items()
            if name.partition(".")[0] == "meshlib" and getattr(logger, "handlers", None)
        ],
        "policy": type(asyncio.get_event_loop_policy()).__name__,
    }

before = state()
for name in sys.argv[1:]:
    importlib.import_module(name)
    after = state()
    for key, value in after.items():
        if value != before[key]:
            print(name, "changes", key, before[key], "->", value)
    before = after
"""


def _effects(*names: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", _IMPORT, *names],
        env=source_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_no_module_does_anything_when_it_is_imported() -> None:
    adapters = [
        module_name(path, ADAPTERS)
        for path in modules_under(ADAPTERS)
        if path.name != "__main__.py"
    ]
    assert _effects(*core_modules(), *adapters) == ""


def test_an_effect_would_be_seen() -> None:
    assert "changes descriptors" in _effects("tests.support.opens_on_import")
