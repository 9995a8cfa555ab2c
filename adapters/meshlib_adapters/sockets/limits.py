"""Limits on the number of clients, in all and of one network; and the choice of the one that is
given up for a new one when there are that many.

Shared by the listeners that have one limit together. What one new client costs does not depend on
how many there are.
"""

from __future__ import annotations

import math
from typing import Final, Protocol

from meshlib.authority import client_network

__all__ = ["NEVER_IDLE", "ClientLimits", "Member"]

# From `Member.idle_since`: it is in use, and will be until it ends.
NEVER_IDLE: Final = math.inf

# Members that are looked at for one new client: of one network, and in all.
_LOOKS_AT_ONE: Final = 16
_LOOKS: Final = 64
# One level for all who are never counted, then one for each size of a client: 1, 2-3, 4-7, ...
_LEVELS: Final = 64


class Member(Protocol):
    """A connection, or a flow of datagrams."""

    def idle_since(self) -> float | None:
        """Since when nothing is under way on it (of any one clock); None while something is;
        `NEVER_IDLE`.
        """

    def give_up(self) -> None:
        """End now: its place is somebody else's."""


class _Client:
    __slots__ = ("count", "exempt", "key", "level", "waiting")

    def __init__(self, key: str, *, exempt: bool) -> None:
        self.key = key
        self.exempt = exempt
        self.count = 0
        self.level = 0
        # Those that may be idle, with what they said when they were put there: roughly, the longest
        # idle first.
        self.waiting: dict[Member, float] = {}


class ClientLimits:
    """Counts members by client (`meshlib.authority.client_network`); `most` in all and
    `most_per_client` of one (None: no limit).

    At a limit the member that has been idle longest is given up for the new one: of the client
    itself at its own limit, else of a client that holds most (within a factor of two). "Longest" is
    true for members whose order is known, and nearly so otherwise: at most 64 are looked at.
    `given_up` only grows.
    """

    __slots__ = (
        "_clients",
        "_exempt",
        "_levels",
        "_members",
        "given_up",
        "most",
        "most_per_client",
    )

    def __init__(self, most: int, most_per_client: int | None = None) -> None:
        self.most = most
        self.most_per_client = most_per_client
        self.given_up = 0
        self._members: dict[Member, _Client] = {}
        self._clients: dict[str, _Client] = {}
        self._exempt = _Client("", exempt=True)
        self._levels: list[dict[_Client, None]] = [{} for _ in range(_LEVELS)]

    def __len__(self) -> int:
        return len(self._members)

    def __repr__(self) -> str:
        return f"<ClientLimits {len(self)} of {self.most}, {len(self._clients)} clients>"

    def enter(
        self, member: Member, address: str, *, since: float | None = None, exempt: bool = False
    ) -> str:
        """Count one more; "" when it may stay, else "limit" or "client_limit", and nothing was
        counted.

        `since`: what `member.idle_since` would say, where that is known. `exempt`: `address` is
        that of a proxy that speaks for many; it has no limit of its own, and is given up last.
        """
        if exempt:
            client = self._exempt
        else:
            key = client_network(address)
            client = self._clients.get(key) or _Client(key, exempt=False)
            most = self.most_per_client
            if most is not None and client.count >= most and not self._make_place(client):
                return "client_limit"
        if len(self._members) >= self.most and not self.has_room():
            return "limit"
        if not client.count and not exempt:
            self._clients[client.key] = client
        self._members[member] = client
        client.count += 1
        if since is None:
            since = member.idle_since()
        if since != NEVER_IDLE:
            client.waiting[member] = since if since is not None else -math.inf
        self._place(client)
        return ""

    def rename(self, member: Member, address: str) -> str:
        """Count a member for the client that its proxy names, as `enter`; it is not counted any
        more where that refuses it.
        """
        self.leave(member)
        return self.enter(member, address)

    def leave(self, member: Member) -> None:
        """It is gone. One that is not here is no error."""
        client = self._members.pop(member, None)
        if client is None:
            return
        client.count -= 1
        client.waiting.pop(member, None)
        self._place(client)
        if not client.count and not client.exempt:
            del self._clients[client.key]

    @property
    def full(self) -> bool:
        """Whether there are as many as there may be."""
        return len(self._members) >= self.most

    def has_room(self) -> bool:
        """Whether one more may come; somebody idle is given up for it where that is needed."""
        if not self.full:
            return True
        looks = _LOOKS
        for level in reversed(self._levels):
            found: Member | None = None
            longest = math.inf
            for client in _first(level, looks):
                member, since, settled, looked = self._longest_idle(
                    client, min(looks, _LOOKS_AT_ONE)
                )
                looks -= looked
                if client in level:  # else the next ones are asked first the next time
                    del level[client]
                    level[client] = None
                if member is not None and since < longest:
                    found, longest = member, since
                if settled or looks <= 0:
                    break
            if found is not None:
                self._give_up(found)
                return True
            if looks <= 0:
                break
        return False

    def _make_place(self, client: _Client) -> bool:
        member = self._longest_idle(client, _LOOKS)[0]
        if member is None:
            return False
        self._give_up(member)
        return True

    def _longest_idle(self, client: _Client, looks: int) -> tuple[Member | None, float, bool, int]:
        # The best of the first few, since when, whether it is known to be the best, and how many
        # were looked at.
        waiting = client.waiting
        found: Member | None = None
        longest = math.inf
        looked = 0
        while waiting and looked < looks:
            member, known = next(iter(waiting.items()))
            since = member.idle_since()
            looked += 1
            if since == NEVER_IDLE:
                del waiting[member]
                continue
            if since is not None and since <= known:
                # Nothing has happened on it since it was put in its place.
                return (
                    (member, since, True, looked)
                    if since <= longest
                    else (found, longest, True, looked)
                )
            del waiting[member]
            waiting[member] = known if since is None else since
            if since is not None and since < longest:
                found, longest = member, since
        self._place(client)
        return found, longest, False, looked

    def _give_up(self, member: Member) -> None:
        self.given_up += 1
        self.leave(member)
        member.give_up()

    def _place(self, client: _Client) -> None:
        level = 0
        if client.waiting:
            level = 1 if client.exempt else 1 + client.count.bit_length()
        if level != client.level:
            self._levels[client.level].pop(client, None)
            client.level = level
            if level:
                self._levels[level][client] = None


def _first(clients: dict[_Client, None], most: int) -> list[_Client]:
    return [client for client, _ in zip(clients, range(most), strict=False)]
