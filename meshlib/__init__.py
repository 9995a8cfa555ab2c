"""meshlib: parts to build a gateway that routes by what services say about themselves.

Importing this package loads the standard library only. Everything that does I/O is in
`meshlib_adapters`, and is imported by its module.
"""

from meshlib.authority import Authority, parse_authority

__version__ = "0.1.0"

__all__ = ["Authority", "parse_authority"]
