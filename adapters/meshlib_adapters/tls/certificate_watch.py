"""Watch on the files of certificates: reads them at the start, periodically, and on SIGHUP; reports
changes, and logs faults.

This process, which may be root, is the only one that reads keys; workers get the result.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

import anyio
import anyio.to_thread

from meshlib.errors import ConfigurationError
from meshlib_adapters.config.settings import Settings
from meshlib_adapters.tls.certificate_files import (
    CertificateFiles,
    CertificateProblem,
    CertificateSet,
)
from meshlib_adapters.tls.certificate_index import DEFAULT
from meshlib_adapters.tls.certificates import covers
from meshlib_adapters.tls.tickets import sharing_trouble

__all__ = ["CertificateWatch"]

logger = logging.getLogger("meshlib.tls")


# Seconds after which our own secret is replaced. Its holder can decrypt sessions of TLS 1.2 that
# began with its tickets.
_SECRET_LASTS: Final = 12 * 3600.0
_SECRET_SIZE: Final = 64


class CertificateWatch:
    """Watch on the certificates that `settings` name; `on_change` is called with each set that
    differs from the previous one.

    Workers get a secret with the set, so that each resumes the sessions of all: that of
    `tls.ticket_secret`, or one of our own.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = own = settings.termination
        self._files = CertificateFiles(own.certificates, own.client_ca, own.ticket_secret)
        several = settings.workers != 1 or settings.user != "" or settings.group != ""
        self._makes_secret = several and not own.ticket_secret
        self._secret = b""
        self._secret_made = 0.0
        self._wake = anyio.Event()
        self._logged: tuple[CertificateProblem, ...] = ()
        self.on_change: Callable[[CertificateSet], None] = lambda _: None

    @property
    def not_after(self) -> Mapping[str, float]:
        """Expiry of each certificate in use (seconds since 1970), by name; of several with one name
        the first.
        """
        found: dict[str, float] = {}
        for item in self._files.current.certificates:
            found[item.name] = min(item.not_after, found.get(item.name, item.not_after))
        return found

    def covers(self, name: str) -> bool:
        """Return whether a server name (normal form, "" for none) has a certificate."""
        certificates = self._files.current.certificates
        return any(not name or item.name == DEFAULT or covers(item, name) for item in certificates)

    def reload(self) -> None:
        """Read the files again at once."""
        self._wake.set()

    async def read_changes(self) -> None:
        """Read what has changed, and report it."""
        found = await anyio.to_thread.run_sync(self._files.read)
        for problem in self._files.problems:
            if problem not in self._logged:
                logger.warning("%s", problem)
        for problem in self._logged:
            if problem.place not in {now.place for now in self._files.problems}:
                logger.info("%s: well again", problem.place)
        self._logged = self._files.problems
        renewed = self._renew_secret()
        if self._files.changed:
            names = ", ".join(item.name for item in found.certificates)
            logger.info(
                "certificates: %s",
                names or "none",
                extra={"fields": {"certificates": len(found.certificates)}},
            )
        if self._files.changed or renewed:
            self.on_change(replace(found, ticket_secret=self._secret) if self._secret else found)

    async def begin(self) -> None:
        """Read for the first time. Raises `ConfigurationError` when client certificates are
        requested and there are no authorities to verify them with, or a configured ticket secret
        cannot be used.
        """
        if self._makes_secret or self._settings.ticket_secret:
            trouble = await anyio.to_thread.run_sync(sharing_trouble)
            if trouble and self._settings.ticket_secret:
                hint = "leave it out: then each process resumes the sessions that it has begun"
                raise ConfigurationError(
                    f"keys of tickets cannot be set: {trouble}",
                    where="tls.ticket_secret",
                    hint=hint,
                )
            if trouble:
                logger.info(
                    "each worker resumes only the TLS sessions that it has begun: %s", trouble
                )
                self._makes_secret = False
        await self.read_changes()
        if self._settings.ticket_secret and not self._files.current.ticket_secret:
            raise ConfigurationError(
                self._reason(self._settings.ticket_secret), where="tls.ticket_secret"
            )
        if self._settings.client_auth != "off" and not self._files.current.client_ca:
            raise ConfigurationError(self._reason(self._settings.client_ca), where="tls.client_ca")

    async def run(self) -> None:
        """Read changes every `tls.check` seconds, until cancelled."""
        while True:
            with anyio.move_on_after(self._settings.check):
                await self._wake.wait()
            self._wake = anyio.Event()
            await self.read_changes()

    def _renew_secret(self) -> bool:
        now = time.monotonic()
        if not self._makes_secret or (self._secret and now - self._secret_made < _SECRET_LASTS):
            return False
        self._secret, self._secret_made = os.urandom(_SECRET_SIZE), now
        return True

    def _reason(self, path: str) -> str:
        return next(
            (str(problem) for problem in self._files.problems if problem.place == path),
            "it holds nothing",
        )
