"""The form of a line of the access log."""

from __future__ import annotations

import re

__all__ = ["COMBINED"]

# host ident user [time] "request" status size "referer" "agent" route endpoint tries seconds reason
# termination
COMBINED = re.compile(
    r'(\S+) - - \[([^\]]+)\] "((?:[^"\\]|\\.)*)" (\d{3}) (\d+) '
    r'"((?:[^"\\]|\\.)*)" "((?:[^"\\]|\\.)*)"'
    r" (\S+) (\S+) (\d+) (\d+\.\d{6}) (\S+) ([-CSP][-RBQCHDT])"
)
