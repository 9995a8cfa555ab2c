"""Which paths a prefix matches, on the boundaries of segments: "/a" matches "/a/b" and not "/ab".

This module never decodes or cleans what a client sent.
"""

from __future__ import annotations

from meshlib.patterns import parse_path_prefix

__all__ = ["parse_path_prefix", "path_matches", "path_specificity"]


def path_matches(prefix: str, path: str) -> bool:
    """Whether `prefix` (normal form) matches `path`, the path of a request without its query.

    "/" matches every target, "*" of OPTIONS included.
    """
    return prefix == "/" or path == prefix or path.startswith(prefix + "/")


def path_specificity(prefix: str) -> int:
    """Larger is more specific: the number of segments ("/" has none)."""
    return 0 if prefix == "/" else prefix.count("/")
