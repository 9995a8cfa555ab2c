"""The Host of requests whose client named none."""

from __future__ import annotations

import pytest

from meshlib.model import Upstream
from meshlib.upstream_key import Transport, UpstreamKey
from meshlib_adapters.proxy.default_host import default_host

SHOP, BLOG = UpstreamKey("shop", 8080), UpstreamKey("blog", 80)
TLS = Transport(tls_name="shop.internal")


@pytest.mark.parametrize(
    ("key", "host"),
    [
        (SHOP, b"shop:8080"),
        (UpstreamKey("shop", 8080, "swarm"), b"shop:8080"),
        (UpstreamKey("shop", 8080, transport=Transport(proxy_protocol="v1")), b"shop:8080"),
        (UpstreamKey("shop", 8080, transport=Transport("h2c")), b"shop:8080"),
        (UpstreamKey("shop", 8443, "swarm", TLS), b"shop:8443"),
        (UpstreamKey.merged([SHOP, BLOG]), b"blog:80"),
        (UpstreamKey("shop.example.com"), b"shop.example.com"),
        (UpstreamKey("a b+c@d", 80), b"a%20b%2Bc%40d:80"),
        (UpstreamKey("a\r\nb: c\0", 80), b"a%0D%0Ab:%20c%00:80"),
    ],
)
def test_it_is_the_service_and_its_port(key: UpstreamKey, host: bytes) -> None:
    assert default_host(Upstream(key)) == host
