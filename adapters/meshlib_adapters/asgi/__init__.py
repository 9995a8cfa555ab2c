"""The gateway as an ASGI application, or as middleware in front of one.

The same table, the same pools, the same decisions as the gateway's own listeners; only the client
side is a server's. Servers differ in what they let through, so heads are checked again before
anything is forwarded.
"""

from meshlib_adapters.asgi.application import Gateway

__all__ = ["Gateway"]
