from __future__ import annotations

from dataclasses import fields

from meshlib.route_options import NO_OPTIONS, RouteOptions


def test_nothing_is_asked_for_by_default() -> None:
    assert RouteOptions() == NO_OPTIONS
    assert not any(getattr(NO_OPTIONS, one.name) for one in fields(RouteOptions))


def test_what_two_services_have_to_agree_on() -> None:
    options = RouteOptions("SID", True, True, "max-age=5", ("stack:blog",), hooks=("auth",))
    assert options.shared() == {
        "sticky cookie": "SID",
        "forwarded-for": True,
        "https": True,
        "hsts": "max-age=5",
        "response_head": 0,
        "between_bytes": 0,
        "tunnel_idle": 0,
        "hooks": ("auth",),
    }


def test_the_shortest_time_out() -> None:
    assert NO_OPTIONS.shortest_time_out == 0
    assert RouteOptions(response_head=9, tunnel_idle=3).shortest_time_out == 3
