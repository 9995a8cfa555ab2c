"""Labels of Interlock 1 and 2, which are not read: one diagnostic for each service says so, with
the routing label that asks for the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from meshlib.bounds import bounded_name
from meshlib.labels.diagnostics import DiagnosticKind
from meshlib.model import Diagnostic, Severity

__all__ = ["CATALOGUE", "NOT_READ", "unread_interlock"]

NOT_READ = DiagnosticKind(
    "ILK001", Severity.WARNING, "the service has labels of Interlock, which are not read"
)
CATALOGUE = (NOT_READ,)

_FIRST: Final = "interlock."
_SECOND: Final = "com.docker.lb."
# They mark Interlock's own containers and its proxies, and ask for no route.
_MARKS: Final = frozenset({"interlock.app", "interlock.ext.name"})
_SHOWN: Final = 3
_MOST_HOSTS: Final = 5
# Other texts are not repeated in a label that people copy.
_HOST: Final = re.compile(r"[A-Za-z0-9_*-][A-Za-z0-9._-]{0,252}", re.ASCII)
_PORT: Final = re.compile(r"[0-9]{1,5}", re.ASCII)
_PATH: Final = re.compile(r"/[A-Za-z0-9._~/-]{0,252}", re.ASCII)


def unread_interlock(labels: Mapping[str, str], service: str) -> Diagnostic | None:
    """The diagnostic for the labels of Interlock among `labels`; None when none asks for a route.

    The hint rewrites hosts, port, path and passthrough; the others have a name of their own in
    docs/labels.md, or none.
    """
    found = sorted(key for key in labels if key.startswith((_FIRST, _SECOND)) and key not in _MARKS)
    if not found:
        return None
    shown = ", ".join(bounded_name(key) for key in found[:_SHOWN])
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return Diagnostic(
        NOT_READ.code,
        NOT_READ.severity,
        service,
        bounded_name(found[0]),
        f"labels of Interlock are not read, so they route nothing: {_printable(shown)}{more}",
        f"write the label that asks for the same: {_rewritten(labels)}",
    )


def _rewritten(labels: Mapping[str, str]) -> str:
    port = _shown(_PORT, labels.get(f"{_SECOND}port") or labels.get(f"{_FIRST}port") or "", "PORT")
    path = labels.get(f"{_SECOND}context_root") or labels.get(f"{_FIRST}context_root") or ""
    path = path if _PATH.fullmatch(path) else ""
    passed = labels.get(f"{_SECOND}ssl_passthrough", "").lower() == "true"
    prefix = "sni://" if passed else "http://"
    hosts = list(dict.fromkeys(_hosts(labels)))[:_MOST_HOSTS] or ["HOST"]
    return "; ".join(
        f"com.docker.ucp.mesh.http.{number}: external_route={prefix}{host}"
        f"{'' if passed else path},internal_port={port}"
        for number, host in enumerate(hosts, 1)
    )


def _hosts(labels: Mapping[str, str]) -> Iterator[str]:
    listed = labels.get(f"{_SECOND}hosts")
    if listed is not None:
        for host in listed[: 254 * _MOST_HOSTS].split(","):
            yield _shown(_HOST, host.strip(), "HOST")
        return
    name, domain = labels.get(f"{_FIRST}hostname", ""), labels.get(f"{_FIRST}domain", "")
    if name or domain:
        whole = domain if name in ("", domain) else f"{name}.{domain}".rstrip(".")
        yield _shown(_HOST, whole, "HOST")
    for key in sorted(labels):
        if key.startswith(f"{_FIRST}alias_domain"):
            yield _shown(_HOST, labels[key], "HOST")


def _shown(pattern: re.Pattern[str], text: str, otherwise: str) -> str:
    return text if pattern.fullmatch(text) else otherwise


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)
