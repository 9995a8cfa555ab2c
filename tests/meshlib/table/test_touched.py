"""What has to be compiled anew after a change: all that came, went, or has another owner now, and
nothing else.
"""

from __future__ import annotations

from dataclasses import replace

from meshlib.model import ListeningPort, Scheme
from meshlib.table.touched import Touched
from tests.support.tables import indexes_of, service

_POSTGRES = ListeningPort(Scheme.TCP, 5432)


def test_claims_by_scheme_host_and_port() -> None:
    new = service("stack a", "http://x", "http://x/api", "sni://x", "tcp://:5432")
    old = replace(service("stack b", "http://x", "http://y", "sni://z", "udp://:53"), key="old")
    touched = Touched(iter([old]), [new])
    assert {
        host: [claim.route.path for claim in claims] for host, claims in touched.http.items()
    } == {"x": ["/", "/api"], "y": []}
    assert {host: len(claims) for host, claims in touched.sni.items()} == {"x": 1, "z": 0}
    assert {port: len(claims) for port, claims in touched.ports.items()} == {
        _POSTGRES: 1,
        ListeningPort(Scheme.UDP, 53): 0,
    }
    assert touched.changed == {"old"}
    assert touched.hosts == {"x", "y", "z"}


def test_names_of_other_owners_are_touched_where_somebody_asks_for_them() -> None:
    indexes = indexes_of(service("stack a", "http://x", "sni://z", "tcp://:5432"))
    touched = Touched([], [])
    touched.add_names(
        ["x", "z", "tcp://:5432", "nobody's", "tcp://:1"], indexes.http, indexes.sni, indexes.ports
    )
    assert (touched.http, touched.sni, touched.ports) == ({"x": []}, {"z": []}, {_POSTGRES: []})
