"""How many clients there may be: in all, and from one address. Shared by the listeners that have one limit together."""

from __future__ import annotations

__all__ = ["ClientLimits"]


class ClientLimits:
    """Counts clients by address; `most` in all and `most_per_client` of one address (None: no limit)."""

    __slots__ = ("_by_address", "_count", "most", "most_per_client")

    def __init__(self, most: int, most_per_client: int | None = None) -> None:
        self.most = most
        self.most_per_client = most_per_client
        self._count = 0
        self._by_address: dict[str, int] = {}

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"<ClientLimits {self._count} of {self.most}, {len(self._by_address)} addresses>"

    def take(self, address: str) -> str:
        """Count one more; "" when it may stay, else "limit" or "client_limit", and nothing was counted."""
        if self._count >= self.most:
            return "limit"
        count = self._by_address.get(address, 0)
        if self.most_per_client is not None and count >= self.most_per_client:
            return "client_limit"
        self._count += 1
        self._by_address[address] = count + 1
        return ""

    def release(self, address: str) -> None:
        """One that was taken is gone."""
        self._count -= 1
        count = self._by_address[address] - 1
        if count:
            self._by_address[address] = count
        else:
            del self._by_address[address]
