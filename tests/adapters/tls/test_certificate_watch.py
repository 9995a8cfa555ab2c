"""Certificates of a running gateway: from files, over workers that may not read them, and changed
while clients are there.
"""

from __future__ import annotations

import os
import signal
import socket
import ssl
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
import trustme

from meshlib_adapters.config.settings import Settings
from meshlib_adapters.testing import FakeUpstream
from meshlib_adapters.tls.certificate_files import CertificateSet
from meshlib_adapters.tls.certificate_watch import CertificateWatch
from tests.support.certificates import issue, serial
from tests.support.commands import PATIENCE, meshlib_command
from tests.support.worker_lab import Lab, ask, backend, lab, labels, status_of, wait_for

APP = "external_route=http://app.example.com,internal_port=80"
OTHER = "external_route=http://other.example.com,internal_port=80"
_ANYWHERE = ("--http", "127.0.0.1:0", "--https", "127.0.0.1:0", "--admin", "127.0.0.1:0")


@pytest.fixture
def gateways(tmp_path: Path) -> Iterator[Lab]:
    with lab(tmp_path) as made:
        yield made


@pytest.mark.parametrize("workers", ["1", "2"])
def test_certificates_change_under_clients(gateways: Lab, tmp_path: Path, workers: str) -> None:
    authority = trustme.CA()
    folder = tmp_path / "certificates"
    issue(authority, folder, "app.example.com")
    issue(authority, folder, "other.example.com")
    # Workers that are somebody else cannot read the keys; the supervisor does it for them.
    user, group = ("nobody", "65534") if workers == "2" and os.geteuid() == 0 else ("", "")
    with backend() as one:
        services = labels(APP, OTHER, endpoints=[one.address])
        variables = {
            "MESHLIB_USER": user,
            "MESHLIB_GROUP": group,
            "MESHLIB_TLS_CERTIFICATES": str(folder),
        }
        running = gateways.serve("--workers", workers, services=services, **variables)  # type: ignore[arg-type]  # no option is meant
        before = serial(running, authority)
        other = serial(running, authority, "other.example.com")
        issue(authority, folder, "app.example.com")
        running.process.send_signal(signal.SIGHUP)
        wait_for(lambda: serial(running, authority) != before, running)
        after = serial(running, authority)
        # A bad file: one line with the file and the cure, and what it held before stays.
        (folder / "app.example.com.key").write_bytes(
            authority.issue_cert("x.example").private_key_pem.bytes()
        )
        running.process.send_signal(signal.SIGHUP)
        wait_for(lambda: running.logged("do not belong together"), running)
        assert {serial(running, authority) for _ in range(8)} == {after}
        assert serial(running, authority, "other.example.com") == other
        # The other one is taken away: nobody serves it any more, and its clients are told by the
        # alert.
        for file in folder.glob("other.*"):
            file.unlink()
        running.process.send_signal(signal.SIGHUP)

        def refused() -> bool:
            try:
                serial(running, authority, "other.example.com")
            except ssl.SSLError:
                return True
            return False

        wait_for(refused, running)
        host, port = running.addresses["admin"]
        with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=PATIENCE) as response:
            page = response.read().decode()
        assert 'meshlib_certificate_not_after_seconds{name="app.example.com"} ' in page
        code, explained = running.ask("/-/explain?url=https://app.example.com")
        assert (code, explained["decision"]) == (200, "terminate")
        asked = ("--services", str(tmp_path / "services.yml"), "--json")
        told = meshlib_command(
            "explain", "https://app.example.com", *asked, MESHLIB_TLS_CERTIFICATES=str(folder)
        )
        assert (
            told.returncode == 1
        )  # from the files as they are: the key is wrong, and nothing was good before
        assert "there is no certificate to terminate TLS with" in told.stdout
        assert "PRIVATE KEY" not in running.log_file.read_text()


def returns(
    address: tuple[str, int], context: ssl.SSLContext, session: ssl.SSLSession | None
) -> tuple[bool, ssl.SSLSession]:
    """Ask for / over TLS; whether `session` went on, and the one that there is now."""
    with (
        socket.create_connection(address, PATIENCE) as plain,
        context.wrap_socket(plain, server_hostname="app.example.com", session=session) as sock,
    ):
        sock.sendall(b"GET / HTTP/1.1\r\nHost: app.example.com\r\nConnection: close\r\n\r\n")
        response = b""
        while data := sock.recv(65536):
            response += data
        assert response.startswith(b"HTTP/1.1 200 "), response
        assert sock.session is not None
        return bool(sock.session_reused), sock.session


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_every_worker_goes_on_with_every_session(
    gateways: Lab, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    authority = trustme.CA()
    folder = tmp_path / "certificates"
    issue(authority, folder, "app.example.com")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    context.minimum_version = context.maximum_version = version
    user, group = ("nobody", "65534") if os.geteuid() == 0 else ("", "")
    with backend() as one:
        variables = {
            "MESHLIB_USER": user,
            "MESHLIB_GROUP": group,
            "MESHLIB_TLS_CERTIFICATES": str(folder),
        }
        running = gateways.serve(services=labels(APP, endpoints=[one.address]), **variables)  # type: ignore[arg-type]  # no option is meant
        address = running.addresses["https"]
        _, session = returns(address, context, None)
        seen: set[int] = set()

        def everywhere() -> bool:  # the kernel chooses whom a connection comes to
            nonlocal session
            reused, session = returns(address, context, session)
            assert reused
            seen.update(
                worker["pid"]
                for worker in status_of(running)["workers"]
                if worker["counters"]["tls_accepted"]
            )
            return len(seen) == 2

        wait_for(everywhere, running)
        issue(authority, folder, "other.example.com")
        running.process.send_signal(signal.SIGHUP)
        wait_for(
            lambda: running.logged("certificates: app.example.com, other.example.com"), running
        )
        for worker in status_of(running)["workers"]:
            os.kill(worker["pid"], signal.SIGKILL)

        def back() -> bool:
            workers = status_of(running)["workers"]
            return all(worker["restarts"] == 1 and worker["state"] == "ready" for worker in workers)

        wait_for(back, running)
        for _ in range(8):
            reused, session = returns(address, context, session)
            assert reused


def test_gateways_with_the_same_secret_go_on_with_each_others_sessions(
    gateways: Lab, tmp_path: Path
) -> None:
    authority = trustme.CA()
    folder, secret = tmp_path / "certificates", tmp_path / "secret"
    issue(authority, folder, "app.example.com")
    secret.write_bytes(os.urandom(48))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    found = []
    with backend() as one:
        session = None
        for workers in ("1", "1", "2"):
            variables = {
                "MESHLIB_TLS_CERTIFICATES": str(folder),
                "MESHLIB_TLS_TICKET_SECRET": str(secret),
            }
            services = labels(APP, endpoints=[one.address])
            running = gateways.serve("--workers", workers, services=services, **variables)  # type: ignore[arg-type]  # no option is meant
            reused, session = returns(running.addresses["https"], context, session)
            found.append(reused)
        # Another secret: from then on another session.
        secret.write_bytes(os.urandom(48))
        running.process.send_signal(signal.SIGHUP)
        wait_for(lambda: not returns(running.addresses["https"], context, session)[0], running)
        assert secret.read_bytes().hex() not in running.log_file.read_text()
    assert found == [False, True, True]


@pytest.mark.parametrize(("workers", "user"), [(2, ""), (0, ""), (1, "nobody"), (1, "")])
def test_a_supervisor_makes_a_secret_and_another_one_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, user: str
) -> None:
    folder = tmp_path / "certificates"
    issue(trustme.CA(), folder, "app.example.com")
    own = replace(Settings().termination, certificates=(str(folder),))
    watch = CertificateWatch(replace(Settings(), termination=own, workers=workers, user=user))
    told: list[CertificateSet] = []
    watch.on_change = told.append

    async def look() -> None:
        await watch.begin()
        await watch.read_changes()
        monkeypatch.setattr("meshlib_adapters.tls.certificate_watch._SECRET_LASTS", 0.0)
        await watch.read_changes()

    anyio.run(look)
    secrets = [found.ticket_secret for found in told]
    assert len(told[0].certificates) == 1
    if workers == 1 and not user:
        assert secrets == [b""]  # each context has keys of its own
    else:
        assert len(set(secrets)) == len(secrets) == 2
        assert {len(secret) for secret in secrets} == {64}
        assert told[0].certificates == told[1].certificates


def test_a_secret_that_is_none_ends_the_start(tmp_path: Path) -> None:
    folder, secret = tmp_path / "certificates", tmp_path / "secret"
    issue(trustme.CA(), folder, "app.example.com")
    secret.write_bytes(b"too short")
    services = tmp_path / "services.yml"
    services.write_text("services: {}\n")
    variables = {"MESHLIB_TLS_CERTIFICATES": str(folder), "MESHLIB_TLS_TICKET_SECRET": str(secret)}
    done = meshlib_command("serve", "--services", str(services), *_ANYWHERE, **variables)
    assert done.returncode == 2
    assert f"tls.ticket_secret: {secret}: a secret has at least 32 bytes" in done.stderr


def secure_backend(authority: trustme.CA, name: str) -> FakeUpstream:
    """An endpoint that speaks TLS, as `name`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return FakeUpstream(status=204, tls=context)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_authorities_of_services_are_read_by_who_may(
    gateways: Lab, tmp_path: Path, workers: str
) -> None:
    authority = trustme.CA()
    file = tmp_path / "private" / "authorities.pem"
    file.parent.mkdir(mode=0o700)
    file.write_bytes(b"\xc3\xa9: ours\n" + authority.cert_pem.bytes())
    file.chmod(0o600)
    user, group = ("nobody", "65534") if workers == "2" and os.geteuid() == 0 else ("", "")
    with (
        secure_backend(authority, "shop.internal") as good,
        secure_backend(trustme.CA(), "shop.internal") as bad,
    ):
        for endpoint, status in ((good, 204), (bad, 502)):
            services = labels(f"{APP},upstream_tls=shop.internal", endpoints=[endpoint.address])
            variables = {
                "MESHLIB_USER": user,
                "MESHLIB_GROUP": group,
                "MESHLIB_TLS_UPSTREAM_CA": str(file),
            }
            running = gateways.serve("--workers", workers, services=services, **variables)  # type: ignore[arg-type]  # no option is meant
            assert [ask(running.addresses["http"])[0] for _ in range(2)] == [status] * 2


@pytest.mark.parametrize(
    "content",
    [None, b"", b"nothing\n", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"],
)
def test_authorities_that_are_none_end_the_start(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "authorities.pem"
    if content is not None:
        file.write_bytes(content)
    services = tmp_path / "services.yml"
    services.write_text("services: {}\n")
    done = meshlib_command(
        "serve", "--services", str(services), *_ANYWHERE, MESHLIB_TLS_UPSTREAM_CA=str(file)
    )
    assert done.returncode == 2
    assert f"tls.upstream_ca: {file} cannot be used: " in done.stderr
    assert "name a PEM file" in done.stderr


def test_limits_of_http2_are_those_of_the_settings(gateways: Lab, tmp_path: Path) -> None:
    authority = trustme.CA()
    issue(authority, tmp_path / "certificates", "app.example.com")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    context.set_alpn_protocols(["h2"])
    with backend() as one:
        variables = {
            "MESHLIB_TLS_CERTIFICATES": str(tmp_path / "certificates"),
            "MESHLIB_HTTP2_MAX_STREAMS": "7",
        }
        running = gateways.serve(services=labels(APP, endpoints=[one.address]), **variables)  # type: ignore[arg-type]  # no option is meant
        with (
            socket.create_connection(running.addresses["https"], PATIENCE) as plain,
            context.wrap_socket(plain, server_hostname="app.example.com") as sock,
        ):
            sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
            read = sock.makefile("rb")
            head = read.read(9)
            settings = read.read(int.from_bytes(head[:3], "big"))
    assert head[3] == 4  # SETTINGS (RFC 9113 6.5)
    told = {
        int.from_bytes(settings[at : at + 2], "big"): int.from_bytes(
            settings[at + 2 : at + 6], "big"
        )
        for at in range(0, len(settings), 6)
    }
    assert told[3] == 7  # SETTINGS_MAX_CONCURRENT_STREAMS


def test_clients_that_must_show_a_certificate_need_an_authority(tmp_path: Path) -> None:
    (tmp_path / "s.yml").write_text(labels(APP, endpoints=["127.0.0.1:9"]))
    services = (
        "--services",
        str(tmp_path / "s.yml"),
        "--http",
        "off",
        "--https",
        "127.0.0.1:0",
        "--admin",
        "off",
    )
    done = meshlib_command(
        "serve",
        *services,
        MESHLIB_TLS_CLIENT_AUTH="require",
        MESHLIB_TLS_CERTIFICATES=str(tmp_path),
    )
    assert done.returncode == 2
    assert "nobody could say which certificates of clients are good" in done.stderr
    missing = str(tmp_path / "missing.pem")
    variables = {
        "MESHLIB_TLS_CLIENT_AUTH": "require",
        "MESHLIB_TLS_CERTIFICATES": str(tmp_path),
        "MESHLIB_TLS_CLIENT_CA": missing,
    }
    done = meshlib_command("serve", *services, **variables)
    assert done.returncode == 2
    assert "missing.pem: cannot be read" in done.stderr
