"""Hooks given in code, on their way to workers: fresh interpreters, which import what the hooks are
defined in.

Pickled, as all that a supervisor tells its workers (`workers.messages`).
"""

from __future__ import annotations

import pickle
import sys
from typing import Final

from meshlib.errors import ConfigurationError
from meshlib.hooks import Hook, Hooks

__all__ = ["pack_hooks", "unpack_hooks"]

_CURE: Final = (
    "define it at the top of a module of its own, which workers can import; or write workers=1"
)


def pack_hooks(hooks: Hooks) -> bytes:
    """Everything that is called for requests; b"" for nothing. `ConfigurationError` names the
    hook that another process cannot have.
    """
    before, after, named = hooks.before.hooks, hooks.after.hooks, hooks.named
    records = hooks.on_record.hooks
    own = [hook for pair in named.values() for hook in pair if hook is not None]
    if not (before or after or own or records):
        return b""
    for hook in (*before, *after, *own, *records):
        _check(hook)
    content = pickle.dumps((before, after, named, records), protocol=5)
    return pickle.dumps((list(sys.path), content), protocol=5)


def _check(hook: Hook) -> None:
    owner = getattr(hook.function, "__self__", hook.function)
    place = getattr(owner, "__module__", None) or type(owner).__module__
    message = f"workers are processes of their own, and cannot have the hook {hook.name}"
    if place == "__main__":
        message += ": it is defined in the program's main module"
        raise ConfigurationError(message, where="workers", hint=_CURE)
    try:
        pickle.dumps(hook)
    except Exception as error:
        raise ConfigurationError(f"{message}: {error}", where="workers", hint=_CURE) from error


def unpack_hooks(packed: bytes, hooks: Hooks) -> None:
    """Register what `pack_hooks` has packed; modules are looked for where the supervisor finds
    them. `ConfigurationError` when they cannot be imported.
    """
    if not packed:
        return
    path, content = pickle.loads(packed)  # noqa: S301
    sys.path.extend(entry for entry in path if entry not in sys.path)
    try:
        adopted = pickle.loads(content)  # noqa: S301
    except Exception as error:
        message = f"a worker cannot import the hooks: {type(error).__name__}: {error}"
        raise ConfigurationError(message, where="workers", hint=_CURE) from error
    hooks.adopt(*adopted)
