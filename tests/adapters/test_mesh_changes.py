from __future__ import annotations

import asyncio
import os
import threading

import pytest

from meshlib.mesh import Mesh
from meshlib_adapters.mesh_changes import subscribe_in_loop


class Heard:
    """Versions of a mesh that were heard of, each with the thread."""

    def __init__(self) -> None:
        self.versions: list[int] = []
        self.threads: set[threading.Thread] = set()

    def __call__(self, mesh: Mesh) -> None:
        self.versions.append(mesh.version)
        self.threads.add(threading.current_thread())


def change(mesh: Mesh) -> None:
    mesh.replace({f"h{mesh.version}.test": ["127.0.0.1:1"]})


def test_a_change_in_the_loops_own_thread_is_told_at_once() -> None:
    async def run() -> None:
        mesh, heard = Mesh(), Heard()
        end = subscribe_in_loop(mesh, asyncio.get_running_loop(), heard)
        change(mesh)
        assert heard.versions == [1]
        end()
        end()
        change(mesh)
        assert heard.versions == [1]

    asyncio.run(run())


def test_a_change_in_another_thread_is_told_in_the_loops_own() -> None:
    async def run() -> None:
        mesh, heard = Mesh(), Heard()
        subscribe_in_loop(mesh, asyncio.get_running_loop(), heard)
        thread = threading.Thread(target=change, args=(mesh,))
        thread.start()
        thread.join()
        assert heard.versions == []
        await asyncio.sleep(0)
        assert heard.versions == [1]
        assert heard.threads == {threading.main_thread()}

    asyncio.run(run())


def test_a_change_in_another_loop_is_told_in_its_own() -> None:
    async def in_another() -> None:
        change(mesh)

    async def run() -> None:
        subscribe_in_loop(mesh, asyncio.get_running_loop(), heard)
        await asyncio.to_thread(asyncio.run, in_another())
        while not heard.versions:  # noqa: ASYNC110
            await asyncio.sleep(0.001)

    mesh, heard = Mesh(), Heard()
    asyncio.run(run())
    assert heard.threads == {threading.main_thread()}


def test_a_loop_that_rests_or_is_closed_is_told_at_once() -> None:
    mesh, heard = Mesh(), Heard()
    loop = asyncio.new_event_loop()
    subscribe_in_loop(mesh, loop, heard)
    change(mesh)
    loop.close()
    change(mesh)
    assert heard.versions == [1, 2]


def test_a_loop_that_closes_meanwhile_is_told_nothing() -> None:
    class Closing(asyncio.SelectorEventLoop):
        running = False

        def is_running(self) -> bool:
            return self.running

    mesh, heard = Mesh(), Heard()
    loop = Closing()
    subscribe_in_loop(mesh, loop, heard)
    loop.close()
    loop.running = True  # so it was, a moment ago
    change(mesh)
    assert heard.versions == []


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_forked_process_is_told_nothing() -> None:
    mesh, heard = Mesh(), Heard()
    loop = asyncio.new_event_loop()
    subscribe_in_loop(mesh, loop, heard)
    child = os.fork()
    if not child:
        status = 1
        try:
            change(mesh)
            change(mesh)
            status = len(heard.versions)
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    change(mesh)
    assert heard.versions == [1]
    loop.close()
