"""The pool of pipes, with real pipes."""

from __future__ import annotations

import os

from meshlib_adapters.relay.pipes import PipePool


def test_lending_and_giving_back() -> None:
    pool = PipePool(1 << 16, limit=2, spares=1)
    assert (pool.opened, pool.lent) == (0, 0)
    one, two = pool.acquire(), pool.acquire()
    assert one is not None
    assert two is not None
    assert pool.acquire() is None
    assert pool.lent == 2
    os.write(one.writer, b"x")
    pool.discard(one)
    pool.release(two)
    assert (pool.opened, pool.lent) == (1, 0)
    assert pool.acquire() is two
    three = pool.acquire()
    assert three is not None
    pool.release(two)
    pool.release(three)  # more than is kept
    assert repr(pool) == "<PipePool 1 open, 1 spare>"
    pool.close()
    assert pool.opened == 0


def test_a_size_that_the_kernel_does_not_give() -> None:
    pool = PipePool(1 << 31, limit=1, spares=0)
    pipe = pool.acquire()
    assert pipe is not None
    assert 4096 <= pipe.size < 1 << 31
    pool.release(pipe)
    assert pool.opened == 0
