from __future__ import annotations

import inspect

import pytest

from meshlib import errors
from meshlib.errors import (
    AuthorityError,
    ClientHelloError,
    ConfigurationError,
    FrameError,
    LimitExceeded,
    MeshError,
    PathError,
    ProtocolError,
    RequestHeadError,
    ResponseHeadError,
)

CLASSES = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and value.__module__ == "meshlib.errors"
]


def test_everything_is_exported_and_has_one_root() -> None:
    assert sorted(errors.__all__) == sorted(cls.__name__ for cls in CLASSES)
    assert all(issubclass(cls, MeshError) for cls in CLASSES)


def test_the_picture_in_the_docstring_names_every_class() -> None:
    assert all(cls.__name__ in (errors.__doc__ or "") for cls in CLASSES)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ConfigurationError("no such port"), "no such port"),
        (ConfigurationError("no such port", where="a.toml: http"), "a.toml: http: no such port"),
        (ConfigurationError("no such port", hint="write 80"), "no such port (write 80)"),
        (
            ConfigurationError("no such port", where="a.toml", hint="write 80"),
            "a.toml: no such port (write 80)",
        ),
    ],
)
def test_a_configuration_error_says_where_what_and_how_to_mend_it(
    error: ConfigurationError, text: str
) -> None:
    assert str(error) == text
    assert error.message == "no such port"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ProtocolError("m", reason="r"), 400),
        (AuthorityError("m", reason="r", position=3), 400),
        (PathError("m", reason="r", position=3), 400),
        (ClientHelloError("m", reason="r"), 400),
        (RequestHeadError("m", reason="r", status_hint=501), 501),
        (ResponseHeadError("m", reason="r"), 502),
        (LimitExceeded("head", 10, reason="r"), 431),
        (LimitExceeded("body", 10, reason="r", status_hint=413), 413),
    ],
)
def test_a_protocol_error_knows_the_response(error: ProtocolError, status: int) -> None:
    assert isinstance(error, ProtocolError)
    assert (error.status_hint, error.reason) == (status, "r")


def test_an_error_knows_its_position() -> None:
    assert AuthorityError("m", reason="r").position == 0
    assert AuthorityError("m", reason="r", position=3).position == 3
    assert PathError("m", reason="r", position=4).position == 4


def test_a_frame_that_is_wrong_says_whose_error_it_is() -> None:
    error = FrameError("m", reason="r", code=6)
    assert (str(error), error.reason, error.code, error.stream) == ("m", "r", 6, 0)
    assert FrameError("m", reason="r", code=1, stream=3).stream == 3


def test_a_limit_says_what_and_how_much() -> None:
    error = LimitExceeded("the request head", 65536, reason="head_too_large")
    assert (error.what, error.limit) == ("the request head", 65536)
    assert str(error) == "the request head is over its limit of 65536"
