"""An application that terminates TLS itself, in five replicas behind the gateway, on a real Swarm:
the stack file ssl.yml.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    load_pem_private_key,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates
from cryptography.x509 import load_pem_x509_certificate

from tests.e2e.running import Gateway
from tests.lab.lab import STACKS, Lab
from tests.lab.node import Popen, wait_until

_HOST = "demo.example.com"
_SERVICE = "ssl_session-example"
_IMAGE = "meshlib/tls:lab"
_PORT = "8443"
_CLIENT = Path(__file__).with_name("tls_client.py")


def deploy(lab: Lab, folder: Path) -> Path:
    """The stack, with a keystore and its passwords as secrets; the file of the authority that
    signed its certificate.
    """
    authority = trustme.CA()
    issued = authority.issue_cert(_HOST)
    key = load_pem_private_key(issued.private_key_pem.bytes(), password=None)
    certificate, *others = [
        load_pem_x509_certificate(blob.bytes()) for blob in issued.cert_chain_pems
    ]
    keystore = serialize_key_and_certificates(
        b"shop",
        key,  # type: ignore[arg-type]
        certificate,
        others,
        BestAvailableEncryption(b"of the store"),
    )
    for name, secret in (
        ("keystore.jks", keystore),
        ("keystore-password.txt", b"of the store\n"),
        ("key-password.txt", b"of the key\n"),
    ):
        lab.docker("secret", "create", f"session-example_{name}_v1", "-", stdin=secret)
    lab.tls_image(_IMAGE)
    stack = folder / "ssl.yml"
    stack.write_text(
        (STACKS / "ssl.yml").read_text().replace("ahromis/session-example:0.1", _IMAGE)
    )
    lab.stack_deploy(stack, "ssl", {"DOMAIN": _HOST})
    trusted = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(trusted))
    return trusted


def start_client(gateway: Gateway, mode: str, trusted: Path, *version: str) -> Popen:
    command = [sys.executable, str(_CLIENT), mode, _PORT, _HOST, str(trusted), *version]
    return gateway.lab.start(gateway.inside, command, stdout=subprocess.PIPE)


def wait_until_all_respond(gateway: Gateway, trusted: Path, count: int) -> None:
    """A task without a health check counts as running before its application listens; until then
    others stand in for it.
    """

    def look() -> bool:
        output, _ = start_client(gateway, "once", trusted).communicate(timeout=60)
        return (
            bool(output) and len({response["replica"] for response in json.loads(output)}) == count
        )

    wait_until(look, timeout=60, what=f"{count} replicas respond")


def ask(gateway: Gateway, mode: str, trusted: Path, *version: str) -> Any:
    client = start_client(gateway, mode, trusted, *version)
    output, _ = client.communicate(timeout=60)
    assert client.returncode == 0
    return json.loads(output)


@pytest.mark.timeout(300)
def test_a_stack_that_terminates_tls_itself(lab: Lab, tmp_path: Path) -> None:
    lab.network_create("ucp-hrm")
    gateway = Gateway(lab, ["ucp-hrm"])
    trusted = deploy(lab, tmp_path)
    gateway.wait_for(_HOST, endpoints=5)
    wait_until_all_respond(gateway, trusted, 5)

    # http:// is redirected to https://, path and query kept
    assert gateway.status(_HOST, "/a%2Fb?c=d") == f"301 https://{_HOST}/a%2Fb?c=d"

    # TLS reaches the application undecrypted: the client verifies the certificate of the secret;
    # all replicas get connections
    responses = ask(gateway, "once", trusted)
    assert len({response["replica"] for response in responses}) == 5
    assert not any(response["resumed"] for response in responses)

    # one session stays on one replica, whose ticket keys nobody else has
    for version in ("TLSv1_2", "TLSv1_3"):
        for client in ask(gateway, "sessions", trusted, version):
            assert {response["version"] for response in client} == {version.replace("_", ".")}
            assert len({response["replica"] for response in client}) == 1
            assert [response["resumed"] for response in client] == [False] + [True] * 8

    # a name that nobody has gets the alert, and so does none at all
    for option in (["-servername", "other.example.com"], ["-noservername"]):
        command = gateway.inside.command(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{_PORT}", *option]
        )
        told = subprocess.run(command, input=b"", capture_output=True, check=False, timeout=30)
        assert told.returncode
        assert b"unrecognized name" in told.stderr

    # scaled up and down while connections are made all the time
    load = start_client(gateway, "load", trusted)
    assert load.stdout is not None
    assert load.stdout.readline() == b"started\n"
    lab.service_scale(_SERVICE, 7)
    gateway.wait_for(_HOST, endpoints=7)
    wait_until_all_respond(gateway, trusted, 7)
    lab.service_scale(_SERVICE, 2)
    gateway.wait_for(_HOST, endpoints=2)
    assert len({response["replica"] for response in ask(gateway, "once", trusted)}) == 2
    load.send_signal(signal.SIGTERM)
    result = json.loads(load.stdout.read())
    assert result["failed"] == []
    assert len(result["seen"]) == 7
