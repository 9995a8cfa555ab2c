"""Certificates from files: grouped by name, reread on change, and kept in use when a file turns
bad.

    NAME.crt, NAME.cer or NAME.pem with NAME.key      NAME.pem with both      NAME.p12 or NAME.pfx
    NAME.pass: the password of the key, on its first line

Docker's secrets and configs are such files, under /run/secrets or the service's mount point.
Blocking; to be called in a thread.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from cryptography import x509

from meshlib_adapters.os_errors import explain_os_error
from meshlib_adapters.tls.certificates import Certificate, CertificateError, parse_pem, parse_pkcs12
from meshlib_adapters.tls.contexts import check_certificate
from meshlib_adapters.tls.tickets import MIN_SECRET

__all__ = ["CertificateFiles", "CertificateProblem", "CertificateSet"]

# Chains are a few KiB, files of authorities a few hundred.
_MAX_FILE: Final = 1 << 20
# Largest number of files in a directory: an operator who names /usr by mistake gets an error
# instead of a long wait.
_MAX_ENTRIES: Final = 20_000
_PEM: Final = (".crt", ".cer", ".pem")
_PKCS12: Final = (".p12", ".pfx")
# Before the end of a certificate: time enough to renew it by hand.
_WARN_BEFORE: Final = 14 * 86400.0

_Signature: TypeAlias = tuple[tuple[str, int, int, int], ...]


class CertificateProblem(NamedTuple):
    """A fault of a file that somebody should fix."""

    place: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


@dataclass(frozen=True, slots=True)
class CertificateSet:
    """Everything that the files hold now. `client_ca` is PEM (b"": none). A value; it can be
    pickled.

    Processes with the same set and `ticket_secret` (at least `MIN_SECRET` bytes; b"": not shared)
    resume each other's sessions. The secret is for systems where `sharing_trouble` finds none.
    """

    certificates: tuple[Certificate, ...] = ()
    client_ca: bytes = b""
    ticket_secret: bytes = field(default=b"", repr=False)


class _Unit:
    """The files of one certificate, and their content."""

    __slots__ = ("certificate", "problem", "signature")

    def __init__(self) -> None:
        self.signature: _Signature | None = None
        self.certificate: Certificate | None = None
        self.problem: CertificateProblem | None = None


class CertificateFiles:
    """Reader of `paths` (directories, or single files) and of the files `client_ca` and
    `ticket_secret`, each time `read` is called.

    A bad file leaves its previous content in use; `problems` lists the present faults. `changed`:
    the last `read` found another set than the one before.
    """

    def __init__(self, paths: Sequence[str], client_ca: str = "", ticket_secret: str = "") -> None:
        self._paths = tuple(paths)
        self._units: dict[str, _Unit] = {}
        self._of_path: dict[str, tuple[str, ...]] = {}
        self._client_ca = _PlainFile(client_ca, _check_authorities)
        self._ticket_secret = _PlainFile(ticket_secret, _check_secret)
        self.current = CertificateSet()
        self.problems: tuple[CertificateProblem, ...] = ()
        self.changed = False

    def read(self, now: float | None = None) -> CertificateSet:
        """Return the present content of the files; only changed ones are read again. Never raises
        for anything in or with a file.
        """
        problems: list[CertificateProblem] = []
        for path in self._paths:
            try:
                self._of_path[path] = _units_in(path)
            except OSError as error:  # unknown is not empty: the previous content stays
                problems.append(
                    CertificateProblem(
                        path,
                        (
                            f"cannot be read: {explain_os_error(error)}; "
                            "make it readable for the gateway's user"
                        ),
                    )
                )
            except CertificateError as error:
                problems.append(CertificateProblem(path, str(error)))
        wanted = dict.fromkeys(stem for path in self._paths for stem in self._of_path.get(path, ()))
        self._units = {stem: self._units.get(stem) or _Unit() for stem in wanted}
        for stem, unit in self._units.items():
            _refresh(stem, unit)
        plain = (self._client_ca, self._ticket_secret)
        for file in plain:
            file.refresh()
        found = [
            *(unit.problem for unit in self._units.values()),
            *(file.problem for file in plain),
        ]
        problems += [problem for problem in found if problem is not None]
        certificates = tuple(
            unit.certificate for unit in self._units.values() if unit.certificate is not None
        )
        problems += _expiring(certificates, time.time() if now is None else now)
        result = CertificateSet(certificates, self._client_ca.data, self._ticket_secret.data)
        self.changed = result != self.current
        if self.changed:
            self.current = result
        self.problems = tuple(problems)
        return self.current


class _PlainFile:
    """A file that is used unparsed, and its last good content; `path` "" for none."""

    __slots__ = ("_check", "_path", "_signature", "data", "problem")

    def __init__(self, path: str, check: Callable[[bytes], None]) -> None:
        self._path = path
        self._check = check
        self._signature: _Signature | None = None
        self.data = b""
        self.problem: CertificateProblem | None = None

    def refresh(self) -> None:
        path = self._path
        if not path:
            return
        signature = _signature([path])
        if signature == self._signature and signature and self.problem is None:
            return
        self._signature = signature
        try:
            data = _read(path)
            self._check(data)
        except OSError as error:
            self.problem = CertificateProblem(
                path,
                f"cannot be read: {explain_os_error(error)}; "
                "make it readable for the gateway's user",
            )
        except CertificateError as error:
            self.problem = CertificateProblem(path, str(error))
        else:
            self.problem = None
            self.data = data


def _check_authorities(data: bytes) -> None:
    try:
        x509.load_pem_x509_certificates(data)
    except ValueError:
        cure = "write those of the clients' authorities as PEM"
        raise CertificateError("there is no certificate in it that can be read", cure) from None


def _check_secret(data: bytes) -> None:
    if len(data) < MIN_SECRET:
        raise CertificateError(
            f"a secret has at least {MIN_SECRET} bytes", "make it with `openssl rand`"
        )


def _units_in(path: str) -> tuple[str, ...]:
    # The first file of each certificate, in order of names.
    if not stat.S_ISDIR(os.stat(path).st_mode):
        return (path,)
    names: list[str] = []
    with os.scandir(path) as entries:
        for entry in entries:
            if len(names) > _MAX_ENTRIES:
                raise CertificateError(
                    f"there are more than {_MAX_ENTRIES} files in it",
                    "name a directory of certificates alone",
                )
            names.append(entry.name)
    firsts: dict[str, str] = {}
    for name in sorted(names):
        stem, suffix = os.path.splitext(name)
        if name.startswith(".") or suffix not in _PEM + _PKCS12 or stem in firsts:
            continue
        firsts[stem] = os.path.join(path, name)
    return tuple(firsts.values())


def _signature(paths: Iterable[str]) -> _Signature:
    found = []
    for path in paths:
        try:
            status = os.stat(path)
        except OSError:
            continue
        found.append((path, status.st_mtime_ns, status.st_size, status.st_ino))
    return tuple(found)


def _read(path: str) -> bytes:
    with Path(path).open("rb") as file:
        data = file.read(_MAX_FILE + 1)
    if len(data) > _MAX_FILE:
        raise CertificateError("the file is larger than 1 MiB", "this is no certificate")
    return data


def _refresh(path: str, unit: _Unit) -> None:
    stem, suffix = os.path.splitext(path)
    key, password = f"{stem}.key", f"{stem}.pass"
    signature = _signature([path, key, password])
    if signature == unit.signature and unit.problem is None:
        return
    unit.signature = signature
    at = path
    try:
        secret = None
        if os.path.exists(password):
            at = password
            secret = _read(password).partition(b"\n")[0].rstrip(b"\r")
        at = path
        data = _read(path)
        name = os.path.basename(stem)
        if suffix in _PKCS12:
            certificate = parse_pkcs12(name, path, data, secret)
        else:
            own_key = None
            if os.path.exists(key):
                at = key
                own_key = _read(key)
            at = path
            certificate = parse_pem(name, path, data, own_key, secret)
        check_certificate(certificate)
    except OSError as error:
        message = (
            f"cannot be read: {explain_os_error(error)}; make it readable for the gateway's user"
        )
        unit.problem = CertificateProblem(at, message + _stands(unit))
    except CertificateError as error:
        unit.problem = CertificateProblem(at, str(error) + _stands(unit))
    else:
        unit.certificate, unit.problem = certificate, None


def _stands(unit: _Unit) -> str:
    return (
        " (the certificate that it held before stays in use)"
        if unit.certificate is not None
        else ""
    )


def _expiring(certificates: Iterable[Certificate], now: float) -> list[CertificateProblem]:
    found = []
    for item in certificates:
        day = time.strftime("%Y-%m-%d", time.gmtime(item.not_after))
        if item.not_after <= now:
            found.append(
                CertificateProblem(
                    item.place,
                    f"the certificate has expired on {day}, and clients refuse it; renew it",
                )
            )
        elif item.not_after - now < _WARN_BEFORE:
            found.append(
                CertificateProblem(item.place, f"the certificate expires on {day}; renew it")
            )
        elif item.not_before > now:
            begin = time.strftime("%Y-%m-%d %H:%M", time.gmtime(item.not_before))
            found.append(
                CertificateProblem(
                    item.place, f"the certificate is not valid before {begin} UTC; check the clock"
                )
            )
    return found
