"""The identity of workers: the settings `user` and `group` as numbers, and becoming that user for
good.
"""

from __future__ import annotations

import ctypes
import grp
import os
import pwd
from dataclasses import dataclass
from typing import Final

from meshlib.errors import ConfigurationError

__all__ = ["Identity", "become", "renounce_privileges", "resolve_identity"]

_PR_SET_NO_NEW_PRIVS: Final = 38  # prctl(2)


@dataclass(frozen=True, slots=True)
class Identity:
    """A user, and the one group that workers keep."""

    uid: int
    gid: int


def resolve_identity(user: str, group: str) -> Identity | None:
    """The identity that workers assume. `user` and `group` are names or numbers; "" for `group` is
    the user's own. None: they stay who we are.

    `ConfigurationError` for unknown names, for root, and when we may not change to that user.
    """
    if not user:
        if group:
            raise ConfigurationError(
                "is of no use without user",
                where="group",
                hint="set user as well, or leave out both",
            )
        return None
    uid, own_group = _find_user(user)
    gid = _find_group(group) if group else own_group
    if gid is None:
        hint = "set group as well"
        raise ConfigurationError(
            f"the user {user!r} has no entry, so its group is not known", where="user", hint=hint
        )
    identity = Identity(uid, gid)
    if uid == 0:
        raise ConfigurationError(
            "root is what workers are to lose", where="user", hint="name another, such as nobody"
        )
    if os.geteuid() == uid and os.getegid() == gid:
        return None
    if os.geteuid() != 0:
        hint = "start as root, or leave user and group out"
        raise ConfigurationError(
            "only root can run workers as another user", where="user", hint=hint
        )
    return identity


def become(identity: Identity) -> None:
    """Be that user with that group alone, in this whole process and for good. Raises OSError when
    the system does not allow it.
    """
    os.setgroups([identity.gid])
    os.setresgid(identity.gid, identity.gid, identity.gid)
    os.setresuid(identity.uid, identity.uid, identity.uid)


def renounce_privileges() -> None:
    """Keep every program that is started from here on from gaining privileges (setuid, file
    capabilities). Linux only; elsewhere it does nothing.

    The process does it itself, because Swarm ignores `security_opt`. Call it before there are
    threads: it holds for the calling thread and those that it starts.
    """
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _find_user(user: str) -> tuple[int, int | None]:
    number = user.isascii() and user.isdigit()
    try:
        entry = pwd.getpwuid(int(user)) if number else pwd.getpwnam(user)
    except (KeyError, OverflowError):
        if number and int(user) < 2**32 - 1:
            return int(user), None
        raise ConfigurationError(
            f"there is no user {user!r} on this machine", where="user"
        ) from None
    return entry.pw_uid, entry.pw_gid


def _find_group(group: str) -> int:
    if group.isascii() and group.isdigit() and int(group) < 2**32 - 1:
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise ConfigurationError(
            f"there is no group {group!r} on this machine", where="group"
        ) from None
