"""Writes the ClientHellos of real clients beside this file: `python tests/vectors/tls/generate.py`.

Each client that is installed here is started against a listener on loopback that keeps what comes first and hangs up. The name of
each file says which client with which options; what `meshlib.tls` must see in it stands in `expected.json`, checked by hand
against the options.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import tempfile
import threading
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
    "openssl-status-maxfragment": ["-servername", "shop.example.com", "-status", "-maxfraglen", "1024"],
    "openssl-acme": ["-servername", "shop.example.com", "-alpn", "acme-tls/1"],
    "openssl-psk": ["-servername", "shop.example.com", "-psk", "00112233445566778899aabbccddeeff", "-psk_identity", "me"],
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
        SSLSocket socket = (SSLSocket) SSLSocketFactory.getDefault().createSocket("127.0.0.1", Integer.parseInt(arguments[0]));
        SSLParameters parameters = socket.getSSLParameters();
        parameters.setServerNames(java.util.List.of(new SNIHostName("shop.example.com")));
        parameters.setApplicationProtocols(new String[] {"h2", "http/1.1"});
        socket.setSSLParameters(parameters);
        socket.startHandshake();
    }
}
"""


def capture(command: list[str], port_text: str) -> bytes:
    """What the command sends first; `port_text` in its arguments becomes the port to connect to."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        port = str(server.getsockname()[1])
        process = subprocess.Popen(
            [argument.replace(port_text, port) for argument in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        client, _ = server.accept()
        data = client.recv(1 << 16)
        client.close()
        process.wait(10)
    return data


def resumption() -> bytes:
    """The hello with which Python's client takes up a session of TLS 1.3, after a first handshake with a ticket."""
    authority = trustme.CA()
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("shop.example.com").configure_cert(server_context)
    client_context = ssl.create_default_context()
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
    client = client_context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="shop.example.com", session=session)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def main() -> None:
    for name, options in OPENSSL.items():
        command = ["openssl", "s_client", "-connect", "127.0.0.1:PORT", *options]
        (HERE / f"{name}.bin").write_bytes(capture(command, "PORT"))
    for name, options in CURL.items():
        command = ["curl", "-sk", *options, "--resolve", "shop.example.com:PORT:127.0.0.1", "https://shop.example.com:PORT/"]
        (HERE / f"{name}.bin").write_bytes(capture(command, "PORT"))
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory, "Hello.java")
        source.write_text(JAVA)
        (HERE / "java-default.bin").write_bytes(capture(["java", str(source), "PORT"], "PORT"))
    (HERE / "python-resumption.bin").write_bytes(resumption())


if __name__ == "__main__":
    main()
