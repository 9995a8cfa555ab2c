"""HAProxy before and behind the TLS listener: each believes what the other says of the client."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
import trustme

from meshlib.client_claims import Network
from meshlib.decision import Passthrough, TLSDecision
from meshlib.messages import ClientHello
from meshlib.model import Endpoint, ForwardTo, Route, ServerName, Upstream
from meshlib.upstream_key import Transport, UpstreamKey
from meshlib_adapters.config.transport import ProxyHeaderPolicy
from meshlib_adapters.listeners.tls import TLSListener
from tests.support.proxy_headers import US
from tests.support.tcp_lab import LOOPBACK, MakeLab, Run

SEEN = "%[src]:%[src_port] %[ssl_fc_sni]"
CONFIGURATION = """
global
    log stderr format raw local0
defaults
    mode tcp
    timeout connect 10s
    timeout client 30s
    timeout server 30s
frontend before
    bind 127.0.0.1:{front}
    default_backend ours
backend ours
    server ours 127.0.0.1:{ours} {says}
frontend behind
    mode http
    bind 127.0.0.1:{behind} accept-proxy ssl crt {certificate}
    http-request return status 200 content-type text/plain lf-string "{seen}"
"""


class Table:
    """Everything to one upstream."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    @property
    def table(self) -> Table:
        return self

    def route_tls(self, hello: ClientHello, covered: object = None) -> TLSDecision:
        return Passthrough(
            Route(
                ServerName("a.example"),
                ForwardTo(self._upstream),
                service="a",
                label="",
                schema="test",
            ),
            self._upstream,
        )


def free_port() -> int:
    with socket.socket() as held:
        held.bind((LOOPBACK, 0))
        return int(held.getsockname()[1])


@pytest.mark.skipif(
    (shutil.which("haproxy") is None or shutil.which("curl") is None) and not os.environ.get("CI"),
    reason="no haproxy or curl",
)
@pytest.mark.parametrize(("says", "version"), [("send-proxy", "v2"), ("send-proxy-v2", "v1")])
def test_the_clients_address_survives_two_proxies_and_us(
    run: Run, lab: MakeLab, authority: trustme.CA, tmp_path: Path, says: str, version: str
) -> None:
    async def main() -> None:
        async with lab() as env:
            certificate, trust, configuration = (
                tmp_path / "a.pem",
                tmp_path / "ca.pem",
                tmp_path / "haproxy.cfg",
            )
            certificate.write_bytes(
                authority.issue_cert("a.example").private_key_and_cert_chain_pem.bytes()
            )
            authority.cert_pem.write_to_path(str(trust))
            front, behind = free_port(), free_port()
            transport = Transport(proxy_protocol=version)  # type: ignore[arg-type]
            upstream = Upstream(
                UpstreamKey("a", 443, transport=transport), (Endpoint("a.1", LOOPBACK, behind),)
            )
            sources: tuple[Network, ...] = US
            listener = TLSListener(
                Table(upstream),
                on_end=env.records.append,
                proxy_protocol=ProxyHeaderPolicy("require", sources),
            )
            env.stack.callback(listener.close)
            _, ours = await listener.listen(LOOPBACK, 0)
            configuration.write_text(
                CONFIGURATION.format(
                    front=front,
                    ours=ours,
                    behind=behind,
                    says=says,
                    certificate=certificate,
                    seen=SEEN,
                )
            )
            haproxy = await asyncio.create_subprocess_exec(
                "haproxy", "-db", "-f", str(configuration), stderr=subprocess.DEVNULL
            )
            try:
                for port in (front, behind):
                    while haproxy.returncode is None:
                        with contextlib.suppress(OSError):
                            (await asyncio.open_connection(LOOPBACK, port))[1].close()
                            break
                        await asyncio.sleep(0.05)
                assert haproxy.returncode is None
                mine = free_port()
                client = await asyncio.create_subprocess_exec(
                    *(
                        "curl",
                        "-sS",
                        "--cacert",
                        str(trust),
                        "--resolve",
                        f"a.example:{front}:{LOOPBACK}",
                    ),
                    *(
                        "--local-port",
                        str(mine),
                        "--interface",
                        "127.0.0.9",
                        f"https://a.example:{front}/",
                    ),
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                )
                out, err = await client.communicate()
                assert out.decode() == f"127.0.0.9:{mine} a.example", err
            finally:
                haproxy.terminate()
                await haproxy.wait()
            assert "127.0.0.9" in {record.client for record in env.records}

    run(main())
