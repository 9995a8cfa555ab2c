"""The configuration texts of the proxies under test. Pure: a `Site` in, text out.

Limits that would cost one peer and not another (requests per kept connection, pool sizes) are set
alike.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "POOL",
    "SMALL_HOST",
    "STREAM_HOST",
    "Site",
    "caddy",
    "envoy",
    "haproxy",
    "haproxy_map",
    "meshlib_services",
    "nginx",
    "traefik_options",
    "traefik_routes",
]

SMALL_HOST = "shop.bench.test"
STREAM_HOST = "stream.bench.test"
SERVICE_HOSTS = 1000  # hosts of one service: as many routing labels as ours may have
POOL = 1024  # idle connections kept to one endpoint: as many as any scenario has clients


@dataclass(frozen=True, slots=True)
class Site:
    """What a peer shall serve: `port` on 127.0.0.1; two named hosts and `routes - 2` more, in
    services, with the same two backends.
    """

    work: Path
    port: int
    fixed: int
    stream: int
    routes: int
    access_log: bool

    @property
    def output(self) -> Path:
        """The peer's standard output and error."""
        return self.work / "output.log"

    @property
    def log(self) -> Path:
        """The access log, for peers that write it themselves."""
        return self.work / "access.log"

    def services(self) -> dict[str, list[str]]:
        """The hosts of the fixed backend, by service. Every peer keeps connections for each
        service, as if its endpoints were others.
        """
        hosts = [SMALL_HOST, *(f"h{number}.bench.test" for number in range(self.routes - 2))]
        return {
            f"fixed{at // SERVICE_HOSTS}": hosts[at : at + SERVICE_HOSTS]
            for at in range(0, len(hosts), SERVICE_HOSTS)
        }

    def targets(self) -> dict[str, int]:
        """The port of the backend of each service, the stream's included."""
        return {**dict.fromkeys(self.services(), self.fixed), "stream": self.stream}

    def write(self, name: str, text: str) -> str:
        """Write a file into the work folder; its path."""
        path = self.work / name
        path.write_text(text, encoding="utf-8")
        return str(path)


def nginx(site: Site, *, buffering: bool) -> str:
    """One server block for each service: names are one hash look-up, however they are spread over
    blocks.
    """
    log = f"access_log {site.log} bench" if site.access_log else "access_log off"
    server = """
    server {{
        listen 127.0.0.1:{port}{options};
        server_name {names};
        location / {{
            proxy_pass http://{upstream};
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header X-Forwarded-Port $server_port;
            proxy_set_header X-Request-ID $request_id;
            proxy_set_header Via "1.1 nginx";
        }}
    }}"""
    kept = f"keepalive {POOL}; keepalive_requests 1000000000; keepalive_timeout 600s;"
    upstreams = "\n    ".join(
        f"upstream {name} {{ server 127.0.0.1:{port}; {kept} }}"
        for name, port in site.targets().items()
    )
    named = {**site.services(), "stream": [STREAM_HOST]}
    servers = "".join(
        server.format(
            port=site.port,
            options="" if number else " backlog=4096",
            names="\n            ".join(hosts),
            upstream=name,
        )
        for number, (name, hosts) in enumerate(named.items())
    )
    return f"""\
user root;
worker_processes 1;
worker_rlimit_nofile 20000;
daemon off;
pid {site.work}/nginx.pid;
error_log {site.work}/error.log error;
events {{ worker_connections 19000; }}
http {{
    log_format bench escape=json '{{"time":"$time_iso8601","client":"$remote_addr",'
        '"method":"$request_method","host":"$host","target":"$request_uri","status":$status,'
        '"sent":$body_bytes_sent,"received":$request_length,"seconds":$request_time,'
        '"upstream":"$upstream_addr","upstream_connect":"$upstream_connect_time",'
        '"upstream_seconds":"$upstream_response_time",'
        '"referer":"$http_referer","agent":"$http_user_agent","id":"$request_id"}}';
    {log};
    keepalive_timeout 600s;
    keepalive_requests 1000000000;
    client_max_body_size 0;
    client_body_temp_path {site.work}/t1; proxy_temp_path {site.work}/t2;
    fastcgi_temp_path {site.work}/t3; uwsgi_temp_path {site.work}/t4; scgi_temp_path {site.work}/t5;
    server_names_hash_max_size {max(1024, site.routes * 4)};
    server_names_hash_bucket_size 128;
    proxy_http_version 1.1;
    {"" if buffering else "proxy_buffering off; proxy_request_buffering off;"}
    {upstreams}
    {servers}
    server {{ listen 127.0.0.1:{site.port} default_server; return 404; }}
}}
"""


def haproxy_map(site: Site) -> str:
    """Host to backend."""
    return (
        "".join(f"{host} {name}\n" for name, hosts in site.services().items() for host in hosts)
        + f"{STREAM_HOST} stream\n"
    )


def haproxy(site: Site) -> str:
    """The access log goes to standard output, which is a file: HAProxy opens no log files
    itself.
    """
    log = (
        ("log stdout format raw local0", "log global\n    option httplog")
        if site.access_log
        else ("", "")
    )
    backends = "\n".join(
        f"backend {name}\n    server s 127.0.0.1:{port} pool-max-conn {POOL}"
        for name, port in site.targets().items()
    )
    backend = f"req.hdr(host),lower,map_str({site.work}/hosts.map)"
    return f"""\
global
    nbthread 1
    no strict-limits
    maxconn 18000
    {log[0]}
defaults
    mode http
    {log[1]}
    timeout connect 5s
    timeout client 600s
    timeout server 600s
    timeout http-request 10s
    timeout http-keep-alive 600s
    http-reuse always
frontend in
    bind 127.0.0.1:{site.port} backlog 4096
    maxconn 18000
    unique-id-format %[uuid()]
    http-request set-header X-Forwarded-For %[src]
    http-request set-header X-Forwarded-Proto http
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    http-request set-header X-Forwarded-Port %[dst_port]
    http-request set-header X-Request-ID %[unique-id]
    http-request add-header Via "1.1 haproxy"
    http-request deny deny_status 404 unless {{ {backend} -m found }}
    use_backend %[{backend}]
{backends}
"""


def envoy(site: Site) -> str:
    """JSON, for YAML of 100,000 virtual hosts is slow to read."""

    def cluster(name: str, port: int) -> dict[str, object]:
        address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
        many = 1_000_000
        return {
            "name": name,
            "type": "STATIC",
            "connect_timeout": "5s",
            "circuit_breakers": {
                "thresholds": [
                    {"max_connections": many, "max_pending_requests": many, "max_requests": many}
                ]
            },
            "load_assignment": {
                "cluster_name": name,
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
            },
        }

    def host(name: str, target: str) -> dict[str, object]:
        return {
            "name": name,
            "domains": [name],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": target, "timeout": "0s"}}],
        }

    def added(name: str, value: str) -> dict[str, object]:
        return {
            "header": {"key": name, "value": value},
            "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
        }

    kind = "type.googleapis.com/envoy.extensions.{}"
    connection: dict[str, object] = {
        "@type": kind.format("filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "in",
        "codec_type": "HTTP1",
        "use_remote_address": True,
        "via": "envoy",
        "server_header_transformation": "PASS_THROUGH",
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": kind.format("filters.http.router.v3.Router")},
            }
        ],
        "route_config": {
            "request_headers_to_add": [
                added("x-forwarded-host", "%REQ(:AUTHORITY)%"),
                added("x-forwarded-port", str(site.port)),
            ],
            "virtual_hosts": [
                host(STREAM_HOST, "stream"),
                *(
                    host(name, service)
                    for service, hosts in site.services().items()
                    for name in hosts
                ),
            ],
        },
    }
    if site.access_log:
        sink = {"@type": kind.format("access_loggers.file.v3.FileAccessLog"), "path": str(site.log)}
        connection["access_log"] = [{"name": "envoy.access_loggers.file", "typed_config": sink}]
    manager = {"name": "envoy.filters.network.http_connection_manager", "typed_config": connection}
    listener = {
        "name": "in",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": site.port}},
        "tcp_backlog_size": 4096,
        "filter_chains": [{"filters": [manager]}],
    }
    return json.dumps(
        {
            "static_resources": {
                "listeners": [listener],
                "clusters": [cluster(name, port) for name, port in site.targets().items()],
            }
        }
    )


def traefik_options(site: Site, routes: str) -> list[str]:
    """The static part of Traefik's configuration."""
    log = [f"--accesslog.filepath={site.log}", "--accesslog.format=json"]
    return [
        f"--entryPoints.web.address=127.0.0.1:{site.port}",
        "--entryPoints.web.transport.respondingTimeouts.idleTimeout=600s",
        "--entryPoints.web.transport.respondingTimeouts.readTimeout=0s",
        f"--serversTransport.maxIdleConnsPerHost={POOL}",
        f"--providers.file.filename={routes}",
        "--providers.file.watch=false",
        "--global.checkNewVersion=false",
        "--global.sendAnonymousUsage=false",
        "--log.level=ERROR",
        *(log if site.access_log else []),
    ]


def traefik_routes(site: Site) -> str:
    """The dynamic part (JSON is YAML)."""
    routers = {
        host.replace(".", "-"): {"rule": f"Host(`{host}`)", "service": name, "entryPoints": ["web"]}
        for name, hosts in site.services().items()
        for host in hosts
    }
    routers["stream"] = {
        "rule": f"Host(`{STREAM_HOST}`)",
        "service": "stream",
        "entryPoints": ["web"],
    }
    services = {
        name: {"loadBalancer": {"servers": [{"url": f"http://127.0.0.1:{port}"}]}}
        for name, port in site.targets().items()
    }
    return json.dumps({"http": {"routers": routers, "services": services}})


def caddy(site: Site) -> str:
    """One matcher for all hosts of a service: Caddy searches a long list of hosts by halving it."""

    def route(hosts: list[str], port: int) -> dict[str, object]:
        handler = {
            "handler": "reverse_proxy",
            "upstreams": [{"dial": f"127.0.0.1:{port}"}],
            "transport": {"protocol": "http", "keep_alive": {"max_idle_conns_per_host": POOL}},
            "headers": {
                "request": {
                    "set": {
                        "X-Forwarded-Port": ["{http.request.local.port}"],
                        "X-Request-Id": ["{http.request.uuid}"],
                    },
                }
            },
        }
        return {"match": [{"host": hosts}], "handle": [handler], "terminal": True}

    server: dict[str, object] = {
        "listen": [f"127.0.0.1:{site.port}"],
        "protocols": ["h1"],
        "idle_timeout": "600s",
        "automatic_https": {"disable": True},
        "routes": [
            *(route(hosts, site.fixed) for hosts in site.services().values()),
            route([STREAM_HOST], site.stream),
        ],
    }
    logs: dict[str, object] = {"default": {"level": "ERROR", "exclude": ["http.log.access"]}}
    if site.access_log:
        server["logs"] = {"default_logger_name": "bench"}
        sink = {"output": "file", "filename": str(site.log), "roll": False}
        logs["bench"] = {
            "writer": sink,
            "encoder": {"format": "json"},
            "level": "INFO",
            "include": ["http.log.access.bench"],
        }
    return json.dumps(
        {
            "admin": {"disabled": True},
            "logging": {"logs": logs},
            "apps": {"http": {"servers": {"in": server}}},
        }
    )


def meshlib_services(site: Site) -> str:
    """A services file (JSON is YAML)."""

    def service(hosts: Sequence[str], port: int) -> dict[str, object]:
        routes = {
            f"com.docker.ucp.mesh.http.{n}": f"external_route=http://{host},internal_port={port}"
            for n, host in enumerate(hosts)
        }
        return {"labels": routes, "endpoints": [f"127.0.0.1:{port}"]}

    services = {name: service(hosts, site.fixed) for name, hosts in site.services().items()}
    services["stream"] = service([STREAM_HOST], site.stream)
    return json.dumps({"services": services})
