"""IANA's names for the numbers in a TLS hello, for people who read one.

Small tables of numbers found in practice: any other number is "unknown", which does not make it
wrong.
"""

from __future__ import annotations

from typing import Final

from meshlib.tls.cipher_names import CIPHER_SUITES

__all__ = [
    "alert_name",
    "cipher_suite_name",
    "extension_name",
    "group_name",
    "point_format_name",
    "signature_algorithm_name",
    "version_name",
]

_UNKNOWN: Final = "unknown"

_VERSIONS: Final = {
    0x0002: "SSL 2.0",
    0x0300: "SSL 3.0",
    0x0301: "TLS 1.0",
    0x0302: "TLS 1.1",
    0x0303: "TLS 1.2",
    0x0304: "TLS 1.3",
}

_EXTENSIONS: Final = {
    0: "server_name",
    1: "max_fragment_length",
    2: "client_certificate_url",
    3: "trusted_ca_keys",
    4: "truncated_hmac",
    5: "status_request",
    6: "user_mapping",
    7: "client_authz",
    8: "server_authz",
    9: "cert_type",
    10: "supported_groups",
    11: "ec_point_formats",
    12: "srp",
    13: "signature_algorithms",
    14: "use_srtp",
    15: "heartbeat",
    16: "application_layer_protocol_negotiation",
    17: "status_request_v2",
    18: "signed_certificate_timestamp",
    19: "client_certificate_type",
    20: "server_certificate_type",
    21: "padding",
    22: "encrypt_then_mac",
    23: "extended_master_secret",
    24: "token_binding",
    25: "cached_info",
    27: "compress_certificate",
    28: "record_size_limit",
    34: "delegated_credential",
    35: "session_ticket",
    41: "pre_shared_key",
    42: "early_data",
    43: "supported_versions",
    44: "cookie",
    45: "psk_key_exchange_modes",
    47: "certificate_authorities",
    48: "oid_filters",
    49: "post_handshake_auth",
    50: "signature_algorithms_cert",
    51: "key_share",
    52: "transparency_info",
    57: "quic_transport_parameters",
    58: "ticket_request",
    0x3374: "next_protocol_negotiation",
    0x4469: "application_settings_old",
    0x44CD: "application_settings",
    0xCA34: "trust_anchors",
    0xFE0D: "encrypted_client_hello",
    0xFF01: "renegotiation_info",
}

_GROUPS: Final = {
    1: "sect163k1",
    9: "sect283k1",
    10: "sect283r1",
    11: "sect409k1",
    12: "sect409r1",
    13: "sect571k1",
    14: "sect571r1",
    16: "secp160r1",
    18: "secp192k1",
    19: "secp192r1",
    20: "secp224k1",
    21: "secp224r1",
    22: "secp256k1",
    23: "secp256r1",
    24: "secp384r1",
    25: "secp521r1",
    26: "brainpoolP256r1",
    27: "brainpoolP384r1",
    28: "brainpoolP512r1",
    29: "x25519",
    30: "x448",
    31: "brainpoolP256r1tls13",
    32: "brainpoolP384r1tls13",
    33: "brainpoolP512r1tls13",
    0x0100: "ffdhe2048",
    0x0101: "ffdhe3072",
    0x0102: "ffdhe4096",
    0x0103: "ffdhe6144",
    0x0104: "ffdhe8192",
    0x0200: "MLKEM512",
    0x0201: "MLKEM768",
    0x0202: "MLKEM1024",
    0x11EB: "SecP256r1MLKEM768",
    0x11EC: "X25519MLKEM768",
    0x11ED: "SecP384r1MLKEM1024",
    0x6399: "X25519Kyber768Draft00",
    0x639A: "SecP256r1Kyber768Draft00",
}

_SIGNATURE_ALGORITHMS: Final = {
    0x0401: "rsa_pkcs1_sha256",
    0x0501: "rsa_pkcs1_sha384",
    0x0601: "rsa_pkcs1_sha512",
    0x0403: "ecdsa_secp256r1_sha256",
    0x0503: "ecdsa_secp384r1_sha384",
    0x0603: "ecdsa_secp521r1_sha512",
    0x0804: "rsa_pss_rsae_sha256",
    0x0805: "rsa_pss_rsae_sha384",
    0x0806: "rsa_pss_rsae_sha512",
    0x0807: "ed25519",
    0x0808: "ed448",
    0x0809: "rsa_pss_pss_sha256",
    0x080A: "rsa_pss_pss_sha384",
    0x080B: "rsa_pss_pss_sha512",
    0x081A: "ecdsa_brainpoolP256r1tls13_sha256",
    0x081B: "ecdsa_brainpoolP384r1tls13_sha384",
    0x081C: "ecdsa_brainpoolP512r1tls13_sha512",
    0x0904: "mldsa44",
    0x0905: "mldsa65",
    0x0906: "mldsa87",
}
# RFC 5246 7.4.1.4.1: before TLS 1.3 the two bytes are a hash and a signature.
_HASHES: Final = {1: "md5", 2: "sha1", 3: "sha224", 4: "sha256", 5: "sha384", 6: "sha512"}
_SIGNATURES: Final = {1: "rsa_pkcs1", 2: "dsa", 3: "ecdsa"}

_POINT_FORMATS: Final = {
    0: "uncompressed",
    1: "ansiX962_compressed_prime",
    2: "ansiX962_compressed_char2",
}

_ALERTS: Final = {
    10: "unexpected_message",
    22: "record_overflow",
    40: "handshake_failure",
    47: "illegal_parameter",
    50: "decode_error",
    70: "protocol_version",
    80: "internal_error",
    109: "missing_extension",
    112: "unrecognized_name",
    120: "no_application_protocol",
}


def version_name(number: int) -> str:
    """The name of a version: 0x0303 is "TLS 1.2"."""
    return _name(_VERSIONS, number)


def cipher_suite_name(number: int) -> str:
    """The name of a cipher suite: 0x1301 is "TLS_AES_128_GCM_SHA256"."""
    return _name(CIPHER_SUITES, number)


def extension_name(number: int) -> str:
    """The name of the type of an extension: 0 is "server_name"."""
    return _name(_EXTENSIONS, number)


def group_name(number: int) -> str:
    """The name of a group for key exchange: 29 is "x25519"."""
    return _name(_GROUPS, number)


def signature_algorithm_name(number: int) -> str:
    """The name of a signature algorithm: 0x0807 is "ed25519"."""
    name = _name(_SIGNATURE_ALGORITHMS, number)
    digest, signature = _HASHES.get(number >> 8), _SIGNATURES.get(number & 0xFF)
    return f"{signature}_{digest}" if name is _UNKNOWN and digest and signature else name


def point_format_name(number: int) -> str:
    """The name of a format of elliptic curve points: 0 is "uncompressed"."""
    return _POINT_FORMATS.get(number, _UNKNOWN)


def alert_name(number: int) -> str:
    """The name of an alert that we send: 112 is "unrecognized_name"."""
    return _ALERTS.get(number, _UNKNOWN)


def _name(names: dict[int, str], number: int) -> str:
    # RFC 8701: 0x0a0a, 0x1a1a, ... 0xfafa are reserved and meaningless.
    if number & 0x0F0F == 0x0A0A and number >> 8 == number & 0xFF:
        return "GREASE"
    return names.get(number, _UNKNOWN)
