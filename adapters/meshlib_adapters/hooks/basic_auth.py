"""User names and passwords (RFC 7617), out of a file of htpasswd."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import os
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from meshlib.decision import Forward
from meshlib.errors import ConfigurationError
from meshlib.hook_values import Changes, Request, Response
from meshlib_adapters.extras import not_installed

__all__ = ["BasicAuth"]

# bcrypt alone: htpasswd -B. Its MD5, SHA-1 and crypt can be tried out by the billion.
_SAFE: Final = ("$2y$", "$2b$", "$2a$")
_REMEMBERED: Final = 10_000


class BasicAuth:
    """Asks for the name and password of a user in the file `htpasswd` (`htpasswd -B FILE NAME`), or
    in `users`, a mapping of names to such hashes. The endpoint gets the name as X-Remote-User, and
    not the password.

    A password is checked in a thread, because that takes a tenth of a second on purpose; what was
    right is remembered as a digest by a key of this process, for 10,000 users at most. What is not
    forwarded needs no password. Needs the package bcrypt.
    """

    def __init__(
        self,
        htpasswd: str | os.PathLike[str] | None = None,
        *,
        users: Mapping[str, str] | None = None,
        realm: str = "private",
    ) -> None:
        found = dict(users or {})
        if htpasswd is not None:
            found.update(_read(Path(htpasswd)))
        for name, hashed in found.items():
            if not hashed.startswith(_SAFE):
                raise ConfigurationError(
                    f"the password of {name!a} is not hashed with bcrypt",
                    where="BasicAuth",
                    hint=f"make it anew: htpasswd -B FILE {name}",
                )
        if not found:
            hint = "write htpasswd -c -B FILE NAME, and BasicAuth(FILE)"
            raise ConfigurationError("there is no user", where="BasicAuth", hint=hint)
        try:
            import bcrypt  # noqa: F401
        except ImportError as error:
            raise not_installed("BasicAuth", error, "hooks", "BasicAuth") from None
        quoted = realm.replace("\\", "").replace('"', "")
        challenge = f'Basic realm="{quoted}", charset="UTF-8"'
        self._refusal = Response(401, {"WWW-Authenticate": challenge}, "Who are you?")
        self._users = found
        self._key = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, None] = OrderedDict()

    def __repr__(self) -> str:
        return f"<BasicAuth users={len(self._users)}>"

    async def before(self, request: Request) -> Changes | Response | None:
        """Let users pass."""
        if not isinstance(request.decision, Forward):
            return None
        scheme, _, text = (request.field("authorization") or "").partition(" ")
        try:
            plain = (
                base64.b64decode(text.strip(), validate=True) if scheme.lower() == "basic" else b""
            )
        except (binascii.Error, ValueError):
            return self._refusal
        encoded, colon, password = plain.partition(b":")
        name = encoded.decode("utf-8", "replace")
        if not colon or not name.isprintable() or not await self._is_right(name, password):
            return self._refusal
        passed = quote_name(name)
        return Changes({"X-Remote-User": passed}, remove=["Authorization"])

    async def _is_right(self, name: str, password: bytes) -> bool:
        hashed = self._users.get(name)
        digest = hmac.digest(self._key, repr((name, hashed, password)).encode(), hashlib.sha256)
        if digest in self._known:
            self._known.move_to_end(digest)
            return True
        # Of somebody unknown, too, so that the time does not tell who is known.
        candidate = hashed if hashed is not None else next(iter(self._users.values()))
        right = await asyncio.to_thread(_check, password, candidate)
        if not right or hashed is None:
            return False
        self._known[digest] = None
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return True


def quote_name(name: str) -> str:
    """A user's name as a field may have it."""
    return name.encode("utf-8").decode("latin-1") if name.isascii() else ascii(name)[1:-1]


def _check(password: bytes, hashed: str) -> bool:
    import bcrypt

    # More is ignored by the hash, and refused by newer versions of the package.
    return len(password) <= 72 and bcrypt.checkpw(password, hashed.encode())


def _read(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, ValueError) as error:
        hint = "name a file that htpasswd -B has written"
        raise ConfigurationError(str(error), where="BasicAuth", hint=hint) from None
    pairs = [line.partition(":") for line in lines if line.strip() and not line.startswith("#")]
    return {name: hashed.strip() for name, _, hashed in pairs}
