"""The names of cipher suites, as OpenSSL has them."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from meshlib.tls.cipher_names import CIPHER_SUITES


def test_they_are_names_of_numbers_of_two_bytes() -> None:
    assert len(CIPHER_SUITES) > 150
    assert all(
        0 < number <= 0xFFFF and name.startswith("TLS_") for number, name in CIPHER_SUITES.items()
    )
    assert len(set(CIPHER_SUITES.values())) == len(CIPHER_SUITES)


def test_openssl_calls_them_the_same() -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl command")
    command = [openssl, "ciphers", "-V", "-stdname", "ALL:COMPLEMENTOFALL:@SECLEVEL=0"]
    lines = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=30
    ).stdout.splitlines()
    theirs = {
        int(number.replace("0x", "").replace(",", ""), 16): name
        for number, _, name, *_ in map(str.split, lines)
    }
    assert theirs
    common = theirs.keys() & CIPHER_SUITES.keys()
    assert len(common) > 100
    assert {number: theirs[number] for number in common} == {
        number: CIPHER_SUITES[number] for number in common
    }
