"""The cleartext of a TLS client's first messages: read, never taken part in.

Bytes in, values out: `ClientHelloSniffer` finds the hello in the first bytes of a connection, `ja3`
and `ja4` fingerprint its sender, `alert_record` makes the alert for a refused hello. Nothing here
knows a socket, a key or a route.
"""

from meshlib.tls.alerts import alert_record
from meshlib.tls.fingerprint import ja3, ja3_text, ja4
from meshlib.tls.hello import parse_client_hello
from meshlib.tls.hello_cache import HelloCache
from meshlib.tls.prelude import ForeignProtocol, NotTLS
from meshlib.tls.session import SessionReader, session_keys
from meshlib.tls.sniffer import MAX_HELLO, MAX_WIRE, ClientHelloSniffer

__all__ = [
    "MAX_HELLO",
    "MAX_WIRE",
    "ClientHelloSniffer",
    "ForeignProtocol",
    "HelloCache",
    "NotTLS",
    "SessionReader",
    "alert_record",
    "ja3",
    "ja3_text",
    "ja4",
    "parse_client_hello",
    "session_keys",
]
