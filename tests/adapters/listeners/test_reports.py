"""What a tool that examines servers says about one is the same directly and through the
passthrough: nothing of TLS is ours.

Each probe is an `openssl s_client` with its own versions, ciphers, groups, protocols or sessions;
what it prints is compared without addresses and without what is drawn anew each time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme

from tests.support.tcp_lab import LOOPBACK, Lab, MakeLab, Run, closed_port

# Drawn anew at each handshake, or (sizes) following from what is: signatures of ECDSA differ in
# length.
_CHANCE = re.compile(
    r"Session-ID|Master-Key|Resumption PSK|Start Time|TLS session ticket:|^\s+[0-9a-f]{4} - |"
    r"handshake has read|Max Early|CONNECTED|:error:"
)
# Tickets of TLS 1.3 come when they come, before the client is told to leave or after; `_resumed`
# looks at what they are good for.
_TICKET = re.compile(
    (
        r"---\nPost-Handshake New Session Ticket arrived:\n.*?\n---\n(?:read R BLOCK\n)?|"
        r"^DONE\n|^read R BLOCK\n"
    ),
    re.DOTALL | re.MULTILINE,
)
_VERSIONS = [["-tls1"], ["-tls1_1"], ["-tls1_2"], ["-tls1_3"], []]
_LOW = ["-cipher", "ALL:@SECLEVEL=0"]
_OTHERS = [
    ["-alpn", "h2,http/1.1"], ["-alpn", "http/1.1"], ["-alpn", "h3"], ["-status"],
    ["-no_ticket", "-tls1_2"], ["-groups", "P-256"], ["-groups", "P-521"], ["-groups", "X448"],
    ["-groups", "ffdhe2048"], ["-groups", "X25519:P-256"], ["-sigalgs", "ECDSA+SHA256"],
    ["-sigalgs", "RSA-PSS+SHA256"], ["-maxfraglen", "512"], ["-split_send_frag", "512"],
    ["-no_etm", "-tls1_2"], ["-legacy_renegotiation"], ["-fallback_scsv", "-tls1_2"],
    ["-servername", "b.example"], ["-noservername"], ["-ct"], ["-enable_pha"],
    ["-ignore_unexpected_eof"],
]  # fmt: skip


def _openssl(*arguments: str, given: str = "Q\n") -> str:
    done = subprocess.run(
        ["openssl", *arguments],
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return f"{done.stdout}\n{done.stderr}\nexit {done.returncode}"


def _report(port: int, probe: list[str]) -> list[str]:
    name = [] if {"-servername", "-noservername"} & set(probe) else ["-servername", "a.example"]
    said = _TICKET.sub("", _openssl("s_client", "-connect", f"{LOOPBACK}:{port}", *name, *probe))
    alerts = re.findall(
        r"SSL alert number \d+|wrong version number|unsupported protocol|no protocols available",
        said,
    )
    return [
        line for line in said.splitlines() if line.strip() and not _CHANCE.search(line)
    ] + alerts


def _resumed(port: int, version: str, work: Path) -> list[str]:
    session = work / f"{port}{version}"
    common = ["s_client", "-connect", f"{LOOPBACK}:{port}", "-servername", "a.example", version]
    page = "GET / HTTP/1.0\r\n\r\n"  # TLS 1.3 gives its tickets with the first response
    _openssl(*common, "-sess_out", str(session), "-ign_eof", given=page)
    said = _openssl(*common, "-sess_in", str(session), "-ign_eof", given=page)
    return re.findall(r"^(?:Reused|New), .*$", said, re.MULTILINE)


def _suites() -> list[list[str]]:
    old = _openssl("ciphers", "-s", "-tls1_2", "ALL:@SECLEVEL=0").split("\n")[0].split(":")
    new = _openssl("ciphers", "-s", "-tls1_3").split("\n")[0].split(":")
    return [["-tls1_2", "-cipher", f"{suite}:@SECLEVEL=0"] for suite in old[::4]] + [
        ["-tls1_3", "-ciphersuites", suite] for suite in new
    ]


@contextlib.asynccontextmanager
async def _server(authority: trustme.CA, work: Path) -> AsyncIterator[int]:
    pem, port = work / "server.pem", closed_port()
    pem.write_bytes(authority.issue_cert("a.example").private_key_and_cert_chain_pem.bytes())
    command = [
        "openssl",
        "s_server",
        "-accept",
        f"{LOOPBACK}:{port}",
        "-cert",
        str(pem),
        "-www",
        "-alpn",
        "h2,http/1.1",
        "-quiet",
        *_LOW,
    ]
    server = await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(30):
            while True:
                with contextlib.suppress(OSError):
                    (await asyncio.open_connection(LOOPBACK, port))[1].close()
                    break
                await asyncio.sleep(0.05)
        yield port
    finally:
        server.terminate()
        await server.wait()


def test_reports_are_equal(run: Run, lab: MakeLab, authority: trustme.CA, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        assert not os.environ.get("CI"), "openssl is not installed"
        pytest.skip("openssl is not installed")

    async def main(env: Lab) -> None:
        probes = [*([*version, *_LOW] for version in _VERSIONS), *_suites(), *_OTHERS]
        assert len(probes) > 30
        async with _server(authority, tmp_path) as direct:
            env.table.ports["*"] = [(LOOPBACK, direct)]
            _, through = await env.listener()
            talked = 0
            for probe in probes:
                expected = await asyncio.to_thread(_report, direct, probe)
                assert await asyncio.to_thread(_report, through, probe) == expected, probe
                talked += any(
                    "Cipher is TLS" in line or "Cipher is ECDHE" in line for line in expected
                )
            assert 10 < talked < len(probes), "some must be agreed upon, and some refused"
            for version in ("-tls1_2", "-tls1_3"):
                expected = await asyncio.to_thread(_resumed, direct, version, tmp_path)
                assert any(line.startswith("Reused") for line in expected)
                assert await asyncio.to_thread(_resumed, through, version, tmp_path) == expected

    async def with_lab() -> None:
        async with lab() as env:
            await main(env)

    run(with_lab())
