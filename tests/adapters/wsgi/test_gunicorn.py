"""Several workers of gunicorn, of which each has a loop and pools of its own, also where the
application was loaded, or even started, before they were forked.
"""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.backend import OK, Backend, responding
from tests.support.client import get
from tests.support.wsgi_servers import RunningSite, gunicorn


def ask(site: RunningSite) -> int:
    client = site.client()
    try:
        return client.ask(get("/", "a", "Connection: close")).status
    finally:
        client.close()


@pytest.mark.parametrize("early", ["", "1"])
def test_workers_that_were_forked_behind_the_loading(early: str) -> None:
    upstream = Backend(responding(OK))
    routes = json.dumps({"a": [f"127.0.0.1:{upstream.port}"]})
    log: list[str] = []
    options = ("--preload", "-w", "2", "-k", "gthread", "--threads", "4")
    variables = {"ROUTES": routes, "EARLY": early}
    with gunicorn(*options, variables=variables, log=log) as site:
        with ThreadPoolExecutor(8) as pool:
            statuses = Counter(pool.map(lambda number: ask(site), range(100)))
        assert statuses == {200: 100}
        threads: dict[int, list[str]] = {}
        while len(threads) < 2:
            facts = site.facts()
            threads[facts["pid"]] = facts["threads"]
        for names in threads.values():
            assert names.count("meshlib-wsgi") == 1
    upstream.stop()  # no connection was left open
    assert "Traceback" not in "".join(log)
