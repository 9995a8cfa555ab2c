"""What people have at hand: curl and openssl s_client, against a gateway that ends TLS."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from meshlib_adapters.config.transport import TLSSettings
from tests.support.backend import Backend
from tests.support.tls_lab import TLSGateway

Start = Callable[..., TLSGateway]


@pytest.fixture(params=["curl", "openssl"])
def tool(request: pytest.FixtureRequest) -> str:
    path = shutil.which(request.param)
    if path is None:
        assert not os.environ.get("CI"), f"{request.param} is not installed"
        pytest.skip(f"{request.param} is not installed")
    return str(request.param)


def run(*command: str, given: str = "") -> str:
    done = subprocess.run(
        command, input=given, capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout + done.stderr


def test_they_are_served(
    tool: str, backend: Callable[..., Backend], start: Start, tmp_path: Path
) -> None:
    running = start(backend(), "a.example", tls=TLSSettings(plain_http="redirect"), https_only=True)
    authority = tmp_path / "ca.pem"
    running.authority.cert_pem.write_to_path(str(authority))
    port = running.tls_address[1]
    if tool == "curl":
        where = ("--resolve", f"a.example:{port}:127.0.0.1", "--cacert", str(authority), "-sSi")
        for version in ("1.2", "1.3"):
            said = run(
                "curl",
                *where,
                f"--tlsv{version}",
                "--tls-max",
                version,
                f"https://a.example:{port}/x",
            )
            assert said.startswith("HTTP/1.1 200 OK"), said
        running.offer("h2", "http/1.1")
        said = run(
            "curl", *where, "--http2", f"https://a.example:{port}/x", f"https://a.example:{port}/y"
        )
        assert said.count("HTTP/2 200") == 2, said
        assert said.count("\nok") + said.count("\r\nok") >= 1
        said = run(
            "curl", *where, "--http2", "-H", "Host: b.example", f"https://a.example:{port}/x"
        )
        assert said.startswith("HTTP/2 421"), said
        assert "Location: https://a.example/x" in run("curl", *where, f"http://a.example:{port}/x")
        return
    ask = (
        "openssl",
        "s_client",
        "-connect",
        f"127.0.0.1:{port}",
        "-servername",
        "a.example",
        "-CAfile",
        str(authority),
    )
    said = run(
        *ask,
        "-quiet",
        "-verify_return_error",
        given="GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n",
    )
    assert "HTTP/1.1 200 OK" in said
    for version in ("-tls1_2", "-tls1_3"):
        session = tmp_path / f"session{version}"
        begin = "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n"
        run(*ask, version, "-sess_out", str(session), "-ign_eof", given=begin)
        assert "Reused, TLSv1" in run(
            *ask, version, "-sess_in", str(session), "-ign_eof", given=begin
        )
    assert "Secure Renegotiation IS NOT supported" not in run(*ask, "-tls1_2")
    assert "no renegotiation" in run(*ask, "-tls1_2", given="R\n").lower()
