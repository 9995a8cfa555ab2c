"""What people have at hand: curl, nghttp and h2load, with prior knowledge and over TLS."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from tests.support.backend import Backend, Peer, responding
from tests.support.http2_fixtures import StartSite
from tests.support.programs import run

Make = Callable[..., Backend]


def test_curl_has_a_page_an_upload_and_trailers(
    start: StartSite, backend: Make, tmp_path: Path
) -> None:
    """A page, an upload, what it expects before it, and the trailers of a response."""

    def script(peer: Peer) -> None:
        for _ in range(3):
            request = peer.read_request()
            size = len(request.partition(b"\r\n\r\n")[2])
            peer.send(
                (
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n7\r\n"
                    b"%07d\r\n0\r\nX-Sum: 9\r\n\r\n"
                )
                % size
            )

    site = start(backend(script))
    body = tmp_path / "body"
    body.write_bytes(os.urandom(300_000))
    curl = ("curl", "-sSv", "--http2-prior-knowledge")
    said = run(*curl, site.url)
    assert "< HTTP/2 200" in said
    assert "0000000" in said
    assert "< x-sum: 9" in said
    assert "0300000" in run(*curl, "-T", str(body), site.url + "/x", "-H", "Expect:")
    assert site.log(2)[0]["protocol"] == "HTTP/2"


def test_nghttp_may_use_priorities_and_padding(start: StartSite, backend: Make) -> None:
    """It speaks PRIORITY and padding, and says GOAWAY at the end."""
    site = start(backend(responding(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nfoo")))
    said = run("nghttp", "-v", "--padding=50", site.url + "/1", site.url + "/2", site.url + "/3")
    assert len(re.findall(r":status: 200", said)) == 3
    assert "error_code=NO_ERROR" in said
    assert re.search(r"SETTINGS_MAX_CONCURRENT_STREAMS\(0x03\):100", said)
    assert len(site.log(3)) == 3


def test_h2load_has_every_response(start: StartSite, backend: Make, tmp_path: Path) -> None:
    """Many connections and streams at once, downloads and uploads: each gets its response."""
    site = start(
        backend(responding(b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n" + b"x" * 20000))
    )
    assert "2000 succeeded, 0 failed" in run(
        "h2load", "-n", "2000", "-c", "5", "-m", "50", site.url
    )
    body = tmp_path / "body"
    body.write_bytes(b"u" * 100_000)
    said = run("h2load", "-n", "200", "-c", "2", "-m", "20", "-d", str(body), site.url)
    assert "200 succeeded, 0 failed" in said
    assert all(
        record["status"] == 200 and record["termination"] == "--" for record in site.log(2200)
    )
