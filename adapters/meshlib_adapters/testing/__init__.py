"""Stand-ins for the outside world that misbehave on request, for tests of code built on meshlib.

`FakeEngine` is a Docker Engine API on a Unix socket: a few services, tasks, networks and
containers, an event stream, and every fault (`Fault`) that a real engine has been seen with.
"""

from meshlib_adapters.testing.engine import FakeEngine
from meshlib_adapters.testing.server import Fault

__all__ = ["FakeEngine", "Fault"]
