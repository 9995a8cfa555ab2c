"""The HTTP/2 front, over any transport (TLS with ALPN "h2", as a rule). Needs the extra `http2`."""
