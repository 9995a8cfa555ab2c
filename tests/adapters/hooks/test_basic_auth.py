"""Users and their passwords."""

from __future__ import annotations

import base64
from pathlib import Path

import bcrypt
import pytest

from meshlib.errors import ConfigurationError
from meshlib.hook_values import Changes, Response
from meshlib_adapters.hooks import basic_auth
from meshlib_adapters.hooks.basic_auth import BasicAuth
from tests.support.hook_requests import asked

pytestmark = pytest.mark.anyio

HASH = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
USERS = {"anna": HASH}


def line(name: str, password: str) -> str:
    text = base64.b64encode(f"{name}:{password}".encode()).decode()
    return f"Authorization: Basic {text}"


async def test_a_user_passes_without_the_password() -> None:
    hook = BasicAuth(users=USERS)
    for _ in range(2):
        changes = await hook.before(asked(line("anna", "secret")))
        assert isinstance(changes, Changes)
        assert changes.added == ((b"X-Remote-User", b"anna"),)
        assert b"authorization" in changes.removed


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [line("anna", "wrong")],
        [line("eve", "secret")],
        [line("anna", "")],
        [line("anna", "secret" + "x" * 80)],
        ["Authorization: Basic"],
        ["Authorization: Basic ***"],
        ["Authorization: Basic YW5uYQ=="],
        ["Authorization: Bearer YW5uYTpzZWNyZXQ="],
        [line("an\nna", "secret")],
    ],
)
async def test_others_are_asked_who_they_are(lines: list[str]) -> None:
    response = await BasicAuth(users=USERS, realm='the "shop"').before(asked(*lines))
    assert isinstance(response, Response)
    assert response.status == 401
    challenge = b'Basic realm="the shop", charset="UTF-8"'
    assert (b"WWW-Authenticate", challenge) in response.fields


async def test_what_is_not_forwarded_needs_no_password() -> None:
    assert await BasicAuth(users=USERS).before(asked(host="unknown.test")) is None


async def test_a_right_password_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    hook = BasicAuth(users=USERS)
    assert isinstance(await hook.before(asked(line("anna", "secret"))), Changes)
    monkeypatch.setattr(basic_auth, "_check", lambda password, hashed: False)
    assert isinstance(await hook.before(asked(line("anna", "secret"))), Changes)
    assert isinstance(await hook.before(asked(line("anna", "secret2"))), Response)
    assert "secret" not in repr(vars(hook))


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(basic_auth, "_REMEMBERED", 1)
    monkeypatch.setattr(basic_auth, "_check", lambda password, hashed: True)
    hook = BasicAuth(users={"anna": HASH, "bert": HASH})
    for name in ("anna", "bert", "anna"):
        assert isinstance(await hook.before(asked(line(name, "secret"))), Changes)


async def test_a_file_of_htpasswd(tmp_path: Path) -> None:
    file = tmp_path / "htpasswd"
    file.write_text(f"# users\n\nanna:{HASH}\n")
    hook = BasicAuth(file)
    assert isinstance(await hook.before(asked(line("anna", "secret"))), Changes)
    assert repr(hook) == "<BasicAuth users=1>"


@pytest.mark.parametrize("hashed", ["$apr1$x$y", "{SHA}x", "secret", "abcdefghijk.."])
def test_hashes_that_are_not_safe_are_refused(hashed: str) -> None:
    with pytest.raises(ConfigurationError, match="not hashed with bcrypt"):
        BasicAuth(users={"anna": hashed})


def test_somebody_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no user"):
        BasicAuth()
    with pytest.raises(ConfigurationError, match="No such file"):
        BasicAuth(tmp_path / "missing")


def test_names_that_are_not_ascii_are_escaped() -> None:
    assert basic_auth.quote_name("anna") == "anna"
    assert basic_auth.quote_name("j\xf6rg") == r"j\xf6rg"
