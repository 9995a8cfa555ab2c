"""Names as Docker's embedded DNS resolves them: kinds, scopes, and the same addresses for a name
however it is written.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.discovery.names import NameIndex, service_endpoints
from meshlib.errors import ConfigurationError
from meshlib.model import (
    Contribution,
    Endpoint,
    EndpointState,
    ForwardTo,
    HostPath,
    RedirectRule,
    Route,
    Snapshot,
    Upstream,
)
from meshlib.name_records import NameKind, NameRecord
from meshlib.upstream_key import UpstreamKey

RECORDS = (
    NameRecord("front", "shop", NameKind.SERVICE, ("10.0.1.2",)),
    NameRecord("front", "shop", NameKind.TASKS, ("10.0.1.3", "10.0.1.4")),
    NameRecord("front", "store", NameKind.SERVICE, ("10.0.1.2",)),
    NameRecord("front", "store", NameKind.TASKS, ("10.0.1.3", "10.0.1.4")),
    NameRecord("back", "shop", NameKind.SERVICE, ("10.0.2.2",)),
    NameRecord("Net.Prod", "only.here", NameKind.SERVICE, ("10.0.3.2",)),
    NameRecord("front", "shop.1.x8a7", NameKind.CONTAINER, ("10.0.1.3",)),
    NameRecord("front", "store", NameKind.SERVICE, ("10.0.1.9", "10.0.1.2")),
    NameRecord("front", "same", NameKind.CONTAINER, ("10.0.9.9",)),
    NameRecord("back", "same", NameKind.CONTAINER, ("10.0.9.9",)),
    NameRecord("back", "shop.front", NameKind.CONTAINER, ("10.0.2.7",)),
    NameRecord("back", "asleep", NameKind.SERVICE, ()),
    NameRecord("net", "x.b", NameKind.SERVICE, ("10.0.4.1",)),
    NameRecord("b.net", "x", NameKind.SERVICE, ("10.0.4.1",)),
    NameRecord("c.net", "y", NameKind.SERVICE, ("10.0.4.2",)),
    NameRecord("net", "y.c", NameKind.SERVICE, ("10.0.4.3",)),
)
INDEX = NameIndex(RECORDS)


@pytest.mark.parametrize(
    ("name", "network", "addresses"),
    [
        ("shop", "front", ("10.0.1.2",)),
        ("shop", "back", ("10.0.2.2",)),
        ("shop", "nowhere", ()),
        ("tasks.shop", "front", ("10.0.1.3", "10.0.1.4")),
        ("tasks.shop", None, ("10.0.1.3", "10.0.1.4")),
        ("tasks.shop", "back", ()),
        ("TASKS.Store.", None, ("10.0.1.3", "10.0.1.4")),
        ("store", None, ("10.0.1.2", "10.0.1.9")),
        ("Only.Here", None, ("10.0.3.2",)),
        ("only.here.net.prod.", None, ("10.0.3.2",)),
        ("only.here.net.prod", "Net.Prod", ("10.0.3.2",)),
        ("only.here", "net.prod", ()),
        ("shop.1.x8a7", None, ("10.0.1.3",)),
        ("tasks.shop.front", "front", ("10.0.1.3", "10.0.1.4")),
        ("shop.back", None, ("10.0.2.2",)),
        ("shop.back", "front", ()),
        ("shop.front", None, ("10.0.2.7",)),
        ("shop.front", "front", ("10.0.1.2",)),
        ("same", None, ("10.0.9.9",)),
        ("x.b.net", None, ("10.0.4.1",)),
        ("asleep", None, ()),
        ("nobody", None, ()),
        ("nobody", "front", ()),
        ("no.body.here", None, ()),
        ("", None, ()),
        (".", None, ()),
        ("shop..", None, ()),
        ("." * 5_000_000, None, ()),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_name_resolves_to_its_addresses(
    name: str, network: str | None, addresses: tuple[str, ...]
) -> None:
    assert INDEX.resolve(name, network) == addresses


@pytest.mark.parametrize(
    ("name", "said", "hint"),
    [
        (
            "Shop.",
            "'Shop.' has different addresses in several networks: back, front",
            "name one, as in network='back'",
        ),
        (
            "y.c.net",
            "'y.c.net' has different addresses in several networks: c.net, net",
            "name one, as in network='c.net'",
        ),
    ],
)
def test_a_network_must_be_named_where_addresses_differ(name: str, said: str, hint: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        INDEX.resolve(name)
    assert caught.value.message == said
    assert caught.value.hint == hint


def test_without_records_nobody_has_a_name() -> None:
    assert NameIndex(()).resolve("shop") == ()


NAMES = st.sampled_from(["a", "b", "a.b", "tasks.a"])
NETWORKS = st.sampled_from(["a", "n", "n.b"])
ANY_RECORD = st.builds(
    NameRecord,
    NETWORKS,
    NAMES,
    st.sampled_from(list(NameKind)),
    st.lists(st.sampled_from(["1.1.1.1", "1.1.1.2"])).map(tuple),
)


@given(st.lists(ANY_RECORD), NAMES, NETWORKS)
def test_the_same_addresses_however_the_name_is_written(
    records: list[NameRecord], name: str, network: str
) -> None:
    index = NameIndex(records)
    found = index.resolve(name, network)
    assert found == index.resolve(name.upper() + ".", network)
    assert len(set(found)) == len(found)
    held = {
        address
        for record in records
        if record.network == network
        and name == ("tasks." if record.kind is NameKind.TASKS else "") + record.name
        for address in record.addresses
    }
    if held:
        assert set(found) == held
    try:
        anywhere = index.resolve(name)
    except ConfigurationError:
        assert len({record.network for record in records}) > 1
    else:
        assert not held or set(anywhere) == held


def test_the_endpoints_of_a_service_are_those_of_all_its_routes() -> None:
    ready = Endpoint("a", "10.0.0.1", 80)
    starting = Endpoint("b", "10.0.0.2", 80, state=EndpointState.STARTING)
    to = ForwardTo(Upstream(UpstreamKey("shop", 80), (ready, starting)))
    routes = (
        Route(HostPath("a"), to, service="shop"),
        Route(HostPath("b"), to, service="shop"),
        Route(HostPath("c"), RedirectRule("https://a"), service="shop"),
    )
    snapshot = Snapshot.of([Contribution("1", "shop", routes=routes), Contribution("2", "other")])
    assert service_endpoints(snapshot, "shop", ready=True) == (ready,)
    assert service_endpoints(snapshot, "shop", ready=False) == (ready, starting)
    assert service_endpoints(snapshot, "nobody", ready=True) == ()
