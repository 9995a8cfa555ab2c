"""Names of the numbers in a hello; and every extension that we look into has one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from meshlib.tls import alerts, names
from meshlib.tls.extensions import PARSERS

CASES: list[tuple[Callable[[int], str], int, str]] = [
    (names.version_name, 0x0303, "TLS 1.2"),
    (names.version_name, 0x7F1C, "unknown"),
    (names.version_name, 0x5A5A, "GREASE"),
    (names.cipher_suite_name, 0x1301, "TLS_AES_128_GCM_SHA256"),
    (names.cipher_suite_name, 0x00FF, "TLS_EMPTY_RENEGOTIATION_INFO_SCSV"),
    (names.cipher_suite_name, 0xFAFA, "GREASE"),
    (names.cipher_suite_name, 0x0A1A, "unknown"),
    (names.extension_name, 0, "server_name"),
    (names.extension_name, 0xFE0D, "encrypted_client_hello"),
    (names.extension_name, 0x0A0A, "GREASE"),
    (names.group_name, 29, "x25519"),
    (names.group_name, 0x11EC, "X25519MLKEM768"),
    (names.group_name, 0xFFFF, "unknown"),
    (names.signature_algorithm_name, 0x0807, "ed25519"),
    (names.signature_algorithm_name, 0x0201, "rsa_pkcs1_sha1"),
    (names.signature_algorithm_name, 0x0303, "ecdsa_sha224"),
    (names.signature_algorithm_name, 0x0209, "unknown"),
    (names.signature_algorithm_name, 0x0901, "unknown"),
    (names.signature_algorithm_name, 0x1A1A, "GREASE"),
    (names.point_format_name, 0, "uncompressed"),
    (names.point_format_name, 200, "unknown"),
    (names.alert_name, 112, "unrecognized_name"),
    (names.alert_name, 255, "unknown"),
]


@pytest.mark.parametrize(("function", "number", "name"), CASES)
def test_numbers_of_tls_have_names(function: Callable[[int], str], number: int, name: str) -> None:
    assert function(number) == name


def test_what_we_look_into_and_what_we_send_has_a_name() -> None:
    assert [number for number in PARSERS if names.extension_name(number) == "unknown"] == []
    sent = {
        name: number
        for name, number in vars(alerts).items()
        if name.isupper() and isinstance(number, int)
    }
    assert {name: names.alert_name(number).upper() for name, number in sent.items()} == {
        name: name for name in sent
    }
