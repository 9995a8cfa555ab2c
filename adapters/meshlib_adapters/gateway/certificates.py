"""Watches the files of certificates: reads them at the start, now and then, and on SIGHUP; tells who serves, and logs what is wrong.

The one process that reads keys is this one, which may be root; workers are sent what was found.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import anyio
import anyio.to_thread

from meshlib.errors import ConfigurationError
from meshlib_adapters.gateway.settings import Settings
from meshlib_adapters.tls import CertificateFiles, CertificateSet, Problem
from meshlib_adapters.tls.certificates import covers
from meshlib_adapters.tls.index import DEFAULT

__all__ = ["CertificateWatch"]

logger = logging.getLogger("meshlib_adapters.gateway.certificates")


class CertificateWatch:
    """The certificates that `settings` name; `tell` is called with each set that is another than the one before."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings.tls
        self._files = CertificateFiles(settings.tls.certificates, settings.tls.client_ca)
        self._wake = anyio.Event()
        self._told: tuple[Problem, ...] = ()
        self.tell: Callable[[CertificateSet], None] = lambda _: None

    @property
    def not_after(self) -> Mapping[str, float]:
        """When each certificate in use ends (seconds since 1970), by name; of several with one name the first."""
        found: dict[str, float] = {}
        for item in self._files.current.certificates:
            found[item.name] = min(item.not_after, found.get(item.name, item.not_after))
        return found

    def covers(self, name: str) -> bool:
        """Whether a server name (normal form, "" for none) has a certificate."""
        certificates = self._files.current.certificates
        return any(not name or item.name == DEFAULT or covers(item, name) for item in certificates)

    def look_soon(self) -> None:
        """Look at the files now."""
        self._wake.set()

    async def look(self) -> None:
        """Read what has changed, and tell."""
        found = await anyio.to_thread.run_sync(self._files.read)
        for problem in self._files.problems:
            if problem not in self._told:
                logger.warning("%s", problem)
        for problem in self._told:
            if problem.place not in {now.place for now in self._files.problems}:
                logger.info("%s: well again", problem.place)
        self._told = self._files.problems
        if self._files.changed:
            names = ", ".join(item.name for item in found.certificates)
            logger.info("certificates: %s", names or "none", extra={"fields": {"certificates": len(found.certificates)}})
            self.tell(found)

    async def begin(self) -> None:
        """The first look. `ConfigurationError` when clients are to show certificates and nobody could say which are good."""
        await self.look()
        if self._settings.client_auth != "off" and not self._files.current.client_ca:
            reason = next((str(p) for p in self._files.problems if p.place == self._settings.client_ca), "it holds nothing")
            raise ConfigurationError(reason, where="tls.client_ca")

    async def run(self) -> None:
        """Look every `tls.check` seconds, until cancelled."""
        while True:
            with anyio.move_on_after(self._settings.check):
                await self._wake.wait()
            self._wake = anyio.Event()
            await self.look()
