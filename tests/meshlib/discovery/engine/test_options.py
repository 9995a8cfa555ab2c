"""The operator's options: what HRM did is the default."""

from __future__ import annotations

from meshlib.discovery.engine.options import ResolveOptions


def test_the_defaults_are_those_of_hrm() -> None:
    options = ResolveOptions()
    assert options.network_label == "com.docker.ucp.mesh.http"
    assert options.networks == frozenset()
    assert options.reachable is None
    assert not options.use_vip
    assert not options.loopback_for_tests
