"""`FastPaths`: the shortcuts of the data path, to be switched off one by one.

Results are the same without them; `tests/adapters/http1/test_fast_paths.py` holds that, and
`python -m tests.benchmarks.one_request --without NAME` shows what each saves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["ALL", "FastPaths"]


@dataclass(frozen=True, slots=True)
class FastPaths:
    """Which shortcuts are taken; all of them, except in tests.

    `repeated_heads`: a head that repeats the last one of its connection (or endpoint) is compared,
    not parsed (`http1/repeated_head`, `upstream/http1`, `proxy/exchange`). `request_cache`: what
    was parsed for one connection is known for others (`proxy/request_cache`). `write_batch`: writes
    of one round of the event loop are made together (`sockets/write_batch`). `spare_fronts`: the
    objects of a connection that is gone serve the next one (`listeners/http_clients`).
    """

    repeated_heads: bool = True
    request_cache: bool = True
    write_batch: bool = True
    spare_fronts: bool = True


ALL: Final = FastPaths()
