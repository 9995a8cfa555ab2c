"""Writes the ClientHellos of real clients beside this file: `python tests/vectors/tls/generate.py
[NAME ...]`, all of them or some.

Each client (README.md says which) is started against a listener on loopback that keeps what comes
first and hangs up. The name of each file says which client with which options; what `meshlib.tls`
must see in it stands in `expected.json`, checked by hand against the options.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import trustme

HERE = Path(__file__).parent

OPENSSL: dict[str, list[str]] = {
    "openssl-default": ["-servername", "shop.example.com"],
    "openssl-tls12": ["-servername", "shop.example.com", "-tls1_2"],
    "openssl-tls12-noticket": ["-servername", "shop.example.com", "-tls1_2", "-no_ticket"],
    "openssl-tls13-alpn": ["-servername", "Shop.Example.com", "-tls1_3", "-alpn", "h2,http/1.1"],
    "openssl-noservername": ["-noservername"],
    "openssl-p384-first": ["-servername", "shop.example.com", "-curves", "P-384:X25519"],
    "openssl-status-maxfragment": [
        "-servername",
        "shop.example.com",
        "-status",
        "-maxfraglen",
        "1024",
    ],
    "openssl-acme": ["-servername", "shop.example.com", "-alpn", "acme-tls/1"],
    "openssl-psk": [
        "-servername",
        "shop.example.com",
        "-psk",
        "00112233445566778899aabbccddeeff",
        "-psk_identity",
        "me",
    ],
}
CURL: dict[str, list[str]] = {
    "curl-default": [],
    "curl-http1": ["--http1.1"],
    "curl-tls12": ["--tls-max", "1.2"],
}

JAVA = """
import javax.net.ssl.*;
public class Hello {
    public static void main(String[] arguments) throws Exception {
        int port = Integer.parseInt(arguments[0]);
        SSLSocket socket =
            (SSLSocket) SSLSocketFactory.getDefault().createSocket("127.0.0.1", port);
        SSLParameters parameters = socket.getSSLParameters();
        parameters.setServerNames(java.util.List.of(new SNIHostName("shop.example.com")));
        parameters.setApplicationProtocols(new String[] {"h2", "http/1.1"});
        socket.setSSLParameters(parameters);
        socket.startHandshake();
    }
}
"""

GO = """
package main

import (
	"crypto/tls"
	"os"
)

func main() {
	names := []string{"h2", "http/1.1"}
	config := &tls.Config{ServerName: "shop.example.com", NextProtos: names}
	tls.Dial("tcp", "127.0.0.1:"+os.Args[1], config)
}
"""


def capture(command: list[str], port_text: str) -> bytes:
    """What the command sends first; `port_text` in its arguments becomes the port to connect to."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        port = str(server.getsockname()[1])
        process = subprocess.Popen(
            [argument.replace(port_text, port) for argument in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        client, _ = server.accept()
        client.settimeout(10)
        data = client.recv(1 << 16)
        while len(data) < 5 + int.from_bytes(data[3:5], "big"):
            data += client.recv(1 << 16)
        client.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(2)
        with contextlib.suppress(ProcessLookupError):  # a browser tries again for ever
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
    return data


def python_default() -> bytes:
    """The hello of Python's client."""
    outgoing = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(
        ssl.MemoryBIO(), outgoing, server_hostname="shop.example.com"
    )
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def resumption(version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, options: int = 0) -> bytes:
    """The hello with which Python's client takes up a session of `version` after a first handshake;
    a ticket unless `options` forbids.
    """
    authority = trustme.CA()
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("shop.example.com").configure_cert(server_context)
    client_context = ssl.create_default_context()
    client_context.maximum_version = version
    client_context.options |= options
    authority.configure_trust(client_context)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            client, _ = listener.accept()
            with server_context.wrap_socket(client, server_side=True) as tls:
                tls.sendall(b"x")

        thread = threading.Thread(target=serve)
        thread.start()
        sock = socket.create_connection(listener.getsockname()[:2])
        with client_context.wrap_socket(sock, server_hostname="shop.example.com") as tls:
            tls.recv(1)
            session = tls.session
        thread.join()
    outgoing = ssl.MemoryBIO()
    client = client_context.wrap_bio(
        ssl.MemoryBIO(), outgoing, server_hostname="shop.example.com", session=session
    )
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def vectors(directory: Path) -> dict[str, Callable[[], bytes]]:
    """How each file is made; `directory` is for sources and profiles."""
    made: dict[str, Callable[[], bytes]] = {}
    for name, options in OPENSSL.items():
        made[name] = partial(
            capture, ["openssl", "s_client", "-connect", "127.0.0.1:PORT", *options], "PORT"
        )
    for name, options in CURL.items():
        command = [
            "curl",
            "-sk",
            *options,
            "--resolve",
            "shop.example.com:PORT:127.0.0.1",
            "https://shop.example.com:PORT/",
        ]
        made[name] = partial(capture, command, "PORT")
    java, go = directory / "Hello.java", directory / "hello.go"
    java.write_text(JAVA)
    go.write_text(GO)
    made["java-default"] = partial(capture, ["java", str(java), "PORT"], "PORT")
    made["go-default"] = partial(capture, ["go", "run", str(go), "PORT"], "PORT")
    browser = [
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={directory / 'profile'}",
    ]
    browser += [
        "--host-resolver-rules=MAP shop.example.com 127.0.0.1",
        "https://shop.example.com:PORT/",
    ]
    made["chromium-default"] = partial(capture, browser, "PORT")
    made["python-default"] = python_default
    made["python-resumption"] = resumption
    made["python-tls12-ticket"] = partial(resumption, ssl.TLSVersion.TLSv1_2)
    made["python-tls12-session-id"] = partial(resumption, ssl.TLSVersion.TLSv1_2, ssl.OP_NO_TICKET)
    return made


def main() -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        for name, make in vectors(Path(directory)).items():
            if len(sys.argv) < 2 or name in sys.argv[1:]:
                (HERE / f"{name}.bin").write_bytes(make())


if __name__ == "__main__":
    main()
