"""The configuration texts of the proxies that pass TLS through, chosen by server name. Pure: a
`Site` in, text out.

`site.fixed` is the port of the one backend. All but Traefik write one line to an access log for
each connection. HAProxy is told to splice; the others have nothing of that kind to be told.
"""

from __future__ import annotations

import json

from tests.benchmarks.configurations import Site

__all__ = [
    "TLS_NAME",
    "envoy",
    "haproxy",
    "meshlib_services",
    "nginx",
    "traefik_options",
    "traefik_routes",
]

TLS_NAME = "tls.bench.test"


def nginx(site: Site) -> str:
    """`stream` with `ssl_preread`."""
    log = f"access_log {site.log} bench" if site.access_log else "access_log off"
    return f"""\
user root;
worker_processes 1;
worker_rlimit_nofile 20000;
daemon off;
pid {site.work}/nginx.pid;
error_log {site.work}/error.log error;
events {{ worker_connections 19900; }}
stream {{
    log_format bench '$remote_addr [$time_iso8601] $ssl_preread_server_name $upstream_addr '
        '$status $bytes_sent $bytes_received $session_time';
    {log};
    map $ssl_preread_server_name $target {{ {TLS_NAME} tls; }}
    upstream tls {{ server 127.0.0.1:{site.fixed}; }}
    server {{
        listen 127.0.0.1:{site.port} backlog=4096;
        ssl_preread on;
        proxy_pass $target;
        proxy_timeout 600s;
    }}
}}
"""


def haproxy(site: Site) -> str:
    """`mode tcp`; the access log goes to standard output, which is a file."""
    log = (
        ("log stdout format raw local0", "log global\n    option tcplog")
        if site.access_log
        else ("", "")
    )
    return f"""\
global
    nbthread 1
    no strict-limits
    maxconn 9500
    {log[0]}
defaults
    mode tcp
    {log[1]}
    option splice-auto
    timeout connect 5s
    timeout client 600s
    timeout server 600s
frontend in
    bind 127.0.0.1:{site.port} backlog 4096
    maxconn 9500
    tcp-request inspect-delay 10s
    tcp-request content accept if {{ req_ssl_hello_type 1 }}
    use_backend tls if {{ req_ssl_sni -i {TLS_NAME} }}
backend tls
    server s 127.0.0.1:{site.fixed}
"""


def envoy(site: Site) -> str:
    """TLS inspector and TCP proxy, as JSON."""
    kind = "type.googleapis.com/envoy.extensions.{}"
    proxy: dict[str, object] = {
        "@type": kind.format("filters.network.tcp_proxy.v3.TcpProxy"),
        "stat_prefix": "in",
        "cluster": "tls",
        "idle_timeout": "600s",
    }
    if site.access_log:
        sink = {"@type": kind.format("access_loggers.file.v3.FileAccessLog"), "path": str(site.log)}
        proxy["access_log"] = [{"name": "envoy.access_loggers.file", "typed_config": sink}]
    inspector = {
        "name": "envoy.filters.listener.tls_inspector",
        "typed_config": {"@type": kind.format("filters.listener.tls_inspector.v3.TlsInspector")},
    }
    address = {"socket_address": {"address": "127.0.0.1", "port_value": site.fixed}}
    many = 1_000_000
    return json.dumps(
        {
            "static_resources": {
                "listeners": [
                    {
                        "name": "in",
                        "address": {
                            "socket_address": {"address": "127.0.0.1", "port_value": site.port}
                        },
                        "tcp_backlog_size": 4096,
                        "listener_filters": [inspector],
                        "filter_chains": [
                            {
                                "filter_chain_match": {"server_names": [TLS_NAME]},
                                "filters": [
                                    {
                                        "name": "envoy.filters.network.tcp_proxy",
                                        "typed_config": proxy,
                                    }
                                ],
                            }
                        ],
                    }
                ],
                "clusters": [
                    {
                        "name": "tls",
                        "type": "STATIC",
                        "connect_timeout": "5s",
                        "circuit_breakers": {
                            "thresholds": [{"max_connections": many, "max_pending_requests": many}]
                        },
                        "load_assignment": {
                            "cluster_name": "tls",
                            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
                        },
                    }
                ],
            }
        }
    )


def traefik_options(site: Site, routes: str) -> list[str]:
    """The static part of Traefik's configuration. It has no access log for TCP in this form."""
    return [
        f"--entryPoints.tls.address=127.0.0.1:{site.port}",
        f"--providers.file.filename={routes}",
        "--providers.file.watch=false",
        "--global.checkNewVersion=false",
        "--global.sendAnonymousUsage=false",
        "--log.level=ERROR",
    ]


def traefik_routes(site: Site) -> str:
    """The dynamic part (JSON is YAML)."""
    router = {
        "rule": f"HostSNI(`{TLS_NAME}`)",
        "service": "tls",
        "entryPoints": ["tls"],
        "tls": {"passthrough": True},
    }
    service = {"loadBalancer": {"servers": [{"address": f"127.0.0.1:{site.fixed}"}]}}
    return json.dumps({"tcp": {"routers": {"tls": router}, "services": {"tls": service}}})


def meshlib_services(site: Site) -> str:
    """A services file (JSON is YAML) with one service."""
    label = f"external_route=sni://{TLS_NAME},internal_port={site.fixed}"
    service = {
        "labels": {"com.docker.ucp.mesh.http.1": label},
        "endpoints": [f"127.0.0.1:{site.fixed}"],
    }
    return json.dumps({"services": {"tls": service}})
