"""Container images made on this machine, because no registry can be reached.

A root file system is a directory; `docker import` makes an image of it. The web image is a static
busybox: each replica responds with its own host name, so that a test can count who was reached.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable
from pathlib import Path

__all__ = [
    "PYTHON_COMMAND",
    "SLEEP_COMMAND",
    "TLS_COMMAND",
    "WEB_COMMAND",
    "build_python_root",
    "build_tls_root",
    "build_web_root",
    "pack",
]

# One httpd for each of PORTS. Process 1 must take SIGTERM itself: the kernel gives it no default
# action.
_START = """#!/bin/sh
trap 'kill $(jobs -p) 2>/dev/null; exit 0' TERM
for port in ${PORTS:-8080}; do
    mkdir -p /www/$port
    cp -r /www/cgi-bin /www/$port/
    echo "$(hostname) $port" > /www/$port/index.html
    httpd -f -p $port -h /www/$port &
done
wait
"""

# The session cookie is the application's own, as with HRM's sticky_sessions.
_LOGIN = """#!/bin/sh
printf 'Content-Type: text/plain\\r\\n'
printf 'Set-Cookie: SESSION=%s-%s; Path=/\\r\\n\\r\\n' "$(hostname)" "$$"
hostname
"""

_SLOW = """#!/bin/sh
printf 'Content-Type: text/plain\\r\\n\\r\\n'
hostname
sleep "${QUERY_STRING:-1}"
echo done
"""

_ENV = """#!/bin/sh
printf 'Content-Type: text/plain\\r\\n\\r\\n'
env
"""

WEB_COMMAND = '["/start"]'
SLEEP_COMMAND = '["/bin/sh", "-c", "trap \\"exit 0\\" TERM; while :; do sleep 1000 & wait; done"]'
PYTHON_COMMAND = '["python3"]'
TLS_COMMAND = '["/start"]'

# As the application of 2017 did: a keystore and its passwords come as secrets. Python reads PEM
# only.
_START_TLS = """#!/bin/sh
set -e
cd /run/secrets
openssl pkcs12 -in keystore.jks -out /tmp/keystore.pem \\
    -passin file:keystore-password.txt -passout file:key-password.txt
exec python3 /tls_server.py 8443 /tmp/keystore.pem key-password.txt
"""

_APPLETS = (
    "cat",
    "chown",
    "cp",
    "env",
    "hostname",
    "httpd",
    "id",
    "kill",
    "ls",
    "mkdir",
    "nc",
    "nslookup",
    "ping",
    "ps",
    "rm",
    "sh",
    "sleep",
    "wget",
)


def build_web_root(root: Path) -> None:
    """`/` responds "HOSTNAME PORT"; `/cgi-bin/login` sets the cookie SESSION,
    `/cgi-bin/slow?SECONDS` takes its time, `/cgi-bin/env` shows the request. Ports: the environment
    variable PORTS ("8000 8001"), 8080 without it."""
    _add_busybox(root)
    _write(root / "start", _START)
    for name, text in (("login", _LOGIN), ("slow", _SLOW), ("env", _ENV)):
        _write(root / "www/cgi-bin" / name, text)


def build_python_root(root: Path) -> None:
    """The Python that runs these tests and its standard library (no pip), with the libraries they
    are linked to, and a shell.

    It stands in for the image that a Dockerfile names in its FROM line.
    """
    _add_busybox(root)
    python = Path(sys.executable).resolve()
    library = Path(sysconfig.get_path("stdlib"))
    modules = library / "lib-dynload"
    _add_linked(root, [python, *modules.glob("*.so")])
    _add_system_libraries(root)
    ignored = shutil.ignore_patterns(
        "test",
        "tests",
        "idlelib",
        "tkinter",
        "lib2to3",
        "__pycache__",
        "site-packages",
        "dist-packages",
        "config-*",
    )
    shutil.copytree(library, _below(root, library), ignore=ignored, dirs_exist_ok=True)
    wheels = sysconfig.get_config_var(
        "WHEEL_PKG_DIR"
    )  # where Debian has those of ensurepip, without which there is no venv
    if wheels:
        shutil.copytree(wheels, _below(root, Path(wheels)), dirs_exist_ok=True)
    _add_file(root, python)
    for name in ("python3", "python"):
        (root / "bin" / name).symlink_to(python)
    _write(
        root / "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n",
        mode=0o644,
    )
    _write(root / "etc/group", "root:x:0:\nnogroup:x:65534:\n", mode=0o644)


def build_tls_root(root: Path) -> None:
    """`tls_server.py` on port 8443, with the certificate and key of the PKCS#12 file
    /run/secrets/keystore.jks.
    """
    build_python_root(root)
    openssl = shutil.which("openssl")
    assert openssl is not None, "openssl is not installed"
    _add_linked(root, [Path(openssl)])
    shutil.copy(openssl, root / "bin/openssl")
    shutil.copy(Path(__file__).with_name("tls_server.py"), root)
    _write(root / "start", _START_TLS)


def pack(root: Path) -> bytes:
    """`root` as a tar archive, everything owned by root."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(root, arcname=".", filter=_owned_by_root)
    return buffer.getvalue()


def _owned_by_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member


def _add_busybox(root: Path) -> None:
    busybox = shutil.which("busybox")
    assert busybox is not None  # the lab looked for it
    (root / "bin").mkdir(parents=True, exist_ok=True)
    (root / "tmp").mkdir(exist_ok=True)
    (root / "tmp").chmod(0o1777)
    shutil.copy(busybox, root / "bin/busybox")
    for name in _APPLETS:
        (root / "bin" / name).symlink_to("busybox")


def _add_linked(root: Path, programs: Iterable[Path]) -> None:
    for program in programs:
        listing = subprocess.run(
            ["ldd", program], capture_output=True, text=True, check=False
        ).stdout
        for library in set(re.findall(r"(/\S+) \(0x", listing)):
            _add_file(root, Path(library))


def _add_system_libraries(root: Path) -> None:
    # What wheels with compiled parts may rely on (PEP 600, the manylinux policies) and every real
    # base image has.
    listing = subprocess.run(["ldd", "/bin/sh"], capture_output=True, text=True, check=False).stdout
    for folder in {Path(found).parent for found in re.findall(r"(/\S*libc\.so\.6) \(0x", listing)}:
        for name in (
            "librt.so.1",
            "libpthread.so.0",
            "libdl.so.2",
            "libutil.so.1",
            "libm.so.6",
            "libgcc_s.so.1",
            "libstdc++.so.6",
        ):
            if (folder / name).exists():
                _add_file(root, folder / name)


def _add_file(root: Path, source: Path) -> None:
    target = _below(root, source)
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


def _below(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")


def _write(path: Path, text: str, *, mode: int = 0o755) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
