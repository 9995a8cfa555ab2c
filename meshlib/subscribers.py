"""Callbacks that are called after each change, whatever one of them raises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, TypeVar

from meshlib.errors import ConfigurationError

__all__ = ["Subscribers"]

T = TypeVar("T")


class Subscribers(Generic[T]):
    """Callbacks in the order of subscription, each called with the object that changed."""

    def __init__(self) -> None:
        self._callbacks: Final[dict[object, Callable[[T], None]]] = {}

    def add(self, callback: Callable[[T], None]) -> Callable[[], None]:
        """Have `callback` called from now on; returns a function that ends that, which may be
        called any number of times.
        """
        if not callable(callback):
            message, hint = f"{callback!a} cannot be called", "give a function of one argument"
            raise ConfigurationError(message, where="subscribe", hint=hint)
        key = object()
        self._callbacks[key] = callback

        def unsubscribe() -> None:
            self._callbacks.pop(key, None)

        return unsubscribe

    def call(self, changed: T, on_error: Callable[[Exception], None] | None, failure: str) -> None:
        """Call all of them with `changed`; what they raise goes to `on_error`.

        Without `on_error` all are called first, then an `ExceptionGroup` of what they raised is
        raised, with the message `failure`.
        """
        errors: list[Exception] = []
        report = on_error or errors.append
        for callback in list(self._callbacks.values()):
            try:
                callback(changed)
            except Exception as error:  # noqa: BLE001
                report(error)
        if errors:
            raise ExceptionGroup(failure, errors)
