"""The HTTP data path: listeners, client connections, upstream connections and their pools.

`asyncio.Protocol`s and transports throughout: per request there is no task, no future, no timer, no logging call and
no dictionary of fields. Decisions come from `meshlib.table`, heads from `meshlib.http1` and `meshlib.forwarding`; what is
written here is only who sends which bytes when. `HTTPGateway` is the entrance; `Upstreams` serves the ASGI adapter too.
"""

from meshlib_adapters.http.listener import HTTPGateway
from meshlib_adapters.http.settings import HTTPSettings
from meshlib_adapters.http.upstreams import Upstreams

__all__ = ["HTTPGateway", "HTTPSettings", "Upstreams"]
