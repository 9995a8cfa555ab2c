"""`meshlib inspect-hello`: what it says of good, bad and other first bytes, from a file, an option
and a live port.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from meshlib.messages import ClientHello
from meshlib_adapters.cli.inspection import render_inspection
from meshlib_adapters.hello.inspection import inspection_data
from tests.vectors.tls.hellos import BASE, CASES, PSK, Case, ext, hello, records, sni

ROOT = Path(__file__).parents[3]
VECTORS = ROOT / "tests" / "vectors" / "tls"
PATIENCE = 30.0
GOOD = (VECTORS / "openssl-default.bin").read_bytes()


def text_of(data: dict[str, Any]) -> str:
    console = Console(width=160, no_color=True)
    with console.capture() as capture:
        console.print(render_inspection(data))
    return capture.get()


def environment() -> dict[str, str]:
    kept = {
        name: text
        for name, text in os.environ.items()
        if not name.startswith(("MESHLIB_", "DOCKER_"))
    }
    return {**kept, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'adapters'}"}


def command_line(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "meshlib_adapters.cli", "inspect-hello", *arguments]


def run(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command_line(*arguments),
        env=environment(),
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
    )


def test_every_field_of_a_hello_is_there_by_name() -> None:
    shown = inspection_data(GOOD)["hello"]
    assert {field.name for field in dataclasses.fields(ClientHello)} <= shown.keys()
    assert {"ja3", "ja4", "grease", "post_quantum"} <= shown.keys()
    assert shown["server_name"] == "shop.example.com"
    assert shown["versions"][0] == {"number": "0x0304", "name": "TLS 1.3"}
    assert shown["legacy_version"] == {"number": "0x0303", "name": "TLS 1.2"}
    assert {"number": "0x1302", "name": "TLS_AES_256_GCM_SHA384"} in shown["cipher_suites"]
    assert {"number": "0x001d", "name": "x25519"} in shown["key_shares"]
    assert {"number": "0x0807", "name": "ed25519"} in shown["signature_algorithms"]
    assert {"number": "0x00", "name": "uncompressed"} in shown["point_formats"]
    assert {"number": "0x0000", "name": "server_name"} in shown["extensions"]


@pytest.mark.parametrize("path", sorted(VECTORS.glob("*.bin")), ids=lambda path: path.stem)
def test_real_clients_have_a_name_for_every_number_that_is_no_grease(path: Path) -> None:
    data = inspection_data(path.read_bytes())
    assert (data["kind"], data["error"], data["protocol"]) == ("client_hello", None, None)
    assert data["bytes"] + data["trailing_bytes"] == path.stat().st_size
    nameless = [
        (key, item)
        for key in (
            "versions",
            "cipher_suites",
            "extensions",
            "groups",
            "key_shares",
            "signature_algorithms",
            "point_formats",
        )
        for item in data["hello"][key]
        if item["name"] == "unknown"
    ]
    assert nameless == []


def test_what_a_client_resumes_and_hides() -> None:
    wire = records(
        hello(
            sni("a.example"), ext(0xFE0D, b"x"), ext(0x2A2A), ext(35, b"old"), *BASE, ext(42), PSK
        )
    )
    data = inspection_data(wire + b"early")
    shown = data["hello"]
    assert (shown["ticket"], shown["psk_identities"]) == (b"old".hex(), [(b"ticket" * 20).hex()])
    assert [shown[key] for key in ("early_data", "ech", "grease", "post_quantum")] == [
        True,
        True,
        True,
        False,
    ]
    assert data["trailing_bytes"] == 5
    text = text_of(data)
    assert "id of 32 bytes, ticket of 3 bytes, a pre-shared key, early data" in text
    assert "and 5 after it" in text
    assert "encrypted_client_hello" in text


def test_odd_names_are_shown_and_cannot_write_to_a_terminal() -> None:
    text = text_of(
        inspection_data(records(hello(sni(b"\x1b[2J"), ext(16, b"\x00\x03\x02\x1b["), *BASE)))
    )
    assert "\x1b" not in text
    assert "matches no route" in text
    nameless = text_of(inspection_data(records(hello(*BASE, session_id=b""))))
    assert re.search(r"server name +\(none\)", nameless)
    assert re.search(r"session +no id\n", nameless)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_every_case_is_shown(case: Case) -> None:
    data = inspection_data(case.data)
    json.dumps(data)
    assert text_of(data)
    assert data["bytes"] + data["trailing_bytes"] == len(case.data)
    if data["kind"] == "malformed":
        assert 0 <= data["error"]["position"] <= len(case.data)
        assert data["error"]["alert"]["name"] != "unknown"


@pytest.mark.parametrize("size", [1, 7, 16_384])
def test_an_error_has_a_place_however_the_hello_is_cut_into_records(size: int) -> None:
    whole = hello(sni("a.example"), *BASE, ext(49, b"not empty"))
    place = whole.index(b"not empty")
    wire = b"".join(records(whole[at : at + size]) for at in range(0, len(whole), size))
    error = inspection_data(wire)["error"]
    assert error["reason"] == "bad_extension"
    assert wire[error["position"] : error["position"] + 1] == b"n"
    assert error["position"] == place + 5 * (place // size + 1)


def test_a_wrong_record_has_a_place_too() -> None:
    data = inspection_data(GOOD[:5] + b"\x02" + GOOD[6:])
    assert data["error"] == {
        "reason": "unexpected_handshake",
        "message": "a message that is no ClientHello",
        "position": 9,
        "alert": {"number": 10, "name": "unexpected_message"},
    }
    assert f"byte 9 of {len(GOOD)}" in text_of(data)


@pytest.mark.parametrize(
    ("first", "protocol", "words"),
    [
        (b"GET / HTTP/1.1\r\n", "http", "HTTP without TLS"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "http2", "HTTP/2"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "ssh", "SSH"),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n", "proxy_v1", "PROXY"),
        (b"\r\n\r\n\x00\r\nQUIT\n", "proxy_v2", "PROXY"),
        (b"\x00\x00\x00\x08\x04\xd2\x16\x2f", "postgres", "PostgreSQL"),
        (b"\x80\x2e\x01\x00\x02\x00\x15", "sslv2", "SSL 2.0"),
        (b"\x7fELF", "unknown", "an unknown protocol"),
    ],
)
def test_other_protocols_are_told(tmp_path: Path, first: bytes, protocol: str, words: str) -> None:
    data = inspection_data(first)
    assert (data["kind"], data["protocol"], data["hello"]) == ("not_tls", protocol, None)
    assert words in text_of(data)


def test_a_file_of_bytes_of_hex_and_standard_input(tmp_path: Path) -> None:
    raw, digits = tmp_path / "hello.bin", tmp_path / "hello.txt"
    raw.write_bytes(GOOD)
    digits.write_text("\n".join(re.findall(".{1,32}", GOOD.hex(":"))), encoding="ascii")
    outputs = [
        run(str(raw), "--json"),
        run(str(digits), "--json"),
        run("-", "--json", stdin=GOOD),
        run("--hex", GOOD.hex(), "--json"),
    ]
    assert [(done.returncode, done.stderr) for done in outputs] == [(0, b"")] * 4
    assert {done.stdout for done in outputs} == {outputs[0].stdout}
    assert json.loads(outputs[0].stdout) == inspection_data(GOOD)
    text = run(str(raw))
    assert text.returncode == 0
    assert b"shop.example.com" in text.stdout


@pytest.mark.parametrize(
    ("first", "word"),
    [
        (GOOD[:40], "incomplete"),
        (GOOD[:8] + bytes((GOOD[8] - 1,)) + GOOD[9:], "malformed"),
        (b"GET / HTTP/1.1", "not TLS"),
    ],
)
def test_what_is_no_good_hello_ends_with_1_and_says_why(first: bytes, word: str) -> None:
    done = run("--hex", first.hex())
    assert (done.returncode, word in done.stdout.decode(), done.stderr) == (1, True, b"")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give one of FILE"),
        (["-", "--hex", "16"], "give one of FILE"),
        (["no-such-file"], "no-such-file: cannot be read: No such file"),
        (["/"], "/: cannot be read: Is a directory"),
        (["--hex", "16 03 zz"], "'z' is not a hex digit"),
        (["--hex", "160"], "3 hex digits are not whole bytes"),
        (["--hex", " "], "there are no bytes"),
        (["-"], "there are no bytes"),
        (["--listen", "nonsense"], "--listen: 'nonsense' is not HOST:PORT"),
        (["--listen", "off"], "--listen: one address is needed"),
        (["--listen", "192.0.2.1:1"], "192.0.2.1"),
    ],
)
def test_a_wrong_option_ends_with_2_and_a_line(arguments: list[str], words: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    lines = done.stderr.decode().splitlines()
    assert len(lines) == 1
    assert words in lines[0]


Listening = Callable[[], tuple["subprocess.Popen[str]", int]]


@pytest.fixture
def listening() -> Iterator[Listening]:
    started: list[subprocess.Popen[str]] = []

    def start() -> tuple[subprocess.Popen[str], int]:
        process = subprocess.Popen(
            command_line("--listen", "127.0.0.1:0", "--json"),
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stderr is not None
        return process, int(process.stderr.readline().rpartition(":")[2])

    yield start
    for process in started:
        with process:
            process.kill()


def shown_by(process: subprocess.Popen[str]) -> dict[str, Any]:
    output, _ = process.communicate(timeout=PATIENCE)
    found: dict[str, Any] = json.loads(output)
    assert process.returncode == (0 if found["kind"] == "client_hello" else 1)
    return found


@pytest.mark.skipif(
    shutil.which("openssl") is None and not os.environ.get("CI"), reason="no openssl command"
)
def test_a_live_port_takes_one_client_and_sends_it_an_alert(listening: Listening) -> None:
    process, port = listening()
    client = [
        "openssl",
        "s_client",
        "-connect",
        f"127.0.0.1:{port}",
        "-servername",
        "live.example.com",
        "-alpn",
        "h2",
    ]
    done = subprocess.run(
        client,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert "alert handshake failure" in done.stderr
    assert done.returncode == 1
    data = shown_by(process)
    assert (data["hello"]["server_name"], data["hello"]["alpn_protocols"]) == (
        "live.example.com",
        ["h2"],
    )
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
        pass


@pytest.mark.parametrize(
    ("pieces", "kind", "reply"),
    [
        ([GOOD[:1], GOOD[1:9], GOOD[9:]], "client_hello", b"\x15\x03\x01\x00\x02\x02\x28"),
        ([b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"], "not_tls", b"HTTP/1.1 400 "),
        ([b"SSH-2.0-x\r\n"], "not_tls", b""),
        ([GOOD[:5] + b"\x02" + GOOD[6:]], "malformed", b"\x15\x03\x01\x00\x02\x02\x0a"),
        ([GOOD[:50]], "incomplete", b"\x15\x03\x01\x00\x02\x02\x28"),
        ([], "incomplete", b"\x15\x03\x01\x00\x02\x02\x28"),
    ],
)
def test_a_live_port_shows_what_came(
    listening: Listening, pieces: list[bytes], kind: str, reply: bytes
) -> None:
    process, port = listening()
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            client.sendall(piece)
        client.shutdown(socket.SHUT_WR)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := client.recv(4096):
                received += piece
    assert received[: len(reply)] == reply
    assert bool(received) == bool(reply)
    assert shown_by(process)["kind"] == kind
