"""The demo as a command.

    make demo                  # sample services and a gateway on loopback, until Ctrl-C
    make demo ARGS=--check     # the same requests, made and compared; status 1 on a difference

In a checkout with the extra `gateway` installed, `python -m examples.demo [--check]` does the same.
"""

from __future__ import annotations

import argparse
import sys

from examples.demo.demo import run_demo
from meshlib.errors import ConfigurationError
from meshlib_adapters.workers.event_loop import run_async


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--check",
        action="store_true",
        help="make the requests, compare, exit with 1 on a difference",
    )
    parser.add_argument(
        "--http", metavar="HOST:PORT", default="127.0.0.1:0", help="address to listen on"
    )
    options = parser.parse_args()
    try:
        return run_async(run_demo, options.check, options.http)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
