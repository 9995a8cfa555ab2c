"""Who may stay and who is given up, as bookkeeping; the listeners' own tests have the
connections.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshlib.authority import client_network
from meshlib_adapters.sockets.limits import NEVER_IDLE, ClientLimits


class Connection:
    """A member of which a test says what it does."""

    def __init__(self, since: float | None = 0.0) -> None:
        self.since = since
        self.over = False
        self.asked = 0

    def idle_since(self) -> float | None:
        self.asked += 1
        return self.since

    def give_up(self) -> None:
        assert self.since not in (None, NEVER_IDLE)
        self.over = True


def test_at_the_limit_of_one_client_its_own_longest_idle_makes_room() -> None:
    limits = ClientLimits(10, 2)
    other, first, second, third = (Connection(since) for since in (0.0, 1.0, 2.0, 3.0))
    assert limits.enter(other, "10.0.0.9") == ""
    assert limits.enter(first, "10.0.0.1") == ""
    assert limits.enter(second, "::ffff:10.0.0.1") == ""
    first.since = 2.5  # a request came and went
    assert limits.enter(third, "10.0.0.1") == ""
    assert [member.over for member in (other, first, second, third)] == [False, False, True, False]
    first.since = third.since = None
    assert limits.enter(Connection(), "10.0.0.1") == "client_limit"
    assert (len(limits), limits.given_up) == (3, 1)


def test_at_the_limit_of_all_the_client_that_holds_most_makes_room() -> None:
    limits = ClientLimits(20)
    innocent = [Connection(float(at)) for at in range(4)]
    for number, member in enumerate(innocent):
        assert limits.enter(member, f"10.0.1.{number}") == ""
    greedy = [Connection(100.0 + at) for at in range(16)]
    for member in greedy:
        assert limits.enter(member, "2001:db8::1") == ""
    for number in range(12):
        assert limits.enter(Connection(None), f"10.0.2.{number}") == ""
    assert not any(member.over for member in innocent)
    assert [member.over for member in greedy] == [True] * 12 + [False] * 4


def test_who_is_in_use_is_never_given_up_and_not_looked_at_again() -> None:
    limits = ClientLimits(300)
    members = [Connection(NEVER_IDLE if at % 2 else None) for at in range(300)]
    for member in members:
        limits.enter(member, "10.0.0.1")
    for _ in range(50):
        assert limits.enter(Connection(), "10.0.0.2") == "limit"
    assert not any(member.over for member in members)
    assert all(member.asked == 1 for member in members[1::2])
    members[0].since = 5.0
    members[1].since = 5.0  # what was never to be idle any more is not asked again
    for _ in range(12):
        limits.has_room()
    assert members[0].over
    assert not members[1].over


def test_proxies_have_no_limit_of_their_own_and_are_given_up_last() -> None:
    limits = ClientLimits(6, 2)
    proxied = [Connection(0.0) for _ in range(5)]
    for member in proxied:
        assert limits.enter(member, "10.0.0.1", exempt=True) == ""
    direct = Connection(9.0)
    assert limits.enter(direct, "10.0.0.2") == ""
    assert limits.enter(Connection(None), "10.0.0.3") == ""
    assert direct.over
    assert limits.rename(proxied[0], "10.0.0.7") == ""
    assert limits.rename(proxied[1], "10.0.0.7") == ""
    assert limits.rename(proxied[2], "10.0.0.7") == ""  # whose client has two already
    assert [member.over for member in proxied] == [True, False, False, False, False]
    proxied[1].since = proxied[2].since = None
    assert limits.rename(proxied[3], "10.0.0.7") == "client_limit"
    limits.leave(proxied[3])  # which is no error
    assert len(limits) == 4


@given(
    st.lists(
        st.tuples(
            st.integers(0, 5), st.integers(0, 3), st.sampled_from([None, 0.0, 1.0, NEVER_IDLE])
        ),
        max_size=60,
    )
)
def test_counts_stay_true_whatever_happens(steps: list[tuple[int, int, float | None]]) -> None:
    limits = ClientLimits(8, 3)
    here: list[tuple[Connection, str]] = []
    for kind, number, since in steps:
        here = [(member, address) for member, address in here if not member.over]
        if kind == 0 and here:
            limits.leave(here.pop(number % len(here))[0])
        elif kind == 1 and here:
            here[number % len(here)][0].since = since
        else:
            member, address = Connection(since), f"2001:db8:0:{number}::{len(here):x}"
            if not limits.enter(member, address):
                here.append((member, address))
        here = [(member, address) for member, address in here if not member.over]
        networks = [client_network(address) for _, address in here]
        assert len(limits) == len(here) <= 8
        assert all(networks.count(network) <= 3 for network in networks)
    for member, _ in here:
        limits.leave(member)
    assert repr(limits) == "<ClientLimits 0 of 8, 0 clients>"
    assert not any(limits._levels)


def test_the_work_for_a_new_client_does_not_grow_with_those_who_are_there() -> None:
    def looks(count: int, *, spread: bool) -> int:
        limits = ClientLimits(count)
        members = [Connection(None if at % 3 else float(at)) for at in range(count)]
        for at, member in enumerate(members):
            limits.enter(member, f"10.{at >> 8}.{at & 255}.1" if spread else "10.0.0.1")
        before = sum(member.asked for member in members)
        for _ in range(10):
            limits.enter(Connection(None), "10.255.255.1")
        return sum(member.asked for member in members) - before

    for spread in (False, True):
        assert looks(10_000, spread=spread) <= 10 * 64
