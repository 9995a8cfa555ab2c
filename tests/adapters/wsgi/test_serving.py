from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from meshlib.client_claims import ForwardingPolicy
from meshlib.mesh import Mesh
from meshlib_adapters.config.http import HTTPSettings
from meshlib_adapters.wsgi.serving import Serving, ServingSlot


@pytest.fixture
def slot() -> Iterator[ServingSlot]:
    def make() -> Serving:
        return Serving(Mesh(), (), HTTPSettings(), ForwardingPolicy(), None)

    made = ServingSlot(make, 1.0)
    yield made
    made.close()


async def raising() -> None:
    raise KeyError("of the work")


def test_work_is_waited_for_and_raises_what_it_does(slot: ServingSlot) -> None:
    serving = slot.started()
    assert serving.call(asyncio.sleep(0, "done")) == "done"
    with pytest.raises(KeyError, match="of the work"):
        serving.call(raising())
    assert slot.started() is serving


def test_many_threads_start_it_once(slot: ServingSlot) -> None:
    found: list[Serving] = []
    threads = [threading.Thread(target=lambda: found.append(slot.started())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(found) == 8
    assert len(set(map(id, found))) == 1


def test_work_that_is_under_way_at_the_end_is_an_error(slot: ServingSlot) -> None:
    serving = slot.started()
    begun = threading.Event()
    raised: list[RuntimeError] = []

    async def work() -> None:
        begun.set()
        await asyncio.sleep(60)

    def wait() -> None:
        try:
            serving.call(work())
        except RuntimeError as error:
            raised.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    assert begun.wait(5)
    slot.close()
    thread.join(5)
    assert [type(error) for error in raised] == [RuntimeError]
    with pytest.raises(RuntimeError):
        serving.call(work())
    assert not serving.soon_if_open(begun.set)


def test_a_look_is_taken_while_it_is_waited_for(slot: ServingSlot) -> None:
    looked = asyncio.Event()
    serving = slot.started()
    serving.call(looked.wait(), look=lambda: serving.soon(looked.set))
    assert looked.is_set()
