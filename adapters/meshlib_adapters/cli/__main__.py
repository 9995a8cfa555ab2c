"""Entry of the command `meshlib`, also as `python -m meshlib_adapters.cli`: where an extra is
missing it says which.
"""

from __future__ import annotations

import sys
from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command, and leave the process with its exit status; 2 without the extra
    `gateway`.
    """
    try:
        from meshlib_adapters.cli.main import main as run
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in ("", "meshlib", "meshlib_adapters"):
            raise
        sys.exit(_complain(missing))
    run()


def _complain(missing: str) -> int:
    print(  # noqa: T201
        f"meshlib: the command needs {missing}, which is not installed "
        "(write: pip install 'meshlib-gateway[gateway]')",
        file=sys.stderr,
    )
    return 2


if __name__ == "__main__":
    main()
