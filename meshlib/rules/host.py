"""Which hosts a pattern matches, and which of two patterns is more specific.

The same rules serve Host fields and TLS server names. This module does not parse what a client
sent (`meshlib.authority` does) and knows no index: the table has one, and is tested against this.
"""

from __future__ import annotations

from meshlib.patterns import parse_host_pattern

__all__ = ["host_matches", "host_specificity", "parse_host_pattern"]


def host_matches(pattern: str, host: str) -> bool:
    """Whether `pattern` matches `host`; both in normal form.

    "*.example.com" matches one or more labels before "example.com", never "example.com" itself;
    "" matches everything, also the empty host of a request or hello without one.
    """
    if not pattern:
        return True
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and len(host) >= len(pattern)
    return host == pattern


def host_specificity(pattern: str) -> tuple[int, int]:
    """Larger is more specific: exact before wildcard before catch-all, then more labels before fewer.

    It counts labels, never characters: "*.a.example.com" beats "*.a-much-longer-name.com".
    """
    if not pattern:
        return (0, 0)
    if pattern.startswith("*."):
        return (1, pattern.count("."))
    return (2, pattern.count(".") + 1)
