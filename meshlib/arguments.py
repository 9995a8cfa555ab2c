"""Checks of what callers of a `Mesh` pass in besides routes.

A `ConfigurationError` names the argument and says what to write instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from meshlib.entries import typed
from meshlib.errors import ConfigurationError
from meshlib.labels.diagnostics import show
from meshlib.messages import ClientHello

__all__ = ["check_labels", "check_number", "check_text", "check_texts", "client_hello"]


def check_text(value: object, where: str, hint: str) -> None:
    """Refuse what is not a text."""
    if not isinstance(value, str):
        raise ConfigurationError(f"{typed(value)} is not a text", where=where, hint=hint)


def check_texts(values: object, where: str) -> tuple[str, ...]:
    """Refuse what is not a list of texts; one text is none. Returns them."""
    hint = 'write a list of names, ["shop.example.com"]'
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ConfigurationError(f"{typed(values)} is not a list", where=where, hint=hint)
    texts = tuple(values)
    for text in texts:
        check_text(text, where, hint)
    return texts


def check_number(value: object, where: str, least: int, most: int) -> None:
    """Refuse what is not a whole number from `least` to `most`."""
    if not isinstance(value, int) or value is True or value is False or not least <= value <= most:
        hint = f"write a whole number from {least} to {most}"
        raise ConfigurationError(f"{typed(value)} cannot be here", where=where, hint=hint)


def check_labels(labels: object, endpoints: object, service: object) -> None:
    """Refuse labels that are no mapping of texts, endpoints that are no list of texts, and a
    service without a name.
    """
    if not isinstance(labels, Mapping):
        hint = 'write {"LABEL": "VALUE"}, a mapping of labels to their values'
        raise ConfigurationError(f"{typed(labels)} is not a mapping", where="labels", hint=hint)
    for key, value in labels.items():
        check_text(key, "labels", "write the label's name as a text")
        check_text(value, f"labels[{show(key)}]", "write the label's value as a text")
    if isinstance(endpoints, str):
        message = "one address stands in place of a list of them"
        hint = f"write [{show(endpoints)}]"
        raise ConfigurationError(message, where="endpoints", hint=hint)
    if not isinstance(endpoints, Sequence):
        hint = 'write ["HOST:PORT"]'
        raise ConfigurationError(f"{typed(endpoints)} is not a list", where="endpoints", hint=hint)
    check_text(service, "service", 'write a name, service="shop"')


def client_hello(hello: ClientHello | str | None, where: str) -> ClientHello:
    """The hello, made of a server name where that is given (None: it has none)."""
    if isinstance(hello, ClientHello):
        return hello
    if hello is not None:
        check_text(hello, where, "write a server name, a meshlib.ClientHello or None")
    return ClientHello(hello)
