"""What a route is matched against: hosts and paths, and which of two that match is more specific."""

from meshlib.rules.host import host_matches, host_specificity, parse_host_pattern
from meshlib.rules.path import parse_path_prefix, path_matches, path_specificity

__all__ = [
    "host_matches",
    "host_specificity",
    "parse_host_pattern",
    "parse_path_prefix",
    "path_matches",
    "path_specificity",
]
