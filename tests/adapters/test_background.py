from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import CancelledError
from concurrent.futures import Future as Outcome

import pytest

from meshlib_adapters.background import BackgroundLoop


async def thread_of(number: int) -> tuple[int, str, bool]:
    current = threading.current_thread()
    return number, current.name, current.daemon


def test_nothing_runs_before_the_first_call_and_nothing_after_the_end() -> None:
    before = threading.active_count()
    loop = BackgroundLoop("of a test")
    assert threading.active_count() == before
    assert not loop.running
    assert loop.call(thread_of, 3) == (3, "of a test", True)
    assert loop.call(thread_of, 4)[0] == 4
    assert threading.active_count() == before + 1
    assert loop.running
    loop.close()
    loop.close()
    assert threading.active_count() == before


def test_a_call_after_the_end_starts_another_loop() -> None:
    loop = BackgroundLoop()
    first = loop.loop
    loop.close()
    try:
        assert loop.loop is not first
        assert first.is_closed()
    finally:
        loop.close()


def test_a_call_into_a_loop_that_has_ended_starts_no_other() -> None:
    loop = BackgroundLoop()
    first = loop.loop
    assert loop.call(thread_of, 1, loop=first)[0] == 1
    loop.close()
    with pytest.raises(CancelledError):
        loop.call(thread_of, 2, loop=first)
    assert not loop.running
    loop.call(thread_of, 3)
    try:
        with pytest.raises(CancelledError):
            loop.call(thread_of, 4, loop=first)
    finally:
        loop.close()


def test_a_call_raises_what_its_function_raises() -> None:
    async def fail() -> None:
        raise KeyError("of the function")

    loop = BackgroundLoop()
    try:
        with pytest.raises(KeyError, match="of the function"):
            loop.call(fail)
        assert loop.call(thread_of, 1)[0] == 1
    finally:
        loop.close()


def test_many_threads_share_one_loop() -> None:
    loop = BackgroundLoop()
    found: list[asyncio.AbstractEventLoop] = []
    threads = [threading.Thread(target=lambda: found.append(loop.loop)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    loop.close()
    assert len(found) == 16
    assert len(set(map(id, found))) == 1


def test_the_loops_own_thread_may_not_wait_for_itself() -> None:
    loop = BackgroundLoop()

    async def ask() -> None:
        loop.call(thread_of, 1)

    try:
        with pytest.raises(RuntimeError, match="own thread"):
            loop.call(ask)
    finally:
        loop.close()


def test_what_is_begun_while_another_thread_ends_it_is_run_or_cancelled() -> None:
    loop = BackgroundLoop()
    found: list[object] = []

    def ask() -> None:
        for number in range(50):
            try:
                found.append(loop.call(thread_of, number)[0])
            except CancelledError:
                found.append(None)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        loop.close()
    loop.close()
    assert len(found) == 200


def test_a_loop_that_cannot_be_made_is_an_error_of_the_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail() -> None:
        raise OSError("too many open files")

    loop = BackgroundLoop()
    with monkeypatch.context() as patch:
        patch.setattr(asyncio.get_event_loop_policy(), "new_event_loop", fail)
        with pytest.raises(OSError, match="too many open files"):
            loop.call(thread_of, 1)
    assert loop.call(thread_of, 1)[0] == 1
    loop.close()


def test_the_end_cancels_what_still_runs() -> None:
    loop = BackgroundLoop()
    begun, ended = threading.Event(), threading.Event()

    async def wait() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    outcome: Outcome[None] = loop.begin(wait)
    assert begun.wait(5)
    loop.close()
    assert ended.is_set()
    with pytest.raises(CancelledError):
        outcome.result()


def test_the_last_call_runs_when_nothing_else_does() -> None:
    loop = BackgroundLoop()
    begun = threading.Event()
    order: list[str] = []

    async def wait() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            order.append("cancelled")

    async def last() -> None:
        order.append("last")

    loop.begin(wait)
    assert begun.wait(5)
    loop.close(last)
    loop.close(last)
    assert order == ["cancelled", "last"]


def test_what_is_begun_can_be_cancelled() -> None:
    loop = BackgroundLoop()
    begun, ended = threading.Event(), threading.Event()

    async def wait() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    try:
        outcome = loop.begin(wait)
        assert begun.wait(5)
        outcome.cancel()
        assert ended.wait(5)
    finally:
        loop.close()


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_forked_process_has_a_loop_of_its_own() -> None:
    loop = BackgroundLoop()
    parents = loop.loop
    child = os.fork()
    if not child:
        status = 1
        try:
            own = loop.loop
            if own is not parents and loop.call(thread_of, 7)[0] == 7:
                loop.close()
                status = 0
        finally:
            os._exit(status)
    try:
        assert os.waitpid(child, 0)[1] == 0
        assert loop.loop is parents
        assert loop.call(thread_of, 1)[0] == 1
    finally:
        loop.close()
