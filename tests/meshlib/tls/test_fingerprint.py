"""JA3 and JA4 against the examples of their authors."""

from __future__ import annotations

import pytest

from meshlib.messages import ClientHello
from meshlib.tls import ja3, ja3_text, ja4

# The example of JA4.md: Chrome, with GREASE, whose order of extensions is random.
CHROME = ClientHello(
    server_name="a.example",
    alpn_protocols=(b"h2", b"http/1.1"),
    versions=(0x8A8A, 0x0304, 0x0303),
    cipher_suites=(
        *(0x2A2A, 0x1301, 0x1302, 0x1303, 0xC02B, 0xC02F, 0xC02C, 0xC030),
        *(0xCCA9, 0xCCA8, 0xC013, 0xC014, 0x009C, 0x009D, 0x002F, 0x0035),
    ),
    extensions=(
        *(0x4A4A, 0x001B, 0x0000, 0x0033, 0x0010, 0x4469, 0x0017, 0x002D, 0x000D),
        *(0x0005, 0x0023, 0x0012, 0x002B, 0xFF01, 0x000B, 0x000A, 0x0015, 0x1A1A),
    ),
    signature_algorithms=(0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601),
)


def test_ja4_of_its_authors() -> None:
    assert ja4(CHROME) == "t13d1516h2_8daaf6152771_e5627efa2ab1"


# The examples of the README of JA3.
@pytest.mark.parametrize(
    ("hello", "text", "digest"),
    [
        (
            ClientHello(
                legacy_version=769,
                cipher_suites=(47, 53, 5, 10, 49161, 49162, 49171, 49172, 50, 56, 19, 4),
                extensions=(0, 10, 11),
                groups=(23, 24, 25),
                point_formats=(0,),
            ),
            "769,47-53-5-10-49161-49162-49171-49172-50-56-19-4,0-10-11,23-24-25,0",
            "ada70206e40642a3e4461f35503241d5",
        ),
        (
            ClientHello(legacy_version=769, cipher_suites=(4, 5, 10, 9, 100, 98, 3, 6, 19, 18, 99)),
            "769,4-5-10-9-100-98-3-6-19-18-99,,,",
            "de350869b8c85de67a350c8d186f11e6",
        ),
    ],
)
def test_ja3_of_its_authors(hello: ClientHello, text: str, digest: str) -> None:
    assert ja3_text(hello) == text
    assert ja3(hello) == digest


def test_ja3_leaves_grease_out() -> None:
    assert "10794" not in ja3_text(CHROME)
    assert ",27-0-51-" in ja3_text(CHROME)


@pytest.mark.parametrize(
    ("protocols", "mark"),
    [
        ((), "00"),
        ((b"h2",), "h2"),
        ((b"http/1.1", b"h2"), "h1"),
        ((b"x",), "xx"),
        ((b"\xab\xcd",), "ad"),
        ((b"h\xff",), "6f"),
    ],
)
def test_ja4_marks_the_first_protocol(protocols: tuple[bytes, ...], mark: str) -> None:
    assert ja4(ClientHello(alpn_protocols=protocols)).startswith(f"t12i0000{mark}_")


def test_ja4_of_next_to_nothing() -> None:
    assert ja4(ClientHello(versions=(0x7F1C,))) == "t00i000000_000000000000_000000000000"
    assert ja4(ClientHello(extensions=(0,))) == "t12d000100_000000000000_000000000000"
