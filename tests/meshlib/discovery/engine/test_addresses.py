"""Which addresses are never connected to, whoever names them."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.discovery.engine.addresses import is_refused, refusal, refusal_in
from meshlib.discovery.engine.records import NetworkRecord

NET = NetworkRecord(
    "n1",
    "shop",
    subnets=(
        ipaddress.ip_network("10.0.1.0/24"),
        ipaddress.ip_network("192.0.2.8/31"),
        ipaddress.ip_network("2001:db8::/64"),
    ),
    gateways=frozenset({"10.0.1.1"}),
    taken=frozenset({"10.0.1.7"}),
)


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1", "172.17.0.2", "192.168.1.10", "100.64.0.1", "192.0.2.1", "198.51.100.7",
        "203.0.113.9", "198.18.0.1", "8.8.8.8", "2001:db8::1", "fd00::1", "fc00::2", "2600:1f00::5",
        "2001:4860:4860::8888",
    ],
)  # fmt: skip
def test_addresses_that_containers_have(address: str) -> None:
    assert refusal(address) == ""
    assert not is_refused(address)


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("127.0.0.1", "loopback"), ("127.9.9.9", "loopback"), ("::1", "loopback"),
        ("0.0.0.0", "this host"), ("0.1.2.3", "this host"), ("::", "unspecified"),
        ("169.254.169.254", "link-local"), ("169.254.170.2", "link-local"),
        ("fe80::1", "link-local"), ("fec0::1", "site-local"), ("fe80::1%eth0", "zone"),
        ("fd00::1%1", "zone"), ("10.0.0.1%x", "zone"), ("224.0.0.1", "multicast"),
        ("239.255.255.250", "multicast"), ("ff02::1", "multicast"),
        ("255.255.255.255", "broadcast"), ("240.0.0.1", "reserved"), ("254.1.2.3", "reserved"),
        ("100.100.100.200", "metadata"), ("168.63.129.16", "metadata"), ("192.0.0.192", "metadata"),
        ("fd00:ec2::254", "metadata"), ("fd20:ce::254", "metadata"), ("fd00:42::42", "metadata"),
        ("192.0.0.8", "protocols"), ("::ffff:127.0.0.1", "another form"),
        ("::ffff:10.0.0.1", "another form"), ("::ffff:0:10.0.0.1", "another form"),
        ("::10.0.0.1", "another form"), ("64:ff9b::a9fe:a9fe", "another form"),
        ("64:ff9b:1::7f00:1", "another form"), ("2002:7f00:1::1", "another form"),
        ("2001::1", "another form"), ("2001:0:5ef5:79fb::1", "another form"),
        ("::1:0:0:0:1", "reserved"), ("100:0:0:1::", "reserved"), ("5f00::1", "reserved"),
        ("e000::1", "reserved"), ("100::1", "thrown away"), ("192.88.99.1", "6to4"),
        ("", "not an IP"), ("shop", "not an IP"), ("10.0.0", "not an IP"),
        ("010.0.0.1", "not an IP"), ("0x7f.1", "not an IP"), ("10.0.0.1/24", "not an IP"),
        ("[::1]", "not an IP"), ("1" * 100_000, "not an IP"),
    ],
)  # fmt: skip
def test_addresses_of_nobody(address: str, why: str) -> None:
    assert why in refusal(address)
    assert is_refused(address)
    assert refusal_in(NET, address) == refusal(address)


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("10.0.1.2", ""), ("10.0.1.254", ""), ("192.0.2.8", ""), ("192.0.2.9", ""),
        ("2001:db8::", ""), ("2001:db8::5", ""),
        ("10.0.1.1", "the address of the host, or of a router, in the network shop"),
        ("10.0.1.7", "an address of the gateway itself, or of its host"),
        ("10.0.1.0", "no address of a machine in the network shop"),
        ("10.0.1.255", "no address of a machine in the network shop"),
        ("10.0.2.2", "outside the network shop (10.0.1.0/24, 192.0.2.8/31, 2001:db8::/64)"),
        ("2001:db8:0:1::5", "outside the network shop (10.0.1.0/24, 192.0.2.8/31, 2001:db8::/64)"),
    ],
)  # fmt: skip
def test_addresses_in_a_network(address: str, why: str) -> None:
    assert refusal_in(NET, address) == why
    assert is_refused(address, NET) is bool(why)


def test_where_the_subnets_are_not_known_any_address_will_do_that_is_not_taken() -> None:
    network = NetworkRecord(
        "n1", "shop", gateways=frozenset({"10.0.1.1"}), taken=frozenset({"10.0.1.7"})
    )
    assert [
        is_refused(address, network)
        for address in ("10.9.9.9", "10.0.1.1", "10.0.1.7", "127.0.0.1")
    ] == [False, True, True, True]


addresses = st.ip_addresses() | st.builds(ipaddress.IPv6Address, st.integers(0, 2**104))


@given(addresses)
def test_whatever_the_library_calls_special_is_refused(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    special = (
        address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or address.is_reserved
    )
    if isinstance(address, ipaddress.IPv6Address):
        special = (
            special
            or address.is_site_local
            or bool(address.ipv4_mapped or address.sixtofour or address.teredo)
        )
    assert is_refused(str(address)) or not special
    containers = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "2600::/12", "fc00::/8")
    assert not (
        is_refused(str(address))
        and any(address in ipaddress.ip_network(text) for text in containers)
    )


@given(st.ip_addresses(v=4), st.sampled_from(["::ffff:", "::", "64:ff9b::", "::ffff:0:"]))
def test_no_other_form_of_an_address_passes(address: ipaddress.IPv4Address, prefix: str) -> None:
    assert is_refused(f"{prefix}{address}")


@given(st.ip_addresses(), st.integers(0, 128))
def test_in_a_network_only_its_own_pass(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, length: int
) -> None:
    subnet = ipaddress.ip_network(
        f"10.0.0.0/{length % 25 + 8}" if address.version == 4 else f"2001:db8::/{32 + length % 97}",
        strict=False,
    )
    network = NetworkRecord("n1", "shop", subnets=(subnet,))
    assert is_refused(str(address), network) or address in subnet


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1"])
def test_a_test_may_permit_loopback_addresses_whatever_the_network(address: str) -> None:
    assert is_refused(address, NET)
    permitted = replace(NET, loopback=True, taken=NET.taken | {address})
    assert refusal_in(permitted, address) == ""


@pytest.mark.parametrize(
    "address", ["::ffff:127.0.0.1", "169.254.169.254", "0.0.0.0", "10.0.1.1", "10.0.1.7", "x"]
)
def test_that_permission_is_for_loopback_addresses_alone(address: str) -> None:
    assert refusal_in(replace(NET, loopback=True), address) == refusal_in(NET, address) != ""


@given(st.text())
def test_any_text_is_an_address_or_refused(text: str) -> None:
    if not is_refused(text):
        ipaddress.ip_address(text)
