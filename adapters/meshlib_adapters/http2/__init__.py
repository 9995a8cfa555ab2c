"""HTTP/2 to clients, over any transport (of TLS with ALPN "h2", as a rule), and to endpoints that want it (`upstream`).

Needs the extra `http2`. One `HTTP2Connection` for each client, one `Stream` for each request; what a request goes through is the same
as over HTTP/1: table, upstreams, stickiness, retries, access records.
"""

from meshlib_adapters.http2.connection import HTTP2Connection
from meshlib_adapters.http2.settings import HTTP2Settings

__all__ = ["HTTP2Connection", "HTTP2Settings"]
