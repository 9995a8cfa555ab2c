"""`ClientPace`: whether a client of HTTP/1 is too slow with a body, its request's or ours."""

from __future__ import annotations

from meshlib_adapters.proxy.pace import Pace

__all__ = ["ClientPace"]


class ClientPace:
    """Both directions of one connection, judged when the keeper checks it; in between it costs
    nothing. `rate` (bytes a second; None: nobody is too slow) and `grace` (seconds) as in `Pace`.
    """

    __slots__ = ("_grace", "_rate", "_receiving", "_sent", "_taking")

    def __init__(self, rate: float | None, grace: float) -> None:
        self._rate = rate
        self._grace = grace
        self._receiving: Pace | None = None  # of the request's body
        self._taking: Pace | None = None  # of what the client takes
        self._sent = 0  # bytes of the response at the last look

    def __repr__(self) -> str:
        return f"<ClientPace receiving={self._receiving!r} taking={self._taking!r}>"

    def forget_upload(self) -> None:
        """Begin anew with the request's body: it is another one, or somebody else had to be waited
        for.
        """
        self._receiving = None

    def forget(self) -> None:
        """Begin anew in both directions."""
        self._receiving = None
        self._taking = None

    def sends_too_slowly(
        self, size: int | None, now: float, sent: int, *, responding: bool
    ) -> bool:
        """Whether the client is too slow with its request's body, of which `size` bytes have come
        (None: nothing is to be judged now). `sent` counts the bytes of the response so far.
        """
        # A client and a service that talk with each other, a message now and then, are not slow:
        # the body is no upload then.
        before, self._sent = self._sent, sent
        rate = self._rate
        # A body that has not begun may wait for our 100.
        if rate is None or not size or (responding and before != sent):
            self._receiving = None
        elif self._receiving is None:
            self._receiving = Pace(size, now)
        else:
            return self._receiving.too_slow(size, now, rate, self._grace, may_rest=responding)
        return False

    def takes_too_slowly(self, taken: int, now: float, unsent: int) -> bool:
        """Whether the client is too slow with taking the response, of which it has `taken` bytes
        and `unsent` are still to be taken.
        """
        rate = self._rate
        if rate is None or not unsent:  # 0: the client waits for the service
            self._taking = None
        elif self._taking is None:
            self._taking = Pace(taken, now, unsent)
        else:
            return self._taking.too_slow(taken, now, rate, self._grace, unsent)
        return False
